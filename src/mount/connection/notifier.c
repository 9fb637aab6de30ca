#include "mount/connection/notifier.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "base/daemonize.h"
#include "base/log.h"
#include "base/pass_fds.h"
#include "base/strict_mode.h"

/* Shared by both processes. A notification begins in the head and ends in the data. */
struct area {
	char head[NOTIFIER_HEAD_MAX];
	char data[NOTIFIER_DATA_MAX];
};

struct notifier {
	int socket;	   /* owned; -1: the notifier has died */
	struct area *area; /* mapped */
};

/* The bytes of the area to write. */
struct order {
	uint32_t start, len;
};

/* The result of write(2), or a negative errno. */
typedef int64_t outcome;

/* ---- the notifier's process ---- */

#define SOCKET DAEMONIZE_KEPT

/* The notifier exits only when the worker has ended. */
static void ignore_signals(void)
{
	static const int ignored[] = {
		SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGUSR1, SIGUSR2
	};

	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		signal(ignored[i], SIG_IGN);
}

/* -1 if the worker has ended. */
static int receive_device(void)
{
	char byte;
	int device;

	return pass_fds_receive(SOCKET, &byte, 1, &device, 1, 0) == 1 ? device : -1;
}

__attribute__((noreturn)) static void notify_for_ever(int socket, const struct area *area)
{
	struct order order;

	prctl(PR_SET_NAME, "rptfs-notifier");
	ignore_signals();
	daemonize_keep_only(socket);
	int device = receive_device();
	if (device < 0)
		_exit(0);
	strict_mode_enter();
	while (read(SOCKET, &order, sizeof(order)) == sizeof(order)) {
		if (order.start > sizeof(*area) || order.len > sizeof(*area) - order.start)
			break;
		outcome result = write(device, (const char *)area + order.start, order.len);
		if (result < 0)
			result = -errno;
		if (write(SOCKET, &result, sizeof(result)) != sizeof(result))
			break;
	}
	strict_mode_exit();
}

/* ---- the worker's side ---- */

int notifier_new(struct notifier **ret, struct err *err)
{
	_cleanup_(notifier_free_cleanup) struct notifier *notifier = calloc(1, sizeof(*notifier));
	int pair[2];

	if (!notifier)
		return err_set(err, ERR_INTERNAL, "notifier: out of memory");
	void *area = mmap(NULL, sizeof(struct area), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		return err_errno(err, "notifier: mmap");
	notifier->area = area;
	notifier->socket = -1;
	if (pass_fds_pair(pair, err) < 0)
		return err_prefix(err, "notifier");
	_cleanup_close_ int ours = pair[0], theirs = pair[1];
	pid_t pid = fork();
	if (pid < 0)
		return err_errno(err, "notifier: fork");
	if (pid == 0)
		notify_for_ever(theirs, area);
	notifier->socket = steal_fd(&ours);
	*ret = steal_ptr(&notifier);
	return 0;
}

void notifier_free(struct notifier *notifier)
{
	if (!notifier)
		return;
	close_cleanup(&notifier->socket);
	if (notifier->area)
		munmap(notifier->area, sizeof(*notifier->area));
	free(notifier);
}

int notifier_give_device(struct notifier *notifier, int device, struct err *err)
{
	if (pass_fds_send(notifier->socket, "", 1, &device, 1, 0) != 1)
		return err_errno(err, "notifier: send");
	return 0;
}

char *notifier_data(struct notifier *notifier)
{
	return notifier->area->data;
}

/* Copies the elements to the end of the head, so that they and the data are one piece. The last
 * element is not copied if it is the shared buffer. False if they are too long. */
static bool assemble(struct area *area, const struct iovec *iov, int count, struct order *ret)
{
	bool has_data = count > 0 && iov[count - 1].iov_base == area->data;
	int n_head = has_data ? count - 1 : count;
	size_t data_len = has_data ? iov[count - 1].iov_len : 0, head_len = 0;

	for (int i = 0; i < n_head; i++)
		head_len += iov[i].iov_len;
	if (head_len > sizeof(area->head) || data_len > sizeof(area->data))
		return false;
	char *at = area->head + sizeof(area->head) - head_len;
	ret->start = (uint32_t)(at - (char *)area);
	ret->len = (uint32_t)(head_len + data_len);
	for (int i = 0; i < n_head; i++) {
		memcpy(at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	return true;
}

/* Returns false if the notifier has died. */
static bool ask(const struct notifier *notifier, const struct order *order, outcome *ret)
{
	ssize_t got;

	if (send(notifier->socket, order, sizeof(*order), MSG_NOSIGNAL) < 0)
		return false;
	do {
		got = recv(notifier->socket, ret, sizeof(*ret), 0);
	} while (got < 0 && errno == EINTR);
	return got == sizeof(*ret);
}

ssize_t notifier_writev(struct notifier *notifier, int device, const struct iovec *iov, int count)
{
	struct order order;
	outcome result;

	if (!assemble(notifier->area, iov, count, &order)) {
		errno = EMSGSIZE;
		return -1;
	}
	if (notifier->socket >= 0 && !ask(notifier, &order, &result)) {
		log_event(LOG_LEVEL_ERROR, "notifier_died");
		close(steal_fd(&notifier->socket));
	}
	if (notifier->socket < 0)
		return writev(device, iov, count); /* perhaps a second time, which is harmless */
	if (result >= 0)
		return (ssize_t)result;
	errno = (int)-result;
	return -1;
}
