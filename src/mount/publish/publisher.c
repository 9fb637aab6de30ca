/*
 * Invariants of a publish, checked by assertions here and where pending_moves takes and releases
 * its lock. Steps as in publisher.h; "-" means none.
 *
 *	after step		pending move	dir->moving	name points to	nodes
 *	(before)		-		NULL		old		old
 *	1 staged		READY		NULL		old		old, new
 *	4 in the handler	MOVING		NULL		old, then new	old, new
 *	4 renamed		MOVED		NULL		new		old, new
 *	4 kept from listings	-		the term	old		old, new
 *	4 swapped		-		the term	new		old, new
 *	5 announced		-		NULL		new		old, new
 *	7 ended			-		NULL		new		new
 *
 * A move is withdrawn (READY to -) before the name is moved by a notification, so that no RENAME
 * moves it as well. A failure is only possible before step 4: the name still points to the old
 * snapshot. `may_rename` becomes false once and stays so.
 */
#include "mount/publish/publisher.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "mount/publish/publisher_internal.h"

#define PENDING_PATH RPT_DIR_NAME "/" PENDING_DIR_NAME "/"

int publisher_new(struct publisher **ret, const struct publisher_setup *setup, struct err *err)
{
	_cleanup_(publisher_free_cleanup) struct publisher *publisher = calloc(1,
									       sizeof(*publisher));
	struct prewarm_setup prewarm = {
		.store = setup->store,
		.session = setup->session,
		.spare_memory = setup->spare_memory,
		.total_bytes = setup->prewarm_total_bytes,
	};

	if (!publisher)
		return err_set(err, ERR_INTERNAL, "publisher: out of memory");
	publisher->setup = *setup;
	publisher->may_rename = setup->renames && setup->visitor;
	atomic_init(&publisher->renames, publisher->may_rename);
	if (prewarm_new(&publisher->prewarm, &prewarm, err) < 0)
		return -1;
	*ret = steal_ptr(&publisher);
	return 0;
}

void publisher_free(struct publisher *publisher)
{
	if (!publisher)
		return;
	prewarm_free(publisher->prewarm);
	free(publisher);
}

/* No name of the term's directory is being moved. */
static inline bool is_idle(const struct publisher *publisher, const struct term *term)
{
	const char *name;

	return !atomic_load(&tree_place(publisher->setup.tree, term, &name)->moving);
}

static inline bool shows(struct term *term, const struct snapshot *snapshot)
{
	_cleanup_(snapshot_unref_cleanup) struct snapshot *current = term_current(term);

	return current == snapshot;
}

/* ---- notifications ---- */

static void announce(struct publisher *publisher, struct tree_dir *dir, const char *name,
		     uint64_t old_id)
{
	struct session *session = publisher->setup.session;
	int result = session_notify_delete(session, dir->id, old_id, name);

	if (result == -ENOENT)
		result = session_notify_inval_dir(session, dir->id);
	if (result < 0 && result != -ENOENT)
		log_event(LOG_LEVEL_DEBUG, "notify_failed", LOG_STR("dir", dir->path),
			  LOG_STR("name", name), LOG_STR("error", strerror(-result)));
}

void publisher_release_if_unheld(struct publisher *publisher, uint64_t id)
{
	struct snapshot *snapshot;

	if (session_kernel_holds(publisher->setup.session, id))
		return;
	snapshot = nodes_remove(publisher->setup.nodes, id);
	if (!snapshot)
		return;
	prewarm_released(publisher->prewarm, snapshot);
	store_release(publisher->setup.store, snapshot);
	snapshot_unref(snapshot);
}

/* A hidden snapshot may have left the nodes while it was still current in the store. */
static void release_old(struct publisher *publisher, struct snapshot *old)
{
	if (session_kernel_holds(publisher->setup.session, old->id))
		return;
	prewarm_released(publisher->prewarm, old);
	snapshot_unref(nodes_remove(publisher->setup.nodes, old->id));
	store_release(publisher->setup.store, old);
}

/* ---- generations ---- */

/* -ENOENT: no process has opened the file. */
static int store_word(struct publisher *publisher, uint32_t slot)
{
	char word[sizeof(uint64_t)];
	uint64_t offset = slot * sizeof(word);

	generations_read(publisher->setup.generations, word, sizeof(word), offset);
	return session_notify_store(publisher->setup.session, publisher->setup.generations_id,
				    offset, word, sizeof(word));
}

/* After the name has moved: a program that sees the word and opens the file gets that snapshot. */
static void raise_generation(struct publisher *publisher, const struct term *term, uint64_t id)
{
	generations_raise(publisher->setup.generations, term->slot, id);
	if (store_word(publisher, term->slot) == 0 && term->slot)
		store_word(publisher, 0);
}

/* The name went away: the word becomes an id that no snapshot has. */
static void raise_without_snapshot(struct publisher *publisher, const struct term *term)
{
	struct err err = ERR_INIT;
	uint64_t id;

	if (store_take_id(publisher->setup.store, &id, &err) < 0)
		log_event(LOG_LEVEL_ERROR, "generation_failed", LOG_STR("term", term->config->name),
			  LOG_STR("error", err.msg));
	else
		raise_generation(publisher, term, id);
}

/* ---- moving a name ---- */

static void set_mode(struct publisher *publisher, bool renames, const char *reason)
{
	if (atomic_exchange(&publisher->renames, renames) == renames)
		return;
	log_event(renames ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, "publish_mode",
		  LOG_STR("mode", publisher_mode(publisher)), LOG_STR("reason", reason));
}

/* A read-only superblock (EROFS) becomes writable again: the keeper sees to that. */
static void note_failed_rename(struct publisher *publisher, const struct term *term, int failure)
{
	log_event(LOG_LEVEL_DEBUG, "rename_failed", LOG_STR("term", term->config->name),
		  LOG_STR("error", strerror(-failure)));
	if (failure == -EPERM || failure == -EACCES || failure == -ENOSYS)
		publisher->may_rename = false;
	if (failure == -EROFS || !publisher->may_rename)
		set_mode(publisher, false, strerror(-failure));
}

/* Does everything that the first reader of the name would have to wait for. */
static void prepare(struct publisher *publisher, struct term *term, struct snapshot *next,
		    const char *staged)
{
	_cleanup_(snapshot_unref_cleanup) struct snapshot *replaced = term_current(term);
	int result = visitor_look(publisher->setup.visitor, staged);

	if (result == 0)
		prewarm_store(publisher->prewarm, next, replaced,
			      term->config->prewarm_limit_bytes);
	else
		log_event(LOG_LEVEL_DEBUG, "visit_failed", LOG_STR("term", term->config->name),
			  LOG_STR("error", strerror(-result)));
}

/* Returns 0 or a negative errno. */
static int rename_it(struct publisher *publisher, struct term *term, const char *staged)
{
	const char *name = term->config->name;
	int result = staged ? visitor_move(publisher->setup.visitor, staged, name)
			    : visitor_remove(publisher->setup.visitor, name);

	if (result < 0 && !(result == -ENOENT && !staged))
		note_failed_rename(publisher, term, result);
	return result;
}

/* Listings and look-ups run in parallel: the kernel may process a listing with the old node after a
 * look-up with the new one, and the name would go back to the old one. So from here on listings
 * come without the term's node, and listings in flight are waited for. */
static void keep_from_listings(struct publisher *publisher, struct tree_dir *dir,
			       const struct term *term)
{
	atomic_store(&dir->moving, term);
	if (atomic_exchange(&dir->is_listed, false))
		session_wait_for_dir(publisher->setup.session, dir->id);
}

static void forget_staged(struct publisher *publisher, const char *staged)
{
	session_notify_inval_entry(publisher->setup.session, publisher->setup.pending_dir_id,
				   strrchr(staged, '/') + 1);
}

/*
 * A notification causes no event for a file that a program still has open. So the visitor stats the
 * old snapshot by its id: the kernel learns that it has no link, and when it drops this name again,
 * watchers get IN_DELETE_SELF.
 */
static void tell_holders(struct publisher *publisher, const struct snapshot *old)
{
	char path[PENDING_NAME_SIZE + sizeof(PENDING_PATH)];

	if (!publisher->setup.visitor || !session_kernel_holds(publisher->setup.session, old->id))
		return;
	snprintf(path, sizeof(path), PENDING_PATH "%" PRIu64, old->id);
	visitor_look(publisher->setup.visitor, path);
	forget_staged(publisher, path);
}

/* Returns the snapshot that the name pointed to (a reference for the caller), or NULL. */
static struct snapshot *move_by_notification(struct publisher *publisher, struct term *term,
					     struct snapshot *next)
{
	const char *name;
	struct tree_dir *dir = tree_place(publisher->setup.tree, term, &name);

	keep_from_listings(publisher, dir, term);
	assert(atomic_load(&dir->moving) == term);
	if (next)
		inflight_note_showing(publisher->setup.inflight, next->id);
	struct snapshot *old = term_swap(term, next ? snapshot_ref(next) : NULL);
	if (old)
		nodes_supersede(publisher->setup.nodes, old->id);
	tree_touch(dir);
	announce(publisher, dir, name, old ? old->id : 0);
	if (next)
		inflight_note_announced(publisher->setup.inflight, next->id);
	atomic_store(&dir->moving, NULL);
	if (old)
		tell_holders(publisher, old);
	return old;
}

/* As long as the staged name exists, the kernel never forgets the snapshot. The public name is
 * looked up first, because a node without a name is dropped with its pages. */
static void unstage(struct publisher *publisher, const struct term *term, const char *staged)
{
	visitor_look(publisher->setup.visitor, term->config->name);
	forget_staged(publisher, staged);
}

/* A notification unmounts what somebody has mounted over the name. So a new version is held back:
 * the rename (its result) has failed because of it, or the visitor looks. A removal and a version
 * that is late must move all the same. */
static int hold_back(struct publisher *publisher, const struct term *term, bool must_move,
		     int renamed, struct err *err)
{
	const char *name = term->config->name;

	if (renamed != -EBUSY && visitor_check(publisher->setup.visitor, name) != -EBUSY)
		return 0;
	if (!must_move)
		return err_set(err, ERR_BUSY, "something is mounted over %s", name);
	log_event(LOG_LEVEL_WARNING, "unmounted", LOG_STR("term", name),
		  LOG_STR("reason", "it was mounted over a name that moves or goes away"));
	return 0;
}

/* Ends `move`, which may be NULL. Fails only if !is_late. */
static int move_name(struct publisher *publisher, struct term *term, struct snapshot *next,
		     struct pending_move *move, bool is_late, struct snapshot **ret_old,
		     struct err *err)
{
	bool has_visitor = publisher->setup.visitor && move;
	char staged[PENDING_NAME_SIZE + sizeof(PENDING_PATH)] = "";
	int renamed = -ENOSYS, held_back = 0;

	if (next)
		snprintf(staged, sizeof(staged), PENDING_PATH "%" PRIu64, next->id);
	if (has_visitor && next)
		prepare(publisher, term, next, staged);
	if (has_visitor && publisher->may_rename)
		renamed = rename_it(publisher, term, next ? staged : NULL);
	if (move && pending_moves_end(publisher->setup.pending_moves, move, ret_old)) {
		set_mode(publisher, true, "renaming works again");
		atomic_fetch_add(&publisher->n_renamed, 1);
		return 0;
	}
	if (has_visitor)
		held_back = hold_back(publisher, term, !next || is_late, renamed, err);
	if (held_back == 0) {
		*ret_old = move_by_notification(publisher, term, next);
		atomic_fetch_add(&publisher->n_notified, 1);
	}
	if (has_visitor && next)
		unstage(publisher, term, staged);
	if (held_back < 0 && next)
		prewarm_released(publisher->prewarm, next); /* dropped with the staged name */
	return held_back;
}

int publisher_publish(struct publisher *publisher, struct term *term, struct snapshot *next,
		      struct pending_move *move, struct err *err)
{
	_cleanup_(snapshot_unref_cleanup) struct snapshot *taken = next;
	_cleanup_(snapshot_unref_cleanup) struct snapshot *old = NULL;
	bool is_late = move;

	assert(is_idle(publisher, term));
	if (next && nodes_add(publisher->setup.nodes, next, term, err) < 0) {
		if (move)
			pending_moves_end(publisher->setup.pending_moves, move, &old);
		return err_prefix(err, "publishing version %.128s", next->version);
	}
	if (!move)
		move = pending_moves_begin(publisher->setup.pending_moves, term, next);
	if (move_name(publisher, term, next, move, is_late, &old, err) < 0)
		return err_prefix(err, "publishing version %.128s", next->version);
	assert(is_idle(publisher, term) && shows(term, next));
	if (next)
		raise_generation(publisher, term, next->id);
	else if (old)
		raise_without_snapshot(publisher, term);
	if (old)
		release_old(publisher, old);
	return 0;
}

void publisher_list(struct publisher *publisher, const struct tree_dir *dir)
{
	int result = publisher->setup.visitor ? visitor_list(publisher->setup.visitor, dir->path)
					      : 0;

	if (result < 0)
		log_event(LOG_LEVEL_DEBUG, "list_failed", LOG_STR("dir", dir->path),
			  LOG_STR("error", strerror(-result)));
}

void publisher_end(struct publisher *publisher)
{
	generations_end(publisher->setup.generations);
	store_word(publisher, 0);
	publisher->may_rename = false;
	atomic_store(&publisher->renames, false);
	if (publisher->setup.visitor)
		visitor_retire(publisher->setup.visitor);
}

const char *publisher_mode(const struct publisher *publisher)
{
	return atomic_load_explicit(&publisher->renames, memory_order_relaxed) ? PUBLISHER_RENAMES
									       : PUBLISHER_NOTIFIES;
}

void publisher_counts(const struct publisher *publisher, struct publish_counts *ret)
{
	ret->renamed = atomic_load(&publisher->n_renamed);
	ret->notified = atomic_load(&publisher->n_notified);
	ret->prewarmed_bytes = prewarm_count(publisher->prewarm);
}
