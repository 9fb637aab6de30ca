#include "keeper/mount_holders.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"

static void closedir_cleanup(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

#define _cleanup_closedir_ _cleanup_(closedir_cleanup)

/* ------------------------------------------------------------------ the connection of a keeper */

/* The number that the kernel shows for the descriptor; 0: it is another one, or the kernel is too
 * old. It is the minor device number of the mount. */
static unsigned read_connection(pid_t keeper, const char *fd)
{
	char path[64], line[128], target[16];
	unsigned number = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd/%.20s", (int)keeper, fd);
	ssize_t len = readlink(path, target, sizeof(target) - 1);
	if (len < 0 || strncmp(target, "/dev/fuse", (size_t)len) != 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%.20s", (int)keeper, fd);
	_cleanup_fclose_ FILE *file = fopen(path, "re");
	while (file && !number && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "fuse_connection: %u", &number) != 1)
			number = 0;
	}
	return number;
}

static unsigned find_connection(pid_t keeper)
{
	char path[32];
	const struct dirent *entry;
	unsigned number = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)keeper);
	_cleanup_closedir_ DIR *fds = opendir(path);
	while (fds && !number && (entry = readdir(fds)))
		number = read_connection(keeper, entry->d_name);
	return number;
}

/* ------------------------------------------------------------------ tables of mounts */

struct wanted {
	const char *mountpoint;
	unsigned connection; /* 0: unknown; the mount point tells then */
};

/* A line of mountinfo: "36 35 0:98 / /mnt1 ro … - fuse.rptfs rptfs …". */
static bool find_mount(const char *table, const struct wanted *wanted, char ret[PATH_MAX])
{
	_cleanup_fclose_ FILE *mounts = fopen(table, "re");
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	unsigned number;

	while (mounts && getline(&line, &size, mounts) > 0) {
		if (!strstr(line, " - fuse.rptfs ") ||
		    sscanf(line, "%*u %*u 0:%u %*s %4095s", &number, ret) != 2)
			continue;
		if (wanted->connection ? number == wanted->connection
				       : strcmp(ret, wanted->mountpoint) == 0)
			return true;
	}
	return false;
}

/* ------------------------------------------------------------------ namespaces */

static bool is_own_namespace(const char *pid)
{
	struct stat own, other;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%.20s/ns/mnt", pid);
	return stat("/proc/self/ns/mnt", &own) < 0 || stat(path, &other) < 0 ||
	       own.st_ino == other.st_ino;
}

static void read_comm(const char *pid, char *ret, size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	_cleanup_fclose_ FILE *file = fopen(path, "re");
	if (!file || !fgets(ret, (int)size, file))
		snprintf(ret, size, "?");
	ret[strcspn(ret, "\n")] = '\0';
}

static bool holds(const char *pid, const struct wanted *wanted, char ret[MOUNT_HOLDER_SIZE])
{
	char table[64], place[PATH_MAX], name[32];

	if (strspn(pid, "0123456789") != strlen(pid) || is_own_namespace(pid))
		return false;
	snprintf(table, sizeof(table), "/proc/%.20s/mountinfo", pid);
	read_comm(pid, name, sizeof(name));
	/* A sandbox of ours has a copy of the namespace, and ends with the others. */
	if (strncmp(name, "rptfs-", strlen("rptfs-")) == 0 || !find_mount(table, wanted, place))
		return false;
	snprintf(ret, MOUNT_HOLDER_SIZE, "at %s in the namespace of process %.20s (%s)", place, pid,
		 name);
	return true;
}

bool mount_holders_find(pid_t keeper, const char *mountpoint, char ret[MOUNT_HOLDER_SIZE])
{
	struct wanted wanted = { .mountpoint = mountpoint, .connection = find_connection(keeper) };
	const struct dirent *entry;
	char place[PATH_MAX];

	if (wanted.connection && find_mount("/proc/self/mountinfo", &wanted, place)) {
		snprintf(ret, MOUNT_HOLDER_SIZE, "at %s", place);
		return true;
	}
	_cleanup_closedir_ DIR *processes = opendir("/proc");
	while (processes && (entry = readdir(processes))) {
		if (holds(entry->d_name, &wanted, ret))
			return true;
	}
	return false;
}
