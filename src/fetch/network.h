/*
 * network: hears from the kernel that this machine can reach others (again).
 *
 * A netlink socket for links, addresses and default routes; everything that does not make anything
 * reachable, such as an address whose lifetime is prolonged, is passed over. It is an accelerator:
 * where there is no such socket, terms follow their back-off. Used by one thread.
 */
#ifndef FETCH_NETWORK_H
#define FETCH_NETWORK_H

#include <stdbool.h>

#include "base/err.h"

struct network;

int network_new(struct network **ret, struct err *err);
/* NULL is allowed. */
void network_free(struct network *network);

/* Readable when something may have happened; -1 for NULL. */
int network_fd(const struct network *network);

/* Takes all that there is to read: has a link, an address or a default route come? Does not block.
 */
bool network_has_come(struct network *network);

#endif
