/*
 * nodes: the snapshots that the kernel may know, by node id.
 *
 * A snapshot is added before its name points to it. It is removed when it is superseded and the
 * kernel has forgotten it. Every id that the kernel holds is found here. One leaf lock.
 */
#ifndef MOUNT_NAMESPACE_NODES_H
#define MOUNT_NAMESPACE_NODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "store/snapshot.h"
#include "term/term.h"

struct nodes;

int nodes_new(struct nodes **ret, struct err *err);
/* Drops the remaining references. */
void nodes_free(struct nodes *nodes);

/* Adds a snapshot (takes a reference of its own) of the term (borrowed) unless it is there. */
int nodes_add(struct nodes *nodes, struct snapshot *snapshot, struct term *term, struct err *err);

/* Returns a reference for the caller, or NULL if the id is unknown. *ret_superseded: no name points
 * to it. */
struct snapshot *nodes_find(struct nodes *nodes, uint64_t id, struct term **ret_term,
			    bool *ret_superseded);

/* From now on no name points to the snapshot; or a name points to it again. */
void nodes_supersede(struct nodes *nodes, uint64_t id);
void nodes_restore(struct nodes *nodes, uint64_t id);

struct node_place {
	uint64_t id;
	struct term *term; /* whose name pointed to it */
};

/* All superseded ones. The caller frees *ret. */
int nodes_superseded(struct nodes *nodes, struct node_place **ret, size_t *ret_n, struct err *err);

/* Removes the snapshot if it is superseded and returns its reference to the caller; else NULL. */
struct snapshot *nodes_remove(struct nodes *nodes, uint64_t id);

#endif
