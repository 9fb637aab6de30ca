/*
 * http: while a request is set up and sent, each allocation fails in turn. What is sent must be the
 * whole request: to where it was meant to go, with every header and credential.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "faults.h"
#include "http/http.h"
#include "tap.h"

/* Out of memory, libcurl can forget a transfer: the engine then ends it. */
#define TIMEOUT_MS 150

/* The beginnings of thread names. */
#define CALLER "caller"
#define ENGINE "rptfs-http"

#define ALLOCATIONS_MAX 5000
#define ALLOCATIONS_MIN 10 /* a request makes at least this many */

static struct faults faults = {
	.calls = 1u << FAULT_MEMORY,
	.count = 1,
	.error = ENOMEM,
};

/* ---- a server on three addresses: a proxy, a socket, and the host that the URL names ---- */

enum entrance { PROXY, UNIX_SOCKET, DIRECT, ENTRANCES };

static int listeners[ENTRANCES];
static char proxy_url[64], direct_url[64], socket_path[64];

/* The last request. */
static char request_text[4096];
static atomic_int request_entrance = -1;

/* One connection. A thread of its own, because libcurl can keep one on which it sends nothing. */
static void *serve(void *arg)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
				     "Connection: close\r\n\r\nok";
	int fd = (int)((intptr_t)arg / ENTRANCES), entrance = (int)((intptr_t)arg % ENTRANCES);
	ssize_t n = recv(fd, request_text, sizeof(request_text) - 1, 0);

	if (n > 0) {
		request_text[n] = '\0';
		atomic_store(&request_entrance, entrance);
		send(fd, answer, strlen(answer), MSG_NOSIGNAL);
	}
	close(fd);
	return NULL;
}

static void *server_main(void *arg)
{
	struct pollfd fds[ENTRANCES];
	pthread_t thread;

	(void)arg;
	for (int i = 0; i < ENTRANCES; i++)
		fds[i] = (struct pollfd){ .fd = listeners[i], .events = POLLIN };
	for (;;) {
		poll(fds, ENTRANCES, -1);
		for (int i = 0; i < ENTRANCES; i++) {
			if (!fds[i].revents)
				continue;
			int fd = accept(listeners[i], NULL, NULL);
			if (fd < 0)
				return NULL;
			pthread_create(&thread, NULL, serve,
				       (void *)((intptr_t)fd * ENTRANCES + i));
			pthread_detach(thread);
		}
	}
}

static int listen_on_loopback(char ret_url[64])
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (bind(fd, (struct sockaddr *)&address, len) < 0 || listen(fd, 16) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &len) < 0)
		abort();
	snprintf(ret_url, 64, "http://127.0.0.1:%u", ntohs(address.sin_port));
	return fd;
}

static int listen_on_path(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	unlink(path);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 16) < 0)
		abort();
	return fd;
}

/* ---- requests ---- */

static const char *const secret_headers[] = { "X-Key: secret", NULL };
static const char *const public_headers[] = { "X-Public: 1", NULL };

static const struct row {
	const char *name;
	enum entrance entrance;
	struct http_request request;
	const char *parts[8]; /* of the request that must arrive */
} rows[] = {
	{
		"through a proxy, with a password",
		PROXY,
		{
			.headers = secret_headers,
			.public_headers = public_headers,
			.user_agent = "me",
			.user_password = "joe:pw",
			.accept_encoding = true,
		},
		{
			"GET http://127.0.0.1:",
			"\r\nAuthorization: Basic am9lOnB3\r\n",
			"\r\nX-Key: secret\r\n",
			"\r\nX-Public: 1\r\n",
			"\r\nUser-Agent: me\r\n",
			"\r\nAccept-Encoding: gzip, br, zstd\r\n",
		},
	},
	{
		"through a proxy, with a token and a body",
		PROXY,
		{ .method = "PUT", .bearer_token = "sesame", .body = "hello", .body_bytes = 5 },
		{
			"PUT http://127.0.0.1:",
			"\r\nAuthorization: Bearer sesame\r\n",
			"\r\n\r\nhello",
		},
	},
	{
		"to a socket, with a password",
		UNIX_SOCKET,
		{ .user_password = "joe:pw", .path_as_is = true },
		{ "GET /a/../x HTTP/1.1\r\n", "\r\nAuthorization: Basic am9lOnB3\r\n" },
	},
	{
		"directly, although a proxy is in the environment",
		DIRECT,
		{ .proxy = "", .method = "HEAD", .headers = secret_headers },
		{ "HEAD /x HTTP/1.1\r\n", "\r\nX-Key: secret\r\n" },
	},
};

static struct http_request prepare(const struct row *row, char url[96])
{
	struct http_request request = row->request;

	snprintf(url, 96, "%s/a/../x", direct_url);
	request.url = url;
	request.connect_timeout_ms = request.stall_timeout_ms = TIMEOUT_MS;
	if (row->entrance == PROXY)
		request.proxy = proxy_url;
	if (row->entrance == UNIX_SOCKET)
		request.unix_socket = socket_path;
	return request;
}

/* Whether a request that arrived is complete and went to the right address. */
static bool is_whole(const struct row *row, unsigned n)
{
	int entrance = atomic_load(&request_entrance);

	if (entrance < 0)
		return true;
	if (entrance != (int)row->entrance) {
		printf("# allocation %u: went to entrance %d\n", n, entrance);
		return false;
	}
	for (size_t i = 0; i < ARRAY_SIZE(row->parts) && row->parts[i]; i++) {
		if (!strstr(request_text, row->parts[i])) {
			printf("# allocation %u: part %zu is missing\n", n, i);
			return false;
		}
	}
	return true;
}

/* One request, during which the nth allocation fails in threads whose name begins with `thread`. */
static bool request_fails_closed(struct http *http, const struct row *row, const char *thread,
				 unsigned n, bool *ret_was_reached)
{
	static const struct http_callbacks no_callbacks;
	struct err err = ERR_INIT;
	char url[96];
	struct http_request request = prepare(row, url);

	snprintf(faults.thread, sizeof(faults.thread), "%s", thread);
	faults.first = n;
	faults_set(&faults, FAULTS_FAIL);
	int rc = http_perform(http, &request, &no_callbacks, &err);
	*ret_was_reached = atomic_load(&faults.failed) > 0;
	faults_set(&faults, FAULTS_OFF);
	if (rc < 0 && (err.kind == ERR_CONFIG || err.kind == ERR_NONE || !err.msg[0])) {
		printf("# allocation %u: %s, %s\n", n, err_kind_name(err.kind), err.msg);
		return false;
	}
	return true;
}

static void test_caller(struct http *http, const struct row *row)
{
	bool is_right = true, was_reached = true;
	unsigned n = 0;

	for (; was_reached && n < ALLOCATIONS_MAX; n++) {
		atomic_store(&request_entrance, -1);
		is_right &= request_fails_closed(http, row, CALLER, n, &was_reached) &&
			    is_whole(row, n);
	}
	/* curl_easy_reset() does not report that it ran out of memory. With libcurl 8.14 the next
	 * transfer of such a handle can fail, and the handle is not used again. */
	if (atomic_load(&request_entrance) < 0)
		is_right &= request_fails_closed(http, row, CALLER, ALLOCATIONS_MAX,
						 &was_reached) &&
			    is_whole(row, ALLOCATIONS_MAX);
	ok(is_right, "%s: the request is complete or is not sent", row->name);
	is_int(atomic_load(&request_entrance), row->entrance,
	       "the request is sent if nothing fails");
	ok(n > ALLOCATIONS_MIN && n < ALLOCATIONS_MAX, "each of %u allocations failed", n - 1);
}

#define EXIT_WRONG   1
#define EXIT_REACHED 2

/* The engine's thread, in a process of its own: libcurl itself can crash there. */
static int run_child(const struct row *row, unsigned n)
{
	struct err err = ERR_INIT;
	struct cancel cancel;
	struct http *http = NULL;
	bool was_reached;
	int status;

	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		if (cancel_init(&cancel, &err) < 0 || http_new(&http, NULL, &cancel, &err) < 0)
			_exit(EXIT_WRONG);
		bool is_right = request_fails_closed(http, row, ENGINE, n, &was_reached);
		_exit((is_right ? 0 : EXIT_WRONG) | (was_reached ? EXIT_REACHED : 0));
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return EXIT_WRONG;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_REACHED;
}

static void test_engine(const struct row *row)
{
	bool is_right = true;
	int status = EXIT_REACHED;
	unsigned n = 0;

	for (; status & EXIT_REACHED && n < ALLOCATIONS_MAX; n++) {
		atomic_store(&request_entrance, -1);
		status = run_child(row, n);
		is_right &= !(status & EXIT_WRONG) && is_whole(row, n);
	}
	ok(is_right, "%s: the request is complete or is not sent, in the engine's thread",
	   row->name);
	ok(n > ALLOCATIONS_MIN && n < ALLOCATIONS_MAX, "each of %u allocations failed", n - 1);
}

/* The engine either starts or reports an error. */
static void test_start(struct cancel *cancel)
{
	bool is_right = true, was_reached = true;
	unsigned n = 0;

	for (; was_reached && n < ALLOCATIONS_MAX; n++) {
		struct err err = ERR_INIT;
		struct http *http = NULL;

		snprintf(faults.thread, sizeof(faults.thread), "%s", CALLER);
		faults.first = n;
		faults_set(&faults, FAULTS_FAIL);
		int rc = http_new(&http, NULL, cancel, &err);
		was_reached = atomic_load(&faults.failed) > 0;
		faults_set(&faults, FAULTS_OFF);
		is_right &= rc == 0 || (err.kind == ERR_INTERNAL && err.msg[0]);
		http_free(http);
	}
	ok(is_right, "the engine starts or reports an error");
}

int main(void)
{
	struct err err = ERR_INIT;
	struct cancel cancel;
	struct http *http = NULL;
	pthread_t server;

	if (!faults_reach_memory) {
		ok(true, "allocations cannot fail under a sanitizer # SKIP");
		return tap_done();
	}
	snprintf(socket_path, sizeof(socket_path), "/tmp/rptfs-unit-http-%d.sock", (int)getpid());
	listeners[PROXY] = listen_on_loopback(proxy_url);
	listeners[DIRECT] = listen_on_loopback(direct_url);
	listeners[UNIX_SOCKET] = listen_on_path(socket_path);
	setenv("http_proxy", proxy_url, 1);
	unsetenv("no_proxy");
	unsetenv("NO_PROXY");
	pthread_create(&server, NULL, server_main, NULL);
	pthread_setname_np(pthread_self(), CALLER);
	faults_apply(&faults);
	if (cancel_init(&cancel, &err) < 0)
		abort();
	/* OpenSSL 3.5 deadlocks if memory runs out while it initializes itself, which it does
	 * once. */
	ok(http_new(&http, NULL, &cancel, &err) == 0, "the engine starts");
	http_free(http);
	test_start(&cancel);
	ok(http_new(&http, NULL, &cancel, &err) == 0, "the engine starts again");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		test_caller(http, &rows[i]);
	http_free(http);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		test_engine(&rows[i]);
	cancel_release(&cancel);
	for (int i = 0; i < ENTRANCES; i++)
		shutdown(listeners[i], SHUT_RDWR);
	pthread_join(server, NULL);
	unlink(socket_path);
	return tap_done();
}
