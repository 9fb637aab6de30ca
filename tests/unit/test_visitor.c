/* visitor: the worker waits longer for one that starts than for one that runs. */
#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mount/visitor/visitor.h"
#include "mount/visitor/visitor_protocol.h"
#include "base/clock.h"
#include "tap.h"

/* Longer than a running visitor may take. */
#define SLOW_MS 7000

struct slow {
	int socket; /* owned by the thread */
	pthread_t thread;
	unsigned starts;
};

/* Answers the first request late, and the second one never. */
static void *slow_main(void *arg)
{
	struct slow *slow = arg;
	struct visitor_request request;
	const visitor_reply reply = 7;

	recv(slow->socket, &request, sizeof(request), 0);
	usleep(SLOW_MS * 1000);
	send(slow->socket, &reply, sizeof(reply), MSG_NOSIGNAL);
	while (recv(slow->socket, &request, sizeof(request), 0) > 0)
		;
	close(slow->socket);
	return NULL;
}

static int slow_start(void *arg, int socket)
{
	struct slow *slow = arg;

	slow->starts++;
	slow->socket = dup(socket); /* the worker closes its descriptor */
	return pthread_create(&slow->thread, NULL, slow_main, slow) == 0 ? 0 : -1;
}

int main(void)
{
	struct err err = ERR_INIT;
	struct visitor *visitor = NULL;
	struct slow slow = { 0 };

	if (visitor_new(&visitor, slow_start, &slow, &err) < 0)
		return 1;
	is_int(visitor_look(visitor, "/mnt/t"), 7, "a visitor may start slowly");
	int64_t asked_ms = clock_boot_ms();
	is_int(visitor_look(visitor, "/mnt/t"), -ETIMEDOUT, "one that runs has to answer");
	ok(clock_boot_ms() - asked_ms >= 1000, "it is given some time");
	is_int(slow.starts, 1, "each request was asked once");
	visitor_free(visitor);
	pthread_join(slow.thread, NULL);
	return tap_done();
}
