#include "fetchers/http/http_notes.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { FLAG_MUST_ASK = 1, FLAG_VARIES = 2, FLAG_UNPROVEN = 4 };

static const struct http_notes nothing = HTTP_NOTES_INIT;

void http_notes_read(struct http_notes *ret, const char *text)
{
	struct http_notes notes = HTTP_NOTES_INIT;
	unsigned flags;
	int end = -1;

	*ret = nothing;
	if (sscanf(text,
		   "max_age=%" SCNd64 " expires=%" SCNd64 " flags=%u length=%" SCNd64
		   " modified=%n",
		   &notes.freshness.max_age_s, &notes.freshness.expires_ms, &flags, &notes.length,
		   &end) != 4 ||
	    end < 0)
		return;
	notes.freshness.must_ask = flags & FLAG_MUST_ASK;
	notes.freshness.varies = flags & FLAG_VARIES;
	notes.is_unproven = flags & FLAG_UNPROVEN;
	if (strlen(text + end) < sizeof(notes.last_modified))
		strcpy(notes.last_modified, text + end);
	*ret = notes;
}

void http_notes_write(const struct http_notes *notes, char ret[VERSION_NOTES_SIZE])
{
	const struct freshness *freshness = &notes->freshness;
	/* max-age overrides Expires, which changes with each answer. */
	int64_t expires_ms = freshness->max_age_s >= 0 ? HTTP_TIME_UNKNOWN : freshness->expires_ms;
	unsigned flags = (freshness->must_ask ? FLAG_MUST_ASK : 0) |
			 (freshness->varies ? FLAG_VARIES : 0) |
			 (notes->is_unproven ? FLAG_UNPROVEN : 0);

	if (freshness->max_age_s < 0 && expires_ms < 0 && !flags && notes->length < 0 &&
	    !*notes->last_modified)
		ret[0] = '\0';
	else
		snprintf(ret, VERSION_NOTES_SIZE,
			 "max_age=%" PRId64 " expires=%" PRId64 " flags=%u length=%" PRId64
			 " modified=%s",
			 freshness->max_age_s, expires_ms, flags, notes->length,
			 notes->last_modified);
}
