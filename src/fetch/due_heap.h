/*
 * due_heap: a heap of items by the time at which they are due.
 *
 * Intrusive: an item knows its place, so that it can be moved or removed. Has no lock and no clock.
 */
#ifndef FETCH_DUE_HEAP_H
#define FETCH_DUE_HEAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define DUE_NOWHERE UINT32_MAX

struct due_item {
	int64_t at_ms;	/* set by due_heap_put() only */
	uint32_t place; /* DUE_NOWHERE while the item is not in the heap */
};

struct due_heap {
	struct due_item **items; /* owned array of borrowed items */
	uint32_t n_items;
};

/* Makes room for n items. The functions below cannot fail. */
int due_heap_init(struct due_heap *due, size_t n, struct err *err);
void due_heap_release(struct due_heap *due);

/* Adds or moves the item, so that it is due at at_ms. */
void due_heap_put(struct due_heap *due, struct due_item *item, int64_t at_ms);
/* Removes the item, if it is in the heap. */
void due_heap_remove(struct due_heap *due, struct due_item *item);
/* The earliest, or NULL. */
struct due_item *due_heap_first(const struct due_heap *due);

#endif
