/*
 * own_namespace: a mount namespace of the test's own.
 */
#ifndef TESTS_UNIT_OWN_NAMESPACE_H
#define TESTS_UNIT_OWN_NAMESPACE_H

#include <limits.h>
#include <mntent.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

/* Returns false if there is no mount that a daemon serves. */
static bool own_namespace_find_fuse(char ret[PATH_MAX])
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	const struct mntent *entry = NULL;

	while (mounts && (entry = getmntent(mounts)) && strncmp(entry->mnt_type, "fuse", 4) != 0)
		;
	if (entry)
		snprintf(ret, PATH_MAX, "%s", entry->mnt_dir);
	if (mounts)
		endmntent(mounts);
	return entry;
}

/* Enters a mount namespace whose mounts are private. The mounts of tests that run beside this one
 * could not end while there is a copy of them here. Returns false, with errno, if it may not, or if
 * "/" is no mount (EINVAL). */
static bool own_namespace_enter(void)
{
	char path[PATH_MAX];

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return false;
	while (own_namespace_find_fuse(path) && umount2(path, MNT_DETACH) == 0)
		;
	return true;
}

#endif
