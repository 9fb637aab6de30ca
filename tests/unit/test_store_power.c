/*
 * store: power cuts. What several threads do to a store, including SQLite's writes, is recorded
 * once (power_record.h), and cut off after each record. Of what is not durable by then, nothing is
 * left, or everything, or only names and lengths, or only bytes, or a random part (power_replay.h).
 * The store is opened on each of these disks, and checked:
 *	- It opens, and the catalog is not taken for damaged.
 *	- Each term has the snapshot of the last commit that succeeded, or of one that was running,
 *	  never an older one; its file exists and has the right length and digest.
 *	- A refusal that was reported as recorded is there.
 *	- No id that was returned is given again.
 *	- Every file has a row, and every row a file.
 */
#include "power_replay.h"
#include "store_fixture.h"

#include <sqlite3.h>

#include "base/cancel.h"
#include "base/log.h"
#include "store/catalog_internal.h"
#include "store/store_state.h"

#define N_TERMS	    3
#define N_STEPS	    13
#define N_STEPS_ALL 17 /* the rest after the store was closed and opened again */
#define N_SEEDS	    3

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#	define STRIDE 11 /* a cut takes several times as long */
#else
#	define STRIDE 1
#endif

enum promised { PROMISED_STEP = 100, PROMISED_REFUSED = 200, PROMISED_ID = 300 };

enum act { ACT_COMMIT, ACT_REMOVE, ACT_REPUBLISH };

static enum act act_of(unsigned step)
{
	return step % 6 == 4 ? ACT_REMOVE : step % 6 == 5 ? ACT_REPUBLISH : ACT_COMMIT;
}

/* Which body the term has after this step; 0: none. */
static unsigned body_after(unsigned step)
{
	if (step == 0 || act_of(step) == ACT_REMOVE)
		return 0;
	return act_of(step) == ACT_COMMIT ? step : step - 2;
}

/* ------------------------------------------------------------------ recording */

struct worker {
	pthread_t thread;
	struct store *store;
	unsigned index;
	unsigned first_step;
	unsigned last_step;
	struct snapshot *last; /* committed */
	unsigned n_failed;
};

static void do_step(struct worker *worker, const char *term, unsigned step)
{
	struct err err = ERR_INIT;
	struct snapshot *next = NULL;
	int result = -1;

	switch (act_of(step)) {
	case ACT_COMMIT:
		result = commit_body(worker->store, term, step, 1, &next, &err);
		break;
	case ACT_REMOVE:
		result = store_remove_current(worker->store, term, &err);
		break;
	case ACT_REPUBLISH:
		result = store_republish(worker->store, worker->last, term, 1, &next, &err);
		break;
	}
	if (result < 0) {
		printf("# %s, step %u: %s\n", term, step, err.msg);
		worker->n_failed++;
	}
	record_promised(PROMISED_STEP + worker->index,
			(uint64_t)step << 32 | (next ? next->id : 0));
	if (!next)
		return;
	if (worker->last)
		store_release(worker->store, worker->last);
	snapshot_unref(worker->last);
	worker->last = next;
}

static void ask_directory(struct store *store, const char *path)
{
	struct err err = ERR_INIT;
	uint64_t id = 0;

	if (store_directory_id(store, path, &id, &err) == 0)
		record_promised(PROMISED_ID, id);
}

/* Runs beside the committing threads. */
static void do_more(struct worker *worker, const char *term, unsigned step)
{
	struct err err = ERR_INIT;
	char text[24];

	snprintf(text, sizeof(text), "%s-%u", term, step);
	if (step % 6 == 1)
		ask_directory(worker->store, text);
	if (step % 6 == 2)
		store_set_token(worker->store, term, text, 1, &err);
	if (step % 6 == 3 && store_refuse(worker->store, term, 1, text, "r", &err) == 0)
		record_promised(PROMISED_REFUSED + worker->index, step);
	if (step % 6 == 0)
		store_set_confirmed(worker->store, term, 5000, &err);
}

static void *work(void *arg)
{
	struct worker *worker = arg;
	char term[8];

	snprintf(term, sizeof(term), "t%u", worker->index);
	for (unsigned step = worker->first_step; step <= worker->last_step; step++) {
		do_step(worker, term, step);
		do_more(worker, term, step);
	}
	return NULL;
}

static void work_all(struct worker *workers, struct store *store, unsigned first, unsigned last)
{
	/* The log must be checkpointed while threads commit. */
	sqlite3_wal_autocheckpoint(store->catalog->db, 40);
	for (unsigned i = 0; i < N_TERMS; i++) {
		workers[i].store = store;
		workers[i].index = i;
		workers[i].first_step = first;
		workers[i].last_step = last;
		pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	}
	for (unsigned i = 0; i < N_TERMS; i++)
		pthread_join(workers[i].thread, NULL);
}

static void record_life(const char *dir)
{
	struct worker workers[N_TERMS] = { 0 };
	unsigned n_failed = 0;

	record_start(dir);
	struct store *store = open_or_bail(dir);
	ask_directory(store, "before all else");
	work_all(workers, store, 1, N_STEPS);
	store_close(store);
	store = open_or_bail(dir);
	work_all(workers, store, N_STEPS + 1, N_STEPS_ALL);
	record_stop();
	store_close(store);
	for (unsigned i = 0; i < N_TERMS; i++) {
		n_failed += workers[i].n_failed;
		snapshot_unref(workers[i].last);
	}
	is_int(n_failed, 0, "every step succeeds");
	printf("# %zu records\n", record.n);
	ok(record.n > 500, "there are more than 500 records");
}

/* ------------------------------------------------------------------ checks */

struct promise {
	unsigned step[N_TERMS];
	uint64_t id[N_TERMS];
	unsigned refused[N_TERMS];
	uint64_t max_id;
	bool may_be_empty; /* the store is being set aside */
};

static void note_promised(struct promise *promise, const struct op *op)
{
	uint64_t id = op->value;

	if (op->number >= PROMISED_STEP && op->number < PROMISED_STEP + N_TERMS) {
		unsigned term = op->number - PROMISED_STEP;

		id = (uint32_t)op->value;
		promise->step[term] = (unsigned)(op->value >> 32);
		promise->id[term] = id;
	} else if (op->number != PROMISED_ID) {
		promise->refused[op->number - PROMISED_REFUSED] = (unsigned)op->value;
		return;
	}
	if (id > promise->max_id)
		promise->max_id = id;
}

static bool holds_bytes(struct store *store, struct snapshot *snapshot, unsigned version,
			struct cancel *cancel)
{
	struct err err = ERR_INIT;
	uint8_t sha256[DIGEST_SIZE];
	char expected[BODY_MAX];

	body_fill(version, expected);
	digest_of(expected, body_size(version), sha256, &err);
	atomic_store(&snapshot->integrity, SNAPSHOT_UNVERIFIED);
	return memcmp(sha256, snapshot->sha256, DIGEST_SIZE) == 0 &&
	       store_verify(store, snapshot, cancel, &err) == 0;
}

static bool holds_term(struct store *store, unsigned index, const struct promise *promise,
		       struct cancel *cancel)
{
	unsigned step = promise->step[index], version = 0;
	char term[8];

	snprintf(term, sizeof(term), "t%u", index);
	struct snapshot *snapshot = load(store, term);
	if (snapshot)
		sscanf(snapshot->version, "v%u", &version);
	bool is_promised = version == body_after(step) &&
			   (!snapshot || snapshot->id == promise->id[index]);
	bool is_next = version == body_after(step + 1) &&
		       (!snapshot || snapshot->id > promise->id[index]);
	bool good = is_promised || is_next || (!snapshot && promise->may_be_empty);
	if (!good)
		printf("# %s: reported step %u, id %" PRIu64 "; has version %u, id %" PRIu64 "\n",
		       term, step, promise->id[index], version, snapshot ? snapshot->id : 0);
	if (good && snapshot && !holds_bytes(store, snapshot, version, cancel)) {
		printf("# %s: not the bytes of version %u\n", term, version);
		good = false;
	}
	snapshot_unref(snapshot);
	return good;
}

static bool holds_refusal(struct store *store, unsigned index, const struct promise *promise)
{
	char term[8];
	unsigned step = 0;

	snprintf(term, sizeof(term), "t%u", index);
	sscanf(find_refused(store, term, 1), "t%*u-%u", &step);
	return step >= promise->refused[index] || promise->may_be_empty;
}

static bool has_aside(const char *dir)
{
	DIR *stream = opendir(dir);
	struct dirent *entry;
	bool found = false;

	while ((entry = readdir(stream)))
		found |= strncmp(entry->d_name, "aside-", 6) == 0;
	closedir(stream);
	return found;
}

static bool holds(const char *dir, const struct promise *promise, struct cancel *cancel)
{
	struct err err = ERR_INIT;
	struct store *store = NULL;
	bool good = true, had_aside = has_aside(dir);

	if (open_fresh(&store, dir, &err) < 0) {
		printf("# %s\n", err.msg);
		return false;
	}
	if (has_aside(dir) != had_aside) {
		printf("# the catalog was set aside\n");
		good = false;
	}
	for (unsigned i = 0; i < N_TERMS && good; i++)
		good = holds_term(store, i, promise, cancel) && holds_refusal(store, i, promise);
	if (count_files(dir) != count_snapshots(store)) {
		printf("# %u files, %" PRIu64 " rows\n", count_files(dir), count_snapshots(store));
		good = false;
	}
	uint64_t id = commit_id(store, "another", 1, 0);
	if (id <= promise->max_id) {
		printf("# id %" PRIu64 " is given, %" PRIu64 " was\n", id, promise->max_id);
		good = false;
	}
	store_close(store);
	return good;
}

/* ------------------------------------------------------------------ cutting */

static const char *const fate_names[] = { "lost", "kept", "lengths only", "bytes only", "random" };

struct cutter {
	struct replay replay;
	struct promise promise;
	struct cancel cancel;
	char dir[PATH_MAX + 16];
	unsigned n_cuts;
	unsigned n_bad;
};

static void cut_once(struct cutter *cutter, size_t at, enum fate fate, unsigned seed)
{
	if (cutter->n_bad >= 5)
		return;
	mkdir(cutter->dir, 0700);
	replay_cut(&cutter->replay, cutter->dir, fate, seed);
	cutter->n_cuts++;
	if (!holds(cutter->dir, &cutter->promise, &cutter->cancel)) {
		printf("# cut behind record %zu, what did not last: %s, seed %u\n", at,
		       fate_names[fate], seed);
		cutter->n_bad++;
	}
	remove_tree(cutter->dir);
}

/* A sync makes a difference only to the fates that lose something. */
static void cut(struct cutter *cutter, size_t at)
{
	bool is_sync = record.ops[at].kind == OP_SYNC;

	if (is_sync)
		cut_once(cutter, at, FATE_LOST, 0);
	for (enum fate fate = FATE_KEPT; fate <= FATE_NAMELESS && !is_sync; fate++)
		cut_once(cutter, at, fate, 0);
	for (unsigned seed = 0; seed < N_SEEDS; seed++)
		cut_once(cutter, at, FATE_RANDOM, seed);
}

/* Cuts after each record from `first` on. */
static void cut_everywhere(size_t first, bool may_be_empty, const char *what)
{
	struct cutter *cutter = calloc(1, sizeof(*cutter));
	struct err err = ERR_INIT;

	cancel_init(&cutter->cancel, &err);
	cutter->promise.may_be_empty = may_be_empty;
	snprintf(cutter->dir, sizeof(cutter->dir), "%s/cut", fixture_dir);
	for (size_t i = 0; i < record.n; i++) {
		const struct op *op = &record.ops[i];

		replay_advance(&cutter->replay, op);
		if (op->kind == OP_PROMISED)
			note_promised(&cutter->promise, op);
		else if (i >= first && i % STRIDE == 0)
			cut(cutter, i);
	}
	printf("# %u cuts\n", cutter->n_cuts);
	ok(cutter->n_cuts > 50 / STRIDE, "%s: cut after each record", what);
	is_int(cutter->n_bad, 0, "all checks pass after each cut");
	cancel_release(&cutter->cancel);
	replay_release(&cutter->replay);
	free(cutter);
}

static void test_life(void)
{
	char dir[PATH_MAX + 16];

	snprintf(dir, sizeof(dir), "%s/live", fixture_new());
	mkdir(dir, 0700);
	record_life(dir);
	cut_everywhere(0, false, "the life of a store");
	fixture_end();
}

/* A store whose last commits are only in the log is set aside, and a new one is begun. */
static void test_set_aside(void)
{
	struct worker workers[N_TERMS] = { 0 };
	struct err err = ERR_INIT;
	char dir[PATH_MAX + 16];

	snprintf(dir, sizeof(dir), "%s/live", fixture_new());
	mkdir(dir, 0700);
	record_start(dir);
	struct store *store = open_or_bail(dir);
	work_all(workers, store, 1, 1);
	store_close(store);
	store = open_or_bail(dir);
	work_all(workers, store, 2, 3);
	sqlite3_db_config(store->catalog->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	store_close(store);
	for (unsigned i = 0; i < N_TERMS; i++)
		snapshot_unref(workers[i].last);

	size_t first = record.n;
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct store_setup setup = { .dir_fd = fd, .dir = dir, .set_aside = true };
	ok(store_open(&store, &setup, &err) == 0, "the store is set aside");
	record_stop();
	close(fd);
	store_close(store);
	cut_everywhere(first, true, "setting a store aside");
	fixture_end();
}

/* A commit fails at its very end: it is reported as failed, but all of it may be in the log. A
 * later commit changes that if it writes something. */
static void test_in_doubt(void)
{
	struct worker worker = { .index = 0 };
	struct err err = ERR_INIT;
	struct snapshot *snapshot = NULL;
	struct store_writer *writer = NULL;
	uint8_t sha256[DIGEST_SIZE];
	char dir[PATH_MAX + 16], body[BODY_MAX];

	snprintf(dir, sizeof(dir), "%s/live", fixture_new());
	mkdir(dir, 0700);
	record_start(dir);
	struct store *store = worker.store = open_or_bail(dir);
	do_step(&worker, "t0", 1);

	struct snapshot_info info = { .version = "v2", .order_key = -1 };
	body_fill(2, body);
	store_writer_new(store, &writer, &err);
	store_writer_write(writer, body, body_size(2), &err);
	store_writer_digest(writer, sha256, &err);
	size_t first = record.n;
	record.log_fails = true;
	is_int(store_commit(store, writer, "t0", &info, 1, &snapshot, &err), -1,
	       "a commit fails if its fsync fails");
	record.log_fails = false;
	store_writer_free(writer);
	is_int(load_id(store, "t0"), worker.last->id,
	       "the previous snapshot is still the current one");
	ok(store_remove_current(store, "unknown", &err) == 0,
	   "a durable transaction that writes nothing succeeds");
	is_int(count_files(dir), 2, "the file stays while its row may come back");
	do_step(&worker, "t0", 2);
	is_int(count_files(dir), 2, "the file is deleted when its row cannot come back");
	is_int(worker.n_failed, 0, "the other commits succeed");
	record_stop();
	store_close(store);
	snapshot_unref(worker.last);
	cut_everywhere(first, false, "a commit in doubt");
	fixture_end();
}

int main(void)
{
	/* fsync costs nothing on tmpfs; the replay models what it does. */
	if (access("/dev/shm", W_OK) == 0)
		setenv("TMPDIR", "/dev/shm", 1);
	log_set_level(LOG_LEVEL_ERROR + 1);
	test_life();
	test_set_aside();
	test_in_doubt();
	for (size_t i = 0; i < record.n; i++)
		free(record.ops[i].data);
	return tap_done();
}
