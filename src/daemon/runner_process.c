/* The runner itself: one thread, which forks a process for each request. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/util.h"
#include "daemon/runner.h"

#define REQUEST_MAX 8192

struct server {
	const struct runner_setup *setup;
	unsigned n_programs;
	bool is_over;
};

struct request {
	char text[REQUEST_MAX + 1];
	const char *credentials_file; /* NULL: the environment's; in text, as the following */
	const char *profile;
	int reply; /* owned */
};

static void note_child(int number)
{
	(void)number; /* ends ppoll() */
}

/* SIGCHLD is let through while we wait, and only then. */
static int set_signals(struct err *err)
{
	struct sigaction action = { .sa_handler = note_child };
	sigset_t set;

	/* SIGINT and SIGHUP reach the whole foreground group: we end when the worker does. */
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	if (sigaction(SIGCHLD, &action, NULL) < 0 || sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return err_errno(err, "signals");
	return 0;
}

static int take_fd(struct msghdr *msg)
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);
	int fd = -1;

	if (cmsg && cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS &&
	    cmsg->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(cmsg), sizeof(int));
	return fd;
}

/* "FILE\0PROFILE\0" */
static bool parse(struct request *request, size_t len)
{
	const char *profile = memchr(request->text, '\0', len);

	if (!profile++ || profile == request->text + len)
		return false;
	request->text[len] = '\0';
	request->credentials_file = *request->text ? request->text : NULL;
	request->profile = profile;
	return true;
}

/* False: there is nothing to be done, or nobody left to do it for. */
static bool receive(struct server *server, struct request *ret)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = ret->text, .iov_len = REQUEST_MAX };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};

	ssize_t len = recvmsg(server->setup->socket, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (len < 0) {
		server->is_over = errno != EINTR && errno != EAGAIN;
		return false;
	}
	server->is_over = len == 0;
	ret->reply = take_fd(&msg);
	return len > 0 && ret->reply >= 0 && parse(ret, (size_t)len);
}

/* In the forked process. */
__attribute__((noreturn)) static void serve_request(const struct server *server,
						    const struct request *request)
{
	_cleanup_free_ char *command = NULL;
	struct err err = ERR_INIT;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGCHLD, SIG_DFL);
	close(server->setup->socket);
	if (server->setup->command(request->credentials_file, request->profile, &command, &err) < 0)
		runner_reply_error(request->reply, &err);
	else
		runner_run(command, request->reply);
	_exit(0);
}

static void handle(struct server *server, const struct request *request)
{
	struct err err = ERR_INIT;

	if (server->n_programs == RUNNER_PROGRAMS_MAX) {
		err_set(&err, ERR_BUSY, "%d programs are running already", RUNNER_PROGRAMS_MAX);
		runner_reply_error(request->reply, &err);
		return;
	}
	pid_t pid = fork();
	if (pid == 0)
		serve_request(server, request);
	if (pid > 0) {
		server->n_programs++;
		return;
	}
	err_errno(&err, "fork");
	runner_reply_error(request->reply, &err);
}

static void reap(struct server *server)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		server->n_programs--;
}

static void serve(struct server *server)
{
	struct pollfd pfd = { .fd = server->setup->socket, .events = POLLIN };
	sigset_t none;

	sigemptyset(&none);
	while (!server->is_over) {
		struct request request = { .reply = -1 };
		reap(server);
		if (ppoll(&pfd, 1, NULL, &none) > 0 && receive(server, &request))
			handle(server, &request);
		close_cleanup(&request.reply);
	}
	/* The worker is gone: nobody waits, and each of them ends at once. */
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
}

int runner_serve(const struct runner_setup *setup)
{
	struct server server = { .setup = setup };
	struct err err = ERR_INIT;
	int code = 0;

	prctl(PR_SET_NAME, "rptfs-runner");
	if (set_signals(&err) < 0) {
		log_event(LOG_LEVEL_ERROR, "runner_failed", LOG_STR("error", err.msg));
		code = 1;
	} else {
		serve(&server);
	}
	close(setup->socket);
	return code;
}
