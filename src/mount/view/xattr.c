#include "mount/view/xattr.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/util.h"

#define PREFIX "user.rpt."

const char xattr_list[] = PREFIX "version\0" PREFIX "sha256\0" PREFIX "state";
const size_t xattr_list_size = sizeof(xattr_list);

static char *copy(const char *text)
{
	return strdup(text);
}

static char *copy_time(int64_t wall_ms)
{
	char text[CLOCK_RFC3339_SIZE];

	return strdup(clock_rfc3339(wall_ms, text));
}

static int answer(char *value, char **ret)
{
	if (!value)
		return ENOMEM;
	*ret = value;
	return 0;
}

static int of_snapshot(const char *key, const struct snapshot *snapshot, char **ret)
{
	char hex[DIGEST_HEX_SIZE];

	if (strcmp(key, "version") == 0)
		return answer(copy(snapshot->version), ret);
	if (strcmp(key, "sha256") == 0)
		return answer(copy(digest_hex(snapshot->sha256, hex)), ret);
	if (strcmp(key, "source") == 0)
		return answer(copy(snapshot->source), ret);
	if (strcmp(key, "fetched_at") == 0)
		return answer(copy_time(snapshot->fetched_at_ms), ret);
	return ENODATA;
}

static int of_time(int64_t wall_ms, char **ret)
{
	return wall_ms == TERM_NO_TIME ? ENODATA : answer(copy_time(wall_ms), ret);
}

static int of_text(const char *text, char **ret)
{
	return text ? answer(copy(text), ret) : ENODATA;
}

static int of_status(const char *key, const struct term_status *status, char **ret)
{
	char number[16];

	if (strcmp(key, "state") == 0)
		return answer(copy(term_state_name(status->state)), ret);
	if (strcmp(key, "source_version") == 0)
		return of_text(status->source_version, ret);
	if (strcmp(key, "last_error") == 0)
		return of_text(status->last_error, ret);
	if (strcmp(key, "checked_at") == 0)
		return of_time(status->checked_at_ms, ret);
	if (strcmp(key, "next_check_at") == 0)
		return of_time(status->next_check_at_ms, ret);
	if (strcmp(key, "failures") == 0) {
		snprintf(number, sizeof(number), "%u", status->failures);
		return answer(copy(number), ret);
	}
	return ENODATA;
}

static int of_slot(uint32_t slot, char **ret)
{
	char number[16];

	snprintf(number, sizeof(number), "%u", slot);
	return slot ? answer(copy(number), ret) : ENODATA;
}

int xattr_get(const char *name, const struct snapshot *snapshot, struct term *term, char **ret)
{
	_cleanup_(term_status_release) struct term_status status = { 0 };

	if (strncmp(name, PREFIX, strlen(PREFIX)) != 0)
		return ENODATA;
	name += strlen(PREFIX);
	int result = of_snapshot(name, snapshot, ret);
	if (result != ENODATA)
		return result;
	if (strcmp(name, "slot") == 0)
		return of_slot(term->slot, ret);
	term_status(term, &status);
	return of_status(name, &status, ret);
}
