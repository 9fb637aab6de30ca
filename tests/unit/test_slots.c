/* slots: what outlives a worker, without a kernel. */
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "mount/connection/slots.h"
#include "tap.h"

/* As the kernel writes it. */
static void put_request(struct slots *slots, int slot, uint64_t unique, uint32_t opcode)
{
	struct fuse_in_header in = { .unique = unique, .opcode = opcode, .len = sizeof(in) + 8 };

	memcpy(slots_buffer(slots, slot), &in, sizeof(in));
}

static int take(struct slots *slots, uint64_t unique, uint32_t opcode)
{
	int slot = slots_claim(slots);

	put_request(slots, slot, unique, opcode);
	slots_taken(slots, slot);
	return slot;
}

static void test_memfd(void)
{
	struct err err = ERR_INIT;
	struct slots *slots = NULL;
	struct stat stat;
	int memfd = slots_make(&err);

	ok(memfd >= 0, "slots_make");
	ok(ftruncate(memfd, 4096) < 0, "nobody can cut it off");
	ok(fcntl(memfd, F_GETFD) & FD_CLOEXEC, "it is closed on exec");
	fstat(memfd, &stat);
	ok(stat.st_blocks * 512 < 128 * 1024, "untouched slots take no memory");
	ok(slots_map(&slots, memfd, &err) == 0, "slots_map");
	slots_unmap(slots);
	slots_unmap(NULL);

	uint32_t other = 99;
	ok(pwrite(memfd, &other, sizeof(other), 8) == sizeof(other), "another layout's number");
	ok(slots_map(&slots, memfd, &err) < 0 && err.kind == ERR_BAD_DATA, "is refused");
	close(memfd);
	memfd = memfd_create("short", MFD_CLOEXEC);
	err = (struct err)ERR_INIT;
	ok(slots_map(&slots, memfd, &err) < 0 && err.kind == ERR_BAD_DATA,
	   "and so is what is too short");
	close(memfd);
}

static void test_numbers(struct slots *slots, struct slots *other)
{
	is_int(slots_mount(slots), 0, "no mount yet");
	slots_set_mount(slots, 77);
	is_int(slots_mount(other), 77, "the mount is seen through another mapping");
	slots_set_first(slots, 5);
	ok(!slots_was_announced(slots, 7), "nothing was announced");
	ok(slots_was_announced(other, 5), "but what was there before needs no announcement");
	slots_note_announced(slots, 7);
	slots_note_announced(slots, 9);
	ok(slots_was_announced(other, 7) && slots_was_announced(other, 9), "these two were");
	ok(!slots_was_announced(other, 8) && !slots_was_announced(other, 6), "and no others");
	for (uint64_t id = 1000; id < 3000; id++)
		slots_note_announced(slots, id);
	ok(slots_was_announced(other, 2999) && !slots_was_announced(other, 3000) &&
		   slots_was_announced(other, 8),
	   "what is older than all that is remembered was announced long ago");
	slots_set_attributes(slots, 5);
	is_int(slots_attributes(other), 5, "attributes are kept");
}

static void test_init(struct slots *slots, struct slots *other)
{
	static char large[SLOT_SIZE];
	size_t len = 0;

	ok(!slots_init_request(slots, &len) && !slots_negotiated(slots), "nothing is negotiated");
	ok(slots_save_init_request(slots, "request", 8) == 0, "the request is saved");
	ok(!slots_negotiated(other), "which is not enough");
	ok(slots_save_init_reply(slots, "reply", 6) == 0, "the reply is saved");
	ok(slots_negotiated(other), "now it is");
	is_str(slots_init_request(other, &len), "request", "the request is found");
	is_int(len, 8, "its length");
	is_str(slots_init_reply(other, &len), "reply", "the reply is found");
	ok(slots_save_init_reply(slots, large, sizeof(large)) < 0, "what is too large is refused");
}

static void test_taking(struct slots *slots, struct slots *watchdog)
{
	int first = take(slots, 10, FUSE_READ), second = take(slots, 12, FUSE_LOOKUP);

	ok(first == 0 && second == 1, "the lowest slots first");
	is_int(slots_occupied(watchdog), 2, "two are occupied");
	int64_t now_ms = clock_boot_ms();
	ok(slots_oldest_ms(watchdog, now_ms + 500) >= 500, "a look-up waits");
	slots_answered(slots, 14);
	is_int(slots_occupied(watchdog), 2, "an answer to something else");
	slots_answered(slots, 12);
	is_int(slots_occupied(watchdog), 1, "is answered");
	is_int(slots_oldest_ms(watchdog, now_ms + 500), 0, "a READ may take its time");
	is_int(take(slots, 16, FUSE_GETATTR), 1, "the slot is used again");
	slots_answered(slots, 10);
	slots_answered(slots, 16);
	is_int(slots_occupied(watchdog), 0, "all are answered");
}

static void test_inheriting(struct slots *dead, struct slots *successor)
{
	take(dead, 20, FUSE_READ);
	take(dead, 22, FUSE_INTERRUPT);
	take(dead, 24, FUSE_LOOKUP);
	put_request(dead, slots_claim(dead), 26, FUSE_GETATTR); /* it died before it noted it */
	slots_claim(dead);					/* and another thread in read(2) */
	int meddled = take(dead, 28, FUSE_LOOKUP);
	((struct fuse_in_header *)slots_buffer(dead, meddled))->len = 1 << 20;

	slots_inherit(successor);
	int seen = 0, slot;
	while ((slot = slots_inherited(successor)) >= 0) {
		const struct fuse_in_header *in = slots_buffer(successor, slot);
		seen += in->unique == 20 || in->unique == 24 || in->unique == 26 ? 1 : 100;
	}
	is_int(seen, 3, "what somebody waits for is inherited, once");
	is_int(slots_occupied(successor), 3, "and counted, noted or not");
	ok(slots_oldest_ms(successor, clock_boot_ms() + 500) >= 500, "and watched");
	int free_slot = slots_claim(successor);
	ok(free_slot == 1, "what nobody waits for is free");
	slots_clear(successor, free_slot);
	slots_answered(successor, 20);
	slots_answered(successor, 24);
	slots_answered(successor, 26);
	is_int(slots_occupied(successor), 0, "all are answered");
}

struct crowd {
	struct slots *slots;
	_Atomic uint64_t next_unique;
	atomic_int twice;
	_Atomic int owner[SLOTS_MAX];
};

static void *take_and_answer(void *arg)
{
	struct crowd *crowd = arg;

	for (int i = 0; i < 3000; i++) {
		uint64_t unique = atomic_fetch_add(&crowd->next_unique, 2);
		int slot = slots_claim(crowd->slots);
		if (atomic_fetch_add(&crowd->owner[slot], 1) != 0)
			atomic_fetch_add(&crowd->twice, 1);
		put_request(crowd->slots, slot, unique, FUSE_READ);
		slots_taken(crowd->slots, slot);
		atomic_fetch_sub(&crowd->owner[slot], 1);
		slots_answered(crowd->slots, unique);
	}
	return NULL;
}

static void test_threads(struct slots *slots)
{
	static struct crowd crowd;
	pthread_t threads[8];

	crowd.slots = slots;
	atomic_store(&crowd.next_unique, 1000);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_create(&threads[i], NULL, take_and_answer, &crowd);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	is_int(atomic_load(&crowd.twice), 0, "no slot has two owners");
	is_int(slots_occupied(slots), 0, "and none is lost");
}

static void *claim_one(void *arg)
{
	struct slots *slots = arg;

	slots_claim(slots);
	return NULL;
}

static void test_full(struct slots *slots)
{
	pthread_t thread;
	void *result;

	for (int i = 0; i < SLOTS_MAX; i++)
		take(slots, 100000 + 2 * (uint64_t)i, FUSE_READ);
	is_int(slots_occupied(slots), SLOTS_MAX, "all are taken");
	pthread_create(&thread, NULL, claim_one, slots);
	slots_answered(slots, 100000 + 2 * 500);
	pthread_join(thread, NULL);
	ok(true, "one that waits gets what becomes free");
	pthread_create(&thread, NULL, claim_one, slots);
	pthread_cancel(thread);
	pthread_join(thread, &result);
	ok(result == PTHREAD_CANCELED, "waiting can be ended");
	slots_answered(slots, 100000 + 2 * 7);
	is_int(slots_claim(slots), 7, "which holds nothing up");
}

int main(void)
{
	struct err err = ERR_INIT;
	struct slots *slots = NULL, *other = NULL, *third = NULL;
	int memfd = slots_make(&err);

	test_memfd();
	if (slots_map(&slots, memfd, &err) < 0 || slots_map(&other, memfd, &err) < 0 ||
	    slots_map(&third, memfd, &err) < 0)
		printf("Bail out! %s\n", err.msg);
	test_numbers(slots, other);
	test_init(slots, other);
	test_taking(slots, other);
	test_inheriting(slots, other);
	test_threads(other);
	slots_inherit(third);
	test_full(third);
	slots_unmap(slots);
	slots_unmap(other);
	slots_unmap(third);
	close(memfd);
	return tap_done();
}
