#include "worker/sandbox.h"

#include <cap-ng.h>
#include <stdbool.h>
#include <sys/prctl.h>

#include "base/log.h"
#include "base/util.h"

#ifndef PR_SET_MDWE
#	define PR_SET_MDWE		 65 /* since Linux 6.3 */
#	define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

/* The result of capng_apply() if it cannot change the bounding set, for lack of CAP_SETPCAP. */
#define BOUNDS_STAY (-4)

/* Empties all sets. No capability can be gained later, because no_new_privs is set and the process
 * executes no program. So the bounding set may stay. */
static int drop_capabilities(struct err *err)
{
	capng_clear(CAPNG_SELECT_ALL);
	int result = capng_apply(CAPNG_SELECT_ALL);
	if (result < 0 && result != BOUNDS_STAY)
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

static int drop_rights(struct err *err)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_errno(err, "sandbox: no_new_privs");
	/* No memory is both writable and executable. Before Linux 6.3 seccomp sees to it. */
	prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0);
	return drop_capabilities(err);
}

/* The bounding set shrinks as well, where CAP_SETPCAP allows it. */
int sandbox_enter_opener(struct err *err)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_errno(err, "no_new_privs");
	if (capng_get_caps_process() < 0)
		return err_errno(err, "reading the capabilities");
	bool may_read = capng_have_capability(CAPNG_PERMITTED, CAP_DAC_READ_SEARCH);
	capng_clear(CAPNG_SELECT_ALL);
	if (may_read)
		capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_DAC_READ_SEARCH);
	int result = capng_apply(CAPNG_SELECT_ALL);
	if (result < 0 && result != BOUNDS_STAY)
		return err_errno(err, "dropping capabilities");
	return 0;
}

void sandbox_confine_opener(void)
{
	struct err missing = ERR_INIT;

	report("seccomp", sandbox_restrict_opener(&missing), &missing);
}

int sandbox_enter_visitor(struct err *err)
{
	struct err missing = ERR_INIT;

	if (drop_rights(err) < 0)
		return -1;
	report("seccomp", sandbox_restrict_visitor(&missing), &missing);
	return 0;
}

int sandbox_enter(const struct sandbox_setup *setup, struct err *err)
{
	struct err missing = ERR_INIT;

	if (drop_rights(err) < 0)
		return -1;
	report("landlock", sandbox_restrict_files(setup->store_fd, &missing), &missing);
	/* Last, because it forbids the system calls that enter the others. */
	report("seccomp", sandbox_restrict_calls(&missing), &missing);
	return 0;
}
