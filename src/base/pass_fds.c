#include "base/pass_fds.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "base/util.h"

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(PASS_FDS_MAX * sizeof(int))];
};

int pass_fds_pair(int ret_sockets[2], struct err *err)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_sockets) < 0)
		return err_errno(err, "socketpair");
	return 0;
}

ssize_t pass_fds_send(int socket, const void *data, size_t len, const int *fds, size_t n_fds,
		      int flags)
{
	union control control = { .bytes = { 0 } };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t sent;

	assert(n_fds <= PASS_FDS_MAX);
	while (n_fds > 0 && fds[n_fds - 1] < 0)
		n_fds--;
	if (n_fds > 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, n_fds * sizeof(int));
	}
	do
		sent = sendmsg(socket, &msg, flags | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent;
}

static void take_fds(struct msghdr *msg, int *ret_fds, size_t n_fds)
{
	const struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);

	if (!cmsg || cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
		return;
	memcpy(ret_fds, CMSG_DATA(cmsg), cmsg->cmsg_len - CMSG_LEN(0));
	if (!(msg->msg_flags & MSG_CTRUNC))
		return;
	for (size_t i = 0; i < n_fds; i++) {
		close_cleanup(&ret_fds[i]);
		ret_fds[i] = -1;
	}
}

ssize_t pass_fds_receive(int socket, void *ret_data, size_t size, int *ret_fds, size_t n_fds,
			 int flags)
{
	union control control = { .bytes = { 0 } };
	struct iovec iov = { .iov_base = ret_data, .iov_len = size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes };
	ssize_t received;

	assert(n_fds > 0 && n_fds <= PASS_FDS_MAX);
	for (size_t i = 0; i < n_fds; i++)
		ret_fds[i] = -1;
	do {
		/* CMSG_SPACE would include the padding, and the kernel fills that with one more
		 * descriptor. */
		msg.msg_controllen = CMSG_LEN(n_fds * sizeof(int));
		received = recvmsg(socket, &msg, flags | MSG_CMSG_CLOEXEC);
	} while (received < 0 && errno == EINTR);
	if (received >= 0)
		take_fds(&msg, ret_fds, n_fds);
	return received;
}
