/* verifier: which parked reads are answered, and when, with a store that verifies on command. */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "mount/view/verifier.h"
#include "tap.h"

#define HUGE_BYTES  (UINT64_C(1) << 30)
#define N_HUGE	    6
#define PATIENCE_MS 20000

static atomic_int n_verifying_huge, n_verified, n_lost;
static atomic_bool is_open;	       /* huge snapshots can be verified to the end */
static atomic_bool is_readable = true; /* else one verification fails */

/* A huge snapshot takes until is_open. Those with an odd id are corrupt. */
int store_verify(struct store *store, struct snapshot *snapshot, struct cancel *cancel,
		 struct err *err)
{
	(void)store;
	if (snapshot->size_bytes >= HUGE_BYTES) {
		atomic_fetch_add(&n_verifying_huge, 1);
		struct pollfd pfd = { .fd = cancel->fd, .events = POLLIN };
		while (!atomic_load(&is_open)) {
			if (poll(&pfd, 1, 1) > 0)
				return err_set(err, ERR_CANCELED, "canceled");
		}
	}
	atomic_fetch_add(&n_verified, 1);
	if (!atomic_exchange(&is_readable, true))
		return err_set(err, ERR_INTERNAL, "unreadable");
	if (snapshot->id % 2)
		return err_set(err, ERR_BAD_DATA, "corrupt");
	atomic_store(&snapshot->integrity, SNAPSHOT_VERIFIED);
	return 0;
}

void publish_queue_lost(struct publish_queue *queue, struct term *term, struct snapshot *snapshot)
{
	(void)queue;
	(void)term;
	(void)snapshot;
	atomic_fetch_add(&n_lost, 1);
}

struct parked {
	struct verifier_read read;
	atomic_bool is_answered;
	enum verifier_verdict verdict;
};

static void answer(struct verifier_read *read, enum verifier_verdict verdict)
{
	struct parked *parked = container_of(read, struct parked, read);

	snapshot_unref(read->snapshot);
	parked->verdict = verdict;
	atomic_store(&parked->is_answered, true);
}

static struct term_config config = { .name = (char *)"t" };
static struct term term = { .config = &config };

/* Takes the reference. */
static void park(struct verifier *verifier, struct parked *parked, struct snapshot *snapshot)
{
	*parked = (struct parked){
		.read = { .snapshot = snapshot, .term = &term, .answer = answer },
	};
	verifier_park(verifier, &parked->read);
}

static struct snapshot *make_snapshot(uint64_t id, uint64_t size_bytes)
{
	struct snapshot *snapshot = snapshot_new("v", "s");

	snapshot->id = id;
	snapshot->size_bytes = size_bytes;
	return snapshot;
}

static bool gets(struct parked *parked, enum verifier_verdict verdict)
{
	for (int ms = 0; !atomic_load(&parked->is_answered) && ms < PATIENCE_MS; ms++)
		usleep(1000);
	return atomic_load(&parked->is_answered) && parked->verdict == verdict;
}

static void test_small_before_huge(struct verifier *verifier)
{
	struct parked huge[N_HUGE], small;
	int n = 0;

	for (uint64_t i = 0; i < N_HUGE; i++)
		park(verifier, &huge[i], make_snapshot(100 + 2 * i, HUGE_BYTES));
	park(verifier, &small, make_snapshot(10, 5));
	ok(gets(&small, VERIFIER_GOOD), "huge snapshots do not delay a small one");
	park(verifier, &small, make_snapshot(11, 5));
	ok(gets(&small, VERIFIER_BAD), "a corrupt small snapshot is found meanwhile");
	is_int(atomic_load(&n_lost), 1, "it is reported");
	for (int i = 0; i < N_HUGE; i++)
		n += atomic_load(&huge[i].is_answered);
	is_int(n, 0, "no huge snapshot is answered before it is verified");
	atomic_store(&is_open, true);
	for (int i = 0; i < N_HUGE; i++)
		n += gets(&huge[i], VERIFIER_GOOD);
	is_int(n, N_HUGE, "then all huge snapshots are answered");
}

static void test_one_snapshot(struct verifier *verifier)
{
	struct snapshot *snapshot = make_snapshot(200, HUGE_BYTES);
	struct parked parked[8];
	int n = 0;

	atomic_store(&is_open, false);
	atomic_store(&n_verifying_huge, 0);
	for (size_t i = 0; i < ARRAY_SIZE(parked); i++)
		park(verifier, &parked[i], snapshot_ref(snapshot));
	struct parked small;
	park(verifier, &small, make_snapshot(12, 5));
	ok(gets(&small, VERIFIER_GOOD), "many reads of a huge snapshot do not delay a small one");
	atomic_store(&is_open, true);
	for (size_t i = 0; i < ARRAY_SIZE(parked); i++)
		n += gets(&parked[i], VERIFIER_GOOD);
	is_int(n, ARRAY_SIZE(parked), "all reads of one snapshot are answered");
	is_int(atomic_load(&n_verifying_huge), 1, "after it was verified once");
	snapshot_unref(snapshot);
}

/* The read that was parked while the file could not be read is verified anew. */
static void test_unreadable_for_a_while(struct verifier *verifier)
{
	struct snapshot *snapshot = make_snapshot(300, HUGE_BYTES);
	struct parked first, later;
	int n = atomic_load(&n_verifying_huge);

	atomic_store(&is_open, false);
	atomic_store(&is_readable, false);
	park(verifier, &first, snapshot_ref(snapshot));
	while (atomic_load(&n_verifying_huge) == n)
		usleep(1000);
	park(verifier, &later, snapshot);
	atomic_store(&is_open, true);
	ok(gets(&first, VERIFIER_BAD), "a file that cannot be read is not verified");
	ok(gets(&later, VERIFIER_GOOD), "a later read does not get that verdict");
}

/* The first thread is still idle when the second read is parked. */
static void test_two_at_once(const struct verifier_setup *setup)
{
	struct verifier *verifier = NULL;
	struct parked huge[2];
	struct err err = ERR_INIT;

	atomic_store(&is_open, false);
	atomic_store(&n_verifying_huge, 0);
	ok(verifier_new(&verifier, setup, &err) == 0, "another verifier");
	park(verifier, &huge[0], make_snapshot(400, HUGE_BYTES));
	park(verifier, &huge[1], make_snapshot(402, HUGE_BYTES));
	for (int ms = 0; atomic_load(&n_verifying_huge) < 2 && ms < PATIENCE_MS; ms++)
		usleep(1000);
	is_int(atomic_load(&n_verifying_huge), 2, "two reads parked at once are verified at once");
	atomic_store(&is_open, true);
	ok(gets(&huge[0], VERIFIER_GOOD) && gets(&huge[1], VERIFIER_GOOD), "both are answered");
	verifier_free(verifier);
}

static void test_stop(struct verifier *verifier, struct cancel *cancel)
{
	struct parked huge[N_HUGE], late;
	int n = 0;

	atomic_store(&is_open, false);
	for (uint64_t i = 0; i < N_HUGE; i++)
		park(verifier, &huge[i], make_snapshot(300 + 2 * i, HUGE_BYTES));
	cancel_request(cancel);
	verifier_stop(verifier);
	for (int i = 0; i < N_HUGE; i++)
		n += gets(&huge[i], VERIFIER_STOPPED);
	is_int(n, N_HUGE, "stopping answers all reads");
	park(verifier, &late, make_snapshot(14, 5));
	ok(gets(&late, VERIFIER_STOPPED), "later reads are answered as well");
}

int main(void)
{
	struct verifier *verifier = NULL;
	struct err err = ERR_INIT;
	struct cancel cancel;

	alarm(900);
	if (cancel_init(&cancel, &err) < 0)
		return 1;
	struct verifier_setup setup = { .terms = &term, .n_terms = 0, .cancel = &cancel };
	ok(verifier_new(&verifier, &setup, &err) == 0, "verifier_new");
	test_small_before_huge(verifier);
	test_one_snapshot(verifier);
	test_unreadable_for_a_while(verifier);
	test_two_at_once(&setup);
	test_stop(verifier, &cancel);
	verifier_free(verifier);
	cancel_release(&cancel);
	return tap_done();
}
