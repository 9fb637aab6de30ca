/*
 * The mount that the keeper holds, and its handle for visitors.
 *
 * Runs in the keeper, with the rights of the user who started rptfs.
 */
#include <fcntl.h>

#include "base/log.h"
#include "base/util.h"
#include "keeper/keeper_internal.h"
#include "keeper/machine_namespace.h"
#include "keeper/mountpoint.h"
#include "keeper/systemd.h"
#include "mount/connection/inflight.h"

static void store_mount(const struct keeper_state *state)
{
	const struct systemd_stored stored = {
		.device = state->device,
		.inflight = state->inflight,
		.config = state->config,
		.store = -1,
		.machine = -1,
		.number = state->number,
	};

	systemd_store_mount(&stored);
}

static void report_handle(const struct keeper_state *state, const char *error)
{
	if (state->handle < 0 && state->renames)
		log_event(LOG_LEVEL_WARNING, "no_handle", LOG_STR("error", error),
			  LOG_STR("consequence", "names move by notifications"));
}

/* The namespace of a service is a copy of the machine's. A copy of the mount there could keep the
 * connection after an umount(8). */
static void drop_copy(const struct keeper_state *state)
{
	if (machine_namespace_is_other())
		mountpoint_unmount_number(state->number);
}

/* In a service with a namespace of its own, if the unit does not offer the machine's. */
static void report_hidden(const struct keeper_state *state)
{
	_cleanup_close_ int machine = open("/proc/1/mountinfo", O_RDONLY | O_CLOEXEC);

	if (machine < 0 || !systemd_is_there() ||
	    mountpoint_is_mounted(machine, state->number, NULL))
		return;
	log_event(LOG_LEVEL_WARNING, "mount_hidden", LOG_STR("mountpoint", state->mountpoint),
		  LOG_STR("reason", "the service has a mount namespace of its own, and its unit "
				    "lacks rptfs --offer-namespace or NotifyAccess=exec"));
}

static struct mountpoint_setup setup_of(const struct keeper_state *state)
{
	return (struct mountpoint_setup){
		.mountpoint = state->mountpoint,
		.place = state->place,
		.allow_other = state->allow_other,
		.noexec = state->noexec,
		.is_writable = state->renames,
	};
}

static void take(struct keeper_state *state, const struct mountpoint_made *made)
{
	state->device = made->device;
	state->handle = made->handle;
	state->number = made->number;
	report_handle(state, "the kernel makes none");
	drop_copy(state);
	report_hidden(state);
	store_mount(state);
}

void keeper_close_handle(struct keeper *keeper)
{
	close_cleanup(&keeper->state->handle);
	keeper->state->handle = -1;
}

static int open_handle(const struct keeper_state *state, struct err *err)
{
	_cleanup_(machine_namespace_leave) struct machine_visit visit = MACHINE_VISIT_NONE;

	if (machine_namespace_enter(&visit, err) < 0)
		return -1;
	return mountpoint_open_handle(state->mountpoint, state->number, state->renames, err);
}

void keeper_adopt_mount(struct keeper_state *state)
{
	struct err err = ERR_INIT;

	if (state->handle < 0) {
		state->handle = open_handle(state, &err);
		report_handle(state, err.msg);
	}
	drop_copy(state);
	store_mount(state);
}

static int make(const struct keeper_state *state, struct mountpoint_made *ret, struct err *err)
{
	_cleanup_(machine_namespace_leave) struct machine_visit visit = MACHINE_VISIT_NONE;
	const struct mountpoint_setup setup = setup_of(state);

	if (machine_namespace_enter(&visit, err) < 0)
		return -1;
	return mountpoint_mount(&setup, ret, err);
}

int keeper_mount(struct keeper *keeper, struct err *err)
{
	struct keeper_state *state = keeper->state;
	struct mountpoint_made made;

	if (state->device >= 0) {
		keeper_adopt_mount(state);
		return 0;
	}
	if (make(state, &made, err) < 0)
		return -1;
	take(state, &made);
	return 0;
}

void keeper_restore_renames(struct keeper *keeper)
{
	const struct keeper_state *state = keeper->state;
	struct err err = ERR_INIT;

	if (!state->renames || state->handle < 0)
		return;
	if (mountpoint_make_writable(state->handle, &err) < 0)
		keeper_log_error("remount_failed", err.msg);
	else
		log_event(LOG_LEVEL_INFO, "remounted", LOG_STR("mountpoint", state->mountpoint),
			  LOG_STR("superblock", "writable again, for the visitor alone"));
}

static int replace(const struct keeper_state *state, struct mountpoint_made *ret, struct err *err)
{
	_cleanup_(machine_namespace_leave) struct machine_visit visit = MACHINE_VISIT_NONE;
	const struct mountpoint_setup setup = setup_of(state);

	if (machine_namespace_enter(&visit, err) < 0)
		return -1;
	return mountpoint_replace(&setup, state->number, ret, err);
}

int keeper_mount_anew(struct keeper *keeper, struct err *err)
{
	struct keeper_state *state = keeper->state;
	struct mountpoint_made made;
	_cleanup_close_ int inflight = inflight_make(err);

	if (inflight < 0 || replace(state, &made, err) < 0)
		return -1;
	/* Closing the last copies of the old connection fails the requests that still wait. */
	systemd_drop_mount();
	keeper_close_handle(keeper);
	close(state->device);
	close(state->inflight);
	state->inflight = steal_fd(&inflight);
	take(state, &made);
	log_event(LOG_LEVEL_WARNING, "mounted_anew", LOG_STR("mountpoint", state->mountpoint),
		  LOG_STR("lost", "files that programs had open, except for cached pages"));
	return 0;
}

void keeper_unmount(const struct keeper_state *state)
{
	_cleanup_(machine_namespace_leave) struct machine_visit visit = MACHINE_VISIT_NONE;
	struct err err = ERR_INIT;

	if (machine_namespace_enter(&visit, &err) < 0)
		keeper_log_error("unmount_failed", err.msg);
	/* Another user may have moved the mount point. The handle keeps the device. */
	else if (!mountpoint_unmount(state->mountpoint, state->number) && state->handle >= 0)
		mountpoint_unmount_number(state->number);
}

int keeper_open_mounts(void)
{
	_cleanup_(machine_namespace_leave) struct machine_visit visit = MACHINE_VISIT_NONE;
	struct err ignored = ERR_INIT;

	if (machine_namespace_enter(&visit, &ignored) < 0)
		return -1;
	return open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
}
