#include "keeper/worker_user.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>

#include "base/digest.h"
#include "base/file_lock.h"
#include "base/log.h"
#include "base/util.h"

#define DEFAULT_USER "rptfs"
#define REMEDY \
	"useradd --system --user-group --no-create-home --shell /usr/sbin/nologin " DEFAULT_USER

/* The range and the locks of systemd's dynamic users (systemd.io/UIDS-GIDS). */
#define UNNAMED_FIRST 61184
#define UNNAMED_LAST  65519
#define LOCK_DIR      "/run/systemd/dynamic-uid"

/* How many ids are tried: the directory that knows the users may be slow. */
#define TRIES_MAX 64

/* How long the owner of the store may be locked: the keeper of a mount that has just ended may
 * still hold the lock. */
#define PREDECESSOR_MAX_MS 2000

/* ------------------------------------------------------------------ looking up */

/* Is there no such user or group? Otherwise it could not be found out: see getpwuid(3). */
static bool is_absent(int number)
{
	return number == 0 || number == ENOENT || number == ESRCH || number == EBADF ||
	       number == EPERM;
}

static bool is_known(uid_t id)
{
	errno = 0;
	if (getpwuid(id) || !is_absent(errno))
		return true;
	errno = 0;
	return getgrgid((gid_t)id) || !is_absent(errno);
}

/* *ret is libc's; NULL: there is no such user. */
static int find_user(const char *name, const struct passwd **ret, struct err *err)
{
	errno = 0;
	*ret = getpwnam(name);
	if (!*ret && !is_absent(errno))
		return err_errno(err, "looking up user \"%s\"", name);
	return 0;
}

/* ------------------------------------------------------------------ a user with a name */

static int take_named(struct child_identity *identity, const struct passwd *user, struct err *err)
{
	if (user->pw_uid == 0)
		return err_set(err, ERR_CONFIG, "user = \"%s\": the worker must not run as root",
			       user->pw_name);
	identity->is_set = true;
	identity->user = user->pw_uid;
	identity->group = user->pw_gid;
	identity->n_groups = CHILD_GROUPS_MAX;
	if (getgrouplist(user->pw_name, user->pw_gid, identity->groups, &identity->n_groups) < 0)
		identity->n_groups = CHILD_GROUPS_MAX; /* the others do not fit */
	return 0;
}

static int check_own(const char *name, struct err *err)
{
	const struct passwd *user = NULL;

	if (!name)
		return 0;
	if (find_user(name, &user, err) < 0)
		return -1;
	if (user && user->pw_uid == geteuid())
		return 0;
	return err_set(err, ERR_CONFIG,
		       "user = \"%s\": only root can have its worker run as another user", name);
}

/* ------------------------------------------------------------------ a user without a name */

static int make_lock_dir(struct err *err)
{
	static const char *const dirs[] = { "/run/systemd", LOCK_DIR };

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		if (mkdir(dirs[i], 0755) < 0 && errno != EEXIST)
			return err_errno(err, "mkdir %s", dirs[i]);
	}
	return 0;
}

/* systemd removes a lock file before it unlocks it. */
static bool is_removed(int lock)
{
	struct stat st;

	return fstat(lock, &st) < 0 || st.st_nlink == 0;
}

/* Returns 1 if the id is now ours, 0 if somebody else has it. */
static int take_id(uid_t id, int64_t wait_ms, int *ret_lock, struct err *err)
{
	char path[sizeof(LOCK_DIR) + 16];

	snprintf(path, sizeof(path), LOCK_DIR "/%u", (unsigned)id);
	for (;;) {
		_cleanup_close_ int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
						0600);
		if (lock < 0)
			return err_errno(err, "%s", path);
		if (file_lock_wait(lock, LOCK_EX, wait_ms) < 0)
			return errno == EWOULDBLOCK ? 0 : err_errno(err, "locking %s", path);
		if (is_removed(lock))
			continue;
		if (is_known(id))
			return 0;
		*ret_lock = steal_fd(&lock);
		return 1;
	}
}

static uid_t nth_id(uint32_t start, uint32_t i)
{
	return UNNAMED_FIRST + (start % (UNNAMED_LAST - UNNAMED_FIRST + 1) + i) %
				       (UNNAMED_LAST - UNNAMED_FIRST + 1);
}

static int find_id(const struct worker_user_request *request, uid_t *ret, int *ret_lock,
		   struct err *err)
{
	uint8_t digest[DIGEST_SIZE];
	uint32_t start;
	int taken = 0;

	if (make_lock_dir(err) < 0 ||
	    digest_of(request->seed, strlen(request->seed), digest, err) < 0)
		return -1;
	memcpy(&start, digest, sizeof(start));
	*ret = request->present;
	if (*ret >= UNNAMED_FIRST && *ret <= UNNAMED_LAST)
		taken = take_id(*ret, PREDECESSOR_MAX_MS, ret_lock, err);
	for (uint32_t i = 0; taken == 0 && i < TRIES_MAX; i++) {
		*ret = nth_id(start, i);
		taken = take_id(*ret, 0, ret_lock, err);
	}
	if (taken == 0)
		return err_set(err, ERR_CONFIG,
			       "the worker needs a user: there is no user \"" DEFAULT_USER
			       "\", and no free user id was found; try: " REMEDY);
	return taken < 0 ? -1 : 0;
}

static int take_unnamed(struct child_identity *identity, int *ret_lock,
			const struct worker_user_request *request, struct err *err)
{
	uid_t id;

	if (find_id(request, &id, ret_lock, err) < 0)
		return -1;
	*identity = (struct child_identity){ .is_set = true, .user = id, .group = (gid_t)id };
	log_event(LOG_LEVEL_INFO, "no_user", LOG_STR("user", DEFAULT_USER),
		  LOG_INT("worker_uid", id), LOG_STR("remedy", REMEDY));
	return 0;
}

/* ------------------------------------------------------------------ the choice */

int worker_user_choose(struct child_identity *ret, int *ret_lock,
		       const struct worker_user_request *request, struct err *err)
{
	const struct passwd *user = NULL;

	*ret_lock = -1;
	if (geteuid() != 0)
		return check_own(request->name, err);
	if (find_user(request->name ? request->name : DEFAULT_USER, &user, err) < 0)
		return -1;
	if (user)
		return take_named(ret, user, err);
	if (request->name)
		return err_set(err, ERR_CONFIG, "user = \"%s\": there is no such user",
			       request->name);
	return take_unnamed(ret, ret_lock, request, err);
}
