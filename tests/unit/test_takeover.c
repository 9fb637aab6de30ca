/*
 * Taking over: a successor continues where its predecessor stopped.
 */
#include "takeover_mount.h"

#include <sched.h>

/* A request that was read from the device but not answered. */
static void test_taken_and_killed(void)
{
	uint64_t id;

	atomic_store(&world->hang, true);
	pid_t reader = fork_child();
	if (reader == 0)
		_exit(open_and_read(A, &id, true) < 0);
	ok(wait_for(atomic_load(&world->hanging) > 0), "a READ is in progress");
	kill_worker();
	ok(inflight_occupied(inflight) > 0, "it stays in its record");
	atomic_store(&world->hang, false);
	start_worker();
	ok(ends_well(reader), "the successor answers it");

	atomic_store(&world->hang, true);
	atomic_store(&world->hanging, 0);
	reader = fork_child();
	if (reader == 0) {
		char path[128], text[32] = "";
		snprintf(path, sizeof(path), "%s/.rpt/rendered", mountpoint);
		int fd = open(path, O_RDONLY);
		_exit(fd < 0 || read(fd, text, sizeof(text)) != 8);
	}
	ok(wait_for(atomic_load(&world->hanging) > 0), "a LOOKUP is in progress");
	ok(wait_for(inflight_oldest_ms(inflight, clock_boot_ms()) > 50),
	   "the watchdog sees its age");
	kill_worker();
	atomic_store(&world->hang, false);
	start_worker();
	ok(ends_well(reader), "the successor answers the LOOKUP");
	ok(wait_for(inflight_occupied(inflight) == 0), "no request is left");
}

/* A READ waits for the verifier when the worker is asked to end. */
static void test_parked_and_handed_over(void)
{
	uint64_t id;
	int fd = open_and_read(B, &id, true);

	kill_worker();
	atomic_store(&world->unchecked, true);
	start_worker();
	pid_t reader = fork_child();
	if (reader == 0)
		_exit(!read_all(fd, id, true)); /* sends only READ requests */
	close(fd);
	ok(wait_for(inflight_occupied(inflight) > 0),
	   "a READ waits for its snapshot to be checked");
	ok(hand_over(), "the worker ends with exit code 0");
	ok(inflight_occupied(inflight) > 0, "the READ is left to the successor");
	atomic_store(&world->unchecked, false);
	start_worker();
	ok(ends_well(reader), "the successor answers it");
}

/* The predecessor committed a version and did not announce it. */
static void test_rolled_forward(void)
{
	uint64_t old, next;
	int fd = open_and_read(A, &old, true);

	kill_worker();
	next = world_commit(A);
	start_worker();
	ok(wait_for(shown_id(A) == next), "a new version is announced");
	ok(read_all(fd, old, true), "the old version can still be read through an open descriptor");
	int released = atomic_load(&world->released);
	close(fd);
	ok(wait_for(atomic_load(&world->released) > released),
	   "it is released when that is closed");

	ok(!is_listed(LATE) && !is_listed(LATE), "a listing is cached");
	kill_worker();
	world_commit(LATE);
	start_worker();
	ok(wait_for(is_listed(LATE)), "a first version appears in the listing");
}

/* The predecessor died when readers may have seen a new version that was not announced; the store
 * may or may not have a newer one. The successor announces it and records that before it moves
 * another name, so that the next successor knows. */
static void test_shown_before_others(void)
{
	const int rounds = 20;
	int noted = 0;

	for (int i = 0; i < rounds; i++) {
		shown_id(A);
		kill_worker();
		uint64_t shown = world_commit(C);
		inflight_note_showing(inflight, shown);
		uint64_t last = i % 2 ? world_commit(C) : shown;
		uint64_t next = world_commit(A);
		start_worker();
		int64_t until_ms = clock_boot_ms() + PATIENCE;
		while (shown_id(A) != next && clock_boot_ms() < until_ms)
			;
		noted += inflight_was_announced(inflight, shown);
		ok(wait_for(shown_id(C) == last), "the last version is shown");
	}
	is_int(noted, rounds, "a version that may have been seen is recorded first");
}

/* ------------------------------------------------------------------ a reader that gets no CPU */

#define READERS_CPU 1

/* Returns false if there is no such CPU, or this process may not. */
static bool run_on(int cpu, int policy)
{
	const struct sched_param parameters = { .sched_priority = policy == SCHED_FIFO ? 1 : 0 };
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) == 0 &&
	       sched_setscheduler(0, policy, &parameters) == 0;
}

/* Keeps all others from a CPU until it is killed. The kernel allows that for most of a second. */
static pid_t occupy_cpu(void)
{
	pid_t pid = fork_child();

	if (pid > 0)
		return pid;
	while (run_on(READERS_CPU, SCHED_FIFO))
		for (;;)
			;
	_exit(1);
}

static pid_t start_reader(void)
{
	pid_t pid = fork_child();
	uint64_t id;

	if (pid > 0)
		return pid;
	run_on(READERS_CPU, SCHED_OTHER);
	_exit(open_and_read(C, &id, true) < 0);
}

static bool sleeps(pid_t pid)
{
	char path[64], state = '?';

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	FILE *file = fopen(path, "re");
	if (file && fscanf(file, "%*d %*s %c", &state) != 1)
		state = '?';
	if (file)
		fclose(file);
	return state == 'S' || state == 'D';
}

/* A worker answers a look-up, and dies while it publishes the next version. The reader takes the
 * answer only when the successor has taken over. */
static void test_answer_taken_late(void)
{
	int failures = atomic_load(&control->failures), status;

	kill_worker();
	uint64_t shown = world_commit(C);
	start_worker();
	ok(wait_for(inflight_was_announced(inflight, shown)), "the kernel has forgotten the name");
	kill(worker_pid, SIGSTOP);
	waitpid(worker_pid, &status, WUNTRACED); /* all its threads have stopped */
	pid_t reader = start_reader();
	ok(wait_for(sleeps(reader)), "a reader looks it up");
	pid_t hog = occupy_cpu();
	kill(worker_pid, SIGCONT);
	usleep(200000); /* if the worker is slower, its successor answers the reader */
	kill_worker();
	uint64_t next = world_commit(C);
	inflight_note_showing(inflight, next);
	start_worker();
	usleep(200000); /* likewise */
	kill(hog, SIGKILL);
	waitpid(hog, NULL, 0);
	ok(ends_well(reader), "the reader gets the old version whole");
	if (!ok(atomic_load(&control->failures) == failures, "no read failed"))
		printf("# the first: %s\n", control->what);
	ok(wait_for(shown_id(C) == next), "the name shows the next version");
}

/* The configuration changes: other attributes, and a term and its directory are removed. */
static void test_other_configuration(void)
{
	char path[128], old_dir[128];
	uint64_t id;
	struct stat stat;
	int fd = open_and_read(GONE, &id, true);

	snprintf(old_dir, sizeof(old_dir), "%s/old", mountpoint);
	kill_worker();
	atomic_store(&world->names[GONE].configured, false);
	atomic_store(&world->mode, 0440);
	start_worker();
	ok(wait_for(lstat(path_of(A, path), &stat) == 0 && (stat.st_mode & 0777) == 0440),
	   "the kernel gets the new mode");
	ok(wait_for(access(path_of(GONE, path), F_OK) < 0 && errno == ENOENT), "the name is gone");
	ok(wait_for(access(old_dir, F_OK) < 0 && errno == ENOENT), "its directory is gone");
	ok(read_all(fd, id, true), "the file can still be read through an open descriptor");
	ok(fstat(fd, &stat) == 0 && stat.st_ino == id, "its attributes can be read");
	kill_worker();
	start_worker();
	ok(read_all(fd, id, true), "it can be read after the next take-over as well");
	close(fd);
	ok(access(path_of(A, path), F_OK) == 0, "the other names are there");
}

/* A worker that cannot take over says so, and why. */
static void test_rehearsal(void)
{
	struct err err = ERR_INIT;
	size_t len;
	struct fuse_init_out *reply = (void *)((char *)(uintptr_t)inflight_init_reply(inflight,
										      &len) +
					       sizeof(struct fuse_out_header));

	ok(fs_rehearse(inflight, &err) == 0, "this program can take over");
	is_int(reply->max_pages, (1 << 20) / sysconf(_SC_PAGESIZE), "READs of 1 MiB");
	reply->flags ^= FUSE_READDIRPLUS_AUTO;
	ok(fs_rehearse(inflight, &err) < 0 && err.kind == ERR_BAD_DATA,
	   "a program with other flags cannot take over");
	ok(strstr(err.msg, "flags: had 0x"), "the message names the difference: %s", err.msg);
	reply->flags ^= FUSE_READDIRPLUS_AUTO;
}

/* A second mount, whose first worker dies during INIT. */
static void test_died_while_negotiating(bool reply_saved)
{
	struct err err = ERR_INIT;
	char dir[] = "/tmp/rptfs-takeover-XXXXXX", path[64];
	struct inflight *first = NULL;
	struct stat stat;
	size_t len;

	int own_device = mkdtemp(dir) ? mount_at(dir, &err) : -1;
	int own_memfd = inflight_make(&err);
	if (own_device < 0 || inflight_map(&first, own_memfd, &err) < 0) {
		ok(false, "a second mount: %s", err.msg);
		return;
	}
	int request = inflight_claim(first);
	struct fuse_in_header *in = inflight_buffer(first, request);
	ok(read(own_device, in, INFLIGHT_RECORD_SIZE) > 0 && in->opcode == FUSE_INIT,
	   "INIT was read");
	if (reply_saved) {
		char reply[4096];
		memcpy(reply, inflight_init_reply(inflight, &len),
		       sizeof(struct fuse_out_header) + sizeof(struct fuse_init_out));
		((struct fuse_out_header *)(void *)reply)->unique = in->unique;
		inflight_save_init_request(first, in, in->len);
		inflight_save_init_reply(first, reply, len);
		inflight_set_first(
			first,
			atomic_load(&world->next_id)); /* as each worker does before its reply */
	}
	inflight_unmap(first);
	int device_before = device, memfd_before = memfd;
	pid_t pid_before = worker_pid;
	device = own_device;
	memfd = own_memfd;
	start_worker();
	snprintf(path, sizeof(path), "%s/%s", dir, names[A]);
	ok(lstat(path, &stat) == 0, "the successor answers INIT%s and serves",
	   reply_saved ? " again" : "");
	mountpoint_unmount(dir, mountpoint_number(dir));
	ok(ends_well(worker_pid), "it ends when the mount is unmounted");
	close(own_device);
	close(own_memfd);
	rmdir(dir);
	device = device_before;
	memfd = memfd_before;
	worker_pid = pid_before;
}

int main(void)
{
	if (!set_up())
		return 1;
	test_taken_and_killed();
	test_parked_and_handed_over();
	test_rolled_forward();
	test_shown_before_others();
	for (int i = 0; i < 3; i++)
		test_answer_taken_late();
	test_other_configuration();
	test_rehearsal();
	test_died_while_negotiating(false);
	test_died_while_negotiating(true);
	return tear_down();
}
