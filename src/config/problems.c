#include "config/problems.h"

#include <stdarg.h>
#include <string.h>

#include "base/utf8.h"
#include "base/util.h"

void problems_release(struct problems *problems)
{
	for (size_t i = 0; i < problems->n_items; i++)
		free(problems->items[i].text);
	free(problems->items);
	for (unsigned i = 0; i < problems->n_files; i++)
		free(problems->files[i]);
	free(problems->files);
	*problems = (struct problems){ 0 };
}

unsigned problems_add_file(struct problems *problems, const char *name)
{
	char *copy = strdup(name);
	char **files = copy ? reallocarray(problems->files, problems->n_files + 1, sizeof(*files))
			    : NULL;

	if (!files) {
		free(copy);
		problem_out_of_memory(problems);
		return 0;
	}
	utf8_make_printable(copy);
	files[problems->n_files] = copy;
	problems->files = files;
	return ++problems->n_files;
}

const char *problems_place(const struct problems *problems, struct place place,
			   char ret[PLACE_SIZE])
{
	if (place.file == 0)
		snprintf(ret, PLACE_SIZE, "the command line");
	else
		snprintf(ret, PLACE_SIZE, "%s:%u", problems->files[place.file - 1], place.line);
	return ret;
}

void problem_out_of_memory(struct problems *problems)
{
	problems->out_of_memory = true;
}

static void add(struct problems *problems, struct place place, char *text)
{
	struct problem *items = reallocarray(problems->items, problems->n_items + 1,
					     sizeof(*items));

	if (!items) {
		problem_out_of_memory(problems);
		free(text);
		return;
	}
	utf8_make_printable(text);
	problems->items = items;
	items[problems->n_items] = (struct problem){
		.place = place,
		.order = problems->n_items,
		.text = text,
	};
	problems->n_items++;
}

void problem_add_about(struct problems *problems, struct place place, const char *term,
		       const char *subject, const char *fmt, va_list args)
{
	_cleanup_free_ char *problem = NULL;
	char *text = NULL;

	if (vasprintf(&problem, fmt, args) < 0) {
		problem = NULL;
		problem_out_of_memory(problems);
		return;
	}
	if (asprintf(&text, "%s%s%s%s%s%s", term ? "term \"" : "", term ? term : "",
		     term ? "\": " : "", subject ? subject : "", subject ? ": " : "", problem) < 0)
		problem_out_of_memory(problems);
	else
		add(problems, place, text);
}

void problem_add(struct problems *problems, struct place place, const char *term, const char *fmt,
		 ...)
{
	va_list args;

	va_start(args, fmt);
	problem_add_about(problems, place, term, NULL, fmt, args);
	va_end(args);
}

bool problems_any(const struct problems *problems)
{
	return problems->n_items > 0 || problems->out_of_memory;
}

static int compare(const void *left, const void *right)
{
	const struct problem *a = left, *b = right;

	if (a->place.file != b->place.file)
		return a->place.file < b->place.file ? -1 : 1;
	if (a->place.line != b->place.line)
		return a->place.line < b->place.line ? -1 : 1;
	return a->order < b->order ? -1 : a->order > b->order;
}

void problems_print(struct problems *problems, FILE *out)
{
	char where[PLACE_SIZE];

	if (problems->n_items > 0)
		qsort(problems->items, problems->n_items, sizeof(*problems->items), compare);
	for (size_t i = 0; i < problems->n_items; i++) {
		const struct problem *problem = &problems->items[i];
		bool in_file = problem->place.file != 0;
		fprintf(out, "%s: %s\n",
			in_file ? problems_place(problems, problem->place, where) : "rptfs",
			problem->text);
	}
	if (problems->out_of_memory)
		fprintf(out, "rptfs: out of memory while loading the configuration\n");
}
