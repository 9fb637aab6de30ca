/*
 * Landlock: access to the store's directory, and to the system files that libraries read.
 *
 * The system calls are made by number, and constants of newer kernels are defined here, because the
 * headers at build time may be older than the running kernel. Everything that the running version
 * of the interface can restrict is restricted, except connecting.
 *
 * Rules apply to the inodes that exist when the sandbox is entered. So they name directories, not
 * files that may be replaced.
 *
 * Runs in the worker, unprivileged.
 */
#include "worker/sandbox.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/log.h"
#include "base/private_root.h"
#include "base/util.h"
#include "worker/sandbox_paths.h"

#ifndef SYS_landlock_create_ruleset
#	define SYS_landlock_create_ruleset 444 /* on every architecture */
#	define SYS_landlock_add_rule	    445
#	define SYS_landlock_restrict_self  446
#endif

#define CREATE_RULESET_VERSION		1u
#define RULE_PATH_BENEATH		1
#define RESTRICT_SELF_LOG_SAME_EXEC_OFF 1u /* since version 7 */

enum {
	FS_EXECUTE = 1 << 0,
	FS_WRITE_FILE = 1 << 1,
	FS_READ_FILE = 1 << 2,
	FS_READ_DIR = 1 << 3,
	FS_REMOVE_DIR = 1 << 4,
	FS_REMOVE_FILE = 1 << 5,
	FS_MAKE_CHAR = 1 << 6,
	FS_MAKE_DIR = 1 << 7,
	FS_MAKE_REG = 1 << 8,
	FS_MAKE_SOCK = 1 << 9,
	FS_MAKE_FIFO = 1 << 10,
	FS_MAKE_BLOCK = 1 << 11,
	FS_MAKE_SYM = 1 << 12,
	FS_REFER = 1 << 13,
	FS_TRUNCATE = 1 << 14,
	FS_IOCTL_DEV = 1 << 15,

	NET_BIND_TCP = 1 << 0,

	SCOPE_ABSTRACT_UNIX_SOCKET = 1 << 0,
	SCOPE_SIGNAL = 1 << 1,
};

#define FS_READ (FS_READ_FILE | FS_READ_DIR)
#define FS_STORE                                                                                \
	(FS_READ | FS_WRITE_FILE | FS_TRUNCATE | FS_REMOVE_DIR | FS_REMOVE_FILE | FS_MAKE_DIR | \
	 FS_MAKE_REG | FS_REFER)
/* The rights that a rule for anything but a directory may have. */
#define FS_OF_FILE (FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV)

struct ruleset_attr {
	uint64_t handled_access_fs;
	uint64_t handled_access_net;
	uint64_t scoped;
};

struct path_beneath_attr {
	uint64_t allowed_access;
	int32_t parent_fd;
} __attribute__((packed));

/* As many links as the kernel follows. */
#define LINKS_MAX 40

/* Earlier versions refuse every link from one directory into another. */
#define VERSION_MIN 2

static const struct {
	int version;
	struct ruleset_attr refused;
} versions[] = {
	{ 2, { .handled_access_fs = (FS_REFER << 1) - 1 } },
	{ 3, { .handled_access_fs = FS_TRUNCATE } },
	{ 4, { .handled_access_net = NET_BIND_TCP } },
	{ 5, { .handled_access_fs = FS_IOCTL_DEV } },
	{ 6, { .scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL } },
};

/* Missing paths are left out. */
static const struct {
	const char *path;
	uint64_t access;
} rules[] = {
	{ "/etc", FS_READ }, /* certificates, name resolution, OpenSSL, time zone, machine-id */
	{ PRIVATE_ROOT_ETC, FS_READ },
	{ PRIVATE_ROOT_RESOLVER, FS_STORE },
	{ "/usr", FS_READ }, /* libraries that are loaded later: name services, OpenSSL */
	{ "/lib", FS_READ },
	{ "/lib32", FS_READ },
	{ "/lib64", FS_READ },
	{ "/run/nscd", FS_READ },
	{ "/var/lib/sss", FS_READ },		/* caches of the sssd name service */
	{ "/sys/devices/system/cpu", FS_READ }, /* malloc reads the number of CPUs */
	{ "/proc/sys", FS_READ }, /* boot_id, crypto/fips_enabled, overcommit_memory */
	{ "/dev/null", FS_READ_FILE | FS_WRITE_FILE },
	{ "/dev/urandom", FS_READ_FILE },
	{ "/dev/random", FS_READ_FILE },
};

/* What add_named() adds rules to. */
struct rules {
	int ruleset;
	const struct ruleset_attr *attr;
};

static int version_of_kernel(struct err *err)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0,
			       CREATE_RULESET_VERSION);

	if (version < 0)
		return err_errno(err, "this kernel does not confine access to files");
	if (version < VERSION_MIN)
		return err_set(err, ERR_INTERNAL, "version %ld of this kernel is too old", version);
	return (int)version;
}

static struct ruleset_attr attr_for(int version)
{
	struct ruleset_attr attr = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(versions) && versions[i].version <= version; i++) {
		attr.handled_access_fs |= versions[i].refused.handled_access_fs;
		attr.handled_access_net |= versions[i].refused.handled_access_net;
		attr.scoped |= versions[i].refused.scoped;
	}
	return attr;
}

/* An older kernel accepts a longer structure if the rest is zero. */
static int make_ruleset(const struct ruleset_attr *attr, struct err *err)
{
	long fd = syscall(SYS_landlock_create_ruleset, attr, sizeof(*attr), 0u);

	return fd < 0 ? err_errno(err, "making a ruleset") : (int)fd;
}

static int add_rule(int ruleset, const struct ruleset_attr *attr, int fd, uint64_t access,
		    struct err *err)
{
	struct path_beneath_attr rule = { .parent_fd = fd };
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_errno(err, "fstat");
	rule.allowed_access = access & attr->handled_access_fs;
	if (!S_ISDIR(st.st_mode))
		rule.allowed_access &= FS_OF_FILE;
	if (syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0u) < 0)
		return err_errno(err, "adding a rule");
	return 0;
}

static int add_path(int ruleset, const struct ruleset_attr *attr, const char *path, uint64_t access,
		    struct err *err)
{
	_cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC);

	if (fd < 0)
		return 0;
	return add_rule(ruleset, attr, fd, access, err) < 0 ? err_prefix(err, "%s", path) : 0;
}

/* As sandbox_paths_visit() calls it. */
static int add_named(void *arg, const char *path, bool is_writable, struct err *err)
{
	const struct rules *to = arg;

	return add_path(to->ruleset, to->attr, path, is_writable ? FS_STORE : FS_READ, err);
}

/* The directory of a file. If it does not exist yet, its nearest ancestor. */
static int add_directory_of(int ruleset, const struct ruleset_attr *attr, const char *file,
			    struct err *err)
{
	_cleanup_free_ char *path = strdup(file);
	char *slash;

	while (path && (slash = strrchr(path, '/')) > path) {
		*slash = '\0';
		if (access(path, F_OK) == 0)
			return add_path(ruleset, attr, path, FS_READ, err);
	}
	return 0;
}

/* The directories of the files that /etc/resolv.conf is a link to, one after the other. */
static int add_resolver_links(int ruleset, const struct ruleset_attr *attr, struct err *err)
{
	char path[2 * PATH_MAX] = "/etc/resolv.conf", target[PATH_MAX];

	for (unsigned i = 0; i < LINKS_MAX; i++) {
		ssize_t len = readlink(path, target, sizeof(target) - 1);
		if (len <= 0)
			return 0;
		target[len] = '\0';
		char *name = *target == '/' ? path : strrchr(path, '/') + 1;
		snprintf(name, sizeof(path) - (size_t)(name - path), "%s", target);
		if (add_directory_of(ruleset, attr, path, err) < 0)
			return -1;
	}
	return 0;
}

/* While rptfs runs, a resolver may be started or exchanged, and /etc/resolv.conf become a link into
 * a directory below /run that does not exist yet. A worker whose user has files there gets less: it
 * finds the directories of the usual resolvers, even if they are made anew. */
static int add_resolver(int ruleset, const struct ruleset_attr *attr, struct err *err)
{
	static const char *const usual[] = { "/run/systemd", "/run/NetworkManager",
					     "/run/resolvconf", "/run/connman" };
	char own[64];

	if (add_resolver_links(ruleset, attr, err) < 0)
		return -1;
	snprintf(own, sizeof(own), "/run/user/%u", (unsigned)geteuid());
	if (access(own, F_OK) < 0)
		return add_path(ruleset, attr, "/run", FS_READ_FILE, err);
	for (size_t i = 0; i < ARRAY_SIZE(usual); i++) {
		if (add_path(ruleset, attr, usual[i], FS_READ, err) < 0)
			return -1;
	}
	return 0;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static int add_sanitizer(int ruleset, const struct ruleset_attr *attr, struct err *err)
{
	return add_path(ruleset, attr, "/proc", FS_READ, err);
}
#else
static int add_sanitizer(int ruleset, const struct ruleset_attr *attr, struct err *err)
{
	(void)ruleset, (void)attr, (void)err;
	return 0;
}
#endif

static int add_rules(int ruleset, const struct ruleset_attr *attr, int store_fd, struct err *err)
{
	struct rules to = { ruleset, attr };

	if (add_rule(ruleset, attr, store_fd, FS_STORE, err) < 0)
		return err_prefix(err, "the store");
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		if (add_path(ruleset, attr, rules[i].path, rules[i].access, err) < 0)
			return -1;
	}
	if (sandbox_paths_visit(add_named, &to, err) < 0 || add_resolver(ruleset, attr, err) < 0)
		return -1;
	return add_sanitizer(ruleset, attr, err);
}

static int restrict_files(int store_fd, struct err *err)
{
	int version = version_of_kernel(err);

	if (version < 0)
		return -1;
	struct ruleset_attr attr = attr_for(version);
	_cleanup_close_ int ruleset = make_ruleset(&attr, err);
	if (ruleset < 0 || add_rules(ruleset, &attr, store_fd, err) < 0)
		return -1;
	/* No audit records: a refusal is ordinary, and leads to a request to the helper. */
	unsigned flags = version >= 7 ? RESTRICT_SELF_LOG_SAME_EXEC_OFF : 0;
	if (syscall(SYS_landlock_restrict_self, ruleset, flags) < 0)
		return err_errno(err, "entering");
	log_event(LOG_LEVEL_DEBUG, "landlock", LOG_INT("version", version));
	return 0;
}

int sandbox_restrict_files(int store_fd, struct err *err)
{
	return restrict_files(store_fd, err) < 0 ? 1 : 0;
}
