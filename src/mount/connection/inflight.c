#include "mount/connection/inflight.h"

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

/* Records begin at the start of a page, of any page size. */
#define HEAD_SIZE 65536
#define INIT_SIZE 4096

/* As many as a busy mount has at once. More would exceed the limit on locked memory. */
#define LOCKED_RECORDS 256

/* More snapshots than can be on their way from the store to the kernel at once. */
#define ANNOUNCED_MAX 1024

#define WORD_BITS 64
#define N_WORDS	  (INFLIGHT_MAX / WORD_BITS)

/* An INIT message; len is set last. */
struct saved {
	_Atomic uint32_t len;
	_Alignas(8) uint8_t bytes[INIT_SIZE];
};

/* For a watchdog; written after the read. */
struct taken {
	_Atomic int64_t at_ms; /* clock_boot_ms(); 0: there is no request */
	_Atomic uint32_t opcode;
};

struct head {
	uint64_t magic;
	uint32_t layout_version;
	uint32_t head_size;
	uint32_t n_records;
	uint32_t record_size;
	_Atomic uint64_t mount;
	_Atomic uint64_t attributes;
	_Atomic uint32_t high_water; /* records that were ever claimed; the others have no memory */
	struct saved init_request;
	struct saved init_reply;
	struct taken taken[INFLIGHT_MAX];
	_Atomic uint64_t first_known; /* the largest id that existed before the first look-up */
	_Atomic uint64_t showing;
	_Atomic uint64_t n_announced;
	_Atomic uint64_t announced[ANNOUNCED_MAX]; /* a ring: the last ones */
};

union record {
	struct fuse_in_header in;
	uint8_t bytes[INFLIGHT_RECORD_SIZE];
};

struct shared {
	union {
		struct head head;
		uint8_t space[HEAD_SIZE];
	};
	union record records[INFLIGHT_MAX];
};

_Static_assert(sizeof(struct head) <= HEAD_SIZE, "the head fits");

struct inflight {
	struct shared *shared; /* mapped */
	sem_t free;	       /* counts the free records */
	_Atomic uint64_t claimed[N_WORDS];
	_Atomic uint64_t inherited[N_WORDS];	/* not handed out yet */
	_Atomic uint64_t uniques[INFLIGHT_MAX]; /* of received requests; 0: none */
	uint64_t known_below; /* ids that were announced before the memfd was mapped */
};

int inflight_make(struct err *err)
{
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	_cleanup_close_ int memfd = memfd_create("rptfs-inflight",
						 MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
	const struct head head = {
		.magic = MAGIC,
		.layout_version = LAYOUT_VERSION,
		.head_size = sizeof(struct head),
		.n_records = INFLIGHT_MAX,
		.record_size = INFLIGHT_RECORD_SIZE,
	};

	if (memfd < 0 && errno == EINVAL) /* Linux before 6.3 */
		memfd = memfd_create("rptfs-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (memfd < 0)
		return err_errno(err, "requests in flight: memfd");
	if (ftruncate(memfd, sizeof(struct shared)) < 0 ||
	    pwrite(memfd, &head, offsetof(struct head, mount), 0) != offsetof(struct head, mount) ||
	    fcntl(memfd, F_ADD_SEALS, seals) < 0)
		return err_errno(err, "requests in flight");
	return steal_fd(&memfd);
}

static bool is_known(const struct head *head)
{
	return head->magic == MAGIC && head->layout_version == LAYOUT_VERSION &&
	       head->head_size == sizeof(*head) && head->n_records == INFLIGHT_MAX &&
	       head->record_size == INFLIGHT_RECORD_SIZE;
}

/* The smallest id in a full ring: smaller ids were announced long ago. 0 if it is not full. */
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

int inflight_map(struct inflight **ret, int memfd, struct err *err)
{
	_cleanup_(inflight_unmap_cleanup) struct inflight *inflight = calloc(1, sizeof(*inflight));
	struct stat stat;

	if (!inflight)
		return err_set(err, ERR_INTERNAL, "requests in flight: out of memory");
	sem_init(&inflight->free, 0, INFLIGHT_MAX);
	if (fstat(memfd, &stat) < 0)
		return err_errno(err, "requests in flight");
	if (stat.st_size != sizeof(struct shared))
		return err_set(
			err, ERR_BAD_DATA,
			"requests in flight are of another version: they have %lld bytes, not %zu",
			(long long)stat.st_size, sizeof(struct shared));
	void *mapping = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, memfd,
			     0);
	if (mapping == MAP_FAILED)
		return err_errno(err, "requests in flight: mmap");
	inflight->shared = mapping;
	if (!is_known(&inflight->shared->head))
		return err_set(err, ERR_BAD_DATA, "requests in flight are of another version");
	inflight->known_below = lowest_remembered(&inflight->shared->head);
	*ret = steal_ptr(&inflight);
	return 0;
}

void inflight_unmap(struct inflight *inflight)
{
	if (!inflight)
		return;
	if (inflight->shared)
		munmap(inflight->shared, sizeof(*inflight->shared));
	sem_destroy(&inflight->free);
	free(inflight);
}

uint64_t inflight_mount(const struct inflight *inflight)
{
	return atomic_load(&inflight->shared->head.mount);
}

void inflight_set_mount(struct inflight *inflight, uint64_t mount)
{
	atomic_store(&inflight->shared->head.mount, mount);
}

void inflight_set_first(struct inflight *inflight, uint64_t id)
{
	atomic_store(&inflight->shared->head.first_known, id);
}

void inflight_note_showing(struct inflight *inflight, uint64_t id)
{
	atomic_store(&inflight->shared->head.showing, id);
}

void inflight_note_announced(struct inflight *inflight, uint64_t id)
{
	struct head *head = &inflight->shared->head;
	uint64_t n = atomic_fetch_add(&head->n_announced, 1);

	atomic_store(&head->announced[n % ANNOUNCED_MAX], id);
}

bool inflight_was_announced(const struct inflight *inflight, uint64_t id)
{
	const struct head *head = &inflight->shared->head;
	uint64_t n = atomic_load(&head->n_announced);

	if (id <= atomic_load(&head->first_known) || id < inflight->known_below)
		return true;
	for (size_t i = 0; i < ANNOUNCED_MAX && i < n; i++) {
		if (atomic_load(&head->announced[i]) == id)
			return true;
	}
	return id < lowest_remembered(head);
}

bool inflight_may_be_known(const struct inflight *inflight, uint64_t id)
{
	return atomic_load(&inflight->shared->head.showing) == id ||
	       inflight_was_announced(inflight, id);
}

uint64_t inflight_attributes(const struct inflight *inflight)
{
	return atomic_load(&inflight->shared->head.attributes);
}

void inflight_set_attributes(struct inflight *inflight, uint64_t attributes)
{
	atomic_store(&inflight->shared->head.attributes, attributes);
}

/* Pages above the high water mark are not touched: a read would allocate them. */
static size_t high_water(const struct inflight *inflight)
{
	uint32_t mark = atomic_load(&inflight->shared->head.high_water);

	return mark < INFLIGHT_MAX ? mark : INFLIGHT_MAX;
}

int64_t inflight_oldest_ms(const struct inflight *inflight, int64_t now_ms)
{
	const struct taken *taken = inflight->shared->head.taken;
	size_t n = high_water(inflight);
	int64_t oldest_ms = 0;

	for (size_t i = 0; i < n; i++) {
		int64_t at_ms = atomic_load(&taken[i].at_ms);
		/* A time before the boot was forged. */
		if (at_ms > 0 && atomic_load(&taken[i].opcode) != FUSE_READ &&
		    now_ms - at_ms > oldest_ms)
			oldest_ms = now_ms - at_ms;
	}
	return oldest_ms;
}

size_t inflight_occupied(const struct inflight *inflight)
{
	const struct taken *taken = inflight->shared->head.taken;
	size_t n = high_water(inflight), occupied = 0;

	for (size_t i = 0; i < n; i++)
		occupied += atomic_load(&taken[i].at_ms) != 0;
	return occupied;
}

/* ---- INIT ---- */

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

const void *inflight_init_request(const struct inflight *inflight, size_t *ret_len)
{
	return saved_bytes(&inflight->shared->head.init_request, ret_len);
}

const void *inflight_init_reply(const struct inflight *inflight, size_t *ret_len)
{
	return saved_bytes(&inflight->shared->head.init_reply, ret_len);
}

int inflight_save_init_request(struct inflight *inflight, const void *request, size_t len)
{
	return save(&inflight->shared->head.init_request, request, len);
}

int inflight_save_init_reply(struct inflight *inflight, const void *reply, size_t len)
{
	return save(&inflight->shared->head.init_reply, reply, len);
}

bool inflight_negotiated(const struct inflight *inflight)
{
	size_t len;

	return inflight_init_reply(inflight, &len) != NULL;
}

/* ---- records ---- */

/* A thread that is cancelled in inflight_claim() leaves its stack frame behind. The frame must have
 * no variables that AddressSanitizer guards: functions that have such variables are not inlined. */
#define OWN_FRAME __attribute__((noinline))

/* Sets the lowest free bit; -1 if there is none. */
OWN_FRAME static int claim_lowest(struct inflight *inflight)
{
	for (int word = 0; word < N_WORDS; word++) {
		uint64_t old = atomic_load(&inflight->claimed[word]);
		while (~old) {
			int bit = __builtin_ctzll(~old);
			if (atomic_compare_exchange_weak(&inflight->claimed[word], &old,
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

int inflight_claim(struct inflight *inflight)
{
	int record;

	if (sem_wait(&inflight->free) < 0)
		return -1;
	/* There is a free one, but a concurrent change may hide it from one search. */
	while ((record = claim_lowest(inflight)) < 0)
		;
	raise_high_water(&inflight->shared->head, (uint32_t)record + 1);
	inflight->shared->records[record].in.unique = 0; /* allocates the page */
	return record;
}

void *inflight_buffer(struct inflight *inflight, int record)
{
	return inflight->shared->records[record].bytes;
}

static void note_taken(struct inflight *inflight, int record, uint64_t unique, uint32_t opcode,
		       int64_t at_ms)
{
	struct taken *taken = &inflight->shared->head.taken[record];

	atomic_store(&inflight->uniques[record], unique);
	atomic_store(&taken->opcode, opcode);
	atomic_store(&taken->at_ms, at_ms);
}

void inflight_taken(struct inflight *inflight, int record, uint64_t unique, uint32_t opcode)
{
	note_taken(inflight, record, unique, opcode, clock_boot_ms());
}

void inflight_clear(struct inflight *inflight, int record)
{
	uint64_t bit = UINT64_C(1) << record % WORD_BITS;

	inflight->shared->records[record].in.unique = 0;
	atomic_store(&inflight->shared->head.taken[record].at_ms, 0);
	atomic_store(&inflight->uniques[record], 0);
	atomic_fetch_and(&inflight->inherited[record / WORD_BITS], ~bit);
	atomic_fetch_and(&inflight->claimed[record / WORD_BITS], ~bit);
	sem_post(&inflight->free);
}

void inflight_answered(struct inflight *inflight, uint64_t unique)
{
	for (int word = 0; word < N_WORDS; word++) {
		uint64_t claimed = atomic_load(&inflight->claimed[word]);
		for (; claimed; claimed &= claimed - 1) {
			int record = word * WORD_BITS + __builtin_ctzll(claimed);
			if (atomic_load(&inflight->uniques[record]) == unique) {
				inflight_clear(inflight, record);
				return;
			}
		}
	}
}

/* ---- taking over ---- */

bool inflight_expects_reply(uint32_t opcode)
{
	return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_INTERRUPT &&
	       opcode != FUSE_NOTIFY_REPLY;
}

/* The fields of a header that are used here. Each is read once, because another process may change
 * it between a check and its use. */
struct seen {
	uint64_t unique;
	uint32_t len, opcode;
};

static struct seen see(const union record *record)
{
	return (struct seen){
		.unique = __atomic_load_n(&record->in.unique, __ATOMIC_RELAXED),
		.len = __atomic_load_n(&record->in.len, __ATOMIC_RELAXED),
		.opcode = __atomic_load_n(&record->in.opcode, __ATOMIC_RELAXED),
	};
}

static bool has_valid_length(const struct seen *seen)
{
	return seen->len >= sizeof(struct fuse_in_header) && seen->len < INFLIGHT_RECORD_SIZE;
}

/* Is there a request that waits for a reply? The kernel wrote the header, or it was forged. */
static bool is_left(const struct seen *seen)
{
	return seen->unique && has_valid_length(seen) && inflight_expects_reply(seen->opcode);
}

static void inherit(struct inflight *inflight, int record)
{
	struct taken *taken = &inflight->shared->head.taken[record];
	union record *shared = &inflight->shared->records[record];
	uint64_t bit = UINT64_C(1) << record % WORD_BITS;
	int64_t at_ms = atomic_load(&taken->at_ms);
	struct seen seen = see(shared);

	if (!is_left(&seen)) {
		shared->in.unique = 0;
		atomic_store(&taken->at_ms, 0);
		return;
	}
	sem_trywait(&inflight->free); /* cannot fail: it counts records */
	atomic_fetch_or(&inflight->claimed[record / WORD_BITS], bit);
	atomic_fetch_or(&inflight->inherited[record / WORD_BITS], bit);
	note_taken(inflight, record, seen.unique, seen.opcode, at_ms ? at_ms : clock_boot_ms());
}

void inflight_inherit(struct inflight *inflight)
{
	const size_t locked = offsetof(struct shared, records[LOCKED_RECORDS]);

	/* If a page was paged out, the kernel's copy pages it in again. If this process is being
	 * killed at that moment, the request fails. This can only happen without the right to lock
	 * memory. */
	mlock2(inflight->shared, locked, MLOCK_ONFAULT);
	for (size_t i = 0, n = high_water(inflight); i < n; i++)
		inherit(inflight, (int)i);
}

/* Takes one out of the set; -1 if it is empty. */
static int take_inherited(struct inflight *inflight)
{
	for (int word = 0; word < N_WORDS; word++) {
		uint64_t old = atomic_load(&inflight->inherited[word]);
		while (old) {
			if (atomic_compare_exchange_weak(&inflight->inherited[word], &old,
							 old & (old - 1)))
				return word * WORD_BITS + __builtin_ctzll(old);
		}
	}
	return -1;
}

int inflight_inherited(struct inflight *inflight, void *buf, size_t size, size_t *ret_len)
{
	int record;

	while ((record = take_inherited(inflight)) >= 0) {
		const union record *shared = &inflight->shared->records[record];
		struct seen seen = see(shared);

		if (is_left(&seen) && seen.len <= size) {
			struct fuse_in_header *copy = buf;

			memcpy(buf, shared->bytes, seen.len);
			copy->unique = seen.unique;
			copy->len = seen.len;
			copy->opcode = seen.opcode;
			*ret_len = seen.len;
			return record;
		}
		inflight_clear(inflight, record);
	}
	return -1;
}
