/*
 * The take-over: once a successor answers requests, it finishes the publications that its
 * predecessor began, and sends the kernel the notifications that it may have missed.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "mount/connection/notifier.h"
#include "mount/publish/publisher_internal.h"

/* Does the kernel know the current snapshot of the term? */
static bool was_announced(struct publisher *publisher, struct term *term)
{
	_cleanup_(snapshot_unref_cleanup) struct snapshot *current = term_current(term);

	return current && inflight_was_announced(publisher->setup.inflight, current->id);
}

/* A snapshot that the kernel does not hold needs no notification, because its dentry is gone. But
 * if the predecessor died before it had announced the next one, a reader may still be about to take
 * its last answer, with the directory locked. */
static void announce_superseded(struct publisher *publisher)
{
	struct session *session = publisher->setup.session;
	_cleanup_free_ struct node_place *places = NULL;
	struct err err = ERR_INIT;
	const char *name;
	size_t n;

	if (nodes_superseded(publisher->setup.nodes, &places, &n, &err) < 0) {
		log_event(LOG_LEVEL_ERROR, "takeover_failed", LOG_STR("error", err.msg));
		return;
	}
	for (size_t i = 0; i < n; i++) {
		const struct tree_dir *dir = tree_place(publisher->setup.tree, places[i].term,
							&name);
		if (!was_announced(publisher, places[i].term)) {
			session_wait_for_dir(session, dir->id);
			if (session_kernel_holds(session, places[i].id))
				session_notify_delete(session, dir->id, places[i].id, name);
		}
		publisher_release_if_unheld(publisher, places[i].id);
	}
}

/* A cached listing may lack a name, or have one that went away. Goes from the leaves up, because a
 * retired directory can only be removed once it is empty. */
static void announce_dirs(struct publisher *publisher)
{
	struct session *session = publisher->setup.session;
	size_t n;
	struct tree_dir *const *dirs = tree_dirs(publisher->setup.tree, &n);

	while (n > 0) {
		const struct tree_dir *dir = dirs[--n];
		if (dir->retired)
			session_notify_delete(session, dir->parent->id, dir->id, tree_name(dir));
		else
			session_notify_inval_dir(session, dir->id);
	}
}

/* Announces current snapshots that were not announced: a first version, which a cached listing may
 * lack, or one that readers may have seen (inflight_note_showing()). Notes each as announced, so
 * that no later successor holds it back. */
static void announce_current(struct publisher *publisher)
{
	const char *name;

	for (size_t i = 0; i < publisher->setup.n_terms; i++) {
		struct term *term = &publisher->setup.terms[i];
		_cleanup_(snapshot_unref_cleanup) struct snapshot *current = term_current(term);

		if (!current || inflight_was_announced(publisher->setup.inflight, current->id))
			continue;
		session_notify_inval_dir(publisher->setup.session,
					 tree_place(publisher->setup.tree, term, &name)->id);
		inflight_note_announced(publisher->setup.inflight, current->id);
	}
}

static void announce_attributes(struct publisher *publisher)
{
	for (size_t i = 0; i < publisher->setup.n_terms; i++) {
		struct snapshot *snapshot = term_current(&publisher->setup.terms[i]);
		if (snapshot)
			session_notify_inval_attributes(publisher->setup.session, snapshot->id);
		snapshot_unref(snapshot);
	}
}

static void store_all_words(struct publisher *publisher)
{
	struct session *session = publisher->setup.session;
	size_t used = generations_used(publisher->setup.generations);
	char *data = session_store_data(session);

	for (size_t offset = 0, len; offset < used; offset += len) {
		len = used - offset < NOTIFIER_DATA_MAX ? used - offset : NOTIFIER_DATA_MAX;
		generations_read(publisher->setup.generations, data, len, offset);
		if (session_notify_store(session, publisher->setup.generations_id, offset, data,
					 len) < 0)
			return;
	}
}

/* After all names point to their current snapshots. */
static void announce_generations(struct publisher *publisher)
{
	for (size_t i = 0; i < publisher->setup.n_terms; i++) {
		struct term *term = &publisher->setup.terms[i];
		_cleanup_(snapshot_unref_cleanup) struct snapshot *current = term_current(term);
		if (current)
			generations_raise(publisher->setup.generations, term->slot, current->id);
	}
	store_all_words(publisher);
}

/* Publishes snapshots that a predecessor committed and did not show, as if they had just
 * arrived. */
static void roll_forward(struct publisher *publisher, const struct publisher_held_back *held_back,
			 size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct err err = ERR_INIT;

		if (publisher_publish(publisher, held_back[i].term, held_back[i].next,
				      held_back[i].move, &err) < 0)
			log_event(LOG_LEVEL_ERROR, "publish_failed",
				  LOG_STR("term", held_back[i].term->config->name),
				  LOG_STR("error", err.msg));
	}
}

void publisher_take_over(struct publisher *publisher, bool attributes,
			 const struct publisher_held_back *held_back, size_t n_held_back)
{
	/* Staged names of a predecessor. */
	if (publisher->setup.visitor)
		session_notify_inval_entry(publisher->setup.session, publisher->setup.rpt_dir_id,
					   PENDING_DIR_NAME);
	announce_superseded(publisher);
	announce_current(publisher);
	if (attributes) {
		announce_dirs(publisher);
		announce_attributes(publisher);
	}
	/* Last, because a later successor knows only the last snapshot that is visible but not
	 * announced. */
	roll_forward(publisher, held_back, n_held_back);
	announce_generations(publisher);
}
