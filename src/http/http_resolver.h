/*
 * http_resolver: keeps resolv.conf in the worker's own root up to date.
 *
 * /etc/resolv.conf may be a link to anywhere, and the directories on the way may be made later, or
 * made anew. So in a private root (base/private_root.h) it is a copy. When a request begins, it is
 * compared with the machine's file, at most once a second. libc notices a new copy by itself.
 * Without a private root this does nothing. Internal to http*.c.
 */
#ifndef HTTP_HTTP_RESOLVER_H
#define HTTP_HTTP_RESOLVER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct helper;

struct http_resolver {
	struct helper *helper; /* borrowed; opens what is not in the private root */
	int directory;	       /* owned; of the copy; -1: there is no private root */

	pthread_mutex_t lock;	/* a leaf */
	bool is_comparing;	/* guarded by lock; true: a thread does, and uses the rest */
	int64_t compared_at_ms; /* guarded by lock; clock_boot_ms() */

	struct stat copied; /* the machine's file; zeroes: none yet */
	bool has_failed;
};

/* Makes the first copy. Blocks as http_resolver_update(). */
void http_resolver_init(struct http_resolver *resolver, struct helper *helper);
void http_resolver_release(struct http_resolver *resolver);

/* From any thread. One thread at a time blocks, for as long as the file system takes to open the
 * file. */
void http_resolver_update(struct http_resolver *resolver);

#endif
