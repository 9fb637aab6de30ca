/* s3_object: whole objects, parallel ranges, changes, interruptions. */
#include "fake_s3.h"
#include "fetchers/s3/s3_parallel.h"

/* ---- one transfer ---- */

static void test_whole(void)
{
	reset(&small);
	fetch(NULL);
	ok(holds(&small), "an object is downloaded");
	is_int(clock_to_ms(fetched.last_modified), INT64_C(784111777000), "its time is reported");
	is_str(fetched.content_type, "text/plain", "its type is reported");
	is_str(fetched.shown_version, "", "there is no version header");
	is_int(fake.n_seen, 1, "one request is enough");
	is_int(fake_count(s->is_range || s->has_if_match || s->has_if_none_match), 0,
	       "the request has no conditions");

	reset(&small);
	fetch("\"old\"");
	ok(holds(&small) && fake_count(s->has_if_none_match) == 1, "a newer version is downloaded");
	sink.size = 0;
	fetch(small.etag);
	is_int(result, FETCH_UNCHANGED, "an unchanged object is reported");
	is_str(fetched.version.token, small.etag, "the token is the one that was sent");
	is_int(fake.n_seen, 1, "one request is enough");

	reset(&small);
	small.etag = "\"bad\001\"";
	small.modified = "";
	sink.size = 0;
	fetch(NULL);
	is_str(fetched.version.token, "", "an unusable ETag is ignored");
	small.etag = "\"small\"";
	small.modified = NULL;

	reset(&small);
	sink.max_bytes = 10;
	fetch(NULL);
	ok(has_failed(ERR_BAD_DATA) && strcmp(fetched.version.token, small.etag) == 0,
	   "an object that is too large is refused with its token");
	reset(&small);
	fake.is_unframed = true;
	fetch(NULL);
	ok(has_failed(ERR_BAD_DATA), "a body without a known end is refused");
	reset(&small);
	fake.faults[0] = (struct fault){ .kind = FAULT_BUSY, .times = 9 };
	fake.retry_after_ms = 7000;
	fetch(NULL);
	ok(has_failed(ERR_BUSY) && fetched.retry_after_ms == 7000 && fake.n_seen == 1,
	   "a busy service is reported with its Retry-After");
}

static void test_unconditional(void)
{
	reset(&small);
	fake.ignores_if_none_match = true;
	fetch("\"old\"");
	ok(holds(&small) && !source.has_warned[S3_WARNS_UNCONDITIONAL],
	   "another version causes no warning");
	sink.size = 0;
	fetch(small.etag);
	ok(holds(&small) && source.has_warned[S3_WARNS_UNCONDITIONAL],
	   "the same version causes a warning and a download");
}

/* A service without ETags. */
static void test_dated(void)
{
	struct object newer, longer;

	reset(&small);
	small.etag = NULL;
	fetch(NULL);
	ok(holds(&small) && !sink.validator, "the date is the token, and nothing can be resumed");
	sink.size = 0;
	for (int i = 0; i < 2; i++) {
		fetch(fetched.version.token);
		is_int(result, FETCH_UNCHANGED, "an unchanged object is reported");
		ok(fake.n_seen == 1 && fake_count(s->is_head && s->has_if_modified) == 1,
		   "by one HEAD, which transfers nothing");
	}
	longer = small;
	longer.size--;
	fake.object = &longer;
	fetch(fetched.version.token);
	ok(holds(&longer), "another length is news");
	newer = longer;
	newer.modified = "Mon, 07 Nov 1994 08:49:37 GMT";
	fake.object = &newer;
	sink.size = 0;
	fetch(fetched.version.token);
	ok(holds(&newer) && fake.n_seen == 2, "another date too");
	ok(!source.has_warned[S3_WARNS_UNCONDITIONAL] && !source.has_warned[S3_WARNS_NO_VERSION],
	   "no warning");

	newer.modified = "Fri, 31 Dec 2100 23:59:59 GMT";
	sink.size = 0;
	fetch(NULL);
	sink.size = 0;
	fetch(fetched.version.token);
	ok(holds(&newer) && fake.n_seen == 1, "a date as young as the answer proves nothing");
	newer.modified = "";
	sink.size = 0;
	fetch(NULL);
	ok(holds(&newer) && source.has_warned[S3_WARNS_NO_VERSION],
	   "no date either: the object is fetched each time, with a warning");
	small.etag = "\"small\"";
}

/* An object with Content-Encoding: gzip. */
static void test_coded(void)
{
	/* "rptfs\n" */
	static const uint8_t gzip[] = { 0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02,
					0x03, 0x2b, 0x2a, 0x28, 0x49, 0x2b, 0xe6, 0x02, 0x00,
					0xd4, 0xae, 0x3a, 0x42, 0x06, 0x00, 0x00, 0x00 };
	struct object coded = { .etag = "\"coded\"",
				.bytes = gzip,
				.size = sizeof(gzip),
				.header = "Content-Encoding",
				.value = "aws-chunked,gzip" };

	reset(&coded);
	fetch(NULL);
	ok(holds(&coded) && source.has_warned[S3_WARNS_CODED],
	   "auto: the bytes as stored, with a warning");
	reset(&coded);
	options.content_coding = S3_CODING_AS_SENT;
	fetch(NULL);
	ok(holds(&coded) && !source.has_warned[S3_WARNS_CODED], "as-sent: without");
	reset(&coded);
	options.content_coding = S3_CODING_DECODE;
	fetch(NULL);
	ok(result == FETCH_UPDATED && sink.size == 6 && memcmp(sink.bytes, "rptfs\n", 6) == 0,
	   "decode: the decoded bytes");
	ok(!sink.validator && strcmp(fetched.version.token, coded.etag) == 0,
	   "which cannot be resumed");
	reset(&coded);
	options.content_coding = S3_CODING_DECODE;
	coded.size--;
	fetch(NULL);
	ok(has_failed(ERR_BAD_DATA), "a truncated coding is refused");
	reset(&coded);
	options.content_coding = S3_CODING_DECODE;
	coded.size = 0;
	fetch(NULL);
	ok(result == FETCH_UPDATED && sink.size == 0, "no bytes are an empty file");
	reset(&coded);
	options.content_coding = S3_CODING_DECODE;
	coded.value = "compress";
	fetch(NULL);
	ok(has_failed(ERR_BAD_DATA) && strstr(err.msg, "compress"), "an unknown coding is refused");
	coded.value = "aws-chunked";
	fetch(NULL);
	ok(holds(&coded), "a harmless one is not");
}

static void test_version_header(void)
{
	static const struct {
		const char *value, *shown;
		int64_t key;
	} rows[] = {
		{ "42", "42", 42 },
		{ "0042", "0042", 42 },
		{ "1.2.3", "1.2.3", FETCHED_UNKNOWN },
		{ "-1", "-1", FETCHED_UNKNOWN },
		{ " 1", " 1", FETCHED_UNKNOWN },
		{ "99999999999999999999", "99999999999999999999", FETCHED_UNKNOWN },
		{ "", "", FETCHED_UNKNOWN },
		{ "a\nb", "", FETCHED_UNKNOWN },
	};

	small.header = "x-amz-meta-version";
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		reset(&small);
		options.version_header = "x-amz-meta-version";
		small.value = rows[i].value;
		fetch(NULL);
		ok(holds(&small) && strcmp(fetched.shown_version, rows[i].shown) == 0 &&
			   fetched.order_key == rows[i].key,
		   "version_header is shown as \"%s\"", rows[i].shown);
	}
	small.header = NULL;
	reset(&small);
	options.version_header = "x-amz-meta-version";
	fetch(NULL);
	ok(holds(&small) && !*fetched.shown_version, "an object without that header is accepted");
}

/* ---- ranges ---- */

static void test_ranges(void)
{
	reset(&large);
	fake.meets = 4;
	fetch(NULL);
	ok(holds(&large), "a large object is downloaded");
	is_int(fake_count(!s->is_range), 1, "one request fetches the beginning");
	is_int(fake_count(s->is_range && s->has_if_match), 40, "one request fetches each range");
	is_int(fake_count(s->end - s->first > PART && s->is_range), 0, "no range is too large");
	is_int(fake.most_running, 4, "four requests run at once");
	ok(sink.restarts == 0 && fake.sent <= LARGE + 1000, "no byte is fetched twice");

	reset(&large);
	options.parallel_parts = 0;
	fake.takes_us = 50000;
	fetch(NULL);
	ok(holds(&large), "ranges are used if the first transfer is slow");
	is_int(fake_count(s->is_range && s->has_if_match), 38,
	       "there are ranges from the third part on");
	is_int(fake_count(s->is_range && s->first < 2 * PART), 0,
	       "no range overlaps the first transfer");

	reset(&large);
	options.parallel_parts = 1;
	fetch(NULL);
	ok(holds(&large) && fake.n_seen == 1, "parallel_parts = 1 means one transfer");
	reset(&large);
	large.etag = "W/\"weak\"";
	fetch(NULL);
	ok(holds(&large) && fake.n_seen == 1, "a weak ETag means one transfer");
	large.etag = "\"large\"";
	reset(&large);
	options.part_size_bytes = LARGE;
	fetch(NULL);
	ok(holds(&large) && fake.n_seen == 1, "an object of part_size means one transfer");
	reset(&large);
	options.part_size_bytes = LARGE / 2 + 1;
	fetch(NULL);
	ok(holds(&large) && fake.n_seen == 2, "a slightly larger object is fetched in two halves");
}

static void test_range_fails(void)
{
	reset(&large);
	fake.faults[0] = (struct fault){ FAULT_CUT, true, (uint64_t)3 * PART, 5000, 1 };
	fake.faults[1] = (struct fault){ FAULT_BUSY, true, (uint64_t)5 * PART, 0, 1 };
	fetch(NULL);
	ok(holds(&large) && sink.restarts == 0, "two ranges that fail once do no harm");
	is_int(fake_count(s->is_range), 42, "they are requested again");
	is_int(fake_count(s->first == 3 * PART + 5000 && s->end == 4 * PART), 1,
	       "only the missing bytes are requested again");

	reset(&large);
	fake.faults[0] = (struct fault){ FAULT_CUT, false, 0, 3000, 1 };
	fetch(NULL);
	ok(holds(&large) && fake_count(s->first == 3000 && s->end == PART) == 1,
	   "the first transfer is continued when it breaks off");

	reset(&large);
	fake.faults[0] = (struct fault){ FAULT_CUT, true, (uint64_t)7 * PART, 0, 99 };
	fetch(NULL);
	ok(has_failed(ERR_UNREACHABLE), "a range that always fails ends the download");
	ok(fake_count(s->first == 7 * PART) == 4, "it is requested %d times",
	   (int)fake_count(s->first == 7 * PART));
	ok(sink.size == 7 * PART && holds_beginning(&large), "the bytes before it are kept");
	fake.faults[0].times = 0;
	fake.sent = 0;
	fetch(NULL);
	ok(holds(&large) && fake.sent <= LARGE - 7 * PART + 1000,
	   "the next attempt continues there");
	ok(fake.seen[0].first == 7 * PART && fake.seen[0].has_if_match, "its request has If-Match");

	reset(&large);
	fake.faults[0] = (struct fault){ FAULT_BUSY, true, (uint64_t)2 * PART, 0, 99 };
	fake.retry_after_ms = 60000;
	fetch(NULL);
	ok(has_failed(ERR_BUSY) && fetched.retry_after_ms == 60000,
	   "a long Retry-After ends the download");
	is_int(fake_count(s->first == 2 * PART), 1, "the range is not retried");
	reset(&large);
	fake.faults[0] = (struct fault){ FAULT_DENIED, true, (uint64_t)2 * PART, 0, 99 };
	fetch(NULL);
	ok(has_failed(ERR_DENIED), "a denied range ends the download");
	is_int(fake_count(s->first == 2 * PART), 1, "the range is not retried");
	reset(&large);
	fake.faults[0] = (struct fault){ FAULT_DENIED, true, (uint64_t)3 * PART, 0, 99 };
	fake.faults[1] = (struct fault){ FAULT_SLOW_BUSY, true, (uint64_t)2 * PART, 0, 1 };
	fetch(NULL);
	ok(has_failed(ERR_DENIED) && sink.size == 3 * PART, "earlier ranges are still delivered");
	reset(&large);
	fake.retry_after_ms = 60000;
	fake.faults[0] = (struct fault){ FAULT_DENIED, true, (uint64_t)3 * PART, 0, 99 };
	fake.faults[1] = (struct fault){ FAULT_SLOW_BUSY, true, (uint64_t)2 * PART, 0, 1 };
	fetch(NULL);
	ok(has_failed(ERR_BUSY) && sink.size == 2 * PART, "the first of two failed ranges counts");
	reset(&large);
	sink.breaks_at = (uint64_t)4 * PART;
	fetch(NULL);
	ok(has_failed(ERR_INTERNAL), "a full disk ends the download");
	reset(&large);
	cancel_request(&cancel);
	fetch(NULL);
	ok(has_failed(ERR_CANCELED), "a canceled download ends");
	cancel_release(&cancel);
	cancel_init(&cancel, &err);
}

static void test_change(void)
{
	reset(&large);
	fake.next = &other;
	fake.change_at = 12;
	fetch("\"old\"");
	ok(holds(&other) && sink.restarts == 1, "a download starts over when the object changes");

	reset(&large);
	fake.next = &other;
	fake.flips = true;
	fetch(NULL);
	ok((holds(&large) || holds(&other)) && sink.restarts == 2, "the third try is one transfer");

	reset(&large);
	fake.next = &twin;
	fake.change_at = 12;
	fake.ignores_if_match = true;
	fetch(NULL);
	ok(holds(&twin), "the ETag shows a change if If-Match is ignored");
	reset(&large);
	fake.next = &other;
	fake.change_at = 12;
	fake.faults[0] = (struct fault){ .kind = FAULT_BUSY, .times = 1, .from = 3 };
	fetch(NULL);
	ok(has_failed(ERR_BUSY) && !*fetched.version.token,
	   "a failure after a change has no token");

	reset(&other);
	fake.next = &large;
	fake.change_at = 12;
	fetch(large.etag);
	is_int(result, FETCH_UNCHANGED, "an object that changes back is unchanged");
}

static void test_unfit(void)
{
	reset(&large);
	fake.ignores_range = true;
	fetch(NULL);
	ok(holds(&large) && fake_count(!s->has_if_match) == 2,
	   "one transfer is used if Range is ignored");
	reset(&large);
	fake.shifts_ranges = true;
	fetch(NULL);
	ok(holds(&large), "one transfer is used if the ranges are wrong");
}

/* ---- resuming ---- */

static void test_resume(void)
{
	reset(&large);
	begin(&large, 20000, large.etag);
	fetch("\"old\"");
	ok(holds(&large) && fake.seen[0].first == 20000 && !fake.seen[0].has_if_none_match,
	   "resumes");
	ok(fake_count(s->is_range) > 2, "a resumed download uses parallel ranges");
	is_int(clock_to_ms(fetched.last_modified), INT64_C(784111777000),
	       "it is described as usual");

	reset(&other);
	begin(&large, 20000, large.etag);
	fetch("\"old\"");
	ok(holds(&other) && sink.restarts == 1, "another version starts over");
	reset(&other);
	begin(&large, 20000, large.etag);
	fetch(other.etag);
	is_int(result, FETCH_UNCHANGED, "the old version is unchanged");
	reset(&large);
	begin(&large, LARGE, large.etag);
	fetch(NULL);
	ok(holds(&large), "complete but unconfirmed bytes start over");
	reset(&large);
	fake.ignores_range = true;
	begin(&large, 20000, large.etag);
	fetch(NULL);
	ok(holds(&large), "a resumed download works if Range is ignored");
	reset(&small);
	fake.ignores_range = true;
	begin(&small, 500, small.etag);
	fetch(NULL);
	ok(holds(&small) && fake.n_seen == 1, "this also works for a small object");
	reset(&other);
	fake.ignores_if_match = true;
	options.parallel_parts = 1;
	begin(&large, 20000, large.etag);
	fetch(NULL);
	ok(holds(&other), "a resumed download works if If-Match is ignored");
	reset(&large);
	fake.shifts_ranges = true;
	options.parallel_parts = 1;
	begin(&large, 20000, large.etag);
	fetch(NULL);
	ok(holds(&large), "a resumed download works with the wrong range");
	reset(&large);
	begin(&large, 20000, "");
	fetch(NULL);
	ok(holds(&large) && sink.restarts == 1, "bytes without a validator start over");
}

int main(void)
{
	fixture_begin();
	test_whole();
	test_unconditional();
	test_dated();
	test_coded();
	test_version_header();
	test_ranges();
	test_range_fails();
	test_change();
	test_unfit();
	test_resume();
	fixture_end();
	return tap_done();
}
