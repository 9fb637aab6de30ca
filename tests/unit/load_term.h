/*
 * load_term: what the store has of one term; a term that it does not know has nothing.
 */
#ifndef TESTS_UNIT_LOAD_TERM_H
#define TESTS_UNIT_LOAD_TERM_H

#include <string.h>

#include "store/store.h"

struct load_term_pick {
	const char *name;
	struct store_term *ret;
};

static inline int load_term_each(void *arg, const char *name, struct store_term *term,
				 struct err *err)
{
	struct load_term_pick *pick = arg;

	(void)err;
	if (strcmp(name, pick->name) == 0)
		*pick->ret = *term;
	else
		store_term_release(term);
	return 0;
}

static inline int load_term(struct store *store, const char *name, struct store_term *ret,
			    struct err *err)
{
	struct store_term found = { .snapshot = NULL };
	struct load_term_pick pick = { name, &found };

	if (store_load_all(store, load_term_each, &pick, err) < 0)
		return -1;
	*ret = found;
	return 0;
}

#endif
