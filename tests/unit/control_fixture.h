/*
 * control_fixture: terms for the tests of control, and fakes of refresher, fs, store and http.
 */
#ifndef TESTS_UNIT_CONTROL_FIXTURE_H
#define TESTS_UNIT_CONTROL_FIXTURE_H

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "control/control.h"

#ifndef N_TERMS
#	define N_TERMS 3000
#endif
#define SECRET 3 /* the term that only root may read */
#define OWNER  12345

static atomic_bool hangs;	   /* updates do not end */
static atomic_int waiters;	   /* threads in refresher_wait() */
static atomic_int requests;	   /* calls of refresher_request() */
static atomic_int forced;	   /* calls of refresher_force() */
static struct cancel fake_cancel;  /* the worker's */
static struct term terms[N_TERMS]; /* sorted by name */

uint64_t refresher_request(struct refresher *refresher, size_t term)
{
	(void)refresher;
	atomic_fetch_add(&requests, 1);
	return 1000 + term;
}

uint64_t refresher_force(struct refresher *refresher, size_t term)
{
	atomic_fetch_add(&forced, 1);
	return refresher_request(refresher, term);
}

bool refresher_wait(struct refresher *refresher, size_t term, uint64_t ticket, int64_t deadline_ms,
		    enum update_outcome *ret)
{
	(void)refresher;
	if (ticket != 1000 + term)
		return false;
	atomic_fetch_add(&waiters, 1);
	while (atomic_load(&hangs) && !cancel_requested(&fake_cancel) &&
	       clock_boot_ms() < deadline_ms)
		usleep(5000);
	atomic_fetch_sub(&waiters, 1);
	if (cancel_requested(&fake_cancel))
		*ret = UPDATE_CANCELED;
	else if (atomic_load(&hangs))
		return false;
	else if (terms[term].error_kind != ERR_NONE)
		*ret = UPDATE_FAILED;
	else
		*ret = term % 2 ? UPDATE_UNCHANGED : UPDATE_UPDATED;
	return true;
}

const char *update_outcome_name(enum update_outcome outcome)
{
	static const char *const names[] = { "updated", "unchanged", "failed", "canceled" };

	return names[outcome];
}

size_t refresher_threads(struct refresher *refresher)
{
	(void)refresher;
	return 7;
}

void fs_publish_counts(struct fs *fs, struct publish_counts *ret)
{
	(void)fs;
	*ret = (struct publish_counts){ .published = 2,
					.published_ns = 1500000000,
					.renamed = 3,
					.notified = 4,
					.prewarmed_bytes = 5 };
}

void fs_request_counts(struct fs *fs, void (*each)(void *arg, const char *op, uint64_t count),
		       void *arg)
{
	(void)fs;
	each(arg, "lookup", 11);
	each(arg, "read", 22);
}

void store_usage(struct store *store, uint64_t *ret_snapshots, uint64_t *ret_bytes)
{
	(void)store;
	*ret_snapshots = 5;
	*ret_bytes = 6000;
}

uint64_t http_requests_total(const struct http *http)
{
	(void)http;
	return 33;
}

/* ---- terms ---- */

static struct term_config configs[N_TERMS];
static char names[N_TERMS][32];

static struct term_rights *rights;

static struct control_view view = {
	.mountpoint = "/mnt/\"test\"",
	.terms = terms,
	.n_terms = N_TERMS,
	.started_at_ms = 1369353600250,
};

static struct snapshot *make_snapshot(uint64_t id, const char *version)
{
	struct snapshot *snapshot = snapshot_new(version, "https://example.com/a\"b\\c");

	snapshot->id = id;
	snapshot->size_bytes = 4096;
	snapshot->mtime.tv_sec = 1369353600;
	snapshot->fetched_at_ms = clock_wall_ms() - 50000000;
	snapshot->published_at_ms = 1369353602000;
	return snapshot;
}

static int64_t next_check_ms; /* of term 2, on the boot clock */

/* Term 0 is fresh, term 1 (alias "flags") has no snapshot, term 2 has failed; the others are like
 * term 0. */
static void make_terms(void)
{
	struct err err = ERR_INIT;

	for (size_t i = 0; i < N_TERMS; i++) {
		snprintf(names[i], sizeof(names[i]), "t/%04zu.json", i);
		configs[i] = (struct term_config){ .name = names[i],
						   .alias = i == 1 ? (char *)"flags" : NULL,
						   .mode = i == SECRET ? 0400 : 0444 };
		struct snapshot *snapshot = i == 1 ? NULL : make_snapshot(100 + i, "v\xff");
		if (term_init(&terms[i], &configs[i], snapshot, "W/\"7\"", &err) < 0)
			abort();
		if (i != 1)
			term_succeeded(&terms[i], "W/\"7\"", true, TERM_NO_TIME);
	}
	err_set(&err, ERR_UNREACHABLE, "GET https://b\xc3\xbc\xff: timed out");
	term_failed(&terms[2], &err, TERM_NO_TIME);
	next_check_ms = clock_boot_ms() + 60000;
	term_set_next_check(&terms[2], next_check_ms);
	if (term_rights_new(&rights, terms, N_TERMS, OWNER, &err) < 0)
		abort();
	view.rights = rights;
}

static inline void free_terms(void)
{
	for (size_t i = 0; i < N_TERMS; i++)
		term_release(&terms[i]);
	term_rights_free(rights);
}

/* What a user without further groups may see. */
static struct term_access access_of(uid_t uid)
{
	return term_rights_of(rights, &(struct term_reader){ .uid = uid, .gid = uid });
}

#endif
