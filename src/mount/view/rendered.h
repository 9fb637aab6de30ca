/*
 * rendered: the files of .rpt/ that are rendered when they are looked up.
 *
 * Each look-up gets a complete rendering with a node id of its own, `1<<63 | life<<32 | n`, so one
 * descriptor always shows one rendering. A rendering younger than 100 ms is used again, so nothing
 * can make the worker render in a loop. A rendering is freed when the kernel has forgotten all its
 * look-ups and it is too old to be used again. The ids need not survive a restart, so a counter is
 * enough. Programs see another number, `1<<31 | life<<20 | n`, because 32-bit ones cannot stat a
 * file whose number is larger.
 */
#ifndef MOUNT_VIEW_RENDERED_H
#define MOUNT_VIEW_RENDERED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define RENDERED_ID_BIT	  (UINT64_C(1) << 63)
#define RENDERED_REUSE_MS 100

/* A file below .rpt/ whose content is rendered when it is looked up. */
struct rendered_file {
	const char *name; /* "status.json" */
	/* A complete rendering; *ret is malloc'ed, the caller's. */
	int (*render)(void *arg, char **ret, size_t *ret_len, struct err *err);
	void *arg;
};

struct rendered;

/* One rendering, immutable; valid while looked up. */
struct rendering {
	uint64_t id;  /* of the node */
	uint32_t ino; /* st_ino */
	char *text;   /* owned */
	size_t len;
	int64_t rendered_at_ms; /* wall clock */
};

/* life: store_life(); files: borrowed. */
int rendered_new(struct rendered **ret, const struct rendered_file *files, size_t n_files,
		 uint32_t life, struct err *err);
void rendered_free(struct rendered *rendered);

/* The file's name and a number of its own for listings; false after the last one. */
bool rendered_list(const struct rendered *rendered, size_t index, const char **ret_name,
		   uint32_t *ret_ino);

/* A rendering for one look-up, to be balanced by rendered_forget(). ERR_NOT_FOUND: no such file. */
int rendered_lookup(struct rendered *rendered, const char *name, const struct rendering **ret,
		    struct err *err);

/* The kernel has forgotten `count` look-ups. Frees the rendering after the last one; a young one
 * stays until the next one is rendered. */
void rendered_forget(struct rendered *rendered, uint64_t id, uint64_t count);

/* The rendering of an id that the kernel holds, with one more look-up; NULL if there is none. */
const struct rendering *rendered_get(struct rendered *rendered, uint64_t id);

#endif
