/*
 * channel: what keeper and worker say to each other, over one socket pair.
 *
 *	worker                           keeper
 *	                        ◄──────  HELLO       what it inherits: see struct channel_hello
 *	PREPARED                ──────►              the store is open, the terms are loaded
 *	                        ◄──────  DEVICE      with the mounted device
 *	SERVING                 ──────►              requests are being answered
 *	READY                   ──────►              the first attempts are over
 *	ALIVE                   ──────►              a sign of life, every CHANNEL_ALIVE_MS from
 *	                                             HELLO on
 *
 * A successor on a mount that stands gets the device with HELLO and leaves PREPARED out. A standby
 * worker says STANDBY, and goes on as a successor when it gets GO. Besides, at any time,
 *
 *	HELPER                  ──────►              start a helper that talks over the descriptor
 *	VISITOR                 ──────►              start a visitor, likewise
 *	UPGRADE                 ──────►              asked for over the connection that comes along
 *	                        ◄──────  REFUSED     no upgrade, for this reason (the same one back)
 *	                        ◄──────  REPORT      done: tell it (the same connection, to the new)
 *	                        ◄──────  HANDOVER    take no more requests, answer the rest, end
 *	                        ◄──────  DETACHED    the mount point leads elsewhere now, for good
 *	UNMOUNTED               ──────►              there is nothing to serve any more
 *	UNFIT                   ──────►              it cannot take this mount over: the reason
 *	FAILED                  ──────►              the start failed: the reason
 *
 * The end of either process shows as end of file.
 */
#ifndef KEEPER_CHANNEL_H
#define KEEPER_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#include "base/build.h"
#include "base/err.h"

/* Keeper and worker are of different builds while one follows the other: the first message says
 * what is spoken. To be raised when a message or the layout of the slots changes its meaning. */
#define CHANNEL_PROTOCOL 2
#define CHANNEL_ALIVE_MS 1000

enum channel_type {
	CHANNEL_END,	 /* the other side is gone */
	CHANNEL_NOTHING, /* it has said nothing more yet */
	CHANNEL_HELLO = 'h',
	CHANNEL_PREPARED = 'p',
	CHANNEL_DEVICE = 'd',
	CHANNEL_SERVING = 's',
	CHANNEL_READY = 'r',
	CHANNEL_ALIVE = 'a',
	CHANNEL_STANDBY = 'w',
	CHANNEL_GO = 'g',
	CHANNEL_HELPER = 'x',
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

/* The descriptors of HELLO, in this order. */
enum channel_fd {
	CHANNEL_FD_CONFIG,  /* the effective configuration, a sealed memfd */
	CHANNEL_FD_STORE,   /* the store's directory */
	CHANNEL_FD_CONTROL, /* the listening control socket */
	CHANNEL_FD_SLOTS,   /* mount/connection/slots.h */
	CHANNEL_FD_DEVICE,  /* only where the mount stands already */
	CHANNEL_FDS_MAX,
};

struct channel_hello {
	uint32_t protocol; /* CHANNEL_PROTOCOL */
	bool is_standby;   /* stay beside the one that serves until GO */
	bool is_detached;  /* rptfs has left its terminal */
	bool is_confined;  /* enter the sandbox */
	bool set_aside;	   /* the store is to be begun anew */
	bool renames;	   /* visitors have a writable handle of the mount */
	uid_t owner;	   /* of the mount */
	gid_t owner_group;
	char control_path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	unsigned restarts; /* workers that died so far */
	pid_t keeper;
	char keeper_version[BUILD_VERSION_SIZE];
};

struct channel_report {
	char previous[BUILD_VERSION_SIZE]; /* what was upgraded from */
	char keeper_version[BUILD_VERSION_SIZE];
};

struct channel_message {
	enum channel_type type;
	union {
		struct channel_hello hello;   /* HELLO */
		struct channel_report report; /* REPORT */
		/* REFUSED, UNFIT, FAILED: the reason; STANDBY: see keeper_kind() */
		char text[ERR_MSG_SIZE];
	};
	int fds[CHANNEL_FDS_MAX]; /* -1 where there is none */
};

/* Neither blocks. The descriptors that are passed stay the caller's. Return -1 if the other side is
 * gone, or so far behind that it might as well be. */
int channel_send(int channel, enum channel_type type, int fd);
int channel_send_text(int channel, enum channel_type type, int fd, const char *text);
int channel_send_report(int channel, int fd, const struct channel_report *report);
int channel_send_hello(int channel, const struct channel_hello *hello,
		       const int fds[CHANNEL_FDS_MAX]);

/* The next message; descriptors that came with it are the caller's. */
enum channel_wait { CHANNEL_WAITS, CHANNEL_DOES_NOT_WAIT };
void channel_receive(int channel, enum channel_wait wait, struct channel_message *ret);
void channel_message_release(struct channel_message *message);

#endif
