#include "worker/sandbox.h"

#include <cap-ng.h>
#include <stdbool.h>
#include <sys/prctl.h>

#include "base/log.h"

#ifndef PR_SET_MDWE
#	define PR_SET_MDWE		 65 /* since Linux 6.3 */
#	define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

/* Empties all sets, but for CAP_DAC_READ_SEARCH if it may read all. No capability can be gained
 * later, because no_new_privs is set and the process executes no program. So the bounding set may
 * stay, where CAP_SETPCAP is missing. */
static int drop_capabilities(bool may_read_all, struct err *err)
{
	if (capng_get_caps_process() < 0)
		return err_errno(err, "sandbox: reading the capabilities");
	bool reads_all = may_read_all &&
			 capng_have_capability(CAPNG_PERMITTED, CAP_DAC_READ_SEARCH);
	bool may_bound = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);
	capng_clear(CAPNG_SELECT_ALL);
	if (reads_all)
		capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_DAC_READ_SEARCH);
	if (capng_apply(may_bound ? CAPNG_SELECT_ALL : CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT) <
	    0)
		return err_errno(err, "sandbox: dropping capabilities");
	return 0;
}

/* result: 1 if the kernel lacks the layer. */
static void report(const char *layer, int result, const struct err *err)
{
	if (result > 0)
		log_event(LOG_LEVEL_WARNING, "sandbox_incomplete", LOG_STR("missing", layer),
			  LOG_STR("error", err->msg));
}

static int drop_rights(bool may_read_all, struct err *err)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_errno(err, "sandbox: no_new_privs");
	/* No memory is both writable and executable. Before Linux 6.3 seccomp sees to it. */
	prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0);
	return drop_capabilities(may_read_all, err);
}

int sandbox_enter_opener(struct err *err)
{
	return drop_rights(true, err);
}

void sandbox_confine_opener(void)
{
	struct err missing = ERR_INIT;

	report("seccomp", sandbox_restrict_opener(&missing), &missing);
}

int sandbox_enter_visitor(struct err *err)
{
	struct err missing = ERR_INIT;

	if (drop_rights(false, err) < 0)
		return -1;
	report("seccomp", sandbox_restrict_visitor(&missing), &missing);
	return 0;
}

static int change_root(struct err *err)
{
	if (capng_get_caps_process() == 0 && capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_ADMIN))
		return sandbox_change_root(err);
	err_set(err, ERR_DENIED, "the keeper has left no CAP_SYS_ADMIN, or is of an earlier build");
	return 1;
}

int sandbox_isolate(struct err *err)
{
	struct err missing = ERR_INIT;

	report("ipc_namespace", sandbox_leave_ipc(&missing), &missing);
	int result = change_root(&missing);
	if (result < 0)
		return err_set(err, ERR_INTERNAL, "sandbox: root: %s", missing.msg);
	report("root", result, &missing);
	return drop_capabilities(false, err);
}

int sandbox_enter(int store_fd, struct err *err)
{
	struct err missing = ERR_INIT;

	if (drop_rights(false, err) < 0)
		return -1;
	report("landlock", sandbox_restrict_files(store_fd, &missing), &missing);
	/* Last, because it forbids the system calls that enter the others. */
	report("seccomp", sandbox_restrict_calls(&missing), &missing);
	return 0;
}
