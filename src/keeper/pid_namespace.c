#include "keeper/pid_namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/daemonize.h"
#include "base/log.h"
#include "base/strict_mode.h"
#include "base/util.h"

/* ---- rptfs-init ---- */

__attribute__((noreturn)) void pid_namespace_init(int held)
{
	char byte;

	prctl(PR_SET_NAME, "rptfs-init");
	signal(SIGCHLD, SIG_IGN); /* orphans are reaped */
	daemonize_keep_only(held);
	strict_mode_enter();
	while (read(DAEMONIZE_KEPT, &byte, 1) > 0)
		;
	strict_mode_exit();
}

/* ---- the keeper ---- */

/* The first child that is forked after unshare(2). */
static int start_init(const struct pid_namespace *ns, int held,
		      int (*exec_init)(const void *arg, int held, struct err *err), const void *arg,
		      struct err *err)
{
	pid_t pid = fork();

	if (pid < 0)
		return err_errno(err, "fork");
	if (pid > 0)
		return 0;
	close(ns->hold);
	exec_init(arg, held, err);
	log_event(LOG_LEVEL_ERROR, "exec_failed", LOG_STR("error", err->msg));
	_exit(1);
}

int pid_namespace_enter(struct pid_namespace *ret,
			int (*exec_init)(const void *arg, int held, struct err *err),
			const void *arg, struct err *err)
{
	_cleanup_(pid_namespace_leave) struct pid_namespace ns = PID_NAMESPACE_NONE;
	_cleanup_close_ int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	int pair[2];

	if (own < 0)
		return err_errno(err, "/proc/self/ns/pid");
	if (pipe2(pair, O_CLOEXEC) < 0)
		return err_errno(err, "pipe");
	_cleanup_close_ int held = pair[0];
	ns.hold = pair[1];
	if (unshare(CLONE_NEWPID) < 0)
		return err_errno(err, "unshare");
	ns.own = steal_fd(&own);
	if (start_init(&ns, held, exec_init, arg, err) < 0)
		return -1;
	*ret = ns;
	ns = (struct pid_namespace)PID_NAMESPACE_NONE;
	return 0;
}

void pid_namespace_leave(struct pid_namespace *ns)
{
	if (ns->own >= 0 && setns(ns->own, CLONE_NEWPID) < 0)
		log_event(LOG_LEVEL_ERROR, "namespace_kept", LOG_STR("error", strerror(errno)));
	close_cleanup(&ns->own);
	close_cleanup(&ns->hold);
	*ns = (struct pid_namespace)PID_NAMESPACE_NONE;
}
