/*
 * store: each of its system calls fails once, and then from that call on.
 *
 * An operation is run on a copy of a prepared store, in a process of its own: first to count its
 * calls, then for each call, error and ending. "Goes on": the fault is over, the operation is
 * repeated, and the store closed and opened. "Killed": the process ends right after the operation.
 *
 * Checked each time: no crash; an error that names the store and the cause; the term shows what it
 * showed before (after success: what it should); the other term is unchanged; bytes are complete;
 * files and rows agree after the next opening; no id is given twice.
 *
 * Each call fails with one of its errors, in turn. With the argument "all", with each of them.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/cancel.h"
#include "base/log.h"
#include "faults.h"
#include "store_operations.h"

/* How many calls of one operation fail, spread over all of them. */
#if defined(__SANITIZE_THREAD__) /* one thread: it finds nothing here */
#	define FILE_CALLS_MAX	 1
#	define MEMORY_CALLS_MAX 1
#	define FAULTS_MIN	 50
#elif defined(__SANITIZE_ADDRESS__)
#	define FILE_CALLS_MAX	 2
#	define MEMORY_CALLS_MAX 2
#	define FAULTS_MIN	 100
#else
#	define FILE_CALLS_MAX	 FAULTS_KINDS /* all */
#	define MEMORY_CALLS_MAX 8
#	define FAULTS_MIN	 2000
#endif
#define HUNG_AFTER_S 100

static bool plays_all;	      /* all errors of each call; else one, in turn */
static struct faults *faults; /* shared with children, as the report */

static struct report {
	char wrong[1024]; /* empty: nothing */
	unsigned n_points;
	unsigned n_survived; /* the operation succeeded all the same */
} * report;

struct point {
	uint32_t first, count, error;
	uint32_t failing; /* kinds of calls; 0: all */
	bool is_killed;
};

/* ------------------------------------------------------------------ checks */

__attribute__((format(printf, 1, 2))) static bool wrong(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(report->wrong, sizeof(report->wrong), fmt, args);
	va_end(args);
	return false;
}

static bool shows(struct store *store, const char *term, unsigned version, const char *when)
{
	struct err err = ERR_INIT;
	struct snapshot *snapshot = load(store, term);
	char name[24];
	bool good = true;

	snprintf(name, sizeof(name), "v%u", version);
	if (!snapshot)
		return version == 0 || wrong("%s: %s is gone", when, term);
	if (version == 0 || strcmp(snapshot->version, name) != 0)
		good = wrong("%s: %s shows %s instead of %s", when, term, snapshot->version, name);
	atomic_store(&snapshot->integrity, SNAPSHOT_UNVERIFIED);
	if (good && store_verify(store, snapshot, &cancel, &err) < 0)
		good = wrong("%s: %s", when, err.msg);
	snapshot_unref(snapshot);
	return good;
}

static unsigned version_of(struct store *store, const char *term)
{
	struct snapshot *snapshot = load(store, term);
	unsigned version = 0;

	if (snapshot)
		sscanf(snapshot->version, "v%u", &version);
	snapshot_unref(snapshot);
	return version;
}

static bool is_consistent_when_opened(const struct scene *scene, const struct operation *operation,
				      bool succeeded)
{
	struct err err = ERR_INIT;
	struct store *store = NULL;
	uint64_t last_id = 0;

	if (open_fresh(&store, scene->dir, &err) < 0)
		return wrong("opening afterwards: %s", err.msg);
	/* After a kill, an operation that failed at its very end may have taken effect. */
	unsigned a = version_of(store, "a");
	bool good = (a == operation->a_after || (!succeeded && a == operation->a_before) ||
		     wrong("opened: a shows v%u, v%u before, v%u after", a, operation->a_before,
			   operation->a_after)) &&
		    shows(store, "a", a, "opened") && shows(store, "b", operation->b, "opened");
	if (good && count_files(scene->dir) != count_snapshots(store))
		good = wrong("%u files, %" PRIu64 " rows", count_files(scene->dir),
			     count_snapshots(store));
	if (load_id(store, "a") > last_id)
		last_id = load_id(store, "a");
	if (load_id(store, "new") > last_id)
		last_id = load_id(store, "new");
	uint64_t id = commit_id(store, "a", 9, 1);
	if (good && (id <= last_id || !shows(store, "a", 9, "opened and updated")))
		good = report->wrong[0] ? false
					: wrong("id %" PRIu64 " after %" PRIu64, id, last_id);
	store_close(store);
	return good;
}

static const char *const call_names[FAULT_CALLS] = {
	"open", "create", "read",   "write",  "sync",	"truncate", "rename",
	"link", "unlink", "mkdir",  "stat",   "list",	"lock",	    "seek",
	"mmap", "memory", "socket", "accept", "thread",
};

static bool says_what_is_wrong(const struct scene *scene, const struct err *err, uint32_t error)
{
	int number = (int)(error & (FAULT_HALF - 1));

	/* SQLite reports a failing lock as one that is held, and tries to open a file in another
	 * way. Lack of memory names no file. */
	if (err->kind != ERR_NONE &&
	    (number == ENOMEM ? err->msg[0] != '\0'
			      : strstr(err->msg, scene->dir) &&
					(strstr(err->msg, strerror(number)) ||
					 strstr(err->msg, "database is locked") ||
					 strstr(err->msg, "unable to open database file"))))
		return true;
	return wrong("kind %s, \"%s\"", err_kind_name(err->kind), err->msg);
}

/* ------------------------------------------------------------------ running */

static int open_scene(const struct operation *operation, struct scene *scene, struct err *err)
{
	return open_mount(&scene->store, scene->dir, operation->takes_over ? killed_mount : 0, err);
}

static int run_once(const struct operation *operation, struct scene *scene, struct err *err)
{
	return operation->run ? operation->run(scene, err) : open_scene(operation, scene, err);
}

static bool goes_on(const struct operation *operation, struct scene *scene)
{
	struct err err = ERR_INIT;

	/* Only after a failure: not every operation can be done twice. */
	if (run_once(operation, scene, &err) < 0)
		return wrong("repeated: %s", err.msg);
	if (!scene->store)
		return true;
	return shows(scene->store, "a", operation->a_after, "then") &&
	       shows(scene->store, "b", operation->b, "then");
}

/* A file that could not be deleted is gone after the next write. */
static bool leaves_nothing(const struct operation *operation, const struct scene *scene)
{
	/* Taking over does not remove orphans; store_remove_orphans() does. */
	if (!scene->store || operation->takes_over)
		return true;
	if (commit_id(scene->store, "z", 1, 1) == 0)
		return wrong("no update afterwards");
	unsigned n_files = count_files(scene->dir);
	uint64_t n_rows = count_snapshots(scene->store);
	return n_files <= n_rows ||
	       wrong("still open: %u files, %" PRIu64 " rows", n_files, n_rows);
}

/* Runs in a child process. */
static void play(const struct operation *operation, struct scene *scene, const struct point *point)
{
	struct err err = ERR_INIT;

	if (operation->run && open_scene(operation, scene, &err) < 0) {
		wrong("opening before the operation: %s", err.msg);
		return;
	}
	if (operation->prepare)
		operation->prepare(scene);
	faults->first = point ? point->first : 0;
	faults->count = point ? point->count : 0;
	faults->error = point ? point->error : 0;
	faults->failing = point ? point->failing : 0;
	faults_set(faults, point ? FAULTS_FAIL : FAULTS_COUNT);
	int result = run_once(operation, scene, &err);
	atomic_store(&faults->mode, FAULTS_OFF);

	report->n_survived += result == 0;
	if (point && point->is_killed)
		_exit(result == 0 ? 0 : 1);
	if (result < 0) {
		if (scene->store &&
		    (!shows(scene->store, "a", operation->a_before, "after the fault") ||
		     !shows(scene->store, "b", operation->b, "after the fault")))
			return;
		if (!goes_on(operation, scene))
			return;
	}
	if (!leaves_nothing(operation, scene))
		return;
	snapshot_unref(scene->snapshot);
	store_close(scene->store);
	if (is_consistent_when_opened(scene, operation, true) && result < 0)
		says_what_is_wrong(scene, &err, faults->error);
}

/* Returns true if all checks passed. */
static bool play_in_child(const struct operation *operation, const char *template,
			  const struct point *point)
{
	struct scene scene = { .store = NULL };
	int status = 0;

	snprintf(scene.dir, sizeof(scene.dir), "%.200s/scene", fixture_dir);
	copy_tree(template, scene.dir);
	report->wrong[0] = '\0';
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		alarm(HUNG_AFTER_S);
		play(operation, &scene, point);
		exit(0); /* runs the leak check */
	}
	waitpid(pid, &status, 0);
	atomic_store(&faults->mode, FAULTS_OFF);
	bool good = !report->wrong[0];
	if (WIFSIGNALED(status))
		good = wrong("killed by %s", strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status) > 1)
		good = wrong("exit code %d", WEXITSTATUS(status));
	else if (good && point && point->is_killed)
		good = is_consistent_when_opened(&scene, operation, WEXITSTATUS(status) == 0);
	remove_tree(scene.dir);
	return good;
}

static const uint32_t *errors_of(enum fault_call call)
{
	static const uint32_t opening[] = { EIO, EMFILE, 0 };
	static const uint32_t making[] = { ENOSPC, EROFS, EMFILE, 0 };
	static const uint32_t creating[] = { ENOSPC, EMFILE, EOPNOTSUPP, 0 };
	static const uint32_t reading[] = { EIO, EINTR, FAULT_HALF, 0 };
	static const uint32_t writing[] = {
		ENOSPC, EIO, EDQUOT, EINTR, FAULT_HALF, FAULT_HALF | ENOSPC, FAULT_HALF | EIO, 0
	};
	static const uint32_t syncing[] = { EIO, ENOSPC, 0 };
	static const uint32_t changing[] = { EIO, EROFS, ENOSPC, 0 };
	static const uint32_t locking[] = { EIO, ENOLCK, 0 };
	static const uint32_t other[] = { EIO, 0 };
	static const uint32_t memory[] = { ENOMEM, 0 };

	switch (call) {
	case FAULT_OPEN:
		return opening;
	case FAULT_CREATE:
		return creating;
	case FAULT_READ:
		return reading;
	case FAULT_WRITE:
		return writing;
	case FAULT_SYNC:
		return syncing;
	case FAULT_RENAME:
	case FAULT_LINK:
	case FAULT_UNLINK:
	case FAULT_TRUNCATE:
		return changing;
	case FAULT_MKDIR:
		return making;
	case FAULT_LOCK:
		return locking;
	case FAULT_STAT:
	case FAULT_LIST:
	case FAULT_SEEK:
		return other;
	case FAULT_MAP:
	case FAULT_MEMORY:
	case FAULT_SOCKET:
	case FAULT_ACCEPT:
	case FAULT_THREAD:
	case FAULT_CALLS:
		break;
	}
	return memory;
}

/* Errors after which the call is repeated until it succeeds: they cannot last. */
static bool is_repeated(uint32_t error)
{
	return error == EINTR || error == FAULT_HALF || error == ENOLCK;
}

static bool changes_something(enum fault_call call)
{
	const uint32_t looks = 1u << FAULT_OPEN | 1u << FAULT_READ | 1u << FAULT_STAT |
			       1u << FAULT_LIST | 1u << FAULT_LOCK | 1u << FAULT_SEEK;

	return !(looks & 1u << call);
}

/* Runs one error of one call, with each ending. */
static unsigned play_error(const struct operation *operation, const char *template, uint32_t first,
			   enum fault_call call, uint32_t error)
{
	const struct point endings[] = {
		{ .count = 1 },
		{ .count = UINT32_MAX },
		{ .count = 1, .is_killed = true },
		{ .count = UINT32_MAX, .is_killed = true, .failing = 1u << call },
	};
	unsigned n_wrong = 0;

	for (size_t i = 0; i < ARRAY_SIZE(endings); i++) {
		struct point point = endings[i];

		if ((point.count > 1 && is_repeated(error)) ||
		    (point.is_killed && !changes_something(call)))
			continue;
		point.first = first;
		point.error = error;
		report->n_points++;
		if (play_in_child(operation, template, &point))
			continue;
		n_wrong++;
		printf("# %s, call %u (%s), %s%s, %s%s: %s\n", operation->name, first,
		       call_names[call], strerror(error & (FAULT_HALF - 1)),
		       error & FAULT_HALF ? " after half" : "",
		       point.count > 1 ? "for good" : "once", point.is_killed ? ", killed" : "",
		       report->wrong);
	}
	return n_wrong;
}

static unsigned play_call(const struct operation *operation, const char *template, uint32_t first,
			  enum fault_call call)
{
	const uint32_t *errors = errors_of(call);
	unsigned n = 0, n_wrong = 0;

	while (errors[n])
		n++;
	for (unsigned i = 0; i < (plays_all ? n : 1); i++)
		n_wrong += play_error(operation, template, first, call, errors[(first + i) % n]);
	return n_wrong;
}

/* Returns the number of points. max: of calls. */
static unsigned play_operation(const struct operation *operation, uint32_t calls, uint32_t max)
{
	char template[PATH_MAX + 16];
	unsigned n_wrong = 0;
	static uint8_t kinds[FAULTS_KINDS];

	snprintf(template, sizeof(template), "%s/template", fixture_dir);
	mkdir(template, 0700);
	operation->make(template);
	faults->calls = calls;
	bool good = play_in_child(operation, template, NULL);
	uint32_t n = faults->seen < FAULTS_KINDS ? faults->seen : FAULTS_KINDS;
	if (!ok(good, "%s: without faults, %u calls%s", operation->name, n,
		calls == 1u << FAULT_MEMORY ? " for memory" : ""))
		printf("# %s\n", report->wrong);
	memcpy(kinds, faults->kinds, sizeof(kinds));
	report->n_points = report->n_survived = 0;
	for (uint32_t i = 0; i < n; i += 1 + (n - 1) / max)
		n_wrong += play_call(operation, template, i, kinds[i]);
	is_int(n_wrong, 0, "%s: %u faults, %u survived", operation->name, report->n_points,
	       report->n_survived);
	remove_tree(template);
	return report->n_points;
}

static void *share_memory(size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

int main(int argc, char **argv)
{
	const uint32_t files = (1u << FAULT_MEMORY) - 1;
	unsigned n_points = 0;
	struct err err = ERR_INIT;

	plays_all = argc > 1 && strcmp(argv[1], "all") == 0;
	/* fsync does not matter here, and tmpfs is faster. */
	setenv("TMPDIR", "/dev/shm", 0);
	fixture_new();
	faults = share_memory(sizeof(*faults));
	report = share_memory(sizeof(*report));
	cancel_init(&cancel, &err);
	faults_apply(faults);
	log_set_level(LOG_LEVEL_ERROR);
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
		n_points += play_operation(&operations[i], files, FILE_CALLS_MAX);
	ok(n_points >= FAULTS_MIN, "%u faults in calls on files", n_points);
	for (size_t i = 0; i < ARRAY_SIZE(operations) && faults_reach_memory; i++)
		play_operation(&operations[i], 1u << FAULT_MEMORY, MEMORY_CALLS_MAX);
	cancel_release(&cancel);
	fixture_end();
	return tap_done();
}
