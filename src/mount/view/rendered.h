/*
 * rendered: the files of .rpt/ that are rendered when they are looked up.
 *
 * What a file shows depends on the terms that the caller may read. A text is shared by all callers
 * that may read the same terms, for 100 ms, so that nothing can make the worker render in a loop
 * (unless the texts of a file for different callers exceed 64 MiB together).
 * Each user gets a node of its own, `1<<63 | life<<32 | n`, so the kernel's cache of one user's
 * rendering is never another user's, one descriptor always shows one rendering, and what a user
 * keeps is counted: users other than root and the owner of the mount have a budget. A rendering is
 * freed when the kernel has forgotten all its look-ups; its text, when it has no rendering and is
 * too old to be used again.
 *
 * The ids need not survive a restart, so a counter is enough. Programs see another number,
 * `1<<31 | life<<20 | n`, because 32-bit ones cannot stat a file whose number is larger.
 */
#ifndef MOUNT_VIEW_RENDERED_H
#define MOUNT_VIEW_RENDERED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/budget.h"
#include "base/err.h"
#include "term/term_rights.h"

#define RENDERED_ID_BIT	  (UINT64_C(1) << 63)
#define RENDERED_REUSE_MS 100

/* A file below .rpt/ whose content is rendered when it is looked up. */
struct rendered_file {
	const char *name; /* "status.json" */
	/* A complete rendering of what `access` includes; *ret is malloc'ed, the caller's. */
	int (*render)(void *arg, const struct term_access *access, char **ret, size_t *ret_len,
		      struct err *err);
	void *arg;
};

struct rendered;

/* One rendering, immutable; valid while looked up. */
struct rendering {
	uint64_t id;  /* of the node */
	uint32_t ino; /* st_ino */
	const char *text;
	size_t len;
	int64_t rendered_at_ms; /* wall clock */
};

struct rendered_setup {
	const struct rendered_file *files; /* borrowed, n_files of them */
	size_t n_files;
	const struct term_rights *rights; /* borrowed */
	struct budget *budget;		  /* borrowed; of users other than root and the owner */
	uint32_t life;			  /* store_life() */
};

int rendered_new(struct rendered **ret, const struct rendered_setup *setup, struct err *err);
void rendered_free(struct rendered *rendered);

/* The file's name and a number of its own for listings; false after the last one. */
bool rendered_list(const struct rendered *rendered, size_t index, const char **ret_name,
		   uint32_t *ret_ino);

/* A copy of the rendering for one look-up of this caller, to be balanced by rendered_forget().
 * ERR_NOT_FOUND: no such file. ERR_BUSY: the caller's share of the budget is used up. */
int rendered_lookup(struct rendered *rendered, const char *name, const struct term_reader *caller,
		    struct rendering *ret, struct err *err);

/* The kernel has forgotten `count` look-ups. Frees the rendering after the last one; a young text
 * stays until the next one is rendered. */
void rendered_forget(struct rendered *rendered, uint64_t id, uint64_t count);

/* The rendering of an id that the kernel holds, with one more look-up; NULL if there is none. */
const struct rendering *rendered_get(struct rendered *rendered, uint64_t id);

#endif
