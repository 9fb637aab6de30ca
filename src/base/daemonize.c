#include "base/daemonize.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>

#include "base/log.h"
#include "base/util.h"

static int wait_for_child(int fd)
{
	uint8_t code;
	ssize_t got;

	do {
		got = read(fd, &code, 1);
	} while (got < 0 && errno == EINTR);
	return got == 1 ? code : 1;
}

int daemonize(int *ret_ready_fd, int *ret_code, struct err *err)
{
	int pair[2];

	if (pipe2(pair, O_CLOEXEC) < 0)
		return err_errno(err, "pipe");
	_cleanup_close_ int reader = pair[0];
	_cleanup_close_ int writer = pair[1];
	pid_t pid = fork();
	if (pid < 0)
		return err_errno(err, "fork");
	if (pid > 0) {
		close(steal_fd(&writer));
		*ret_code = wait_for_child(reader);
		return 1;
	}
	if (chdir("/") < 0)
		return err_errno(err, "chdir /");
	*ret_ready_fd = steal_fd(&writer);
	return 0;
}

void daemonize_silence(void)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	log_to_syslog("rptfs");
	if (null < 0)
		return;
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
}

void daemonize_keep_only(int fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int i = 0; i < DAEMONIZE_KEPT; i++)
		dup2(null, i);
	if (fd != DAEMONIZE_KEPT)
		dup2(fd, DAEMONIZE_KEPT);
	close_range(DAEMONIZE_KEPT + 1, ~0U, 0);
}

void daemonize_detach(void)
{
	daemonize_silence();
	setsid(); /* fails if that was done before */
}
