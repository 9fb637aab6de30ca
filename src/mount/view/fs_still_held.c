/*
 * fs_still_held: snapshots that are not current but that the kernel may still hold from a
 * predecessor.
 *
 * These are superseded snapshots, hidden ones, and all snapshots of former terms, which are no
 * longer configured. They are added to the nodes once, before serving begins.
 */
#include "mount/view/fs_state.h"

#include <string.h>

#include "base/hash.h"
#include "base/util.h"

struct former_term {
	char *name; /* owned */
	struct term_config config;
	struct term term;
	UT_hash_handle hh; /* by name */
};

static void former_term_free(struct former_term *former)
{
	if (!former)
		return;
	term_release(&former->term);
	free(former->name);
	free(former);
}

DEFINE_CLEANUP(struct former_term, former_term_free)

void fs_free_former_terms(struct fs *fs)
{
	struct former_term *former, *next;

	HASH_ITER(hh, fs->former_terms, former, next) {
		HASH_DEL(fs->former_terms, former);
		former_term_free(former);
	}
}

/* The former mode is unknown: reopening must not give more access than before. */
#define FORMER_TERM_MODE 0400

static int former_term_new(struct fs *fs, const char *name, struct former_term **ret,
			   struct err *err)
{
	_cleanup_(former_term_free_cleanup) struct former_term *former = calloc(1, sizeof(*former));

	if (!former || !(former->name = strdup(name)))
		return err_set(err, ERR_INTERNAL, "term \"%s\": out of memory", name);
	former->config = (struct term_config){
		.name = former->name,
		.mode = FORMER_TERM_MODE,
		.user = fs->setup.owner,
		.group = fs->setup.owner_group,
	};
	if (term_init(&former->term, &former->config, NULL, NULL, err) < 0)
		return -1;
	HASH_ADD_KEYPTR(hh, fs->former_terms, former->name, strlen(name), former);
	if (!hash_has(former, hh))
		return err_set(err, ERR_INTERNAL, "term \"%s\": out of memory", name);
	*ret = steal_ptr(&former);
	return 0;
}

static int find_former_term(struct fs *fs, const char *name, struct term **ret, struct err *err)
{
	struct former_term *former = NULL;

	HASH_FIND_STR(fs->former_terms, name, former);
	if (!former && former_term_new(fs, name, &former, err) < 0)
		return -1;
	*ret = &former->term;
	return 0;
}

static int enter(struct fs *fs, struct snapshot *snapshot, struct term *term, struct err *err)
{
	if (nodes_add(fs->nodes, snapshot, term, err) < 0)
		return -1;
	nodes_supersede(fs->nodes, snapshot->id);
	return 0;
}

/* For store_list_held(): takes the reference. */
static int enter_held(void *arg, const char *name, struct snapshot *snapshot, struct err *err)
{
	_cleanup_(snapshot_unref_cleanup) struct snapshot *reference = snapshot;
	struct fs *fs = arg;
	struct term *term = term_find(fs->setup.terms, fs->setup.n_terms, name);

	if (!term && find_former_term(fs, name, &term, err) < 0)
		return -1;
	return enter(fs, reference, term, err);
}

int fs_enter_held(struct fs *fs, struct err *err)
{
	for (size_t i = 0; i < fs->setup.n_terms; i++) {
		struct term *term = &fs->setup.terms[i];
		_cleanup_(snapshot_unref_cleanup) struct snapshot *hidden = term_hidden(term);
		if (hidden && enter(fs, hidden, term, err) < 0)
			return -1;
	}
	if (store_list_held(fs->setup.store, enter_held, fs, err) < 0)
		return -1;
	for (struct former_term *former = fs->former_terms; former; former = former->hh.next) {
		if (tree_retire(fs->tree, former->config.name, fs->setup.store, err) < 0)
			return -1;
	}
	return 0;
}
