#include "http/http_host.h"

#include <string.h>
#include <utlist.h>

#include "base/hash.h"
#include "base/util.h"

struct http_host {
	unsigned running;
	unsigned limit;
	struct http_ticket *waiting;
	UT_hash_handle hh;
	char key[];
};

static void host_free(struct http_hosts *hosts, struct http_host *host)
{
	HASH_DEL(hosts->by_key, host);
	free(host);
}

void http_hosts_release(struct http_hosts *hosts)
{
	struct http_host *host, *next;

	HASH_ITER(hh, hosts->by_key, host, next)
		host_free(hosts, host);
}

static struct http_host *host_get(struct http_hosts *hosts, const char *key, bool is_tls)
{
	size_t len = strlen(key);
	struct http_host *host = NULL;

	HASH_FIND(hh, hosts->by_key, key, len, host);
	if (host)
		return host;
	host = calloc(1, sizeof(*host) + len + 1);
	if (!host)
		return NULL;
	memcpy(host->key, key, len);
	host->limit = is_tls ? 1 : HTTP_HOST_CONNECTIONS;
	HASH_ADD(hh, hosts->by_key, key[0], len, host);
	if (hash_has(host, hh))
		return host;
	free(host);
	return NULL;
}

int http_hosts_enter(struct http_hosts *hosts, const char *key, bool is_tls,
		     struct http_ticket *ticket)
{
	struct http_host *host = host_get(hosts, key, is_tls);

	if (!host)
		return -1;
	ticket->host = host;
	ticket->is_running = false;
	DL_APPEND(host->waiting, ticket);
	return 0;
}

struct http_ticket *http_hosts_next(struct http_host *host)
{
	struct http_ticket *ticket = host->waiting;

	if (!ticket || host->running >= host->limit)
		return NULL;
	DL_DELETE(host->waiting, ticket);
	host->running++;
	ticket->is_running = true;
	return ticket;
}

static bool raise_limit(struct http_host *host, unsigned limit)
{
	if (host->limit < limit)
		host->limit = limit;
	return host->waiting && host->running < host->limit;
}

bool http_hosts_connected(struct http_ticket *ticket)
{
	return raise_limit(ticket->host, HTTP_HOST_CONNECTIONS);
}

bool http_hosts_multiplexed(struct http_ticket *ticket)
{
	return raise_limit(ticket->host, HTTP_HOST_STREAMS);
}

struct http_host *http_hosts_leave(struct http_hosts *hosts, struct http_ticket *ticket)
{
	struct http_host *host = steal_ptr(&ticket->host);

	if (!host)
		return NULL;
	if (ticket->is_running)
		host->running--;
	else
		DL_DELETE(host->waiting, ticket);
	ticket->is_running = false;
	/* If the first transfer has failed, the others no longer wait for it. */
	raise_limit(host, HTTP_HOST_CONNECTIONS);
	if (host->waiting)
		return host;
	if (!host->running)
		host_free(hosts, host);
	return NULL;
}
