/*
 * server: the control socket, with one thread per connection.
 *
 * The listening socket outlives the worker: connections that are not accepted yet wait for the next
 * one. At most CONNECTIONS_MAX connections are open. Guests (peers other than root and the owner)
 * get fewer of them and shorter requests, so that they can neither lock the owner out nor exhaust
 * memory.
 *
 * Threads: the acceptor, and one detached thread per connection, which owns its struct task. All
 * end soon after cancellation; control_free() waits for the last one.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "control/command.h"
#include "control/conn.h"
#include "control/control.h"
#include "control/term_index.h"

#define CONNECTIONS_MAX	      64
#define CONNECTIONS_MAX_GUEST 48
#define REQUEST_MAX	      (1024 * 1024)
#define REQUEST_MAX_GUEST     (64 * 1024)
/* Jansson parses up to 2048 levels, with about 200 bytes of stack per level. */
#define STACK_BYTES (1024 * 1024)
/* Pause after accept(2) failed for lack of descriptors or memory. */
#define ACCEPT_PAUSE_MS 100

struct control {
	const struct control_view *view; /* borrowed */
	struct cancel *cancel;		 /* borrowed */
	struct term_index *index;	 /* owned */
	uid_t owner;
	int listener; /* borrowed */
	pthread_t acceptor;
	bool accepting; /* the acceptor was started */
	bool was_short; /* the failure of accept(2) was logged; used by the acceptor only */

	pthread_mutex_t lock;
	pthread_cond_t ended;
	unsigned connections; /* guarded by lock */
};

/* The argument of a connection's thread. */
struct task {
	struct control *control;
	int fd; /* owned */
	uid_t peer;
};

static void task_free(struct task *task)
{
	close_cleanup(&task->fd);
	free(task);
}
DEFINE_CLEANUP(struct task, task_free)

DEFINE_CLEANUP(struct control, control_free)

static bool connection_enter(struct control *control, bool is_owner)
{
	pthread_mutex_lock(&control->lock);
	bool entered = control->connections < (is_owner ? CONNECTIONS_MAX : CONNECTIONS_MAX_GUEST);
	if (entered)
		control->connections++;
	pthread_mutex_unlock(&control->lock);
	return entered;
}

static void connection_leave(struct control *control)
{
	pthread_mutex_lock(&control->lock);
	control->connections--;
	pthread_cond_signal(&control->ended);
	pthread_mutex_unlock(&control->lock);
}

static void answer(struct exchange *exchange)
{
	bool is_owner = command_is_owner(exchange->peer, exchange->owner);
	_cleanup_free_ char *line = NULL;
	struct err err = ERR_INIT;
	size_t len;

	if (conn_read_line(exchange->conn, is_owner ? REQUEST_MAX : REQUEST_MAX_GUEST, &line, &len,
			   &err) < 0 ||
	    command_run(exchange, line, len, &err) < 0)
		command_write_error(exchange->conn->out, &err);
}

static void serve(struct task *task)
{
	struct control *control = task->control;
	_cleanup_(conn_free_cleanup) struct conn *conn = NULL;
	struct err err = ERR_INIT;

	if (conn_new(&conn, steal_fd(&task->fd), control->cancel, &err) < 0) {
		log_event(LOG_LEVEL_WARNING, "control_failed", LOG_STR("error", err.msg));
		return;
	}
	answer(&(struct exchange){ .view = control->view,
				   .index = control->index,
				   .conn = conn,
				   .peer = task->peer,
				   .owner = control->owner });
}

static void *connection_main(void *arg)
{
	struct task *task = arg;
	struct control *control = task->control;

	serve(task);
	task_free(task);
	/* `control` may be freed from here on. */
	connection_leave(control);
	return NULL;
}

static int start_thread(struct task *task)
{
	pthread_attr_t attr;
	pthread_t thread;

	int error = pthread_attr_init(&attr);
	if (error)
		return error;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	error = pthread_create(&thread, &attr, connection_main, task);
	pthread_attr_destroy(&attr);
	return error;
}

static void refuse_busy(int fd)
{
	static const char busy[] =
		"{\"error\":{\"kind\":\"busy\",\"message\":\"too many connections\"}}\n";

	if (send(fd, busy, sizeof(busy) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
		/* The peer has hung up. */
	}
}

static void take_connection(struct control *control, int fd)
{
	_cleanup_(task_free_cleanup) struct task *task = malloc(sizeof(*task));
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (!task) {
		close(fd);
		return;
	}
	*task = (struct task){ .control = control, .fd = fd };
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return;
	task->peer = peer.uid;
	if (!connection_enter(control, command_is_owner(peer.uid, control->owner))) {
		refuse_busy(fd);
		return;
	}
	if (start_thread(task) != 0) {
		connection_leave(control);
		refuse_busy(fd);
		return;
	}
	steal_ptr(&task);
}

/* Logs the first failure of accept(2) in a row, and pauses. */
static void accept_failed(struct control *control, int number)
{
	struct pollfd fd = { .fd = control->cancel->fd, .events = POLLIN };

	if (number == EINTR || number == ECONNABORTED || number == EAGAIN)
		return;
	if (!control->was_short)
		log_event(LOG_LEVEL_WARNING, "control_failed", LOG_STR("error", strerror(number)));
	control->was_short = true;
	poll(&fd, 1, ACCEPT_PAUSE_MS);
}

static void *acceptor_main(void *arg)
{
	struct control *control = arg;

	while (!cancel_requested(control->cancel)) {
		struct pollfd fds[] = {
			{ .fd = control->listener, .events = POLLIN },
			{ .fd = control->cancel->fd, .events = POLLIN },
		};

		if (poll(fds, ARRAY_SIZE(fds), -1) < 0 || !fds[0].revents)
			continue;
		int fd = accept4(control->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0) {
			accept_failed(control, errno);
			continue;
		}
		control->was_short = false;
		take_connection(control, fd);
	}
	return NULL;
}

int control_new(struct control **ret, const struct control_view *view, int listener, uid_t owner,
		struct cancel *cancel, struct err *err)
{
	_cleanup_(control_free_cleanup) struct control *control = calloc(1, sizeof(*control));

	if (!control)
		return err_errno(err, "control server");
	control->view = view;
	control->cancel = cancel;
	control->owner = owner;
	control->listener = listener;
	pthread_mutex_init(&control->lock, NULL);
	pthread_cond_init(&control->ended, NULL);
	if (term_index_new(&control->index, view->terms, view->n_terms, err) < 0)
		return -1;

	int error = pthread_create(&control->acceptor, NULL, acceptor_main, control);
	if (error) {
		errno = error;
		return err_errno(err, "thread of the control server");
	}
	control->accepting = true;
	*ret = steal_ptr(&control);
	return 0;
}

void control_free(struct control *control)
{
	if (!control)
		return;
	if (control->accepting)
		pthread_join(control->acceptor, NULL);
	pthread_mutex_lock(&control->lock);
	while (control->connections > 0)
		pthread_cond_wait(&control->ended, &control->lock);
	pthread_mutex_unlock(&control->lock);
	term_index_free(control->index);
	pthread_cond_destroy(&control->ended);
	pthread_mutex_destroy(&control->lock);
	free(control);
}
