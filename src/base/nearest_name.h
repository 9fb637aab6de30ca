/*
 * nearest_name: the known name that was probably meant, for "did you mean" messages.
 *
 *	struct nearest nearest = NEAREST_INIT(typed);
 *	nearest_consider(&nearest, "flags.json");
 *	if (nearest.found) …
 */
#ifndef BASE_NEAREST_NAME_H
#define BASE_NEAREST_NAME_H

#include <stddef.h>
#include <stdint.h>

struct nearest {
	const char *text;  /* borrowed */
	const char *found; /* the best candidate so far; borrowed; NULL: none is close */
	size_t edits;	   /* between it and the text */
};

#define NEAREST_INIT(name)                        \
	{                                         \
		.text = (name), .edits = SIZE_MAX \
	}

/* A candidate is close if at most a third of its letters are changed, added, dropped, or swapped
 * with their neighbour. A text of more than 64 bytes has no close candidate. */
void nearest_consider(struct nearest *nearest, const char *candidate);

#endif
