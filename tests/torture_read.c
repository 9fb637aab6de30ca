#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "proof.h"

#define FILES_MAX    4096
#define HELD_MAX     8
#define READ_BYTES   (1U << 20)
#define VERSION_SIZE 256
#define COMPLAINTS   20

#define LOOKS_FEW   4
#define THREADS_MAX 1024

enum count {
	OPENS,
	VERIFIED,
	COLD,
	SUPERSEDED,
	TORN,
	FAILED,
	SHORT,
	BACKWARD,
	MISMATCH,
	HUNG,
	COUNTS
};

static const char *const count_names[COUNTS] = {
	"opens",  "verified", "cold",	  "superseded", "torn",
	"failed", "short",    "backward", "mismatch",	"hung",
};

/* When a reader began its current visit, so that the parent can detect a hang. */
struct beat {
	atomic_int thread; /* 0: none, or it has ended */
	atomic_int_least64_t since_ms;
};

/* Shared by all processes: anonymous shared memory, lock-free. */
struct shared {
	atomic_uint_least64_t counts[COUNTS];
	atomic_uint_least64_t bytes;
	atomic_uint_least64_t versions;	  /* seen for the first time */
	atomic_uint_least64_t longest_us; /* to open a file and read its beginning */
	atomic_uint complaints;
	atomic_bool is_over;			 /* SIGTERM arrived */
	struct beat beats[THREADS_MAX];		 /* by process and thread */
	atomic_uint_least64_t newest[FILES_MAX]; /* version read by any reader, by file */
};

static struct shared *shared;
static char *files[FILES_MAX];
static size_t n_files;
static const char *top;
static const struct torture_limits *limits;
static double limit_s;

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int64_t now_ms(void)
{
	return (int64_t)(now_s() * 1000);
}

__attribute__((format(printf, 2, 3))) static void complain(enum count count, const char *fmt, ...)
{
	char line[512];
	va_list args;

	atomic_fetch_add(&shared->counts[count], 1);
	if (atomic_fetch_add(&shared->complaints, 1) >= COMPLAINTS)
		return;
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	fprintf(stderr, "torture: %s: %s\n", count_names[count], line);
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* One open file: it must always show what it showed when it was opened. */
struct held {
	int fd;	   /* owned; -1: none */
	void *map; /* owned; NULL: none */
	size_t file;
	unsigned looks; /* left before it is closed */
	struct proof proof;
	char label[VERSION_SIZE]; /* user.rpt.version; empty: the file system has none */
};

/* The last version with a given user.rpt.version; 0: not seen yet. */
struct label {
	uint64_t version;
	uint64_t hash;
};

/* One reader thread. */
struct reader {
	pthread_t thread;
	uint64_t random;
	struct held held[HELD_MAX];
	struct label *labels; /* owned; by file */
	unsigned char *buf;   /* owned; READ_BYTES */
	struct beat *beat;
};

/* A mapping whose bytes cannot be read raises SIGBUS. */
static _Thread_local sigjmp_buf *bus_error;

static void on_sigbus(int signo)
{
	if (bus_error)
		siglongjmp(*bus_error, 1);
	signal(signo, SIG_DFL);
}

static void on_sigterm(int signo)
{
	(void)signo;
	atomic_store(&shared->is_over, true);
}

static void check_map(const struct held *held, uint64_t offset, size_t len)
{
	sigjmp_buf here;

	if (sigsetjmp(here, 1)) {
		bus_error = NULL;
		complain(FAILED, "%s: SIGBUS in a mapping", files[held->file]);
		return;
	}
	bus_error = &here;
	if (!proof_check(&held->proof, offset, (const unsigned char *)held->map + offset, len))
		complain(TORN, "%s: mapping of version %" PRIu64, files[held->file],
			 held->proof.version);
	bus_error = NULL;
}

/* Calls pread() until len bytes are read. */
static bool read_fully(struct reader *reader, const struct held *held, uint64_t offset, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t got = pread(held->fd, reader->buf + done, len - done,
				    (off_t)(offset + done));
		if (got < 0) {
			complain(FAILED, "%s: pread: %s", files[held->file], strerror(errno));
			return false;
		}
		if (got == 0) {
			complain(SHORT, "%s: ends at %" PRIu64 " of %" PRIu64, files[held->file],
				 offset + done, held->proof.size_bytes);
			return false;
		}
		done += (size_t)got;
	}
	return true;
}

static void check_pread(struct reader *reader, const struct held *held, uint64_t offset, size_t len)
{
	if (read_fully(reader, held, offset, len) &&
	    !proof_check(&held->proof, offset, reader->buf, len))
		complain(TORN, "%s: pread at %" PRIu64 " of version %" PRIu64, files[held->file],
			 offset, held->proof.version);
}

/* Checks a random range of whole blocks. */
static void check_piece(struct reader *reader, const struct held *held)
{
	uint64_t size = held->proof.size_bytes;
	uint64_t blocks = (size + PROOF_BLOCK - 1) / PROOF_BLOCK;
	uint64_t offset = next_random(&reader->random) % blocks * PROOF_BLOCK;
	uint64_t len = (1 + next_random(&reader->random) % 16) * PROOF_BLOCK;

	if (len > size - offset)
		len = size - offset;
	if (held->map)
		check_map(held, offset, len);
	else
		check_pread(reader, held, offset, len);
	atomic_fetch_add(&shared->bytes, len);
}

/* Checks the whole file with read(2) in pieces of odd sizes. */
static void check_stream(struct reader *reader, const struct held *held)
{
	uint64_t size = held->proof.size_bytes;
	ssize_t got = 1;

	if (lseek(held->fd, 0, SEEK_SET) < 0)
		complain(FAILED, "%s: lseek: %s", files[held->file], strerror(errno));
	for (uint64_t offset = 0; offset < size && got > 0;) {
		size_t want = size - offset < READ_BYTES ? size - offset : READ_BYTES, done = 0;
		while (done < want) {
			size_t piece = 1 + next_random(&reader->random) % (want - done);
			if (piece < PROOF_BLOCK)
				piece = want - done;
			got = read(held->fd, reader->buf + done, piece);
			if (got <= 0)
				break;
			done += (size_t)got;
		}
		if (got < 0)
			complain(FAILED, "%s: read: %s", files[held->file], strerror(errno));
		else if (got == 0)
			complain(SHORT, "%s: ends at %" PRIu64 " of %" PRIu64, files[held->file],
				 offset + done, size);
		else if (!proof_check(&held->proof, offset, reader->buf, done))
			complain(TORN, "%s: read at %" PRIu64 " of version %" PRIu64,
				 files[held->file], offset, held->proof.version);
		offset += done;
	}
	if (got > 0 && read(held->fd, reader->buf, 1) != 0)
		complain(TORN, "%s: has bytes after its end", files[held->file]);
	atomic_fetch_add(&shared->bytes, size);
}

static void check_map_whole(const struct held *held)
{
	check_map(held, 0, held->proof.size_bytes);
	atomic_fetch_add(&shared->bytes, held->proof.size_bytes);
}

/* Raises *max to value. Returns whether it was lower. */
static bool raise_to(atomic_uint_least64_t *max, uint64_t value)
{
	uint64_t before = atomic_load(max);

	while (before < value)
		if (atomic_compare_exchange_weak(max, &before, value))
			return true;
	return false;
}

/* Whether this text matches these bytes. A number must be the version itself; any other text must
 * always come with the same version. */
static void check_label(struct reader *reader, const struct held *held)
{
	struct label *before = &reader->labels[held->file];
	struct label label = { held->proof.version, proof_name_hash(held->label) };

	if (strspn(held->label, "0123456789") == strlen(held->label)) {
		if (strtoull(held->label, NULL, 10) != label.version)
			complain(MISMATCH, "%s: user.rpt.version is %s, the bytes are of %" PRIu64,
				 files[held->file], held->label, label.version);
	} else if (before->version &&
		   (before->version == label.version) != (before->hash == label.hash)) {
		complain(MISMATCH, "%s: user.rpt.version is %s at %" PRIu64 ", but not at %" PRIu64,
			 files[held->file], held->label, label.version, before->version);
	}
	*before = label;
}

static bool read_label(const struct held *held, char ret[VERSION_SIZE])
{
	ssize_t len = fgetxattr(held->fd, "user.rpt.version", ret, VERSION_SIZE - 1);

	ret[len > 0 ? len : 0] = '\0';
	if (len >= 0)
		return true;
	if (errno != ENODATA && errno != ENOTSUP)
		complain(FAILED, "%s: fgetxattr: %s", files[held->file], strerror(errno));
	return false;
}

/* The next read must be answered by the daemon again. */
static void drop_pages(const struct held *held)
{
	if (held->map)
		madvise(held->map, held->proof.size_bytes, MADV_DONTNEED);
	posix_fadvise(held->fd, 0, 0, POSIX_FADV_DONTNEED);
	atomic_fetch_add(&shared->counts[COLD], 1);
}

static void check_again(struct reader *reader, const struct held *held)
{
	char label[VERSION_SIZE];
	struct stat st;

	if (next_random(&reader->random) % 100 < limits->cold_percent)
		drop_pages(held);
	if (held->proof.version < atomic_load(&shared->newest[held->file]))
		atomic_fetch_add(&shared->counts[SUPERSEDED], 1);
	if (fstat(held->fd, &st) < 0)
		complain(FAILED, "%s: fstat: %s", files[held->file], strerror(errno));
	else if ((uint64_t)st.st_size != held->proof.size_bytes)
		complain(SHORT, "%s: st_size became %jd, was %" PRIu64, files[held->file],
			 (intmax_t)st.st_size, held->proof.size_bytes);
	if (held->label[0] && read_label(held, label) && strcmp(label, held->label) != 0)
		complain(MISMATCH, "%s: user.rpt.version of an open file became %s, was %s",
			 files[held->file], label, held->label);
	check_piece(reader, held);
	atomic_fetch_add(&shared->counts[VERIFIED], 1);
}

static void let_go(struct held *held)
{
	if (held->map)
		munmap(held->map, held->proof.size_bytes);
	if (held->fd >= 0)
		close(held->fd);
	*held = (struct held){ .fd = -1 };
}

/* The number of looks for which a file is kept: half of the files are closed soon; the others are
 * spread evenly between a few looks and hundreds. */
static unsigned few_or_many(struct reader *reader)
{
	unsigned most = next_random(&reader->random) % 2 ? limits->looks : LOOKS_FEW, bits = 0;

	while (most >> (bits + 1))
		bits++;
	return 1U << next_random(&reader->random) % (bits + 1);
}

/* Opens the file and finds out its version. */
static bool take(struct reader *reader, struct held *held, size_t file)
{
	_Alignas(8) unsigned char block[PROOF_BLOCK];
	uint64_t known = atomic_load(&shared->newest[file]);
	double start_s = now_s();
	struct stat st;
	ssize_t got;

	*held = (struct held){
		.fd = open(files[file], O_RDONLY | O_CLOEXEC),
		.file = file,
		.looks = few_or_many(reader),
	};
	atomic_fetch_add(&shared->counts[OPENS], 1);
	if (held->fd < 0 || fstat(held->fd, &st) < 0 ||
	    (got = pread(held->fd, block, sizeof(block), 0)) < 0) {
		complain(FAILED, "%s: %s", files[file], strerror(errno));
		return false;
	}
	raise_to(&shared->longest_us, (uint64_t)((now_s() - start_s) * 1e6));
	if (!proof_identify(block, (size_t)got, &held->proof) ||
	    held->proof.name_hash != proof_name_hash(files[file] + strlen(top) + 1)) {
		complain(got < PROOF_MIN_BYTES ? SHORT : TORN, "%s: not a self-proving file",
			 files[file]);
		return false;
	}
	if ((uint64_t)st.st_size != held->proof.size_bytes) {
		complain(SHORT, "%s: st_size is %jd, the version has %" PRIu64, files[file],
			 (intmax_t)st.st_size, held->proof.size_bytes);
		return false;
	}
	if (held->proof.version < known)
		complain(BACKWARD, "%s: %" PRIu64 " after %" PRIu64, files[file],
			 held->proof.version, known);
	if (raise_to(&shared->newest[file], held->proof.version))
		atomic_fetch_add(&shared->versions, 1);
	if (read_label(held, held->label))
		check_label(reader, held);
	return true;
}

static void map(struct reader *reader, struct held *held)
{
	int flags = next_random(&reader->random) % 2 ? MAP_SHARED : MAP_PRIVATE;
	void *map = mmap(NULL, held->proof.size_bytes, PROT_READ, flags, held->fd, 0);

	if (map == MAP_FAILED)
		complain(FAILED, "%s: mmap: %s", files[held->file], strerror(errno));
	else
		held->map = map;
}

static void visit(struct reader *reader)
{
	struct held *held = &reader->held[next_random(&reader->random) % HELD_MAX];
	size_t file = next_random(&reader->random) % n_files;

	if (held->fd >= 0) {
		check_again(reader, held);
		if (--held->looks)
			return;
	}
	let_go(held);
	if (!take(reader, held, file)) {
		let_go(held);
		return;
	}
	switch (next_random(&reader->random) % 4) {
	case 0:
		check_stream(reader, held);
		break;
	case 1:
		map(reader, held);
		if (held->map)
			check_map_whole(held);
		break;
	case 2:
		map(reader, held);
		check_piece(reader, held);
		break;
	default:
		check_piece(reader, held);
		break;
	}
}

static bool has_at_least(const atomic_uint_least64_t *count)
{
	return atomic_load(count) >= limits->at_least;
}

/* On a busy machine the time alone may be too short. */
static bool is_time_over(void)
{
	if (atomic_load(&shared->is_over))
		return true;
	return now_s() >= limit_s &&
	       (!limits->at_least ||
		(has_at_least(&shared->counts[OPENS]) && has_at_least(&shared->counts[VERIFIED]) &&
		 has_at_least(&shared->versions)));
}

static void *reader_main(void *arg)
{
	struct reader *reader = arg;
	struct beat *beat = reader->beat;

	atomic_store(&beat->since_ms, now_ms());
	atomic_store(&beat->thread, gettid());
	for (uint64_t i = 0; !is_time_over() && (!limits->iterations || i < limits->iterations);
	     i++) {
		visit(reader);
		atomic_store(&beat->since_ms, now_ms());
	}
	for (size_t i = 0; i < HELD_MAX; i++) {
		if (reader->held[i].fd >= 0)
			check_again(reader, &reader->held[i]);
		let_go(&reader->held[i]);
		atomic_store(&beat->since_ms, now_ms());
	}
	atomic_store(&beat->thread, 0);
	return NULL;
}

static int process_main(unsigned process, uint64_t seed)
{
	unsigned n_threads = limits->threads, started = 0;
	struct reader *readers = calloc(n_threads, sizeof(*readers));

	if (!readers)
		return 1;
	for (; started < n_threads; started++) {
		struct reader *reader = &readers[started];
		reader->random = seed * 1000003 + started + 1;
		reader->buf = aligned_alloc(PROOF_BLOCK, READ_BYTES);
		reader->labels = calloc(n_files, sizeof(*reader->labels));
		reader->beat = &shared->beats[process * n_threads + started];
		for (size_t i = 0; i < HELD_MAX; i++)
			reader->held[i].fd = -1;
		if (!reader->buf || !reader->labels ||
		    pthread_create(&reader->thread, NULL, reader_main, reader) != 0)
			break;
	}
	for (unsigned i = 0; i < started; i++) {
		pthread_join(readers[i].thread, NULL);
		free(readers[i].buf);
		free(readers[i].labels);
	}
	free(readers);
	return started == n_threads ? 0 : 1;
}

static int add_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	if (ftw->level && path[ftw->base] == '.')
		return type == FTW_D ? FTW_SKIP_SUBTREE : FTW_CONTINUE;
	if (type == FTW_F && n_files < FILES_MAX && (files[n_files] = strdup(path)))
		n_files++;
	return FTW_CONTINUE;
}

static int report(void)
{
	bool bad = false;

	for (int i = 0; i < COUNTS; i++) {
		printf("%s%s=%" PRIu64, i ? " " : "", count_names[i],
		       (uint64_t)atomic_load(&shared->counts[i]));
		bad |= i >= TORN && atomic_load(&shared->counts[i]);
	}
	printf(" files=%zu versions=%" PRIu64 " bytes=%" PRIu64 " longest_us=%" PRIu64 "\n",
	       n_files, (uint64_t)atomic_load(&shared->versions),
	       (uint64_t)atomic_load(&shared->bytes), (uint64_t)atomic_load(&shared->longest_us));
	return bad ? 1 : 0;
}

/* Appends the kernel stack of the waiting thread, for diagnosis. */
static void tell_hung(pid_t pid, int thread, int64_t for_ms)
{
	char path[64], stack[4096];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stack", pid, thread);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, stack, sizeof(stack) - 1);
	if (fd >= 0)
		close(fd);
	stack[got < 0 ? 0 : got] = '\0';
	complain(HUNG, "thread %d has waited for %" PRId64 " ms:\n%s", thread, for_ms, stack);
}

static bool any_hung(const pid_t *pids)
{
	bool found = false;

	for (unsigned i = 0; i < limits->processes * limits->threads; i++) {
		struct beat *beat = &shared->beats[i];
		int thread = atomic_load(&beat->thread);
		int64_t for_ms = now_ms() - atomic_load(&beat->since_ms);
		if (!thread || for_ms < (int64_t)limits->patience_s * 1000)
			continue;
		tell_hung(pids[i / limits->threads], thread, for_ms);
		found = true;
	}
	return found;
}

/* Waits until all have ended, or some hang. A hanging one cannot be killed or waited for. */
static int wait_for_readers(const pid_t *pids, unsigned n_running)
{
	const struct timespec pause = { .tv_nsec = 20 * 1000 * 1000 };
	int failed = 0, status;
	pid_t pid;

	while (n_running) {
		while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
			failed += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
			n_running--;
		}
		if (n_running && any_hung(pids)) {
			for (unsigned i = 0; i < limits->processes; i++)
				if (pids[i] > 0)
					kill(pids[i], SIGKILL);
			return failed + 1;
		}
		if (n_running)
			nanosleep(&pause, NULL);
	}
	return failed;
}

int torture_read(const char *dir, const struct torture_limits *given)
{
	pid_t pids[THREADS_MAX] = { 0 };
	unsigned n_running = 0;

	top = dir;
	limits = given;
	limit_s = now_s() + limits->seconds;
	if (limits->processes > THREADS_MAX || limits->threads > THREADS_MAX ||
	    limits->processes * limits->threads > THREADS_MAX || !limits->looks) {
		fprintf(stderr, "torture: at most %d readers, and at least 1 look\n", THREADS_MAX);
		return 2;
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED || nftw(top, add_file, 16, FTW_PHYS | FTW_ACTIONRETVAL) != 0) {
		fprintf(stderr, "torture: %s: %s\n", top, strerror(errno));
		return 2;
	}
	if (!n_files) {
		fprintf(stderr, "torture: no files below %s\n", top);
		return 2;
	}
	signal(SIGBUS, on_sigbus);
	signal(SIGTERM, on_sigterm);
	for (unsigned i = 0; i < limits->processes; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			_exit(process_main(i, (uint64_t)getpid()));
		n_running += pids[i] > 0;
	}
	int failed = (int)(limits->processes - n_running) + wait_for_readers(pids, n_running);
	if (failed)
		fprintf(stderr, "torture: %d of %u processes failed\n", failed, limits->processes);
	return report() || failed ? 1 : 0;
}
