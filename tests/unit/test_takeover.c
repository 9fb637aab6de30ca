/*
 * Taking over: a real mount, workers that are processes and die, readers that must not notice.
 *
 * This process is what the keeper is: it holds the device and the slots. Each worker is forked; the
 * store is a piece of shared memory (fake_mount_store.h).
 */
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
#include "mount/device.h"
#include "mount/fs.h"
#include "mount/notifier.h"
#include "mount/slots.h"
#include "tap.h"

#include "fake_mount_store.h"

#define LIMIT_S	   80 /* for all of it */
#define PATIENCE   20000
#define N_READERS  4
#define N_DEATHS   150
#define N_VERSIONS 2000

enum { A, B, GONE, C, LATE, N_NAMES };
static const char *const names[N_NAMES] = { "a.bin", "b.bin", "old/gone.bin", "sub/c.bin",
					    "sub/late.bin" };

static char mountpoint[] = "/tmp/rptfs-takeover-XXXXXX";
static int device = -1, memfd = -1;
static struct slots *slots;
static pid_t worker_pid;

/* Shared with all processes. */
static struct control {
	atomic_bool publish;  /* workers publish all the time */
	atomic_bool handover; /* the worker is to end in order */
	atomic_bool hurry;    /* without pausing in between */
	atomic_bool end;      /* readers are to end */
	atomic_int failures;
	_Atomic uint64_t reads;
	_Atomic uint64_t seen; /* by anybody, of C */
	char what[256];	       /* of the first failure */
} * control;

/* ------------------------------------------------------------------ a worker */

static int render(void *arg, char **ret, size_t *ret_len, struct err *err)
{
	(void)arg;
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
	struct slots *slots;
};

static void begin_life(struct life *life)
{
	static const struct fs_virtual virtuals[] = { { "rendered", render, NULL } };
	struct err err = ERR_INIT;
	struct fs_setup setup = {
		.notifier = life->notifier,
		.terms = life->terms,
		.cancel = &life->cancel,
		.control_path = "/nowhere",
		.virtuals = virtuals,
		.n_virtuals = 1,
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
	if (cancel_init(&life->cancel, &err) < 0 || slots_map(&life->slots, memfd, &err) < 0 ||
	    fs_new(&life->fs, &setup, &err) < 0 ||
	    fs_start(life->fs, device, life->slots, false, &err) < 0) {
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
	slots_unmap(life->slots);
	notifier_free(life->notifier);
	cancel_release(&life->cancel);
}

static void worker_main(void)
{
	static struct life life;
	unsigned seed = (unsigned)getpid();

	/* Not the files on the mount that this process has open. */
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
			fs_publish(life.fs, &life.terms[i], world_current(life.of[i]));
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

static bool hand_over(void)
{
	int status;

	atomic_store(&control->handover, true);
	waitpid(worker_pid, &status, 0);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* ------------------------------------------------------------------ readers */

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

/* All bytes of an open file, one READ at a time and from the worker when `cold`. */
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

/* -1, or a descriptor of something whole. */
static int open_and_read(size_t name, uint64_t *ret_id, bool cold)
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

static bool is_listed(size_t name)
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

static void reader_main(void)
{
	static const size_t read_names[] = { A, B, C };
	unsigned seed = (unsigned)getpid();
	uint64_t last[N_NAMES] = { 0 }, id;
	struct {
		int fd;
		uint64_t id;
	} kept[8];

	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		kept[i].fd = -1;
	while (!atomic_load(&control->end)) {
		size_t name = read_names[(size_t)rand_r(&seed) % ARRAY_SIZE(read_names)];
		size_t place = (size_t)rand_r(&seed) % ARRAY_SIZE(kept);
		int fd = open_and_read(name, &id, rand_r(&seed) % 2);
		if (id < last[name])
			fail("%s: %" PRIu64 " after %" PRIu64, names[name], id, last[name]);
		last[name] = id;
		if (kept[place].fd >= 0) {
			read_all(kept[place].fd, kept[place].id, true);
			close(kept[place].fd);
		}
		kept[place].fd = fd;
		kept[place].id = id;
		if (!is_listed(C))
			fail("%s is not listed", names[C]);
	}
	_exit(0);
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

/* ------------------------------------------------------------------ tests */

/* A request that was taken and not answered. */
static void test_taken_and_killed(void)
{
	uint64_t id;

	atomic_store(&world->hang, true);
	pid_t reader = fork_child();
	if (reader == 0)
		_exit(open_and_read(A, &id, true) < 0);
	ok(wait_for(atomic_load(&world->hanging) > 0), "a READ was taken and is not answered");
	kill_worker();
	ok(slots_occupied(slots) > 0, "it stays in its slot");
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
	ok(wait_for(atomic_load(&world->hanging) > 0), "a LOOKUP was taken and is not answered");
	ok(wait_for(slots_oldest_ms(slots, clock_boot_ms()) > 50), "a watchdog can see it");
	kill_worker();
	atomic_store(&world->hang, false);
	start_worker();
	ok(ends_well(reader), "the successor answers it");
	ok(wait_for(slots_occupied(slots) == 0), "no slot is left");
}

/* A READ that waits for the verifier when the worker is told to end. */
static void test_parked_and_handed_over(void)
{
	uint64_t id;
	int fd = open_and_read(B, &id, true);

	kill_worker();
	atomic_store(&world->unchecked, true);
	start_worker();
	pid_t reader = fork_child();
	if (reader == 0)
		_exit(!read_all(fd, id, true)); /* no other request than READ */
	close(fd);
	ok(wait_for(slots_occupied(slots) > 0), "a READ waits for its snapshot to be checked");
	ok(hand_over(), "the worker ends in order");
	ok(slots_occupied(slots) > 0, "and leaves the READ to others");
	atomic_store(&world->unchecked, false);
	start_worker();
	ok(ends_well(reader), "the successor answers it");
}

static uint64_t shown_id(size_t name)
{
	char path[128];
	struct stat stat;

	return lstat(path_of(name, path), &stat) == 0 ? stat.st_ino : 0;
}

/* What the predecessor had committed and not announced. */
static void test_rolled_forward(void)
{
	uint64_t old, next;
	int fd = open_and_read(A, &old, true);

	kill_worker();
	next = world_commit(A);
	start_worker();
	ok(wait_for(shown_id(A) == next), "a new version is announced");
	ok(read_all(fd, old, true), "the old one is read by who has it open");
	int released = atomic_load(&world->released);
	close(fd);
	ok(wait_for(atomic_load(&world->released) > released), "then it is released");

	ok(!is_listed(LATE) && !is_listed(LATE), "a listing is cached");
	kill_worker();
	world_commit(LATE);
	start_worker();
	ok(wait_for(is_listed(LATE)), "a first version appears in it");
}

/* The predecessor died where readers may have seen a new version that nobody announced, with or
 * without yet another one in the store: it is shown, and that is noted before another name moves
 * and a further successor would not know. */
static void test_shown_before_others(void)
{
	const int rounds = 20;
	int noted = 0;

	for (int i = 0; i < rounds; i++) {
		shown_id(A);
		kill_worker();
		uint64_t shown = world_commit(C);
		slots_note_showing(slots, shown);
		uint64_t last = i % 2 ? world_commit(C) : shown;
		uint64_t next = world_commit(A);
		start_worker();
		int64_t until_ms = clock_boot_ms() + PATIENCE;
		while (shown_id(A) != next && clock_boot_ms() < until_ms)
			;
		noted += slots_was_announced(slots, shown);
		ok(wait_for(shown_id(C) == last), "the last one is shown");
	}
	is_int(noted, rounds, "what may have been seen is noted first");
}

/* Another configuration: other attributes, a term and its directory are gone. */
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
	   "the kernel learns another mode");
	ok(wait_for(access(path_of(GONE, path), F_OK) < 0 && errno == ENOENT), "the name is gone");
	ok(wait_for(access(old_dir, F_OK) < 0 && errno == ENOENT), "and its directory");
	ok(read_all(fd, id, true), "but the file is read by who has it open");
	ok(fstat(fd, &stat) == 0 && stat.st_ino == id, "and has attributes");
	kill_worker();
	start_worker();
	ok(read_all(fd, id, true), "a second time, too");
	close(fd);
	ok(access(path_of(A, path), F_OK) == 0, "the others are there");
}

/* Nobody is shown less than anybody has seen before. */
static void looker_main(bool lists)
{
	while (!atomic_load(&control->end)) {
		uint64_t seen = atomic_load(&control->seen);
		if (lists)
			is_listed(C);
		uint64_t id = shown_id(C);
		if (id < seen)
			fail("%s: %" PRIu64 " after %" PRIu64, names[C], id, seen);
		while (seen < id && !atomic_compare_exchange_weak(&control->seen, &seen, id))
			;
	}
	_exit(0);
}

/* Look-ups and listings of a directory run side by side. */
static void test_listed_while_moving(void)
{
	pid_t lookers[N_READERS];

	for (size_t i = 0; i < N_READERS; i++) {
		lookers[i] = fork_child();
		if (lookers[i] == 0)
			looker_main(i % 2);
	}
	atomic_store(&control->hurry, true);
	atomic_store(&control->publish, true);
	uint64_t until = atomic_load(&world->next_id) + N_VERSIONS;
	ok(wait_for(atomic_load(&world->next_id) > until), "there were many versions");
	atomic_store(&control->publish, false);
	atomic_store(&control->hurry, false);
	atomic_store(&control->end, true);
	for (size_t i = 0; i < N_READERS; i++)
		ok(ends_well(lookers[i]), "a looker ends");
	atomic_store(&control->end, false);
	if (!ok(atomic_load(&control->failures) == 0, "names lead forward only"))
		printf("# the first: %s\n", control->what);
}

static void test_deaths(void)
{
	pid_t readers[N_READERS];
	unsigned seed = 7;
	int orderly = 0, clean = 0;

	for (size_t i = 0; i < N_READERS; i++) {
		readers[i] = fork_child();
		if (readers[i] == 0)
			reader_main();
	}
	atomic_store(&control->publish, true);
	kill_worker();
	start_worker();
	for (int i = 0; i < N_DEATHS; i++) {
		usleep((unsigned)rand_r(&seed) % 40000);
		if (i % 5 == 4) {
			orderly++;
			clean += hand_over();
		} else {
			kill_worker();
		}
		start_worker();
	}
	uint64_t reads = atomic_load(&control->reads);
	ok(wait_for(atomic_load(&control->reads) > reads + 20), "readers go on");
	atomic_store(&control->end, true);
	for (size_t i = 0; i < N_READERS; i++)
		ok(ends_well(readers[i]), "a reader ends");
	atomic_store(&control->publish, false);
	is_int(clean, orderly, "workers that were told to end did");
	if (!ok(atomic_load(&control->failures) == 0, "no read failed, was torn or went back"))
		printf("# %d failures, the first: %s\n", atomic_load(&control->failures),
		       control->what);
	printf("# %" PRIu64 " reads over %d deaths\n", atomic_load(&control->reads), N_DEATHS);
	ok(wait_for(slots_occupied(slots) == 0), "no request is left");
}

/* A worker that is not fit says so, and what the matter is. */
static void test_rehearsal(void)
{
	struct err err = ERR_INIT;
	size_t len;
	struct fuse_init_out *reply = (void *)((char *)(uintptr_t)slots_init_reply(slots, &len) +
					       sizeof(struct fuse_out_header));

	ok(fs_rehearse(slots, &err) == 0, "this program can take over");
	is_int(reply->max_pages, (1 << 20) / sysconf(_SC_PAGESIZE), "READs of 1 MiB");
	reply->flags ^= FUSE_READDIRPLUS_AUTO;
	ok(fs_rehearse(slots, &err) < 0 && err.kind == ERR_BAD_DATA, "one that differs cannot");
	ok(strstr(err.msg, "flags: had 0x"), "and says where: %s", err.msg);
	reply->flags ^= FUSE_READDIRPLUS_AUTO;
}

/* A second mount, whose first worker dies while it negotiates. */
static void test_died_while_negotiating(bool reply_saved)
{
	struct err err = ERR_INIT;
	char dir[] = "/tmp/rptfs-takeover-XXXXXX", path[64];
	struct slots *first = NULL;
	struct stat stat;
	size_t len;

	int own_device = mkdtemp(dir) ? device_mount(dir, false, false, &err) : -1;
	int own_memfd = slots_make(&err);
	if (own_device < 0 || slots_map(&first, own_memfd, &err) < 0) {
		ok(false, "a second mount: %s", err.msg);
		return;
	}
	int slot = slots_claim(first);
	struct fuse_in_header *in = slots_buffer(first, slot);
	ok(read(own_device, in, SLOT_SIZE) > 0 && in->opcode == FUSE_INIT, "INIT was taken");
	if (reply_saved) {
		char reply[4096];
		memcpy(reply, slots_init_reply(slots, &len),
		       sizeof(struct fuse_out_header) + sizeof(struct fuse_init_out));
		((struct fuse_out_header *)(void *)reply)->unique = in->unique;
		slots_save_init_request(first, in, in->len);
		slots_save_init_reply(first, reply, len);
		slots_set_first(first, atomic_load(&world->next_id)); /* as each does before */
	}
	slots_unmap(first);
	int device_before = device, memfd_before = memfd;
	pid_t pid_before = worker_pid;
	device = own_device;
	memfd = own_memfd;
	start_worker();
	snprintf(path, sizeof(path), "%s/%s", dir, names[A]);
	ok(lstat(path, &stat) == 0, "the successor answers INIT%s, and serves",
	   reply_saved ? " again" : "");
	device_unmount(dir, device_number(dir));
	ok(ends_well(worker_pid), "and ends when it is unmounted");
	close(own_device);
	close(own_memfd);
	rmdir(dir);
	device = device_before;
	memfd = memfd_before;
	worker_pid = pid_before;
}

/* ------------------------------------------------------------------ */

static void too_late(int signal)
{
	static const char text[] = "Bail out! it hangs\n";

	(void)signal;
	umount2(mountpoint, MNT_FORCE); /* ends the connection, so that nobody waits on */
	umount2(mountpoint, MNT_DETACH);
	rmdir(mountpoint);
	if (write(STDOUT_FILENO, text, sizeof(text) - 1) < 0) {
		/* Nobody listens. */
	}
	_exit(1);
}

static bool set_up(struct err *err)
{
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
	memfd = slots_make(err);
	if (memfd < 0 || slots_map(&slots, memfd, err) < 0 || !mkdtemp(mountpoint))
		return false;
	device = device_mount(mountpoint, false, false, err);
	return device >= 0;
}

int main(void)
{
	struct err err = ERR_INIT;

	signal(SIGALRM, too_late);
	alarm(LIMIT_S);
	if (!set_up(&err)) {
		printf("Bail out! %s\n", err.msg);
		return 1;
	}
	start_worker();
	test_taken_and_killed();
	test_parked_and_handed_over();
	test_rolled_forward();
	test_shown_before_others();
	test_other_configuration();
	test_rehearsal();
	test_died_while_negotiating(false);
	test_died_while_negotiating(true);
	test_listed_while_moving();
	test_deaths();
	device_unmount(mountpoint, device_number(mountpoint));
	ok(ends_well(worker_pid), "the worker ends when it is unmounted");
	slots_unmap(slots);
	close(device);
	close(memfd);
	rmdir(mountpoint);
	return tap_done();
}
