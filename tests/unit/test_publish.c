/* The parts of publishing: pending moves, the queue, spare memory, generations and the visitor. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faults.h"
#include "mount/namespace/generations.h"
#include "mount/namespace/pending_moves.h"
#include "mount/publish/publish_queue.h"
#include "mount/publish/spare_memory.h"
#include "mount/visitor/visitor.h"
#include "tap.h"

/* ------------------------------------------------------------------ stage */

static struct term_config config = { .name = (char *)"dir/t" };

static struct snapshot *make_snapshot(uint64_t id)
{
	struct snapshot *snapshot = snapshot_new("v", "s");

	snapshot->id = id;
	return snapshot;
}

/* How often moved() was called, and its last ids. */
struct moved_calls {
	int times;
	uint64_t from, id;
};

static void moved(void *arg, struct term *term, uint64_t from, uint64_t id)
{
	struct moved_calls *calls = arg;
	struct snapshot *current = term_current(term);

	ok((current ? current->id : 0) == id, "the name has moved when the callback runs");
	snapshot_unref(current);
	calls->times++;
	calls->from = from;
	calls->id = id;
}

static void test_pending_moves(struct pending_moves *pending, struct term *term)
{
	struct snapshot *next = make_snapshot(18), *old = NULL, *found;
	struct moved_calls calls = { 0 };
	struct term *of = NULL;

	ok(!pending_moves_find(pending, "18", &of), "nothing is staged");
	ok(!pending_moves_rename(pending, "18", term, moved, &calls), "nothing can be moved");
	struct pending_move *move = pending_moves_begin(pending, term, next);
	found = pending_moves_find(pending, "18", &of);
	ok(found == next && of == term, "a staged snapshot is found by its id");
	snapshot_unref(found);
	ok(!pending_moves_find(pending, "018", &of) && !pending_moves_find(pending, "1", &of),
	   "it is not found by another text");
	ok(!pending_moves_rename(pending, "16", term, moved, &calls), "another id is refused");
	ok(!pending_moves_remove(pending, term, moved, &calls), "removing the name is refused");
	is_int(calls.times, 0, "the callback was not called");
	ok(pending_moves_rename(pending, "18", term, moved, &calls), "the name moves");
	ok(calls.times == 1 && calls.from == 17 && calls.id == 18, "the callback gets the ids");
	ok(!pending_moves_find(pending, "18", &of), "the snapshot is no longer staged");
	ok(pending_moves_rename(pending, "18", term, moved, &calls) && calls.times == 1,
	   "moving it again succeeds without a callback");
	ok(pending_moves_end(pending, move, &old) && old && old->id == 17,
	   "the end returns the previous snapshot");
	snapshot_unref(old);
	snapshot_unref(next);
}

static void test_pending_withdraws(struct pending_moves *pending, struct term *term)
{
	struct snapshot *next = make_snapshot(19), *old = NULL;
	struct moved_calls calls = { 0 };
	struct pending_move *move = pending_moves_begin(pending, term, next);

	ok(!pending_moves_end(pending, move, &old) && !old, "the move ends without a rename");
	ok(!pending_moves_rename(pending, "19", term, moved, &calls), "a later rename is refused");
	struct snapshot *current = term_current(term);
	is_int(current->id, 18, "the name still points to the old snapshot");
	snapshot_unref(current);
	snapshot_unref(next);
	move = pending_moves_begin(pending, term, NULL);
	ok(pending_moves_remove(pending, term, moved, &calls), "the name is removed");
	ok(pending_moves_end(pending, move, &old) && old && old->id == 18,
	   "the end returns the last snapshot");
	snapshot_unref(old);
	ok(pending_moves_remove(pending, term, moved, &calls) && calls.times == 1,
	   "removing it again succeeds without a callback");
}

static void test_pending(void)
{
	struct err err = ERR_INIT;
	struct pending_moves *pending = NULL;
	struct term term;

	ok(pending_moves_new(&pending, &err) == 0 &&
		   term_init(&term, &config, make_snapshot(17), NULL, &err) == 0,
	   "pending_moves_new");
	test_pending_moves(pending, &term);
	test_pending_withdraws(pending, &term);
	struct snapshot *left = make_snapshot(20);
	pending_moves_begin(pending, &term, left);
	snapshot_unref(left);
	pending_moves_free(pending); /* with moves that have not ended */
	pending_moves_free(NULL);
	term_release(&term);
}

/* ------------------------------------------------------------------ generations */

static void test_generations(void)
{
	struct err err = ERR_INIT;
	struct generations *words = NULL;
	char bytes[32];
	uint64_t word;

	ok(generations_new(&words, &err) == 0, "generations_new");
	is_int(generations_used(words), 8, "word 0 is always used");
	generations_raise(words, 3, 300);
	generations_raise(words, 1, 100);
	is_int(generations_word(words, 3), 300, "a word is raised");
	is_int(generations_word(words, 0), 300, "word 0 is the largest");
	generations_raise(words, 3, 299);
	is_int(generations_word(words, 3), 300, "a word never falls");
	is_int(generations_used(words), 32, "the size covers the last slot in use");
	is_int(generations_read(words, bytes, sizeof(bytes), 0), 32, "all words are read");
	memcpy(&word, bytes + 24, sizeof(word));
	is_int(le64toh(word), 300, "little-endian");
	is_int(generations_read(words, bytes, 3, 25), 3, "reading can begin inside a word");
	is_int((uint8_t)bytes[0], 300 >> 8, "its bytes are right");
	is_int(generations_read(words, bytes, sizeof(bytes), GENERATIONS_SIZE - 5), 5,
	       "reading stops at the end");
	is_int(generations_read(words, bytes, sizeof(bytes), GENERATIONS_SIZE + 5), 0,
	       "reading beyond the end returns nothing");
	generations_raise(words, UINT32_MAX, 400);
	is_int(generations_word(words, 0), 300, "a slot that does not exist is ignored");
	generations_end(words);
	ok(generations_word(words, 0) == GENERATIONS_OVER, "word 0 shows the end");
	generations_free(words);
	generations_free(NULL);
}

/* ------------------------------------------------------------------ spare_memory */

#define MIB (UINT64_C(1) << 20)

static void test_spare_memory_machine(void)
{
	struct spare_memory_texts texts = {
		.meminfo = "MemTotal:       1048576 kB\nMemFree:  1 kB\nMemAvailable: 524288 kB\n",
	};

	ok(spare_memory_judge(&texts, 400 * MIB),
	   "a size that leaves a tenth of the memory is accepted");
	ok(!spare_memory_judge(&texts, 420 * MIB), "a size that would use that tenth is refused");
	texts.pressure = "some avg10=0.50 avg60=9.00 avg300=0.00 total=1\nfull avg10=9.0\n";
	ok(spare_memory_judge(&texts, MIB), "little pressure is accepted");
	texts.pressure = "some avg10=7.25 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.0\n";
	ok(!spare_memory_judge(&texts, MIB), "high memory pressure is refused");
	texts = (struct spare_memory_texts){ .meminfo = "MemTotal: 100 kB\nMemAvailable: 5 kB\n" };
	ok(!spare_memory_judge(&texts, 0),
	   "any size is refused when hardly any memory is available");
	texts.meminfo = "nonsense";
	ok(spare_memory_judge(&texts, MIB),
	   "any size is accepted if the kernel does not report memory");
}

static void test_spare_memory_group(void)
{
	struct spare_memory_texts texts = { .max = "max\n", .current = "104857600\n" };

	ok(spare_memory_judge(&texts, 1000 * MIB), "a group without a limit accepts any size");
	texts.max = "209715200\n"; /* 200 MiB, of which 150 may be used */
	ok(spare_memory_judge(&texts, 40 * MIB), "a group with room accepts a size that fits");
	ok(!spare_memory_judge(&texts, 60 * MIB), "a group refuses a size that does not fit");
	texts.stat = "anon 1\nfile 2\ninactive_file 52428800\nactive_file 3\n";
	ok(spare_memory_judge(&texts, 60 * MIB), "inactive file pages count as free");
	texts.current = "209715200\n";
	ok(!spare_memory_judge(&texts, MIB), "a full group refuses any size");
}

static void test_spare_memory(void)
{
	struct err err = ERR_INIT;
	struct spare_memory *spare_memory = NULL;

	test_spare_memory_machine();
	test_spare_memory_group();
	ok(spare_memory_new(&spare_memory, &err) == 0, "spare_memory_new");
	ok(!spare_memory_has(spare_memory, UINT64_C(1) << 60),
	   "no machine has 2^60 bytes to spare");
	ok(spare_memory_has(NULL, UINT64_C(1) << 60), "without the object there is no limit");
	spare_memory_free(spare_memory);
	spare_memory_free(NULL);
}

/* ------------------------------------------------------------------ visitor */

static char dir[] = "/tmp/rptfs-visitor-XXXXXX";
static int with_handle; /* the descriptor passed to new visitors, or a value of visitor_serve() */
static int started;

static int start(void *arg, int peer)
{
	(void)arg;
	started++;
	int handle = with_handle >= 0 ? dup(with_handle) : with_handle;
	pid_t pid = fork();
	if (pid == 0) {
		int own = dup(peer);
		for (int fd = 3; fd < 64; fd++) {
			if (fd != own && fd != handle)
				close(fd);
		}
		_exit(visitor_serve(own, handle, dir));
	}
	if (handle >= 0)
		close(handle);
	return pid < 0 ? -1 : 0;
}

static int refuse(void *arg, int peer)
{
	(void)arg;
	(void)peer;
	started++;
	return 0; /* no visitor is started */
}

static void put(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
}

static bool is_there(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return access(path, F_OK) == 0;
}

static void test_visits(struct visitor *visitor)
{
	char long_path[5000];

	put("a");
	put("d/b");
	is_int(visitor_look(visitor, "a"), 0, "a file can be looked up");
	is_int(visitor_look(visitor, "d/b"), 0, "a file in a directory can be looked up");
	is_int(visitor_look(visitor, "x"), -ENOENT, "a missing file is reported");
	is_int(visitor_look(visitor, "x/y"), -ENOENT, "a missing directory is reported");
	is_int(visitor_look(visitor, "link/passwd"), -ENOTDIR, "symlinks are not followed");
	is_int(visitor_look(visitor, "../etc/passwd"), -EINVAL,
	       "a path out of the mount is refused");
	memset(long_path, 'x', sizeof(long_path));
	long_path[sizeof(long_path) - 1] = '\0';
	is_int(visitor_look(visitor, long_path), -ENAMETOOLONG,
	       "a path that is too long is refused");
	is_int(started, 1, "one process has done everything");
}

static void test_moves(struct visitor *visitor)
{
	is_int(visitor_move(visitor, "a", "d/c"), 0, "a file moves");
	ok(!is_there("a") && is_there("d/c"), "it has moved");
	is_int(visitor_move(visitor, "d/c", "d/b"), 0, "a file replaces another");
	ok(!is_there("d/c") && is_there("d/b"), "it has moved");
	is_int(visitor_move(visitor, "d/b", "link/b"), -ENOTDIR, "a move through a symlink fails");
	is_int(visitor_remove(visitor, "link/b"), -ENOTDIR, "so does a removal");
	is_int(visitor_remove(visitor, "d/b"), 0, "a file is removed");
	ok(!is_there("d/b"), "it is gone");
}

static void test_without_handle(void)
{
	struct err err = ERR_INIT;
	struct visitor *visitor = NULL;

	with_handle = -1;
	put("a");
	ok(visitor_new(&visitor, start, NULL, &err) == 0, "visitor_new");
	is_int(visitor_look(visitor, "a"), 0, "without a handle it can look");
	is_int(visitor_move(visitor, "a", "b"), -EROFS, "it cannot move");
	is_int(visitor_remove(visitor, "a"), -EROFS, "it cannot remove");
	visitor_retire(visitor);
	is_int(visitor_look(visitor, "a"), -ENOTCONN, "a retired visitor does nothing");
	visitor_free(visitor);
	with_handle = VISITOR_NO_MOUNT;
	ok(visitor_new(&visitor, start, NULL, &err) == 0, "visitor_new");
	is_int(visitor_look(visitor, "a"), -ENODEV, "without a mount it cannot look");
	is_int(visitor_move(visitor, "a", "b"), -ENODEV, "without a mount it cannot move");
	visitor_free(visitor);
	started = 0;
	ok(visitor_new(&visitor, refuse, NULL, &err) == 0,
	   "a visitor that does not start can be created");
	is_int(visitor_look(visitor, "a"), -ENOTCONN, "a request fails");
	int tries = started;
	ok(tries > 1, "starting it was retried");
	is_int(visitor_look(visitor, "a"), -ENOTCONN, "the next request fails as well");
	is_int(started, tries, "it is not retried immediately");
	visitor_free(visitor);
	visitor_free(NULL);
}

static void test_visitor(void)
{
	struct err err = ERR_INIT;
	struct visitor *visitor = NULL;
	char path[64];

	ok(mkdtemp(dir) != NULL, "a directory is made");
	snprintf(path, sizeof(path), "%s/d", dir);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/link", dir);
	ok(symlink("/etc", path) == 0, "a symlink is made");
	int handle = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	with_handle = handle;
	ok(visitor_new(&visitor, start, NULL, &err) == 0, "visitor_new");
	is_int(started, 0, "an unused visitor starts no process");
	test_visits(visitor);
	test_moves(visitor);
	visitor_free(visitor);
	test_without_handle();
	close(handle);
	snprintf(path, sizeof(path), "%s/a", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/link", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/d", dir);
	rmdir(path);
	ok(rmdir(dir) == 0, "no file is left");
	while (wait(NULL) > 0)
		;
}

/* ---- a publish that fails ---- */

#define NODES_BEFORE_GROWTH 51 /* then nodes_add() allocates */

static struct faults faults = {
	.calls = 1U << FAULT_MEMORY,
	.count = UINT32_MAX,
	.error = ENOMEM,
	.thread = "publisher",
};

/* Without memory for a snapshot's node, the name does not move and the caller gets an error. */
static void test_publish_fails(void)
{
	static struct term_config root_config = { .name = (char *)"t" };
	struct publish_queue_setup setup = { .publisher.n_terms = 0 };
	struct publisher_setup *publisher = &setup.publisher;
	struct publish_queue *queue = NULL;
	struct snapshot *old = make_snapshot(1), *next = make_snapshot(1000), *current;
	struct err err = ERR_INIT;
	struct term term, *of;
	bool superseded;

	if (!faults_reach_memory) {
		ok(true, "# skip: a sanitizer has its own allocator");
		snapshot_unref(old);
		snapshot_unref(next);
		return;
	}
	if (term_init(&term, &root_config, old, NULL, &err) < 0 ||
	    tree_new(&publisher->tree, &term, 1, NULL, &err) < 0 ||
	    nodes_new(&publisher->nodes, &err) < 0 ||
	    pending_moves_new(&publisher->pending_moves, &err) < 0)
		exit(1);
	for (uint64_t id = 1; id <= NODES_BEFORE_GROWTH; id++) {
		struct snapshot *snapshot = make_snapshot(id);
		nodes_add(publisher->nodes, snapshot, &term, &err);
		snapshot_unref(snapshot);
	}
	ok(publish_queue_new(&queue, &setup, &err) == 0, "publish_queue_new");
	faults_apply(&faults);
	faults_set(&faults, FAULTS_FAIL);
	int result = publish_queue_publish(queue, &term, snapshot_ref(next), &err);
	faults_set(&faults, FAULTS_OFF);
	ok(result < 0 && err.kind == ERR_INTERNAL, "publishing fails: %s", err.msg);
	current = term_current(&term);
	ok(current == old, "the name points to the old snapshot");
	ok(!nodes_find(publisher->nodes, next->id, &of, &superseded), "the new one is unknown");
	ok(!pending_moves_find(publisher->pending_moves, "1000", &of), "the new one is not staged");
	snapshot_unref(current);
	publish_queue_stop(queue);
	publish_queue_free(queue);
	pending_moves_free(publisher->pending_moves);
	nodes_free(publisher->nodes);
	tree_free(publisher->tree);
	term_release(&term);
	snapshot_unref(next);
}

int main(void)
{
	test_pending();
	test_generations();
	test_spare_memory();
	test_visitor();
	test_publish_fails();
	return tap_done();
}
