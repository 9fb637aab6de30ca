/*
 * http_address: addresses that take connections and do not answer.
 *
 * A name may have several addresses. libcurl tries the next one if it cannot connect to the first,
 * but not if the first accepts and then resets, stays mute or fails in TLS. Such an address is
 * avoided for some minutes, as long as there is another one. Used by the engine's thread alone.
 * Internal to http*.c.
 */
#ifndef HTTP_HTTP_ADDRESS_H
#define HTTP_HTTP_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <curl/curl.h>

#define HTTP_ADDRESSES_MAX 32

struct http_address {
	char ip[48]; /* as libcurl writes it */
	long port;
	int64_t until_ms; /* clock_boot_ms() */
};

struct http_addresses {
	struct http_address bad[HTTP_ADDRESSES_MAX];
	size_t n;
};

/* The address to which the transfer connected last is to be avoided, or no longer. */
void http_address_failed(struct http_addresses *addresses, CURL *easy);
void http_address_answered(struct http_addresses *addresses, CURL *easy);

bool http_address_is_bad(struct http_addresses *addresses, const struct sockaddr *address);

#endif
