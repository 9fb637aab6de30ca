/*
 * xattr: the extended attributes of a term's file.
 *
 * Those of the snapshot never change; those of the term are answered live, also through a
 * descriptor of a superseded snapshot.
 */
#ifndef MOUNT_VIEW_XATTR_H
#define MOUNT_VIEW_XATTR_H

#include <stddef.h>

#include "store/snapshot.h"
#include "term/term.h"

/* Of the root only: where the control socket is, and how names move. */
#define XATTR_CONTROL	   "user.rpt.control"
#define XATTR_PUBLISH_MODE "user.rpt.publish_mode"

/* What listxattr(2) answers: only what copying tools should copy. Names end with NUL each. */
extern const char xattr_list[];
extern const size_t xattr_list_size;

/* The value without NUL or newline, malloc'ed, the caller's. Returns 0, ENODATA or ENOMEM. */
int xattr_get(const char *name, const struct snapshot *snapshot, struct term *term, char **ret);

#endif
