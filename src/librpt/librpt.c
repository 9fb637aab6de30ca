/*
 * librpt: the state of a handle (struct rpt_term) between two gets.
 *
 *	watching	The words of the term's mount are mapped. The term's word was read before
 *			the name was checked, and a word changes after its name does: as long as
 *			the word is the same, the name still leads to the mapped file. The name is
 *			checked once a second anyway.
 *	not watching	On other file systems, and while detached: each get checks the name.
 *	detached	The mount has ended. The snapshot's stat is zeroed, so that any file the
 *			name leads to differs from it.
 *
 * Checking a name takes a stat(2); a file is opened only if the stat shows a different one. A get
 * tries each step at most twice. The next get handles later changes.
 */
#include "librpt/rpt.h"

#include <string.h>
#include <time.h>

#include "librpt/librpt_snapshot.h"
#include "librpt/librpt_watch.h"

#define NEVER ((time_t)-1)
#define LINE  64 /* bytes of a cache line; no two handles share one */

struct rpt_term {
	/* These fields are all that a get reads when nothing has changed. */
	const uint64_t *word;  /* &no_word while nothing is watched */
	const uint64_t *first; /* likewise */
	uint64_t seen;	       /* the word's value at the last check; never equal to no_word */
	time_t checked_s;      /* wall clock second of the last check */
	int error;	       /* result of the last check; get returns it while nothing changes */
	struct rpt_value value;

	struct librpt_snapshot snapshot; /* value points into it */
	struct librpt_watch watch;
	char *generations; /* owned; path of the words of the mount that is, or was, watched */
	char *path;	   /* owned, absolute */
	bool is_lost;	   /* detached, and some bytes could not be rescued */
} __attribute__((aligned(LINE)));

static const uint64_t no_word;
#define NO_WORD_SEEN 1

static inline bool is_unchanged(const struct rpt_term *term)
{
	return librpt_watch_load(term->word) == term->seen &&
	       librpt_watch_load(term->first) != LIBRPT_OVER && time(NULL) == term->checked_s;
}

static bool is_absent(int error)
{
	return error == -ENOENT || error == -ENOTDIR;
}

/* Records the result of a check that began in second now_s, when the word was `seen`. */
static void note(struct rpt_term *term, uint64_t seen, time_t now_s, int error)
{
	bool watching = term->watch.word;

	term->word = watching ? term->watch.word : &no_word;
	term->first = watching ? term->watch.first : &no_word;
	term->seen = watching ? seen : NO_WORD_SEEN;
	term->checked_s = now_s;
	term->error = error;
}

static void stop_watching(struct rpt_term *term)
{
	librpt_watch_end(&term->watch);
	note(term, NO_WORD_SEEN, NEVER, 0);
}

/* The mount has ended or is about to end. */
static void detach(struct rpt_term *term)
{
	if (!term->value.detached)
		term->is_lost = librpt_snapshot_rescue(&term->snapshot) < 0;
	term->value.detached = 1;
	term->snapshot.stat = (struct stat){ 0 };
	stop_watching(term);
}

/* Returns whether the watched mount is still there; while detached, whether any mount is there. */
static bool mount_stands(const struct rpt_term *term)
{
	struct stat stat;

	return TEMP_FAILURE_RETRY(lstat(term->generations, &stat)) == 0 && S_ISREG(stat.st_mode) &&
	       (!term->watch.word || stat.st_dev == term->watch.dev);
}

static bool is_same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* Returns RPT_UNCHANGED if the name leads to the mapped file, else RPT_CHANGED or a negative
 * errno. */
static int check_name(const struct rpt_term *term)
{
	const struct stat *held = &term->snapshot.stat;
	struct stat found;

	if (TEMP_FAILURE_RETRY(stat(term->path, &found)) < 0)
		return -errno;
	bool is_same = found.st_dev == held->st_dev && found.st_ino == held->st_ino;
	/* A snapshot is immutable. Other files may be written in place. */
	if (is_same && !term->watch.word)
		is_same = found.st_size == held->st_size &&
			  is_same_time(&found.st_mtim, &held->st_mtim) &&
			  is_same_time(&found.st_ctim, &held->st_ctim);
	return is_same ? RPT_UNCHANGED : RPT_CHANGED;
}

/* Handles a name that cannot be resolved: either the term was removed, or the mount has ended.
 * Returns 0 if the mount has ended and the last value stays, else a negative errno. */
static int handle_missing(struct rpt_term *term, int error)
{
	if (!term->generations || !(is_absent(error) || librpt_is_dead(error)))
		return error;
	if (is_absent(error) && mount_stands(term)) {
		/* The mount may have appeared after the name was checked. */
		if (!term->value.detached || is_absent(check_name(term)))
			return error;
	}
	detach(term);
	return term->is_lost ? -ENOTCONN : 0;
}

/* Opens and maps the words. -EXDEV: the path leads to another mount than dev. */
static int map_watch(const char *generations, dev_t dev, uint32_t slot, struct librpt_watch *ret)
{
	_cleanup_close_ int fd = -1;
	struct stat stat;

	int r = librpt_snapshot_open(generations, &fd, &stat);
	if (r < 0)
		return r;
	if (stat.st_dev != dev)
		return -EXDEV;
	return librpt_watch_begin(ret, fd, dev, slot);
}

/* Watches a slot of mount dev. *ret: whether that succeeded. Fails only if the mount is dead. */
static int watch(struct rpt_term *term, dev_t dev, uint32_t slot, bool *ret)
{
	_cleanup_free_ char *generations = NULL;
	struct librpt_watch found;

	int r = librpt_watch_find(term->path, &generations);
	if (r == 0)
		r = map_watch(generations, dev, slot, &found);
	*ret = r == 0;
	if (r < 0)
		return librpt_is_dead(r) ? r : 0;
	stop_watching(term);
	term->watch = found;
	free(term->generations);
	term->generations = steal_ptr(&generations);
	return 0;
}

static void forget_mount(struct rpt_term *term)
{
	stop_watching(term);
	free(term->generations);
	term->generations = NULL;
}

/* The file that the name leads to. */
struct opened {
	int fd; /* owned */
	struct stat stat;
	uint32_t slot;
	uint64_t seen;	 /* the watched word, read before the file was opened */
	bool is_watched; /* that word is this file's */
};

static void opened_release(struct opened *opened)
{
	close_cleanup(&opened->fd);
	opened->fd = -1;
}

static int open_current(struct rpt_term *term, struct opened *ret)
{
	bool can_watch = true;

	/* The word must be read before the file is opened, but only the open file names its slot:
	 * the second round opens the file again if the first one began to watch. */
	for (int round = 0; round < 2; round++) {
		opened_release(ret);
		ret->seen = term->watch.word ? librpt_watch_load(term->watch.word) : 0;
		int r = librpt_snapshot_open(term->path, &ret->fd, &ret->stat);
		if (r == 0)
			r = librpt_snapshot_slot(ret->fd, &ret->slot);
		if (r < 0)
			return r;
		ret->is_watched = ret->slot && term->watch.word && term->watch.slot == ret->slot &&
				  term->watch.dev == ret->stat.st_dev;
		if (ret->is_watched)
			return 0;
		if (ret->slot && round == 0)
			r = watch(term, ret->stat.st_dev, ret->slot, &can_watch);
		if (r < 0)
			return r;
		if (!ret->slot || !can_watch) {
			forget_mount(term);
			return 0;
		}
	}
	return 0;
}

/* Returns whether the opened snapshot is older than the mapped one. Within one mount and slot, ids
 * only rise. */
static bool is_older(const struct rpt_term *term, const struct opened *opened)
{
	const struct librpt_snapshot *held = &term->snapshot;

	return opened->is_watched && held->slot == opened->slot &&
	       held->stat.st_dev == opened->stat.st_dev && held->stat.st_ino > opened->stat.st_ino;
}

/* Maps the file that the name leads to now. */
static int renew(struct rpt_term *term)
{
	_cleanup_(opened_release) struct opened opened = { .fd = -1 };
	struct librpt_snapshot next;
	time_t now_s = time(NULL);

	int r = open_current(term, &opened);
	if (r == 0 && !is_older(term, &opened)) {
		r = librpt_snapshot_map(&next, opened.fd, &opened.stat, opened.slot);
		if (r == 0) {
			librpt_snapshot_release(&term->snapshot);
			term->snapshot = next;
			term->value = (struct rpt_value){
				.data = next.data ? next.data : "",
				.size = next.size,
				.version = next.version,
				.serial = term->value.serial + 1,
			};
			term->is_lost = false;
		}
	}
	if (r == 0)
		note(term, opened.seen, opened.is_watched ? now_s : NEVER, 0);
	/* The name moved to another mount or slot meanwhile: make the next get open it again. */
	if (r == 0 && !opened.is_watched && term->watch.word)
		term->snapshot.stat = (struct stat){ 0 };
	return r;
}

/* Like check_name(), and if `replace` is set, maps a changed file. */
static int refresh(struct rpt_term *term, bool replace)
{
	uint64_t seen = librpt_watch_load(term->word);
	time_t now_s = time(NULL);

	if (librpt_watch_load(term->first) == LIBRPT_OVER)
		detach(term);
	int r = check_name(term);
	if (r == RPT_UNCHANGED) {
		note(term, seen, now_s, 0);
	} else if (r < 0) {
		r = handle_missing(term, r);
		if (is_absent(r))
			note(term, seen, now_s, r);
	} else if (replace) {
		r = renew(term);
		if (r < 0)
			r = handle_missing(term, r);
	}
	return r;
}

int rpt_term_get(struct rpt_term *term, struct rpt_value *ret)
{
	int r = __builtin_expect(is_unchanged(term), 1) ? term->error : refresh(term, true);

	if (__builtin_expect(r == 0, 1))
		*ret = term->value;
	return r;
}

int rpt_term_check(struct rpt_term *term)
{
	int r = is_unchanged(term) ? term->error : refresh(term, false);

	return r == RPT_UNCHANGED && term->value.detached ? RPT_DETACHED : r;
}

static int absolute_path(const char *path, char **ret)
{
	_cleanup_free_ char *directory = NULL;

	if (!*path)
		return -ENOENT;
	if (*path != '/') {
		directory = getcwd(NULL, 0);
		if (!directory)
			return -errno;
	}
	if (asprintf(ret, "%s%s%s", directory ? directory : "", directory ? "/" : "", path) < 0)
		return -ENOMEM;
	return 0;
}

int rpt_term_open(struct rpt_term **ret, const char *path)
{
	struct rpt_term *term = aligned_alloc(LINE, sizeof(*term));

	if (!term)
		return -ENOMEM;
	*term = (struct rpt_term){ 0 };
	note(term, NO_WORD_SEEN, NEVER, 0);
	int r = absolute_path(path, &term->path);
	if (r == 0)
		r = renew(term);
	if (r < 0) {
		rpt_term_close(term);
		return r;
	}
	*ret = term;
	return 0;
}

void rpt_term_close(struct rpt_term *term)
{
	if (!term)
		return;
	librpt_snapshot_release(&term->snapshot);
	librpt_watch_end(&term->watch);
	free(term->generations);
	free(term->path);
	free(term);
}
