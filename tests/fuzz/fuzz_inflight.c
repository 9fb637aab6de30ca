/*
 * Requests in flight, in memory that a worker shares with the keeper and with its successor. The
 * input is what a worker that was taken over leaves there.
 */
#include <linux/fuse.h>

#include "base/clock.h"
#include "fuzz.h"
#include "mount/connection/inflight.h"

#define REQUESTS_MAX 8
#define HEAD_SIZE    65536

static void fill(struct fuzz_input *input, void *bytes, size_t size)
{
	size_t len = input->left < size ? input->left : size;

	memcpy(bytes, input->next, len);
	input->next += len;
	input->left -= len;
}

/* A worker takes some requests, and writes over their headers. */
static void take_requests(struct fuzz_input *input, struct inflight *inflight)
{
	unsigned n = fuzz_below(input, REQUESTS_MAX + 1);

	for (unsigned i = 0; i < n; i++) {
		int record = inflight_claim(inflight);
		struct fuse_in_header header = { .unique = i + 1,
						 .len = sizeof(header),
						 .opcode = FUSE_LOOKUP };
		inflight_taken(inflight, record, header.unique, header.opcode);
		if (fuzz_below(input, 2))
			fill(input, &header, sizeof(header));
		memcpy(inflight_buffer(inflight, record), &header, sizeof(header));
	}
}

/* ... and over what is before them. */
static void edit_head(struct fuzz_input *input, int memfd)
{
	uint8_t *head = mmap(NULL, HEAD_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);

	fuzz_check(head != MAP_FAILED);
	fuzz_edit(input, head, HEAD_SIZE);
	munmap(head, HEAD_SIZE);
}

static void check_init(const void *bytes, size_t len)
{
	_cleanup_free_ void *copy = malloc(len + 1);

	fuzz_check(copy);
	if (bytes)
		memcpy(copy, bytes, len);
}

/* What the successor gets fits, and waits for a reply. */
static void take_over(struct inflight *inflight, size_t size)
{
	_cleanup_free_ uint8_t *request = malloc(size);
	size_t len = 0, n = 0;
	int record;

	fuzz_check(request);
	inflight_inherit(inflight);
	while ((record = inflight_inherited(inflight, request, size, &len)) >= 0) {
		struct fuse_in_header header;

		fuzz_check(record < INFLIGHT_MAX && ++n <= INFLIGHT_MAX);
		fuzz_check(len >= sizeof(header) && len <= size && len < INFLIGHT_RECORD_SIZE);
		memcpy(&header, request, sizeof(header));
		fuzz_check(header.unique && header.len == len);
		fuzz_check(inflight_expects_reply(header.opcode));
		inflight_answered(inflight, header.unique);
	}
	int free_record = inflight_claim(inflight);
	fuzz_check(free_record >= 0 && free_record < INFLIGHT_MAX);
	inflight_clear(inflight, free_record);
}

static void check_shared(struct inflight *inflight, uint64_t id)
{
	const void *init;
	size_t len = 0;

	fuzz_check(inflight_oldest_ms(inflight, clock_boot_ms()) >= 0);
	fuzz_check(inflight_occupied(inflight) <= INFLIGHT_MAX);
	init = inflight_init_request(inflight, &len);
	check_init(init, init ? len : 0);
	init = inflight_init_reply(inflight, &len);
	check_init(init, init ? len : 0);
	fuzz_check(inflight_negotiated(inflight) == (init != NULL));
	inflight_note_showing(inflight, id);
	fuzz_check(inflight_may_be_known(inflight, id));
	inflight_note_announced(inflight, id);
	inflight_was_announced(inflight, id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	_cleanup_(inflight_unmap_cleanup) struct inflight *worker = NULL;
	_cleanup_(inflight_unmap_cleanup) struct inflight *successor = NULL;
	struct err err = ERR_INIT;
	_cleanup_close_ int memfd = inflight_make(&err);
	size_t room = sizeof(struct fuse_in_header) + fuzz_below(&input, INFLIGHT_RECORD_SIZE);
	uint64_t id = fuzz_below(&input, 65536);

	fuzz_check(memfd >= 0 && inflight_map(&worker, memfd, &err) == 0);
	fuzz_check(inflight_save_init_request(worker, data, size < 64 ? size : 64) == 0);
	take_requests(&input, worker);
	edit_head(&input, memfd);
	check_shared(worker, id);
	if (inflight_map(&successor, memfd, &err) < 0) {
		fuzz_check_error(&err, ERR_BAD_DATA);
		return 0;
	}
	take_over(successor, room);
	check_shared(successor, id);
	return 0;
}
