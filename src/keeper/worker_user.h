/*
 * worker_user: the user that the worker runs as. It is never root.
 *
 * On root's mounts this is the user of the configuration, else the user "rptfs". If there is no
 * user "rptfs", the worker gets a user id that nobody has: one of those that systemd gives to
 * services with DynamicUser=. The lock that systemd takes for such a user keeps it, and other
 * mounts, from giving the same id to anybody else. A store keeps its owner's id as long as no one
 * else has it.
 *
 * On other users' mounts the worker runs as the user who mounts.
 *
 * Runs in the command before it becomes the keeper, with the rights of the user who started rptfs.
 */
#ifndef KEEPER_WORKER_USER_H
#define KEEPER_WORKER_USER_H

#include "base/err.h"
#include "keeper/child.h"

struct worker_user_request {
	const char *name; /* of the configuration; NULL: none */
	const char *seed; /* what names the store: it decides which free id is tried first */
	uid_t present;	  /* the owner of the store; WORKER_USER_NONE: there is no store yet */
};

#define WORKER_USER_NONE ((uid_t)-1)

/* *ret_lock keeps a user id without a name from being given to others, and is the caller's; -1 if
 * none is needed. ERR_CONFIG if there is no unprivileged user. */
int worker_user_choose(struct child_identity *ret, int *ret_lock,
		       const struct worker_user_request *request, struct err *err);

#endif
