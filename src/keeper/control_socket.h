/*
 * control_socket: where the control socket of a mount is, and listening on it.
 *
 * The keeper holds the socket, so it outlives the workers that answer it: a connection that is made
 * while no worker runs waits for the next one.
 *
 * Runs in the command before it becomes the keeper, and in the keeper, with the rights of the user
 * who started rptfs.
 */
#ifndef KEEPER_CONTROL_SOCKET_H
#define KEEPER_CONTROL_SOCKET_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/*
 * The path of the socket: /run/rptfs/ESCAPED-MOUNTPOINT.sock for root, otherwise the same name
 * below $XDG_RUNTIME_DIR/rptfs. If that variable is not set, below /run/user/UID/rptfs, and if this
 * user has no such directory, in a new directory below /tmp, whose name nobody can know before.
 * Creates the directory, which must belong to this user. A name that is too long for a socket
 * address is replaced by a digest. *ret is the caller's.
 */
int control_socket_path(const char *mountpoint, char **ret, struct err *err);

/*
 * Listens on the path, whose directory must exist. Every user may connect if allow_other is set,
 * else only root and this user. Returns a non-blocking descriptor, the caller's. Replaces the
 * socket that a dead process left. The name appears once the socket accepts connections, not
 * before.
 */
int control_socket_listen(const char *path, bool allow_other, struct err *err);

/* Makes this process the owner of the listening socket, as others see it. */
void control_socket_claim(int fd);

/* Returns the process that listens on the socket of that mount; 0: none that is visible here. */
pid_t control_socket_owner(const char *mountpoint);

/* Removes the socket at the path, unless another process has replaced it by its own,
 * and a directory that was made for it below /tmp. */
void control_socket_remove(const char *path);

#endif
