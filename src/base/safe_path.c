#include "base/safe_path.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

#include "base/fd_path.h"
#include "base/file_error.h"
#include "base/util.h"

#define LINKS_MAX  40 /* as in the kernel */
#define SHOWN_SIZE (PATH_MAX + NAME_MAX + 2)

struct walk {
	enum safe_path_rule rule;
	bool follow;
	uid_t owner_of_root;
	int place; /* owned: the directory reached so far */
	struct stat st;
	char *todo; /* owned: the rest of the path begins at `at` */
	const char *at;
	unsigned n_links;
	bool is_at_end;
	/* SAFE_PATH_OWN: from now on only files of this untrusted user may be reached; and the
	 * first component that the user owns. */
	bool is_led;
	uid_t leader;
	char led_by[SHOWN_SIZE];
	char shown[SHOWN_SIZE]; /* the path reached so far, for messages */
};

static void walk_release(struct walk *walk)
{
	close_cleanup(&walk->place);
	free(walk->todo);
}

/* ---- the rules ---- */

#define USER_SIZE 24

/* "root", "uid 1000". Returns ret. Names of users would need the name service. */
static const char *user_text(uid_t user, char ret[USER_SIZE])
{
	snprintf(ret, USER_SIZE, user ? "uid %u" : "root", (unsigned)user);
	return ret;
}

static bool is_trusted(const struct walk *walk, uid_t user)
{
	return user == 0 || user == geteuid() || user == walk->owner_of_root;
}

static int check_leader(struct walk *walk, const struct stat *st, struct err *err)
{
	char leader[USER_SIZE], owner[USER_SIZE];

	if (walk->is_led && st->st_uid != walk->leader)
		return err_set(err, ERR_DENIED,
			       "%.150s belongs to %s and leads to %.150s, which belongs to %s: "
			       "give both the same owner, or the first to root (chown)",
			       walk->led_by, user_text(walk->leader, leader), walk->shown,
			       user_text(st->st_uid, owner));
	if (!walk->is_led && !is_trusted(walk, st->st_uid)) {
		walk->is_led = true;
		walk->leader = st->st_uid;
		memcpy(walk->led_by, walk->shown, sizeof(walk->led_by));
	}
	return 0;
}

static bool is_read_only(int place)
{
	struct statfs fs;

	return fstatfs(place, &fs) == 0 && (fs.f_flags & ST_RDONLY);
}

/* Ordinary users often have a private group with their number, and files that it may write. */
static bool others_may_write(const struct stat *st)
{
	bool is_own_group = geteuid() != 0 && st->st_gid == geteuid();

	return (st->st_mode & S_IWOTH) || ((st->st_mode & S_IWGRP) && !is_own_group);
}

static int check_ours(const struct walk *walk, int place, const struct stat *st, struct err *err)
{
	char owner[USER_SIZE], user[USER_SIZE];

	user_text(geteuid(), user);
	if (!is_trusted(walk, st->st_uid))
		return err_set(err, ERR_DENIED,
			       "%.150s belongs to %s, who could change what %s does: chown %.*s "
			       "%.150s, or use another path",
			       walk->shown, user_text(st->st_uid, owner), user, USER_SIZE,
			       geteuid() ? user + strlen("uid ") : user, walk->shown);
	if (S_ISLNK(st->st_mode) || !others_may_write(st) ||
	    (S_ISDIR(st->st_mode) && (st->st_mode & S_ISVTX)) || is_read_only(place))
		return 0;
	return err_set(err, ERR_DENIED,
		       "%.150s may be written by %s, who could change what %s does: chmod go-w "
		       "%.150s",
		       walk->shown, st->st_mode & S_IWOTH ? "everybody" : "its group", user,
		       walk->shown);
}

static int check(struct walk *walk, int place, const struct stat *st, struct err *err)
{
	switch (walk->rule) {
	case SAFE_PATH_OWN:
		return check_leader(walk, st, err);
	case SAFE_PATH_OURS:
		return check_ours(walk, place, st, err);
	}
	return -1;
}

/* ---- the walk ---- */

static int fail(int number, struct err *err)
{
	errno = number;
	return file_error(err);
}

static int enter_root(struct walk *walk, struct err *err)
{
	close_cleanup(&walk->place);
	walk->place = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (walk->place < 0 || fstat(walk->place, &walk->st) < 0)
		return file_error(err);
	walk->owner_of_root = walk->st.st_uid;
	strcpy(walk->shown, "/");
	return check(walk, walk->place, &walk->st, err);
}

/* A relative path begins in the working directory. The path to that directory is not checked. */
static int enter_working_directory(struct walk *walk, struct err *err)
{
	if (walk->rule == SAFE_PATH_OURS)
		return err_set(err, ERR_DENIED, "the path is not absolute");
	close_cleanup(&walk->place);
	walk->place = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (walk->place < 0 || fstat(walk->place, &walk->st) < 0)
		return file_error(err);
	strcpy(walk->shown, ".");
	return check(walk, walk->place, &walk->st, err);
}

static int begin(struct walk *walk, const char *path, struct err *err)
{
	walk->at = walk->todo = strdup(path);
	if (!walk->todo)
		return err_set(err, ERR_INTERNAL, "out of memory");
	if (!*path)
		return fail(ENOENT, err);
	if (enter_root(walk, err) < 0)
		return -1;
	return *path == '/' ? 0 : enter_working_directory(walk, err);
}

/* Tries O_DIRECTORY first, which triggers an automount. */
static int open_component(const struct walk *walk, const char *name, bool is_last)
{
	const int flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
	int next = is_last ? -1 : openat(walk->place, name, flags | O_DIRECTORY);

	if (next < 0 && (is_last || errno == ENOTDIR))
		next = openat(walk->place, name, flags);
	return next;
}

static void show(struct walk *walk, const char *name)
{
	size_t used = strlen(walk->shown);

	snprintf(walk->shown + used, sizeof(walk->shown) - used, "%s%s",
		 walk->shown[used - 1] == '/' ? "" : "/", name);
}

/* Continues with the target of the link, from the directory of the link. */
static int follow_link(struct walk *walk, int link, size_t shown, struct err *err)
{
	char target[PATH_MAX];
	ssize_t len = readlinkat(link, "", target, sizeof(target) - 1);
	char *todo = NULL;

	if (len < 0)
		return file_error(err);
	if (++walk->n_links > LINKS_MAX)
		return fail(ELOOP, err);
	target[len] = '\0';
	if (asprintf(&todo, "%s%s", target, walk->at) < 0)
		return err_set(err, ERR_INTERNAL, "out of memory");
	free(walk->todo);
	walk->at = walk->todo = todo;
	walk->is_at_end = false;
	walk->shown[shown] = '\0';
	return *target == '/' ? enter_root(walk, err) : 0;
}

static int step(struct walk *walk, const char *name, bool is_last, struct err *err)
{
	_cleanup_close_ int next = open_component(walk, name, is_last);
	size_t shown = strlen(walk->shown);
	struct stat st;

	if (next < 0 || fstat(next, &st) < 0)
		return file_error(err);
	show(walk, name);
	if (check(walk, next, &st, err) < 0)
		return -1;
	if (S_ISLNK(st.st_mode) && (!is_last || walk->follow))
		return follow_link(walk, next, shown, err);
	if (!S_ISDIR(st.st_mode) && !is_last)
		return fail(ENOTDIR, err);
	close_cleanup(&walk->place);
	walk->place = steal_fd(&next);
	walk->st = st;
	return 0;
}

/* Takes the next name from the rest of the path. */
static int next_component(struct walk *walk, char ret_name[NAME_MAX + 1], bool *ret_is_last,
			  struct err *err)
{
	walk->at += strspn(walk->at, "/");
	size_t len = strcspn(walk->at, "/");
	if (len > NAME_MAX)
		return fail(ENAMETOOLONG, err);
	memcpy(ret_name, walk->at, len);
	ret_name[len] = '\0';
	walk->at += len;
	*ret_is_last = !*walk->at;
	walk->is_at_end = !len;
	return 0;
}

int safe_path_find(const char *path, enum safe_path_rule rule, bool follow, struct stat *ret,
		   struct err *err)
{
	_cleanup_(walk_release) struct walk walk = { .rule = rule, .follow = follow, .place = -1 };
	char name[NAME_MAX + 1];
	bool is_last = false;

	if (begin(&walk, path, err) < 0)
		return -1;
	while (!walk.is_at_end) {
		if (next_component(&walk, name, &is_last, err) < 0)
			return -1;
		if (*name && strcmp(name, ".") != 0 && step(&walk, name, is_last, err) < 0)
			return -1;
	}
	*ret = walk.st;
	return steal_fd(&walk.place);
}

/* ---- opening and watching ---- */

int safe_path_reopen(int found, int flags, struct err *err)
{
	char self[FD_PATH_SIZE];

	int fd = open(fd_path(found, self), flags | O_RDONLY | O_CLOEXEC | O_NOCTTY);
	return fd < 0 ? file_error(err) : fd;
}

int safe_path_open(const char *path, enum safe_path_rule rule, struct err *err)
{
	struct stat st;
	_cleanup_close_ int found = safe_path_find(path, rule, true, &st, err);

	if (found < 0)
		return -1;
	if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode))
		return err_set(err, ERR_BAD_DATA, "it is not a regular file");
	return safe_path_reopen(found, O_NONBLOCK, err);
}

int safe_path_find_socket(const char *path, enum safe_path_rule rule, struct err *err)
{
	struct stat st;
	_cleanup_close_ int found = safe_path_find(path, rule, true, &st, err);

	if (found < 0)
		return -1;
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, ERR_BAD_DATA, "it is not a socket");
	return steal_fd(&found);
}

/* The slash at the end triggers an automount. */
int safe_path_watch(int inotify, const char *directory, unsigned events, struct err *err)
{
	_cleanup_free_ char *path = NULL;
	char self[FD_PATH_SIZE];
	struct stat st;

	if (asprintf(&path, "%s/", directory) < 0) {
		path = NULL;
		return err_set(err, ERR_INTERNAL, "out of memory");
	}
	_cleanup_close_ int found = safe_path_find(path, SAFE_PATH_OWN, true, &st, err);
	if (found < 0)
		return -1;
	int wd = inotify_add_watch(inotify, fd_path(found, self), events);
	return wd < 0 ? file_error(err) : wd;
}
