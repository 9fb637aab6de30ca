/*
 * budget: how many bytes users may make a process keep.
 *
 * There is a limit for all users together, and a smaller one for each, so that no user takes what
 * the others need. Any thread may call; the lock is a leaf.
 */
#ifndef BASE_BUDGET_H
#define BASE_BUDGET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/util.h"

struct budget;

int budget_new(struct budget **ret, uint64_t total_bytes, uint64_t share_bytes, struct err *err);
/* Takes NULL. */
void budget_free(struct budget *budget);
DEFINE_CLEANUP(struct budget, budget_free)

/* Returns false, and takes nothing, if the total or this user's share would be exceeded, or if
 * memory is short. */
bool budget_take(struct budget *budget, uid_t user, uint64_t bytes);
/* Gives back bytes that were taken for this user. */
void budget_give(struct budget *budget, uid_t user, uint64_t bytes);

#endif
