#include "mount/connection/slots.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/clock.h"

#ifndef MFD_NOEXEC_SEAL
#	define MFD_NOEXEC_SEAL 0x0008U
#endif

#define MAGIC	       UINT64_C(0x73746f6c73667072) /* "rpfslots" */
#define LAYOUT_VERSION 2

/* Slots begin at a page's start, however large pages are. */
#define HEAD_SIZE 65536
#define INIT_SIZE 4096

/* As many as a busy mount has at once; more would exceed what a user may lock. */
#define LOCKED_SLOTS 256

/* More than can be on their way from the store to the kernel at once. */
#define ANNOUNCED_MAX 1024

#define WORD_BITS 64
#define N_WORDS	  (SLOTS_MAX / WORD_BITS)

/* An INIT message; len is set last. */
struct saved {
	_Atomic uint32_t len;
	_Alignas(8) uint8_t bytes[INIT_SIZE];
};

/* What a watchdog wants to know of a slot, written after the read. */
struct taken {
	_Atomic int64_t at_ms; /* clock_boot_ms(); 0: there is no request */
	_Atomic uint32_t opcode;
};

struct head {
	uint64_t magic;
	uint32_t layout_version;
	uint32_t head_size;
	uint32_t n_slots;
	uint32_t slot_size;
	_Atomic uint64_t mount;
	_Atomic uint64_t attributes;
	_Atomic uint32_t high_water; /* slots that were ever claimed: no memory behind them */
	struct saved init_request;
	struct saved init_reply;
	struct taken taken[SLOTS_MAX];
	_Atomic uint64_t first_known; /* the largest id that was there from the first look-up on */
	_Atomic uint64_t showing;
	_Atomic uint64_t n_announced;
	_Atomic uint64_t announced[ANNOUNCED_MAX]; /* a ring: the last ones */
};

union slot {
	struct fuse_in_header in;
	uint8_t bytes[SLOT_SIZE];
};

struct shared {
	union {
		struct head head;
		uint8_t space[HEAD_SIZE];
	};
	union slot slots[SLOTS_MAX];
};

_Static_assert(sizeof(struct head) <= HEAD_SIZE, "the head has its space");

struct slots {
	struct shared *shared; /* mapped */
	sem_t free;	       /* counts them */
	_Atomic uint64_t claimed[N_WORDS];
	_Atomic uint64_t inherited[N_WORDS]; /* and not handed out yet */
	_Atomic uint64_t uniques[SLOTS_MAX]; /* of what was taken; 0: nothing */
	uint64_t known_below; /* ids that were announced before the memfd was mapped */
};

int slots_make(struct err *err)
{
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	_cleanup_close_ int memfd = memfd_create("rptfs-slots",
						 MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
	const struct head head = {
		.magic = MAGIC,
		.layout_version = LAYOUT_VERSION,
		.head_size = sizeof(struct head),
		.n_slots = SLOTS_MAX,
		.slot_size = SLOT_SIZE,
	};

	if (memfd < 0 && errno == EINVAL) /* Linux before 6.3 */
		memfd = memfd_create("rptfs-slots", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (memfd < 0)
		return err_errno(err, "request slots: memfd");
	if (ftruncate(memfd, sizeof(struct shared)) < 0 ||
	    pwrite(memfd, &head, offsetof(struct head, mount), 0) != offsetof(struct head, mount) ||
	    fcntl(memfd, F_ADD_SEALS, seals) < 0)
		return err_errno(err, "request slots");
	return steal_fd(&memfd);
}

static bool is_known(const struct head *head)
{
	return head->magic == MAGIC && head->layout_version == LAYOUT_VERSION &&
	       head->head_size == sizeof(*head) && head->n_slots == SLOTS_MAX &&
	       head->slot_size == SLOT_SIZE;
}

/* Of a ring that is full: what is smaller was announced long ago. */
static uint64_t lowest_remembered(const struct head *head)
{
	uint64_t lowest = UINT64_MAX;

	if (atomic_load(&head->n_announced) < ANNOUNCED_MAX)
		return 0;
	for (size_t i = 0; i < ANNOUNCED_MAX; i++) {
		uint64_t announced = atomic_load(&head->announced[i]);
		lowest = announced < lowest ? announced : lowest;
	}
	return lowest;
}

int slots_map(struct slots **ret, int memfd, struct err *err)
{
	_cleanup_(slots_unmap_cleanup) struct slots *slots = calloc(1, sizeof(*slots));
	struct stat stat;

	if (!slots)
		return err_set(err, ERR_INTERNAL, "request slots: out of memory");
	sem_init(&slots->free, 0, SLOTS_MAX);
	if (fstat(memfd, &stat) < 0)
		return err_errno(err, "request slots");
	if (stat.st_size != sizeof(struct shared))
		return err_set(
			err, ERR_BAD_DATA,
			"request slots are of another version: they have %lld bytes, not %zu",
			(long long)stat.st_size, sizeof(struct shared));
	void *mapping = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, memfd,
			     0);
	if (mapping == MAP_FAILED)
		return err_errno(err, "request slots: mmap");
	slots->shared = mapping;
	if (!is_known(&slots->shared->head))
		return err_set(err, ERR_BAD_DATA, "request slots are of another version");
	slots->known_below = lowest_remembered(&slots->shared->head);
	*ret = steal_ptr(&slots);
	return 0;
}

void slots_unmap(struct slots *slots)
{
	if (!slots)
		return;
	if (slots->shared)
		munmap(slots->shared, sizeof(*slots->shared));
	sem_destroy(&slots->free);
	free(slots);
}

uint64_t slots_mount(const struct slots *slots)
{
	return atomic_load(&slots->shared->head.mount);
}

void slots_set_mount(struct slots *slots, uint64_t mount)
{
	atomic_store(&slots->shared->head.mount, mount);
}

void slots_set_first(struct slots *slots, uint64_t id)
{
	atomic_store(&slots->shared->head.first_known, id);
}

void slots_note_showing(struct slots *slots, uint64_t id)
{
	atomic_store(&slots->shared->head.showing, id);
}

void slots_note_announced(struct slots *slots, uint64_t id)
{
	struct head *head = &slots->shared->head;
	uint64_t n = atomic_fetch_add(&head->n_announced, 1);

	atomic_store(&head->announced[n % ANNOUNCED_MAX], id);
}

bool slots_was_announced(const struct slots *slots, uint64_t id)
{
	const struct head *head = &slots->shared->head;
	uint64_t n = atomic_load(&head->n_announced);

	if (id <= atomic_load(&head->first_known) || id < slots->known_below)
		return true;
	for (size_t i = 0; i < ANNOUNCED_MAX && i < n; i++) {
		if (atomic_load(&head->announced[i]) == id)
			return true;
	}
	return id < lowest_remembered(head);
}

bool slots_may_be_known(const struct slots *slots, uint64_t id)
{
	return atomic_load(&slots->shared->head.showing) == id || slots_was_announced(slots, id);
}

uint64_t slots_attributes(const struct slots *slots)
{
	return atomic_load(&slots->shared->head.attributes);
}

void slots_set_attributes(struct slots *slots, uint64_t attributes)
{
	atomic_store(&slots->shared->head.attributes, attributes);
}

/* Pages behind the high water are not touched: looking would make them. */
static size_t high_water(const struct slots *slots)
{
	uint32_t mark = atomic_load(&slots->shared->head.high_water);

	return mark < SLOTS_MAX ? mark : SLOTS_MAX;
}

int64_t slots_oldest_ms(const struct slots *slots, int64_t now_ms)
{
	const struct taken *taken = slots->shared->head.taken;
	size_t n = high_water(slots);
	int64_t oldest_ms = 0;

	for (size_t i = 0; i < n; i++) {
		int64_t at_ms = atomic_load(&taken[i].at_ms);
		if (at_ms && atomic_load(&taken[i].opcode) != FUSE_READ &&
		    now_ms - at_ms > oldest_ms)
			oldest_ms = now_ms - at_ms;
	}
	return oldest_ms;
}

size_t slots_occupied(const struct slots *slots)
{
	const struct taken *taken = slots->shared->head.taken;
	size_t n = high_water(slots), occupied = 0;

	for (size_t i = 0; i < n; i++)
		occupied += atomic_load(&taken[i].at_ms) != 0;
	return occupied;
}

/* ------------------------------------------------------------------ INIT */

static const void *saved_bytes(const struct saved *saved, size_t *ret_len)
{
	uint32_t len = atomic_load(&saved->len);

	if (len == 0 || len > INIT_SIZE)
		return NULL;
	*ret_len = len;
	return saved->bytes;
}

static int save(struct saved *saved, const void *bytes, size_t len)
{
	if (len > INIT_SIZE)
		return -1;
	memcpy(saved->bytes, bytes, len);
	atomic_store(&saved->len, (uint32_t)len);
	return 0;
}

const void *slots_init_request(const struct slots *slots, size_t *ret_len)
{
	return saved_bytes(&slots->shared->head.init_request, ret_len);
}

const void *slots_init_reply(const struct slots *slots, size_t *ret_len)
{
	return saved_bytes(&slots->shared->head.init_reply, ret_len);
}

int slots_save_init_request(struct slots *slots, const void *request, size_t len)
{
	return save(&slots->shared->head.init_request, request, len);
}

int slots_save_init_reply(struct slots *slots, const void *reply, size_t len)
{
	return save(&slots->shared->head.init_reply, reply, len);
}

bool slots_negotiated(const struct slots *slots)
{
	size_t len;

	return slots_init_reply(slots, &len) != NULL;
}

/* ------------------------------------------------------------------ slots */

/* A thread that is cancelled in slots_claim() leaves its frame behind, which must have nothing in
 * it that AddressSanitizer guards: what these have is kept out of it. */
#define OWN_FRAME __attribute__((noinline))

/* Sets the lowest bit that is free; -1 if none is. */
OWN_FRAME static int claim_lowest(struct slots *slots)
{
	for (int word = 0; word < N_WORDS; word++) {
		uint64_t old = atomic_load(&slots->claimed[word]);
		while (~old) {
			int bit = __builtin_ctzll(~old);
			if (atomic_compare_exchange_weak(&slots->claimed[word], &old,
							 old | UINT64_C(1) << bit))
				return word * WORD_BITS + bit;
		}
	}
	return -1;
}

OWN_FRAME static void raise_high_water(struct head *head, uint32_t mark)
{
	uint32_t old = atomic_load(&head->high_water);

	while (old < mark && !atomic_compare_exchange_weak(&head->high_water, &old, mark))
		;
}

int slots_claim(struct slots *slots)
{
	int slot;

	if (sem_wait(&slots->free) < 0)
		return -1;
	/* The semaphore says that there is one; a search may just have passed it. */
	while ((slot = claim_lowest(slots)) < 0)
		;
	raise_high_water(&slots->shared->head, (uint32_t)slot + 1);
	slots->shared->slots[slot].in.unique = 0; /* makes the page */
	return slot;
}

void *slots_buffer(struct slots *slots, int slot)
{
	return slots->shared->slots[slot].bytes;
}

static void note_taken(struct slots *slots, int slot, int64_t at_ms)
{
	const struct fuse_in_header *in = &slots->shared->slots[slot].in;
	struct taken *taken = &slots->shared->head.taken[slot];

	atomic_store(&slots->uniques[slot], in->unique);
	atomic_store(&taken->opcode, in->opcode);
	atomic_store(&taken->at_ms, at_ms);
}

void slots_taken(struct slots *slots, int slot)
{
	note_taken(slots, slot, clock_boot_ms());
}

void slots_clear(struct slots *slots, int slot)
{
	uint64_t bit = UINT64_C(1) << slot % WORD_BITS;

	slots->shared->slots[slot].in.unique = 0;
	atomic_store(&slots->shared->head.taken[slot].at_ms, 0);
	atomic_store(&slots->uniques[slot], 0);
	atomic_fetch_and(&slots->inherited[slot / WORD_BITS], ~bit);
	atomic_fetch_and(&slots->claimed[slot / WORD_BITS], ~bit);
	sem_post(&slots->free);
}

void slots_answered(struct slots *slots, uint64_t unique)
{
	for (int word = 0; word < N_WORDS; word++) {
		uint64_t claimed = atomic_load(&slots->claimed[word]);
		for (; claimed; claimed &= claimed - 1) {
			int slot = word * WORD_BITS + __builtin_ctzll(claimed);
			if (atomic_load(&slots->uniques[slot]) == unique) {
				slots_clear(slots, slot);
				return;
			}
		}
	}
}

/* ------------------------------------------------------------------ taking over */

/* Is there a request that somebody waits for? The header is the kernel's, or was meddled with. */
static bool is_left(const struct fuse_in_header *in)
{
	return in->unique && in->len >= sizeof(*in) && in->len < SLOT_SIZE &&
	       in->opcode != FUSE_INTERRUPT && in->opcode != FUSE_NOTIFY_REPLY;
}

static void inherit(struct slots *slots, int slot)
{
	struct taken *taken = &slots->shared->head.taken[slot];
	union slot *shared = &slots->shared->slots[slot];
	uint64_t bit = UINT64_C(1) << slot % WORD_BITS;
	int64_t at_ms = atomic_load(&taken->at_ms);

	if (!is_left(&shared->in)) {
		shared->in.unique = 0;
		atomic_store(&taken->at_ms, 0);
		return;
	}
	sem_trywait(&slots->free); /* never waits: one for each slot */
	atomic_fetch_or(&slots->claimed[slot / WORD_BITS], bit);
	atomic_fetch_or(&slots->inherited[slot / WORD_BITS], bit);
	note_taken(slots, slot, at_ms ? at_ms : clock_boot_ms());
}

void slots_inherit(struct slots *slots)
{
	const size_t locked = offsetof(struct shared, slots[LOCKED_SLOTS]);

	/* What was paged out is paged in again by the kernel's copy, unless this process is being
	 * killed just then: the request would fail. Without the right to lock that can happen. */
	mlock2(slots->shared, locked, MLOCK_ONFAULT);
	for (size_t i = 0, n = high_water(slots); i < n; i++)
		inherit(slots, (int)i);
}

int slots_inherited(struct slots *slots)
{
	for (int word = 0; word < N_WORDS; word++) {
		uint64_t old = atomic_load(&slots->inherited[word]);
		while (old) {
			if (atomic_compare_exchange_weak(&slots->inherited[word], &old,
							 old & (old - 1)))
				return word * WORD_BITS + __builtin_ctzll(old);
		}
	}
	return -1;
}
