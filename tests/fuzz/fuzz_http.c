/*
 * A server's answers, through the whole engine: status, headers, framing, redirects, codings. A
 * form feed separates the answers on one connection after the other.
 */
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/log.h"
#include "fetch/fetcher.h"
#include "fetchers/shared/http_version.h"
#include "fuzz.h"
#include "http/decode.h"
#include "http/http.h"

#define ANSWERS_MAX 32768   /* bytes; they fit into the buffer of a socket */
#define BODY_MAX    1000000 /* bytes, decoded */
#define WIRE_MAX    100000  /* bytes of all answers */

static struct sockaddr_un address = { .sun_family = AF_UNIX };
static struct http *http;
static struct cancel cancel;

/* ---- the server ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fuzz_input answers; /* guarded by lock; that were not given yet */

/* Takes the next answer. The caller frees it. */
static uint8_t *next_answer(size_t *ret_len)
{
	pthread_mutex_lock(&lock);
	const uint8_t *feed = answers.left ? memchr(answers.next, '\f', answers.left) : NULL;
	size_t len = feed ? (size_t)(feed - answers.next) : answers.left;
	uint8_t *copy = malloc(len + 1);
	fuzz_check(copy);
	if (len)
		memcpy(copy, answers.next, len);
	answers.next += feed ? len + 1 : len;
	answers.left -= feed ? len + 1 : len;
	pthread_mutex_unlock(&lock);
	*ret_len = len;
	return copy;
}

/* Reads up to the end of the headers, or a piece of a TLS handshake; the requests have no body. */
static void read_request(int fd)
{
	char request[16384] = "";
	size_t len = 0;
	ssize_t n = 1;

	while (n > 0 && len < sizeof(request) && !memmem(request, len, "\r\n\r\n", 4) &&
	       (!len || request[0] == 'G')) {
		n = recv(fd, request + len, sizeof(request) - len, 0);
		len += n > 0 ? (size_t)n : 0;
	}
}

static void *serve(void *arg)
{
	int *listener = arg;
	char ignored[4096];

	for (;;) {
		_cleanup_close_ int fd = accept4(*listener, NULL, NULL, SOCK_CLOEXEC);
		size_t len;

		fuzz_check(fd >= 0);
		read_request(fd);
		_cleanup_free_ uint8_t *answer = next_answer(&len);
		if (len)
			send(fd, answer, len, MSG_NOSIGNAL);
		shutdown(fd, SHUT_WR);
		while (recv(fd, ignored, sizeof(ignored), 0) > 0)
			;
	}
	return NULL;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static int listener;
	char directory[PATH_MAX];
	struct err err = ERR_INIT;
	pthread_t thread;

	(void)argc, (void)argv;
	log_set_level(LOG_LEVEL_ERROR);
	fuzz_directory(directory);
	snprintf(address.sun_path, sizeof(address.sun_path), "%.90s/socket", directory);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fuzz_check(bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0);
	fuzz_check(listen(listener, 64) == 0);
	fuzz_check(pthread_create(&thread, NULL, serve, &listener) == 0);
	pthread_detach(thread);
	fuzz_check(cancel_init(&cancel, &err) == 0 && http_new(&http, NULL, &cancel, &err) == 0);
	return 0;
}

/* ---- the client ---- */

struct seen {
	unsigned responses;
	int status;
	bool is_framed, is_coded;
	int64_t length;
	size_t body_len;
};

static int see_headers(void *arg, const struct http_response *response, struct err *err)
{
	struct seen *seen = arg;
	struct fetched fetched = { .fresh_for_ms = FETCHED_UNKNOWN };
	struct codings codings;

	(void)err;
	fuzz_check(++seen->responses == 1);
	seen->status = http_status(response);
	seen->is_framed = http_is_framed(response);
	seen->is_coded = http_is_coded(response);
	seen->length = http_length(response);
	fuzz_check(seen->status >= 200 && seen->status <= 999 && seen->length >= -1);
	http_codings(response, &codings);
	fuzz_check(seen->is_coded == (codings.n > 0));
	http_version_describe(response, NULL, &fetched);
	fuzz_check(!*fetched.version.token || version_is_usable(fetched.version.token));
	return 0;
}

static int see_body(void *arg, const void *data, size_t len, struct err *err)
{
	struct seen *seen = arg;

	fuzz_check(seen->responses == 1 && data && len);
	seen->body_len += len;
	if (seen->body_len > BODY_MAX)
		return err_set(err, ERR_BAD_DATA, "too long");
	return 0;
}

static void check_error(const struct err *err)
{
	fuzz_check_error(err, err->kind);
	fuzz_check(err->kind == ERR_UNREACHABLE || err->kind == ERR_BAD_DATA ||
		   err->kind == ERR_CONFIG);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	struct err err = ERR_INIT;
	struct seen seen = { .responses = 0 };
	struct http_budget budget = {
		.timeout_ms = 10000,
		.deadline_ms = clock_boot_ms() + 10000,
		.max_bytes = WIRE_MAX,
	};
	const struct http_request request = {
		.url = "http://example.com/a",
		.unix_socket = address.sun_path,
		.connect_timeout_ms = 5000,
		.stall_timeout_ms = 5000,
		.budget = &budget,
		.max_redirects = fuzz_below(&input, 4),
		.accept_encoding = fuzz_below(&input, 2),
	};
	const struct http_callbacks callbacks = { .on_headers = see_headers,
						  .on_body = see_body,
						  .arg = &seen };

	if (size > ANSWERS_MAX)
		return 0;
	pthread_mutex_lock(&lock);
	answers = input;
	pthread_mutex_unlock(&lock);
	int result = http_perform(http, &request, &callbacks, &err);
	if (result < 0) {
		check_error(&err);
		return 0;
	}
	fuzz_check(seen.responses == 1);
	if (seen.status == 200 && seen.length >= 0 && !seen.is_coded)
		fuzz_check((int64_t)seen.body_len == seen.length);
	return 0;
}
