/*
 * nodes: the snapshots that the kernel may know, by node id.
 *
 * A snapshot enters before its name points to it, and leaves when it was superseded and the kernel
 * has let it go. In between every id that the kernel holds is found here. One leaf lock.
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
/* Drops the references that are left. */
void nodes_free(struct nodes *nodes);

/* Adds a snapshot (takes a reference of its own) of the term (borrowed), if it is not there. */
int nodes_add(struct nodes *nodes, struct snapshot *snapshot, struct term *term, struct err *err);

/* A reference for the caller, or NULL if the id is unknown; *ret_superseded: no name points to it.
 */
struct snapshot *nodes_find(struct nodes *nodes, uint64_t id, struct term **ret_term,
			    bool *ret_superseded);

/* From now on no name points to it, or one does again. */
void nodes_supersede(struct nodes *nodes, uint64_t id);
void nodes_restore(struct nodes *nodes, uint64_t id);

struct node_place {
	uint64_t id;
	struct term *term; /* whose name pointed to it */
};

/* All that were superseded: *ret is the caller's to free. */
int nodes_superseded(struct nodes *nodes, struct node_place **ret, size_t *ret_n, struct err *err);

/* Forgets the snapshot if it was superseded, and gives its reference to the caller; else NULL. */
struct snapshot *nodes_remove(struct nodes *nodes, uint64_t id);

#endif
