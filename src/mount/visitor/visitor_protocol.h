/*
 * visitor_protocol: the messages between worker and visitor, one packet each way.
 */
#ifndef MOUNT_VISITOR_VISITOR_PROTOCOL_H
#define MOUNT_VISITOR_VISITOR_PROTOCOL_H

#include <limits.h>
#include <stdint.h>

enum visitor_verb {
	VISITOR_LOOK = 'l',
	VISITOR_MOVE = 'm',
	VISITOR_REMOVE = 'r',
	VISITOR_LIST = 'd',
	VISITOR_CHECK = 'c',
};

/* Two paths with a NUL after each; the second one is empty except for MOVE. */
#define VISITOR_PATHS_SIZE (2 * PATH_MAX)

struct visitor_request {
	char verb;
	char paths[VISITOR_PATHS_SIZE];
};

/* 0 or a negative errno. */
typedef int32_t visitor_reply;

#endif
