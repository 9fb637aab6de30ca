/*
 * A handle, from one get to the next.
 *
 *	watching	the words of the term's mount are mapped. The word was noted before the
 *			name was looked at, and words follow names: as long as it is the same, the
 *			name leads to what is held. Once a second the name is looked at anyway.
 *	not watching	on other file systems, and while detached: each get looks at the name.
 *	detached	the mount has gone. What is held has no number of a mount any more, so
 *			whatever the name leads to is another file.
 *
 * Looking is a stat(2); only if it shows another file is one opened. Nothing is tried more than
 * twice: what changes meanwhile is the next get's.
 */
#include "librpt/rpt.h"

#include <string.h>
#include <time.h>

#include "librpt/librpt.h"

#define NEVER ((time_t)-1)
#define LINE  64 /* bytes of a cache line, which no two handles share */

struct rpt_term {
	/* What a get reads when nothing has changed. */
	const uint64_t *word;  /* no_word while nothing is watched */
	const uint64_t *first; /* the same */
	uint64_t seen;	       /* never no_word's */
	time_t checked_s;      /* the second in which the name was looked at */
	int error;	       /* of that look: what get says while nothing changes */
	struct rpt_value value;

	struct librpt_snapshot snapshot; /* what value tells of */
	struct librpt_watch watch;
	char *generations; /* owned; the path of the words of the mount that is, or was, watched */
	char *path;	   /* owned, absolute */
	bool is_lost;	   /* detached, and without some of the bytes */
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

/* What was found by a look in that second, after the word was this. */
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

/* The mount has gone, or is about to. */
static void detach(struct rpt_term *term)
{
	if (!term->value.detached)
		term->is_lost = librpt_snapshot_rescue(&term->snapshot) < 0;
	term->value.detached = 1;
	term->snapshot.stat = (struct stat){ 0 };
	stop_watching(term);
}

/* Is a mount there whose term it was: the one that is watched, or while detached, any? */
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

/* Does the name lead to what is held? RPT_UNCHANGED, RPT_CHANGED, or a negative errno. */
static int look(const struct rpt_term *term)
{
	const struct stat *held = &term->snapshot.stat;
	struct stat found;

	if (TEMP_FAILURE_RETRY(stat(term->path, &found)) < 0)
		return -errno;
	bool is_same = found.st_dev == held->st_dev && found.st_ino == held->st_ino;
	/* The number of a snapshot's file says all; of another file, it may be written to. */
	if (is_same && !term->watch.word)
		is_same = found.st_size == held->st_size &&
			  is_same_time(&found.st_mtim, &held->st_mtim) &&
			  is_same_time(&found.st_ctim, &held->st_ctim);
	return is_same ? RPT_UNCHANGED : RPT_CHANGED;
}

/* The name leads nowhere, or cannot be followed: is it the term, or its mount? 0: the last value
 * stays, for its mount has gone. */
static int missing(struct rpt_term *term, int error)
{
	if (!term->generations || !(is_absent(error) || librpt_is_dead(error)))
		return error;
	if (is_absent(error) && mount_stands(term)) {
		/* It may have been mounted after the name was looked at. */
		if (!term->value.detached || is_absent(look(term)))
			return error;
	}
	detach(term);
	return term->is_lost ? -ENOTCONN : 0;
}

/* Watches the mount and slot that an open file is of. False if that cannot be done. */
static int watch(struct rpt_term *term, dev_t dev, uint32_t slot, bool *ret)
{
	_cleanup_free_ char *generations = NULL;
	struct librpt_watch found;

	int r = librpt_watch_find(term->path, &generations);
	if (r == 0)
		r = librpt_watch_begin(&found, generations, dev, slot);
	*ret = r == 0;
	if (r < 0)
		return librpt_is_dead(r) ? r : 0;
	stop_watching(term);
	term->watch = found;
	free(term->generations);
	term->generations = steal_ptr(&generations);
	return 0;
}

static void stop_following(struct rpt_term *term)
{
	stop_watching(term);
	free(term->generations);
	term->generations = NULL;
}

/* What the name led to. */
struct opened {
	int fd; /* owned */
	struct stat stat;
	uint32_t slot;
	uint64_t seen;	 /* the word before */
	bool is_watched; /* the word is this file's, and was already then */
};

static void opened_release(struct opened *opened)
{
	close_cleanup(&opened->fd);
	opened->fd = -1;
}

static int open_current(struct rpt_term *term, struct opened *ret)
{
	bool can_watch = true;

	/* A file says which word is its own, but it has to be opened after that word was read. */
	for (int round = 0; round < 2; round++) {
		opened_release(ret);
		ret->seen = term->watch.word ? librpt_watch_load(term->watch.word) : 0;
		int r = librpt_snapshot_open(term->path, &ret->fd, &ret->stat);
		if (r == 0)
			r = librpt_watch_slot(ret->fd, &ret->slot);
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
			stop_following(term);
			return 0;
		}
	}
	return 0;
}

/* Of one mount and slot, ids only rise: is this one older than what is held? */
static bool is_older(const struct rpt_term *term, const struct opened *opened)
{
	const struct librpt_snapshot *held = &term->snapshot;

	return opened->is_watched && held->slot == opened->slot &&
	       held->stat.st_dev == opened->stat.st_dev && held->stat.st_ino > opened->stat.st_ino;
}

/* Maps what the name leads to now. */
static int renew(struct rpt_term *term)
{
	_cleanup_(opened_release) struct opened opened = { .fd = -1 };
	struct librpt_snapshot next;
	time_t now_s = time(NULL);

	int r = open_current(term, &opened);
	if (r == 0 && !is_older(term, &opened)) {
		r = librpt_snapshot_map(&next, opened.fd, &opened.stat);
		if (r == 0) {
			librpt_snapshot_release(&term->snapshot);
			term->snapshot = next;
			term->snapshot.slot = opened.slot;
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
	/* It became another mount's or slot's meanwhile: the next get is to open it again. */
	if (r == 0 && !opened.is_watched && term->watch.word)
		term->snapshot.stat = (struct stat){ 0 };
	return r;
}

/* Something may have changed. As look(), and if `replace` is set, what has changed is mapped. */
static int refresh(struct rpt_term *term, bool replace)
{
	uint64_t seen = librpt_watch_load(term->word);
	time_t now_s = time(NULL);

	if (librpt_watch_load(term->first) == LIBRPT_OVER)
		detach(term);
	int r = look(term);
	if (r == RPT_UNCHANGED) {
		note(term, seen, now_s, 0);
	} else if (r < 0) {
		r = missing(term, r);
		if (is_absent(r))
			note(term, seen, now_s, r);
	} else if (replace) {
		r = renew(term);
		if (r < 0)
			r = missing(term, r);
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
