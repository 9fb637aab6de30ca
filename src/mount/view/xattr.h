/*
 * xattr: the extended attributes of a term's file.
 *
 * The attributes of the snapshot never change. Those of the term are current, even through a
 * descriptor of a superseded snapshot.
 */
#ifndef MOUNT_VIEW_XATTR_H
#define MOUNT_VIEW_XATTR_H

#include <stddef.h>

#include "store/snapshot.h"
#include "term/term.h"

/* Of the root only: the path of the control socket, and how names move. */
#define XATTR_CONTROL	   "user.rpt.control"
#define XATTR_PUBLISH_MODE "user.rpt.publish_mode"

/* The answer to listxattr(2): only attributes that copying tools should copy. NUL after each. */
extern const char xattr_list[];
extern const size_t xattr_list_size;

/* *ret: the value without NUL or newline, for the caller to free. Returns 0, ENODATA or ENOMEM. */
int xattr_get(const char *name, const struct snapshot *snapshot, struct term *term, char **ret);

#endif
