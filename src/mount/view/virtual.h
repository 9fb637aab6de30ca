/*
 * virtual: the files of .rpt/, rendered when they are looked up.
 *
 * Each look-up gets a complete rendering with a node id of its own, `1<<63 | life<<32 | n`, so that
 * one descriptor always shows one rendering. A rendering younger than 100 ms is given again, so
 * nobody can make the worker render in a loop. A rendering lives until the kernel has forgotten
 * all look-ups of it; these ids are not kept over restarts, hence they may be counted.
 */
#ifndef MOUNT_VIEW_VIRTUAL_H
#define MOUNT_VIEW_VIRTUAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "mount/view/fs.h"

#define VIRTUAL_DIR_NAME ".rpt"
#define VIRTUAL_ID_BIT	 (UINT64_C(1) << 63)
#define VIRTUAL_REUSE_MS 100

struct virtual;

/* One rendering, immutable; valid while looked up. */
struct rendering {
	uint64_t id;
	char *text; /* owned */
	size_t len;
	int64_t rendered_at_ms; /* wall clock */
};

/* life: store_life(); files: borrowed. */
int virtual_new(struct virtual **ret, const struct fs_virtual *files, size_t n_files, uint32_t life,
		struct err *err);
void virtual_free(struct virtual *virtual);

/* The file's name and a number of its own for listings; false behind the last one. */
bool virtual_list(const struct virtual *virtual, size_t index, const char **ret_name,
		  uint64_t *ret_ino);

/* A rendering for one look-up, to be balanced by virtual_forget(). ERR_NOT_FOUND: no such file. */
int virtual_lookup(struct virtual *virtual, const char *name, const struct rendering **ret,
		   struct err *err);

/* The kernel has forgotten `count` look-ups. */
void virtual_forget(struct virtual *virtual, uint64_t id, uint64_t count);

/* The rendering of an id that the kernel holds, with one more look-up; NULL if there is none. */
const struct rendering *virtual_get(struct virtual *virtual, uint64_t id);

#endif
