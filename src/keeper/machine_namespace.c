#include "keeper/machine_namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "keeper/keeper.h"
#include "keeper/systemd.h"

static int machine = -1; /* borrowed; -1: it is that of this process */

static bool is_own(int fd)
{
	struct stat own, other;

	return stat("/proc/self/ns/mnt", &own) == 0 && fstat(fd, &other) == 0 &&
	       own.st_dev == other.st_dev && own.st_ino == other.st_ino;
}

void machine_namespace_use(int fd)
{
	machine = fd >= 0 && !is_own(fd) ? fd : -1;
}

bool machine_namespace_is_other(void)
{
	return machine >= 0;
}

static int open_here(struct machine_visit *ret, struct err *err)
{
	const struct {
		const char *path;
		int flags;
		int *fd;
	} parts[] = {
		{ "/proc/self/ns/mnt", O_RDONLY, &ret->own },
		{ "/", O_PATH | O_DIRECTORY, &ret->root },
		{ ".", O_PATH | O_DIRECTORY, &ret->directory },
	};

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		*parts[i].fd = open(parts[i].path, parts[i].flags | O_CLOEXEC);
		if (*parts[i].fd < 0)
			return err_errno(err, "%s", parts[i].path);
	}
	return 0;
}

static void release(struct machine_visit *visit)
{
	close_cleanup(&visit->own);
	close_cleanup(&visit->root);
	close_cleanup(&visit->directory);
	*visit = (struct machine_visit)MACHINE_VISIT_NONE;
}

int machine_namespace_enter(struct machine_visit *ret, struct err *err)
{
	_cleanup_(release) struct machine_visit visit = MACHINE_VISIT_NONE;

	if (machine < 0)
		return 0;
	if (open_here(&visit, err) < 0)
		return -1;
	if (setns(machine, CLONE_NEWNS) < 0)
		return err_errno(err, "entering the mount namespace of the machine (which takes "
				      "CAP_SYS_ADMIN and CAP_SYS_CHROOT)");
	*ret = visit;
	visit = (struct machine_visit)MACHINE_VISIT_NONE;
	return 0;
}

void machine_namespace_leave(struct machine_visit *visit)
{
	if (visit->own < 0)
		return;
	if (setns(visit->own, CLONE_NEWNS) < 0 || fchdir(visit->root) < 0 || chroot(".") < 0 ||
	    fchdir(visit->directory) < 0) {
		log_event(LOG_LEVEL_ERROR, "machine_not_left", LOG_STR("error", strerror(errno)),
			  LOG_STR("consequence", "the keeper ends"));
		_exit(KEEPER_FAILED);
	}
	release(visit);
}

int machine_namespace_offer(struct err *err)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)getppid());
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_errno(err, "%s", path);
	return systemd_store_machine(fd, err);
}
