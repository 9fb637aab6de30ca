/*
 * http: connections. One bad address of a name does not hide a good one, and kept connections are
 * given up.
 *
 * The names come from a hosts file of this process, in a mount namespace of its own.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "http/http.h"
#include "own_namespace.h"
#include "tap.h"

#define ATTEMPTS_MAX	   8
#define CONNECT_TIMEOUT_MS 6000
#define STALL_TIMEOUT_MS   2000

/* ---- a clock that libcurl follows ---- */

static _Atomic time_t ahead_s;

int clock_gettime(clockid_t id, struct timespec *ts)
{
	if (syscall(SYS_clock_gettime, id, ts) < 0)
		return -1;
	if (id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_RAW)
		ts->tv_sec += atomic_load(&ahead_s);
	return 0;
}

/* ---- names ---- */

static const char *const hosts[] = {
	"127.0.0.1 localhost", "127.0.0.2 two.test",  "127.0.0.3 two.test",
	"::1 dual.test",       "127.0.0.2 dual.test", "127.0.0.2 one.test",
};

static bool replace(const char *path, const char *const *lines, size_t n)
{
	char temp[] = "/tmp/rptfs-unit-hosts-XXXXXX";
	_cleanup_close_ int fd = mkstemp(temp);

	for (size_t i = 0; i < n; i++)
		dprintf(fd, "%s\n", lines[i]);
	fchmod(fd, 0644);
	bool is_replaced = mount(temp, path, NULL, MS_BIND, NULL) == 0;
	unlink(temp);
	return is_replaced;
}

static bool set_names(void)
{
	static const char *const resolver[] = { "multi on" };

	return own_namespace_enter() && replace("/etc/hosts", hosts, ARRAY_SIZE(hosts)) &&
	       replace("/etc/host.conf", resolver, ARRAY_SIZE(resolver));
}

/* ---- servers ---- */

enum conduct { ANSWERS, KEEPS, CLOSES, SWALLOWS, REFUSES, RESETS, IS_MUTE };

static const char *const conducts[] = {
	"answers",
	"answers and keeps the connection",
	"answers, and closes the connection at the next request",
	"swallows",
	"refuses",
	"resets",
	"is mute",
};

struct server {
	const char *address;
	_Atomic enum conduct conduct;
	atomic_uint n_connections;
	int listener, filler; /* owned */
	pthread_t thread;
	bool has_thread;
	int held[64]; /* owned */
	size_t n_held;
};

static void serve(struct server *server, int fd)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	struct linger reset = { 1, 0 };
	enum conduct conduct = server->conduct;
	char request[1024];

	if (conduct == IS_MUTE && server->n_held < ARRAY_SIZE(server->held)) {
		server->held[server->n_held++] = fd;
		return;
	}
	while (recv(fd, request, sizeof(request), 0) > 0 && conduct <= CLOSES) {
		send(fd, answer, strlen(answer), MSG_NOSIGNAL);
		if (conduct == CLOSES)
			recv(fd, request, sizeof(request), 0);
		if (conduct != KEEPS)
			break;
	}
	if (conduct == RESETS)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(fd);
}

static void *server_main(void *arg)
{
	struct server *server = arg;
	int fd;

	while (server->conduct != SWALLOWS && (fd = accept(server->listener, NULL, NULL)) >= 0) {
		atomic_fetch_add(&server->n_connections, 1);
		serve(server, fd);
	}
	return NULL;
}

static socklen_t make_address(const char *text, uint16_t port, struct sockaddr_storage *ret)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		return sizeof(*v6);
	}
	inet_pton(AF_INET, text, &v4->sin_addr);
	v4->sin_family = AF_INET;
	v4->sin_port = htons(port);
	return sizeof(*v4);
}

static void start_accepting(struct server *server)
{
	listen(server->listener, 64);
	pthread_create(&server->thread, NULL, server_main, server);
	server->has_thread = true;
}

/* A full queue makes the kernel drop further connections. */
static void swallow(struct server *server)
{
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);

	server->conduct = SWALLOWS;
	listen(server->listener, 0);
	getsockname(server->listener, (struct sockaddr *)&address, &len);
	server->filler = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(server->filler, (const struct sockaddr *)&address, len) < 0)
		abort();
}

/* It accepts connections again. */
static void empty(struct server *server)
{
	close_cleanup(&server->filler);
	close(accept(server->listener, NULL, NULL));
	server->conduct = ANSWERS;
	start_accepting(server);
}

/* port: 0 for any. Returns it. */
static uint16_t start(struct server *server, const char *address_text, uint16_t port,
		      enum conduct how)
{
	struct sockaddr_storage address;
	socklen_t len = make_address(address_text, port, &address);
	int one = 1;

	*server = (struct server){ .address = address_text, .conduct = how, .filler = -1 };
	server->listener = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(server->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(server->listener, (struct sockaddr *)&address, len) < 0 ||
	    getsockname(server->listener, (struct sockaddr *)&address, &len) < 0)
		abort();
	if (how == SWALLOWS)
		swallow(server);
	else if (how != REFUSES)
		start_accepting(server);
	return ntohs(((struct sockaddr_in *)&address)->sin_port);
}

static void stop(struct server *server)
{
	shutdown(server->listener, SHUT_RDWR);
	if (server->has_thread)
		pthread_join(server->thread, NULL);
	for (size_t i = 0; i < server->n_held; i++)
		close(server->held[i]);
	close_cleanup(&server->filler);
	close(server->listener);
}

/* ---- requests ---- */

static int ask(struct http *http, const char *host, uint16_t port, struct err *err)
{
	static const struct http_callbacks none;
	char url[64];
	struct http_request request = { .url = url,
					.proxy = "",
					.connect_timeout_ms = CONNECT_TIMEOUT_MS,
					.stall_timeout_ms = STALL_TIMEOUT_MS };

	snprintf(url, sizeof(url), "http://%s:%u/", host, port);
	*err = (struct err)ERR_INIT;
	return http_perform(http, &request, &none, err);
}

/* How many attempts fail before one succeeds. */
static int failures(struct http *http, const char *host, uint16_t port)
{
	struct err err = ERR_INIT;
	int n = 0;

	while (n < ATTEMPTS_MAX && ask(http, host, port, &err) < 0) {
		printf("# %s: %s\n", host, err.msg);
		n++;
	}
	return n;
}

/* An engine, and a server at each of a name's addresses. */
struct pair {
	struct http *http;
	struct server good, other;
	uint16_t port;
};

static void start_pair(struct pair *pair, struct cancel *cancel, const char *good,
		       const char *other, enum conduct how)
{
	struct err err = ERR_INIT;

	if (http_new(&pair->http, NULL, cancel, &err) < 0)
		abort();
	pair->port = start(&pair->good, good, 0, ANSWERS);
	start(&pair->other, other, pair->port, how);
}

static void stop_pair(struct pair *pair)
{
	http_free(pair->http);
	stop(&pair->good);
	stop(&pair->other);
}

static void test_pair(struct cancel *cancel, const char *host, const char *bad, const char *good,
		      enum conduct how)
{
	struct pair pair;

	start_pair(&pair, cancel, good, bad, how);
	ok(failures(pair.http, host, pair.port) <= 1, "%s: if %s %s, the other one is found", host,
	   bad, conducts[how]);
	is_int(failures(pair.http, host, pair.port), 0, "and used from then on");
	stop_pair(&pair);
}

/* The kept connection was closed. The time to connect again does not count as a stall. */
static void test_closed(struct cancel *cancel)
{
	struct pair pair;

	start_pair(&pair, cancel, "127.0.0.3", "127.0.0.2", CLOSES);
	is_int(failures(pair.http, "two.test", pair.port), 0, "the first address answers");
	swallow(&pair.other);
	is_int(failures(pair.http, "two.test", pair.port), 0, "the second one, once it has closed");
	is_int(pair.other.n_connections, 1, "the first connection was kept, and closed");
	stop_pair(&pair);
}

/* The first address swallows, and the second one answers within the same attempt. */
static void test_swallowed_once(struct cancel *cancel)
{
	struct pair pair;

	start_pair(&pair, cancel, "127.0.0.3", "127.0.0.2", SWALLOWS);
	is_int(failures(pair.http, "two.test", pair.port), 0, "the second address answers");
	empty(&pair.other);
	is_int(failures(pair.http, "two.test", pair.port), 0, "and again");
	is_int(pair.good.n_connections, 2, "the first address is avoided, although it answers");
	stop_pair(&pair);
}

/* An address that did not answer is asked all the same if there is no other one. */
static void test_only_one(struct cancel *cancel)
{
	struct server server;
	struct err err = ERR_INIT;
	struct http *http = NULL;

	if (http_new(&http, NULL, cancel, &err) < 0)
		abort();
	uint16_t port = start(&server, "127.0.0.2", 0, RESETS);
	ok(ask(http, "one.test", port, &err) < 0 && ask(http, "one.test", port, &err) < 0,
	   "the only address resets");
	is_int(server.n_connections, 2, "each request connects");
	server.conduct = ANSWERS;
	is_int(failures(http, "one.test", port), 0, "once it answers, the request succeeds");
	stop(&server);
	http_free(http);
}

static void test_kept(struct cancel *cancel)
{
	struct server server;
	struct err err = ERR_INIT;
	struct http *http = NULL;

	if (http_new(&http, NULL, cancel, &err) < 0)
		abort();
	uint16_t port = start(&server, "127.0.0.2", 0, KEEPS);
	failures(http, "one.test", port);
	failures(http, "one.test", port);
	is_int(server.n_connections, 1, "a connection is kept");
	http_close_idle(http);
	/* The server sees its end, and accepts the next one. */
	failures(http, "one.test", port);
	is_int(server.n_connections, 2, "until the network has changed");
	atomic_fetch_add(&ahead_s, 100);
	failures(http, "one.test", port);
	is_int(server.n_connections, 2, "or for some time");
	atomic_fetch_add(&ahead_s, 21);
	failures(http, "one.test", port);
	is_int(server.n_connections, 3, "but not for longer");
	http_free(http);
	stop(&server);
}

int main(void)
{
	struct err err = ERR_INIT;
	struct cancel cancel;

	alarm(900);
	if (!set_names()) {
		ok(true, "names need a mount namespace # SKIP");
		return tap_done();
	}
	if (cancel_init(&cancel, &err) < 0)
		abort();
	for (enum conduct how = SWALLOWS; how <= IS_MUTE; how++) {
		test_pair(&cancel, "two.test", "127.0.0.2", "127.0.0.3", how);
		test_pair(&cancel, "two.test", "127.0.0.3", "127.0.0.2", how);
		test_pair(&cancel, "dual.test", "::1", "127.0.0.2", how);
		test_pair(&cancel, "dual.test", "127.0.0.2", "::1", how);
	}
	test_closed(&cancel);
	test_swallowed_once(&cancel);
	test_only_one(&cancel);
	test_kept(&cancel);
	cancel_release(&cancel);
	return tap_done();
}
