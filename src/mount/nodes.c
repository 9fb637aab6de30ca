#include "mount/nodes.h"

#include <pthread.h>
#include <uthash.h>

#include "base/util.h"

struct node {
	uint64_t id;
	struct snapshot *snapshot; /* a reference */
	struct term *term;
	bool superseded;
	UT_hash_handle hh;
};

struct nodes {
	pthread_mutex_t lock;
	struct node *by_id; /* guarded by lock */
};

int nodes_new(struct nodes **ret, struct err *err)
{
	struct nodes *nodes = calloc(1, sizeof(*nodes));

	if (!nodes)
		return err_set(err, ERR_INTERNAL, "table of nodes: out of memory");
	pthread_mutex_init(&nodes->lock, NULL);
	*ret = nodes;
	return 0;
}

void nodes_free(struct nodes *nodes)
{
	struct node *node, *next;

	if (!nodes)
		return;
	HASH_ITER(hh, nodes->by_id, node, next) {
		HASH_DEL(nodes->by_id, node);
		snapshot_unref(node->snapshot);
		free(node);
	}
	pthread_mutex_destroy(&nodes->lock);
	free(nodes);
}

int nodes_add(struct nodes *nodes, struct snapshot *snapshot, struct term *term, struct err *err)
{
	struct node *node = calloc(1, sizeof(*node)), *present = NULL;

	if (!node)
		return err_set(err, ERR_INTERNAL, "table of nodes: out of memory");
	node->id = snapshot->id;
	node->snapshot = snapshot_ref(snapshot);
	node->term = term;
	pthread_mutex_lock(&nodes->lock);
	HASH_FIND(hh, nodes->by_id, &node->id, sizeof(node->id), present);
	if (!present)
		HASH_ADD(hh, nodes->by_id, id, sizeof(node->id), node);
	pthread_mutex_unlock(&nodes->lock);
	if (present) {
		snapshot_unref(node->snapshot);
		free(node);
	}
	return 0;
}

struct snapshot *nodes_find(struct nodes *nodes, uint64_t id, struct term **ret_term,
			    bool *ret_superseded)
{
	struct snapshot *snapshot = NULL;
	struct node *node = NULL;

	pthread_mutex_lock(&nodes->lock);
	HASH_FIND(hh, nodes->by_id, &id, sizeof(id), node);
	if (node) {
		snapshot = snapshot_ref(node->snapshot);
		*ret_term = node->term;
		*ret_superseded = node->superseded;
	}
	pthread_mutex_unlock(&nodes->lock);
	return snapshot;
}

static void set_superseded(struct nodes *nodes, uint64_t id, bool superseded)
{
	struct node *node = NULL;

	pthread_mutex_lock(&nodes->lock);
	HASH_FIND(hh, nodes->by_id, &id, sizeof(id), node);
	if (node)
		node->superseded = superseded;
	pthread_mutex_unlock(&nodes->lock);
}

void nodes_supersede(struct nodes *nodes, uint64_t id)
{
	set_superseded(nodes, id, true);
}

void nodes_restore(struct nodes *nodes, uint64_t id)
{
	set_superseded(nodes, id, false);
}

int nodes_superseded(struct nodes *nodes, struct node_place **ret, size_t *ret_n, struct err *err)
{
	struct node *node, *next;
	size_t n = 0;

	pthread_mutex_lock(&nodes->lock);
	struct node_place *places = calloc(HASH_COUNT(nodes->by_id) + 1, sizeof(*places));
	HASH_ITER(hh, nodes->by_id, node, next) {
		if (places && node->superseded)
			places[n++] = (struct node_place){ node->id, node->term };
	}
	pthread_mutex_unlock(&nodes->lock);
	if (!places)
		return err_set(err, ERR_INTERNAL, "table of nodes: out of memory");
	*ret = places;
	*ret_n = n;
	return 0;
}

struct snapshot *nodes_remove(struct nodes *nodes, uint64_t id)
{
	struct snapshot *snapshot = NULL;
	struct node *node = NULL;

	pthread_mutex_lock(&nodes->lock);
	HASH_FIND(hh, nodes->by_id, &id, sizeof(id), node);
	if (node && node->superseded) {
		HASH_DEL(nodes->by_id, node);
		snapshot = node->snapshot;
	} else {
		node = NULL;
	}
	pthread_mutex_unlock(&nodes->lock);
	free(node);
	return snapshot;
}
