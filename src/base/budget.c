#include "base/budget.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"

struct share {
	uid_t user;
	uint64_t used_bytes; /* not 0 */
	UT_hash_handle hh;
};

struct budget {
	uint64_t total_bytes, share_bytes;
	pthread_mutex_t lock;
	uint64_t used_bytes;   /* guarded by lock */
	struct share *by_user; /* guarded by lock */
};

int budget_new(struct budget **ret, uint64_t total_bytes, uint64_t share_bytes, struct err *err)
{
	struct budget *budget = calloc(1, sizeof(*budget));

	if (!budget)
		return err_set(err, ERR_INTERNAL, "budget: out of memory");
	budget->total_bytes = total_bytes;
	budget->share_bytes = share_bytes;
	pthread_mutex_init(&budget->lock, NULL);
	*ret = budget;
	return 0;
}

void budget_free(struct budget *budget)
{
	struct share *share, *next;

	if (!budget)
		return;
	HASH_ITER(hh, budget->by_user, share, next) {
		HASH_DEL(budget->by_user, share);
		free(share);
	}
	pthread_mutex_destroy(&budget->lock);
	free(budget);
}

/* With the lock held. NULL: out of memory. */
static struct share *find_or_add(struct budget *budget, uid_t user)
{
	struct share *share;

	HASH_FIND(hh, budget->by_user, &user, sizeof(user), share);
	if (share)
		return share;
	share = calloc(1, sizeof(*share));
	if (!share)
		return NULL;
	share->user = user;
	HASH_ADD(hh, budget->by_user, user, sizeof(share->user), share);
	if (hash_has(share, hh))
		return share;
	free(share);
	return NULL;
}

/* With the lock held. */
static void drop_if_unused(struct budget *budget, struct share *share)
{
	if (share->used_bytes)
		return;
	HASH_DEL(budget->by_user, share);
	free(share);
}

bool budget_take(struct budget *budget, uid_t user, uint64_t bytes)
{
	pthread_mutex_lock(&budget->lock);
	struct share *share = find_or_add(budget, user);
	bool fits = share && bytes <= budget->share_bytes - share->used_bytes &&
		    bytes <= budget->total_bytes - budget->used_bytes;
	if (fits) {
		share->used_bytes += bytes;
		budget->used_bytes += bytes;
	}
	if (share)
		drop_if_unused(budget, share);
	pthread_mutex_unlock(&budget->lock);
	return fits;
}

void budget_give(struct budget *budget, uid_t user, uint64_t bytes)
{
	struct share *share;

	pthread_mutex_lock(&budget->lock);
	HASH_FIND(hh, budget->by_user, &user, sizeof(user), share);
	if (share) {
		share->used_bytes -= bytes;
		budget->used_bytes -= bytes;
		drop_if_unused(budget, share);
	}
	pthread_mutex_unlock(&budget->lock);
}
