#include "http/http_host.h"

#include <string.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/util.h"

struct http_host {
	unsigned running[HTTP_HOST_GENERATIONS];
	unsigned generation; /* of the transfers that start */
	unsigned limit;	     /* of this generation */
	int64_t since_ms;    /* when this generation began, or was idle last */
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

/* ---- generations ---- */

static bool is_idle(const struct http_host *host)
{
	for (size_t i = 0; i < HTTP_HOST_GENERATIONS; i++) {
		if (host->running[i])
			return false;
	}
	return true;
}

/* Begins the next generation if a connection may have been in use for too long, unless the former
 * transfers with that number still run. */
static void renew(struct http_host *host, int64_t now_ms)
{
	unsigned next = (host->generation + 1) % HTTP_HOST_GENERATIONS;

	if (is_idle(host)) {
		host->since_ms = now_ms;
		return;
	}
	if (host->limit < HTTP_HOST_STREAMS || host->running[next] ||
	    now_ms - host->since_ms < HTTP_KEPT_MAX_S * MS_PER_S)
		return;
	host->generation = next;
	host->limit = 1;
	host->since_ms = now_ms;
}

/* ---- tickets ---- */

struct http_ticket *http_hosts_next(struct http_host *host, int64_t now_ms)
{
	struct http_ticket *ticket = host->waiting;

	if (!ticket)
		return NULL;
	renew(host, now_ms);
	if (host->running[host->generation] >= host->limit)
		return NULL;
	DL_DELETE(host->waiting, ticket);
	host->running[host->generation]++;
	ticket->generation = host->generation;
	ticket->is_running = true;
	return ticket;
}

static bool raise_limit(const struct http_ticket *ticket, unsigned limit)
{
	struct http_host *host = ticket->host;

	if (ticket->generation != host->generation || host->limit >= limit)
		return false;
	host->limit = limit;
	return host->waiting && host->running[host->generation] < host->limit;
}

bool http_hosts_connected(struct http_ticket *ticket)
{
	return raise_limit(ticket, HTTP_HOST_CONNECTIONS);
}

bool http_hosts_multiplexed(struct http_ticket *ticket)
{
	return raise_limit(ticket, HTTP_HOST_STREAMS);
}

struct http_host *http_hosts_leave(struct http_hosts *hosts, struct http_ticket *ticket)
{
	struct http_host *host = ticket->host;

	if (!host)
		return NULL;
	if (ticket->is_running) {
		host->running[ticket->generation]--;
		/* If the first transfer has failed, the others no longer wait for it. */
		raise_limit(ticket, HTTP_HOST_CONNECTIONS);
	} else {
		DL_DELETE(host->waiting, ticket);
	}
	ticket->host = NULL;
	ticket->is_running = false;
	if (host->waiting)
		return host;
	if (is_idle(host))
		host_free(hosts, host);
	return NULL;
}
