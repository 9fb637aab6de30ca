#include "worker/sandbox.h"

#include <linux/capability.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/log.h"
#include "base/util.h"

/* Of all sets. What no set holds cannot be gained either: the program is never executed again, and
 * no_new_privs is set. */
static int drop_capabilities(struct err *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	/* Only who has CAP_SETPCAP may, and the bounding set is of use only to who may execute.
	 * The first number that the kernel does not know ends it. */
	for (unsigned long capability = 0; prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0;)
		capability++;
	if (syscall(SYS_capset, &header, none) < 0)
		return err_errno(err, "sandbox: giving up capabilities");
	return 0;
}

static void report(const char *layer, int result, const struct err *err)
{
	if (result > 0)
		log_event(LOG_LEVEL_WARNING, "sandbox_incomplete", LOG_STR("missing", layer),
			  LOG_STR("error", err->msg));
}

static int give_up_rights(struct err *err)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_errno(err, "sandbox: no_new_privs");
	return drop_capabilities(err);
}

int sandbox_enter_visitor(struct err *err)
{
	struct err missing = ERR_INIT;

	if (give_up_rights(err) < 0)
		return -1;
	report("seccomp", sandbox_restrict_visitor(&missing), &missing);
	return 0;
}

int sandbox_enter(const struct sandbox_setup *setup, struct err *err)
{
	struct err missing = ERR_INIT;

	if (give_up_rights(err) < 0)
		return -1;
	report("landlock", sandbox_restrict_files(setup->store_fd, &missing), &missing);
	/* Last: the calls that the others make are not among those that are left. */
	report("seccomp", sandbox_restrict_calls(&missing), &missing);
	return 0;
}
