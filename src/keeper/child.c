#include "keeper/child.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/util.h"
#include "keeper/arguments.h"
#include "keeper/pid_namespace.h"

extern char **environ;

/* setresuid() to an unprivileged user also clears the permitted, effective and ambient
 * capabilities. */
static int set_identity(const struct child_identity *identity, struct err *err)
{
	if (!identity || !identity->is_set)
		return 0;
	if (setgroups((size_t)identity->n_groups, identity->groups) < 0)
		return err_errno(err, "setgroups");
	if (setresgid(identity->group, identity->group, identity->group) < 0)
		return err_errno(err, "setresgid");
	if (setresuid(identity->user, identity->user, identity->user) < 0)
		return err_errno(err, "setresuid");
	return 0;
}

/* The program that is executed next gets CAP_SYS_ADMIN, to change its root, and no other
 * capability. */
static int keep_right_to_mount(struct err *err)
{
	if (capng_get_caps_process() < 0 || !capng_have_capability(CAPNG_PERMITTED, CAP_SYS_ADMIN))
		return 0;
	capng_clear(CAPNG_SELECT_CAPS);
	capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_INHERITABLE,
		     CAP_SYS_ADMIN);
	if (capng_apply(CAPNG_SELECT_CAPS) < 0 ||
	    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0) < 0)
		return err_errno(err, "keeping CAP_SYS_ADMIN");
	return 0;
}

/* The process and what it executes can neither mount nor enter another mount namespace, such as the
 * machine's in a service with one of its own. Programs that root executes get the capabilities
 * back, unless NoNewPrivileges= prevents that, as in the unit. */
static int drop_right_to_mount(struct err *err)
{
	if (capng_get_caps_process() < 0)
		return err_errno(err, "reading the capabilities");
	capng_updatev(CAPNG_DROP, CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_INHERITABLE,
		      CAP_SYS_ADMIN, CAP_SYS_CHROOT, -1);
	if (capng_apply(CAPNG_SELECT_CAPS) < 0)
		return err_errno(err, "dropping capabilities");
	return 0;
}

int child_inherits(const int *fds, size_t n, struct err *err)
{
	if (close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		return err_errno(err, "close_range");
	for (size_t i = 0; i < n; i++) {
		if (fds[i] >= 0 && fcntl(fds[i], F_SETFD, 0) < 0)
			return err_errno(err, "descriptor %d", fds[i]);
	}
	return 0;
}

static int prepare(const struct child_start *start, const struct pid_namespace *ns, struct err *err)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (child_inherits(start->inherited, ARRAY_SIZE(start->inherited), err) < 0)
		return -1;
	if (start->errors >= 0 && dup2(start->errors, STDERR_FILENO) < 0)
		return err_errno(err, "standard error");
	if (ns->hold >= 0 && fcntl(ns->hold, F_SETFD, 0) < 0)
		return err_errno(err, "descriptor %d", ns->hold);
	if (start->is_isolated && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return err_errno(err, "keeping capabilities");
	if (set_identity(start->identity, err) < 0)
		return -1;
	return start->is_isolated ? keep_right_to_mount(err) : drop_right_to_mount(err);
}

int child_exec(int program, char *const *argv, struct err *err)
{
	execveat(program, "", argv, environ, AT_EMPTY_PATH);
	return err_errno(err, "executing %s", argv[0]);
}

/* As exec_init of pid_namespace_enter(). The program is that of this keeper. */
static int exec_init(const void *arg, int held, struct err *err)
{
	const struct child_start *start = arg;
	char name[] = "rptfs-init", option[] = "--init", number[16];
	char *argv[] = { name, option, number, NULL };

	snprintf(number, sizeof(number), "%d", held);
	unsetenv(ARGUMENTS_TERMS); /* which may hold tokens */
	if (set_identity(start->identity, err) < 0 || child_inherits(&held, 1, err) < 0)
		return -1;
	execv("/proc/self/exe", argv);
	return err_errno(err, "executing rptfs-init");
}

/* Without a namespace the child starts all the same. */
static void enter_namespace(struct pid_namespace *ret, const struct child_start *start)
{
	struct err err = ERR_INIT;

	if (pid_namespace_enter(ret, exec_init, start, &err) < 0)
		log_event(LOG_LEVEL_WARNING, "sandbox_incomplete",
			  LOG_STR("missing", "pid_namespace"), LOG_STR("error", err.msg));
}

pid_t child_start(const struct child_start *start, struct err *err)
{
	_cleanup_(pid_namespace_leave) struct pid_namespace ns = PID_NAMESPACE_NONE;

	if (start->is_isolated)
		enter_namespace(&ns, start);
	pid_t pid = fork();

	if (pid < 0)
		return err_errno(err, "fork");
	if (pid > 0)
		return pid;
	if (prepare(start, &ns, err) == 0)
		child_exec(start->program, start->argv, err);
	log_event(LOG_LEVEL_ERROR, "exec_failed", LOG_STR("error", err->msg));
	_exit(1);
}

const char *child_end(int wait_status, char ret[CHILD_END_SIZE])
{
	if (WIFSIGNALED(wait_status))
		snprintf(ret, CHILD_END_SIZE, "signal %d (%s)", WTERMSIG(wait_status),
			 strsignal(WTERMSIG(wait_status)));
	else
		snprintf(ret, CHILD_END_SIZE, "exit code %d", WEXITSTATUS(wait_status));
	return ret;
}
