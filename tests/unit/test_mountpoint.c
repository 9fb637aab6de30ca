/*
 * mountpoint: root's mount is on the directory that was checked, whatever its neighbours' owner
 * puts at the path. Nobody answers the connection, so nothing here may ask it. Needs root and
 * /dev/fuse.
 */
#include <fcntl.h>
#include <mntent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "keeper/mountpoint.h"
#include "tap.h"

static char base[] = "/tmp/rptfs-unit-XXXXXX";

static char owned[64], owned_moved[64], victims[64]; /* directories; each has a directory mnt */
static char mnt[64], moved[64], victim[64];	     /* those */

static void release(struct mountpoint_made *made)
{
	close_cleanup(&made->handle);
	close_cleanup(&made->device);
}

/* The options of the mount at this path; "" if there is none. */
static const char *options_of(const char *path)
{
	static char options[256];
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent *entry;

	options[0] = '\0';
	while ((entry = getmntent(mounts))) {
		if (strcmp(entry->mnt_dir, path) == 0)
			snprintf(options, sizeof(options), "%s", entry->mnt_opts);
	}
	endmntent(mounts);
	return options;
}

static bool has_option(const char *path, const char *option)
{
	struct mntent entry = { .mnt_opts = (char *)options_of(path) };

	return hasmntopt(&entry, option) != NULL;
}

/* The owner of the directory above puts a link to another one there. */
static bool exchange(void)
{
	return rename(owned, owned_moved) == 0 && symlink(victims, owned) == 0;
}

static void put_back(void)
{
	unlink(owned);
	ok(rename(owned_moved, owned) == 0, "the directory is moved back");
}

static void test_exchanged(void)
{
	struct mountpoint_made made = { .device = -1, .handle = -1 };
	struct err err = ERR_INIT;
	_cleanup_close_ int place = -1;

	if (!ok(mountpoint_prepare(mnt, &place, &err) == MOUNTPOINT_FREE && place >= 0, "checked"))
		printf("# %s\n", err.msg);
	ok(exchange(), "then it is exchanged for a link");
	const struct mountpoint_setup setup = { .mountpoint = mnt,
						.place = place,
						.is_writable = true };
	if (!ok(mountpoint_mount(&setup, &made, &err) == 0, "it is mounted"))
		printf("# %s\n", err.msg);
	ok(mountpoint_number(moved) == made.number, "on the directory that was checked");
	ok(mountpoint_number(victim) != made.number, "not where the link leads");
	ok(made.handle >= 0, "there is a handle of it");
	ok(!mountpoint_unmount(mnt, made.number), "it is not at the path any more");
	mountpoint_unmount_number(made.number);
	is_str(options_of(moved), "", "it is unmounted where it is");
	release(&made);
	put_back();
}

/* What another user mounts or links at the path later is not unmounted. */
static void test_exchanged_later(void)
{
	struct mountpoint_made made = { .device = -1, .handle = -1 };
	struct mountpoint_made other = { .device = -1, .handle = -1 };
	struct mountpoint_setup setup = { .mountpoint = victim, .place = -1 };
	struct err err = ERR_INIT;

	ok(mountpoint_mount(&setup, &other, &err) == 0, "another mount");
	setup.mountpoint = mnt;
	ok(mountpoint_mount(&setup, &made, &err) == 0 && exchange(), "one that is exchanged");
	ok(mountpoint_open_handle(mnt, made.number, false, &err) < 0,
	   "there is no handle of what the link leads to");
	ok(!mountpoint_unmount(mnt, made.number), "it is not unmounted there");
	ok(mountpoint_number(victim) == other.number, "the other mount stays");
	ok(mountpoint_unmount(moved, made.number), "its own is unmounted where it is");
	mountpoint_unmount(victim, other.number);
	release(&made);
	release(&other);
	put_back();
}

static void test_options(void)
{
	static const char *const options[] = { "ro", "nosuid", "nodev", "nosymfollow" };
	const struct mountpoint_setup setup = { .mountpoint = mnt,
						.place = -1,
						.is_writable = true };
	struct mountpoint_made made = { .device = -1, .handle = -1 }, next = made;
	struct err err = ERR_INIT;

	ok(mountpoint_mount(&setup, &made, &err) == 0, "mounted again");
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		ok(has_option(mnt, options[i]), "the mount is %s", options[i]);
	ok(mountpoint_replace(&setup, made.number, &next, &err) == 0, "it is replaced");
	ok(mountpoint_number(mnt) == next.number && next.number != made.number, "by another mount");
	ok(has_option(mnt, "nosymfollow"), "with the same options");
	mountpoint_unmount(mnt, next.number);
	is_str(options_of(mnt), "", "nothing is left");
	release(&made);
	release(&next);
}

static void test_refused(void)
{
	struct err err = ERR_INIT;
	int place = -1;

	ok(exchange(), "the path is a link when it is checked");
	ok(mountpoint_prepare(mnt, &place, &err) == MOUNTPOINT_UNUSABLE && place < 0, "refused: %s",
	   err.msg);
	put_back();
}

static void set_path(char ret[64], const char *name)
{
	snprintf(ret, 64, "%s/%s", base, name);
}

int main(void)
{
	if (geteuid() != 0 || access("/dev/fuse", R_OK) < 0) {
		printf("1..0 # SKIP not root, or no /dev/fuse\n");
		return 0;
	}
	if (!mkdtemp(base))
		return 1;
	set_path(owned, "owned");
	set_path(owned_moved, "moved");
	set_path(victims, "victims");
	set_path(mnt, "owned/mnt");
	set_path(moved, "moved/mnt");
	set_path(victim, "victims/mnt");
	if (mkdir(owned, 0755) < 0 || mkdir(mnt, 0755) < 0 || mkdir(victims, 0755) < 0 ||
	    mkdir(victim, 0755) < 0)
		return 1;
	test_exchanged();
	test_exchanged_later();
	test_options();
	test_refused();
	rmdir(mnt);
	rmdir(owned);
	rmdir(victim);
	rmdir(victims);
	ok(rmdir(base) == 0, "nothing is left behind");
	return tap_done();
}
