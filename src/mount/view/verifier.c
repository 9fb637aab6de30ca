#include "mount/view/verifier.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <utlist.h>

#include "base/log.h"
#include "base/util.h"

struct verifier {
	struct verifier_setup setup;
	pthread_t background;
	pthread_t reader;
	bool background_started;
	bool reader_started;
	pthread_mutex_t lock;
	pthread_cond_t wanted;
	struct verifier_read *reads; /* guarded by lock */
	bool ending;		     /* guarded by lock */
};

void verifier_report(struct verifier *verifier, struct term *term, struct snapshot *snapshot,
		     const struct err *err)
{
	atomic_store(&snapshot->integrity, SNAPSHOT_CORRUPT);
	log_event(LOG_LEVEL_ERROR, "corrupt_snapshot", LOG_STR("term", term->config->name),
		  LOG_STR("version", snapshot->version), LOG_STR("error", err->msg));
	publish_queue_lost(verifier->setup.publish_queue, term, snapshot);
}

static enum verifier_verdict verify(struct verifier *verifier, struct term *term,
				    struct snapshot *snapshot)
{
	struct err err = ERR_INIT;

	if (store_verify(verifier->setup.store, snapshot, verifier->setup.cancel, &err) == 0)
		return VERIFIER_GOOD;
	if (err.kind == ERR_CANCELED)
		return VERIFIER_STOPPED;
	if (err.kind == ERR_BAD_DATA)
		verifier_report(verifier, term, snapshot, &err);
	else
		log_event(LOG_LEVEL_WARNING, "not_verified", LOG_STR("term", term->config->name),
			  LOG_STR("error", err.msg));
	return VERIFIER_BAD;
}

/* A snapshot that was there at the start and is unchecked. */
struct candidate {
	struct term *term;
	uint64_t size_bytes;
};

static int compare_candidates(const void *a, const void *b)
{
	const struct candidate *left = a, *right = b;

	return (left->size_bytes > right->size_bytes) - (left->size_bytes < right->size_bytes);
}

static size_t find_candidates(struct verifier *verifier, struct candidate *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < verifier->setup.n_terms; i++) {
		struct term *term = &verifier->setup.terms[i];
		struct snapshot *snapshot = term_current(term);
		if (snapshot && atomic_load(&snapshot->integrity) == SNAPSHOT_UNVERIFIED)
			ret[n++] = (struct candidate){ term, snapshot->size_bytes };
		snapshot_unref(snapshot);
	}
	qsort(ret, n, sizeof(*ret), compare_candidates);
	return n;
}

static void *background_main(void *arg)
{
	struct verifier *verifier = arg;
	struct sched_param idle = { 0 };
	_cleanup_free_ struct candidate *candidates = calloc(verifier->setup.n_terms + 1,
							     sizeof(*candidates));

	pthread_setname_np(pthread_self(), "verify-idle");
	pthread_setschedparam(pthread_self(), SCHED_IDLE, &idle);
	if (!candidates)
		return NULL; /* what is read is checked all the same */
	size_t n = find_candidates(verifier, candidates);
	for (size_t i = 0; i < n && !cancel_requested(verifier->setup.cancel); i++) {
		struct snapshot *snapshot = term_current(candidates[i].term);
		if (snapshot)
			verify(verifier, candidates[i].term, snapshot);
		snapshot_unref(snapshot);
	}
	return NULL;
}

static struct verifier_read *next_read(struct verifier *verifier)
{
	struct verifier_read *read;

	pthread_mutex_lock(&verifier->lock);
	while (!verifier->reads && !verifier->ending)
		pthread_cond_wait(&verifier->wanted, &verifier->lock);
	read = verifier->reads;
	if (read)
		DL_DELETE(verifier->reads, read);
	pthread_mutex_unlock(&verifier->lock);
	return read;
}

static void *reader_main(void *arg)
{
	struct verifier *verifier = arg;
	struct verifier_read *read;

	pthread_setname_np(pthread_self(), "verify-read");
	while ((read = next_read(verifier)))
		read->answer(read, verify(verifier, read->term, read->snapshot));
	return NULL;
}

void verifier_park(struct verifier *verifier, struct verifier_read *read)
{
	pthread_mutex_lock(&verifier->lock);
	bool taken = !verifier->ending;
	if (taken) {
		DL_APPEND(verifier->reads, read);
		pthread_cond_signal(&verifier->wanted);
	}
	pthread_mutex_unlock(&verifier->lock);
	if (!taken)
		read->answer(read, VERIFIER_STOPPED);
}

DEFINE_CLEANUP(struct verifier, verifier_free)

int verifier_new(struct verifier **ret, const struct verifier_setup *setup, struct err *err)
{
	_cleanup_(verifier_free_cleanup) struct verifier *verifier = calloc(1, sizeof(*verifier));

	if (!verifier)
		return err_set(err, ERR_INTERNAL, "verifier: out of memory");
	verifier->setup = *setup;
	pthread_mutex_init(&verifier->lock, NULL);
	pthread_cond_init(&verifier->wanted, NULL);
	int failure = pthread_create(&verifier->reader, NULL, reader_main, verifier);
	if (failure)
		return err_set(err, ERR_INTERNAL, "verifier: thread: %s", strerror(failure));
	verifier->reader_started = true;
	failure = pthread_create(&verifier->background, NULL, background_main, verifier);
	if (failure)
		return err_set(err, ERR_INTERNAL, "verifier: thread: %s", strerror(failure));
	verifier->background_started = true;
	*ret = steal_ptr(&verifier);
	return 0;
}

void verifier_stop(struct verifier *verifier)
{
	pthread_mutex_lock(&verifier->lock);
	verifier->ending = true;
	pthread_cond_signal(&verifier->wanted);
	pthread_mutex_unlock(&verifier->lock);
	if (verifier->background_started)
		pthread_join(verifier->background, NULL);
	if (verifier->reader_started)
		pthread_join(verifier->reader, NULL);
	verifier->background_started = verifier->reader_started = false;
}

void verifier_free(struct verifier *verifier)
{
	if (!verifier)
		return;
	verifier_stop(verifier);
	pthread_cond_destroy(&verifier->wanted);
	pthread_mutex_destroy(&verifier->lock);
	free(verifier);
}
