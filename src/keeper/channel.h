/*
 * channel: the messages between keeper and worker, over one pair of sockets.
 *
 *	worker                           keeper
 *	                        ◄──────  HELLO       its descriptors: struct channel_hello
 *	PREPARED                ──────►              the store is open, the terms are loaded
 *	                        ◄──────  DEVICE      with the FUSE connection, now mounted
 *	SERVING                 ──────►              it answers requests
 *	READY                   ──────►              the first attempts are over
 *	ALIVE                   ──────►              a sign of life, every CHANNEL_ALIVE_MS from
 *	                                             HELLO on
 *
 * A successor on an existing mount gets the FUSE connection with HELLO and sends no PREPARED. A
 * standby worker sends STANDBY, and after GO continues like a successor. At any time:
 *
 *	HELPER                  ──────►              start a helper on the socket in this message
 *	EXECUTOR                ──────►              start an executor, likewise
 *	VISITOR                 ──────►              start a visitor, likewise
 *	UPGRADE                 ──────►              with the connection of the request
 *	                        ◄──────  REFUSED     no upgrade, with the reason and the connection
 *	                        ◄──────  REPORT      upgraded; to the new worker, likewise
 *	                        ◄──────  HANDOVER    take no more requests, answer the rest, end
 *	                        ◄──────  DETACHED    the mount is no longer attached anywhere
 *	UNMOUNTED               ──────►              the connection has ended
 *	UNFIT                   ──────►              it cannot take over this mount, with the reason
 *	FAILED                  ──────►              the start failed, with the reason
 *
 * The death of either process shows as end of file.
 *
 * Runs in the keeper, with the rights of the user who started rptfs, and in the worker,
 * unprivileged.
 */
#ifndef KEEPER_CHANNEL_H
#define KEEPER_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#include "base/build.h"
#include "base/err.h"

/* Sent with the first message, because keeper and worker may be of different builds during an
 * upgrade. Raise it when the meaning of a message or the layout of the requests in flight
 * changes. */
#define CHANNEL_PROTOCOL 2
#define CHANNEL_ALIVE_MS 1000

enum channel_type {
	CHANNEL_END,	 /* the other process is gone */
	CHANNEL_NOTHING, /* no message yet */
	CHANNEL_HELLO = 'h',
	CHANNEL_PREPARED = 'p',
	CHANNEL_DEVICE = 'd',
	CHANNEL_SERVING = 's',
	CHANNEL_READY = 'r',
	CHANNEL_ALIVE = 'a',
	CHANNEL_STANDBY = 'w',
	CHANNEL_GO = 'g',
	CHANNEL_HELPER = 'x',
	CHANNEL_EXECUTOR = 'k',
	CHANNEL_VISITOR = 'y',
	CHANNEL_UPGRADE = 'u',
	CHANNEL_REFUSED = 'n',
	CHANNEL_REPORT = 'v',
	CHANNEL_HANDOVER = 'o',
	CHANNEL_DETACHED = 't',
	CHANNEL_UNMOUNTED = 'e',
	CHANNEL_UNFIT = 'm',
	CHANNEL_FAILED = 'f',
};

/* The order of the descriptors of HELLO. */
enum channel_fd {
	CHANNEL_FD_CONFIG,   /* the effective configuration, a sealed memfd */
	CHANNEL_FD_STORE,    /* the store's directory */
	CHANNEL_FD_CONTROL,  /* the listening control socket */
	CHANNEL_FD_INFLIGHT, /* mount/connection/inflight.h */
	CHANNEL_FD_DEVICE,   /* only if the mount exists */
	CHANNEL_FDS_MAX,
};

struct channel_hello {
	uint32_t protocol; /* CHANNEL_PROTOCOL */
	bool is_standby;   /* prepare beside the worker that serves, until GO */
	bool is_detached;  /* rptfs has left the terminal */
	bool is_confined;  /* enter the sandbox */
	bool set_aside;	   /* set the store aside and begin a new one */
	bool renames;	   /* visitors have a writable handle of the mount */
	uid_t owner;	   /* of the mount */
	gid_t owner_group;
	char control_path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	unsigned restarts; /* workers that died on this mount */
	pid_t keeper;
	char keeper_version[BUILD_VERSION_SIZE];
};

struct channel_report {
	char previous[BUILD_VERSION_SIZE]; /* the version before the upgrade */
	char keeper_version[BUILD_VERSION_SIZE];
};

struct channel_message {
	enum channel_type type;
	union {
		struct channel_hello hello;   /* HELLO */
		struct channel_report report; /* REPORT */
		/* REFUSED, UNFIT, FAILED: the reason; STANDBY: keeper_kind() */
		char text[ERR_MSG_SIZE];
	};
	int fds[CHANNEL_FDS_MAX]; /* -1 where there is none */
};

/* Send a message without blocking. fd: -1 for none; descriptors stay the caller's. Return -1 if the
 * other process has ended, or does not read. */
int channel_send(int channel, enum channel_type type, int fd);
int channel_send_text(int channel, enum channel_type type, int fd, const char *text);
int channel_send_report(int channel, int fd, const struct channel_report *report);
int channel_send_hello(int channel, const struct channel_hello *hello,
		       const int fds[CHANNEL_FDS_MAX]);

/* Receives the next message. Release it with channel_message_release(), which closes its
 * descriptors. */
enum channel_wait { CHANNEL_WAITS, CHANNEL_DOES_NOT_WAIT };
void channel_receive(int channel, enum channel_wait wait, struct channel_message *ret);
void channel_message_release(struct channel_message *message);

#endif
