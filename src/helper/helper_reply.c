#include "helper/helper_reply.h"

#include <string.h>

#include "base/pass_fds.h"
#include "base/secret.h"
#include "helper/helper_protocol.h"

static int send_packet(int reply, char type, const void *data, size_t len, int fd)
{
	char packet[1 + HELPER_PACKET_MAX];

	packet[0] = type;
	memcpy(packet + 1, data, len);
	ssize_t sent = pass_fds_send(reply, packet, 1 + len, &fd, 1, 0);
	secret_wipe(packet, 1 + len);
	return sent < 0 ? -1 : 0;
}

int helper_reply_output(int reply, const void *output, size_t len)
{
	return send_packet(reply, HELPER_OUTPUT, output, len, -1);
}

void helper_reply_done(int reply, const void *result, size_t len, int fd)
{
	send_packet(reply, HELPER_DONE, result, len, fd);
}

void helper_reply_error(int reply, const struct err *err)
{
	char text[1 + sizeof(err->msg)];
	size_t len = strlen(err->msg);

	text[0] = (char)err->kind;
	memcpy(text + 1, err->msg, len);
	send_packet(reply, HELPER_ERROR, text, 1 + len, -1);
}
