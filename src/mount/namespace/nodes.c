#include "mount/namespace/nodes.h"

#include <pthread.h>

#include "base/util.h"

#define CAPACITY_FIRST 64 /* a power of two, as all are */

/* A place in the table; its snapshot is NULL where it is free. */
struct node {
	uint64_t id;
	struct snapshot *snapshot; /* a reference */
	struct term *term;
	bool superseded;
};

/*
 * Open addressing, with linear probing: a mount of many terms has as many nodes, and most of them
 * exist as long as the mount. At most four fifths of the places are taken. When a place becomes
 * free, a later entry moves into it if necessary, so that a probe can end at the first free place.
 */
struct nodes {
	pthread_mutex_t lock;
	struct node *table; /* guarded by lock; owned */
	size_t capacity;    /* guarded by lock */
	size_t n;	    /* guarded by lock */
};

int nodes_new(struct nodes **ret, struct err *err)
{
	_cleanup_free_ struct nodes *nodes = calloc(1, sizeof(*nodes));

	if (nodes)
		nodes->table = calloc(CAPACITY_FIRST, sizeof(*nodes->table));
	if (!nodes || !nodes->table)
		return err_set(err, ERR_INTERNAL, "table of nodes: out of memory");
	nodes->capacity = CAPACITY_FIRST;
	pthread_mutex_init(&nodes->lock, NULL);
	*ret = steal_ptr(&nodes);
	return 0;
}

void nodes_free(struct nodes *nodes)
{
	if (!nodes)
		return;
	for (size_t i = 0; i < nodes->capacity; i++)
		snapshot_unref(nodes->table[i].snapshot);
	free(nodes->table);
	pthread_mutex_destroy(&nodes->lock);
	free(nodes);
}

/* Ids are consecutive, so a multiplication spreads them (Knuth, 6.4). */
static size_t home_of(const struct nodes *nodes, uint64_t id)
{
	return (size_t)(id * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (nodes->capacity - 1);
}

static size_t behind(const struct nodes *nodes, size_t place)
{
	return (place + 1) & (nodes->capacity - 1);
}

/* With the lock held: where the id is, or would be. */
static struct node *place_of(const struct nodes *nodes, uint64_t id)
{
	size_t place = home_of(nodes, id);

	while (nodes->table[place].snapshot && nodes->table[place].id != id)
		place = behind(nodes, place);
	return &nodes->table[place];
}

/* With the lock held: NULL if it is unknown. */
static struct node *find(const struct nodes *nodes, uint64_t id)
{
	struct node *node = place_of(nodes, id);

	return node->snapshot ? node : NULL;
}

/* With the lock held: makes room for one more. */
static int make_room(struct nodes *nodes, struct err *err)
{
	struct nodes larger = { .capacity = nodes->capacity * 2 };

	if ((nodes->n + 1) * 5 <= nodes->capacity * 4)
		return 0;
	larger.table = calloc(larger.capacity, sizeof(*larger.table));
	if (!larger.table)
		return err_set(err, ERR_INTERNAL, "table of nodes: out of memory");
	for (size_t i = 0; i < nodes->capacity; i++) {
		if (nodes->table[i].snapshot)
			*place_of(&larger, nodes->table[i].id) = nodes->table[i];
	}
	free(nodes->table);
	nodes->table = larger.table;
	nodes->capacity = larger.capacity;
	return 0;
}

/* With the lock held: frees the place, and moves a node into it that a probe would not find
 * otherwise. */
static void clear(struct nodes *nodes, struct node *node)
{
	size_t hole = (size_t)(node - nodes->table);

	for (size_t i = behind(nodes, hole); nodes->table[i].snapshot; i = behind(nodes, i)) {
		size_t home = home_of(nodes, nodes->table[i].id);
		/* Its home is after the hole, so a probe still finds it. */
		if (((i - home) & (nodes->capacity - 1)) < ((i - hole) & (nodes->capacity - 1)))
			continue;
		nodes->table[hole] = nodes->table[i];
		hole = i;
	}
	nodes->table[hole] = (struct node){ .snapshot = NULL };
	nodes->n--;
}

int nodes_add(struct nodes *nodes, struct snapshot *snapshot, struct term *term, struct err *err)
{
	pthread_mutex_lock(&nodes->lock);
	int result = make_room(nodes, err);
	if (result == 0 && !find(nodes, snapshot->id)) {
		*place_of(nodes, snapshot->id) = (struct node){
			.id = snapshot->id,
			.snapshot = snapshot_ref(snapshot),
			.term = term,
		};
		nodes->n++;
	}
	pthread_mutex_unlock(&nodes->lock);
	return result;
}

struct snapshot *nodes_find(struct nodes *nodes, uint64_t id, struct term **ret_term,
			    bool *ret_superseded)
{
	struct snapshot *snapshot = NULL;

	pthread_mutex_lock(&nodes->lock);
	const struct node *node = find(nodes, id);
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
	pthread_mutex_lock(&nodes->lock);
	struct node *node = find(nodes, id);
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
	size_t n = 0;

	pthread_mutex_lock(&nodes->lock);
	for (size_t i = 0; i < nodes->capacity; i++)
		n += nodes->table[i].snapshot && nodes->table[i].superseded;
	struct node_place *places = calloc(n + 1, sizeof(*places));
	n = 0;
	for (size_t i = 0; places && i < nodes->capacity; i++) {
		const struct node *node = &nodes->table[i];
		if (node->snapshot && node->superseded)
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

	pthread_mutex_lock(&nodes->lock);
	struct node *node = find(nodes, id);
	if (node && node->superseded) {
		snapshot = node->snapshot;
		clear(nodes, node);
	}
	pthread_mutex_unlock(&nodes->lock);
	return snapshot;
}
