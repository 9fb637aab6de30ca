/*
 * http_public: whether an address is public, and not one of this machine or of a private network. A
 * redirect of a public host must not lead to the others. Internal to http*.c.
 */
#ifndef HTTP_HTTP_PUBLIC_H
#define HTTP_HTTP_PUBLIC_H

#include <stdbool.h>

/* Not unspecified, loopback, link-local, private, shared (RFC 6598) or unique local. False for text
 * that is not an IP address. */
bool http_is_public_address(const char *ip);

/* Does "https://host:443" name a host that is not public, judged by the text alone? */
bool http_is_private_origin(const char *origin);

#endif
