#include "keeper/process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/util.h"

extern char **environ;

static int become(const struct process_identity *identity, struct err *err)
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

static int prepare(const struct process_start *start, struct err *err)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(start->inherited); i++) {
		if (start->inherited[i] >= 0 && fcntl(start->inherited[i], F_SETFD, 0) < 0)
			return err_errno(err, "descriptor %d", start->inherited[i]);
	}
	if (start->errors >= 0 && dup2(start->errors, STDERR_FILENO) < 0)
		return err_errno(err, "standard error");
	return become(start->identity, err);
}

int process_limit_rights(struct err *err)
{
	static const unsigned kept[] = {
		CAP_SYS_ADMIN, CAP_SETUID,	    CAP_SETGID,
		CAP_KILL,      CAP_DAC_READ_SEARCH, /* the mount point may lie in somebody's own
						       directory */
	};
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct rights[_LINUX_CAPABILITY_U32S_3] = { 0 };
	uint32_t mask = 0; /* all of them are among the first 32 */

	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		mask |= UINT32_C(1) << kept[i];
	if (syscall(SYS_capget, &header, rights) < 0)
		return err_errno(err, "capget");
	rights[0].permitted &= mask;
	rights[1].permitted = 0;
	for (size_t i = 0; i < ARRAY_SIZE(rights); i++) {
		rights[i].effective = rights[i].permitted;
		rights[i].inheritable = 0;
	}
	if (syscall(SYS_capset, &header, rights) < 0)
		return err_errno(err, "capset");
	return 0;
}

int process_become(int program, char *const *argv, struct err *err)
{
	execveat(program, "", argv, environ, AT_EMPTY_PATH);
	return err_errno(err, "executing %s", argv[0]);
}

pid_t process_start(const struct process_start *start, struct err *err)
{
	pid_t pid = fork();

	if (pid < 0)
		return err_errno(err, "fork");
	if (pid > 0)
		return pid;
	if (prepare(start, err) == 0)
		process_become(start->program, start->argv, err);
	log_event(LOG_LEVEL_ERROR, "exec_failed", LOG_STR("error", err->msg));
	_exit(1);
}

const char *process_end(int wait_status, char ret[PROCESS_END_SIZE])
{
	if (WIFSIGNALED(wait_status))
		snprintf(ret, PROCESS_END_SIZE, "signal %d (%s)", WTERMSIG(wait_status),
			 strsignal(WTERMSIG(wait_status)));
	else
		snprintf(ret, PROCESS_END_SIZE, "exit code %d", WEXITSTATUS(wait_status));
	return ret;
}
