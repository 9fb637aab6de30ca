/*
 * sandbox: what a process that has entered it can do and cannot do. Each check runs in a child of
 * its own, once as root and once as nobody.
 */
#include <arpa/inet.h>
#include <cap-ng.h>
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/netlink.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <seccomp.h>

#include "base/util.h"
#include "worker/sandbox.h"
#include "tap.h"
#include "keeper/store_directory.h"
#include "own_namespace.h"
#include "sandbox_checks.h"
#include "store/store.h"

static char base[] = "/tmp/rptfs-unit-XXXXXX";
static int store_fd, outside_fd, listener;
static struct sockaddr_in listening;
static struct sockaddr_un listening_unix = { .sun_family = AF_UNIX };
static int landlock; /* the version of the kernel; 0: none */
static bool has_setpcap, can_mount;

/* ---- set-up ---- */

static const char *at(const char *name)
{
	static char paths[4][128];
	static unsigned next;
	char *path = paths[next++ % ARRAY_SIZE(paths)];

	snprintf(path, sizeof(paths[0]), "%s/%s", base, name);
	return path;
}

static void listen_unix(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(listening_unix.sun_path, sizeof(listening_unix.sun_path), "%s", at("socket"));
	must(bind(fd, (void *)&listening_unix, sizeof(listening_unix)) == 0 && listen(fd, 5) == 0 &&
		     chmod(at("socket"), 0666) == 0,
	     "a UNIX socket");
}

/* base/store is the store; base/outside, base/open and base/socket are outside. */
static void set_up(void)
{
	socklen_t len = sizeof(listening);

	must(mkdtemp(base) && chmod(base, 0777) == 0, "mkdtemp");
	must(mkdir(at("outside"), 0777) == 0 && chmod(at("outside"), 0777) == 0, "outside");
	outside_fd = open(at("open"), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	must(outside_fd >= 0 && fchmod(outside_fd, 0666) == 0, "open");
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	listening.sin_family = AF_INET;
	listening.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	must(bind(listener, (void *)&listening, sizeof(listening)) == 0 &&
		     listen(listener, 128) == 0 &&
		     getsockname(listener, (void *)&listening, &len) == 0,
	     "a socket");
	listen_unix();
	long version = syscall(444, NULL, (size_t)0, 1u);
	landlock = version > 0 ? (int)version : 0;
	must(capng_get_caps_process() == 0, "capabilities");
	has_setpcap = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);
	can_mount = capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_ADMIN);
}

static void clean_up(void)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", base);
	must(system(command) == 0, "rm");
}

/* ---- one child ---- */

static void become(uid_t user)
{
	if (!user)
		return;
	must(setgroups(0, NULL) == 0 && setresgid(user, user, user) == 0 &&
		     setresuid(user, user, user) == 0,
	     "becoming nobody");
	/* As after execve(2), which the keeper does next. */
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static pid_t parent;

/* Returns the wait status of the child: 0 if check() was true. */
static int run(uid_t user, bool (*check)(void))
{
	struct err err = ERR_INIT;
	int status = -1;

	parent = getpid();
	pid_t pid = fork();
	if (pid == 0) {
		become(user);
		if (sandbox_enter(store_fd, &err) < 0) {
			printf("# %s\n", err.msg);
			_exit(2);
		}
		_exit(check() ? 0 : 1);
	}
	must(waitpid(pid, &status, 0) == pid, "waitpid");
	return status;
}

/* ---- what works ---- */

static bool store_works(void)
{
	struct store_setup setup = { .dir_fd = store_fd, .dir = "the store" };
	struct store *store = NULL;
	struct err err = ERR_INIT;
	bool is_open = store_open(&store, &setup, &err) == 0;

	if (!is_open)
		printf("# %s\n", err.msg);
	fflush(stdout);
	store_close(store);
	return is_open;
}

static bool store_files_work(void)
{
	char self[32];

	mkdirat(store_fd, "d", 0700);
	_cleanup_close_ int fd = openat(store_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	return fd >= 0 && write(fd, "x", 1) == 1 && ftruncate(fd, 0) == 0 &&
	       linkat(AT_FDCWD, self, store_fd, "d/linked", AT_SYMLINK_FOLLOW) == 0 &&
	       renameat(store_fd, "d/linked", store_fd, "moved") == 0 &&
	       unlinkat(store_fd, "moved", 0) == 0 && unlinkat(store_fd, "d", AT_REMOVEDIR) == 0 &&
	       inotify_add_watch(inotify_init1(IN_CLOEXEC), at("store"), IN_CREATE) > 0;
}

/* Without a new file the fourth argument means nothing, and some callers leave it unset. */
static bool unset_modes_work(void)
{
	_cleanup_close_ int fd = (int)syscall(SYS_openat, store_fd, ".", O_RDONLY | O_CLOEXEC,
					      UINT64_MAX);

	return fd >= 0;
}

static bool inherited_descriptors_work(void)
{
	return pwrite(outside_fd, "x", 1, 0) == 1 && ftruncate(outside_fd, 0) == 0;
}

/* A bare root directory may be unable to resolve it outside as well. */
static bool is_resolved_outside;

static bool names_are_resolved(void)
{
	return resolves_localhost(AI_ADDRCONFIG) == is_resolved_outside;
}

static bool sockets_work(void)
{
	_cleanup_close_ int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	_cleanup_close_ int local = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	_cleanup_close_ int udp = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	_cleanup_close_ int route = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	return connect(tcp, (void *)&listening, sizeof(listening)) == 0 &&
	       connect(local, (void *)&listening_unix, sizeof(listening_unix)) == 0 &&
	       (udp >= 0 || errno == EAFNOSUPPORT) && route >= 0;
}

static void *wait_for_ever(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static bool threads_work(void)
{
	struct sched_param parameters = { .sched_priority = 0 };
	pthread_t thread;

	return pthread_create(&thread, NULL, wait_for_ever, NULL) == 0 &&
	       pthread_kill(thread, 0) == 0 && pthread_cancel(thread) == 0 &&
	       pthread_join(thread, NULL) == 0 &&
	       sched_setscheduler(0, SCHED_IDLE, &parameters) == 0;
}

/* Without CAP_SETPCAP the bounding set stays. */
static bool is_bounding_set_empty(void)
{
	bool is_empty = true;

	for (unsigned long i = 0; prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; i++)
		is_empty = is_empty && prctl(PR_CAPBSET_READ, i, 0, 0, 0) == 0;
	return is_empty || geteuid() != 0 || !has_setpcap;
}

static bool is_confined(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[2];

	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 &&
	       prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 2 && syscall(SYS_capget, &header, sets) == 0 &&
	       !sets[0].effective && !sets[0].permitted && !sets[0].inheritable &&
	       !sets[1].effective && !sets[1].permitted && !sets[1].inheritable &&
	       is_bounding_set_empty();
}

/* ---- what fails: files ---- */

static bool no_writing(void)
{
	char memory[32];

	snprintf(memory, sizeof(memory), "/proc/%d/mem", parent);
	return refused(open(at("outside/new"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600), EACCES) &&
	       refused(open(at("open"), O_WRONLY | O_CLOEXEC), EACCES) &&
	       refused(open(at("open"), O_RDONLY | O_TRUNC | O_CLOEXEC), EACCES) &&
	       refused(open("/etc/passwd", O_WRONLY | O_CLOEXEC), EACCES) &&
	       refused(open(memory, O_RDWR | O_CLOEXEC), EACCES) &&
	       refused(open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC), EACCES) &&
	       refused(syscall(SYS_truncate, at("open"), 0), ENOSYS);
}

static bool no_reading(void)
{
	char memory[32];

	snprintf(memory, sizeof(memory), "/proc/%d/mem", parent);
	return refused(open(at("open"), O_RDONLY | O_CLOEXEC), EACCES) &&
	       refused(open(at("outside"), O_RDONLY | O_DIRECTORY | O_CLOEXEC), EACCES) &&
	       refused(open("/var", O_RDONLY | O_DIRECTORY | O_CLOEXEC), EACCES) &&
	       refused(open(memory, O_RDONLY | O_CLOEXEC), EACCES);
}

static bool no_changing(void)
{
	return refused(mkdir(at("outside/d"), 0700), EACCES) &&
	       refused(unlink(at("open")), EACCES) &&
	       refused(rename(at("open"), at("outside/open")), EACCES) &&
	       refused(mknod(at("store/fifo"), S_IFIFO | 0600, 0), ENOSYS) &&
	       refused(symlink("/etc/shadow", at("store/link")), ENOSYS);
}

/* Into the store and out of it. */
static bool no_moving(void)
{
	close(openat(store_fd, "inside", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	bool stays = rename(at("store/inside"), at("outside/inside")) < 0 &&
		     link(at("store/inside"), at("outside/inside")) < 0 &&
		     rename(at("open"), at("store/open")) < 0 &&
		     link(at("open"), at("store/open")) < 0;
	unlinkat(store_fd, "inside", 0);
	return stays;
}

static bool no_listening(void)
{
	_cleanup_close_ int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in any = { .sin_family = AF_INET };

	return refused(bind(tcp, (void *)&any, sizeof(any)), EACCES);
}

static bool no_signals(void)
{
	return refused(kill(parent, 0), is_sanitized ? EPERM : ENOSYS);
}

/* ---- what fails: system calls ---- */

static bool no_identity(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[2] = { { .effective = 1, .permitted = 1 } };

	return refused(setuid(0), EPERM) && refused(setgid(0), EPERM) &&
	       refused(setgroups(0, NULL), EPERM) &&
	       refused(syscall(SYS_setresuid, 0, 0, 0), EPERM) &&
	       refused(syscall(SYS_capset, &header, sets), EPERM) &&
	       prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0) < 0;
}

static bool no_sockets_of_other_kinds(void)
{
	static const struct {
		int family, type, protocol;
	} kinds[] = {
		{ AF_INET, SOCK_RAW, IPPROTO_ICMP },
		{ AF_INET, SOCK_DGRAM, IPPROTO_ICMP },
		{ AF_INET, SOCK_STREAM, IPPROTO_MPTCP },
		{ AF_INET6, SOCK_STREAM, IPPROTO_SCTP },
		{ AF_INET6, SOCK_SEQPACKET, 0 },
		{ AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE },
		{ AF_INET, SOCK_DCCP, IPPROTO_DCCP },
		{ AF_PACKET, SOCK_RAW, 0 },
		{ AF_VSOCK, SOCK_STREAM, 0 },
		{ AF_ALG, SOCK_SEQPACKET, 0 },
		{ AF_UNIX, SOCK_SEQPACKET, 0 },
		{ AF_NETLINK, SOCK_RAW, NETLINK_AUDIT },
		{ AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT },
	};
	_cleanup_close_ int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int pair[2];

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!refused(socket(kinds[i].family, kinds[i].type, kinds[i].protocol), ENOSYS))
			return false;
	}
	return refused(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), ENOSYS) &&
	       refused(socketpair(AF_TIPC, SOCK_SEQPACKET, 0, pair), ENOSYS) &&
	       refused(listen(tcp, 1), EPERM);
}

static bool no_rights_for_others(void)
{
	_cleanup_close_ int fd = openat(store_fd, "f", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	struct stat st;
	bool is_private = fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0600;
	bool stays =
		refused(fchmod(fd, 06755), ENOSYS) && refused(fchmod(fd, 0604), ENOSYS) &&
		refused(fchmod(fd, 0640), ENOSYS) && refused(fchmod(fd, 04700), ENOSYS) &&
		refused(fchmod(openat(store_fd, ".", O_RDONLY | O_CLOEXEC), 0755), ENOSYS) &&
		refused(syscall(SYS_umask, 0), ENOSYS) &&
		refused(syscall(SYS_fchmodat, store_fd, "f", 0644), ENOSYS) &&
		refused(syscall(SYS_fchown, fd, -1, -1), ENOSYS) &&
		refused(syscall(SYS_openat, store_fd, "g", O_WRONLY | O_CREAT, 04711), ENOSYS) &&
		refused(syscall(SYS_openat, store_fd, ".", O_WRONLY | O_TMPFILE, 04711), ENOSYS) &&
		refused(mkdirat(store_fd, "d", 02755), ENOSYS) &&
		refused(mkdirat(store_fd, "d", 01777), ENOSYS) &&
		refused(syscall(SYS_openat2, store_fd, "g", NULL, 0), ENOSYS) &&
		fchmod(fd, 0400) == 0;

	unlinkat(store_fd, "f", 0);
	return is_private && stays;
}

/* Another worker may run as the same user. */
static bool no_scheduling_of_others(void)
{
	struct sched_param parameters = { 0 };
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	return refused(sched_setscheduler(parent, SCHED_IDLE, &parameters), ENOSYS) &&
	       refused(sched_setparam(parent, &parameters), ENOSYS) &&
	       refused(sched_setaffinity(parent, sizeof(cpus), &cpus), ENOSYS) &&
	       refused(syscall(SYS_sched_setattr, parent, NULL, 0), ENOSYS) &&
	       refused(setpriority(PRIO_PROCESS, (id_t)parent, 19), ENOSYS) &&
	       refused(setpriority(PRIO_USER, 0, 19), ENOSYS) &&
	       refused(syscall(SYS_ioprio_set, 1, parent, 0), ENOSYS);
}

/* The kernel would send them as the owner of the descriptor. */
static bool no_signals_by_descriptor(void)
{
	return refused(fcntl(outside_fd, F_SETOWN, parent), ENOSYS) &&
	       refused(fcntl(outside_fd, F_SETSIG, SIGKILL), ENOSYS) &&
	       refused(fcntl(store_fd, F_NOTIFY, DN_CREATE), ENOSYS) &&
	       refused(fcntl(outside_fd, F_SETLEASE, F_RDLCK), ENOSYS);
}

static bool has_failed(void *address)
{
	if (address == MAP_FAILED)
		return true;
	printf("# a mapping at %p\n", address);
	fflush(stdout);
	return false;
}

static bool no_writable_code(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return page != MAP_FAILED && mprotect(page, 4096, PROT_READ | PROT_EXEC) < 0 &&
	       mprotect(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC) < 0 &&
	       has_failed(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

static bool libraries_can_be_loaded(void)
{
	static const char *const paths[] = { "/bin/true", "/usr/bin/true" };

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		_cleanup_close_ int fd = open(paths[i], O_RDONLY | O_CLOEXEC);
		if (fd >= 0)
			return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) !=
			       MAP_FAILED;
	}
	return false;
}

/* What was downloaded is not executed either. */
static bool no_code_from_the_store(void)
{
	_cleanup_close_ int fd = openat(store_fd, "code", O_RDWR | O_CREAT | O_CLOEXEC, 0700);
	bool is_long = ftruncate(fd, 4096) == 0;
	void *page = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);

	unlinkat(store_fd, "code", 0);
	return is_long && has_failed(page);
}

static bool no_processes(void)
{
	return refused(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0), EPERM) &&
	       refused(syscall(SYS_clone, CLONE_THREAD | CLONE_NEWUSER, 0, 0, 0, 0), ENOSYS) &&
	       refused(syscall(SYS_clone3, NULL, 0), ENOSYS) &&
	       refused(syscall(SYS_tgkill, parent, parent, 0), ENOSYS) && fork() < 0;
}

static bool no_clone3(void)
{
	return refused(syscall(SYS_clone3, NULL, 0), ENOSYS);
}

static bool no_kernel_interfaces(void)
{
	return refused(ioctl(STDOUT_FILENO, TIOCSTI, "x"), ENOSYS) &&
	       refused(syscall(SYS_io_uring_setup, 1, NULL), EPERM) &&
	       refused(syscall(SYS_userfaultfd, 0), EPERM) &&
	       refused(syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0), EPERM) &&
	       refused(syscall(SYS_keyctl, 0, 0, 0, 0, 0), EPERM) &&
	       refused(syscall(SYS_memfd_create, "x", 0), ENOSYS) &&
	       refused(syscall(SYS_open_by_handle_at, store_fd, NULL, 0), EPERM);
}

/* ---- what kills the process ---- */

static bool executes(void)
{
	static char program[] = "/bin/true";
	char *argv[] = { program, NULL };

	return execv(program, argv) < 0;
}

static bool executes_a_descriptor(void)
{
	static char program[] = "/bin/true";
	char *argv[] = { program, NULL };

	return syscall(SYS_execveat, open(program, O_PATH | O_CLOEXEC), "", argv, NULL, 0x1000);
}

static bool traces(void)
{
	return ptrace(PTRACE_ATTACH, parent, NULL, NULL) < 0;
}

static bool writes_memory(void)
{
	return process_vm_writev(parent, NULL, 0, NULL, 0, 0) < 0;
}

static bool mounts(void)
{
	return mount("none", "/mnt", "tmpfs", 0, NULL) < 0;
}

static bool unmounts(void)
{
	return umount2("/mnt", MNT_DETACH) < 0;
}

static bool makes_a_tmpfs(void)
{
	return fsopen("tmpfs", 0) < 0;
}

static bool unshares(void)
{
	return unshare(CLONE_NEWUSER) < 0;
}

static bool changes_the_root(void)
{
	return chroot("/") < 0;
}

static bool loads_bpf(void)
{
	return syscall(SYS_bpf, 0, NULL, 0) < 0;
}

static bool loads_a_module(void)
{
	return syscall(SYS_finit_module, -1, "", 0) < 0;
}

/* ---- the tables ---- */

enum layer {
	ANY,
	LANDLOCK,
	PLAIN, /* not with sanitizers, which need these calls */
	MOUNT, /* if the store could get a mount of its own */
};

static const struct {
	const char *name;
	bool (*check)(void);
	enum layer layer;
	int version; /* of Landlock */
} checks[] = {
	{ "the store opens, with its catalog", store_works, ANY, 0 },
	{ "files of the store can be made, linked, moved, removed and watched", store_files_work,
	  ANY, 0 },
	{ "certificates, users, libraries, boot id and random numbers can be read",
	  machine_is_readable, ANY, 0 },
	{ "a file is opened whatever stands for an unused mode", unset_modes_work, ANY, 0 },
	{ "open descriptors keep their rights", inherited_descriptors_work, ANY, 0 },
	{ "names are resolved", names_are_resolved, ANY, 0 },
	{ "TCP, UDP, UNIX and route sockets work", sockets_work, ANY, 0 },
	{ "threads work", threads_work, ANY, 0 },
	{ "no_new_privs is set, a filter is loaded, no set has capabilities", is_confined, ANY, 0 },
	{ "nothing outside the store can be written", no_writing, LANDLOCK, 3 },
	{ "other files cannot be read", no_reading, LANDLOCK, 2 },
	{ "other directories cannot be changed", no_changing, LANDLOCK, 2 },
	{ "nothing can be moved or linked into the store or out of it", no_moving, LANDLOCK, 2 },
	{ "no TCP port can be bound", no_listening, LANDLOCK, 4 },
	{ "other processes get no signals", no_signals, LANDLOCK, 6 },
	{ "no change of user, no capability", no_identity, ANY, 0 },
	{ "libraries can be loaded", libraries_can_be_loaded, ANY, 0 },
	{ "no sockets of other families, types or protocols, no listening",
	  no_sockets_of_other_kinds, ANY, 0 },
	{ "nothing in the store has rights for others, or a set-user-ID bit", no_rights_for_others,
	  ANY, 0 },
	{ "other processes are not scheduled", no_scheduling_of_others, ANY, 0 },
	{ "descriptors send no signals to other processes", no_signals_by_descriptor, ANY, 0 },
	{ "no memory is writable and executable", no_writable_code, ANY, 0 },
	{ "what is in the store cannot be executed", no_code_from_the_store, MOUNT, 0 },
	{ "no new processes or namespaces", no_processes, PLAIN, 0 },
	{ "no clone3", no_clone3, ANY, 0 },
	{ "no terminal input, io_uring, userfaultfd, perf, keys, memfd or file handles",
	  no_kernel_interfaces, ANY, 0 },
};

static const struct {
	const char *name;
	bool (*attempt)(void);
	enum layer layer;
} attempts[] = {
	{ "execve", executes, ANY },
	{ "execveat", executes_a_descriptor, ANY },
	{ "ptrace", traces, PLAIN },
	{ "process_vm_writev", writes_memory, ANY },
	{ "mount", mounts, ANY },
	{ "umount", unmounts, ANY },
	{ "fsopen", makes_a_tmpfs, ANY },
	{ "unshare", unshares, ANY },
	{ "chroot", changes_the_root, ANY },
	{ "bpf", loads_bpf, ANY },
	{ "finit_module", loads_a_module, ANY },
};

static void test_as(uid_t user)
{
	const char *who = user ? "nobody" : "root";
	struct err err = ERR_INIT;

	store_fd = store_directory_make(at("store"), user, user, &err);
	must(store_fd >= 0, err.msg);
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		if ((checks[i].layer == PLAIN && is_sanitized) ||
		    (checks[i].layer == MOUNT && !can_mount) || checks[i].version > landlock)
			continue;
		is_int(run(user, checks[i].check), 0, "%s: %s", who, checks[i].name);
	}
	for (size_t i = 0; i < ARRAY_SIZE(attempts); i++) {
		if (attempts[i].layer == PLAIN && is_sanitized)
			continue;
		int status = run(user, attempts[i].attempt);
		is_int(WIFSIGNALED(status) ? WTERMSIG(status) : -1, SIGSYS,
		       "%s: %s kills the process", who, attempts[i].name);
	}
}

/* ---- /etc/resolv.conf, as resolvers come and go ---- */

#define RESOLV "/etc/resolv.conf"

static bool finds_resolver(void)
{
	return can_open(RESOLV, O_RDONLY);
}

static bool finds_resolver_alone(void)
{
	return finds_resolver() && !can_open("/run/user/65534/secret", O_RDONLY);
}

static const struct {
	const char *name, *before, *after;
	bool (*check)(void);
} resolvers[] = {
	{ "a link into a directory that is made later", "echo > " RESOLV,
	  "mkdir /run/later; echo > /run/later/r; ln -sf /run/later/r " RESOLV, finds_resolver },
	{ "a directory that is made anew",
	  "mkdir -p /run/systemd/resolve; echo > /run/systemd/resolve/r; "
	  "ln -s ../run/systemd/resolve/r " RESOLV,
	  "rm -r /run/systemd; mkdir -p /run/systemd/resolve; echo > /run/systemd/resolve/r",
	  finds_resolver },
	{ "a link to a link", "mkdir /mnt/a; ln -s /run/one " RESOLV "; ln -s ../mnt/a/r /run/one",
	  "echo > /mnt/a/r", finds_resolver },
	{ "a loop", "ln -s resolv.conf " RESOLV, "rm " RESOLV "; echo > " RESOLV, finds_resolver },
	{ "a user's own files in /run, with a directory that is made anew",
	  "mkdir -p /run/user/65534 /run/systemd/resolve; echo > /run/user/65534/secret; "
	  "ln -s /run/systemd/resolve/r " RESOLV,
	  "rm -r /run/systemd/resolve; mkdir /run/systemd/resolve; echo > /run/systemd/resolve/r",
	  finds_resolver_alone },
};

static void hide(const char *path)
{
	must(mount("none", path, "tmpfs", 0, "mode=755") == 0, path);
}

/* A child that enters the sandbox, waits for a byte on `go`, and checks. */
static pid_t start_resolver_check(size_t i, int ready, int go)
{
	struct err err = ERR_INIT;
	char byte = 0;
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	become(NOBODY);
	if (sandbox_enter(store_fd, &err) < 0 || write(ready, &byte, 1) != 1 ||
	    read(go, &byte, 1) != 1)
		_exit(2);
	_exit(resolvers[i].check() ? 0 : 1);
}

/* In a mount namespace of its own. Returns the check's wait status. */
static int run_resolver(size_t i)
{
	int ready[2], go[2], status = -1;
	char byte = 0;

	must(own_namespace_enter(), "a mount namespace");
	hide("/etc");
	hide("/run");
	hide("/mnt");
	must(pipe2(ready, O_CLOEXEC) == 0 && pipe2(go, O_CLOEXEC) == 0, "pipes");
	must(system(resolvers[i].before) == 0, resolvers[i].before);
	pid_t pid = start_resolver_check(i, ready[1], go[0]);
	close(ready[1]);
	must(read(ready[0], &byte, 1) == 1 && system(resolvers[i].after) == 0 &&
		     write(go[1], &byte, 1) == 1 && waitpid(pid, &status, 0) == pid,
	     resolvers[i].after);
	return status;
}

static void test_resolvers(void)
{
	if (!has_mounted_root()) {
		ok(true, "/etc/resolv.conf is found # SKIP / is not a mount, as in a chroot");
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(resolvers); i++) {
		int status = -1;
		pid_t pid = fork();

		if (pid == 0)
			_exit(run_resolver(i) == 0 ? 0 : 1);
		must(waitpid(pid, &status, 0) == pid, "waitpid");
		is_int(status, 0, "/etc/resolv.conf is found: %s", resolvers[i].name);
	}
}

/* ---- kernels without a layer ---- */

static bool nothing_to_check(void)
{
	return true;
}

/* Makes the call fail like on a kernel without it, for this process and its children. */
static void remove_call(int call)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	must(filter && seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), call, 0) == 0 &&
		     seccomp_rule_add(filter, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(prctl), 1,
				      SCMP_A0(SCMP_CMP_EQ, PR_SET_SECCOMP)) == 0 &&
		     seccomp_load(filter) == 0,
	     "a filter");
	seccomp_release(filter);
}

/* As on a kernel before 6.3. */
static void remove_mdwe(void)
{
	static const int options[] = { 65, 66 }; /* PR_SET_MDWE, PR_GET_MDWE */
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	must(filter != NULL, "a filter");
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		must(seccomp_rule_add(filter, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(prctl), 1,
				      SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)options[i])) == 0,
		     "a rule");
	must(seccomp_load(filter) == 0, "loading a filter");
	seccomp_release(filter);
}

static bool is_code_fixed(void)
{
	return prctl(66, 0, 0, 0, 0) < 0 && no_writable_code() && libraries_can_be_loaded() &&
	       threads_work();
}

/* A kernel before 6.3 lacks PR_GET_MDWE, and leaves the opener without this layer. */
static void test_opener(void)
{
	struct err err = ERR_INIT;
	int status = -1;

	pid_t pid = fork();
	if (pid == 0) {
		bool is_old = prctl(66, 0, 0, 0, 0) < 0;
		if (sandbox_enter_opener(&err) < 0)
			_exit(2);
		_exit(is_old || no_writable_code() ? 0 : 1);
	}
	must(waitpid(pid, &status, 0) == pid, "waitpid");
	is_int(status, 0, "no memory of an opener is writable and executable");
}

static void test_without_mdwe(void)
{
	int status = -1;

	pid_t pid = fork();
	if (pid == 0) {
		remove_mdwe();
		_exit(run(NOBODY, is_code_fixed) == 0 ? 0 : 1);
	}
	must(waitpid(pid, &status, 0) == pid, "waitpid");
	is_int(status, 0, "before Linux 6.3 no memory is writable and executable either");
}

/* Checks the log, and that the other layers still work. */
static void test_without(int call, const char *missing, bool (*check)(void))
{
	char expected[64], text[2048] = "";
	int pair[2], status = -1;

	must(pipe2(pair, O_CLOEXEC) == 0, "pipe");
	pid_t pid = fork();
	if (pid == 0) {
		dup2(pair[1], STDERR_FILENO);
		remove_call(call);
		_exit(run(NOBODY, check) == 0 ? 0 : 1);
	}
	close(pair[1]);
	for (ssize_t used = 0, n;
	     (n = read(pair[0], text + used, sizeof(text) - 1 - (size_t)used)) > 0;)
		used += n;
	close(pair[0]);
	must(waitpid(pid, &status, 0) == pid, "waitpid");
	is_int(status, 0, "without %s the other layers work", missing);
	snprintf(expected, sizeof(expected), "event=sandbox_incomplete missing=%s ", missing);
	ok(strstr(text, expected), "the log reports it: %s", text);
}

int main(void)
{
	set_up();
	is_resolved_outside = resolves_localhost(AI_ADDRCONFIG);
	test_as(0);
	test_as(NOBODY);
	if (landlock >= 2)
		test_resolvers();
	test_opener();
	test_without_mdwe();
	test_without(444, "landlock", is_confined);
	if (!is_sanitized)
		test_without(SCMP_SYS(seccomp), "seccomp",
			     landlock ? no_reading : nothing_to_check);
	clean_up();
	return tap_done();
}
