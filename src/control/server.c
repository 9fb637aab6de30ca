/*
 * server: the control socket, with one thread per connection.
 *
 * The listening socket outlives the worker: connections that are not accepted yet wait for the next
 * one. At most CONNECTIONS_MAX connections are open. Guests (peers other than root and the owner)
 * get fewer of them and shorter requests, so that they can neither lock the owner out nor exhaust
 * memory, and each is charged to its user's share of the budget, so that no guest locks the others
 * out.
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
/* Of memory for one connection: the parsed request, the buffer of the answer, and the stack. */
#define GUEST_BYTES (1024 * 1024)
/* Jansson parses up to 2048 levels, with about 200 bytes of stack per level. */
#define STACK_BYTES (1024 * 1024)
/* Pause after accept(2) failed for lack of descriptors or memory. */
#define ACCEPT_PAUSE_MS 100

struct control {
	struct control_setup setup;
	struct term_index *index; /* owned */
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
	bool is_guest;
	struct term_access access; /* of the peer */
};

static void task_free(struct task *task)
{
	close_cleanup(&task->fd);
	free(task);
}
DEFINE_CLEANUP(struct task, task_free)

DEFINE_CLEANUP(struct control, control_free)

static bool connection_enter(const struct task *task)
{
	struct control *control = task->control;
	unsigned limit = task->is_guest ? CONNECTIONS_MAX_GUEST : CONNECTIONS_MAX;

	if (task->is_guest && !budget_take(control->setup.budget, task->peer, GUEST_BYTES))
		return false;
	pthread_mutex_lock(&control->lock);
	bool entered = control->connections < limit;
	if (entered)
		control->connections++;
	pthread_mutex_unlock(&control->lock);
	if (!entered && task->is_guest)
		budget_give(control->setup.budget, task->peer, GUEST_BYTES);
	return entered;
}

static void connection_leave(struct control *control, bool is_guest, uid_t peer)
{
	if (is_guest)
		budget_give(control->setup.budget, peer, GUEST_BYTES);
	pthread_mutex_lock(&control->lock);
	control->connections--;
	pthread_cond_signal(&control->ended);
	pthread_mutex_unlock(&control->lock);
}

static void answer(struct exchange *exchange, size_t max_bytes)
{
	_cleanup_free_ char *line = NULL;
	struct err err = ERR_INIT;
	size_t len;

	if (conn_read_line(exchange->conn, max_bytes, &line, &len, &err) < 0 ||
	    command_run(exchange, line, len, &err) < 0)
		command_write_error(exchange->conn->out, &err);
}

static void serve(struct task *task)
{
	const struct control_setup *setup = &task->control->setup;
	_cleanup_(conn_free_cleanup) struct conn *conn = NULL;
	struct err err = ERR_INIT;

	if (conn_new(&conn, steal_fd(&task->fd), setup->cancel, &err) < 0) {
		log_event(LOG_LEVEL_WARNING, "control_failed", LOG_STR("error", err.msg));
		return;
	}
	answer(&(struct exchange){ .view = setup->view,
				   .index = task->control->index,
				   .conn = conn,
				   .peer = task->peer,
				   .access = task->access },
	       task->is_guest ? REQUEST_MAX_GUEST : REQUEST_MAX);
}

static void *connection_main(void *arg)
{
	struct task *task = arg;
	struct control *control = task->control;
	bool is_guest = task->is_guest;
	uid_t peer = task->peer;

	serve(task);
	task_free(task);
	connection_leave(control, is_guest, peer);
	/* `control` may be freed from here on. */
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

void control_refuse(int connection, enum err_kind kind, const char *reason)
{
	struct err err = ERR_INIT;
	char line[2 * ERR_MSG_SIZE] = "";
	FILE *out = fmemopen(line, sizeof(line), "w");

	if (!out)
		return;
	err_set(&err, kind, "%s", reason);
	command_write_error(out, &err);
	fclose(out);
	conn_send_line(connection, line);
}

/* Reads the supplementary groups of the peer; none if they cannot be read. The caller frees
 * them. */
static gid_t *peer_groups(int fd, size_t *ret_n)
{
	_cleanup_free_ gid_t *groups = NULL;
	socklen_t size = 0;

	*ret_n = 0;
	/* The first call says how large they are. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) == 0 || errno != ERANGE)
		return NULL;
	groups = malloc(size);
	if (!groups || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0)
		return NULL;
	*ret_n = size / sizeof(*groups);
	return steal_ptr(&groups);
}

/* Finds out who the peer is, and what it may know. */
static int identify(struct task *task)
{
	const struct term_rights *rights = task->control->setup.view->rights;
	_cleanup_free_ gid_t *groups = NULL;
	struct ucred peer;
	socklen_t len = sizeof(peer);
	size_t n_groups;

	if (getsockopt(task->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return -1;
	groups = peer_groups(task->fd, &n_groups);
	const struct term_reader reader = {
		.uid = peer.uid, .gid = peer.gid, .groups = groups, .n_groups = n_groups
	};
	task->peer = peer.uid;
	task->is_guest = !term_rights_is_owner(rights, peer.uid);
	task->access = term_rights_of(rights, &reader);
	return 0;
}

static void take_connection(struct control *control, int fd)
{
	_cleanup_(task_free_cleanup) struct task *task = calloc(1, sizeof(*task));

	if (!task) {
		close(fd);
		return;
	}
	task->control = control;
	task->fd = fd;
	if (identify(task) < 0)
		return;
	if (task->is_guest && !control->setup.allow_other) {
		control_refuse(fd, ERR_DENIED, "this mount is not for other users (allow_other)");
		return;
	}
	if (!connection_enter(task)) {
		control_refuse(fd, ERR_BUSY, "too many connections");
		return;
	}
	if (start_thread(task) != 0) {
		connection_leave(control, task->is_guest, task->peer);
		control_refuse(fd, ERR_BUSY, "too many connections");
		return;
	}
	steal_ptr(&task);
}

/* Logs the first failure of accept(2) in a row, and pauses. */
static void accept_failed(struct control *control, int number)
{
	struct pollfd fd = { .fd = control->setup.cancel->fd, .events = POLLIN };

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

	while (!cancel_requested(control->setup.cancel)) {
		struct pollfd fds[] = {
			{ .fd = control->setup.listener, .events = POLLIN },
			{ .fd = control->setup.cancel->fd, .events = POLLIN },
		};

		if (poll(fds, ARRAY_SIZE(fds), -1) < 0 || !fds[0].revents)
			continue;
		int fd = accept4(control->setup.listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0) {
			accept_failed(control, errno);
			continue;
		}
		control->was_short = false;
		take_connection(control, fd);
	}
	return NULL;
}

int control_new(struct control **ret, const struct control_setup *setup, struct err *err)
{
	_cleanup_(control_free_cleanup) struct control *control = calloc(1, sizeof(*control));

	if (!control)
		return err_errno(err, "control server");
	control->setup = *setup;
	pthread_mutex_init(&control->lock, NULL);
	pthread_cond_init(&control->ended, NULL);
	if (term_index_new(&control->index, setup->view->terms, setup->view->n_terms,
			   setup->view->rights, err) < 0)
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
