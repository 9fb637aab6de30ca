/* http: URLs, hosts, certificate files, and the engine against a server in this process. */
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "fetch/fetcher.h"
#include "base/util.h"
#include "http/http_public.h"
#include "http/http.h"
#include "http/http_ca.h"
#include "http/http_host.h"
#include "tap.h"

/* ---- URLs ---- */

static void test_loopback(void)
{
	static const char *const local[] = { "localhost",   "localhost:80", "127.0.0.1",
					     "127.1.2.3:8", "[::1]",	    "[::1]:443" };
	static const char *const remote[] = {
		"localhost.example", "127.0.0.1.example", "128.0.0.1", "[::2]", "", "example"
	};

	for (size_t i = 0; i < ARRAY_SIZE(local); i++)
		ok(http_is_loopback(local[i]), "%s is this machine", local[i]);
	for (size_t i = 0; i < ARRAY_SIZE(remote); i++)
		ok(!http_is_loopback(remote[i]), "\"%s\" is not this machine", remote[i]);
}

static void test_urls(void)
{
	static const char *const good[] = {
		"http://example.com", "https://example.com/a?b=c#d",	"HTTP://EXAMPLE.com:8080/",
		"http://[::1]:80/x",  "https://xn--bcher-kva.example/",
	};
	static const char *const bad[] = {
		"",
		"example.com",
		"ftp://example.com/",
		"file:///etc/passwd",
		"http://",
		"http:///x",
		"http://u@example.com",
		"http://u:p@example.com/",
		"http://a b/",
		"http://a/\n",
		"http://a:99999/",
		"http://\xe2\x80\x8b/",
		"http://a\xef\xbc\x8f"
		"b/",
		"//example.com/",
		"http://a/\x7f/",
		"http://[::1/",
		"http://\xff.example/",
		"http://a\xe2\x80\xae.example/",
		"http://%3%37.1/",
		"http://%2537.1/",
	};
	static const struct {
		const char *url, *masked;
	} masked[] = {
		{ "http://a/b?token=secret", "http://a/b?…" },
		{ "http://u:secret@a/b", "http://a/b" },
		{ "http://u:se@cret@a/b@c?d#e", "http://a/b@c?…" },
		{ "http://a?secret", "http://a?…" },
		{ "http://a/b#fragment", "http://a/b" },
		{ "u:secret@a", "a" },
		{ "a/b?secret=http://c", "a/b?…" },
		{ "u:secret@a/http://c", "a/http://c" },
		{ "http://a/b", "http://a/b" },
		{ "", "" },
	};
	static const char *const international[][2] = {
		{ "http://b\xc3\xbc"
		  "cher.example/",
		  "http://xn--bcher-kva.example:80" },
		{ "http://B\xc3\x9c"
		  "CHER.example:81/",
		  "http://xn--bcher-kva.example:81" },
		{ "http://b%C3%BCcher.example/", "http://xn--bcher-kva.example:80" },
		{ "http://%31%32%37.1/", "http://127.0.0.1:80" },
		{ "https://fa\xc3\x9f.example/", "https://xn--fa-hia.example:443" },
		{ "http://\xef\xbc\x91"
		  "27.1/",
		  "http://127.0.0.1:80" },
	};
	struct err err = ERR_INIT;
	char shown[64];
	char *origin = NULL;

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		ok(http_url_origin(good[i], &origin, &err) == 0, "%s is a URL", good[i]);
		free(origin);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ok(http_url_origin(bad[i], &origin, &err) < 0 && err.kind == ERR_CONFIG,
		   "bad URL %zu is refused: %s", i, err.msg);
	for (size_t i = 0; i < sizeof(masked) / sizeof(*masked); i++)
		is_str(http_url_mask(masked[i].url, shown, sizeof(shown)), masked[i].masked,
		       "masked URL %zu", i);
	for (size_t i = 0; i < sizeof(international) / sizeof(*international); i++) {
		ok(http_url_origin(international[i][0], &origin, &err) == 0, "host %zu", i);
		is_str(origin, international[i][1], "host %zu in ASCII", i);
		free(origin);
	}
	ok(http_url_origin("HTTPS://Example.COM/x?y", &origin, &err) == 0, "a URL has an origin");
	is_str(origin, "https://example.com:443", "the origin has a port and no capitals");
	free(origin);
}

static void test_versions(void)
{
	char shown[VERSION_SIZE];

	is_str(version_display("\"v1\"", shown), "v1", "a strong ETag is shown without quotes");
	is_str(version_display("W/\"v1\"", shown), "v1", "a weak ETag is shown without W/");
	is_str(version_display("\"\"", shown), "", "an empty ETag is shown as empty");
	is_str(version_display("\"", shown), "\"", "a single quote is kept");
	is_str(version_display("Tue, 14 Nov 2023 22:13:20 GMT", shown),
	       "Tue, 14 Nov 2023 22:13:20 GMT", "a date is shown unchanged");
	is_str(version_display("", shown), "", "an empty token is shown as empty");
}

/* ---- hosts ---- */

static unsigned start_all(struct http_host *host)
{
	unsigned n = 0;

	while (http_hosts_next(host, 0))
		n++;
	return n;
}

static void test_hosts(void)
{
	struct http_hosts hosts = { .by_key = NULL };
	struct http_ticket a[100], b[2];

	for (int i = 0; i < 20; i++)
		http_hosts_enter(&hosts, "http://a:80", false, &a[i]);
	http_hosts_enter(&hosts, "http://b:80", false, &b[0]);
	is_int(start_all(a[0].host), HTTP_HOST_CONNECTIONS,
	       "the number of transfers to a host is limited");
	is_int(start_all(b[0].host), 1, "another host is independent");
	ok(http_hosts_leave(&hosts, &a[0]) == a[1].host,
	   "leaving makes room for a queued transfer");
	ok(http_hosts_next(a[1].host, 0) == &a[16], "the first in the queue starts first");
	ok(http_hosts_leave(&hosts, &a[18]) == a[1].host, "a queued transfer can leave");
	for (int i = 1; i < 20; i++)
		http_hosts_leave(&hosts, &a[i]);
	ok(!http_hosts_leave(&hosts, &b[0]) && !hosts.by_key, "idle hosts are freed");

	for (int i = 0; i < 100; i++)
		http_hosts_enter(&hosts, "https://a:443", true, &a[i]);
	is_int(start_all(a[0].host), 1, "over TLS the first transfer runs alone");
	ok(http_hosts_connected(&a[0]), "the first transfer has connected");
	is_int(start_all(a[0].host), HTTP_HOST_CONNECTIONS - 1, "then the others start");
	ok(http_hosts_multiplexed(&a[0]), "a connection with HTTP/2 can be shared");
	is_int(start_all(a[0].host), HTTP_HOST_STREAMS - HTTP_HOST_CONNECTIONS,
	       "then even more transfers start");
	ok(!http_hosts_multiplexed(&a[1]), "a connection becomes shared only once");
	for (int i = 0; i < 100; i++)
		http_hosts_leave(&hosts, &a[i]);

	http_hosts_enter(&hosts, "https://b:443", true, &b[0]);
	http_hosts_enter(&hosts, "https://b:443", true, &b[1]);
	start_all(b[0].host);
	is_int(start_all(http_hosts_leave(&hosts, &b[0])), 1,
	       "a failed first transfer lets the next one start");
	http_hosts_enter(&hosts, "https://c:443", true, &b[0]);
	http_hosts_release(&hosts);
}

static void test_generations(void)
{
	const int64_t kept_ms = HTTP_KEPT_MAX_S * 1000;
	struct http_hosts hosts = { .by_key = NULL };
	struct http_ticket old, other, young[HTTP_HOST_GENERATIONS + 1], last;
	struct http_host *host;

	http_hosts_enter(&hosts, "https://a:443", true, &old);
	host = old.host;
	http_hosts_next(host, 1000);
	http_hosts_multiplexed(&old);
	http_hosts_enter(&hosts, "https://a:443", true, &other);
	ok(http_hosts_next(host, 999 + kept_ms) == &other && other.generation == old.generation,
	   "transfers share a connection for some time");
	http_hosts_enter(&hosts, "https://a:443", true, &young[0]);
	http_hosts_enter(&hosts, "https://a:443", true, &young[1]);
	ok(http_hosts_next(host, 1000 + kept_ms) == &young[0] &&
		   young[0].generation != old.generation,
	   "then they get another one, though the first one is in use");
	ok(!http_hosts_next(host, 1000 + kept_ms), "the first transfer of a generation runs alone");
	http_hosts_leave(&hosts, &other);
	ok(!http_hosts_multiplexed(&old) && !http_hosts_next(host, 1000 + kept_ms),
	   "whatever those of former ones do");
	ok(http_hosts_multiplexed(&young[0]) &&
		   http_hosts_next(host, 1000 + kept_ms) == &young[1] &&
		   young[1].generation == young[0].generation,
	   "and then shares its connection");
	for (int i = 2; i <= HTTP_HOST_GENERATIONS; i++) {
		http_hosts_enter(&hosts, "https://a:443", true, &young[i]);
		http_hosts_next(host, 1000 + i * kept_ms);
		http_hosts_multiplexed(&young[i]);
	}
	ok(young[HTTP_HOST_GENERATIONS].generation == young[HTTP_HOST_GENERATIONS - 1].generation,
	   "a number is not used again while transfers of its former generation run");
	http_hosts_leave(&hosts, &old);
	http_hosts_enter(&hosts, "https://a:443", true, &last);
	ok(http_hosts_next(host, 1000 + 9 * kept_ms) == &last && last.generation == old.generation,
	   "then it is");
	http_hosts_leave(&hosts, &last);
	for (int i = 0; i <= HTTP_HOST_GENERATIONS; i++)
		http_hosts_leave(&hosts, &young[i]);
	ok(!hosts.by_key, "an idle host is freed");

	http_hosts_enter(&hosts, "http://b:80", false, &old);
	http_hosts_next(old.host, 0);
	http_hosts_enter(&hosts, "http://b:80", false, &last);
	ok(http_hosts_next(old.host, 2 * kept_ms) == &last && last.generation == old.generation,
	   "connections that are not shared become idle, and need no generations");
	http_hosts_release(&hosts);
}

/* ---- a server ---- */

#define LARGE (8 * 1024 * 1024)

static atomic_int serving, serving_max;
static uint16_t port;

static void send_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
		if (n <= 0)
			return;
		data += n;
		len -= (size_t)n;
	}
}

static void answer(int fd, const char *request)
{
	static char large[LARGE];
	char head[256];

	if (strncmp(request, "GET /large ", 11) == 0) {
		for (size_t i = 0; i < LARGE; i++)
			large[i] = (char)(i % 251);
		snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n",
			 LARGE);
		send_all(fd, head, strlen(head));
		send_all(fd, large, LARGE);
	} else if (strncmp(request, "GET /slow ", 10) == 0) {
		send_all(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 40);
	} else if (strncmp(request, "GET /headers ", 13) == 0) {
		const char *text = "HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 2\r\n"
				   "Content-Encoding: identity\r\n\r\nok";
		send_all(fd, text, strlen(text));
	} else {
		/* Sends the request back, its body included. */
		snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
			 strlen(request));
		send_all(fd, head, strlen(head));
		if (strncmp(request, "HEAD", 4) != 0)
			send_all(fd, request, strlen(request));
	}
}

/* What takes time. Returns false if there is no answer. */
static bool work(int fd, const char *request)
{
	struct pollfd pfd = { .fd = fd, .events = POLLRDHUP };

	if (strncmp(request, "GET /slow ", 10) == 0)
		usleep(20000);
	if (strncmp(request, "GET /stall", 10) != 0)
		return true;
	poll(&pfd, 1, 10000);
	return false;
}

static void *connection_main(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char request[4096];
	ssize_t n;

	while ((n = recv(fd, request, sizeof(request) - 1, 0)) > 0) {
		int now = atomic_fetch_add(&serving, 1) + 1;
		int max = atomic_load(&serving_max);
		while (now > max && !atomic_compare_exchange_weak(&serving_max, &max, now))
			continue;
		request[n] = '\0';
		bool has_answer = work(fd, request);
		/* First: the client may send its next request as soon as it has the answer. */
		atomic_fetch_sub(&serving, 1);
		if (has_answer)
			answer(fd, request);
	}
	close(fd);
	return NULL;
}

static void *server_main(void *arg)
{
	int listener = (int)(intptr_t)arg, fd;
	pthread_t thread;

	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		if (pthread_create(&thread, NULL, connection_main, (void *)(intptr_t)fd) != 0)
			return NULL;
		pthread_detach(thread);
	}
	return NULL;
}

static int listen_on_loopback(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (bind(fd, (struct sockaddr *)&address, len) < 0 || listen(fd, 512) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &len) < 0)
		return -1;
	port = ntohs(address.sin_port);
	return fd;
}

/* ---- the engine ---- */

struct got {
	int status;
	size_t n_headers, len;
	bool is_right, is_framed, has_second;
	unsigned pause_us;
	bool refuses;
	char text[1024];
};

static int on_headers(void *arg, const struct http_response *response, struct err *err)
{
	struct got *got = arg;
	const char *second = http_header_at(response, "X-A", 1);

	(void)err;
	got->status = http_status(response);
	got->is_framed = http_is_framed(response);
	got->n_headers = 0;
	while (http_header_at(response, "X-A", got->n_headers))
		got->n_headers++;
	got->has_second = second && strcmp(second, "2") == 0 && !http_header(response, "X-B") &&
			  !http_is_coded(response);
	return 0;
}

static int on_body(void *arg, const void *data, size_t len, struct err *err)
{
	struct got *got = arg;
	const uint8_t *bytes = data;

	if (got->refuses)
		return err_set(err, ERR_INTERNAL, "disk full");
	for (size_t i = 0; i < len; i++)
		got->is_right &= bytes[i] == (got->len + i) % 251;
	if (got->len + len < sizeof(got->text))
		memcpy(got->text + got->len, data, len);
	got->len += len;
	usleep(got->pause_us);
	got->pause_us = 0;
	return 0;
}

static int perform(struct http *http, const char *path, struct http_request request,
		   struct got *got, struct err *err)
{
	const struct http_callbacks callbacks = { on_headers, on_body, got };
	char url[128];

	snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", port, path);
	request.url = url;
	request.connect_timeout_ms = 5000;
	if (!request.stall_timeout_ms)
		request.stall_timeout_ms = 5000;
	return http_perform(http, &request, &callbacks, err);
}

static void test_requests(struct http *http)
{
	struct err err = ERR_INIT;
	struct got got = { .is_right = true };
	const char *const headers[] = { "X-Secret: 1", NULL };
	const char *const public_headers[] = { "X-Public: 2", NULL };

	ok(perform(http, "/echo?q",
		   (struct http_request){ .headers = headers,
					  .public_headers = public_headers,
					  .user_agent = "me",
					  .user_password = "joe:pw" },
		   &got, &err) == 0,
	   "a GET succeeds");
	ok(strstr(got.text, "GET /echo?q HTTP/1.1\r\n") && strstr(got.text, "X-Secret: 1\r\n") &&
		   strstr(got.text, "X-Public: 2\r\n") && strstr(got.text, "User-Agent: me\r\n") &&
		   strstr(got.text, "Authorization: Basic am9lOnB3\r\n") &&
		   !strstr(got.text, "Accept-Encoding"),
	   "the request has its headers");

	got = (struct got){ .status = 0 };
	ok(perform(http, "/a/../b",
		   (struct http_request){ .method = "PUT",
					  .body = "hello",
					  .body_bytes = 5,
					  .path_as_is = true,
					  .accept_encoding = true },
		   &got, &err) == 0,
	   "a PUT succeeds");
	ok(strstr(got.text, "PUT /a/../b ") && strstr(got.text, "\r\n\r\nhello") &&
		   !strstr(got.text, "Expect") &&
		   strstr(got.text, "Accept-Encoding: gzip, br, zstd\r\n"),
	   "the request has its body and its unchanged path");

	got = (struct got){ .status = 0 };
	ok(perform(http, "/", (struct http_request){ .method = "HEAD" }, &got, &err) == 0 &&
		   got.status == 200 && got.len == 0,
	   "HEAD has no body");

	got = (struct got){ .status = 0 };
	ok(perform(http, "/headers", (struct http_request){ .method = NULL }, &got, &err) == 0 &&
		   got.n_headers == 2 && got.has_second && got.is_framed,
	   "headers are found by name, without case, in order");
	ok(http_requests_total(http) == 4, "requests are counted");
}

static void test_bodies(struct http *http)
{
	struct err err = ERR_INIT;
	struct got got = { .is_right = true, .pause_us = 2500000 };

	ok(perform(http, "/large", (struct http_request){ .stall_timeout_ms = 2000 }, &got, &err) ==
			   0 &&
		   got.len == LARGE && got.is_right,
	   "a slow reader gets every byte, and does not count as a stall");
	got = (struct got){ .refuses = true };
	is_int(perform(http, "/large", (struct http_request){ .method = NULL }, &got, &err), -1,
	       "a callback can refuse a body");
	is_str(err.msg, "disk full", "the error of the callback is returned unchanged");
	got = (struct got){ .status = 0 };
	int64_t began_ms = clock_boot_ms();
	is_int(perform(http, "/stall?secret", (struct http_request){ .stall_timeout_ms = 300 },
		       &got, &err),
	       -1, "a stalled transfer fails");
	int64_t took_ms = clock_boot_ms() - began_ms;
	ok(err.kind == ERR_UNREACHABLE && took_ms >= 300, "a stall ends the transfer: %s", err.msg);
	ok(!strstr(err.msg, "secret"), "the message has no query");
}

struct crowd {
	struct http *http;
	const char *path;
	atomic_int n_good, n_canceled;
};

static void *crowd_main(void *arg)
{
	struct crowd *crowd = arg;
	struct err err = ERR_INIT;
	struct got got = { .status = 0 };

	if (perform(crowd->http, crowd->path, (struct http_request){ .method = NULL }, &got,
		    &err) == 0)
		atomic_fetch_add(&crowd->n_good, 1);
	else if (err.kind == ERR_CANCELED)
		atomic_fetch_add(&crowd->n_canceled, 1);
	return NULL;
}

#define CROWD 256

static void test_crowd(struct http *http, struct cancel *cancel)
{
	struct crowd crowd = { .http = http, .path = "/slow" };
	pthread_t threads[CROWD];

	while (atomic_load(&serving)) /* requests of the tests before */
		usleep(1000);
	atomic_store(&serving_max, 0);
	for (int i = 0; i < CROWD; i++)
		pthread_create(&threads[i], NULL, crowd_main, &crowd);
	for (int i = 0; i < CROWD; i++)
		pthread_join(threads[i], NULL);
	is_int(crowd.n_good, CROWD, "all of a crowd succeed");
	ok(serving_max <= HTTP_HOST_CONNECTIONS, "the number of connections is limited: %d",
	   serving_max);

	crowd.path = "/stall";
	for (int i = 0; i < CROWD; i++)
		pthread_create(&threads[i], NULL, crowd_main, &crowd);
	while (atomic_load(&serving) < HTTP_HOST_CONNECTIONS)
		usleep(1000);
	cancel_request(cancel);
	for (int i = 0; i < CROWD; i++)
		pthread_join(threads[i], NULL);
	is_int(crowd.n_canceled, CROWD, "all of a crowd are canceled");
	crowd_main(&crowd);
	is_int(crowd.n_canceled, CROWD + 1, "a later request is canceled as well");
}

/* ---- files of certificate authorities ---- */

static void test_authorities(void)
{
	const struct curl_blob blob = { .data = (char[]){ "PEM" }, .len = 3 };
	CURL *easy = curl_easy_init();
	struct http_cas cas;
	char path[32];
	int n_known = 0;

	http_cas_init(&cas);
	ok(!http_cas_set(&cas, easy, "/a"), "a file that was not read is not known");
	http_cas_add(&cas, "/a", &blob);
	http_cas_add(&cas, "/a", &blob);
	ok(http_cas_set(&cas, easy, "/a"), "a file that was just read is known");
	ok(!http_cas_set(&cas, easy, "/b"), "another file is not known");
	for (int i = 0; i < 100; i++) {
		snprintf(path, sizeof(path), "/%d", i);
		http_cas_add(&cas, path, &blob);
		n_known += http_cas_set(&cas, easy, path);
	}
	ok(n_known > 0 && n_known < 100, "their number is limited");
	usleep(1100 * 1000);
	ok(!http_cas_set(&cas, easy, "/a"), "files are known for a second");
	http_cas_add(&cas, "/99", &blob);
	ok(http_cas_set(&cas, easy, "/99"), "then there is room for other files");
	http_cas_release(&cas);
	curl_easy_cleanup(easy);
}

static void test_public_addresses(void)
{
	static const char *const public[] = {
		"8.8.8.8",  "172.32.0.1",  "100.128.0.1",  "169.253.0.1",    "192.169.0.1",
		"11.0.0.1", "2001:db8::1", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::808:808",
	};
	static const char *const others[] = {
		"127.0.0.1",
		"127.255.0.9",
		"10.1.2.3",
		"172.16.0.1",
		"172.31.255.255",
		"192.168.0.1",
		"0.0.0.0",
		"169.254.169.254",
		"100.64.0.1",
		"::1",
		"::",
		"fe80::1",
		"fe80::1%eth0",
		"fd00::1",
		"::ffff:127.0.0.1",
		"64:ff9b::7f00:1",
		"::7f00:1",
		"",
		"localhost",
	};
	static const struct {
		const char *origin;
		bool is_private;
	} origins[] = {
		{ "http://127.0.0.1:80", true },      { "http://[::1]:80", true },
		{ "http://[fe80::1]:80", true },      { "http://localhost:80", true },
		{ "http://a.localhost:80", true },    { "http://8.8.8.8:80", false },
		{ "http://[2001:db8::1]:80", false }, { "https://example.com:443", false },
		{ "http://notlocalhost:80", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(public); i++)
		ok(http_is_public_address(public[i]), "public: %s", public[i]);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		ok(!http_is_public_address(others[i]), "not public: %s", others[i]);
	for (size_t i = 0; i < ARRAY_SIZE(origins); i++)
		ok(http_is_private_origin(origins[i].origin) == origins[i].is_private,
		   "judged by its text: %s", origins[i].origin);
}

int main(void)
{
	struct err err = ERR_INIT;
	struct cancel cancel;
	struct http *http = NULL;
	pthread_t server;
	int listener = listen_on_loopback();

	unsetenv("http_proxy");
	test_urls();
	test_loopback();
	test_versions();
	test_hosts();
	test_generations();
	test_authorities();
	pthread_create(&server, NULL, server_main, (void *)(intptr_t)listener);
	ok(cancel_init(&cancel, &err) == 0 && http_new(&http, NULL, &cancel, &err) == 0,
	   "the engine starts");
	test_requests(http);
	test_bodies(http);
	test_crowd(http, &cancel);
	http_free(http);
	cancel_release(&cancel);
	shutdown(listener, SHUT_RDWR);
	pthread_join(server, NULL);
	close(listener);
	test_public_addresses();
	return tap_done();
}
