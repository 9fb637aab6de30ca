/*
 * http_address: addresses that do not answer.
 *
 * A name may have several addresses. libcurl tries the next one if it cannot connect to the first,
 * which can take half of the connect timeout, but not if the first accepts and then resets, stays
 * mute or fails in TLS. Such an address is avoided for some minutes, as long as there is another
 * one. Used by the engine's thread alone. Internal to http*.c.
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

/* The connections that a transfer has begun to make: the last one of IPv4 and of IPv6. */
struct http_tries {
	struct http_try {
		struct sockaddr_storage address;
		int64_t at_ms; /* clock_boot_ms(); 0: none */
	} last[2];
};

/* A connection to the address begins. If the one before it, of the same family, has had time for
 * a second SYN, its address is to be avoided. */
void http_address_tried(struct http_addresses *addresses, struct http_tries *tries,
			const struct sockaddr *address);

/* The address to which the transfer connected last is to be avoided, or no longer. */
void http_address_failed(struct http_addresses *addresses, CURL *easy);
void http_address_answered(struct http_addresses *addresses, CURL *easy);

bool http_address_is_bad(struct http_addresses *addresses, const struct sockaddr *address);

#endif
