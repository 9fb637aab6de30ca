/*
 * server: the control socket and a thread for each connection.
 *
 * The socket is bound to a name of its own and renamed to its path, so that whoever finds the path
 * finds somebody who answers, also while a successor takes over. There are at most CONNECTIONS_MAX
 * connections; those who may only look leave some of them to root and the owner, and their requests
 * are short, so that they can neither lock the owner out nor use up memory.
 *
 * Threads: the acceptor, and one detached thread a connection, which owns its struct task. All of
 * them end soon after cancellation; control_free() waits until the last one did.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/log.h"
#include "control/command.h"
#include "control/conn.h"
#include "control/control.h"
#include "control/names.h"

#define CONNECTIONS_MAX	      64
#define CONNECTIONS_MAX_GUEST 48
#define BACKLOG		      128
#define REQUEST_MAX	      (1024 * 1024)
#define REQUEST_MAX_GUEST     (64 * 1024)
/* JSON may be nested 2048 deep; the parser needs about 200 bytes of stack a level. */
#define STACK_BYTES (1024 * 1024)
/* After accept(2) found no descriptor or memory. */
#define ACCEPT_PAUSE_MS 100

struct control {
	const struct control_view *view; /* borrowed */
	struct cancel *cancel;		 /* borrowed */
	struct names *names;
	uid_t owner;
	char *path;
	int listener; /* -1: not there yet */
	dev_t device; /* of the socket's name, with inode: is it still ours? */
	ino_t inode;  /* 0: no name yet */
	pthread_t acceptor;
	bool accepting; /* there is an acceptor */
	bool was_short; /* acceptor only: the lack of descriptors was logged */

	pthread_mutex_t lock;
	pthread_cond_t ended;
	unsigned connections; /* guarded by lock */
};

/* What a connection's thread starts with. */
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
	bool is_owner = command_is_owner(exchange);
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
				   .names = control->names,
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
	/* Nothing of `control` may be touched after this. */
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

static void tell_busy(int fd)
{
	static const char busy[] =
		"{\"error\":{\"kind\":\"busy\",\"message\":\"too many connections\"}}\n";

	if (send(fd, busy, sizeof(busy) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
		/* The peer is gone, and with it the only one who would have cared. */
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
	if (!connection_enter(control, peer.uid == 0 || peer.uid == control->owner)) {
		tell_busy(fd);
		return;
	}
	if (start_thread(task) != 0) {
		connection_leave(control);
		tell_busy(fd);
		return;
	}
	steal_ptr(&task);
}

/* accept(2) failed: says so once, and lets others make room. */
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

static int make_directory(const char *path, struct err *err)
{
	_cleanup_free_ char *dir = strdup(path);

	if (!dir)
		return err_errno(err, "control socket %s", path);
	char *slash = strrchr(dir, '/');
	if (!slash || slash == dir)
		return 0;
	*slash = '\0';
	if (mkdir(dir, 0755) == 0) {
		/* Others must reach the socket, whatever the umask is. */
		if (chmod(dir, 0755) < 0)
			return err_errno(err, "chmod %s", dir);
	} else if (errno != EEXIST) {
		return err_errno(err, "mkdir %s", dir);
	}
	return 0;
}

/* Binds to a name beside the path, and renames it there once it can be connected to. */
static int listen_at(struct control *control, struct err *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat st;
	int len = snprintf(address.sun_path, sizeof(address.sun_path), "%s.new", control->path);

	if (len < 0 || (size_t)len >= sizeof(address.sun_path))
		return err_set(err, ERR_CONFIG, "control socket %s: path longer than %zu bytes",
			       control->path, sizeof(address.sun_path) - sizeof(".new"));
	control->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (control->listener < 0)
		return err_errno(err, "socket");
	if (unlink(address.sun_path) < 0 && errno != ENOENT)
		return err_errno(err, "unlink %s", address.sun_path);
	if (bind(control->listener, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return err_errno(err, "bind %s", address.sun_path);
	if (chmod(address.sun_path, 0666) < 0 || listen(control->listener, BACKLOG) < 0 ||
	    lstat(address.sun_path, &st) < 0 || rename(address.sun_path, control->path) < 0) {
		err_errno(err, "control socket %s", control->path);
		unlink(address.sun_path);
		return -1;
	}
	control->device = st.st_dev;
	control->inode = st.st_ino;
	return 0;
}

int control_new(struct control **ret, const struct control_view *view, const char *path,
		uid_t owner, struct cancel *cancel, struct err *err)
{
	_cleanup_(control_free_cleanup) struct control *control = calloc(1, sizeof(*control));

	if (!control)
		return err_errno(err, "control server");
	control->view = view;
	control->cancel = cancel;
	control->owner = owner;
	control->listener = -1;
	pthread_mutex_init(&control->lock, NULL);
	pthread_cond_init(&control->ended, NULL);
	control->path = strdup(path);
	if (!control->path)
		return err_errno(err, "control server");
	if (names_new(&control->names, view->terms, view->n_terms, err) < 0 ||
	    make_directory(path, err) < 0 || listen_at(control, err) < 0)
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

/* Leaves a successor's socket alone. */
static void remove_socket(const struct control *control)
{
	struct stat st;

	if (control->inode != 0 && lstat(control->path, &st) == 0 && st.st_dev == control->device &&
	    st.st_ino == control->inode)
		unlink(control->path);
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
	remove_socket(control);
	close_cleanup(&control->listener);
	names_free(control->names);
	pthread_cond_destroy(&control->ended);
	pthread_mutex_destroy(&control->lock);
	free(control->path);
	free(control);
}
