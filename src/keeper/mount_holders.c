#include "keeper/mount_holders.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/directory.h"
#include "base/util.h"

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

struct connection {
	pid_t keeper;
	unsigned number; /* 0: not found */
};

static int note_connection(void *arg, int dir_fd, const char *fd)
{
	struct connection *connection = arg;

	(void)dir_fd;
	connection->number = read_connection(connection->keeper, fd);
	return connection->number ? -1 : 0;
}

static unsigned find_connection(pid_t keeper)
{
	struct connection connection = { .keeper = keeper };
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)keeper);
	directory_list(AT_FDCWD, path, note_connection, &connection);
	return connection.number;
}

/* ------------------------------------------------------------------ tables of mounts */

struct wanted {
	const char *mountpoint;
	unsigned connection; /* 0: unknown; the mount point tells then */
};

/* In place: the kernel writes blanks and backslashes as \040 and \134. */
static void unescape(char *text)
{
	char *out = text;
	unsigned byte;

	for (; *text; text++) {
		if (*text == '\\' && sscanf(text + 1, "%3o", &byte) == 1) {
			*out++ = (char)byte;
			text += strlen("134");
		} else {
			*out++ = *text;
		}
	}
	*out = '\0';
}

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
		unescape(ret);
		if (wanted->connection ? number == wanted->connection
				       : strcmp(ret, wanted->mountpoint) == 0)
			return true;
	}
	return false;
}

/* ------------------------------------------------------------------ namespaces */

static bool is_own_namespace(pid_t pid)
{
	struct stat own, other;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)pid);
	return stat("/proc/self/ns/mnt", &own) < 0 || stat(path, &other) < 0 ||
	       own.st_ino == other.st_ino;
}

bool mount_holders_name(pid_t pid, char ret[MOUNT_HOLDERS_NAME_SIZE])
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	_cleanup_fclose_ FILE *file = fopen(path, "re");
	if (!file || !fgets(ret, MOUNT_HOLDERS_NAME_SIZE, file))
		return false;
	ret[strcspn(ret, "\n")] = '\0';
	return true;
}

struct search {
	struct wanted wanted;
	char *found; /* borrowed: the caller's buffer of MOUNT_HOLDER_SIZE bytes */
	bool is_found;
};

static int search_process(void *arg, int proc, const char *entry)
{
	struct search *search = arg;
	char table[64], place[PATH_MAX], name[MOUNT_HOLDERS_NAME_SIZE];
	pid_t pid = atoi(entry);

	(void)proc;
	if (pid <= 0 || is_own_namespace(pid) || !mount_holders_name(pid, name))
		return 0;
	snprintf(table, sizeof(table), "/proc/%d/mountinfo", (int)pid);
	/* A sandbox of ours has a copy of the namespace, and ends with the others. */
	if (strncmp(name, "rptfs-", strlen("rptfs-")) == 0 ||
	    !find_mount(table, &search->wanted, place))
		return 0;
	snprintf(search->found, MOUNT_HOLDER_SIZE, "at %s in the namespace of process %d (%s)",
		 place, (int)pid, name);
	search->is_found = true;
	return -1;
}

bool mount_holders_find(pid_t keeper, const char *mountpoint, char ret[MOUNT_HOLDER_SIZE])
{
	struct search search = {
		.wanted = { .mountpoint = mountpoint, .connection = find_connection(keeper) },
		.found = ret,
	};
	char place[PATH_MAX];

	if (search.wanted.connection && find_mount("/proc/self/mountinfo", &search.wanted, place)) {
		snprintf(ret, MOUNT_HOLDER_SIZE, "at %s", place);
		return true;
	}
	directory_list(AT_FDCWD, "/proc", search_process, &search);
	return search.is_found;
}
