/*
 * helper_client: the worker's side of the helper, an implementation of base/helper.h.
 *
 * Runs in the worker, unprivileged. From any thread.
 */
#ifndef WORKER_HELPER_CLIENT_H
#define WORKER_HELPER_CLIENT_H

#include "base/cancel.h"
#include "base/err.h"
#include "base/helper.h"
#include "helper/helper_protocol.h"

/*
 * Starts nothing yet. start(arg, role, socket) starts a helper of that role that serves the socket
 * (borrowed), or returns -1; it is called again after the death of a helper. It must not block.
 * cancel is borrowed and ends every wait; NULL: none.
 */
int helper_client_new(struct helper **ret,
		      int (*start)(void *arg, enum helper_role role, int socket), void *arg,
		      struct cancel *cancel, struct err *err);
/* No request may be in progress. The helper ends. NULL is allowed. */
void helper_client_free(struct helper *helper);

#endif
