/*
 * sandbox_checks: what the tests of the sandbox's layers ask in the process that is confined.
 */
#ifndef TESTS_UNIT_SANDBOX_CHECKS_H
#define TESTS_UNIT_SANDBOX_CHECKS_H

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"

#define NOBODY 65534

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const bool is_sanitized = true;
#else
static const bool is_sanitized = false;
#endif

static void must(bool done, const char *what)
{
	if (done)
		return;
	perror(what);
	exit(1);
}

/* Did the call fail with that errno? */
static bool refused(long result, int expected)
{
	if (result < 0 && errno == expected)
		return true;
	printf("# result %ld, %s\n", result, strerrorname_np(errno));
	fflush(stdout);
	return false;
}

static bool can_open(const char *path, int flags)
{
	_cleanup_close_ int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		printf("# %s: %s\n", path, strerrorname_np(errno));
	fflush(stdout);
	return fd >= 0;
}

static bool machine_is_readable(void)
{
	return can_open("/etc/ssl", O_RDONLY | O_DIRECTORY) && can_open("/etc/passwd", O_RDONLY) &&
	       can_open("/usr/lib", O_RDONLY | O_DIRECTORY) &&
	       can_open("/proc/sys/kernel/random/boot_id", O_RDONLY) &&
	       can_open("/dev/urandom", O_RDONLY) && can_open("/dev/null", O_RDWR);
}

static bool resolves_localhost(int flags)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = flags };
	struct addrinfo *found = NULL;
	int rc = getaddrinfo("localhost", "80", &hints, &found);

	if (rc == 0)
		freeaddrinfo(found);
	return rc == 0;
}

/* In a chroot, "/" need not be a mount. */
static bool has_mounted_root(void)
{
	struct statx stx;

	return statx(AT_FDCWD, "/", 0, STATX_TYPE, &stx) == 0 &&
	       (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

#endif
