/*
 * takeover_mount: a real mount whose workers are processes that die, for tests of taking over.
 *
 * The test plays the keeper: it holds the device and the requests in flight. Each worker is forked.
 * The store is shared memory (fake_mount_store.h).
 */
#ifndef TESTS_UNIT_TAKEOVER_MOUNT_H
#define TESTS_UNIT_TAKEOVER_MOUNT_H

#include <dirent.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "base/cancel.h"
#include "base/clock.h"
#include "base/log.h"
#include "keeper/mountpoint.h"
#include "mount/connection/inflight.h"
#include "mount/connection/notifier.h"
#include "mount/view/fs.h"
#include "tap.h"

#include "fake_mount_store.h"

#define LIMIT_S	 250 /* for the whole test; below that of the caller */
#define PATIENCE 100000

enum { A, B, GONE, C, LATE, N_NAMES };
static const char *const names[N_NAMES] = { "a.bin", "b.bin", "old/gone.bin", "sub/c.bin",
					    "sub/late.bin" };

static char mountpoint[] = "/tmp/rptfs-takeover-XXXXXX";
static int device = -1, memfd = -1;
static struct inflight *inflight;
static pid_t worker_pid;

/* Shared with all processes. */
static struct control {
	atomic_bool publish;  /* workers publish all the time */
	atomic_bool handover; /* the worker shall end in an orderly way */
	atomic_bool hurry;    /* publish without pauses */
	atomic_bool end;      /* readers shall end */
	atomic_int failures;
	_Atomic uint64_t reads;
	_Atomic uint64_t seen; /* the largest id of C that any process saw */
	char what[256];	       /* the first failure */
} * control;

/* ------------------------------------------------------------------ a worker */

static int render(void *arg, const struct term_access *access, char **ret, size_t *ret_len,
		  struct err *err)
{
	(void)arg;
	(void)access;
	(void)err;
	if (atomic_load(&world->hang)) {
		atomic_fetch_add(&world->hanging, 1);
		for (;;)
			pause();
	}
	*ret_len = (size_t)asprintf(ret, "rendered");
	return 0;
}

static void lost(void *arg, struct term *term)
{
	(void)arg;
	(void)term;
}

struct life {
	struct term_config configs[N_NAMES];
	struct term terms[N_NAMES];
	size_t of[N_NAMES]; /* term → name */
	size_t n_terms;
	struct cancel cancel;
	struct notifier *notifier;
	struct fs *fs;
	struct inflight *inflight;
	struct term_rights *rights;
};

static void begin_life(struct life *life)
{
	static const struct rendered_file rendered_files[] = { { "rendered", render, NULL } };
	struct err err = ERR_INIT;
	struct fs_setup setup = {
		.notifier = life->notifier,
		.terms = life->terms,
		.cancel = &life->cancel,
		.control_path = "/nowhere",
		.rendered_files = rendered_files,
		.n_rendered_files = 1,
		.lost = lost,
	};

	for (size_t i = 0; i < N_NAMES; i++) {
		size_t n = life->n_terms;
		if (!atomic_load(&world->names[i].configured))
			continue;
		life->configs[n] = (struct term_config){ .name = world->names[i].name,
							 .mode = atomic_load(&world->mode) };
		term_init(&life->terms[n], &life->configs[n], world_current(i), NULL, &err);
		life->of[n] = i;
		life->n_terms++;
	}
	setup.n_terms = life->n_terms;
	if (term_rights_new(&life->rights, life->terms, life->n_terms, 0, &err) < 0)
		_exit(1);
	setup.rights = life->rights;
	if (cancel_init(&life->cancel, &err) < 0 ||
	    inflight_map(&life->inflight, memfd, &err) < 0 || fs_new(&life->fs, &setup, &err) < 0 ||
	    fs_start(life->fs, device, life->inflight, false, &err) < 0) {
		printf("# worker: %s\n", err.msg);
		fflush(stdout);
		_exit(1);
	}
}

static void end_life(struct life *life)
{
	cancel_request(&life->cancel);
	fs_free(life->fs);
	for (size_t i = 0; i < life->n_terms; i++)
		term_release(&life->terms[i]);
	inflight_unmap(life->inflight);
	notifier_free(life->notifier);
	cancel_release(&life->cancel);
}

static void worker_main(void)
{
	static struct life life;
	unsigned seed = (unsigned)getpid();

	/* Do not keep files on the mount open. */
	for (int fd = 3; fd < 64; fd++) {
		if (fd != device && fd != memfd)
			close(fd);
	}
	struct err err = ERR_INIT;
	if (notifier_new(&life.notifier, &err) < 0)
		_exit(1);
	begin_life(&life);
	struct pollfd over = { .fd = fs_over_fd(life.fs), .events = POLLIN };
	while (!atomic_load(&control->handover) && poll(&over, 1, 0) == 0) {
		if (atomic_load(&control->publish)) {
			size_t i = (size_t)rand_r(&seed) % life.n_terms;
			world_commit(life.of[i]);
			fs_publish(life.fs, &life.terms[i], world_current(life.of[i]), &err);
		}
		if (!atomic_load(&control->hurry))
			usleep((unsigned)rand_r(&seed) % 2000);
	}
	end_life(&life);
	_exit(0);
}

static pid_t fork_child(void)
{
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static void start_worker(void)
{
	atomic_store(&control->handover, false);
	worker_pid = fork_child();
	if (worker_pid == 0)
		worker_main();
}

static void kill_worker(void)
{
	kill(worker_pid, SIGKILL);
	waitpid(worker_pid, NULL, 0);
}

UNUSED static bool hand_over(void)
{
	int status;

	atomic_store(&control->handover, true);
	waitpid(worker_pid, &status, 0);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* ------------------------------------------------------------------ a reader */

static char *path_of(size_t name, char ret[128])
{
	snprintf(ret, 128, "%s/%s", mountpoint, names[name]);
	return ret;
}

__attribute__((format(printf, 1, 2))) static bool fail(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	if (atomic_fetch_add(&control->failures, 1) == 0)
		vsnprintf(control->what, sizeof(control->what), fmt, args);
	va_end(args);
	return false;
}

/* Checks all bytes of an open file; with `cold`, one READ at a time from the worker. */
static bool read_all(int fd, uint64_t id, bool cold)
{
	static uint64_t words[BODY_WORDS];

	if (cold)
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	ssize_t got = pread(fd, words, sizeof(words), 0);
	if (got != sizeof(words))
		return fail("id %" PRIu64 ": read %zd: %s", id, got, strerror(errno));
	for (uint64_t i = 0; i < BODY_WORDS; i++) {
		if (words[i] != word_of(id, i))
			return fail("id %" PRIu64 ": word %" PRIu64 " is %" PRIx64, id, i,
				    words[i]);
	}
	atomic_fetch_add(&control->reads, 1);
	return true;
}

/* Opens a file and checks it. Returns its descriptor, or -1. */
UNUSED static int open_and_read(size_t name, uint64_t *ret_id, bool cold)
{
	char path[128], value[8];
	int fd = open(path_of(name, path), O_RDONLY | O_CLOEXEC);
	struct stat stat;

	if (fd < 0 || fstat(fd, &stat) < 0 || stat.st_size != BODY_SIZE) {
		fail("%s: %s", names[name], strerror(errno));
		return -1;
	}
	*ret_id = stat.st_ino;
	if (fgetxattr(fd, "user.rpt.version", value, sizeof(value)) != 1)
		fail("%s: getxattr: %s", names[name], strerror(errno));
	read_all(fd, stat.st_ino, cold);
	return fd;
}

UNUSED static bool is_listed(size_t name)
{
	char path[128];
	const struct dirent *entry;
	bool found = false;

	path_of(name, path);
	*strrchr(path, '/') = '\0';
	DIR *dir = opendir(path);
	while (dir && (entry = readdir(dir)))
		found = found || strcmp(entry->d_name, strrchr(names[name], '/') + 1) == 0;
	if (dir)
		closedir(dir);
	return found;
}

static bool ends_well(pid_t pid)
{
	int status = -1;

	waitpid(pid, &status, 0);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

#define wait_for(condition)                                            \
	({                                                             \
		bool is_so_;                                           \
		for (int ms_ = 0; !(is_so_ = (condition)); ms_ += 2) { \
			if (ms_ > PATIENCE)                            \
				break;                                 \
			usleep(2000);                                  \
		}                                                      \
		is_so_;                                                \
	})

UNUSED static uint64_t shown_id(size_t name)
{
	char path[128];
	struct stat stat;

	return lstat(path_of(name, path), &stat) == 0 ? stat.st_ino : 0;
}

/* ------------------------------------------------------------------ set-up and tear-down */

static void too_late(int signal)
{
	static const char text[] = "Bail out! it hangs\n";

	(void)signal;
	umount2(mountpoint, MNT_FORCE); /* ends the connection, so that no process hangs */
	umount2(mountpoint, MNT_DETACH);
	rmdir(mountpoint);
	if (write(STDOUT_FILENO, text, sizeof(text) - 1) < 0) {
		/* The test is ending anyway. */
	}
	_exit(1);
}

/* Returns the descriptor of the connection, which nothing else holds, or -1. */
static int mount_at(const char *dir, struct err *err)
{
	const struct mountpoint_setup setup = { .mountpoint = dir, .place = -1 };
	struct mountpoint_made made;

	if (mountpoint_mount(&setup, &made, err) < 0)
		return -1;
	close_cleanup(&made.handle);
	return made.device;
}

/* Makes the mount and starts its first worker. Prints the reason if it fails. */
static bool set_up(void)
{
	struct err err = ERR_INIT;

	signal(SIGALRM, too_late);
	alarm(LIMIT_S);
	world_make();
	world->n_names = N_NAMES;
	for (size_t i = 0; i < N_NAMES; i++) {
		strcpy(world->names[i].name, names[i]);
		atomic_store(&world->names[i].configured, true);
		if (i != LATE)
			world_commit(i);
	}
	control = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	memfd = inflight_make(&err);
	if (memfd < 0 || inflight_map(&inflight, memfd, &err) < 0 || !mkdtemp(mountpoint) ||
	    (device = mount_at(mountpoint, &err)) < 0) {
		printf("Bail out! %s\n", err.msg);
		return false;
	}
	start_worker();
	return true;
}

/* Returns the exit code. */
static int tear_down(void)
{
	mountpoint_unmount(mountpoint, mountpoint_number(mountpoint));
	ok(ends_well(worker_pid), "the worker ends when it is unmounted");
	inflight_unmap(inflight);
	close(device);
	close(memfd);
	rmdir(mountpoint);
	return tap_done();
}

#endif
