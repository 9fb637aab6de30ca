#include "fetch/watch.h"

#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "base/files.h"
#include "base/hash.h"

/* How long the start waits until all directories are watched. */
#define BIND_MS 1000

struct directory;

struct item {
	const char *path; /* borrowed; the key of by_path */
	struct directory *directory;
	size_t tag;
	bool is_link;
	bool is_changed;	  /* in the list of changed items */
	bool is_rechecked;	  /* guarded by lock; in the list of items to recheck */
	struct item *twin;	  /* the next one with the same path */
	struct item *next_of_tag; /* the next one with the same tag */
	struct item *next_in_directory;
	struct item *next_changed;
	struct item *next_recheck; /* guarded by lock */
	UT_hash_handle by_path;	   /* the first of its twins only */
};

struct directory {
	char *path; /* owned; "" is the root */
	int wd;	    /* -1: not watched */
	struct item *items;
	struct directory *alias; /* another path to the same directory: the same wd */
	UT_hash_handle by_path;
	UT_hash_handle by_wd; /* the first of its aliases only */
};

struct watch {
	struct helper *helper; /* borrowed; NULL: none */
	struct cancel *cancel; /* borrowed */
	void (*changed)(void *arg, size_t tag);
	void *arg;
	int inotify; /* owned */
	int wake;    /* owned; an eventfd: there is something to recheck */
	pthread_t thread;
	bool is_started;
	bool has_complained; /* about the limit of watches */
	pthread_cond_t bound;
	bool is_bound;	     /* guarded by lock; all directories were tried once */
	atomic_bool is_late; /* the start has not waited for that */

	struct item **by_tag; /* owned */
	struct item *items_by_path;
	struct directory *directories_by_path;
	struct directory *directories_by_wd;
	struct item *changed_items;
	int64_t settled_at_ms; /* when changed_items are reported */

	pthread_mutex_t lock;
	struct item *rechecks; /* guarded by lock */
};

DEFINE_CLEANUP(struct watch, watch_free)

int watch_new(struct watch **ret, size_t n_tags, struct helper *helper, struct cancel *cancel,
	      void (*changed)(void *arg, size_t tag), void *arg, struct err *err)
{
	_cleanup_(watch_free_cleanup) struct watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return err_set(err, ERR_INTERNAL, "watching files: out of memory");
	pthread_mutex_init(&watch->lock, NULL);
	pthread_cond_init(&watch->bound, NULL);
	watch->helper = helper;
	watch->cancel = cancel;
	watch->changed = changed;
	watch->arg = arg;
	watch->wake = -1;
	watch->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (watch->inotify < 0)
		return err_errno(err, "watching files: inotify_init1");
	watch->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (watch->wake < 0)
		return err_errno(err, "watching files: eventfd");
	watch->by_tag = calloc(n_tags ? n_tags : 1, sizeof(struct item *));
	if (!watch->by_tag)
		return err_set(err, ERR_INTERNAL, "watching files: out of memory");
	*ret = steal_ptr(&watch);
	return 0;
}

void watch_free(struct watch *watch)
{
	struct directory *directory, *next_directory;
	struct item *item, *next_item;

	if (!watch)
		return;
	if (watch->is_started)
		pthread_join(watch->thread, NULL);
	HASH_CLEAR(by_wd, watch->directories_by_wd);
	HASH_CLEAR(by_path, watch->items_by_path);
	HASH_ITER(by_path, watch->directories_by_path, directory, next_directory) {
		HASH_DELETE(by_path, watch->directories_by_path, directory);
		for (item = directory->items; item; item = next_item) {
			next_item = item->next_in_directory;
			free(item);
		}
		free(directory->path);
		free(directory);
	}
	free(watch->by_tag);
	close_cleanup(&watch->inotify);
	close_cleanup(&watch->wake);
	pthread_cond_destroy(&watch->bound);
	pthread_mutex_destroy(&watch->lock);
	free(watch);
}

static struct directory *find_directory(struct watch *watch, const char *path, size_t len)
{
	struct directory *directory = NULL;

	HASH_FIND(by_path, watch->directories_by_path, path, len, directory);
	if (directory)
		return directory;
	directory = calloc(1, sizeof(*directory));
	if (!directory || !(directory->path = strndup(path, len))) {
		free(directory);
		return NULL;
	}
	directory->wd = -1;
	HASH_ADD_KEYPTR(by_path, watch->directories_by_path, directory->path, len, directory);
	if (hash_has(directory, by_path))
		return directory;
	free(directory->path);
	free(directory);
	return NULL;
}

int watch_add(struct watch *watch, const char *path, size_t tag, struct err *err)
{
	const char *slash = strrchr(path, '/');
	struct item *first = NULL;

	if (!slash || !slash[1])
		return 0;
	struct directory *directory = find_directory(watch, path, (size_t)(slash - path));
	struct item *item = directory ? calloc(1, sizeof(*item)) : NULL;
	if (!item)
		return err_set(err, ERR_INTERNAL, "watching %s: out of memory", path);
	item->path = path;
	item->tag = tag;
	item->directory = directory;
	item->next_in_directory = directory->items;
	directory->items = item;
	item->next_of_tag = watch->by_tag[tag];
	watch->by_tag[tag] = item;
	HASH_FIND(by_path, watch->items_by_path, path, strlen(path), first);
	if (first) {
		item->twin = first->twin;
		first->twin = item;
	} else {
		HASH_ADD_KEYPTR(by_path, watch->items_by_path, path, strlen(path), item);
		if (!hash_has(item, by_path))
			return err_set(err, ERR_INTERNAL, "watching %s: out of memory", path);
	}
	return 0;
}

static void mark(struct watch *watch, struct item *item)
{
	if (item->is_changed)
		return;
	if (!watch->changed_items)
		watch->settled_at_ms = clock_boot_ms() + WATCH_SETTLE_MS;
	item->is_changed = true;
	item->next_changed = watch->changed_items;
	watch->changed_items = item;
}

static void mark_directory(struct watch *watch, struct directory *directory)
{
	for (struct item *item = directory->items; item; item = item->next_in_directory)
		mark(watch, item);
}

/* Out of memory, the directory and its aliases are not watched until the next recheck. */
static void index_by_wd(struct watch *watch, struct directory *directory)
{
	struct directory *next;

	HASH_ADD(by_wd, watch->directories_by_wd, wd, sizeof(int), directory);
	if (hash_has(directory, by_wd))
		return;
	inotify_rm_watch(watch->inotify, directory->wd);
	for (; directory; directory = next) {
		next = directory->alias;
		directory->alias = NULL;
		directory->wd = -1;
	}
}

static void detach(struct watch *watch, struct directory *directory)
{
	struct directory *first = NULL;

	HASH_FIND(by_wd, watch->directories_by_wd, &directory->wd, sizeof(int), first);
	if (first == directory) {
		struct directory *heir = directory->alias;
		HASH_DELETE(by_wd, watch->directories_by_wd, directory);
		if (heir)
			index_by_wd(watch, heir);
		else
			inotify_rm_watch(watch->inotify, directory->wd);
	}
	for (; first; first = first->alias) {
		if (first->alias == directory)
			first->alias = directory->alias;
	}
	directory->alias = NULL;
	directory->wd = -1;
}

static void attach(struct watch *watch, struct directory *directory, int wd)
{
	struct directory *first = NULL;

	directory->wd = wd;
	HASH_FIND(by_wd, watch->directories_by_wd, &wd, sizeof(int), first);
	if (first) {
		directory->alias = first->alias;
		first->alias = directory;
	} else {
		index_by_wd(watch, directory);
	}
}

static void complain(struct watch *watch, const struct err *err)
{
	if (err->kind != ERR_BUSY) {
		log_event(LOG_LEVEL_DEBUG, "not_watched", LOG_STR("error", err->msg));
	} else if (!watch->has_complained) {
		watch->has_complained = true;
		log_event(LOG_LEVEL_WARNING, "watch_limit", LOG_STR("error", err->msg));
	}
}

/* Watches the directory that is at the path now. True if it is not the same as before. */
static bool rebind(struct watch *watch, struct directory *directory)
{
	struct err err = ERR_INIT;
	int wd = files_watch(watch->helper, watch->inotify, directory->path, &err);

	if (wd < 0)
		complain(watch, &err);
	if (wd == directory->wd)
		return false;
	if (directory->wd >= 0)
		detach(watch, directory);
	if (wd >= 0)
		attach(watch, directory, wd);
	return wd >= 0;
}

static void look_at_link(struct watch *watch, struct item *item)
{
	struct err ignored = ERR_INIT;
	struct stat st;

	item->is_link = files_lstat(watch->helper, item->path, &st, &ignored) == 0 &&
			S_ISLNK(st.st_mode);
}

/* Whether the file was just created and may still be written to. Closing it is another event. */
static bool is_unfinished(const struct watch *watch, const struct item *item)
{
	struct err ignored = ERR_INIT;
	struct stat st;

	return files_lstat(watch->helper, item->path, &st, &ignored) == 0 && S_ISREG(st.st_mode) &&
	       st.st_nlink == 1;
}

static void note(struct watch *watch, struct item *item, bool is_complete)
{
	if (is_complete)
		watch->changed(watch->arg, item->tag);
	else
		mark(watch, item);
}

static void handle_name(struct watch *watch, struct directory *directory, uint32_t mask,
			const char *name)
{
	bool is_complete = mask & (IN_MOVED_TO | IN_CREATE);
	char path[PATH_MAX];
	struct item *first = NULL;
	int len = snprintf(path, sizeof(path), "%s/%s", directory->path, name);

	if (len < (int)sizeof(path))
		HASH_FIND(by_path, watch->items_by_path, path, (unsigned)len, first);
	if (first && !(mask & IN_CREATE && is_unfinished(watch, first))) {
		for (struct item *item = first; item; item = item->twin)
			note(watch, item, is_complete);
	}
	for (struct item *item = directory->items; item; item = item->next_in_directory) {
		if (item->is_link)
			note(watch, item, mask & IN_MOVED_TO);
	}
}

static void handle_event(struct watch *watch, const struct inotify_event *event)
{
	struct directory *directory = NULL, *next;

	if (event->mask & IN_Q_OVERFLOW) {
		HASH_ITER(by_path, watch->directories_by_path, directory, next)
			mark_directory(watch, directory);
		return;
	}
	HASH_FIND(by_wd, watch->directories_by_wd, &event->wd, sizeof(int), directory);
	for (; directory; directory = next) {
		next = directory->alias;
		if (event->mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT)) {
			mark_directory(watch, directory);
			detach(watch, directory);
		} else if (event->len > 0) {
			handle_name(watch, directory, event->mask, event->name);
		}
	}
}

static void read_events(struct watch *watch)
{
	alignas(struct inotify_event) char buffer[4096];
	ssize_t len = read(watch->inotify, buffer, sizeof(buffer));

	for (char *at = buffer; at < buffer + len;) {
		const struct inotify_event *event = (const void *)at;
		handle_event(watch, event);
		at += sizeof(*event) + event->len;
	}
}

static void recheck_all(struct watch *watch)
{
	eventfd_t ignored;

	eventfd_read(watch->wake, &ignored);
	for (;;) {
		pthread_mutex_lock(&watch->lock);
		struct item *item = watch->rechecks;
		if (item) {
			watch->rechecks = item->next_recheck;
			item->is_rechecked = false;
		}
		pthread_mutex_unlock(&watch->lock);
		if (!item)
			return;
		/* The directory may have changed between the update and the new watch. */
		if (rebind(watch, item->directory))
			mark_directory(watch, item->directory);
		look_at_link(watch, item);
	}
}

static void report_changes(struct watch *watch)
{
	struct item *item = watch->changed_items;

	watch->changed_items = NULL;
	while (item) {
		struct item *next = item->next_changed;
		item->is_changed = false;
		watch->changed(watch->arg, item->tag);
		item = next;
	}
}

/* ---- the first time ---- */

static void bind_all(struct watch *watch)
{
	struct directory *directory, *next;

	HASH_ITER(by_path, watch->directories_by_path, directory, next) {
		if (cancel_requested(watch->cancel))
			break;
		/* Updates that did not wait may have seen the file before it was watched. */
		if (rebind(watch, directory) && atomic_load(&watch->is_late))
			mark_directory(watch, directory);
		for (struct item *item = directory->items; item; item = item->next_in_directory)
			look_at_link(watch, item);
	}
	pthread_mutex_lock(&watch->lock);
	watch->is_bound = true;
	pthread_cond_signal(&watch->bound);
	pthread_mutex_unlock(&watch->lock);
}

/* A directory may be on a file system that does not answer. */
static void wait_until_bound(struct watch *watch)
{
	struct timespec until = clock_after(BIND_MS);
	int result = 0;

	pthread_mutex_lock(&watch->lock);
	while (!watch->is_bound && result == 0)
		result = pthread_cond_clockwait(&watch->bound, &watch->lock, CLOCK_MONOTONIC,
						&until);
	atomic_store(&watch->is_late, !watch->is_bound);
	pthread_mutex_unlock(&watch->lock);
}

/* ---- the thread ---- */

static void *thread_main(void *arg)
{
	struct watch *watch = arg;
	struct pollfd fds[] = {
		{ .fd = watch->cancel->fd, .events = POLLIN },
		{ .fd = watch->inotify, .events = POLLIN },
		{ .fd = watch->wake, .events = POLLIN },
	};

	pthread_setname_np(pthread_self(), "watch");
	bind_all(watch);
	while (!cancel_requested(watch->cancel)) {
		int64_t wait_ms = watch->settled_at_ms - clock_boot_ms();

		poll(fds, ARRAY_SIZE(fds),
		     !watch->changed_items ? -1
		     : wait_ms > 0	   ? (int)wait_ms
					   : 0);
		if (fds[1].revents)
			read_events(watch);
		if (fds[2].revents)
			recheck_all(watch);
		if (watch->changed_items && clock_boot_ms() >= watch->settled_at_ms)
			report_changes(watch);
	}
	return NULL;
}

int watch_start(struct watch *watch, struct err *err)
{
	int result = pthread_create(&watch->thread, NULL, thread_main, watch);
	if (result != 0) {
		errno = result;
		return err_errno(err, "watching files: starting a thread");
	}
	watch->is_started = true;
	wait_until_bound(watch);
	return 0;
}

void watch_recheck(struct watch *watch, size_t tag)
{
	bool wake = false;

	pthread_mutex_lock(&watch->lock);
	for (struct item *item = watch->by_tag[tag]; item; item = item->next_of_tag) {
		if (item->is_rechecked)
			continue;
		item->is_rechecked = true;
		item->next_recheck = watch->rechecks;
		watch->rechecks = item;
		wake = true;
	}
	pthread_mutex_unlock(&watch->lock);
	if (wake)
		eventfd_write(watch->wake, 1);
}
