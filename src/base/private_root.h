/*
 * private_root: what a worker finds in its own root besides system directories
 * (worker/sandbox_root.c makes it).
 */
#ifndef BASE_PRIVATE_ROOT_H
#define BASE_PRIVATE_ROOT_H

/* The machine's /etc. The names in /etc are links to those in it. */
#define PRIVATE_ROOT_ETC "/.rptfs/etc"

/* A directory that the worker may write to, for resolv.conf: /etc/resolv.conf is a link to it
 * (http/http_resolver.h). */
#define PRIVATE_ROOT_RESOLVER "/.rptfs/resolver"

#endif
