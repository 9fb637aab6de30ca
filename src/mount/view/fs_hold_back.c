/*
 * fs_hold_back: snapshots that a predecessor committed but did not show.
 *
 * The predecessor died between the commit and the moment at which readers can see the new version.
 * The name points to the old snapshot until the publisher moves it, so that watchers see this move
 * like any other. A term whose name may have been removed is not held back, so that nothing hidden
 * becomes visible again.
 */
#include "mount/view/fs_state.h"

#include "base/util.h"

/* Per term. old_id: the largest id that readers may have seen; 0: none. */
struct candidate {
	bool is_held_back;
	uint64_t old_id;
};

static bool is_held_back(const struct fs *fs, struct term *term)
{
	_cleanup_(snapshot_unref_cleanup) struct snapshot *current = term_current(term);

	return current && !inflight_may_be_known(fs->inflight, current->id) &&
	       term->config->on_delete != ON_DELETE_REMOVE &&
	       term->config->on_expire != ON_EXPIRE_HIDE;
}

/* Finds for each term the last snapshot that readers may have seen. */
static int find_old(struct fs *fs, struct candidate *candidates, struct err *err)
{
	_cleanup_free_ struct node_place *places = NULL;
	size_t n;

	if (nodes_superseded(fs->nodes, &places, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (places[i].term < fs->setup.terms ||
		    places[i].term >= fs->setup.terms + fs->setup.n_terms)
			continue;
		struct candidate *candidate = &candidates[places[i].term - fs->setup.terms];
		if (candidate->is_held_back && places[i].id > candidate->old_id &&
		    inflight_may_be_known(fs->inflight, places[i].id))
			candidate->old_id = places[i].id;
	}
	return 0;
}

static int hold_back(struct fs *fs, struct term *term, uint64_t old_id, struct err *err)
{
	struct publisher_held_back *grown = realloc(fs->held_back,
						    (fs->n_held_back + 1) * sizeof(*grown));
	struct term *owner;
	bool superseded;

	if (!grown)
		return err_set(err, ERR_INTERNAL, "file system: out of memory");
	fs->held_back = grown;
	struct snapshot *old = old_id ? nodes_find(fs->nodes, old_id, &owner, &superseded) : NULL;
	if (old)
		nodes_restore(fs->nodes, old_id);
	struct snapshot *next = term_swap(term, old);
	fs->held_back[fs->n_held_back++] = (struct publisher_held_back){
		.term = term,
		.next = next,
		.move = pending_moves_begin(fs->pending_moves, term, next),
	};
	return 0;
}

int fs_hold_back(struct fs *fs, struct err *err)
{
	_cleanup_free_ struct candidate *candidates = calloc(fs->setup.n_terms + 1,
							     sizeof(*candidates));
	bool is_any = false;

	if (!candidates)
		return err_set(err, ERR_INTERNAL, "file system: out of memory");
	for (size_t i = 0; i < fs->setup.n_terms; i++) {
		candidates[i].is_held_back = is_held_back(fs, &fs->setup.terms[i]);
		is_any |= candidates[i].is_held_back;
	}
	if (is_any && find_old(fs, candidates, err) < 0)
		return -1;
	for (size_t i = 0; i < fs->setup.n_terms; i++) {
		if (candidates[i].is_held_back &&
		    hold_back(fs, &fs->setup.terms[i], candidates[i].old_id, err) < 0)
			return -1;
	}
	return 0;
}

void fs_free_held_back(struct fs *fs)
{
	for (size_t i = 0; fs->held_back && i < fs->n_held_back; i++)
		snapshot_unref(fs->held_back[i].next);
	free(fs->held_back);
}
