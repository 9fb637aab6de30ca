/*
 * http2_probe: asks a server with HTTP/2 again and again, so that its connection is never idle, on
 * a clock that runs ahead.
 *
 *	http2_probe CA_FILE SLOW_URL URL
 *
 * Begins to receive SLOW_URL, and then requests URL many times at once: at the beginning, and each
 * time after the clock has gone forward by more than connections are kept. Prints one line for each
 * of these rounds: the connections (header X-Connection) that served it, then "+" if the slow
 * response is still being received.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cancel.h"
#include "base/util.h"
#include "http/http.h"

#define AT_ONCE	 20
#define ROUNDS	 4
#define AHEAD_S	 121
#define NEVER_MS (INT64_C(1000) * 1000)

/* ---- a clock that libcurl and the engine follow ---- */

static _Atomic time_t ahead_s;

int clock_gettime(clockid_t id, struct timespec *ts)
{
	if (syscall(SYS_clock_gettime, id, ts) < 0)
		return -1;
	ts->tv_sec += atomic_load(&ahead_s);
	return 0;
}

/* ---- requests ---- */

struct asker {
	struct http *http;
	const char *url, *ca_file;
	char connection[32];
	pthread_t thread;
	pthread_barrier_t *begun; /* NULL: none waits for it */
	atomic_bool has_ended;
};

static int take_headers(void *arg, const struct http_response *response, struct err *err)
{
	struct asker *asker = arg;
	const char *connection = http_header(response, "X-Connection");

	(void)err;
	snprintf(asker->connection, sizeof(asker->connection), "%s", connection ? connection : "?");
	if (asker->begun)
		pthread_barrier_wait(asker->begun);
	return 0;
}

static void *ask(void *arg)
{
	struct asker *asker = arg;
	const struct http_callbacks callbacks = { .on_headers = take_headers, .arg = asker };
	const struct http_request request = {
		.url = asker->url,
		.ca_file = asker->ca_file,
		.proxy = "",
		.connect_timeout_ms = NEVER_MS,
		.stall_timeout_ms = NEVER_MS,
	};
	struct err err = ERR_INIT;

	if (http_perform(asker->http, &request, &callbacks, &err) < 0 && err.kind != ERR_CANCELED) {
		fprintf(stderr, "%s\n", err.msg);
		exit(1);
	}
	atomic_store(&asker->has_ended, true);
	return NULL;
}

static void print_round(const struct asker *slow, const char *url)
{
	struct asker askers[AT_ONCE];

	for (size_t i = 0; i < AT_ONCE; i++) {
		askers[i] = (struct asker){ slow->http, .url = url, .ca_file = slow->ca_file };
		if (pthread_create(&askers[i].thread, NULL, ask, &askers[i]) != 0)
			abort();
	}
	for (size_t i = 0; i < AT_ONCE; i++) {
		pthread_join(askers[i].thread, NULL);
		printf("%s ", askers[i].connection);
	}
	puts(atomic_load(&slow->has_ended) ? "-" : "+");
}

int main(int argc, char **argv)
{
	pthread_barrier_t begun;
	struct cancel cancel;
	struct err err = ERR_INIT;
	struct asker slow = { .begun = &begun };

	if (argc != 4 || pthread_barrier_init(&begun, NULL, 2) != 0 ||
	    cancel_init(&cancel, &err) < 0 || http_new(&slow.http, NULL, &cancel, &err) < 0)
		return 2;
	slow.ca_file = argv[1];
	slow.url = argv[2];
	if (pthread_create(&slow.thread, NULL, ask, &slow) != 0)
		return 2;
	pthread_barrier_wait(&begun);
	printf("%s\n", slow.connection);
	for (int round = 0; round < ROUNDS; round++) {
		print_round(&slow, argv[3]);
		atomic_fetch_add(&ahead_s, AHEAD_S);
	}
	cancel_request(&cancel);
	pthread_join(slow.thread, NULL);
	http_free(slow.http);
	cancel_release(&cancel);
	pthread_barrier_destroy(&begun);
	return 0;
}
