#include "mount/publish/mover.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "mount/publish/mover_internal.h"
#include "mount/view/virtual.h"

#define STAGE_PATH VIRTUAL_DIR_NAME "/" STAGE_NAME "/"

int mover_new(struct mover **ret, const struct mover_setup *setup, struct err *err)
{
	_cleanup_(mover_free_cleanup) struct mover *mover = calloc(1, sizeof(*mover));
	struct prewarm_setup prewarm = {
		.store = setup->store,
		.session = setup->session,
		.headroom = setup->headroom,
		.total_bytes = setup->prewarm_total_bytes,
	};

	if (!mover)
		return err_set(err, ERR_INTERNAL, "mover: out of memory");
	mover->setup = *setup;
	atomic_init(&mover->renames, setup->renames && setup->visitor);
	if (prewarm_new(&mover->prewarm, &prewarm, err) < 0)
		return -1;
	*ret = steal_ptr(&mover);
	return 0;
}

void mover_free(struct mover *mover)
{
	if (!mover)
		return;
	prewarm_free(mover->prewarm);
	free(mover);
}

/* ------------------------------------------------------------------ what the kernel is told */

static void announce(struct mover *mover, struct tree_dir *dir, const char *name, uint64_t old_id)
{
	struct session *session = mover->setup.session;
	int result = session_notify_delete(session, dir->id, old_id, name);

	if (result == -ENOENT)
		result = session_notify_inval_dir(session, dir->id);
	if (result < 0 && result != -ENOENT)
		log_event(LOG_LEVEL_DEBUG, "notify_failed", LOG_STR("dir", dir->path),
			  LOG_STR("name", name), LOG_STR("error", strerror(-result)));
}

void mover_release_if_unheld(struct mover *mover, uint64_t id)
{
	struct snapshot *snapshot;

	if (session_kernel_holds(mover->setup.session, id))
		return;
	snapshot = nodes_remove(mover->setup.nodes, id);
	if (!snapshot)
		return;
	prewarm_released(mover->prewarm, snapshot);
	store_release(mover->setup.store, snapshot);
	snapshot_unref(snapshot);
}

/* One that was hidden may have left the nodes while it was still the store's current one. */
static void release_old(struct mover *mover, const struct snapshot *old)
{
	if (session_kernel_holds(mover->setup.session, old->id))
		return;
	prewarm_released(mover->prewarm, old);
	snapshot_unref(nodes_remove(mover->setup.nodes, old->id));
	store_release(mover->setup.store, old);
}

/* ------------------------------------------------------------------ generations */

/* -ENOENT: nobody has opened the file. */
static int store_word(struct mover *mover, uint32_t slot)
{
	char word[sizeof(uint64_t)];
	uint64_t offset = slot * sizeof(word);

	generations_read(mover->setup.generations, word, sizeof(word), offset);
	return session_notify_store(mover->setup.session, mover->setup.generations_id, offset, word,
				    sizeof(word));
}

/* Whoever sees the word and opens gets that snapshot, so the name has moved before. */
static void raise_generation(struct mover *mover, const struct term *term, uint64_t id)
{
	generations_raise(mover->setup.generations, term->slot, id);
	if (store_word(mover, term->slot) == 0 && term->slot)
		store_word(mover, 0);
}

/* The name went away: nobody has this id. */
static void raise_without_snapshot(struct mover *mover, const struct term *term)
{
	struct err err = ERR_INIT;
	uint64_t id;

	if (store_take_id(mover->setup.store, &id, &err) < 0)
		log_event(LOG_LEVEL_ERROR, "generation_failed", LOG_STR("term", term->config->name),
			  LOG_STR("error", err.msg));
	else
		raise_generation(mover, term, id);
}

/* ------------------------------------------------------------------ moving a name */

/* How names move: by rename(2), or by notifications. For good, once it is known to fail. */
static bool renames(const struct mover *mover)
{
	return atomic_load_explicit(&mover->renames, memory_order_relaxed);
}

static void note_failed_rename(struct mover *mover, const struct term *term, int failure)
{
	log_event(LOG_LEVEL_DEBUG, "rename_failed", LOG_STR("term", term->config->name),
		  LOG_STR("error", strerror(-failure)));
	if (failure != -EROFS && failure != -EPERM && failure != -EACCES && failure != -ENOSYS)
		return;
	log_event(LOG_LEVEL_WARNING, "publish_mode", LOG_STR("mode", MOVER_NOTIFIES),
		  LOG_STR("reason", strerror(-failure)));
	atomic_store(&mover->renames, false);
}

/* Everything that the name's first reader would have to wait for. */
static void prepare(struct mover *mover, struct term *term, struct snapshot *next,
		    const char *staged)
{
	_cleanup_(snapshot_unref_cleanup) struct snapshot *replaced = term_current(term);
	int result = visitor_look(mover->setup.visitor, staged);

	if (result == 0)
		prewarm_store(mover->prewarm, next, replaced, term->config->prewarm_limit_bytes);
	else
		log_event(LOG_LEVEL_DEBUG, "visit_failed", LOG_STR("term", term->config->name),
			  LOG_STR("error", strerror(-result)));
}

static void rename_it(struct mover *mover, struct term *term, const char *staged)
{
	const char *name = term->config->name;
	int result = staged ? visitor_move(mover->setup.visitor, staged, name)
			    : visitor_remove(mover->setup.visitor, name);

	if (result < 0 && !(result == -ENOENT && !staged))
		note_failed_rename(mover, term, result);
}

/* Listings and look-ups run side by side: one that was answered with the old node may be read by
 * the kernel after the other that was answered with the new one, and would take the name back. So
 * from here on listings come without the term's node, and what is on its way with one is waited
 * for. */
static void keep_from_listings(struct mover *mover, struct tree_dir *dir, const struct term *term)
{
	atomic_store(&dir->moving, term);
	if (atomic_exchange(&dir->is_listed, false))
		session_wait_for_dir(mover->setup.session, dir->id);
}

/* Returns the snapshot from which the name has moved: a reference, the caller's, or NULL. */
static struct snapshot *move_by_notification(struct mover *mover, struct term *term,
					     struct snapshot *next)
{
	const char *name;
	struct tree_dir *dir = tree_place(mover->setup.tree, term, &name);

	keep_from_listings(mover, dir, term);
	if (next)
		slots_note_showing(mover->setup.slots, next->id);
	struct snapshot *old = term_swap(term, next ? snapshot_ref(next) : NULL);
	tree_touch(dir);
	announce(mover, dir, name, old ? old->id : 0);
	if (next)
		slots_note_announced(mover->setup.slots, next->id);
	atomic_store(&dir->moving, NULL);
	return old;
}

/* The staged name keeps the kernel from letting go of the snapshot some day. The real one comes
 * first: a node without a name goes, with its pages. */
static void unstage(struct mover *mover, const struct term *term, const char *staged)
{
	visitor_look(mover->setup.visitor, term->config->name);
	session_notify_inval_entry(mover->setup.session, mover->setup.stage_id,
				   strrchr(staged, '/') + 1);
}

/* move: what stage_begin() gave; it ends here. */
static void move_name(struct mover *mover, struct term *term, struct snapshot *next,
		      struct stage_move *move, struct snapshot **ret_old)
{
	bool has_visitor = mover->setup.visitor && move;
	char staged[STAGE_NAME_SIZE + sizeof(STAGE_PATH)] = "";

	if (next)
		snprintf(staged, sizeof(staged), STAGE_PATH "%" PRIu64, next->id);
	if (has_visitor && next)
		prepare(mover, term, next, staged);
	if (has_visitor && renames(mover))
		rename_it(mover, term, next ? staged : NULL);
	if (move && stage_end(mover->setup.stage, move, ret_old)) {
		atomic_fetch_add(&mover->n_renamed, 1);
		return;
	}
	*ret_old = move_by_notification(mover, term, next);
	atomic_fetch_add(&mover->n_notified, 1);
	if (has_visitor && next)
		unstage(mover, term, staged);
}

void mover_publish(struct mover *mover, struct term *term, struct snapshot *next,
		   struct stage_move *move)
{
	_cleanup_(snapshot_unref_cleanup) struct snapshot *taken = next;
	_cleanup_(snapshot_unref_cleanup) struct snapshot *old = NULL;
	struct err err = ERR_INIT;

	if (next && nodes_add(mover->setup.nodes, next, term, &err) < 0) {
		log_event(LOG_LEVEL_ERROR, "publish_failed", LOG_STR("term", term->config->name),
			  LOG_STR("error", err.msg));
		return;
	}
	if (!move)
		move = stage_begin(mover->setup.stage, term, next);
	move_name(mover, term, next, move, &old);
	if (next)
		raise_generation(mover, term, next->id);
	else if (old)
		raise_without_snapshot(mover, term);
	if (!old)
		return;
	nodes_supersede(mover->setup.nodes, old->id);
	release_old(mover, old);
}

void mover_list(struct mover *mover, const struct tree_dir *dir)
{
	int result = mover->setup.visitor ? visitor_list(mover->setup.visitor, dir->path) : 0;

	if (result < 0)
		log_event(LOG_LEVEL_DEBUG, "list_failed", LOG_STR("dir", dir->path),
			  LOG_STR("error", strerror(-result)));
}

void mover_end(struct mover *mover)
{
	generations_end(mover->setup.generations);
	store_word(mover, 0);
	atomic_store(&mover->renames, false);
	if (mover->setup.visitor)
		visitor_retire(mover->setup.visitor);
}

const char *mover_mode(const struct mover *mover)
{
	return renames(mover) ? MOVER_RENAMES : MOVER_NOTIFIES;
}

void mover_counts(const struct mover *mover, struct fs_publish_counts *ret)
{
	ret->renamed = atomic_load(&mover->n_renamed);
	ret->notified = atomic_load(&mover->n_notified);
	ret->prewarmed_bytes = prewarm_count(mover->prewarm);
}
