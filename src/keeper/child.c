#include "keeper/child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/util.h"

extern char **environ;

/* setresuid() to a user who is not root also clears the permitted, effective and ambient
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

static int prepare(const struct child_start *start, struct err *err)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (child_inherits(start->inherited, ARRAY_SIZE(start->inherited), err) < 0)
		return -1;
	if (start->errors >= 0 && dup2(start->errors, STDERR_FILENO) < 0)
		return err_errno(err, "standard error");
	return set_identity(start->identity, err);
}

int child_exec(int program, char *const *argv, struct err *err)
{
	execveat(program, "", argv, environ, AT_EMPTY_PATH);
	return err_errno(err, "executing %s", argv[0]);
}

pid_t child_start(const struct child_start *start, struct err *err)
{
	pid_t pid = fork();

	if (pid < 0)
		return err_errno(err, "fork");
	if (pid > 0)
		return pid;
	if (prepare(start, err) == 0)
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
