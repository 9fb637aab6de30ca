/* worker_user: which user the worker runs as, with and without a user "rptfs". Needs root. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/util.h"
#include "keeper/worker_user.h"
#include "own_namespace.h"
#include "tap.h"

#define FIRST 61184
#define LAST  65519

/* ---- the users of this machine, instead of those of libc ---- */

static bool has_rptfs;
static uid_t known_user, known_group, broken; /* 0: none */
static int name_error;			      /* of each look-up by name; 0: none */
static struct passwd rptfs, root = { .pw_name = (char *)"root" };

struct passwd *getpwnam(const char *name)
{
	errno = name_error;
	if (name_error)
		return NULL;
	if (strcmp(name, "root") == 0)
		return &root;
	return strcmp(name, "rptfs") == 0 && has_rptfs ? &rptfs : NULL;
}

struct passwd *getpwuid(uid_t id)
{
	errno = broken && id == broken ? EIO : ENOENT;
	return id == known_user && id ? &rptfs : NULL;
}

struct group *getgrgid(gid_t id)
{
	static struct group group;

	errno = 0;
	return id == known_group && id ? &group : NULL;
}

int getgrouplist(const char *name, gid_t group, gid_t *groups, int *n)
{
	(void)name;
	groups[0] = group;
	*n = 1;
	return 1;
}

/* ---- one choice ---- */

struct choice {
	int result;
	struct child_identity identity;
	int lock;
	struct err err;
};

static struct choice choose(const char *name, const char *seed, uid_t present)
{
	const struct worker_user_request request = { name, seed, present };
	struct choice choice = { .lock = -1 };

	choice.result = worker_user_choose(&choice.identity, &choice.lock, &request, &choice.err);
	return choice;
}

static uid_t choose_and_release(const char *seed, uid_t present)
{
	struct choice choice = choose(NULL, seed, present);

	if (choice.result < 0)
		printf("# %s\n", choice.err.msg);
	close_cleanup(&choice.lock);
	return choice.identity.user;
}

static void test_named(void)
{
	has_rptfs = true;
	rptfs = (struct passwd){ .pw_name = (char *)"rptfs", .pw_uid = 999, .pw_gid = 998 };
	struct choice choice = choose(NULL, "/a", WORKER_USER_NONE);
	ok(choice.identity.is_set && choice.identity.user == 999 && choice.identity.group == 998,
	   "the user rptfs");
	is_int(choice.lock, -1, "a user with a name needs no lock");
	rptfs.pw_uid = 0;
	choice = choose(NULL, "/a", WORKER_USER_NONE);
	ok(choice.result < 0 && choice.err.kind == ERR_CONFIG, "not if its number is 0");
	choice = choose("root", "/a", WORKER_USER_NONE);
	ok(choice.result < 0 && strstr(choice.err.msg, "must not run as root"), "not root: %s",
	   choice.err.msg);
	choice = choose("nosuch", "/a", WORKER_USER_NONE);
	ok(choice.result < 0 && strstr(choice.err.msg, "no such user"), "not an unknown one: %s",
	   choice.err.msg);
	has_rptfs = false;
}

/* The store must not be given to another user because the directory of users does not answer. */
static void test_unknown(void)
{
	name_error = ETIMEDOUT;
	struct choice choice = choose(NULL, "/a", WORKER_USER_NONE);
	ok(choice.result < 0 && choice.lock < 0 &&
		   strstr(choice.err.msg, "looking up user \"rptfs\""),
	   "no other user if the look-up fails: %s", choice.err.msg);
	choice = choose("nosuch", "/a", WORKER_USER_NONE);
	ok(choice.result < 0 && strstr(choice.err.msg, "looking up user \"nosuch\""),
	   "nor if the user is configured: %s", choice.err.msg);
	name_error = ENOENT;
	uid_t id = choose_and_release("/a", WORKER_USER_NONE);
	ok(id >= FIRST && id <= LAST, "ENOENT means that there is none");
	name_error = 0;
}

static void test_unnamed(void)
{
	struct choice first = choose(NULL, "/a", WORKER_USER_NONE);
	uid_t id = first.identity.user;

	ok(first.identity.is_set && id >= FIRST && id <= LAST, "without one: %u", (unsigned)id);
	ok(first.identity.group == id && first.identity.n_groups == 0, "with a group of its own");
	uid_t other = choose_and_release("/a", WORKER_USER_NONE);
	ok(other >= FIRST && other <= LAST && other != id, "not the id of another mount: %u",
	   (unsigned)other);
	close_cleanup(&first.lock);
	is_int(choose_and_release("/a", WORKER_USER_NONE), id, "the same for the same store");
	is_int(choose_and_release("/a", other), other, "the owner of the store is kept");
	is_int(choose_and_release("/a", 0), id, "unless it is root");
	is_int(choose_and_release("/a", 1000), id, "or a person");
	is_int(choose_and_release("/a", LAST + 1), id, "or outside of the range");

	known_user = id;
	is_int(choose_and_release("/a", id), other, "not a user that is known");
	known_user = 0;
	known_group = id;
	is_int(choose_and_release("/a", id), other, "not a group that is known");
	known_group = 0;
	broken = id;
	is_int(choose_and_release("/a", id), other, "not if it cannot be found out");
	broken = 0;
}

static void test_locked_by_another_program(void)
{
	uid_t id = choose_and_release("/a", WORKER_USER_NONE);
	char path[64];

	snprintf(path, sizeof(path), "/run/systemd/dynamic-uid/%u", (unsigned)id);
	_cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
	ok(fd >= 0 && flock(fd, LOCK_EX) == 0, "a service with DynamicUser= has the id");
	ok(choose_and_release("/a", id) != id, "the worker does not get it");
}

/* A private /run, so that the machine's dynamic users do not matter. */
static bool have_private_run(void)
{
	return geteuid() == 0 && own_namespace_enter() &&
	       mount("tmpfs", "/run", "tmpfs", 0, "size=64k") == 0;
}

int main(void)
{
	if (!have_private_run()) {
		printf("1..0 # SKIP no right to mount\n");
		return 0;
	}
	test_named();
	test_unknown();
	test_unnamed();
	test_locked_by_another_program();
	return tap_done();
}
