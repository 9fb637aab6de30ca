/*
 * network: learns from the kernel when a link, an address or a default route appears.
 *
 * It reads a netlink socket, and skips news that makes nothing reachable, such as an address whose
 * lifetime is extended. It is an accelerator: without the socket, terms follow their back-off. Used
 * by one thread.
 */
#ifndef FETCH_NETWORK_H
#define FETCH_NETWORK_H

#include <stdbool.h>

#include "base/err.h"

struct network;

int network_new(struct network **ret, struct err *err);
/* NULL is allowed. */
void network_free(struct network *network);

/* Readable when there may be news; -1 for NULL. */
int network_fd(const struct network *network);

/* Reads all news, without blocking. True if a link, an address or a default route has appeared. */
bool network_has_come(struct network *network);

#endif
