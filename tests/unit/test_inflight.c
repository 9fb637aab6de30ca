/* inflight: the records of requests that outlive a worker, without a kernel. */
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "mount/connection/inflight.h"
#include "tap.h"

/* Writes a request as the kernel does. */
static void put_request(struct inflight *inflight, int record, uint64_t unique, uint32_t opcode)
{
	struct fuse_in_header in = { .unique = unique, .opcode = opcode, .len = sizeof(in) + 8 };

	memcpy(inflight_buffer(inflight, record), &in, sizeof(in));
}

static int take(struct inflight *inflight, uint64_t unique, uint32_t opcode)
{
	int record = inflight_claim(inflight);

	put_request(inflight, record, unique, opcode);
	inflight_taken(inflight, record, unique, opcode);
	return record;
}

static void test_memfd(void)
{
	struct err err = ERR_INIT;
	struct inflight *inflight = NULL;
	struct stat stat;
	int memfd = inflight_make(&err);

	ok(memfd >= 0, "inflight_make");
	ok(ftruncate(memfd, 4096) < 0, "it cannot be truncated");
	ok(fcntl(memfd, F_GETFD) & FD_CLOEXEC, "it is closed on exec");
	fstat(memfd, &stat);
	ok(stat.st_blocks * 512 < 128 * 1024, "untouched records take no memory");
	ok(inflight_map(&inflight, memfd, &err) == 0, "inflight_map");
	inflight_unmap(inflight);
	inflight_unmap(NULL);

	uint32_t other = 99;
	ok(pwrite(memfd, &other, sizeof(other), 8) == sizeof(other),
	   "the number of another layout is written");
	ok(inflight_map(&inflight, memfd, &err) < 0 && err.kind == ERR_BAD_DATA,
	   "a memfd with another layout is refused");
	close(memfd);
	memfd = memfd_create("short", MFD_CLOEXEC);
	err = (struct err)ERR_INIT;
	ok(inflight_map(&inflight, memfd, &err) < 0 && err.kind == ERR_BAD_DATA,
	   "a memfd that is too short is refused");
	close(memfd);
}

static void test_numbers(struct inflight *inflight, struct inflight *other)
{
	is_int(inflight_mount(inflight), 0, "no mount yet");
	inflight_set_mount(inflight, 77);
	is_int(inflight_mount(other), 77, "the mount is seen through another mapping");
	inflight_set_first(inflight, 5);
	ok(!inflight_was_announced(inflight, 7), "an id was not announced");
	ok(inflight_was_announced(other, 5), "ids up to the first one need no announcement");
	inflight_note_announced(inflight, 7);
	inflight_note_announced(inflight, 9);
	ok(inflight_was_announced(other, 7) && inflight_was_announced(other, 9),
	   "two ids were announced");
	ok(!inflight_was_announced(other, 8) && !inflight_was_announced(other, 6),
	   "no other id was");
	for (uint64_t id = 1000; id < 3000; id++)
		inflight_note_announced(inflight, id);
	ok(inflight_was_announced(other, 2999) && !inflight_was_announced(other, 3000) &&
		   inflight_was_announced(other, 8),
	   "an id older than all recorded ones counts as announced");
	inflight_set_attributes(inflight, 5);
	is_int(inflight_attributes(other), 5, "attributes are kept");
}

static void test_init(struct inflight *inflight, struct inflight *other)
{
	static char large[INFLIGHT_RECORD_SIZE];
	size_t len = 0;

	ok(!inflight_init_request(inflight, &len) && !inflight_negotiated(inflight),
	   "nothing is negotiated at first");
	ok(inflight_save_init_request(inflight, "request", 8) == 0, "the request is saved");
	ok(!inflight_negotiated(other), "the request alone is not enough");
	ok(inflight_save_init_reply(inflight, "reply", 6) == 0, "the reply is saved");
	ok(inflight_negotiated(other), "with both, INIT is negotiated");
	is_str(inflight_init_request(other, &len), "request", "the request can be read");
	is_int(len, 8, "its length");
	is_str(inflight_init_reply(other, &len), "reply", "the reply can be read");
	ok(inflight_save_init_reply(inflight, large, sizeof(large)) < 0,
	   "a reply that is too large is refused");
}

static void test_taking(struct inflight *inflight, struct inflight *watchdog)
{
	int first = take(inflight, 10, FUSE_READ), second = take(inflight, 12, FUSE_LOOKUP);

	ok(first == 0 && second == 1, "the lowest records are used first");
	is_int(inflight_occupied(watchdog), 2, "two are occupied");
	int64_t now_ms = clock_boot_ms();
	ok(inflight_oldest_ms(watchdog, now_ms + 500) >= 500, "the age of a look-up counts");
	inflight_answered(inflight, 14);
	is_int(inflight_occupied(watchdog), 2, "an answer to an unknown request changes nothing");
	inflight_answered(inflight, 12);
	is_int(inflight_occupied(watchdog), 1, "an answer frees the record");
	is_int(inflight_oldest_ms(watchdog, now_ms + 500), 0, "the age of a READ does not count");
	is_int(take(inflight, 16, FUSE_GETATTR), 1, "the record is reused");
	inflight_answered(inflight, 10);
	inflight_answered(inflight, 16);
	is_int(inflight_occupied(watchdog), 0, "all are answered");
}

/* Where the head of the memfd has this word; -1: nowhere. */
static off_t find_word(int memfd, int64_t word)
{
	int64_t found;

	for (off_t at = 0; at < 65536; at += (off_t)sizeof(found)) {
		if (pread(memfd, &found, sizeof(found), at) == sizeof(found) && found == word)
			return at;
	}
	return -1;
}

/* A worker that was taken over can write to the memory that it shares. */
static void test_forged_time(void)
{
	struct err err = ERR_INIT;
	struct inflight *inflight = NULL;
	int memfd = inflight_make(&err);
	int64_t now_ms = clock_boot_ms() + 500;
	static const int64_t forged[] = { -1, INT64_MIN };

	if (!ok(memfd >= 0 && inflight_map(&inflight, memfd, &err) == 0, "another memfd"))
		return;
	take(inflight, 40, FUSE_LOOKUP);
	off_t at = find_word(memfd, now_ms - inflight_oldest_ms(inflight, now_ms));
	for (size_t i = 0; i < ARRAY_SIZE(forged); i++) {
		ok(at > 0 && pwrite(memfd, &forged[i], sizeof(*forged), at) == sizeof(*forged),
		   "the time of a request is forged");
		is_int(inflight_oldest_ms(inflight, now_ms), 0,
		       "a time before the boot does not count");
	}
	inflight_unmap(inflight);
	close(memfd);
}

static void test_inheriting(struct inflight *dead, struct inflight *successor)
{
	struct fuse_in_header request[4];

	take(dead, 20, FUSE_READ);
	take(dead, 22, FUSE_INTERRUPT);
	take(dead, 24, FUSE_LOOKUP);
	put_request(dead, inflight_claim(dead), 26,
		    FUSE_GETATTR); /* it died before inflight_taken() */
	inflight_claim(dead);	   /* another thread was in read(2) */
	int forged = take(dead, 28, FUSE_LOOKUP);
	((struct fuse_in_header *)inflight_buffer(dead, forged))->len = 1 << 20;
	forged = take(dead, 30, FUSE_LOOKUP);
	((struct fuse_in_header *)inflight_buffer(dead, forged))->len = sizeof(request) + 1;
	take(dead, 32, FUSE_BATCH_FORGET); /* contains a count that libfuse trusts */

	inflight_inherit(successor);
	int seen = 0;
	size_t len = 0;
	while (inflight_inherited(successor, request, sizeof(request), &len) >= 0) {
		uint64_t unique = request->unique;
		seen += unique == 20 || unique == 24 || unique == 26 ? 1 : 100;
		seen += len == sizeof(*request) + 8 && request->len == len ? 0 : 1000;
	}
	is_int(seen, 3, "each request that waits for a reply is inherited once");
	is_int(inflight_occupied(successor), 3, "each is counted, also without inflight_taken()");
	ok(inflight_oldest_ms(successor, clock_boot_ms() + 500) >= 500, "their age counts");
	int free_record = inflight_claim(successor);
	ok(free_record == 1, "other records are free");
	inflight_clear(successor, free_record);
	inflight_answered(successor, 20);
	inflight_answered(successor, 24);
	inflight_answered(successor, 26);
	is_int(inflight_occupied(successor), 0, "all are answered");
}

struct crowd {
	struct inflight *inflight;
	_Atomic uint64_t next_unique;
	atomic_int twice;
	_Atomic int owner[INFLIGHT_MAX];
};

static void *take_and_answer(void *arg)
{
	struct crowd *crowd = arg;

	for (int i = 0; i < 3000; i++) {
		uint64_t unique = atomic_fetch_add(&crowd->next_unique, 2);
		int record = inflight_claim(crowd->inflight);
		if (atomic_fetch_add(&crowd->owner[record], 1) != 0)
			atomic_fetch_add(&crowd->twice, 1);
		put_request(crowd->inflight, record, unique, FUSE_READ);
		inflight_taken(crowd->inflight, record, unique, FUSE_READ);
		atomic_fetch_sub(&crowd->owner[record], 1);
		inflight_answered(crowd->inflight, unique);
	}
	return NULL;
}

static void test_threads(struct inflight *inflight)
{
	static struct crowd crowd;
	pthread_t threads[8];

	crowd.inflight = inflight;
	atomic_store(&crowd.next_unique, 1000);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_create(&threads[i], NULL, take_and_answer, &crowd);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	is_int(atomic_load(&crowd.twice), 0, "no record has two owners");
	is_int(inflight_occupied(inflight), 0, "no record is lost");
}

static void *claim_one(void *arg)
{
	struct inflight *inflight = arg;

	inflight_claim(inflight);
	return NULL;
}

static void test_full(struct inflight *inflight)
{
	pthread_t thread;
	void *result;

	for (int i = 0; i < INFLIGHT_MAX; i++)
		take(inflight, 100000 + 2 * (uint64_t)i, FUSE_READ);
	is_int(inflight_occupied(inflight), INFLIGHT_MAX, "all are taken");
	pthread_create(&thread, NULL, claim_one, inflight);
	inflight_answered(inflight, 100000 + 2 * 500);
	pthread_join(thread, NULL);
	ok(true, "a waiting thread gets a freed record");
	pthread_create(&thread, NULL, claim_one, inflight);
	pthread_cancel(thread);
	pthread_join(thread, &result);
	ok(result == PTHREAD_CANCELED, "a waiting thread can be cancelled");
	inflight_answered(inflight, 100000 + 2 * 7);
	is_int(inflight_claim(inflight), 7, "the next thread gets a record at once");
}

int main(void)
{
	struct err err = ERR_INIT;
	struct inflight *inflight = NULL, *other = NULL, *third = NULL;
	int memfd = inflight_make(&err);

	test_memfd();
	if (inflight_map(&inflight, memfd, &err) < 0 || inflight_map(&other, memfd, &err) < 0 ||
	    inflight_map(&third, memfd, &err) < 0)
		printf("Bail out! %s\n", err.msg);
	test_numbers(inflight, other);
	test_init(inflight, other);
	test_taking(inflight, other);
	test_forged_time();
	test_inheriting(inflight, other);
	test_threads(other);
	inflight_inherit(third);
	test_full(third);
	inflight_unmap(inflight);
	inflight_unmap(other);
	inflight_unmap(third);
	close(memfd);
	return tap_done();
}
