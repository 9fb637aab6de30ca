/*
 * sandbox_root: what a process with namespaces and a root of its own can reach. Each check runs in
 * this program, executed again as nobody like a worker (keeper/child.h).
 */
#include <cap-ng.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <seccomp.h>

#include "base/helper.h"
#include "base/pass_fds.h"
#include "base/private_root.h"
#include "base/util.h"
#include "http/http_resolver.h"
#include "keeper/child.h"
#include "keeper/pid_namespace.h"
#include "keeper/store_directory.h"
#include "own_namespace.h"
#include "sandbox_checks.h"
#include "tap.h"
#include "worker/sandbox.h"

#define SHM_KEY	       0x72707466
#define NAMESPACE_SIZE 32
#define FINDS_MS       10000

/* ---- in the process that is checked ---- */

static const char *base;   /* a directory of the machine that everybody may change */
static pid_t other, outer; /* a process of the same user; the one that started this one */
static int store_fd, socket_fd;

static const char *at(const char *name)
{
	static char path[64];

	snprintf(path, sizeof(path), "%s/%s", base, name);
	return path;
}

static bool no_files(void)
{
	struct stat st;

	/* A sanitizer gets the directories of the program and of its reports. */
	static const char *const directories[] = { "/home", "/root", "/tmp", "/srv", "/opt" };
	for (size_t i = 0; !is_sanitized && i < ARRAY_SIZE(directories); i++) {
		if (!refused(stat(directories[i], &st), ENOENT))
			return false;
	}
	return refused(stat(base, &st), ENOENT) && refused(stat(at("open"), &st), ENOENT) &&
	       refused(stat("/boot", &st), ENOENT) &&
	       refused(stat("/var/lib/rptfs", &st), ENOENT) &&
	       refused(open(at("open"), O_RDONLY | O_CLOEXEC), ENOENT) &&
	       refused(openat(store_fd, "../open", O_RDONLY | O_CLOEXEC), ENOENT);
}

static bool no_watching(void)
{
	_cleanup_close_ int inotify = inotify_init1(IN_CLOEXEC);

	return refused(inotify_add_watch(inotify, base, IN_CREATE), ENOENT) &&
	       (is_sanitized || refused(inotify_add_watch(inotify, "/tmp", IN_CREATE), ENOENT)) &&
	       refused(inotify_add_watch(inotify, "/boot", IN_CREATE), ENOENT);
}

static bool no_sockets_by_path(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", at("socket"));
	return refused(connect(fd, (const struct sockaddr *)&address, sizeof(address)), ENOENT);
}

/* Not even rptfs-init, which has another parent. */
static bool no_processes(void)
{
	char path[32];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d", (int)other);
	bool hidden = refused(stat(path, &st), ENOENT);
	snprintf(path, sizeof(path), "/proc/%d", (int)outer);
	return hidden && refused(stat(path, &st), ENOENT) && refused(kill(other, 0), ESRCH) &&
	       refused(kill(outer, 0), ESRCH) && getppid() == 0 && stat("/proc/self/fd", &st) == 0;
}

static bool no_memory_of_others(void)
{
	return refused(shmget(SHM_KEY, 0, 0), ENOENT);
}

static bool is_ours(const char *path)
{
	static const char *const ours[] = { "/",     "/usr",	     "/lib",
					    "/proc", "/dev/",	     "/.rptfs/",
					    "/run/", "/var/lib/sss", "/sys/devices" };

	if (strcmp(path, "/") == 0)
		return true;
	for (size_t i = 1; i < ARRAY_SIZE(ours); i++) {
		if (strncmp(path, ours[i], strlen(ours[i])) == 0)
			return true;
	}
	printf("# a mount on %s\n", path);
	fflush(stdout);
	return is_sanitized; /* which has the directories of the program and of reports too */
}

static bool no_other_mounts(void)
{
	_cleanup_fclose_ FILE *mounts = fopen("/proc/self/mountinfo", "re");
	char line[4096], path[4096];
	size_t n = 0;

	for (; mounts && fgets(line, sizeof(line), mounts); n++) {
		if (sscanf(line, "%*s %*s %*s %*s %4095s", path) != 1 || !is_ours(path))
			return false;
	}
	return n > 3;
}

static bool no_changes(void)
{
	return refused(mkdir("/new", 0700), EROFS) &&
	       refused(open("/etc/new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600), EROFS) &&
	       refused(open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC), EROFS) &&
	       refused(mount("none", "/proc", "tmpfs", 0, NULL), EPERM) &&
	       refused(umount2("/proc", MNT_DETACH), EPERM) && refused(chroot("/"), EPERM) &&
	       refused(mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL), EPERM) &&
	       refused(unshare(CLONE_NEWNS), EPERM);
}

static bool no_capability(void)
{
	return capng_get_caps_process() == 0 &&
	       capng_have_capabilities(CAPNG_SELECT_CAPS) == CAPNG_NONE &&
	       prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_SYS_ADMIN, 0, 0) == 0 &&
	       geteuid() == NOBODY;
}

static bool root_is_readable(void)
{
	return machine_is_readable() && can_open("/lib", O_RDONLY | O_DIRECTORY);
}

static bool names_are_resolved(void)
{
	return resolves_localhost(0);
}

static bool store_works(void)
{
	char self[32];
	_cleanup_close_ int fd = openat(store_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	return fd >= 0 && write(fd, "x", 1) == 1 &&
	       linkat(AT_FDCWD, self, store_fd, "linked", AT_SYMLINK_FOLLOW) == 0 &&
	       unlinkat(store_fd, "linked", 0) == 0;
}

static bool no_shutdown(void)
{
	return refused(shutdown(socket_fd, SHUT_RDWR), ENOSYS);
}

static bool nothing_to_check(void)
{
	return true;
}

/* Dies like a program with a fault. */
static bool aborts(void)
{
	abort();
}

/* ---- following resolv.conf: the parent is the helper ---- */

static int open_file(struct helper *helper, const char *path, struct err *err)
{
	char result;
	int fd;

	(void)helper;
	must(strcmp(path, HELPER_RESOLV_CONF) == 0 && send(socket_fd, "", 1, 0) == 1, "a request");
	if (pass_fds_receive(socket_fd, &result, 1, &fd, 1, 0) != 1 || fd < 0)
		return err_set(err, ERR_NOT_FOUND, "there is none");
	return fd;
}

static bool says(const char *expected)
{
	_cleanup_fclose_ FILE *file = fopen(HELPER_RESOLV_CONF, "re");
	char line[64] = "";

	return file && fgets(line, sizeof(line), file) && strcmp(line, expected) == 0;
}

/* The file has no name server at first, then one. */
static bool follows_resolver(void)
{
	struct helper helper = { .open_file = open_file };
	struct http_resolver resolver;

	http_resolver_init(&resolver, &helper);
	must(send(socket_fd, "go", 2, 0) == 2, "the go");
	for (int left_ms = FINDS_MS; left_ms > 0 && !says("nameserver 127.0.0.9\n");
	     left_ms -= 10) {
		usleep(10000);
		http_resolver_update(&resolver);
	}
	http_resolver_release(&resolver);
	return says("nameserver 127.0.0.9\n");
}

/* Mounts below /etc: a file, as in containers, and one whose daemon never answers. */
static bool keeps_files_only(void)
{
	_cleanup_fclose_ FILE *mounts = fopen("/proc/self/mountinfo", "re");
	char line[4096];
	bool has_file = false, has_daemon = false;

	while (mounts && fgets(line, sizeof(line), mounts)) {
		has_file |= strstr(line, PRIVATE_ROOT_ETC "/hosts ") != NULL;
		has_daemon |= strstr(line, " - fuse ") != NULL;
	}
	return has_file && !has_daemon && can_open("/etc/hosts", O_RDONLY);
}

static bool is_in_namespace(void)
{
	char name[NAMESPACE_SIZE] = "";

	return readlink("/proc/self/ns/mnt", name, sizeof(name) - 1) > 0 &&
	       strcmp(name, getenv("UNIT_NAMESPACE")) == 0;
}

/* ---- the checks ---- */

enum layers { ROOT, ALL };

static const struct {
	const char *name;
	bool (*check)(void);
	enum layers layers; /* ROOT: what seccomp and Landlock would refuse anyway */
} checks[] = {
	{ "no capability is left", no_capability, ROOT },
	{ "files of the machine and of other mounts cannot be found", no_files, ROOT },
	{ "they cannot be watched", no_watching, ROOT },
	{ "sockets cannot be found by path", no_sockets_by_path, ROOT },
	{ "other processes are neither seen nor signalled", no_processes, ROOT },
	{ "shared memory of others is not found", no_memory_of_others, ROOT },
	{ "no other mount is listed", no_other_mounts, ROOT },
	{ "the root cannot be changed", no_changes, ROOT },
	{ "certificates, users, libraries, boot id and random numbers can be read",
	  root_is_readable, ALL },
	{ "names are resolved", names_are_resolved, ALL },
	{ "the store works", store_works, ALL },
	{ "no socket can be shut down", no_shutdown, ALL },
	{ "a worker ends", nothing_to_check, ALL },
};

enum { ABORTS = ARRAY_SIZE(checks), FOLLOWS, BELOW_ETC, STAYS };

/* argv: number of the check, base, other, outer, descriptors of the store and a socket */
static int check_inside(char **argv)
{
	size_t number = (size_t)atoi(argv[0]);
	bool is_confined = number < ARRAY_SIZE(checks) ? checks[number].layers == ALL
						       : number <= FOLLOWS;
	bool (*check)(void) = number == ABORTS	    ? aborts
			      : number == FOLLOWS   ? follows_resolver
			      : number == BELOW_ETC ? keeps_files_only
			      : number == STAYS	    ? is_in_namespace
						    : checks[number].check;
	struct err err = ERR_INIT;

	base = argv[1];
	other = atoi(argv[2]);
	outer = atoi(argv[3]);
	store_fd = atoi(argv[4]);
	socket_fd = atoi(argv[5]);
	must(sandbox_isolate(&err) == 0, err.msg);
	if (is_confined)
		must(sandbox_enter(store_fd, &err) == 0, err.msg);
	return check() ? 0 : 1;
}

/* ---- starting it ---- */

static char directory[] = "/tmp/rptfs-unit-XXXXXX";
static int store, listener, program;
static pid_t sleeper;

static pid_t start(size_t number, int socket)
{
	static const struct child_identity nobody = { .is_set = true,
						      .user = NOBODY,
						      .group = NOBODY };
	char texts[5][16];
	char name[] = "unit-sandbox_root";
	char *argv[] = { name, texts[0], directory, texts[1], texts[2], texts[3], texts[4], NULL };
	const struct child_start child = {
		.program = program,
		.argv = argv,
		.identity = &nobody,
		.inherited = { store, socket },
		.is_isolated = true,
		.errors = -1,
	};
	const int numbers[] = { (int)number, sleeper, getpid(), store, socket };
	struct err err = ERR_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		snprintf(texts[i], sizeof(texts[i]), "%d", numbers[i]);
	pid_t pid = child_start(&child, &err);
	must(pid > 0, err.msg);
	return pid;
}

static int status_of(pid_t pid)
{
	int status = -1;

	must(waitpid(pid, &status, 0) == pid, "waitpid");
	return status;
}

static void listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(bind(listener, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
		     listen(listener, 5) == 0 && chmod(path, 0666) == 0,
	     "a socket");
}

static pid_t start_sleeper(void)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	must(setresuid(NOBODY, NOBODY, NOBODY) == 0, "setresuid");
	for (;;)
		pause();
}

static void set_up(void)
{
	char namespace[NAMESPACE_SIZE] = "";
	struct err err = ERR_INIT;

	must(readlink("/proc/self/ns/mnt", namespace, sizeof(namespace) - 1) > 0, "the namespace");
	setenv("UNIT_NAMESPACE", namespace, 1);

	must(mkdtemp(directory) && chmod(directory, 0777) == 0, "mkdtemp");
	base = directory;
	program = open("/proc/self/exe", O_PATH | O_CLOEXEC);
	store = store_directory_make(at("store"), NOBODY, NOBODY, &err);
	must(store >= 0, err.msg);
	close(open(at("open"), O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
	listen_at(at("socket"));
	must(shmget(SHM_KEY, 4096, IPC_CREAT | 0666) >= 0, "shared memory");
	sleeper = start_sleeper();
}

static void clean_up(void)
{
	char command[64];

	kill(sleeper, SIGKILL);
	shmctl(shmget(SHM_KEY, 0, 0), IPC_RMID, NULL);
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	must(system(command) == 0, "rm");
}

/* ---- resolvers that come and go ---- */

static void hide(const char *path)
{
	must(mount("none", path, "tmpfs", 0, "mode=755") == 0, path);
}

static const struct {
	const char *name, *before, *after;
} resolvers[] = {
	{ "a file that is replaced", "echo > /etc/resolv.conf",
	  "echo nameserver 127.0.0.9 > /etc/new; mv /etc/new /etc/resolv.conf" },
	{ "a link into a directory that is made later", "ln -s /run/later/r /etc/resolv.conf",
	  "mkdir /run/later; echo nameserver 127.0.0.9 > /run/later/r" },
	{ "a link that is replaced", "echo > /run/a; ln -s /run/a /etc/resolv.conf",
	  "mkdir -p /mnt/b; echo nameserver 127.0.0.9 > /mnt/b/r; ln -s /mnt/b/r /etc/new; "
	  "mv /etc/new /etc/resolv.conf" },
	{ "a directory that is made anew",
	  "mkdir -p /run/systemd/resolve; echo > /run/systemd/resolve/r; "
	  "ln -s ../run/systemd/resolve/r /etc/resolv.conf",
	  "rm -r /run/systemd; mkdir -p /run/systemd/resolve; "
	  "echo nameserver 127.0.0.9 > /run/systemd/resolve/r" },
	{ "a link to a link", "ln -s /run/one /etc/resolv.conf; ln -s ../mnt/r /run/one",
	  "echo nameserver 127.0.0.9 > /mnt/r" },
};

static int run_below_etc(void)
{
	_cleanup_close_ int device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	char options[64];

	must(own_namespace_enter(), "a mount namespace");
	hide("/etc");
	must(system("echo > /etc/hosts; mkdir /etc/waits") == 0 &&
		     mount(at("open"), "/etc/hosts", NULL, MS_BIND, NULL) == 0,
	     "a file");
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", device);
	must(mount("none", "/etc/waits", "fuse", 0, options) == 0, "a FUSE mount");
	return status_of(start(BELOW_ETC, listener));
}

static void test_below_etc(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(run_below_etc() == 0 ? 0 : 1);
	is_int(status_of(pid), 0, "mounts below /etc come along, unless they wait for a daemon");
}

/* Opens the file for each byte that comes; "go" changes the machine. */
static void serve(int socket, size_t i)
{
	char request[2];
	ssize_t len;

	while ((len = recv(socket, request, sizeof(request), 0)) > 0) {
		_cleanup_close_ int fd = open(HELPER_RESOLV_CONF, O_RDONLY | O_CLOEXEC);
		if (len == 2)
			must(system(resolvers[i].after) == 0, resolvers[i].after);
		else
			pass_fds_send(socket, "", 1, &fd, 1, 0);
	}
}

/* In a mount namespace of its own. Returns the wait status of the check. */
static int run_resolver(size_t i)
{
	struct err err = ERR_INIT;
	int pair[2];

	must(own_namespace_enter(), "a mount namespace");
	hide("/etc");
	hide("/run");
	hide("/mnt");
	must(pass_fds_pair(pair, &err) == 0 && system(resolvers[i].before) == 0,
	     resolvers[i].before);
	pid_t pid = start(FOLLOWS, pair[1]);
	close(pair[1]);
	serve(pair[0], i);
	return status_of(pid);
}

static void test_resolvers(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(resolvers); i++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(run_resolver(i) == 0 ? 0 : 1);
		is_int(status_of(pid), 0, "/etc/resolv.conf is followed: %s", resolvers[i].name);
	}
}

/* ---- where it is refused ---- */

/* As in a container: this process and its children may not make this call. */
static void refuse(int call)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

	must(filter && seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), call, 0) == 0 &&
		     seccomp_load(filter) == 0,
	     "a filter");
	seccomp_release(filter);
}

static int run_all(void)
{
	int n_failed = 0;

	for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
		n_failed += checks[i].layers == ALL && status_of(start(i, listener)) != 0;
	return n_failed;
}

static int run_staying(void)
{
	return status_of(start(STAYS, listener)) == 0 ? 0 : 1;
}

/* Returns the wait status of run(), and what it has logged. */
static int run_without(int call, int (*run)(void), char *ret_log, size_t size)
{
	size_t used = 0;
	int pair[2];

	must(pipe2(pair, O_CLOEXEC) == 0, "pipe");
	pid_t pid = fork();
	if (pid == 0) {
		dup2(pair[1], STDERR_FILENO);
		refuse(call);
		_exit(run());
	}
	close(pair[1]);
	for (ssize_t n; (n = read(pair[0], ret_log + used, size - 1 - used)) > 0;)
		used += (size_t)n;
	ret_log[used] = '\0';
	close(pair[0]);
	return status_of(pid);
}

static void test_refused(void)
{
	char text[4096];

	is_int(run_without(SCMP_SYS(unshare), run_all, text, sizeof(text)), 0,
	       "without namespaces the rest works");
	ok(strstr(text, "missing=pid_namespace ") && strstr(text, "missing=root ") &&
		   strstr(text, "missing=ipc_namespace "),
	   "the log reports it");
	is_int(run_without(SCMP_SYS(pivot_root), run_staying, text, sizeof(text)), 0,
	       "after a failure nothing is left of the namespace, in which mounts would stay");
	ok(strstr(text, "missing=root error=\"changing the root: "), "the log reports it: %s",
	   text);
}

/* ---- the end ---- */

/* rptfs-init ends by itself: it is the last child. */
static void test_end(void)
{
	int status = status_of(start(ABORTS, listener));

	is_int(WIFSIGNALED(status) ? WTERMSIG(status) : -1, SIGABRT, "a worker can abort");
	kill(sleeper, SIGKILL);
	while (waitpid(-1, &status, 0) > 0)
		;
	is_int(errno, ECHILD, "no process is left");
}

int main(int argc, char **argv)
{
	if (argc == 3)
		pid_namespace_init(atoi(argv[2]));
	if (argc == 7)
		return check_inside(argv + 1);
	if (geteuid() != 0 || capng_get_caps_process() < 0 ||
	    !capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_ADMIN)) {
		puts("1..0 # SKIP needs CAP_SYS_ADMIN");
		return 0;
	}
	if (!has_mounted_root()) {
		puts("1..0 # SKIP / is not a mount, as in a chroot");
		return 0;
	}
	set_up();
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
		is_int(status_of(start(i, listener)), 0, "%s", checks[i].name);
	test_resolvers();
	test_below_etc();
	test_refused();
	test_end();
	clean_up();
	return tap_done();
}
