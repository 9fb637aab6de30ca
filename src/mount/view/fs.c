#include "mount/view/fs.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "mount/view/fs_state.h"
#include "mount/view/xattr.h"

#define STATFS_BLOCK 4096

static void reply_not_rendered(fuse_req_t req, const char *name, const struct err *err)
{
	if (err->kind == ERR_NOT_FOUND) {
		fuse_reply_err(req, ENOENT);
	} else if (err->kind == ERR_BUSY) {
		fuse_reply_err(req, EDQUOT);
	} else {
		log_event(LOG_LEVEL_ERROR, "render_failed", LOG_STR("file", name),
			  LOG_STR("error", err->msg));
		fuse_reply_err(req, EIO);
	}
}

/* A request has the caller's user and group, but not the supplementary groups: these give no rights
 * to what .rpt/ shows. */
static void lookup_rendered(struct fs *fs, fuse_req_t req, const char *name)
{
	const struct fuse_ctx *context = fuse_req_ctx(req);
	const struct term_reader caller = { .uid = context->uid, .gid = context->gid };
	struct err err = ERR_INIT;
	struct rendering rendering;

	if (rendered_lookup(fs->rendered, name, &caller, &rendering, &err) < 0) {
		reply_not_rendered(req, name, &err);
		return;
	}
	struct stat stat = fs_rendering_stat(fs, &rendering);
	struct fuse_entry_param entry = fs_entry(&stat);
	entry.ino = rendering.id;
	entry.entry_timeout = 0; /* the next look-up gets a rendering of its own */
	if (fuse_reply_entry(req, &entry) < 0)
		rendered_forget(fs->rendered, rendering.id, 1);
}

static void reply_entry(fuse_req_t req, struct stat stat)
{
	struct fuse_entry_param entry = fs_entry(&stat);

	fuse_reply_entry(req, &entry);
}

/* Entries of .rpt/ that are not rendered. Returns false for renderings, and for names that do not
 * exist. */
static bool fixed_stat(struct fs *fs, const char *name, struct stat *ret)
{
	if (strcmp(name, GENERATIONS_NAME) == 0)
		*ret = fs_generations_stat(fs);
	else if (strcmp(name, PENDING_DIR_NAME) == 0)
		*ret = fs_pending_dir_stat(fs);
	else
		return false;
	return true;
}

/* A superseded snapshot by its id, or NULL. The caller's reference. */
static struct snapshot *find_superseded(struct fs *fs, const char *name, struct term **ret_term)
{
	uint64_t id = strtoull(name, NULL, 10);
	bool superseded = false;
	char own[PENDING_NAME_SIZE];
	struct snapshot *snapshot = nodes_find(fs->nodes, id, ret_term, &superseded);

	snprintf(own, sizeof(own), "%" PRIu64, id);
	if (snapshot && superseded && strcmp(own, name) == 0)
		return snapshot;
	snapshot_unref(snapshot);
	return NULL;
}

/* A snapshot that is about to be published, and, without staying in the kernel's cache of names,
 * one that is superseded: see tell_holders() in publisher.c. */
static void lookup_pending(struct fs *fs, fuse_req_t req, const char *name)
{
	struct term *term;
	struct snapshot *snapshot = pending_moves_find(fs->pending_moves, name, &term);
	bool is_superseded = !snapshot;

	if (is_superseded)
		snapshot = find_superseded(fs, name, &term);
	if (!snapshot) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	struct stat stat = fs_snapshot_stat(snapshot, term, is_superseded);
	struct fuse_entry_param entry = fs_entry(&stat);
	if (is_superseded)
		entry.entry_timeout = 0;
	fuse_reply_entry(req, &entry);
	snapshot_unref(snapshot);
}

/* A look-up costs about ten times as much as an entry of READDIRPLUS. So a directory is listed as
 * soon as the look-ups of its names have cost as much as listing all of them. */
#define LIST_MIN_CHILDREN 64

static void note_lookup(struct fs *fs, struct tree_dir *dir)
{
	unsigned threshold = (unsigned)(LIST_MIN_CHILDREN + dir->n_children) / 16;

	if (dir->n_children < LIST_MIN_CHILDREN)
		return;
	if (atomic_fetch_add_explicit(&dir->n_lookups, 1, memory_order_relaxed) + 1 != threshold)
		return;
	atomic_store_explicit(&dir->n_lookups, 0, memory_order_relaxed);
	publish_queue_list(fs->publish_queue, dir);
}

static void lookup_child(struct fs *fs, fuse_req_t req, struct tree_dir *dir, const char *name)
{
	const struct tree_child *child = tree_child(dir, name);
	struct fuse_entry_param entry;

	if (dir->id == TREE_ROOT_ID && strcmp(name, RPT_DIR_NAME) == 0)
		reply_entry(req, fs_rpt_dir_stat(fs));
	else if (child && fs_child_entry(fs, child, &entry)) {
		fuse_reply_entry(req, &entry);
		if (child->term)
			note_lookup(fs, dir);
	} else
		fuse_reply_err(req, ENOENT);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fuse_req_userdata(req);
	struct tree_dir *dir = tree_dir(fs->tree, parent);
	struct stat stat;

	if (strlen(name) > NAME_MAX)
		fuse_reply_err(req, ENAMETOOLONG);
	else if (dir)
		lookup_child(fs, req, dir, name);
	else if (parent == fs->pending_dir_id)
		lookup_pending(fs, req, name);
	else if (parent != fs->rpt_dir_id)
		fuse_reply_err(req, ENOENT);
	else if (fixed_stat(fs, name, &stat))
		reply_entry(req, stat);
	else
		lookup_rendered(fs, req, name);
}

static void forget(struct fs *fs, uint64_t id, uint64_t count)
{
	struct term *term;
	bool superseded = false;

	if (id & RENDERED_ID_BIT) {
		rendered_forget(fs->rendered, id, count);
		return;
	}
	struct snapshot *snapshot = nodes_find(fs->nodes, id, &term, &superseded);
	if (superseded)
		publish_queue_forgotten(fs->publish_queue, id);
	snapshot_unref(snapshot);
}

static void op_forget(fuse_req_t req, fuse_ino_t id, uint64_t count)
{
	forget(fuse_req_userdata(req), id, count);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		forget(fuse_req_userdata(req), forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static bool stat_of(struct fs *fs, uint64_t id, struct stat *ret)
{
	const struct tree_dir *dir = tree_dir(fs->tree, id);
	struct term *term;
	bool superseded;

	if (dir) {
		*ret = fs_dir_stat(fs, dir);
		return true;
	}
	if (id == fs->rpt_dir_id) {
		*ret = fs_rpt_dir_stat(fs);
		return true;
	}
	if (id == fs->pending_dir_id) {
		*ret = fs_pending_dir_stat(fs);
		return true;
	}
	if (id == fs->generations_id) {
		*ret = fs_generations_stat(fs);
		return true;
	}
	if (id & RENDERED_ID_BIT) {
		const struct rendering *rendering = rendered_get(fs->rendered, id);
		if (!rendering)
			return false;
		*ret = fs_rendering_stat(fs, rendering);
		rendered_forget(fs->rendered, id, 1);
		return true;
	}
	struct snapshot *snapshot = nodes_find(fs->nodes, id, &term, &superseded);
	if (!snapshot)
		return false;
	*ret = fs_snapshot_stat(snapshot, term, superseded);
	snapshot_unref(snapshot);
	return true;
}

static void op_getattr(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *info)
{
	struct stat stat;

	(void)info;
	if (stat_of(fuse_req_userdata(req), id, &stat))
		fuse_reply_attr(req, &stat, FS_FOREVER_S);
	else
		fuse_reply_err(req, EIO);
}

static void op_statfs(fuse_req_t req, fuse_ino_t id)
{
	struct fs *fs = fuse_req_userdata(req);
	uint64_t snapshots, bytes;

	(void)id;
	store_usage(fs->setup.store, &snapshots, &bytes);
	struct statvfs statvfs = {
		.f_bsize = STATFS_BLOCK,
		.f_frsize = STATFS_BLOCK,
		.f_blocks = (bytes + STATFS_BLOCK - 1) / STATFS_BLOCK,
		.f_files = fs->setup.n_terms,
		.f_namemax = NAME_MAX,
	};
	fuse_reply_statfs(req, &statvfs);
}

/* After ENOSYS the kernel does not ask again: opening then costs no request. */
static void op_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *info)
{
	(void)id;
	(void)info;
	fuse_reply_err(req, ENOSYS);
}

static void reply_value(fuse_req_t req, const char *value, size_t len, size_t size)
{
	if (size == 0)
		fuse_reply_xattr(req, len);
	else if (size < len)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, value, len);
}

static const char *root_value(const struct fs *fs, const char *name)
{
	if (strcmp(name, XATTR_CONTROL) == 0)
		return fs->setup.control_path;
	return strcmp(name, XATTR_PUBLISH_MODE) == 0 ? fs_publish_mode(fs) : NULL;
}

static void op_getxattr(fuse_req_t req, fuse_ino_t id, const char *name, size_t size)
{
	struct fs *fs = fuse_req_userdata(req);
	_cleanup_free_ char *value = NULL;
	int failure = ENODATA;
	struct term *term;
	bool superseded;

	const char *of_root = id == TREE_ROOT_ID ? root_value(fs, name) : NULL;
	if (of_root) {
		reply_value(req, of_root, strlen(of_root), size);
		return;
	}
	struct snapshot *snapshot = nodes_find(fs->nodes, id, &term, &superseded);
	if (snapshot)
		failure = xattr_get(name, snapshot, term, &value);
	snapshot_unref(snapshot);
	if (failure)
		fuse_reply_err(req, failure);
	else
		reply_value(req, value, strlen(value), size);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t id, size_t size)
{
	struct fs *fs = fuse_req_userdata(req);
	struct term *term;
	bool superseded;
	struct snapshot *snapshot = nodes_find(fs->nodes, id, &term, &superseded);

	reply_value(req, xattr_list, snapshot ? xattr_list_size : 0, size);
	snapshot_unref(snapshot);
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	session_negotiate(conn);
}

/* No operation writes: the mount is read-only, so the kernel itself returns EROFS. */
static const struct fuse_lowlevel_ops operations = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.rename = fs_op_rename,
	.unlink = fs_op_unlink,
	.open = op_open,
	.opendir = op_open,
	.read = fs_op_read,
	.readdir = fs_op_readdir,
	.readdirplus = fs_op_readdirplus,
	.statfs = op_statfs,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
};

/* The snapshots in the store are visible from the first look-up on. */
static int enter_current(struct fs *fs, struct err *err)
{
	for (size_t i = 0; i < fs->setup.n_terms; i++) {
		struct term *term = &fs->setup.terms[i];
		struct snapshot *snapshot = term_current(term);
		int result = snapshot ? nodes_add(fs->nodes, snapshot, term, err) : 0;
		snapshot_unref(snapshot);
		if (result < 0)
			return -1;
	}
	return 0;
}

DEFINE_CLEANUP(struct fs, fs_free)

int fs_new(struct fs **ret, const struct fs_setup *setup, struct err *err)
{
	_cleanup_(fs_free_cleanup) struct fs *fs = calloc(1, sizeof(*fs));
	const struct rendered_setup rendered_setup = {
		.files = setup->rendered_files,
		.n_files = setup->n_rendered_files,
		.rights = setup->rights,
		.budget = setup->budget,
		.life = store_life(setup->store),
	};

	if (!fs)
		return err_set(err, ERR_INTERNAL, "file system: out of memory");
	fs->setup = *setup;
	fs->attributes = fs_attributes(setup);
	fs->started_ns = clock_wall_ns();
	if (tree_new(&fs->tree, setup->terms, setup->n_terms, setup->store, err) < 0 ||
	    spare_fd_new(&fs->spare_fd, err) < 0 || nodes_new(&fs->nodes, err) < 0 ||
	    enter_current(fs, err) < 0 || fs_enter_held(fs, err) < 0 ||
	    rendered_new(&fs->rendered, &rendered_setup, err) < 0 ||
	    generations_new(&fs->generations, err) < 0 ||
	    pending_moves_new(&fs->pending_moves, err) < 0 ||
	    store_directory_id(setup->store, RPT_DIR_NAME "/" PENDING_DIR_NAME, &fs->pending_dir_id,
			       err) < 0 ||
	    store_directory_id(setup->store, RPT_DIR_NAME, &fs->rpt_dir_id, err) < 0 ||
	    store_directory_id(setup->store, RPT_DIR_NAME "/" GENERATIONS_NAME, &fs->generations_id,
			       err) < 0)
		return -1;
	*ret = steal_ptr(&fs);
	return 0;
}

int fs_rehearse(struct inflight *inflight, struct err *err)
{
	struct {
		struct session *session;
	} userdata = { NULL };
	struct session_setup setup = {
		.ops = &operations,
		.ops_size = sizeof(operations),
		.userdata = &userdata,
		.device = SESSION_NO_DEVICE,
		.inflight = inflight,
	};

	if (session_new(&userdata.session, &setup, err) < 0)
		return -1;
	int result = session_replay(userdata.session, err);
	session_free(userdata.session);
	return result;
}

static int start_publisher(struct fs *fs, struct err *err)
{
	struct publish_queue_setup setup = {
		.publisher = {
			.tree = fs->tree,
			.nodes = fs->nodes,
			.store = fs->setup.store,
			.session = fs->session,
			.inflight = fs->inflight,
			.generations = fs->generations,
			.pending_moves = fs->pending_moves,
			.visitor = fs->setup.visitor,
			.spare_memory = fs->setup.spare_memory,
			.terms = fs->setup.terms,
			.n_terms = fs->setup.n_terms,
			.generations_id = fs->generations_id,
			.rpt_dir_id = fs->rpt_dir_id,
			.pending_dir_id = fs->pending_dir_id,
			.prewarm_total_bytes = fs->setup.prewarm_total_bytes,
			.renames = fs->setup.renames,
		},
		.lost = fs->setup.lost,
		.lost_arg = fs->setup.lost_arg,
	};

	return publish_queue_new(&fs->publish_queue, &setup, err);
}

static int start_verifier(struct fs *fs, struct err *err)
{
	struct verifier_setup setup = {
		.terms = fs->setup.terms,
		.n_terms = fs->setup.n_terms,
		.store = fs->setup.store,
		.publish_queue = fs->publish_queue,
		.cancel = fs->setup.cancel,
	};

	return verifier_new(&fs->verifier, &setup, err);
}

static void all_announced(void *arg)
{
	struct fs *fs = arg;

	inflight_set_attributes(fs->inflight, fs->attributes);
}

/* The largest id of a current snapshot, before anything is published. */
static uint64_t largest_id(const struct fs *fs)
{
	uint64_t largest = 0;

	for (size_t i = 0; i < fs->setup.n_terms; i++) {
		struct snapshot *current = term_current(&fs->setup.terms[i]);
		if (current && current->id > largest)
			largest = current->id;
		snapshot_unref(current);
	}
	return largest;
}

int fs_start(struct fs *fs, int device, struct inflight *inflight, bool debug, struct err *err)
{
	bool is_successor = inflight_negotiated(inflight);
	bool others = inflight_attributes(inflight) != fs->attributes;
	struct session_setup setup = {
		.ops = &operations,
		.ops_size = sizeof(operations),
		.userdata = fs,
		.device = device,
		.inflight = inflight,
		.notifier = fs->setup.notifier,
		.debug = debug,
	};

	fs->inflight = inflight;
	/* The session is checked before threads are started whose notifications might wait for a
	 * reply. */
	if (session_new(&fs->session, &setup, err) < 0 || session_replay(fs->session, err) < 0 ||
	    start_publisher(fs, err) < 0 || start_verifier(fs, err) < 0)
		return -1;
	if (!is_successor)
		inflight_set_first(inflight, largest_id(fs));
	if (fs_hold_back(fs, err) < 0 || fs_enter_generations(fs, err) < 0)
		return -1;
	/* Until the take-over is finished, the kernel may have a mixture of old and new attributes,
	 * which is noted as 0. */
	inflight_set_attributes(inflight, is_successor && others ? 0 : fs->attributes);
	if (session_start(fs->session, err) < 0)
		return -1;
	if (is_successor)
		publish_queue_take_over(fs->publish_queue, others, steal_ptr(&fs->held_back),
					fs->n_held_back, all_announced, fs);
	fs->is_successor = is_successor;
	return 0;
}

bool fs_was_unmounted(const struct fs *fs)
{
	return session_was_unmounted(fs->session);
}

int fs_over_fd(const struct fs *fs)
{
	return session_over_fd(fs->session);
}

/* The publisher is stopped while requests are still answered, because its notifications may wait
 * for replies. Objects that it uses are freed after it. */
void fs_free(struct fs *fs)
{
	if (!fs)
		return;
	if (fs->verifier)
		verifier_stop(fs->verifier);
	if (fs->publish_queue)
		publish_queue_stop(fs->publish_queue);
	session_free(fs->session);
	verifier_free(fs->verifier);
	publish_queue_free(fs->publish_queue);
	rendered_free(fs->rendered);
	generations_free(fs->generations);
	fs_free_held_back(fs);
	pending_moves_free(fs->pending_moves);
	nodes_free(fs->nodes);
	spare_fd_free(fs->spare_fd);
	fs_free_former_terms(fs);
	tree_free(fs->tree);
	free(fs);
}

void fs_wait_taken_over(struct fs *fs, int64_t limit_ms)
{
	if (fs->is_successor)
		publish_queue_wait_taken_over(fs->publish_queue, limit_ms);
}

const char *fs_publish_mode(const struct fs *fs)
{
	return publish_queue_mode(fs->publish_queue);
}

void fs_publish_counts(struct fs *fs, struct publish_counts *ret)
{
	publish_queue_counts(fs->publish_queue, ret);
}

void fs_announce_end(struct fs *fs)
{
	publish_queue_announce_end(fs->publish_queue);
}

int fs_publish(void *arg, struct term *term, struct snapshot *snapshot, struct err *err)
{
	struct fs *fs = arg;

	return publish_queue_publish(fs->publish_queue, term, snapshot, err);
}

void fs_request_counts(struct fs *fs, void (*each)(void *arg, const char *op, uint64_t count),
		       void *arg)
{
	session_request_counts(fs->session, each, arg);
}
