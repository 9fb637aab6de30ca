#include "fetch/source_failures.h"

#include <stdio.h>
#include <string.h>

#define TEXT_MIN 64

/* Whether the failure may be temporary, so that an early retry makes sense. */
static bool is_passing(enum err_kind kind)
{
	switch (kind) {
	case ERR_UNREACHABLE:
	case ERR_BUSY:
	case ERR_INTERNAL:
		return true;
	case ERR_NONE:
	case ERR_CONFIG:
	case ERR_DENIED:
	case ERR_NOT_FOUND:
	case ERR_BAD_DATA:
	case ERR_CANCELED:
		return false;
	}
	return false;
}

static void append(char *text, size_t size, const char *piece)
{
	size_t used = strlen(text);

	snprintf(text + used, size - used, "%s", piece);
}

void source_failures_add(struct source_failures *failures, const char *source_name,
			 size_t n_sources, const struct err *err)
{
	size_t share = sizeof(failures->text) / n_sources;
	size_t end = strlen(failures->text) + (share < TEXT_MIN ? TEXT_MIN : share);

	if (end > sizeof(failures->text))
		end = sizeof(failures->text);
	if (failures->n > 0)
		append(failures->text, end, "; ");
	if (n_sources > 1 && !strstr(err->msg, source_name)) {
		append(failures->text, end, source_name);
		append(failures->text, end, ": ");
	}
	append(failures->text, end, err->msg);

	if (failures->n++ == 0) {
		failures->first_kind = failures->plan_kind = err->kind;
		failures->authority_has_none = err->kind == ERR_NOT_FOUND;
		return;
	}
	if (is_passing(err->kind) && !is_passing(failures->plan_kind))
		failures->plan_kind = err->kind;
	if (err->kind != ERR_NOT_FOUND && !is_passing(err->kind))
		failures->others_differ = true;
}

int source_failures_set(const struct source_failures *failures, struct err *err)
{
	return err_set(err, failures->first_kind, "%s", failures->text);
}

bool source_failures_mean_gone(const struct source_failures *failures)
{
	return failures->authority_has_none && !failures->others_differ;
}
