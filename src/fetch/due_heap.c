#include "fetch/due_heap.h"

#include <stdbool.h>

#include "base/util.h"

int due_heap_init(struct due_heap *due, size_t n, struct err *err)
{
	due->n_items = 0;
	due->items = n < DUE_NOWHERE ? calloc(n ? n : 1, sizeof(*due->items)) : NULL;
	if (!due->items)
		return err_set(err, ERR_INTERNAL, "planning %zu terms: out of memory", n);
	return 0;
}

void due_heap_release(struct due_heap *due)
{
	free(due->items);
	due->items = NULL;
}

static void set(struct due_heap *due, uint32_t place, struct due_item *item)
{
	due->items[place] = item;
	item->place = place;
}

static void settle(struct due_heap *due, struct due_item *item)
{
	uint32_t place = item->place;

	while (place > 0 && due->items[(place - 1) / 2]->at_ms > item->at_ms) {
		set(due, place, due->items[(place - 1) / 2]);
		place = (place - 1) / 2;
	}
	for (;;) {
		uint32_t child = 2 * place + 1;
		if (child >= due->n_items)
			break;
		if (child + 1 < due->n_items &&
		    due->items[child + 1]->at_ms < due->items[child]->at_ms)
			child++;
		if (due->items[child]->at_ms >= item->at_ms)
			break;
		set(due, place, due->items[child]);
		place = child;
	}
	set(due, place, item);
}

void due_heap_put(struct due_heap *due, struct due_item *item, int64_t at_ms)
{
	item->at_ms = at_ms;
	if (item->place == DUE_NOWHERE)
		set(due, due->n_items++, item);
	settle(due, item);
}

void due_heap_remove(struct due_heap *due, struct due_item *item)
{
	uint32_t place = item->place;

	if (place == DUE_NOWHERE)
		return;
	item->place = DUE_NOWHERE;
	struct due_item *last = due->items[--due->n_items];
	if (last == item)
		return;
	set(due, place, last);
	settle(due, last);
}

struct due_item *due_heap_first(const struct due_heap *due)
{
	return due->n_items ? due->items[0] : NULL;
}
