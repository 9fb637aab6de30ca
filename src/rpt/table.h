/*
 * table: rows of text for people, aligned, and fitted to the terminal.
 *
 * On a terminal, columns that may be shortened lose their middle until the row fits, and the last
 * cell, where the row has no room for it, is wrapped below the row. Elsewhere nothing is lost: rows
 * are as long as they have to be.
 */
#ifndef RPT_TABLE_H
#define RPT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct table_column {
	const char *head;
	bool right;	    /* aligned to the right */
	unsigned max_width; /* shortened to this on a terminal; 0: no limit */
	unsigned min_width; /* may be shortened to this where room is scarce; 0: is not */
};

#define TABLE_MAX_COLUMNS 16

/* cells: rows × n_columns, row by row; NULL is an empty cell. width: of the terminal, 0: none. */
void table_print(FILE *out, const struct table_column *columns, size_t n_columns,
		 const char *const *cells, size_t n_rows, unsigned width);

/* One text on its own, without what a terminal might obey. */
void table_put(FILE *out, const char *text);

/* The width of the terminal behind out, 0 if it is none. */
unsigned table_terminal_width(FILE *out);

#endif
