/*
 * fs_generations: the words of .rpt/generations when serving begins.
 *
 * A predecessor may have died after a commit and before it notified the kernel. The name still
 * points to the old snapshot, so the word must be the old one as well. Slots without a term or
 * without a snapshot get an id that is larger than any of the predecessor's, because words only
 * rise.
 */
#include "mount/view/fs_state.h"

#include <stdlib.h>

#include "base/util.h"

static bool is_configured(const struct fs *fs, const struct term *term)
{
	return term >= fs->setup.terms && term < fs->setup.terms + fs->setup.n_terms;
}

static void enter_term(struct fs *fs, struct term *term, bool announced_only)
{
	_cleanup_(snapshot_unref_cleanup) struct snapshot *current = term_current(term);

	if (!current)
		generations_raise(fs->generations, term->slot, store_last_id(fs->setup.store));
	else if (!announced_only || inflight_was_announced(fs->inflight, current->id))
		generations_raise(fs->generations, term->slot, current->id);
}

static bool has_word(const struct fs *fs, const struct term *term)
{
	return !term->slot || generations_word(fs->generations, term->slot);
}

/* For terms whose words are not known yet. */
static int enter_superseded(struct fs *fs, struct err *err)
{
	_cleanup_free_ struct node_place *places = NULL;
	_cleanup_free_ bool *is_open = calloc(fs->setup.n_terms + 1, sizeof(*is_open));
	size_t n;

	if (!is_open)
		return err_set(err, ERR_INTERNAL, "generations: out of memory");
	if (nodes_superseded(fs->nodes, &places, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < fs->setup.n_terms; i++)
		is_open[i] = !has_word(fs, &fs->setup.terms[i]);
	for (size_t i = 0; i < n; i++) {
		const struct term *term = places[i].term;
		if (is_configured(fs, term) && is_open[term - fs->setup.terms])
			generations_raise(fs->generations, term->slot, places[i].id);
	}
	return 0;
}

int fs_enter_generations(struct fs *fs, struct err *err)
{
	for (size_t i = 0; i < fs->setup.n_terms; i++)
		enter_term(fs, &fs->setup.terms[i], true);
	if (enter_superseded(fs, err) < 0)
		return -1;
	/* Terms without a superseded snapshot. */
	for (size_t i = 0; i < fs->setup.n_terms; i++) {
		if (!has_word(fs, &fs->setup.terms[i]))
			enter_term(fs, &fs->setup.terms[i], false);
	}
	for (uint32_t slot = 1; slot <= fs->setup.last_slot; slot++) {
		if (!generations_word(fs->generations, slot))
			generations_raise(fs->generations, slot, store_last_id(fs->setup.store));
	}
	return 0;
}
