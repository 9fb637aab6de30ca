/*
 * runtime_dir: where the control socket of a mount lies.
 */
#ifndef KEEPER_RUNTIME_DIR_H
#define KEEPER_RUNTIME_DIR_H

#include "base/err.h"

/*
 * /run/rptfs/ESCAPED-MOUNTPOINT.sock for root, else the same below $XDG_RUNTIME_DIR, or below
 * /tmp/rptfs-UID if that is not set. The directory is made, and must belong to us. A name that is
 * too long for a socket address is shortened to a digest. *ret is malloc'ed, the caller's.
 */
int runtime_dir_socket(const char *mountpoint, char **ret, struct err *err);

#endif
