#include "fetch/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "base/util.h"

#define LINKS_MAX     64  /* of further links, only addresses and routes are noticed */
#define PROLONGED_CS  200 /* an address that is this much older than the news is not new */
#define MESSAGES_SIZE 16384
#define GROUPS                                                                       \
	(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | \
	 RTMGRP_IPV6_ROUTE)

struct network {
	int fd; /* owned */
	size_t n_links;
	int links[LINKS_MAX]; /* indexes of the links that are known to be up */
};

DEFINE_CLEANUP(struct network, network_free)

/* Routes of a router change all the time: the kernel passes on default routes only. The filter
 * loads numbers as big-endian. */
static int filter(int fd, struct err *err)
{
	const unsigned type_at = offsetof(struct nlmsghdr, nlmsg_type);
	const unsigned length_at = NLMSG_HDRLEN + offsetof(struct rtmsg, rtm_dst_len);
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, type_at),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_DELROUTE), 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_NEWROUTE), 0, 3),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, length_at),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	const struct sock_fprog program = { ARRAY_SIZE(code), code };

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0)
		return err_errno(err, "network: filter");
	return 0;
}

int network_new(struct network **ret, struct err *err)
{
	const struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = GROUPS };
	_cleanup_(network_free_cleanup) struct network *network = calloc(1, sizeof(*network));

	if (!network)
		return err_set(err, ERR_INTERNAL, "network: out of memory");
	network->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (network->fd < 0)
		return err_errno(err, "network: netlink socket");
	if (filter(network->fd, err) < 0)
		return -1;
	if (bind(network->fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return err_errno(err, "network: bind");
	*ret = steal_ptr(&network);
	return 0;
}

void network_free(struct network *network)
{
	if (!network)
		return;
	close_cleanup(&network->fd);
	free(network);
}

int network_fd(const struct network *network)
{
	return network ? network->fd : -1;
}

/* The index in links of one that is known to be up, or n_links. */
static size_t find_link(const struct network *network, int index)
{
	size_t i = 0;

	while (i < network->n_links && network->links[i] != index)
		i++;
	return i;
}

/* The kernel may report a link again: it has appeared only if it was not up before. */
static bool link_has_come(struct network *network, const struct ifinfomsg *link, bool is_there)
{
	size_t at = find_link(network, link->ifi_index);
	bool was_up = at < network->n_links;
	bool is_up = is_there && (link->ifi_flags & IFF_RUNNING) &&
		     !(link->ifi_flags & IFF_LOOPBACK);

	if (was_up && !is_up)
		network->links[at] = network->links[--network->n_links];
	if (was_up || !is_up || network->n_links == LINKS_MAX)
		return false;
	network->links[network->n_links++] = link->ifi_index;
	return true;
}

static bool address_has_come(const struct nlmsghdr *header, const struct ifaddrmsg *address)
{
	int left = (int)IFA_PAYLOAD(header);

	/* A tentative address is reported again when it can be used. */
	if (address->ifa_scope == RT_SCOPE_HOST || (address->ifa_flags & IFA_F_TENTATIVE))
		return false;
	for (const struct rtattr *at = IFA_RTA(address); RTA_OK(at, left);
	     at = RTA_NEXT(at, left)) {
		struct ifa_cacheinfo times;

		if (at->rta_type != IFA_CACHEINFO || RTA_PAYLOAD(at) < sizeof(times))
			continue;
		memcpy(&times, RTA_DATA(at), sizeof(times));
		return times.tstamp - times.cstamp < PROLONGED_CS;
	}
	return true;
}

static bool message_says_so(struct network *network, const struct nlmsghdr *header)
{
	const void *data = NLMSG_DATA(header);
	size_t len = NLMSG_PAYLOAD(header, 0);

	switch (header->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		return len >= sizeof(struct ifinfomsg) &&
		       link_has_come(network, data, header->nlmsg_type == RTM_NEWLINK);
	case RTM_NEWADDR:
		return len >= sizeof(struct ifaddrmsg) && address_has_come(header, data);
	case RTM_NEWROUTE:
		return len >= sizeof(struct rtmsg) &&
		       ((const struct rtmsg *)data)->rtm_dst_len == 0;
	default:
		return false;
	}
}

bool network_has_come(struct network *network)
{
	_cleanup_free_ char *messages = malloc(MESSAGES_SIZE);
	bool has_come = false;

	if (!messages)
		return false;
	for (;;) {
		ssize_t got = recv(network->fd, messages, MESSAGES_SIZE, 0);
		if (got < 0 && errno == EINTR)
			continue;
		/* Messages were lost, and some may have been news. */
		if (got < 0 && errno == ENOBUFS) {
			has_come = true;
			continue;
		}
		if (got <= 0)
			return has_come;
		int left = (int)got;
		for (const struct nlmsghdr *header = (const void *)messages; NLMSG_OK(header, left);
		     header = NLMSG_NEXT(header, left))
			has_come |= message_says_so(network, header);
	}
}
