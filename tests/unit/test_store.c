/* store: commit, history, tokens, retention, verification, republishing, stores in memory. */
#include "base/cancel.h"
#include "base/clock.h"
#include "keeper/store_memory.h"
#include "store_fixture.h"
#include "load_term.h"

static void test_making(void)
{
	char dir[PATH_MAX + 16];
	struct stat st;

	snprintf(dir, sizeof(dir), "%s/a/b/store//", fixture_new());
	struct store *store = open_or_bail(dir);
	ok(stat(dir, &st) == 0 && (st.st_mode & 07777) == 0700,
	   "the directory is made with mode 0700");
	snprintf(dir, sizeof(dir), "%s/a/b", fixture_dir);
	ok(stat(dir, &st) == 0 && (st.st_mode & 07777) == 0755,
	   "its parents are made with mode 0755");
	is_int(store_life(store), 1, "store_life() begins at 1");
	is_int(count_snapshots(store), 0, "the store is empty");
	ok(load(store, "x") == NULL, "no term has a snapshot");
	store_close(store);
	store_close(NULL);
	fixture_end();
}

static void check_loaded(struct store *store, enum snapshot_integrity integrity)
{
	struct err err = ERR_INIT;
	struct store_term loaded = { .snapshot = NULL };

	ok(load_term(store, "x", &loaded, &err) == 0 && loaded.snapshot, "the term is loaded");
	const struct snapshot *snapshot = loaded.snapshot;
	is_str(snapshot->version, "v1", "the version is loaded");
	is_str(snapshot->source, "test://source", "the source is loaded");
	is_str(loaded.token, "v1", "the token is loaded");
	ok(loaded.fingerprint == UINT64_MAX - 5, "the fingerprint of the source is loaded");
	is_int(snapshot->size_bytes, body_size(1), "the length is loaded");
	is_int(snapshot->mtime.tv_sec, 1, "the mtime is loaded");
	is_int(snapshot->mtime.tv_nsec, 5, "its nanoseconds are loaded");
	is_int(snapshot->fetched_at_ms, 2000, "the time of fetching is loaded");
	is_int(snapshot->order_key, 1, "the order key is loaded");
	is_int(atomic_load(&snapshot->integrity), integrity, "the integrity is as expected");
	store_term_release(&loaded);
}

/* Commits a version of that time, and drops the one before if the history does not keep it. */
static struct timespec shown_time(struct store *store, unsigned version, unsigned history,
				  int64_t s, long ns)
{
	struct err err = ERR_INIT;
	struct snapshot *snapshot = NULL;
	_cleanup_(snapshot_unref_cleanup) struct snapshot *before = load(store, "x");
	struct timespec shown = CLOCK_NO_TIME;

	if (commit_dated(store, "x", version, history, (struct timespec){ s, ns }, &snapshot,
			 &err) < 0)
		printf("# commit: %s\n", err.msg);
	else
		shown = snapshot->mtime;
	if (before)
		store_release(store, before);
	snapshot_unref(snapshot);
	return shown;
}

static void is_time(struct timespec shown, int64_t s, long ns, const char *what)
{
	is_int(shown.tv_sec, s, "%s", what);
	is_int(shown.tv_nsec, ns, "%s: nanoseconds", what);
}

static void test_times_of_kept_versions(void)
{
	const char *dir = fixture_new();
	struct store *store = open_or_bail(dir);

	is_time(shown_time(store, 0, 3, -62135596800, 0), -62135596800, 0, "the year 1 is kept");
	is_time(shown_time(store, 1, 3, 2000, 0), 2000, 0, "a new time is taken as it is");
	is_time(shown_time(store, 2, 3, 1000, 0), 1000, 0, "an older time is taken too");
	is_time(shown_time(store, 3, 3, 2000, 0), 2001, 0,
		"a time that was there becomes the next second");
	is_time(shown_time(store, 4, 3, 2001, 0), 2002, 0, "a second that is taken is skipped");
	is_time(shown_time(store, 5, 3, 3000, 7), 3000, 7, "nanoseconds are kept");
	is_time(shown_time(store, 6, 3, 3000, 8), 3000, 8, "others in the same second are free");
	is_time(shown_time(store, 7, 3, 3000, 8), 3001, 8, "the same ones become the next second");
	store_close(store);
	store = open_or_bail(dir);
	is_time(shown_time(store, 8, 3, 3000, 8), 3002, 8, "a restart does not change that");
	is_time(shown_time(store, 9, 3, 4000, 0), 4000, 0, "a later second is free");
	is_time(shown_time(store, 13, 3, 4000, 5), 4001, 5, "a whole second takes all times in it");
	is_time(shown_time(store, 10, 3, 253402300799, 0), 253402300799, 0,
		"the year 9999 is kept");
	is_time(shown_time(store, 11, 3, INT64_MAX, 0), INT64_MAX, 0, "the last second is kept");
	ok(shown_time(store, 12, 3, INT64_MAX, 0).tv_nsec > 0,
	   "its nanoseconds change where no second is left");
	store_close(store);
	fixture_end();
}

static void test_times_of_deleted_versions(void)
{
	struct store *store = open_or_bail(fixture_new());

	is_time(shown_time(store, 1, 0, 2000, 0), 2000, 0, "the first time is taken as it is");
	is_time(shown_time(store, 2, 0, 2000, 0), 2001, 0, "the same time becomes the next second");
	is_time(shown_time(store, 3, 0, 2000, 0), 2002, 0,
		"also once the first snapshot is deleted");
	is_time(shown_time(store, 4, 0, 3000, 0), 3000, 0, "a later time is free");
	is_int(count_snapshots(store), 1, "one version is kept");
	struct timespec back = shown_time(store, 5, 0, 2000, 0);
	is_int(back.tv_sec, 2000, "a deleted snapshot does not take a second");
	ok(back.tv_nsec > 0, "but its nanoseconds are not used again");
	ok(shown_time(store, 6, 0, 3500, 0).tv_nsec == 0 &&
		   shown_time(store, 7, 0, 2000, 0).tv_nsec > back.tv_nsec,
	   "nor those of the next one");
	store_close(store);
	fixture_end();
}

static void test_times_of_publishing(void)
{
	const char *dir = fixture_new();
	struct store *store = open_or_bail(dir);
	struct err err = ERR_INIT;
	struct timespec last = { 0, 0 };

	for (unsigned i = 1; i <= 5; i++) {
		struct snapshot *snapshot = NULL;
		if (commit_dated(store, "x", i, 0, CLOCK_NO_TIME, &snapshot, &err) < 0)
			break;
		if (clock_to_ms(snapshot->mtime) != snapshot->published_at_ms ||
		    clock_to_ms(snapshot->mtime) <= clock_to_ms(last))
			printf("# version %u: not later\n", i);
		else
			last = snapshot->mtime;
		snapshot_unref(snapshot);
		store_close(store);
		store = open_or_bail(dir);
	}
	_cleanup_(snapshot_unref_cleanup) struct snapshot *current = load(store, "x");
	is_str(current->version, "v5", "five versions are committed");
	ok(clock_to_ms(current->mtime) == clock_to_ms(last), "each is later than the one before");
	store_close(store);
	fixture_end();
}

static void test_commit(void)
{
	const char *dir = fixture_new();
	struct store *store = open_or_bail(dir);
	struct err err = ERR_INIT;
	struct snapshot *snapshot = NULL;
	char expected[BODY_MAX], got[BODY_MAX];
	uint8_t sha256[DIGEST_SIZE];
	struct stat st;

	ok(commit_body(store, "x", 1, 3, &snapshot, &err) == 0, "a commit succeeds");
	is_int(snapshot->id, 2, "the first id is 2");
	body_fill(1, expected);
	digest_of(expected, body_size(1), sha256, &err);
	ok(memcmp(sha256, snapshot->sha256, DIGEST_SIZE) == 0, "the digest is right");
	ok(stat(file_path(dir, 2), &st) == 0 && (st.st_mode & 07777) == 0400,
	   "the file has mode 0400");

	_cleanup_close_ int fd = store_open_bytes(store, snapshot, &err);
	is_int(read(fd, got, sizeof(got)), body_size(1), "the bytes can be opened and read");
	ok(memcmp(got, expected, body_size(1)) == 0, "the bytes are those that were written");
	ok(write(fd, "x", 1) < 0, "the descriptor is read-only");
	is_int(count_snapshots(store), 1, "the snapshot is counted");
	int64_t first_ms = snapshot->published_at_ms;
	snapshot_unref(snapshot);
	check_loaded(store, SNAPSHOT_VERIFIED);

	ok(commit_body(store, "x", 2, 3, &snapshot, &err) == 0, "a second commit succeeds");
	ok(snapshot->id > 2, "it has a larger id");
	ok(snapshot->published_at_ms > first_ms, "it was published later");
	snapshot_unref(snapshot);
	ok(store_remove_current(store, "x", &err) == 0, "the current snapshot is removed");
	is_int(load_id(store, "x"), 0, "the term has no snapshot");
	is_int(count_snapshots(store), 2, "the bytes stay as history");
	ok(store_remove_current(store, "unknown", &err) == 0,
	   "removing the snapshot of an unknown term succeeds");

	is_int(commit_id(store, "", 3, 3), 0, "a commit that the catalog refuses fails");
	is_int(count_files(dir), 2, "it leaves no file");
	store_close(store);
	fixture_end();
}

static void test_writer(void)
{
	struct store *store = open_or_bail(fixture_new());
	struct err err = ERR_INIT;
	struct store_writer *writer = NULL;
	struct snapshot *snapshot = NULL;
	struct snapshot_info info = { .version = NULL, .order_key = -1 };
	uint8_t sha256[DIGEST_SIZE], again[DIGEST_SIZE];
	size_t piece_bytes = 1 << 20;
	char *piece = calloc(1, piece_bytes);

	store_writer_new(store, &writer, &err);
	store_writer_write(writer, "garbage", 7, &err);
	ok(store_writer_restart(writer, &err) == 0, "a writer restarts");
	is_int(store_writer_size(writer), 0, "it is empty");
	for (int i = 0; i < 20; i++)
		store_writer_write(writer, piece, piece_bytes, &err);
	is_int(store_writer_size(writer), 20 << 20, "20 MiB are written");
	store_writer_digest(writer, sha256, &err);
	store_writer_digest(writer, again, &err);
	ok(memcmp(sha256, again, DIGEST_SIZE) == 0, "the digest can be asked for twice");
	ok(store_commit(store, writer, "big", &info, 0, &snapshot, &err) == 0,
	   "the snapshot is committed");
	store_writer_free(writer);
	is_int(snapshot->size_bytes, 20 << 20, "it has the full length");
	is_str(snapshot->version, "", "a NULL version becomes an empty one");
	snapshot_unref(snapshot);
	is_int(count_files(fixture_dir), 1, "there is one file");
	store_writer_free(NULL);
	free(piece);
	store_close(store);
	fixture_end();
}

static void test_reopening(void)
{
	const char *dir = fixture_new();
	struct store *store = open_or_bail(dir);
	struct err err = ERR_INIT;
	uint64_t geo = 0, ab = 0, again = 0;

	ok(store_directory_id(store, "geo", &geo, &err) == 0 && geo >= 2, "a directory gets an id");
	commit_id(store, "x", 1, 3);
	store_directory_id(store, "a/b", &ab, &err);
	store_directory_id(store, "geo", &again, &err);
	is_int(again, geo, "the directory has the same id the second time");
	is_int(ab, geo + 2, "directories and snapshots share one counter");
	store_close(store);

	store = open_or_bail(dir);
	is_int(store_life(store), 2, "store_life() rises");
	store_directory_id(store, "geo", &again, &err);
	is_int(again, geo, "a directory's id survives");
	is_int(count_snapshots(store), 1, "the snapshot survives");
	check_loaded(store, SNAPSHOT_VERIFIED);
	is_int(commit_id(store, "x", 2, 3), ab + 1, "closing leaves no gap in the ids");
	store_close(store);
	fixture_end();
}

static void release_id(struct store *store, uint64_t id)
{
	struct snapshot *snapshot = snapshot_new("", "");

	snapshot->id = id;
	store_release(store, snapshot);
	snapshot_unref(snapshot);
}

static void test_history(void)
{
	const char *dir = fixture_new();
	struct store *store = open_or_bail(dir);
	uint64_t id[8];

	for (unsigned i = 0; i < 4; i++)
		id[i] = commit_id(store, "x", i, 1);
	is_int(count_files(dir), 4, "snapshots that the kernel may hold stay");
	release_id(store, id[0]);
	release_id(store, id[2]);
	release_id(store, 12345);
	ok(!file_exists(dir, id[0]), "a released snapshot older than the history is deleted");
	id[4] = commit_id(store, "y", 4, 1);
	ok(file_exists(dir, id[1]), "a held snapshot older than the history is kept");
	ok(file_exists(dir, id[2]), "a released snapshot in the history is kept");
	is_int(count_snapshots(store), count_files(dir), "the count is right");
	id[5] = commit_id(store, "x", 5, 1);
	ok(!file_exists(dir, id[2]), "the next commit deletes what is no longer history");
	ok(file_exists(dir, id[3]), "the previous snapshot is history");
	store_close(store);

	store = open_or_bail(dir);
	ok(!file_exists(dir, id[1]), "nothing is held after opening");
	ok(file_exists(dir, id[3]) && file_exists(dir, id[5]), "history and current stay");
	is_int(count_snapshots(store), 3, "three snapshots are left");
	is_int(load_id(store, "x"), id[5], "the current one is the last");
	store_close(store);

	store = open_or_bail(dir);
	id[6] = commit_id(store, "x", 6, 0);
	release_id(store, id[5]);
	ok(!file_exists(dir, id[5]), "without history a released snapshot is deleted at once");
	is_int(count_files(dir), 2, "only the current snapshots are left");
	is_int(count_snapshots(store), 2, "the count is right");
	store_close(store);
	fixture_end();
}

static void test_tokens(void)
{
	const char *dir = fixture_new();
	struct store *store = open_or_bail(dir);
	struct err err = ERR_INIT;
	struct store_term loaded = { .snapshot = NULL };

	commit_id(store, "x", 1, 3);
	ok(store_set_token(store, "x", "\"W/\xff odd\"", 7, &err) == 0,
	   "another token is recorded");
	ok(store_set_token(store, "unknown", "t", 7, &err) == 0, "an unknown term is ignored");
	ok(store_refuse(store, "x", 7, "bad", "too large", &err) == 0,
	   "a refused token is recorded");
	ok(store_refuse(store, "new", UINT64_MAX, "worse", NULL, &err) == 0,
	   "a token of a term without a snapshot can be refused");
	store_close(store);

	store = open_or_bail(dir);
	load_term(store, "x", &loaded, &err);
	is_str(loaded.token, "\"W/\xff odd\"", "the token survives, byte for byte");
	is_int(loaded.fingerprint, 7, "the fingerprint survives");
	is_str(loaded.snapshot->version, "v1", "the version does not change");
	store_term_release(&loaded);
	is_str(find_refused(store, "x", 7), "bad: too large",
	       "the refused token and the reason survive");
	store_refuse(store, "x", 7, "bad2", "corrupt", &err);
	is_str(find_refused(store, "x", 7), "bad2: corrupt", "a source has one refused token");
	store_refuse(store, "x", 7, NULL, NULL, &err);
	is_str(find_refused(store, "x", 7), "", "a refused token can be forgotten");
	is_str(find_refused(store, "new", UINT64_MAX),
	       "worse: ", "each term has its own refused token");
	ok(store_set_token(store, "x", NULL, 0, &err) == 0, "the token can be set to NULL");
	load_term(store, "x", &loaded, &err);
	ok(!loaded.token, "there is no token");
	store_term_release(&loaded);
	store_close(store);
	fixture_end();
}

static void test_retain(void)
{
	static const char *const all[] = { "a", "b", "c" };
	static const char *const some[] = { "0", "b", "d" };
	const char *dir = fixture_new();
	struct store *store = open_or_bail(dir);
	struct err err = ERR_INIT;
	char sql[128];

	for (unsigned i = 0; i < 3; i++)
		commit_id(store, all[i], i, 3);
	store_refuse(store, "a", 1, "t", "r", &err);
	store_retain(store, all, 3);
	store_retain(store, some, 3);
	is_int(count_snapshots(store), 3, "snapshots of unconfigured terms stay at first");
	store_close(store);

	snprintf(sql, sizeof(sql), "UPDATE term SET missed_since_ms = %" PRId64 " WHERE name = 'a'",
		 clock_wall_ms() - INT64_C(7) * 86400 * MS_PER_S - 1);
	tamper(dir, sql);
	store = open_or_bail(dir);
	ok(load_id(store, "a") != 0,
	   "after seven days the snapshot is there until the next store_retain()");
	store_retain(store, some, 3);
	is_int(load_id(store, "a"), 0, "store_retain() then deletes it");
	is_int(count_files(dir), 2, "the file is deleted");
	is_int(count_snapshots(store), 2, "it is not counted");
	is_str(find_refused(store, "a", 1), "", "its refused tokens are deleted");
	ok(load_id(store, "c") != 0, "a term that went missing later stays");
	store_retain(store, all, 3);
	store_close(store);

	tamper(dir, "UPDATE term SET missed_since_ms = 1 WHERE missed_since_ms IS NOT NULL");
	store = open_or_bail(dir);
	store_retain(store, some, 3);
	ok(load_id(store, "c") != 0, "a term that was configured again meanwhile stays");
	store_close(store);
	fixture_end();
}

/* As after a reboot. */
static struct store *open_after_boot(const char *dir)
{
	tamper(dir, "UPDATE store SET boot_id = 'another'");
	return open_or_bail(dir);
}

static void test_verify(void)
{
	const char *dir = fixture_new();
	struct store *store = open_or_bail(dir);
	struct err err = ERR_INIT;
	struct cancel cancel, canceled;
	uint64_t id = commit_id(store, "x", 1, 3);
	uint64_t other = commit_id(store, "y", 2, 3);

	cancel_init(&cancel, &err);
	cancel_init(&canceled, &err);
	cancel_request(&canceled);
	store_close(store);
	store = open_after_boot(dir);
	check_loaded(store, SNAPSHOT_UNVERIFIED);
	struct snapshot *snapshot = load(store, "x");
	is_int(store_verify(store, snapshot, &canceled, &err), -1, "verifying can be canceled");
	is_int(err.kind, ERR_CANCELED, "the error is ERR_CANCELED");
	ok(store_verify(store, snapshot, &cancel, &err) == 0, "it verifies the bytes");
	ok(store_verify(store, snapshot, &canceled, &err) == 0, "the second time it does not read");
	snapshot_unref(snapshot);
	store_close(store);
	store = open_or_bail(dir);
	check_loaded(store, SNAPSHOT_VERIFIED);
	store_close(store);

	/* The same length, other bytes. */
	chmod(file_path(dir, id), 0600);
	_cleanup_close_ int fd = open(file_path(dir, id), O_WRONLY);
	ok(pwrite(fd, "Z", 1, 5) == 1, "a byte is changed on the disk");
	store = open_after_boot(dir);
	snapshot = load(store, "x");
	is_int(store_verify(store, snapshot, &cancel, &err), -1, "verifying fails");
	is_int(err.kind, ERR_BAD_DATA, "the error is ERR_BAD_DATA");
	is_int(store_verify(store, snapshot, &cancel, &err), -1, "verifying fails again");
	is_int(atomic_load(&snapshot->integrity), SNAPSHOT_CORRUPT,
	       "the snapshot is marked as corrupt");
	ok(store_drop(store, snapshot, &err) == 0, "the snapshot is dropped");
	ok(store_drop(store, snapshot, &err) == 0, "it can be dropped twice");
	is_int(load_id(store, "x"), 0, "the term has no snapshot");
	ok(file_exists(dir, id), "the file stays while the kernel may hold it");
	store_release(store, snapshot);
	ok(!file_exists(dir, id), "the file is deleted after the release");
	is_int(count_snapshots(store), 1, "it is not counted");
	snapshot_unref(snapshot);

	snapshot = load(store, "y");
	unlink(file_path(dir, other));
	is_int(store_verify(store, snapshot, &cancel, &err), -1, "verifying a missing file fails");
	is_int(err.kind, ERR_BAD_DATA, "the error is ERR_BAD_DATA");
	snapshot_unref(snapshot);
	store_close(store);
	cancel_release(&cancel);
	cancel_release(&canceled);
	fixture_end();
}

static int64_t confirmed_at(struct store *store, const char *name)
{
	struct err err = ERR_INIT;
	struct store_term loaded = { .snapshot = NULL };

	if (load_term(store, name, &loaded, &err) < 0)
		printf("# %s\n", err.msg);
	int64_t confirmed_at_ms = loaded.confirmed_at_ms;
	store_term_release(&loaded);
	return confirmed_at_ms;
}

static void test_confirmed(void)
{
	const char *dir = fixture_new();
	struct store *store = open_or_bail(dir);
	struct err err = ERR_INIT;

	is_int(confirmed_at(store, "x"), 0, "an unknown term was never confirmed");
	commit_id(store, "x", 1, 3);
	is_int(confirmed_at(store, "x"), 2000, "a commit confirms what was fetched");
	ok(store_set_confirmed(store, "x", 5000, &err) == 0, "a confirmation is recorded");
	ok(store_set_confirmed(store, "unknown", 5000, &err) == 0, "an unknown term is ignored");
	store_close(store);
	store = open_or_bail(dir);
	is_int(confirmed_at(store, "x"), 5000, "the time of confirmation survives");
	store_remove_current(store, "x", &err);
	is_int(confirmed_at(store, "x"), 5000, "it survives the removal of the snapshot");
	commit_id(store, "x", 2, 3);
	is_int(confirmed_at(store, "x"), 2000, "a commit sets it to an earlier time");
	store_close(store);
	fixture_end();
}

static void test_noted_checks(void)
{
	const char *dir = fixture_new();
	struct store *store = open_or_bail(dir);

	int64_t before = clock_wall_ms();
	commit_id(store, "x", 1, 3);
	struct snapshot *snapshot = load(store, "x");
	/* The kernel's time of files is some milliseconds coarse. */
	ok(store_noted_check(store, snapshot) >= before - 100, "a commit counts as a check");
	store_note_check(store, snapshot, 5123);
	store_close(store);
	store = open_or_bail(dir);
	is_int(store_noted_check(store, snapshot), 5123, "the time of a check survives");
	store_note_check(store, snapshot, 0);
	is_int(store_noted_check(store, snapshot), 0, "and that it has failed");
	unlink(file_path(dir, snapshot->id));
	is_int(store_noted_check(store, snapshot), 0, "nothing is known without the file");
	snapshot_unref(snapshot);
	store_close(store);
	fixture_end();
}

static bool holds_body(struct store *store, const struct snapshot *snapshot, unsigned version)
{
	char expected[BODY_MAX], got[BODY_MAX];
	struct err err = ERR_INIT;
	_cleanup_close_ int fd = store_open_bytes(store, snapshot, &err);

	body_fill(version, expected);
	return fd >= 0 && read(fd, got, sizeof(got)) == (ssize_t)body_size(version) &&
	       memcmp(got, expected, body_size(version)) == 0;
}

static void test_republish(void)
{
	const char *dir = fixture_new();
	struct store *store = open_or_bail(dir);
	struct err err = ERR_INIT;
	struct snapshot *first = NULL, *again = NULL, *thrice = NULL, *none = NULL;
	struct store_term loaded = { .snapshot = NULL };

	commit_body(store, "x", 1, 3, &first, &err);
	store_set_token(store, "x", "other token", 9, &err);
	store_set_confirmed(store, "x", 7000, &err);
	uint64_t second = commit_id(store, "x", 2, 3);
	store_set_confirmed(store, "x", 8000, &err);
	if (!ok(store_republish(store, first, "x", 3, &again, &err) == 0,
		"a snapshot is republished")) {
		printf("# %s\n", err.msg);
		return;
	}
	ok(again->id > second, "it has a new id");
	ok(again->published_at_ms > first->published_at_ms, "it is published later");
	ok(again->size_bytes == first->size_bytes && again->order_key == first->order_key &&
		   again->fetched_at_ms == first->fetched_at_ms &&
		   memcmp(again->sha256, first->sha256, DIGEST_SIZE) == 0 &&
		   strcmp(again->version, first->version) == 0 &&
		   atomic_load(&again->integrity) == SNAPSHOT_VERIFIED,
	   "everything else is unchanged");
	ok(holds_body(store, again, 1), "the bytes are unchanged");
	is_int(count_snapshots(store), 3, "three snapshots are counted");
	store_release(store, first);
	store_close(store);

	store = open_or_bail(dir);
	load_term(store, "x", &loaded, &err);
	is_int(loaded.snapshot->id, again->id, "it is the current one after opening");
	is_str(loaded.token, "other token", "the token is the last one of its bytes");
	is_int(loaded.fingerprint, 9, "the fingerprint of the source is right");
	is_int(loaded.confirmed_at_ms, 8000, "the time of confirmation is unchanged");
	store_term_release(&loaded);

	store_remove_current(store, "x", &err);
	ok(store_republish(store, again, "x", 0, &thrice, &err) == 0,
	   "it is republished again after a removal");
	is_int(load_id(store, "x"), thrice->id, "it is the current one");
	store_release(store, first);
	store_release(store, again);
	ok(!file_exists(dir, first->id) && !file_exists(dir, again->id),
	   "without history the other files are deleted");
	ok(holds_body(store, thrice, 1), "the bytes stay");

	is_int(store_republish(store, first, "x", 0, &none, &err), -1,
	       "a deleted snapshot cannot be republished");
	is_int(err.kind, ERR_NOT_FOUND, "the error is ERR_NOT_FOUND");
	is_int(store_republish(store, thrice, "y", 0, &none, &err), -1,
	       "a snapshot of another term cannot be republished");
	store_drop(store, thrice, &err);
	is_int(store_republish(store, thrice, "x", 0, &none, &err), -1,
	       "a corrupt snapshot cannot be republished");
	ok(strstr(err.msg, "corrupt") != NULL, "the message says that it is corrupt");
	is_int(count_files(dir), count_snapshots(store), "there is a row for each file");
	snapshot_unref(first);
	snapshot_unref(again);
	snapshot_unref(thrice);
	store_close(store);
	fixture_end();
}

static struct store *open_memory(int fd)
{
	struct store_setup setup = { .dir_fd = fd, .dir = "memory", .in_memory = true };
	struct store *store = NULL;
	struct err err = ERR_INIT;

	if (!ok(store_open(&store, &setup, &err) == 0, "a store in memory is opened")) {
		printf("# %s\n", err.msg);
		exit(1);
	}
	return store;
}

static void test_memory(void)
{
	struct err err = ERR_INIT;
	char runtime[PATH_MAX + 16], *dir = NULL, *second_dir = NULL;

	snprintf(runtime, sizeof(runtime), "%s/run", fixture_new());
	mkdir(runtime, 0700);
	setenv("XDG_RUNTIME_DIR", runtime, 1);
	_cleanup_close_ int place = store_memory_make(geteuid(), getegid(), &dir, &err);
	_cleanup_close_ int second_place = store_memory_make(geteuid(), getegid(), &second_dir,
							     &err);
	if (!ok(place >= 0 && second_place >= 0, "two places in memory are made"))
		printf("# %s\n", err.msg);
	struct store *store = open_memory(place);
	uint64_t id = commit_id(store, "x", 1, 0);
	ok(id >= 2, "it takes commits");
	struct snapshot *snapshot = load(store, "x");
	_cleanup_close_ int fd = store_open_bytes(store, snapshot, &err);
	char got[BODY_MAX];
	is_int(read(fd, got, sizeof(got)), body_size(1), "the bytes can be read");
	snapshot_unref(snapshot);
	struct store *second = open_memory(second_place);
	is_int(load_id(second, "x"), 0, "another place is another store");
	store_close(second);
	store_close(store);
	store = open_memory(place);
	is_int(load_id(store, "x"), id, "it outlives the store that used it");
	store_close(store);
	store_memory_remove(dir);
	store_memory_remove(second_dir);
	free(dir);
	free(second_dir);
	ok(rmdir(runtime) == 0, "nothing is left behind");
	fixture_end();
}

int main(void)
{
	test_making();
	test_commit();
	test_times_of_kept_versions();
	test_times_of_deleted_versions();
	test_times_of_publishing();
	test_writer();
	test_reopening();
	test_history();
	test_tokens();
	test_retain();
	test_verify();
	test_confirmed();
	test_noted_checks();
	test_republish();
	test_memory();
	return tap_done();
}
