#include "keeper/channel.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/pass_fds.h"
#include "base/util.h"

/* A message on the wire. Only the part that is used is sent. */
struct packet {
	uint32_t type;
	union {
		struct channel_hello hello;
		struct channel_report report;
		char text[ERR_MSG_SIZE];
	};
};

#define PACKET_HEAD offsetof(struct packet, hello)

static int send_packet(int channel, const struct packet *packet, size_t size, const int *fds,
		       size_t n_fds)
{
	ssize_t sent = pass_fds_send(channel, packet, size, fds, n_fds, MSG_DONTWAIT);

	return sent == (ssize_t)size ? 0 : -1;
}

int channel_send(int channel, enum channel_type type, int fd)
{
	struct packet packet = { .type = type };

	return send_packet(channel, &packet, PACKET_HEAD, &fd, 1);
}

int channel_send_text(int channel, enum channel_type type, int fd, const char *text)
{
	struct packet packet = { .type = type };

	snprintf(packet.text, sizeof(packet.text), "%s", text);
	return send_packet(channel, &packet, PACKET_HEAD + strlen(packet.text) + 1, &fd, 1);
}

int channel_send_report(int channel, int fd, const struct channel_report *report)
{
	struct packet packet = { .type = CHANNEL_REPORT, .report = *report };

	return send_packet(channel, &packet, PACKET_HEAD + sizeof(*report), &fd, 1);
}

int channel_send_hello(int channel, const struct channel_hello *hello,
		       const int fds[CHANNEL_FDS_MAX])
{
	struct packet packet = { .type = CHANNEL_HELLO, .hello = *hello };

	return send_packet(channel, &packet, PACKET_HEAD + sizeof(*hello), fds, CHANNEL_FDS_MAX);
}

void channel_receive(int channel, enum channel_wait wait, struct channel_message *ret)
{
	struct packet packet = { .type = CHANNEL_END };

	*ret = (struct channel_message){ .type = CHANNEL_END };
	ssize_t got = pass_fds_receive(channel, &packet, sizeof(packet), ret->fds, CHANNEL_FDS_MAX,
				       wait == CHANNEL_WAITS ? 0 : MSG_DONTWAIT);
	if (got < 0 && errno == EAGAIN)
		ret->type = CHANNEL_NOTHING;
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
