#include "keeper/channel.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/util.h"

/* A message as it travels; no more of it than is used. */
struct packet {
	uint32_t type;
	union {
		struct channel_hello hello;
		struct channel_report report;
		char text[ERR_MSG_SIZE];
	};
};

#define PACKET_HEAD offsetof(struct packet, hello)

int channel_new(int ret_fds[2], struct err *err)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_fds) < 0)
		return err_errno(err, "socketpair");
	return 0;
}

static int send_packet(int channel, const struct packet *packet, size_t size, const int *fds,
		       size_t n_fds)
{
	char control[CMSG_SPACE(CHANNEL_FDS_MAX * sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = (void *)packet, .iov_len = size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n_fds > 0) {
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, n_fds * sizeof(int));
	}
	return sendmsg(channel, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)size ? 0 : -1;
}

int channel_send(int channel, enum channel_type type, int fd)
{
	struct packet packet = { .type = type };

	return send_packet(channel, &packet, PACKET_HEAD, &fd, fd >= 0);
}

int channel_send_text(int channel, enum channel_type type, int fd, const char *text)
{
	struct packet packet = { .type = type };

	snprintf(packet.text, sizeof(packet.text), "%s", text);
	return send_packet(channel, &packet, PACKET_HEAD + strlen(packet.text) + 1, &fd, fd >= 0);
}

int channel_send_report(int channel, int fd, const struct channel_report *report)
{
	struct packet packet = { .type = CHANNEL_REPORT, .report = *report };

	return send_packet(channel, &packet, PACKET_HEAD + sizeof(*report), &fd, fd >= 0);
}

int channel_send_hello(int channel, const struct channel_hello *hello,
		       const int fds[CHANNEL_FDS_MAX])
{
	struct packet packet = { .type = CHANNEL_HELLO, .hello = *hello };
	size_t n_fds = fds[CHANNEL_FD_DEVICE] >= 0 ? CHANNEL_FDS_MAX : CHANNEL_FD_DEVICE;

	return send_packet(channel, &packet, PACKET_HEAD + sizeof(*hello), fds, n_fds);
}

static void take_fds(struct msghdr *msg, int ret[CHANNEL_FDS_MAX])
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);

	for (size_t i = 0; i < CHANNEL_FDS_MAX; i++)
		ret[i] = -1;
	if (!cmsg || cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
		return;
	memcpy(ret, CMSG_DATA(cmsg), cmsg->cmsg_len - CMSG_LEN(0));
}

void channel_receive(int channel, enum channel_wait wait, struct channel_message *ret)
{
	struct packet packet = { .type = CHANNEL_END };
	char control[CMSG_SPACE(CHANNEL_FDS_MAX * sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = &packet, .iov_len = sizeof(packet) };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		/* Not its padding, for which the kernel might find another descriptor. */
		.msg_controllen = CMSG_LEN(CHANNEL_FDS_MAX * sizeof(int)),
	};
	int flags = MSG_CMSG_CLOEXEC | (wait == CHANNEL_WAITS ? 0 : MSG_DONTWAIT);
	ssize_t got;

	do {
		got = recvmsg(channel, &msg, flags);
	} while (got < 0 && errno == EINTR);
	*ret = (struct channel_message){
		.type = got < 0 && errno == EAGAIN ? CHANNEL_NOTHING : CHANNEL_END,
	};
	take_fds(&msg, ret->fds);
	if (got < (ssize_t)PACKET_HEAD)
		return;
	ret->type = (enum channel_type)packet.type;
	if (ret->type == CHANNEL_HELLO)
		ret->hello = packet.hello;
	else if (ret->type == CHANNEL_REPORT)
		ret->report = packet.report;
	else
		snprintf(ret->text, sizeof(ret->text), "%.*s", (int)(sizeof(packet.text) - 1),
			 packet.text);
}

void channel_message_release(struct channel_message *message)
{
	for (size_t i = 0; i < CHANNEL_FDS_MAX; i++)
		close_cleanup(&message->fds[i]);
}
