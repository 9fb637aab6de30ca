/*
 * What a successor does once it answers: it finishes what its predecessor has begun, and tells the
 * kernel what that may not know.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "mount/publish/mover_internal.h"
#include "mount/connection/notifier.h"
#include "mount/view/virtual.h"

/* Does the kernel know that another snapshot is behind this term's name? */
static bool was_announced(struct mover *mover, struct term *term)
{
	_cleanup_(snapshot_unref_cleanup) struct snapshot *current = term_current(term);

	return current && slots_was_announced(mover->setup.slots, current->id);
}

/* What nobody holds was announced, for its dentry is gone. */
static void announce_superseded(struct mover *mover)
{
	_cleanup_free_ struct node_place *places = NULL;
	struct err err = ERR_INIT;
	const char *name;
	size_t n;

	if (nodes_superseded(mover->setup.nodes, &places, &n, &err) < 0) {
		log_event(LOG_LEVEL_ERROR, "takeover_failed", LOG_STR("error", err.msg));
		return;
	}
	for (size_t i = 0; i < n; i++) {
		const struct tree_dir *dir = tree_place(mover->setup.tree, places[i].term, &name);
		if (session_kernel_holds(mover->setup.session, places[i].id) &&
		    !was_announced(mover, places[i].term))
			session_notify_delete(mover->setup.session, dir->id, places[i].id, name);
		mover_release_if_unheld(mover, places[i].id);
	}
}

/* A listing that the kernel caches may lack a name, or have one that went away. From the leaves
 * up: what is retired can only be taken away once it is empty. */
static void announce_dirs(struct mover *mover)
{
	struct session *session = mover->setup.session;
	size_t n;
	struct tree_dir *const *dirs = tree_dirs(mover->setup.tree, &n);

	while (n > 0) {
		const struct tree_dir *dir = dirs[--n];
		if (dir->retired)
			session_notify_delete(session, dir->parent->id, dir->id, tree_name(dir));
		else
			session_notify_inval_dir(session, dir->id);
	}
}

/* What names lead to and was not announced: a first version, which a listing may be without, or one
 * that readers may have seen (slots_note_showing()). From here on it is noted, so that no further
 * successor holds it back. */
static void announce_current(struct mover *mover)
{
	const char *name;

	for (size_t i = 0; i < mover->setup.n_terms; i++) {
		struct term *term = &mover->setup.terms[i];
		_cleanup_(snapshot_unref_cleanup) struct snapshot *current = term_current(term);

		if (!current || slots_was_announced(mover->setup.slots, current->id))
			continue;
		session_notify_inval_dir(mover->setup.session,
					 tree_place(mover->setup.tree, term, &name)->id);
		slots_note_announced(mover->setup.slots, current->id);
	}
}

static void announce_attributes(struct mover *mover)
{
	for (size_t i = 0; i < mover->setup.n_terms; i++) {
		struct snapshot *snapshot = term_current(&mover->setup.terms[i]);
		if (snapshot)
			session_notify_inval_attributes(mover->setup.session, snapshot->id);
		snapshot_unref(snapshot);
	}
}

static void store_all_words(struct mover *mover)
{
	struct session *session = mover->setup.session;
	size_t used = generations_used(mover->setup.generations);
	char *data = session_store_data(session);

	for (size_t offset = 0, len; offset < used; offset += len) {
		len = used - offset < NOTIFIER_DATA_MAX ? used - offset : NOTIFIER_DATA_MAX;
		generations_read(mover->setup.generations, data, len, offset);
		if (session_notify_store(session, mover->setup.generations_id, offset, data, len) <
		    0)
			return;
	}
}

/* All names lead where they should. */
static void announce_generations(struct mover *mover)
{
	for (size_t i = 0; i < mover->setup.n_terms; i++) {
		struct term *term = &mover->setup.terms[i];
		_cleanup_(snapshot_unref_cleanup) struct snapshot *current = term_current(term);
		if (current)
			generations_raise(mover->setup.generations, term->slot, current->id);
	}
	store_all_words(mover);
}

/* What a predecessor committed and nobody was shown is published as if it came just now. */
static void roll_forward(struct mover *mover, const struct mover_held_back *held_back, size_t n)
{
	for (size_t i = 0; i < n; i++)
		mover_publish(mover, held_back[i].term, held_back[i].next, held_back[i].move);
}

void mover_take_over(struct mover *mover, bool attributes, const struct mover_held_back *held_back,
		     size_t n_held_back)
{
	/* A predecessor's staged names. */
	if (mover->setup.visitor)
		session_notify_inval_entry(mover->setup.session, mover->setup.virtual_dir_id,
					   STAGE_NAME);
	announce_superseded(mover);
	announce_current(mover);
	if (attributes) {
		announce_dirs(mover);
		announce_attributes(mover);
	}
	/* Last, for what shows then is all that a further successor finds in the slots. */
	roll_forward(mover, held_back, n_held_back);
	announce_generations(mover);
}
