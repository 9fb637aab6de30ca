#include "keeper/machine_namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "keeper/systemd.h"

static int machine = -1; /* borrowed; -1: it is that of this process */

static bool is_own(int fd)
{
	struct stat own, other;

	return stat("/proc/self/ns/mnt", &own) < 0 || fstat(fd, &other) < 0 ||
	       (own.st_dev == other.st_dev && own.st_ino == other.st_ino);
}

void machine_namespace_use(int fd)
{
	machine = fd >= 0 && !is_own(fd) ? fd : -1;
}

bool machine_namespace_is_other(void)
{
	return machine >= 0;
}

int machine_namespace_enter(struct machine_visit *ret, struct err *err)
{
	if (machine < 0)
		return 0;
	_cleanup_close_ int own = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (own < 0)
		return err_errno(err, "/proc/self/ns/mnt");
	if (setns(machine, CLONE_NEWNS) < 0)
		return err_errno(err, "entering the mount namespace of the machine");
	ret->own = steal_fd(&own);
	return 0;
}

void machine_namespace_leave(struct machine_visit *visit)
{
	if (visit->own >= 0 && setns(visit->own, CLONE_NEWNS) < 0) {
		log_event(LOG_LEVEL_ERROR, "namespace_kept", LOG_STR("error", strerror(errno)));
		machine = -1;
	}
	close_cleanup(&visit->own);
	visit->own = -1;
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
