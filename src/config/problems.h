/*
 * problems: errors in a configuration, collected and reported together.
 *
 * Problems are found in the order of the checks and written in the order of their places: the
 * command line first, then the files in the order in which they were opened.
 */
#ifndef CONFIG_PROBLEMS_H
#define CONFIG_PROBLEMS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* File 0 is the command line, which has no lines. */
struct place {
	unsigned file;
	unsigned line;
};

struct problem {
	struct place place;
	size_t order;
	char *text; /* owned */
};

struct problems {
	struct problem *items; /* owned */
	size_t n_items;
	char **files; /* owned; files[i] is the name of file i + 1 */
	unsigned n_files;
	bool out_of_memory;
};

void problems_release(struct problems *problems);

/* The number of a new file (its name is copied), or 0: out of memory, which is noted. */
unsigned problems_add_file(struct problems *problems, const char *name);

/* "FILE:LINE", or "the command line". Returns ret. */
#define PLACE_SIZE 512
const char *problems_place(const struct problems *problems, struct place place,
			   char ret[PLACE_SIZE]);

/* One problem; of a term if `term` is not NULL. Control characters are replaced by '?'. */
void problem_add(struct problems *problems, struct place place, const char *term, const char *fmt,
		 ...) __attribute__((format(printf, 4, 5)));
/* The same, with what the problem is about before the text: "SUBJECT: …"; NULL: nothing. */
void problem_add_about(struct problems *problems, struct place place, const char *term,
		       const char *subject, const char *fmt, va_list args)
	__attribute__((format(printf, 5, 0)));
void problem_out_of_memory(struct problems *problems);

bool problems_any(const struct problems *problems);

/* Writes each as one line. */
void problems_print(struct problems *problems, FILE *out);

#endif
