/* store: many threads, a failing commit among others, kill -9 at any time, no O_TMPFILE. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "base/cancel.h"
#include "base/clock.h"
#include "base/log.h"
#include "store_fixture.h"

#define N_THREADS 8
#define N_COMMITS 25

struct committer {
	pthread_t thread;
	struct store *store;
	char term[8];
	unsigned n_failed;
	unsigned n_wrong;
	uint64_t last_id;
	int64_t last_ms;
};

/* Commits, and releases the superseded snapshots. */
static void *commit_many(void *arg)
{
	struct committer *committer = arg;
	struct err err = ERR_INIT;
	struct snapshot *previous = NULL;

	for (unsigned i = 1; i <= N_COMMITS; i++) {
		struct snapshot *snapshot = NULL;

		if (commit_body(committer->store, committer->term, i, 2, &snapshot, &err) < 0) {
			committer->n_failed++;
			continue;
		}
		if (snapshot->id <= committer->last_id ||
		    snapshot->published_at_ms <= committer->last_ms)
			committer->n_wrong++;
		committer->last_id = snapshot->id;
		committer->last_ms = snapshot->published_at_ms;
		if (previous) {
			store_release(committer->store, previous);
			snapshot_unref(previous);
		}
		previous = snapshot;
	}
	snapshot_unref(previous);
	return NULL;
}

static void test_threads(void)
{
	const char *dir = fixture_new();

	/* The last statement of a commit fails for one of the terms. */
	store_close(open_or_bail(dir));
	tamper(dir, "CREATE TRIGGER t BEFORE UPDATE OF current ON term WHEN NEW.name = 'bad'"
		    " BEGIN SELECT RAISE(ABORT, 'refused by the test'); END");
	struct store *store = open_or_bail(dir);
	struct committer committers[N_THREADS + 1] = { 0 };
	unsigned n_failed = 0, n_wrong = 0, n_current = 0;

	for (unsigned i = 0; i <= N_THREADS; i++) {
		committers[i].store = store;
		if (i < N_THREADS)
			snprintf(committers[i].term, sizeof(committers[i].term), "t%u", i);
		else
			snprintf(committers[i].term, sizeof(committers[i].term), "bad");
		pthread_create(&committers[i].thread, NULL, commit_many, &committers[i]);
	}
	for (unsigned i = 0; i <= N_THREADS; i++)
		pthread_join(committers[i].thread, NULL);
	for (unsigned i = 0; i < N_THREADS; i++) {
		n_failed += committers[i].n_failed;
		n_wrong += committers[i].n_wrong;
		n_current += load_id(store, committers[i].term) == committers[i].last_id;
	}
	is_int(n_failed, 0, "the good commits succeed");
	is_int(committers[N_THREADS].n_failed, N_COMMITS, "only the bad ones fail");
	is_int(n_wrong, 0, "ids and times of publishing of each term rise");
	is_int(n_current, N_THREADS, "the last commit of each term is the current one");
	store_close(store);
	is_int(tamper(dir, "SELECT count(*) FROM term WHERE name = 'bad'"), 0,
	       "a failed commit leaves no term in the catalog");
	is_int(tamper(dir, "SELECT count(*) FROM snapshot"), N_THREADS * 3,
	       "a failed commit leaves no snapshot in the catalog");
	is_int(count_files(dir), N_THREADS * 3,
	       "only the files of the current and the history are left");
	store = open_or_bail(dir);
	is_int(count_snapshots(store), N_THREADS * 3, "the count is right");
	store_close(store);
	fixture_end();
}

/* What the store has acknowledged to the child; shared memory. */
struct acknowledged {
	_Atomic uint64_t id[N_THREADS];
	_Atomic unsigned version[N_THREADS];
};

struct victim {
	pthread_t thread;
	struct store *store;
	unsigned index;
	unsigned next_version;
	struct acknowledged *acknowledged;
};

static void *commit_for_ever(void *arg)
{
	struct victim *victim = arg;
	char term[8];

	snprintf(term, sizeof(term), "t%u", victim->index);
	for (unsigned version = victim->next_version;; version++) {
		uint64_t id = commit_id(victim->store, term, version, 1);

		if (id == 0)
			_exit(1);
		atomic_store(&victim->acknowledged->version[victim->index], version);
		atomic_store(&victim->acknowledged->id[victim->index], id);
	}
}

static void be_victim(const char *dir, struct acknowledged *acknowledged)
{
	struct store *store = open_or_bail(dir);
	struct victim victims[4];

	for (unsigned i = 0; i < ARRAY_SIZE(victims); i++) {
		victims[i] = (struct victim){ .store = store,
					      .index = i,
					      .next_version = acknowledged->version[i] + 1,
					      .acknowledged = acknowledged };
		pthread_create(&victims[i].thread, NULL, commit_for_ever, &victims[i]);
	}
	pause();
}

static unsigned count_acknowledged(const struct acknowledged *acknowledged)
{
	unsigned n = 0;

	for (unsigned i = 0; i < N_THREADS; i++)
		n += acknowledged->version[i];
	return n;
}

/* Every third time at any time, else some time after the child began to commit. */
static void wait_for_a_bad_moment(unsigned round, const struct acknowledged *acknowledged)
{
	struct timespec pause_ms = { 0, 1000000 };
	struct timespec delay = { 0, rand() % 20000000 };
	unsigned before = count_acknowledged(acknowledged);

	for (int i = 0; i < 5000 && round % 3 && count_acknowledged(acknowledged) == before; i++)
		nanosleep(&pause_ms, NULL);
	nanosleep(&delay, NULL);
}

/* The version must be the last acknowledged one, or the next if the child was killed before the
 * acknowledgement, and have its bytes. */
static bool is_as_promised(struct store *store, unsigned index, struct acknowledged *acknowledged,
			   struct cancel *cancel)
{
	char term[8], expected[BODY_MAX];
	uint8_t sha256[DIGEST_SIZE];
	struct err err = ERR_INIT;
	unsigned version = 0;

	snprintf(term, sizeof(term), "t%u", index);
	struct snapshot *snapshot = load(store, term);
	if (!snapshot)
		return acknowledged->version[index] == 0;
	sscanf(snapshot->version, "v%u", &version);
	body_fill(version, expected);
	digest_of(expected, body_size(version), sha256, &err);
	atomic_store(&snapshot->integrity, SNAPSHOT_UNVERIFIED);
	bool good = (version == acknowledged->version[index] ||
		     version == acknowledged->version[index] + 1) &&
		    snapshot->id >= acknowledged->id[index] &&
		    memcmp(sha256, snapshot->sha256, DIGEST_SIZE) == 0 &&
		    store_verify(store, snapshot, cancel, &err) == 0;
	if (!good)
		printf("# %s: version %u, acknowledged %u; %s\n", term, version,
		       acknowledged->version[index], err.msg);
	acknowledged->version[index] = version;
	acknowledged->id[index] = snapshot->id;
	snapshot_unref(snapshot);
	return good;
}

static void test_kill(void)
{
	const char *dir = fixture_new();
	struct acknowledged *acknowledged = mmap(NULL, sizeof(*acknowledged),
						 PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
						 -1, 0);
	unsigned n_bad = 0, n_orphans = 0, n_repeated = 0, n_ended = 0;
	struct cancel cancel;
	struct err err = ERR_INIT;

	cancel_init(&cancel, &err);
	log_set_level(LOG_LEVEL_WARNING);
	srand((unsigned)clock_wall_ns());
	fflush(stdout);
	for (unsigned round = 0; round < 40; round++) {
		pid_t pid = fork();
		int status = 0;

		if (pid == 0) {
			be_victim(dir, acknowledged);
			_exit(2);
		}
		wait_for_a_bad_moment(round, acknowledged);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		n_ended += !WIFSIGNALED(status);

		struct store *store = open_or_bail(dir);
		uint64_t last_id = 0;
		for (unsigned i = 0; i < 4; i++) {
			n_bad += !is_as_promised(store, i, acknowledged, &cancel);
			if (acknowledged->id[i] > last_id)
				last_id = acknowledged->id[i];
		}
		n_orphans += count_files(dir) != count_snapshots(store);
		n_repeated += commit_id(store, "other", round, 0) <= last_id;
		store_close(store);
	}
	is_int(n_ended, 0, "the child was killed 40 times");
	is_int(n_bad, 0, "each term has its last acknowledged snapshot, or the next");
	is_int(n_orphans, 0, "no file without a row, no row without a file");
	is_int(n_repeated, 0, "no id is given twice");
	printf("# %u commits\n", count_acknowledged(acknowledged));
	ok(count_acknowledged(acknowledged) >= 40, "there were commits");
	cancel_release(&cancel);
	munmap(acknowledged, sizeof(*acknowledged));
	fixture_end();
}

/* From now on O_TMPFILE fails in this process. */
static bool forbid_tmpfile(void)
{
	const uint32_t flag = O_TMPFILE & ~O_DIRECTORY;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, flag, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { ARRAY_SIZE(code), code };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* Runs in a child process, since the filter cannot be removed. Returns the exit code. */
static int use_named_files(const char *dir)
{
	struct store *store = open_or_bail(dir);
	struct err err = ERR_INIT;
	struct store_writer *writer = NULL;

	if (!forbid_tmpfile())
		return 77;
	if (store_writer_new(store, &writer, &err) < 0 || count_files(dir) != 1)
		return 2;
	store_writer_free(writer);
	if (count_files(dir) != 0 || commit_id(store, "x", 1, 3) == 0 || count_files(dir) != 1)
		return 3;
	/* Left behind, as after a kill. */
	if (store_writer_new(store, &writer, &err) < 0)
		return 4;
	return 0;
}

static void test_named_files(void)
{
	const char *dir = fixture_new();
	int status = 0;

	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0)
		_exit(use_named_files(dir));
	waitpid(pid, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		ok(true, "named files # SKIP no seccomp");
		fixture_end();
		return;
	}
	is_int(status, 0, "a store works without O_TMPFILE");
	is_int(count_files(dir), 2, "the temporary file is left");
	struct store *store = open_or_bail(dir);
	is_int(count_files(dir), 1, "the next opening deletes it");
	ok(load_id(store, "x") != 0, "the committed snapshot is there");
	store_close(store);
	fixture_end();
}

int main(void)
{
	test_threads();
	test_kill();
	test_named_files();
	return tap_done();
}
