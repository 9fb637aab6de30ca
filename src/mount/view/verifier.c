#include "mount/view/verifier.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <utlist.h>

#include "base/log.h"
#include "base/util.h"

/* Threads that verify for parked reads, started as they are needed. One of them only takes
 * snapshots up to SMALL_MAX_BYTES, so that large ones cannot keep all of them busy. */
#define READERS_MAX	4
#define SMALL_MAX_BYTES (UINT64_C(16) << 20)

struct reader {
	struct verifier *verifier;
	pthread_t thread;
	const struct snapshot *snapshot; /* guarded by lock; being verified; NULL: none */
	uint64_t number;		 /* guarded by lock; of this verification */
};

struct verifier {
	struct verifier_setup setup;
	pthread_t background;
	bool background_started;
	pthread_mutex_t lock;
	pthread_cond_t wanted;
	struct verifier_read *reads;	    /* guarded by lock */
	uint64_t n_begun;		    /* guarded by lock; verifications for reads */
	struct reader readers[READERS_MAX]; /* the first n_readers have threads */
	size_t n_readers;		    /* guarded by lock */
	bool ending;			    /* guarded by lock */
};

void verifier_report(struct verifier *verifier, struct term *term, struct snapshot *snapshot,
		     const struct err *err)
{
	atomic_store(&snapshot->integrity, SNAPSHOT_CORRUPT);
	log_event(LOG_LEVEL_ERROR, "corrupt_snapshot", LOG_STR("term", term->config->name),
		  LOG_STR("version", snapshot->version), LOG_STR("error", err->msg));
	publish_queue_lost(verifier->setup.publish_queue, term, snapshot);
}

static enum verifier_verdict verify(struct verifier *verifier, struct term *term,
				    struct snapshot *snapshot)
{
	struct err err = ERR_INIT;

	if (store_verify(verifier->setup.store, snapshot, verifier->setup.cancel, &err) == 0)
		return VERIFIER_GOOD;
	if (err.kind == ERR_CANCELED)
		return VERIFIER_STOPPED;
	if (err.kind == ERR_BAD_DATA)
		verifier_report(verifier, term, snapshot, &err);
	else
		log_event(LOG_LEVEL_WARNING, "not_verified", LOG_STR("term", term->config->name),
			  LOG_STR("error", err.msg));
	return VERIFIER_BAD;
}

/* A term whose snapshot at the start is not verified. */
struct candidate {
	struct term *term;
	uint64_t size_bytes;
};

static int compare_candidates(const void *a, const void *b)
{
	const struct candidate *left = a, *right = b;

	return (left->size_bytes > right->size_bytes) - (left->size_bytes < right->size_bytes);
}

static size_t find_candidates(struct verifier *verifier, struct candidate *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < verifier->setup.n_terms; i++) {
		struct term *term = &verifier->setup.terms[i];
		struct snapshot *snapshot = term_current(term);
		if (snapshot && atomic_load(&snapshot->integrity) == SNAPSHOT_UNVERIFIED)
			ret[n++] = (struct candidate){ term, snapshot->size_bytes };
		snapshot_unref(snapshot);
	}
	qsort(ret, n, sizeof(*ret), compare_candidates);
	return n;
}

static void *background_main(void *arg)
{
	struct verifier *verifier = arg;
	struct sched_param idle = { 0 };
	_cleanup_free_ struct candidate *candidates = calloc(verifier->setup.n_terms + 1,
							     sizeof(*candidates));

	pthread_setname_np(pthread_self(), "verify-idle");
	sched_setscheduler(0, SCHED_IDLE, &idle); /* of this thread */
	if (!candidates)
		return NULL; /* each snapshot is then verified when it is read */
	size_t n = find_candidates(verifier, candidates);
	for (size_t i = 0; i < n && !cancel_requested(verifier->setup.cancel); i++) {
		struct snapshot *snapshot = term_current(candidates[i].term);
		if (snapshot)
			verify(verifier, candidates[i].term, snapshot);
		snapshot_unref(snapshot);
	}
	return NULL;
}

/* ---- parked reads ---- */

static bool is_large(const struct snapshot *snapshot)
{
	return snapshot->size_bytes > SMALL_MAX_BYTES;
}

/* With the lock held. */
static bool is_being_verified(const struct verifier *verifier, const struct snapshot *snapshot)
{
	for (size_t i = 0; i < verifier->n_readers; i++) {
		if (verifier->readers[i].snapshot == snapshot)
			return true;
	}
	return false;
}

/* With the lock held. */
static bool may_take_large(const struct verifier *verifier)
{
	size_t n = 0;

	for (size_t i = 0; i < verifier->n_readers; i++) {
		const struct snapshot *snapshot = verifier->readers[i].snapshot;
		n += snapshot && is_large(snapshot);
	}
	return n + 1 < READERS_MAX;
}

/* With the lock held: the parked read with the smallest snapshot that a thread may verify now. */
static struct verifier_read *find_read(const struct verifier *verifier)
{
	bool takes_large = may_take_large(verifier);
	struct verifier_read *read, *best = NULL;

	DL_FOREACH(verifier->reads, read) {
		const struct snapshot *snapshot = read->snapshot;
		if ((!best || snapshot->size_bytes < best->snapshot->size_bytes) &&
		    (takes_large || !is_large(snapshot)) && !is_being_verified(verifier, snapshot))
			best = read;
	}
	return best;
}

/* With the lock held. */
static bool has_idle_reader(const struct verifier *verifier)
{
	for (size_t i = 0; i < verifier->n_readers; i++) {
		if (!verifier->readers[i].snapshot)
			return true;
	}
	return false;
}

static void *reader_main(void *arg);

/* With the lock held: starts one more thread. Returns 0 or an errno. */
static int start_reader(struct verifier *verifier)
{
	struct reader *reader = &verifier->readers[verifier->n_readers];

	*reader = (struct reader){ .verifier = verifier };
	int failure = pthread_create(&reader->thread, NULL, reader_main, reader);
	verifier->n_readers += !failure;
	return failure;
}

/* With the lock held. An idle reader may have been woken for another read: the reader that takes
 * that one calls this again. If no thread can be started, the ones that run do all the work. */
static void ensure_reader(struct verifier *verifier)
{
	if (find_read(verifier) && !has_idle_reader(verifier) && verifier->n_readers < READERS_MAX)
		start_reader(verifier);
}

/* Waits for a read and removes it from the queue. NULL when the verifier ends. */
static struct verifier_read *next_read(struct reader *reader)
{
	struct verifier *verifier = reader->verifier;
	struct verifier_read *read = NULL;

	pthread_mutex_lock(&verifier->lock);
	while (!verifier->ending && !(read = find_read(verifier)))
		pthread_cond_wait(&verifier->wanted, &verifier->lock);
	if (verifier->ending)
		read = NULL;
	if (read) {
		DL_DELETE(verifier->reads, read);
		reader->snapshot = read->snapshot;
		reader->number = ++verifier->n_begun;
		ensure_reader(verifier);
	}
	pthread_mutex_unlock(&verifier->lock);
	return read;
}

/* Does the verdict hold for this read? That the file could not be read says nothing about a later
 * attempt. With the lock held. */
static bool has_verdict(const struct reader *reader, const struct verifier_read *read,
			const struct snapshot *snapshot, enum verifier_verdict verdict)
{
	bool is_final = verdict != VERIFIER_BAD ||
			atomic_load(&snapshot->integrity) == SNAPSHOT_CORRUPT;

	return read->snapshot == snapshot && (is_final || read->parked_at < reader->number);
}

/* Removes another read for which the verdict holds; NULL if there is none. Reads that are parked
 * later find the verdict in the snapshot, or are verified again. */
static struct verifier_read *next_of_same(struct reader *reader, const struct snapshot *snapshot,
					  enum verifier_verdict verdict)
{
	struct verifier *verifier = reader->verifier;
	struct verifier_read *read;

	pthread_mutex_lock(&verifier->lock);
	DL_FOREACH(verifier->reads, read) {
		if (has_verdict(reader, read, snapshot, verdict))
			break;
	}
	if (read) {
		DL_DELETE(verifier->reads, read);
	} else {
		reader->snapshot = NULL;
		pthread_cond_broadcast(&verifier->wanted); /* others may be taken now */
	}
	pthread_mutex_unlock(&verifier->lock);
	return read;
}

static void *reader_main(void *arg)
{
	struct reader *reader = arg;
	struct verifier *verifier = reader->verifier;
	struct verifier_read *read;

	pthread_setname_np(pthread_self(), "verify-read");
	while ((read = next_read(reader))) {
		/* Answering the first read releases its reference. */
		_cleanup_(snapshot_unref_cleanup) struct snapshot *snapshot = snapshot_ref(
			read->snapshot);
		enum verifier_verdict verdict = verify(verifier, read->term, snapshot);

		do {
			read->answer(read, verdict);
		} while ((read = next_of_same(reader, snapshot, verdict)));
	}
	return NULL;
}

void verifier_park(struct verifier *verifier, struct verifier_read *read)
{
	pthread_mutex_lock(&verifier->lock);
	bool taken = !verifier->ending;
	if (taken) {
		read->parked_at = verifier->n_begun;
		DL_APPEND(verifier->reads, read);
		ensure_reader(verifier);
		pthread_cond_signal(&verifier->wanted);
	}
	pthread_mutex_unlock(&verifier->lock);
	if (!taken)
		read->answer(read, VERIFIER_STOPPED);
}

DEFINE_CLEANUP(struct verifier, verifier_free)

int verifier_new(struct verifier **ret, const struct verifier_setup *setup, struct err *err)
{
	_cleanup_(verifier_free_cleanup) struct verifier *verifier = calloc(1, sizeof(*verifier));

	if (!verifier)
		return err_set(err, ERR_INTERNAL, "verifier: out of memory");
	verifier->setup = *setup;
	pthread_mutex_init(&verifier->lock, NULL);
	pthread_cond_init(&verifier->wanted, NULL);
	pthread_mutex_lock(&verifier->lock);
	int failure = start_reader(verifier); /* so that there is always one */
	pthread_mutex_unlock(&verifier->lock);
	if (failure)
		return err_set(err, ERR_INTERNAL, "verifier: thread: %s", strerror(failure));
	failure = pthread_create(&verifier->background, NULL, background_main, verifier);
	if (failure)
		return err_set(err, ERR_INTERNAL, "verifier: thread: %s", strerror(failure));
	verifier->background_started = true;
	*ret = steal_ptr(&verifier);
	return 0;
}

void verifier_stop(struct verifier *verifier)
{
	struct verifier_read *read, *next;

	pthread_mutex_lock(&verifier->lock);
	verifier->ending = true;
	size_t n_readers = verifier->n_readers; /* no more are started */
	pthread_cond_broadcast(&verifier->wanted);
	pthread_mutex_unlock(&verifier->lock);
	if (verifier->background_started)
		pthread_join(verifier->background, NULL);
	for (size_t i = 0; i < n_readers; i++)
		pthread_join(verifier->readers[i].thread, NULL);
	verifier->background_started = false;
	verifier->n_readers = 0;
	DL_FOREACH_SAFE(verifier->reads, read, next)
	{
		DL_DELETE(verifier->reads, read);
		read->answer(read, VERIFIER_STOPPED);
	}
}

void verifier_free(struct verifier *verifier)
{
	if (!verifier)
		return;
	verifier_stop(verifier);
	pthread_cond_destroy(&verifier->wanted);
	pthread_mutex_destroy(&verifier->lock);
	free(verifier);
}
