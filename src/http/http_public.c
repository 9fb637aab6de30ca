#include "http/http_public.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"

struct block {
	const char *address;
	unsigned prefix;
};

/* IPv4 blocks as the IPv6 addresses that contain them; :: and ::1 become 0.0.0.0 and 0.0.0.1. */
static const struct block not_public[] = {
	{ "fe80::", 10 },
	{ "fc00::", 7 },
	{ "::ffff:0.0.0.0", 96 + 8 },
	{ "::ffff:10.0.0.0", 96 + 8 },
	{ "::ffff:100.64.0.0", 96 + 10 },
	{ "::ffff:127.0.0.0", 96 + 8 },
	{ "::ffff:169.254.0.0", 96 + 16 },
	{ "::ffff:172.16.0.0", 96 + 12 },
	{ "::ffff:192.168.0.0", 96 + 16 },
};

/* The prefixes of IPv6 addresses that stand for the IPv4 address in their last 4 bytes. */
static const struct block stands_for_v4[] = {
	{ "::ffff:0.0.0.0", 96 },
	{ "64:ff9b::", 96 },
	{ "::", 96 },
};

static bool is_in(const struct in6_addr *address, const struct block *block)
{
	unsigned whole = block->prefix / 8, rest = block->prefix % 8;
	struct in6_addr base;

	inet_pton(AF_INET6, block->address, &base);
	if (memcmp(address, &base, whole) != 0)
		return false;
	return !rest || (address->s6_addr[whole] ^ base.s6_addr[whole]) >> (8 - rest) == 0;
}

/* An IPv4 address becomes ::ffff:a.b.c.d. A zone ("%eth0") is dropped. */
static bool parse(const char *ip, struct in6_addr *ret)
{
	char text[INET6_ADDRSTRLEN + sizeof("::ffff:")];
	int len = (int)strcspn(ip, "%");

	if (len >= INET6_ADDRSTRLEN)
		return false;
	snprintf(text, sizeof(text), "%s%.*s", strchr(ip, ':') ? "" : "::ffff:", len, ip);
	return inet_pton(AF_INET6, text, ret) == 1;
}

bool http_is_public_address(const char *ip)
{
	struct in6_addr address;

	if (!parse(ip, &address))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(stands_for_v4); i++) {
		if (is_in(&address, &stands_for_v4[i])) {
			memset(address.s6_addr, 0, 10);
			memset(address.s6_addr + 10, 0xff, 2);
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(not_public); i++) {
		if (is_in(&address, &not_public[i]))
			return false;
	}
	return true;
}

bool http_is_private_origin(const char *origin)
{
	const char *host = strstr(origin, "://") + 3;
	bool is_v6 = *host == '[';
	size_t len = strcspn(host + is_v6, is_v6 ? "]" : ":");
	static const char local[] = "localhost";
	struct in6_addr address;
	char name[256];

	if (len >= sizeof(name))
		return false;
	snprintf(name, sizeof(name), "%.*s", (int)len, host + is_v6);
	if (parse(name, &address))
		return !http_is_public_address(name);
	return len >= sizeof(local) - 1 && strcmp(name + len - (sizeof(local) - 1), local) == 0 &&
	       (len == sizeof(local) - 1 || name[len - sizeof(local)] == '.');
}
