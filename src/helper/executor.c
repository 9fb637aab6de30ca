#include "helper/executor.h"

#include <stdbool.h>
#include <string.h>

#include "base/helper.h"
#include "base/util.h"
#include "helper/helper_request.h"
#include "helper/run_program.h"

static const struct source_type *const *all_types;

/* The first program for which is_wanted() returns true, or NULL. */
static const struct helper_program *find_program(
	bool (*is_wanted)(const struct helper_program *program, const char *name), const char *name)
{
	for (const struct source_type *const *type = all_types; *type; type++) {
		const struct helper_program *program = (*type)->helper ? (*type)->helper->programs
								       : NULL;
		for (; program && program->name; program++) {
			if (is_wanted(program, name))
				return program;
		}
	}
	return NULL;
}

static bool is_configured(const struct helper_program *program, const char *name)
{
	(void)name;
	return program->is_configured();
}

static bool has_name(const struct helper_program *program, const char *name)
{
	return strcmp(program->name, name) == 0;
}

int executor_begin(const struct source_type *const *types, struct err *err)
{
	all_types = types;
	if (find_program(is_configured, NULL))
		return 0;
	return err_set(err, ERR_DENIED, "the configuration names no program");
}

/* "cNAME\0FILE\0ENTRY\0" */
int executor_serve(const struct helper_request *request, struct err *err)
{
	_cleanup_free_ char *command = NULL;
	const char *name = request->text + 1;
	const char *file = helper_request_next(request, name);
	const char *entry = file ? helper_request_next(request, file) : NULL;
	const struct helper_program *program = find_program(has_name, name);

	if (request->text[0] != HELPER_PROGRAM || !entry || !program)
		return err_set(err, ERR_DENIED, "no such program");
	if (program->find(*file ? file : NULL, entry, &command, err) < 0)
		return -1;
	run_program(command, request->fds[0]);
	return 0;
}
