#include "keeper/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/fd_path.h"
#include "base/log.h"
#include "base/util.h"
#include "config/image.h"
#include "keeper/control_socket.h"
#include "keeper/machine_namespace.h"
#include "keeper/mountpoint.h"
#include "keeper/predecessor.h"
#include "keeper/store_directory.h"
#include "keeper/store_memory.h"
#include "keeper/systemd.h"
#include "keeper/worker_user.h"
#include "mount/connection/inflight.h"

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

/* ------------------------------------------------------------------ the configuration */

int launch_render(const struct config *config, int memfd, struct err *err)
{
	if (config_image_write(config, memfd, err) < 0)
		return -1;
	if (fcntl(memfd, F_ADD_SEALS, SEALS) < 0)
		return err_errno(err, "configuration in memory");
	return 0;
}

static bool is_same(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

int launch_compare(const struct config *old, const struct config *new, struct err *err)
{
	static const char fmt[] = "%s: \"%s\" cannot become \"%s\" while it is mounted";

	if (!is_same(old->mountpoint, new->mountpoint))
		return err_set(err, ERR_CONFIG, fmt, "mountpoint", old->mountpoint,
			       new->mountpoint);
	if (!is_same(old->store, new->store))
		return err_set(err, ERR_CONFIG, fmt, "store", old->store, new->store);
	if (!is_same(old->user, new->user))
		return err_set(err, ERR_CONFIG, fmt, "user", old->user ? old->user : "",
			       new->user ? new->user : "");
	if (old->publish_mode != new->publish_mode)
		return err_set(err, ERR_CONFIG, fmt, "publish_mode",
			       config_publish_mode_name(old->publish_mode),
			       config_publish_mode_name(new->publish_mode));
	const struct {
		const char *name;
		bool old, new;
	} flags[] = {
		{ "allow_other", old->allow_other, new->allow_other },
		{ "noexec", old->noexec, new->noexec },
		{ "sandbox", old->sandbox, new->sandbox },
	};
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		if (flags[i].old != flags[i].new)
			return err_set(err, ERR_CONFIG, fmt, flags[i].name,
				       flags[i].old ? "true" : "false",
				       flags[i].new ? "true" : "false");
	}
	return 0;
}

static int make_config(const struct config *config, struct err *err)
{
	_cleanup_close_ int memfd = memfd_create("rptfs-configuration",
						 MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (memfd < 0)
		return err_errno(err, "memfd");
	if (launch_render(config, memfd, err) < 0)
		return -1;
	return steal_fd(&memfd);
}

/* ------------------------------------------------------------------ the parts of the mount */

static int copy_path(char *ret, size_t size, const char *path, const char *what, struct err *err)
{
	if (snprintf(ret, size, "%s", path) >= (int)size)
		return err_set(err, ERR_CONFIG, "%s: %s is longer than %zu bytes", what, path,
			       size - 1);
	return 0;
}

/* Makes the path that the kernel's table of mounts shows, without links. mountpoint_prepare()
 * reports a missing directory. */
static int resolve_mountpoint(struct keeper_state *state, const char *path, struct err *err)
{
	_cleanup_free_ char *resolved = realpath(path, NULL);

	return copy_path(state->mountpoint, sizeof(state->mountpoint), resolved ? resolved : path,
			 "mountpoint", err);
}

/* Takes the store in memory from the service manager, if the configuration still has one. */
static int take_store(struct keeper_state *state, const struct config *config, uid_t user)
{
	_cleanup_close_ int store = steal_fd(&state->store);
	struct stat st;
	char path[PATH_MAX];

	if (store < 0 || !config_is_memory(config->store) || fstat(store, &st) < 0 ||
	    st.st_uid != user)
		return -1;
	/* A detached tmpfs has no path, and needs no removal. */
	if (fd_path_find(store, path) > 1)
		strcpy(state->memory_dir, path);
	return steal_fd(&store);
}

/* The owner of the store that is to be used; WORKER_USER_NONE: there is none yet. */
static uid_t owner_of_store(const struct keeper_state *state, const struct config *config)
{
	struct stat st;
	bool in_memory = config_is_memory(config->store);
	int result = in_memory ? fstat(state->store, &st) : stat(config->store, &st);

	return result < 0 ? WORKER_USER_NONE : st.st_uid;
}

static int choose_user(struct keeper_state *state, const struct config *config, struct err *err)
{
	bool in_memory = config_is_memory(config->store);
	const struct worker_user_request request = {
		.name = config->user,
		.seed = in_memory ? state->mountpoint : config->store,
		.present = owner_of_store(state, config),
	};

	return worker_user_choose(&state->worker_identity, &state->user_lock, &request, err);
}

static int make_store(struct keeper_state *state, const struct config *config, struct err *err)
{
	const struct child_identity *identity = &state->worker_identity;
	uid_t user = identity->is_set ? identity->user : geteuid();
	gid_t group = identity->is_set ? identity->group : getegid();
	_cleanup_free_ char *memory_dir = NULL;

	state->store = take_store(state, config, user);
	if (!config_is_memory(config->store)) {
		systemd_drop_store();
		state->store = store_directory_make(config->store, user, group, err);
		return state->store < 0 ? -1 : 0;
	}
	if (state->store < 0)
		state->store = store_memory_make(user, group, &memory_dir, err);
	if (state->store < 0)
		return -1;
	systemd_store_store(state->store);
	return memory_dir ? copy_path(state->memory_dir, sizeof(state->memory_dir), memory_dir,
				      "store", err)
			  : 0;
}

static int make_control(struct keeper_state *state, struct err *err)
{
	_cleanup_free_ char *path = NULL;

	if (control_socket_path(state->mountpoint, &path, err) < 0 ||
	    copy_path(state->control_path, sizeof(state->control_path), path, "control socket",
		      err) < 0)
		return -1;
	state->control = control_socket_listen(path, state->allow_other, err);
	return state->control < 0 ? -1 : 0;
}

static int find_program(struct keeper_state *state, struct err *err)
{
	ssize_t len = readlink("/proc/self/exe", state->program, sizeof(state->program) - 1);

	state->exe = open("/proc/self/exe", O_PATH | O_CLOEXEC);
	if (len < 0 || state->exe < 0)
		return err_errno(err, "/proc/self/exe");
	return 0;
}

/* Returns whether the stored connection is still that of the mount at this path, and the right
 * users see it, which cannot be changed. */
static bool is_mounted(const struct systemd_stored *stored, const struct keeper_state *state)
{
	return stored->inflight >= 0 && mountpoint_is_connected(stored->device) && stored->number &&
	       mountpoint_number(state->mountpoint) == stored->number &&
	       mountpoint_allows_others(state->mountpoint) == state->allow_other;
}

/* The mount keeps what the configuration of its time said, until it is changed here. */
static void apply_noexec(const struct keeper_state *state)
{
	struct err err = ERR_INIT;

	if (mountpoint_set_noexec(state->mountpoint, state->number, state->noexec, &err) < 0)
		log_event(LOG_LEVEL_ERROR, "noexec_unchanged", LOG_STR("error", err.msg));
}

/* Takes the descriptors that the service manager stored for the previous keeper. */
static void take_stored(struct keeper_state *state, struct systemd_stored *stored)
{
	state->store = stored->store;
	if (is_mounted(stored, state)) {
		state->device = stored->device;
		state->inflight = stored->inflight;
		state->number = stored->number;
		apply_noexec(state);
		return;
	}
	/* The configuration now has another mount point, or another allow_other. */
	if (mountpoint_is_connected(stored->device))
		mountpoint_unmount_number(stored->number);
	systemd_drop_mount();
	close_cleanup(&stored->device);
	close_cleanup(&stored->inflight);
}

/* Services have no HOME. Workers, which may run as another user, look for files in the home
 * directory of the user who started rptfs. */
static void set_home(void)
{
	const struct passwd *user = getenv("HOME") ? NULL : getpwuid(geteuid());

	if (user)
		setenv("HOME", user->pw_dir, 0);
}

/* The soft limit is low only for programs that use select(2). */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int make_inflight(struct keeper_state *state, struct err *err)
{
	if (state->inflight < 0)
		state->inflight = inflight_make(err);
	return state->inflight < 0 ? -1 : 0;
}

void launch_undo(struct keeper_state *state)
{
	const int fds[] = { state->config, state->store,     state->control,
			    state->place,  state->user_lock, state->inflight,
			    state->device, state->machine,   state->exe };
	_cleanup_(machine_namespace_leave) struct machine_visit visit = MACHINE_VISIT_NONE;
	struct err ignored = ERR_INIT;

	machine_namespace_enter(&visit, &ignored); /* else the next start removes what is left */
	if (*state->control_path)
		control_socket_remove(state->control_path);
	if (*state->memory_dir && state->device < 0)
		store_memory_remove(state->memory_dir);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
}

/* All that other processes or an earlier keeper may share, in the namespace where they see it. */
static int make_parts(struct keeper_state *state, const struct config *config,
		      struct systemd_stored *stored, struct err *err)
{
	_cleanup_(machine_namespace_leave) struct machine_visit visit = MACHINE_VISIT_NONE;

	machine_namespace_use(state->machine);
	if (machine_namespace_enter(&visit, err) < 0 ||
	    resolve_mountpoint(state, config->mountpoint, err) < 0)
		return KEEPER_FAILED;
	take_stored(state, stored);
	set_home();
	raise_descriptor_limit();
	if (state->device < 0 && predecessor_wait(state->mountpoint, &state->place, err) < 0)
		return KEEPER_MOUNT_FAILED;
	if (choose_user(state, config, err) < 0 || make_store(state, config, err) < 0 ||
	    make_inflight(state, err) < 0 || make_control(state, err) < 0 ||
	    (state->config = make_config(config, err)) < 0)
		return KEEPER_FAILED;
	return 0;
}

int launch(struct keeper_state *ret, const struct config *config, struct systemd_stored *stored,
	   bool is_debugged, struct err *err)
{
	*ret = (struct keeper_state){
		.version = KEEPER_STATE_VERSION,
		.size_bytes = sizeof(*ret),
		.allow_other = config->allow_other,
		.noexec = config->noexec,
		.is_confined = config->sandbox,
		.renames = config->publish_mode == PUBLISH_AUTO && geteuid() == 0,
		.is_debugged = is_debugged,
		.config = -1,
		.store = -1,
		.control = -1,
		.place = -1,
		.user_lock = -1,
		.inflight = -1,
		.device = -1,
		.handle = -1,
		.machine = stored->machine,
		.exe = -1,
		.channel = -1,
		.asker = -1,
	};
	int code = find_program(ret, err) < 0 ? KEEPER_FAILED
					      : make_parts(ret, config, stored, err);

	if (code)
		launch_undo(ret);
	return code;
}
