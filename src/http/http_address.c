#include "http/http_address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

#define AVOIDED_MS    INT64_C(300000)
#define SECOND_SYN_MS 1000

/* Returns NULL for an address that is not known, and forgets those whose time is over. */
static struct http_address *find(struct http_addresses *addresses, const char *ip, long port)
{
	int64_t now_ms = clock_boot_ms();

	for (size_t i = addresses->n; i-- > 0;) {
		struct http_address *bad = &addresses->bad[i];

		if (now_ms >= bad->until_ms)
			*bad = addresses->bad[--addresses->n];
		else if (bad->port == port && strcmp(bad->ip, ip) == 0)
			return bad;
	}
	return NULL;
}

/* Returns false if the transfer has had no connection over IP. */
static bool peer_of(CURL *easy, const char **ret_ip, long *ret_port)
{
	*ret_ip = NULL;
	*ret_port = 0;
	curl_easy_getinfo(easy, CURLINFO_PRIMARY_IP, ret_ip);
	curl_easy_getinfo(easy, CURLINFO_PRIMARY_PORT, ret_port);
	return *ret_ip && **ret_ip && *ret_port > 0;
}

/* Returns false for an address that is not of IP. ip: INET6_ADDRSTRLEN bytes. */
static bool address_text(const struct sockaddr *address, char *ip, long *ret_port)
{
	const struct sockaddr_in *v4 = (const void *)address;
	const struct sockaddr_in6 *v6 = (const void *)address;

	*ret_port = 0;
	if (address->sa_family == AF_INET) {
		*ret_port = ntohs(v4->sin_port);
		return inet_ntop(AF_INET, &v4->sin_addr, ip, INET6_ADDRSTRLEN);
	}
	if (address->sa_family == AF_INET6) {
		*ret_port = ntohs(v6->sin6_port);
		return inet_ntop(AF_INET6, &v6->sin6_addr, ip, INET6_ADDRSTRLEN);
	}
	return false;
}

static void avoid(struct http_addresses *addresses, const char *ip, long port)
{
	struct http_address *bad = find(addresses, ip, port);
	if (!bad && addresses->n == HTTP_ADDRESSES_MAX)
		bad = &addresses->bad[(size_t)clock_boot_ms() % HTTP_ADDRESSES_MAX];
	else if (!bad)
		bad = &addresses->bad[addresses->n++];
	snprintf(bad->ip, sizeof(bad->ip), "%s", ip);
	bad->port = port;
	bad->until_ms = clock_boot_ms() + AVOIDED_MS;
}

void http_address_tried(struct http_addresses *addresses, struct http_tries *tries,
			const struct sockaddr *address)
{
	bool is_v6 = address->sa_family == AF_INET6;
	struct http_try *last = &tries->last[is_v6];
	int64_t now_ms = clock_boot_ms();
	char ip[INET6_ADDRSTRLEN];
	long port;

	if (last->at_ms && now_ms - last->at_ms >= SECOND_SYN_MS &&
	    address_text((const struct sockaddr *)&last->address, ip, &port))
		avoid(addresses, ip, port);
	last->at_ms = now_ms;
	memcpy(&last->address, address,
	       is_v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
}

void http_address_failed(struct http_addresses *addresses, CURL *easy)
{
	const char *ip;
	long port;

	if (peer_of(easy, &ip, &port))
		avoid(addresses, ip, port);
}

void http_address_answered(struct http_addresses *addresses, CURL *easy)
{
	const char *ip;
	long port;

	if (!addresses->n || !peer_of(easy, &ip, &port))
		return;
	struct http_address *bad = find(addresses, ip, port);
	if (bad)
		*bad = addresses->bad[--addresses->n];
}

bool http_address_is_bad(struct http_addresses *addresses, const struct sockaddr *address)
{
	char ip[INET6_ADDRSTRLEN];
	long port;

	return address_text(address, ip, &port) && find(addresses, ip, port);
}
