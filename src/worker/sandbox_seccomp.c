/*
 * seccomp: the system calls that the worker, the visitor and the opener may make.
 *
 *	allowed          some of them with certain arguments only
 *	refused          EPERM, which libraries treat as missing rights
 *	hostile          calls that no code here makes: the kernel kills the process (SIGSYS), and
 *	                 with it the code that has compromised it
 *	any other        ENOSYS, so that a library that tries a newer call falls back to older ones
 *
 * Processes cannot be created. Threads are created with clone(2): the flags of clone3(2) are in
 * memory, which a filter cannot read; clone3(2) returns ENOSYS, and libc then uses clone(2).
 *
 * The filter does not restrict which descriptors are written to. Landlock and permissions protect
 * the memory of other processes in /proc.
 *
 * Runs in the worker, unprivileged, and in the visitor and the opener, with the rights of the user
 * who started rptfs.
 */
#include "worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <seccomp.h>

#include "base/util.h"

#ifndef PR_GET_MDWE
#	define PR_GET_MDWE 66 /* since Linux 6.3 */
#endif

#define ERRNO(number) SCMP_ACT_ERRNO((uint32_t)(number)&0xffff)

/* Names that are unknown to libseccomp or to the architecture are left out. */
static const char allowed[] =
	/* files */
	"access chdir close close_range copy_file_range dup dup2 dup3 faccessat faccessat2 "
	"fadvise64 fadvise64_64 arm_fadvise64_64 fallocate fchdir fdatasync flock fstat fstat64 "
	"fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 getcwd getdents getdents64 link "
	"linkat _llseek lseek lstat lstat64 newfstatat pipe pipe2 pread64 preadv preadv2 pwrite64 "
	"pwritev pwritev2 read readahead readlink readlinkat readv rename renameat renameat2 "
	"rmdir splice stat stat64 statfs statfs64 statx sync_file_range sync_file_range2 tee "
	"unlink unlinkat utimensat vmsplice write writev "
	/* memory */
	"brk madvise membarrier mincore mlock mlock2 mremap msync munlock munmap "
	/* threads and identity */
	"arch_prctl capget exit exit_group futex futex_time64 futex_waitv get_robust_list "
	"getcpu getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 "
	"getpgid getpgrp getpid getppid getresgid getresgid32 getresuid getresuid32 getrlimit "
	"getrusage getsid gettid getuid getuid32 prctl rseq sched_get_priority_max "
	"sched_get_priority_min sched_yield set_robust_list set_thread_area set_tid_address "
	"set_tls sysinfo ugetrlimit uname "
	/* signals and time */
	"clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep "
	"clock_nanosleep_time64 getitimer gettimeofday nanosleep pause restart_syscall "
	"rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait "
	"rt_sigtimedwait_time64 setitimer sigaltstack signalfd signalfd4 sigreturn time "
	"timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime "
	"timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime "
	"timerfd_settime64 times "
	/* waiting */
	"epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd "
	"eventfd2 inotify_add_watch inotify_init inotify_init1 inotify_rm_watch _newselect poll "
	"ppoll ppoll_time64 pselect6 pselect6_time64 select "
	/* network; the only listening socket is inherited */
	"accept accept4 bind connect getpeername getsockname getsockopt recv recvfrom recvmmsg "
	"recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt "
	/* randomness */
	"getrandom "
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	/* LeakSanitizer stops all threads from a process of its own. */
	"clone fork kill personality prlimit64 ptrace tgkill wait4 tkill process_vm_readv "
#endif
	"";

static const char refused[] =
	"add_key capset fork io_uring_enter io_uring_register io_uring_setup keyctl listen "
	"open_by_handle_at perf_event_open personality request_key setfsgid setfsgid32 setfsuid "
	"setfsuid32 setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid "
	"setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setuid setuid32 syslog "
	"userfaultfd vfork ";

static const char hostile[] =
	"acct bpf chroot clock_adjtime clock_settime clock_settime64 delete_module execve "
	"execveat finit_module fsconfig fsmount fsopen fspick init_module ioperm iopl "
	"kexec_file_load kexec_load mount mount_setattr move_mount open_tree pidfd_getfd "
	"pivot_root process_madvise process_vm_readv process_vm_writev ptrace quotactl reboot "
	"setdomainname sethostname setns settimeofday stime swapoff swapon umount umount2 "
	"unshare ";

static int add_list(scmp_filter_ctx filter, uint32_t action, const char *names)
{
	char name[64];
	int rc = 0, len;

	for (; rc == 0 && sscanf(names, "%63s%n", name, &len) == 1; names += len) {
		int call = seccomp_syscall_resolve_name(name);
		if (call != __NR_SCMP_ERROR)
			rc = seccomp_rule_add_array(filter, action, call, 0, NULL);
	}
	return rc;
}

/* A call that depends on its arguments. */
struct rule {
	uint32_t action;
	const char *name;
	unsigned n;
	struct scmp_arg_cmp arguments[3];
};

static int add_rules(scmp_filter_ctx filter, const struct rule *rules, size_t n)
{
	int rc = 0;

	for (size_t i = 0; i < n && rc == 0; i++) {
		int call = seccomp_syscall_resolve_name(rules[i].name);
		if (call != __NR_SCMP_ERROR)
			rc = seccomp_rule_add_array(filter, rules[i].action, call, rules[i].n,
						    rules[i].arguments);
	}
	return rc;
}

#define IS(argument, value) SCMP_CMP64(argument, SCMP_CMP_EQ, (scmp_datum_t)(value))
#define IS_MASKED(argument, mask, value) \
	SCMP_CMP64(argument, SCMP_CMP_MASKED_EQ, (scmp_datum_t)(mask), (scmp_datum_t)(value))

/* Flags of open(2) with which its mode counts; else that argument need not even be set. */
#define O_MAKES (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))

/* A new file or directory has no set-user-ID, set-group-ID or sticky bit, and none for others:
 * umask is 0077 and cannot be changed. openat2(2), whose mode is in memory, is left out. */
static int add_modes(scmp_filter_ctx filter)
{
	const struct rule rules[] = {
		{ SCMP_ACT_ALLOW, "open", 1, { IS_MASKED(1, O_MAKES, 0) } },
		{ SCMP_ACT_ALLOW, "openat", 1, { IS_MASKED(2, O_MAKES, 0) } },
		{ SCMP_ACT_ALLOW, "open", 1, { IS_MASKED(2, ~UINT64_C(0777), 0) } },
		{ SCMP_ACT_ALLOW, "openat", 1, { IS_MASKED(3, ~UINT64_C(0777), 0) } },
		{ SCMP_ACT_ALLOW, "creat", 1, { IS_MASKED(1, ~UINT64_C(0777), 0) } },
		{ SCMP_ACT_ALLOW, "mkdir", 1, { IS_MASKED(1, ~UINT64_C(0777), 0) } },
		{ SCMP_ACT_ALLOW, "mkdirat", 1, { IS_MASKED(2, ~UINT64_C(0777), 0) } },
		{ SCMP_ACT_ALLOW, "fchmod", 1, { IS_MASKED(1, ~UINT64_C(0700), 0) } },
	};

	return add_rules(filter, rules, ARRAY_SIZE(rules));
}

/* Without the commands that let the kernel send a signal to the owner of a descriptor, or that make
 * other processes wait. */
static int add_fcntl(scmp_filter_ctx filter)
{
	static const int commands[] = {
		F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD,  F_SETFD,	 F_GETFL,     F_SETFL,
		F_GETLK, F_SETLK,	  F_SETLKW, F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW,
	};
	int rc = 0;

	for (size_t i = 0; i < ARRAY_SIZE(commands) && rc == 0; i++) {
		const struct rule rules[] = {
			{ SCMP_ACT_ALLOW, "fcntl", 1, { IS(1, commands[i]) } },
			{ SCMP_ACT_ALLOW, "fcntl64", 1, { IS(1, commands[i]) } },
		};
		rc = add_rules(filter, rules, ARRAY_SIZE(rules));
	}
	return rc;
}

/* Only for the calling thread: another worker may run as the same user. */
static int add_scheduling(scmp_filter_ctx filter)
{
	const struct rule rules[] = {
		{ SCMP_ACT_ALLOW, "sched_getaffinity", 1, { IS(0, 0) } },
		{ SCMP_ACT_ALLOW, "sched_setscheduler", 2, { IS(0, 0), IS(1, SCHED_IDLE) } },
	};

	return add_rules(filter, rules, ARRAY_SIZE(rules));
}

/* What is written is not executed: by the kernel's own rule, or before Linux 6.3 by ours. */
static int add_memory(scmp_filter_ctx filter)
{
	const struct rule all[] = {
		{ SCMP_ACT_ALLOW, "mmap", 0, {} },
		{ SCMP_ACT_ALLOW, "mmap2", 0, {} },
		{ SCMP_ACT_ALLOW, "mprotect", 0, {} },
	};
	const struct rule not_both[] = {
		{ SCMP_ACT_ALLOW, "mmap", 1, { IS_MASKED(2, PROT_EXEC, 0) } },
		{ SCMP_ACT_ALLOW, "mmap", 1, { IS_MASKED(2, PROT_EXEC | PROT_WRITE, PROT_EXEC) } },
		{ SCMP_ACT_ALLOW, "mmap2", 1, { IS_MASKED(2, PROT_EXEC, 0) } },
		{ SCMP_ACT_ALLOW, "mmap2", 1, { IS_MASKED(2, PROT_EXEC | PROT_WRITE, PROT_EXEC) } },
		{ SCMP_ACT_ALLOW, "mprotect", 1, { IS_MASKED(2, PROT_EXEC, 0) } },
	};

	return prctl(PR_GET_MDWE, 0, 0, 0, 0) > 0
		       ? add_rules(filter, all, ARRAY_SIZE(all))
		       : add_rules(filter, not_both, ARRAY_SIZE(not_both));
}

#define KIND(type)	 IS_MASKED(1, ~(uint64_t)(SOCK_CLOEXEC | SOCK_NONBLOCK), type)
#define PROTOCOL(number) IS(2, number)

static int add_sockets(scmp_filter_ctx filter)
{
	static const int internet[] = { AF_INET, AF_INET6 };
	static const struct {
		int type, protocol;
	} kinds[] = {
		{ SOCK_STREAM, 0 },
		{ SOCK_STREAM, IPPROTO_TCP },
		{ SOCK_DGRAM, 0 },
		{ SOCK_DGRAM, IPPROTO_UDP },
	};
	const struct rule rules[] = {
		/* name services; a socket of the configuration */
		{ SCMP_ACT_ALLOW, "socket", 3, { IS(0, AF_UNIX), KIND(SOCK_STREAM), PROTOCOL(0) } },
		/* the log */
		{ SCMP_ACT_ALLOW, "socket", 3, { IS(0, AF_UNIX), KIND(SOCK_DGRAM), PROTOCOL(0) } },
		/* libc lists the addresses of this host; fetch/network.c follows their changes */
		{ SCMP_ACT_ALLOW,
		  "socket",
		  3,
		  { IS(0, AF_NETLINK), KIND(SOCK_RAW), PROTOCOL(NETLINK_ROUTE) } },
		/* libcurl wakes its threads; the helper and the visitor */
		{ SCMP_ACT_ALLOW,
		  "socketpair",
		  3,
		  { IS(0, AF_UNIX), KIND(SOCK_STREAM), PROTOCOL(0) } },
		{ SCMP_ACT_ALLOW,
		  "socketpair",
		  3,
		  { IS(0, AF_UNIX), KIND(SOCK_SEQPACKET), PROTOCOL(0) } },
	};
	int rc = add_rules(filter, rules, ARRAY_SIZE(rules));

	for (size_t i = 0; i < ARRAY_SIZE(internet) * ARRAY_SIZE(kinds) && rc == 0; i++) {
		size_t kind = i / ARRAY_SIZE(internet);
		const struct rule rule = { SCMP_ACT_ALLOW,
					   "socket",
					   3,
					   { IS(0, internet[i % ARRAY_SIZE(internet)]),
					     KIND(kinds[kind].type),
					     PROTOCOL(kinds[kind].protocol) } };
		rc = add_rules(filter, &rule, 1);
	}
	return rc;
}

/* Allows only those that libc, libcurl and OpenSSL use on sockets and terminals. TIOCSTI, for
 * example, could type on the terminal of the user who started rptfs. */
static int add_ioctls(scmp_filter_ctx filter)
{
	const struct rule rules[] = {
		{ SCMP_ACT_ALLOW, "ioctl", 1, { IS(1, TCGETS) } },
		{ SCMP_ACT_ALLOW, "ioctl", 1, { IS(1, TIOCGWINSZ) } },
		{ SCMP_ACT_ALLOW, "ioctl", 1, { IS(1, FIONREAD) } },
		{ SCMP_ACT_ALLOW, "ioctl", 1, { IS(1, FIONBIO) } },
		{ SCMP_ACT_ALLOW, "ioctl", 1, { IS(1, FIOCLEX) } },
		{ SCMP_ACT_ALLOW, "ioctl", 1, { IS(1, SIOCGIFNAME) } },
		{ SCMP_ACT_ALLOW, "ioctl", 1, { IS(1, SIOCGIFINDEX) } },
		{ SCMP_ACT_ALLOW, "ioctl", 1, { IS(1, SIOCGIFADDR) } },
		{ SCMP_ACT_ALLOW, "ioctl", 1, { IS(1, SIOCGIFCONF) } },
	};

	return add_rules(filter, rules, ARRAY_SIZE(rules));
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static int add_processes(scmp_filter_ctx filter)
{
	(void)filter; /* the list has them */
	return 0;
}
#else
/* All namespace flags of clone(2). */
#	define CLONE_NAMESPACES                                                              \
		(CLONE_NEWCGROUP | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | \
		 CLONE_NEWUSER | CLONE_NEWUTS)

/* Allows threads, and signals to and limits of this process only. */
static int add_processes(scmp_filter_ctx filter)
{
#	if defined(__s390x__)
	const unsigned flags = 1; /* CONFIG_CLONE_BACKWARDS2 */
#	else
	const unsigned flags = 0;
#	endif
	const struct rule rules[] = {
		{ SCMP_ACT_ALLOW,
		  "clone",
		  1,
		  { IS_MASKED(flags, CLONE_THREAD | CLONE_NAMESPACES, CLONE_THREAD) } },
		{ ERRNO(EPERM), "clone", 1, { IS_MASKED(flags, CLONE_THREAD, 0) } },
		{ SCMP_ACT_ALLOW, "tgkill", 1, { IS(0, getpid()) } },
		{ SCMP_ACT_ALLOW, "kill", 1, { IS(0, getpid()) } },
		{ SCMP_ACT_ALLOW, "prlimit64", 1, { IS(0, 0) } },
	};

	return add_rules(filter, rules, ARRAY_SIZE(rules));
}
#endif

static int set_attributes(scmp_filter_ctx filter)
{
	int rc = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

	/* Also for threads that sanitizers have started before main(). */
	if (rc == 0)
		rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	/* Without the mitigation of Spectre variant 4, which kernels before 5.16 force on every
	 * process with a filter: this one runs no foreign code. */
	if (rc == 0)
		rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
	/* A binary tree instead of two hundred comparisons in a row. */
	if (rc == 0)
		rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	return rc;
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static const char visitors[] =
	"brk close close_range exit exit_group fstatat64 futex futex_time64 getdents64 newfstatat "
	"read recv recvfrom recvmsg renameat renameat2 restart_syscall rt_sigprocmask "
	"rt_sigreturn send sendmsg sendto sigreturn statx unlinkat write writev ";
static const char openers[] =
	/* files */
	"close fstat fstat64 fstatat64 fstatfs fstatfs64 geteuid geteuid32 inotify_add_watch "
	"newfstatat read readlinkat recvmsg sendmsg statx write writev "
	/* threads and their memory */
	"brk exit exit_group futex futex_time64 getrandom gettid madvise mlock mlock2 mmap mmap2 "
	"mprotect mremap munlock munmap restart_syscall rseq rt_sigprocmask rt_sigreturn "
	"sched_getaffinity sched_yield set_robust_list sigreturn ";
#else
static const char visitors[] = "", openers[] = "";
#endif

/* It opens only directories, to walk through them or to list them. */
static int build_for_visitor(scmp_filter_ctx filter)
{
	const struct rule rules[] = {
		{ SCMP_ACT_ALLOW, "openat", 1, { IS_MASKED(2, O_PATH, O_PATH) } },
		{ SCMP_ACT_ALLOW,
		  "openat",
		  1,
		  { IS_MASKED(2, O_DIRECTORY | O_ACCMODE | O_CREAT, O_DIRECTORY) } },
	};
	int rc = set_attributes(filter);

	if (rc == 0)
		rc = add_list(filter, SCMP_ACT_ALLOW, visitors);
	return rc == 0 ? add_rules(filter, rules, ARRAY_SIZE(rules)) : rc;
}

/* It opens nothing for writing. */
static int build_for_opener(scmp_filter_ctx filter)
{
	const struct rule rules[] = {
		{ SCMP_ACT_ALLOW, "openat", 1, { IS_MASKED(2, O_ACCMODE | O_CREAT | O_TRUNC, 0) } },
	};
	int rc = set_attributes(filter);

	if (rc == 0)
		rc = add_list(filter, SCMP_ACT_ALLOW, openers);
	if (rc == 0)
		rc = add_rules(filter, rules, ARRAY_SIZE(rules));
	return rc == 0 ? add_processes(filter) : rc;
}

static int build(scmp_filter_ctx filter)
{
	int rc = set_attributes(filter);

	if (rc == 0)
		rc = add_list(filter, SCMP_ACT_ALLOW, allowed);
	if (rc == 0)
		rc = add_list(filter, ERRNO(EPERM), refused);
	if (rc == 0)
		rc = add_list(filter, SCMP_ACT_KILL_PROCESS, hostile);
	if (rc == 0)
		rc = add_modes(filter);
	if (rc == 0)
		rc = add_fcntl(filter);
	if (rc == 0)
		rc = add_scheduling(filter);
	if (rc == 0)
		rc = add_memory(filter);
	if (rc == 0)
		rc = add_sockets(filter);
	if (rc == 0)
		rc = add_ioctls(filter);
	if (rc == 0)
		rc = add_processes(filter);
	return rc;
}

static void filter_cleanup(scmp_filter_ctx *filter)
{
	if (*filter)
		seccomp_release(*filter);
}

static int restrict_calls(int (*build_it)(scmp_filter_ctx filter), struct err *err)
{
	_cleanup_(filter_cleanup) scmp_filter_ctx filter = seccomp_init(ERRNO(ENOSYS));

	if (!filter)
		return err_set(err, ERR_INTERNAL, "out of memory");
	int rc = build_it(filter);
	errno = -rc;
	if (rc < 0)
		return err_errno(err, "the filter");
	rc = seccomp_load(filter);
	errno = -rc;
	return rc < 0 ? err_errno(err, "this kernel does not filter system calls") : 0;
}

int sandbox_restrict_calls(struct err *err)
{
	umask(0077);
	return restrict_calls(build, err) < 0 ? 1 : 0;
}

int sandbox_restrict_visitor(struct err *err)
{
	/* Sanitizers make other calls. */
	return *visitors && restrict_calls(build_for_visitor, err) < 0 ? 1 : 0;
}

int sandbox_restrict_opener(struct err *err)
{
	return *openers && restrict_calls(build_for_opener, err) < 0 ? 1 : 0;
}
