/*
 * fs_stray: what a kernel may hold that was served by a predecessor, besides what is current.
 *
 * Superseded snapshots, hidden ones, and all of terms that are no longer configured. Entered once,
 * before anything is served.
 */
#include "mount/view/fs_state.h"

#include <string.h>
#include <uthash.h>

#include "base/util.h"

struct stray {
	char *name; /* owned */
	struct term_config config;
	struct term term;
	UT_hash_handle hh; /* by name */
};

static void stray_free(struct stray *stray)
{
	term_release(&stray->term);
	free(stray->name);
	free(stray);
}

void fs_free_strays(struct fs *fs)
{
	struct stray *stray, *next;

	HASH_ITER(hh, fs->strays, stray, next) {
		HASH_DEL(fs->strays, stray);
		stray_free(stray);
	}
}

/* What its mode was is not known: nobody who reopens it gets more than he had. */
#define STRAY_MODE 0400

static int find_stray(struct fs *fs, const char *name, struct term **ret, struct err *err)
{
	struct stray *stray = NULL;

	HASH_FIND_STR(fs->strays, name, stray);
	if (!stray) {
		_cleanup_free_ struct stray *made = calloc(1, sizeof(*made));
		_cleanup_free_ char *copy = strdup(name);
		if (!made || !copy)
			return err_set(err, ERR_INTERNAL, "term \"%s\": out of memory", name);
		made->config = (struct term_config){
			.name = copy,
			.mode = STRAY_MODE,
			.user = fs->setup.owner,
			.group = fs->setup.owner_group,
		};
		if (term_init(&made->term, &made->config, NULL, NULL, err) < 0)
			return -1;
		made->name = steal_ptr(&copy);
		stray = steal_ptr(&made);
		HASH_ADD_KEYPTR(hh, fs->strays, stray->name, strlen(name), stray);
	}
	*ret = &stray->term;
	return 0;
}

static int compare_name(const void *key, const void *element)
{
	const struct term *term = element;

	return strcmp(key, term->config->name);
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
	struct term *term = fs->setup.n_terms ? bsearch(name, fs->setup.terms, fs->setup.n_terms,
							sizeof(*fs->setup.terms), compare_name)
					      : NULL;

	if (!term && find_stray(fs, name, &term, err) < 0)
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
	for (struct stray *stray = fs->strays; stray; stray = stray->hh.next) {
		if (tree_retire(fs->tree, stray->config.name, fs->setup.store, err) < 0)
			return -1;
	}
	return 0;
}
