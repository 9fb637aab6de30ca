/* network, network_wake: news of a real kernel about links, addresses and routes, in a network
 * namespace; when the network is back, terms that were unreachable are updated soon. */
#include <poll.h>
#include <sched.h>

#include "fake_fetcher.h"

#include "base/log.h"
#include "fetch/network.h"
#include "fetch/refresher.h"
#include "http/http.h"

static void ip(const char *arguments)
{
	char command[160];

	snprintf(command, sizeof(command), "ip %s", arguments);
	if (system(command) != 0)
		printf("# failed: %s\n", command);
}

/* Reads until the kernel is quiet: whether anything has appeared. */
static bool has_come(struct network *network)
{
	struct pollfd pfd = { .fd = network_fd(network), .events = POLLIN };
	bool come = false;

	while (poll(&pfd, 1, 100) > 0)
		come |= network_has_come(network);
	return come;
}

static bool comes(struct network *network)
{
	struct pollfd pfd = { .fd = network_fd(network), .events = POLLIN };

	while (poll(&pfd, 1, 20000) > 0) {
		if (network_has_come(network))
			return true;
	}
	return false;
}

static void test_news(void)
{
	struct network *network = NULL;
	struct err err = ERR_INIT;

	/* Otherwise IPv6 addresses could appear at any time. */
	if (system("echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6") != 0)
		printf("# there is no IPv6\n");
	ok(network_new(&network, &err) == 0, "a netlink socket can be opened %s", err.msg);
	ip("link set lo up");
	ok(!has_come(network), "the loopback link is no news");
	ip("link add v0 type veth peer name v1");
	ip("link set v0 up");
	ok(!has_come(network), "a link whose other end is down is no news");
	ip("link set v1 up");
	ok(comes(network), "a link that comes up is news");
	has_come(network);
	ip("link set v0 alias here");
	ok(!has_come(network), "another property of a link is no news");
	ip("address add 10.77.0.1/24 dev v0");
	ok(comes(network), "an address is news");
	has_come(network);
	ip("route add 10.78.0.0/16 dev v0");
	ok(!has_come(network), "a route to a network is no news");
	ip("route add default via 10.77.0.2");
	ok(comes(network), "a default route is news");
	ip("route del default");
	ip("address del 10.77.0.1/24 dev v0");
	ok(!has_come(network), "removals are no news");
	ip("link set v1 down");
	ok(!has_come(network), "a link that goes down is no news");
	ip("link set v1 up");
	ok(comes(network), "a link that comes up again is news");

	ip("address add 10.77.0.1/24 dev v0 valid_lft 1000 preferred_lft 1000");
	ok(comes(network), "an address with a lifetime is news");
	sleep(3); /* its age is known in seconds */
	has_come(network);
	ip("address change 10.77.0.1/24 dev v0 valid_lft 2000 preferred_lft 2000");
	ok(!has_come(network), "a longer lifetime is no news");
	network_free(network);
	ip("link del v0");
}

static int64_t next_in_ms(struct term *term)
{
	struct term_status status;

	term_status(term, &status);
	term_status_release(&status);
	return status.next_check_at_ms - clock_wall_ms();
}

static enum update_outcome ask(struct refresher *refresher, size_t i)
{
	enum update_outcome outcome = UPDATE_CANCELED;
	uint64_t ticket = refresher_request(refresher, i);

	refresher_wait(refresher, i, ticket, INT64_MAX, &outcome);
	return outcome;
}

static atomic_uint idle_closed;

/* Instead of the HTTP engine's. */
void http_close_idle(struct http *http)
{
	(void)http;
	atomic_fetch_add(&idle_closed, 1);
}

/* 0: unreachable; 1: denied; 2: busy, with Retry-After. All are planned minutes away. */
static void test_asked_soon(void)
{
	struct temp_store temp = { .store = NULL };
	struct fake fakes[3] = { FAKE_INIT, FAKE_INIT, FAKE_INIT };
	struct source sources[3];
	struct term_config configs[3];
	struct term terms[3];
	struct refresher *refresher = NULL;
	struct cancel cancel;
	struct err err = ERR_INIT;
	static const char *const names[3] = { "a", "b", "c" };
	const char *tokens[3] = { NULL };
	uint64_t fingerprints[3] = { 0 };

	temp_store_open(&temp);
	for (size_t i = 0; i < 3; i++) {
		sources[i] = fake_source(&fake_ops, &fakes[i], i + 1);
		configs[i] = (struct term_config){ .name = (char *)names[i],
						   .sources = &sources[i],
						   .n_sources = 1,
						   .refresh_interval_ms = 3600000,
						   .attempt_timeout_ms = 600000,
						   .max_size_bytes = 100 };
		if (term_init(&terms[i], &configs[i], NULL, NULL, &err) < 0)
			abort();
	}
	atomic_store(&fakes[0].fails, ERR_UNREACHABLE);
	atomic_store(&fakes[1].fails, ERR_DENIED);
	atomic_store(&fakes[2].fails, ERR_BUSY);
	fakes[2].retry_after_ms = 600000;
	struct refresher_setup setup = {
		.terms = terms,
		.tokens = tokens,
		.fingerprints = fingerprints,
		.n_terms = 3,
		.env = { .store = temp.store,
			 .cancel = &cancel,
			 .publish = fake_publish,
			 .publish_arg = &temp },
	};
	if (cancel_init(&cancel, &err) < 0 || refresher_new(&refresher, &setup, &err) < 0 ||
	    refresher_start(refresher, &err) < 0)
		abort();
	refresher_wait_first(refresher, INT64_MAX);
	/* The back-off is random: repeat until it is long. */
	for (int i = 0; i < 1000 && next_in_ms(&terms[0]) < 60000; i++)
		ask(refresher, 0);
	ok(next_in_ms(&terms[0]) >= 60000, "the next update is far away");
	unsigned calls[3] = { fakes[0].calls, fakes[1].calls, fakes[2].calls };
	ip("link add v0 type veth peer name v1");
	ip("link set v0 up");
	ip("link set v1 up");
	ip("address add 10.77.0.1/24 dev v0");
	ok(wait_for(fakes[0].calls > calls[0]),
	   "an unreachable source is asked soon after an address appears");
	ok(atomic_load(&idle_closed) > 0, "kept connections are closed");
	ok(wait_for(next_in_ms(&terms[0]) <= 5000), "the back-off of that source begins again");
	is_int(fakes[1].calls, calls[1], "a source that denied access is not asked");
	is_int(fakes[2].calls, calls[2], "a source that sent Retry-After is not asked");

	/* The source was asked within 2 s of the news; the next news counts 5 s after that. */
	int64_t first_ms = fakes[0].asked_at_ms;
	for (int i = 0; i < 1000 && next_in_ms(&terms[0]) < 60000; i++)
		ask(refresher, 0);
	calls[0] = fakes[0].calls;
	for (int i = 0; i < 10; i++) {
		ip("link set v1 down");
		ip("link set v1 up");
	}
	ok(wait_for(fakes[0].calls > calls[0]), "the source is asked again when the link comes up");
	ok(fakes[0].asked_at_ms - first_ms >= 3000, "a link that flaps causes no request at once");
	atomic_store(&fakes[0].fails, ERR_NONE);
	is_int(ask(refresher, 0), UPDATE_UPDATED, "the source answers");
	cancel_request(&cancel);
	refresher_free(refresher);
	for (size_t i = 0; i < 3; i++)
		term_release(&terms[i]);
	cancel_release(&cancel);
	temp_store_remove(&temp);
}

int main(void)
{
	alarm(900);
	log_set_level(LOG_LEVEL_ERROR);
	if (unshare(CLONE_NEWNET) < 0) {
		printf("1..0 # SKIP a network namespace needs root\n");
		return 0;
	}
	test_news();
	test_asked_soon();
	return tap_done();
}
