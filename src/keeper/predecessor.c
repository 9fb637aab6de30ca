#include "keeper/predecessor.h"

#include <string.h>

#include "base/clock.h"
#include "base/util.h"
#include "keeper/control_socket.h"
#include "keeper/mount_holders.h"
#include "keeper/mountpoint.h"

#define MOUNTED_MAX_MS 2000
#define LOCKED_MAX_MS  5000
#define PAUSE_MS       5
#define NAME_SIZE      64

/* "process 123 (rptfs-keeper)". Returns the pid; 0 if the process cannot be found. */
static pid_t find_process(const char *mountpoint, char ret[NAME_SIZE])
{
	pid_t pid = control_socket_owner(mountpoint);
	char name[MOUNT_HOLDERS_NAME_SIZE];

	if (!pid || !mount_holders_name(pid, name)) {
		snprintf(ret, NAME_SIZE, "a process that is not visible here");
		return 0;
	}
	snprintf(ret, NAME_SIZE, "process %d (%s)", (int)pid, name);
	return pid;
}

static int fail_mounted(const char *mountpoint, struct err *err)
{
	char process[NAME_SIZE];

	find_process(mountpoint, process);
	return err_set(err, ERR_BUSY,
		       "an rptfs is already mounted at %s by %s; for a new configuration: rpt -m "
		       "%s upgrade; to end it: umount %s",
		       mountpoint, process, mountpoint, mountpoint);
}

static int fail_locked(const char *mountpoint, struct err *err)
{
	char process[NAME_SIZE], remedy[NAME_SIZE] = "end it", holder[MOUNT_HOLDER_SIZE];
	pid_t pid = find_process(mountpoint, process);

	if (pid)
		snprintf(remedy, sizeof(remedy), "end it with: kill %d", (int)pid);
	if (mount_holders_find(pid, mountpoint, holder))
		return err_set(
			err, ERR_BUSY,
			"%s is in use by another rptfs, %s, whose mount is still attached %s: "
			"unmount it there, end what runs there, or %s",
			mountpoint, process, holder, remedy);
	return err_set(err, ERR_BUSY,
		       "%s is in use by another rptfs, %s, which is just starting or serves files "
		       "that are still open there: close them, or %s",
		       mountpoint, process, remedy);
}

int predecessor_wait(const char *mountpoint, int *ret_lock, struct err *err)
{
	int64_t began_ms = clock_boot_ms();
	enum mountpoint_use use;

	while ((use = mountpoint_prepare(mountpoint, ret_lock, err)) == MOUNTPOINT_MOUNTED ||
	       use == MOUNTPOINT_LOCKED) {
		int64_t waited_ms = clock_boot_ms() - began_ms;
		if (use == MOUNTPOINT_MOUNTED && waited_ms >= MOUNTED_MAX_MS)
			return fail_mounted(mountpoint, err);
		if (use == MOUNTPOINT_LOCKED && waited_ms >= LOCKED_MAX_MS)
			return fail_locked(mountpoint, err);
		usleep(PAUSE_MS * 1000);
	}
	return use == MOUNTPOINT_FREE ? 0 : -1;
}
