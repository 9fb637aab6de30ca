/*
 * The control server, status and metrics, with the terms and fakes of control_fixture.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/control_socket.h"
#include "control_fixture.h"
#include "tap.h"

#define NOBODY	  65534
#define SOMEBODY  1234
#define SHARE	  10 /* connections of one user */
#define PATIENCE  100000
#define DEEP	  10000
#define MEGABYTE  (1024 * 1024)
#define HUNDRED_K (100 * 1024)

/* ---- clients ---- */

static char dir[64];
static char path[96];
static struct budget *budget; /* of guests */

static int dial(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval limit = { .tv_sec = PATIENCE / 1000 };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void send_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		data += n;
		len -= (size_t)n;
	}
}

/* Reads until the end. */
static char *read_all(int fd)
{
	char *text = NULL, chunk[4096];
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	for (ssize_t n; (n = recv(fd, chunk, sizeof(chunk), 0)) > 0;)
		fwrite(chunk, 1, (size_t)n, out);
	fclose(out);
	return text;
}

static char *exchange(const char *request, size_t len)
{
	_cleanup_close_ int fd = dial();

	send_all(fd, request, len);
	return read_all(fd);
}

static char *ask(const char *request)
{
	return exchange(request, strlen(request));
}

static bool holds(const char *text, const char *part)
{
	if (strstr(text, part))
		return true;
	printf("# no \"%s\" in: %.300s\n", part, text);
	return false;
}

static bool comes(atomic_int *value, int expected)
{
	for (int64_t end = clock_boot_ms() + PATIENCE; clock_boot_ms() < end; usleep(5000)) {
		if (atomic_load(value) == expected)
			return true;
	}
	return false;
}

/* In the end no thread waits for longer than a command takes to notice that its client hung up. */
static bool comes_to_rest(void)
{
	int64_t end_ms = clock_boot_ms() + PATIENCE;
	int seen;

	do {
		seen = 0;
		for (int i = 0; i < 300; i++, usleep(1000))
			seen += atomic_load(&waiters);
	} while (seen > 0 && clock_boot_ms() < end_ms);
	return seen == 0;
}

/* ---- tests ---- */

static void test_status(void)
{
	char next[CLOCK_RFC3339_SIZE];
	_cleanup_free_ char *text = NULL;
	struct err err = ERR_INIT;
	json_error_t problem;
	size_t len = 0;

	struct term_access all = access_of(0);

	is_int(status_render(&view, &all, &text, &len, &err), 0, "status is rendered");
	json_t *root = json_loadb(text, len, 0, &problem);
	ok(root, "as JSON: %s", problem.text);
	json_t *list = json_object_get(root, "terms");
	is_int(json_array_size(list), N_TERMS, "it has all terms");
	is_str(json_string_value(json_object_get(root, "mountpoint")), view.mountpoint,
	       "the mount point");

	json_t *term = json_array_get(list, 0);
	is_str(json_string_value(json_object_get(term, "state")), "fresh", "a fresh term");
	is_str(json_string_value(json_object_get(term, "version")), "v?",
	       "invalid UTF-8 is replaced");
	is_str(json_string_value(json_object_get(term, "source_version")), "W/\"7\"",
	       "its version token");
	is_int(json_integer_value(json_object_get(term, "id")), 100, "its snapshot's id");
	is_int(strlen(json_string_value(json_object_get(term, "sha256"))), 64, "its digest");
	ok(json_is_null(json_object_get(term, "last_error")), "no error");

	term = json_array_get(list, 1);
	is_str(json_string_value(json_object_get(term, "alias")), "flags", "an alias");
	is_str(json_string_value(json_object_get(term, "state")), "absent", "an absent term");
	ok(json_is_null(json_object_get(term, "size")), "has no size");

	term = json_array_get(list, 2);
	json_t *error = json_object_get(term, "last_error");
	is_str(json_string_value(json_object_get(error, "kind")), "unreachable", "an error's kind");
	is_str(json_string_value(json_object_get(error, "message")),
	       "GET https://b\xc3\xbc?: timed out", "and its message");
	is_str(json_string_value(json_object_get(term, "next_check_at")),
	       clock_rfc3339(clock_wall_at(next_check_ms), next), "and the next check");
	json_decref(root);
}

static void test_metrics(void)
{
	_cleanup_free_ char *text = NULL;
	struct err err = ERR_INIT;
	size_t len = 0;

	struct term_access all = access_of(OWNER);

	is_int(metrics_render(&view, &all, &text, &len, &err), 0, "metrics are rendered");
	ok(holds(text, "rptfs_term_info{term=\"t/0000.json\",version=\"v?\",state=\"fresh\","
		       "source=\"https://example.com/a\\\"b\\\\c\"} 1\n"),
	   "labels are escaped");
	ok(holds(text, "{term=\"flags\",version=\"\",state=\"absent\",source=\"\"} 1\n"),
	   "the label is the alias");
	ok(!strstr(text, "rptfs_term_age_seconds{term=\"flags\"}"), "an absent term has no age");
	ok(holds(text, "rptfs_term_age_seconds{term=\"t/0000.json\"} 5000"), "an age");
	ok(holds(text, "rptfs_term_failures{term=\"t/0002.json\"} 1\n"), "failures");
	ok(holds(text, "rptfs_updates_total{term=\"t/0002.json\",result=\"failed\"} 1\n"),
	   "updates");
	ok(holds(text, "rptfs_fuse_requests_total{op=\"read\"} 22\n"), "FUSE requests");
	ok(holds(text, "\nrptfs_snapshots 5\n") && holds(text, "\nrptfs_snapshot_bytes 6000\n"),
	   "the store");
	ok(holds(text, "_threads 7\n") && holds(text, "_http_requests_total 33\n"), "counters");
	ok(holds(text, "\nrptfs_start_time_seconds 1369353600.250\n"), "the start");
}

/* What only root may read is unknown to others. */
static void test_private(void)
{
	struct term_access access = access_of(NOBODY);
	_cleanup_free_ char *status = NULL, *metrics = NULL;
	struct err err = ERR_INIT;
	size_t len;

	is_int(status_render(&view, &access, &status, &len, &err), 0, "status for others");
	json_t *root = json_loads(status, 0, NULL);
	is_int(json_array_size(json_object_get(root, "terms")), N_TERMS - 1,
	       "has the terms that they may read");
	json_decref(root);
	ok(!strstr(status, names[SECRET]), "and no other");
	is_int(metrics_render(&view, &access, &metrics, &len, &err), 0, "metrics for others");
	ok(holds(metrics, names[0]) && !strstr(metrics, names[SECRET]), "the same");
}

static void test_requests(void)
{
	_cleanup_free_ char *all = ask("{\"command\":\"status\"}\n");
	_cleanup_free_ char *two = ask(
		"{\"command\":\"status\",\"terms\":[\"flags\",\"t/0000.json\"]}\n");
	_cleanup_free_ char *near = ask("{\"command\":\"status\",\"terms\":[\"t/0O01.json\"]}\n");
	_cleanup_free_ char *far = ask("{\"command\":\"status\",\"terms\":[\"zz\"]}\n");
	_cleanup_free_ char *misspelt = ask("{\"command\":\"status\",\"term\":[\"zz\"]}\n");
	_cleanup_free_ char *mistyped = ask("{\"command\":\"status\",\"terms\":[1]}\n");
	_cleanup_free_ char *unknown = ask("{\"command\":\"halt\"}\n");
	_cleanup_free_ char *array = ask("[]\n");

	json_t *root = json_loads(all, 0, NULL);
	is_int(json_array_size(json_object_get(root, "terms")), N_TERMS, "status of all");
	ok(strchr(all, '\n') == all + strlen(all) - 1, "it is one line");
	json_decref(root);
	root = json_loads(two, 0, NULL);
	json_t *list = json_object_get(root, "terms");
	is_int(json_array_size(list), 2, "status of two");
	is_str(json_string_value(json_object_get(json_array_get(list, 0), "name")), "t/0001.json",
	       "in the order of the request; aliases work");
	json_decref(root);
	ok(holds(near, "\"kind\":\"not_found\"") && holds(near, "did you mean \\\"t/0001.json"),
	   "an unknown term: the nearest name is suggested");
	ok(holds(far, "there is no term \\\"zz\\\"\""), "or none is suggested");
	ok(holds(misspelt, "\"kind\":\"bad_data\""), "unknown members are refused");
	ok(holds(mistyped, "array of strings"), "terms must be strings");
	ok(holds(unknown, "there is no command \\\"halt\\\""), "an unknown command");
	ok(holds(array, "no \\\"command\\\""), "a request that is not an object");
}

static void test_garbage(void)
{
	_cleanup_free_ char *large = malloc(3 * MEGABYTE);
	_cleanup_free_ char *deep = malloc(DEEP + 1);

	memset(large, 'x', 3 * MEGABYTE);
	memset(deep, '[', DEEP);
	deep[DEEP] = '\n';
	_cleanup_free_ char *too_large = exchange(large, 3 * MEGABYTE);
	_cleanup_free_ char *too_deep = exchange(deep, DEEP + 1);
	_cleanup_free_ char *garbage = exchange("\xff{\0\n", 4);

	ok(holds(too_large, "longer than 1048576 bytes"), "a line that is too long");
	ok(holds(too_deep, "\"kind\":\"bad_data\""), "deep nesting");
	ok(holds(garbage, "\"kind\":\"bad_data\""), "garbage");

	_cleanup_close_ int half = dial();
	send_all(half, "{\"comm", 7);
	shutdown(half, SHUT_WR);
	_cleanup_free_ char *cut = read_all(half);
	ok(holds(cut, "without an end of line"), "an incomplete request");
}

static void test_refresh(void)
{
	atomic_store(&requests, 0);
	_cleanup_free_ char *taken = ask("{\"command\":\"refresh\",\"terms\":[\"flags\"]}\n");
	is_str(taken, "{\"requested\":1}\n", "refresh returns once the update is requested");
	is_int(atomic_load(&requests), 1, "one update is requested");
	is_int(atomic_load(&forced), 0, "which is not forced");
	_cleanup_free_ char *force = ask(
		"{\"command\":\"refresh\",\"terms\":[\"flags\"],\"force\":true}\n");
	is_str(force, "{\"requested\":1}\n", "it can be forced");
	is_int(atomic_load(&forced), 1, "and then is");

	_cleanup_free_ char *some = ask("{\"command\":\"refresh\",\"wait\":true,\"terms\":"
					"[\"t/0000.json\",\"t/0001.json\",\"t/0002.json\"]}\n");
	is_str(some,
	       "{\"requested\":3}\n"
	       "{\"name\":\"t/0000.json\",\"outcome\":\"updated\",\"version\":\"v?\","
	       "\"last_error\":null}\n"
	       "{\"name\":\"t/0001.json\",\"outcome\":\"unchanged\",\"version\":null,"
	       "\"last_error\":null}\n"
	       "{\"name\":\"t/0002.json\",\"outcome\":\"failed\",\"version\":\"v?\","
	       "\"last_error\":{\"kind\":\"unreachable\",\"message\":"
	       "\"GET https://b\xc3\xbc?: timed out\"}}\n",
	       "with wait, one line per term");

	atomic_store(&requests, 0);
	_cleanup_free_ char *all = ask("{\"command\":\"refresh\",\"wait\":true}\n");
	is_int(atomic_load(&requests), N_TERMS, "an update of each term is requested");
	ok(holds(all, "\"t/2999.json\""), "the last term is reported");
}

static void test_vanishing(void)
{
	static const char request[] = "{\"command\":\"refresh\",\"wait\":true}\n";

	atomic_store(&hangs, true);
	int fd = dial();
	send_all(fd, request, strlen(request));
	ok(comes(&waiters, 1), "a client waits for a hanging source");
	shutdown(fd, SHUT_WR);
	usleep(600 * 1000);
	ok(comes(&waiters, 1), "a client that closed its sending side still waits");
	close(fd);
	ok(comes_to_rest(), "a client that hung up does not");
	atomic_store(&hangs, false);
}

static void leave(int *fds, int n)
{
	for (int i = 0; i < n; i++)
		close(fds[i]);
}

/* Opens n connections, and returns how many of them are refused. Waits for `expected` refusals. The
 * connections stay open. */
static int crowd_once(int *fds, int n, int expected, int64_t end_ms)
{
	int busy;

	for (int i = 0; i < n; i++) {
		fds[i] = dial();
		send_all(fds[i], "{", 1);
	}
	do {
		usleep(50 * 1000);
		busy = 0;
		for (int i = 0; i < n; i++) {
			struct pollfd fd = { .fd = fds[i], .events = POLLIN };

			busy += poll(&fd, 1, 0) > 0;
		}
	} while (busy < expected && clock_boot_ms() < end_ms);
	return busy;
}

/* Connections count until the server has noticed their end. */
static int crowd(int *fds, int n, int expected)
{
	int64_t end_ms = clock_boot_ms() + PATIENCE;
	int busy;

	while ((busy = crowd_once(fds, n, expected, end_ms)) > expected && clock_boot_ms() < end_ms)
		leave(fds, n);
	return busy;
}

/* Requests are answered again. */
static bool recovers(void)
{
	for (int64_t end = clock_boot_ms() + PATIENCE; clock_boot_ms() < end; usleep(5000)) {
		_cleanup_free_ char *text = ask("{\"command\":\"status\",\"terms\":[]}\n");

		if (strstr(text, "\"terms\":[]"))
			return true;
	}
	return false;
}

static void test_crowd(void)
{
	int fds[70];

	is_int(crowd(fds, 70, 6), 6, "6 of 70 connections are refused");
	_cleanup_free_ char *answer = read_all(fds[69]);
	ok(holds(answer, "\"kind\":\"busy\""), "with the kind busy");
	leave(fds, 70);
	ok(recovers(), "afterwards connections are accepted again");
}

static void test_slow(void)
{
	static const char request[] = "{\"command\":\"status\"}\n";
	_cleanup_close_ int silent = dial();
	_cleanup_close_ int deaf = dial();
	int64_t began_ms = clock_boot_ms();

	send_all(silent, "{\"command\"", 10);
	send_all(deaf, request, strlen(request));
	_cleanup_free_ char *answer = read_all(silent);
	int64_t took_ms = clock_boot_ms() - began_ms;
	ok(holds(answer, "no complete request within 5 s"), "a slow request fails");
	ok(took_ms > 4000, "after 5 s (%" PRId64 " ms)", took_ms);

	/* The answer does not fit into the socket's buffer, so its end is missing. */
	struct pollfd closed = { .fd = deaf, .events = 0 };
	poll(&closed, 1, PATIENCE);
	_cleanup_free_ char *part = read_all(deaf);
	json_t *root = json_loads(part, 0, NULL);
	ok(*part && !root, "a client that does not read is disconnected");
	json_decref(root);
}

/* Runs a check as another user, in a child process. Returns its result. */
static int as_nobody(int (*see)(void))
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0)
		_exit(setgroups(0, NULL) < 0 || setgid(NOBODY) < 0 || setuid(NOBODY) < 0 ? 99
											 : see());
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int see_status(void)
{
	char *text = ask("{\"command\":\"status\",\"terms\":[\"flags\"]}\n");

	return strstr(text, "\"alias\":\"flags\"") == NULL;
}

static int see_no_secret(void)
{
	char *all = ask("{\"command\":\"status\"}\n");
	char *secret = ask("{\"command\":\"status\",\"terms\":[\"t/0003.json\"]}\n");
	char *nothing = ask("{\"command\":\"status\",\"terms\":[\"t/O003.json\"]}\n");

	return strstr(all, "t/0003.json") ||
	       !holds(secret, "there is no term \\\"t/0003.json\\\" that you may read") ||
	       !holds(nothing, "that you may read") || strstr(nothing, "t/0003.json");
}

static int see_refresh(void)
{
	char *text = ask("{\"command\":\"refresh\"}\n");

	return !holds(text, "\"kind\":\"denied\"") || !holds(text, "(uid 12345)");
}

static int see_limit(void)
{
	static char large[HUNDRED_K];

	memset(large, 'x', sizeof(large));
	return !holds(exchange(large, sizeof(large)), "longer than 65536 bytes");
}

static atomic_int *greedy_refused; /* in shared memory */

static int see_crowd(void)
{
	int fds[70];

	return crowd(fds, 70, 70 - SHARE);
}

/* Another user holds as many connections as it gets, until the parent closes the pipe. */
static pid_t start_greedy(int pipe[2])
{
	pid_t pid = fork();
	int fds[70];
	char c;

	if (pid != 0)
		return pid;
	close(pipe[1]);
	if (setuid(SOMEBODY) < 0)
		_exit(99);
	int refused = crowd(fds, 70, 70 - SHARE);
	atomic_store(greedy_refused, refused);
	while (read(pipe[0], &c, 1) < 0 && errno == EINTR)
		;
	_exit(0);
}

/* One user cannot take the connections of all others. */
static void test_shares(void)
{
	int pipe_fds[2], status;

	greedy_refused = mmap(NULL, sizeof(*greedy_refused), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (greedy_refused == MAP_FAILED || pipe2(pipe_fds, O_CLOEXEC) < 0)
		abort();
	pid_t greedy = start_greedy(pipe_fds);
	ok(comes(greedy_refused, 70 - SHARE), "a user gets its share of the connections");
	is_int(as_nobody(see_status), 0, "and another user is still answered");
	close(pipe_fds[1]);
	waitpid(greedy, &status, 0);
	close(pipe_fds[0]);
	munmap(greedy_refused, sizeof(*greedy_refused));
}

static void test_peers(void)
{
	if (geteuid() != 0) {
		ok(true, "peers # SKIP not root");
		return;
	}
	atomic_store(&requests, 0);
	is_int(as_nobody(see_status), 0, "other users may read the status");
	is_int(as_nobody(see_refresh), 0, "they may not refresh");
	is_int(atomic_load(&requests), 0, "no update was requested");
	is_int(as_nobody(see_limit), 0, "their requests are limited");
	is_int(as_nobody(see_no_secret), 0, "they see no term that they may not read");
	is_int(as_nobody(see_crowd), 70 - SHARE, "so are their connections");
	ok(recovers(), "afterwards connections are accepted again");
	test_shares();
	ok(recovers(), "afterwards connections are accepted again");
}

static int start_server(struct control **ret, int listener, bool allow_other)
{
	struct err err = ERR_INIT;
	const struct control_setup setup = {
		.view = &view,
		.listener = listener,
		.allow_other = allow_other,
		.budget = budget,
		.cancel = &fake_cancel,
	};

	return control_new(ret, &setup, &err);
}

static void stop_server(struct control *control)
{
	struct err err = ERR_INIT;

	cancel_request(&fake_cancel);
	control_free(control);
	cancel_release(&fake_cancel);
	if (cancel_init(&fake_cancel, &err) < 0)
		abort();
}

static int see_closed(void)
{
	return !holds(ask("{\"command\":\"status\"}\n"), "allow_other");
}

/* Without allow_other. */
static void test_closed(void)
{
	struct err err = ERR_INIT;
	struct control *control = NULL;
	struct stat st;
	_cleanup_close_ int listener = control_socket_listen(path, false, &err);

	ok(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600,
	   "without allow_other only the owner can connect");
	is_int(start_server(&control, listener, false), 0, "the server starts");
	if (geteuid() == 0 && chmod(path, 0666) == 0)
		is_int(as_nobody(see_closed), 0, "it refuses others that an older socket lets in");
	_cleanup_free_ char *own = ask("{\"command\":\"status\",\"terms\":[]}\n");
	ok(holds(own, "\"terms\":[]"), "and answers the owner");
	stop_server(control);
}

static void test_socket(struct control **ret, int *ret_listener)
{
	struct err err = ERR_INIT;
	struct stat st;
	char other[128];

	umask(077);
	*ret_listener = control_socket_listen(path, true, &err);
	ok(*ret_listener >= 0, "the socket listens");
	ok(stat(path, &st) == 0 && S_ISSOCK(st.st_mode) && (st.st_mode & 0777) == 0666,
	   "all users can connect");
	snprintf(other, sizeof(other), "%s.new", path);
	ok(stat(other, &st) < 0 && errno == ENOENT, "no temporary name is left");
	is_int(start_server(ret, *ret_listener, true), 0, "the server starts");

	char too_long[256] = "/tmp/";
	memset(too_long + 5, 'x', sizeof(too_long) - 6);
	is_int(control_socket_listen(too_long, true, &err), -1, "a path that is too long");
	ok(err.kind == ERR_CONFIG, "is a CONFIG error: %.40s…", err.msg);
}

/* A client that connects while there is no server is answered by the next one. */
static void test_successor(struct control *first, int listener)
{
	struct control *second = NULL;
	struct err err = ERR_INIT;
	static const char waiting[] = "{\"command\":\"refresh\",\"wait\":true}\n";
	static const char asking[] = "{\"command\":\"status\",\"terms\":[\"flags\"]}\n";
	int idle[10];

	crowd(idle, 10, 0);
	atomic_store(&hangs, true);
	_cleanup_close_ int fd = dial();
	send_all(fd, waiting, strlen(waiting));
	ok(comes(&waiters, 1), "a client waits");

	cancel_request(&fake_cancel);
	control_free(first);
	_cleanup_free_ char *reply = read_all(fd);
	ok(holds(reply, "\"kind\":\"canceled\""), "the waiting client gets an answer");
	leave(idle, 10);

	_cleanup_close_ int early = dial();
	send_all(early, asking, strlen(asking));
	cancel_release(&fake_cancel);
	if (cancel_init(&fake_cancel, &err) < 0)
		abort();
	is_int(start_server(&second, listener, true), 0, "the next server starts");
	_cleanup_free_ char *answer = read_all(early);
	ok(holds(answer, "\"alias\":\"flags\""), "it answers the client that connected before");
	cancel_request(&fake_cancel);
	control_free(second);
}

/* ---- upgrade ---- */

static atomic_int taken = -1; /* the connection that was handed over */

static int take_upgrade(void *arg, int connection, struct err *err)
{
	if (arg)
		return err_set(err, ERR_INTERNAL, "no keeper");
	taken = connection;
	return 0;
}

static void test_upgrade(void)
{
	static const char request[] = "{\"command\":\"upgrade\"}\n";
	_cleanup_close_ int fd = dial();
	_cleanup_close_ int other = -1;

	send_all(fd, request, strlen(request));
	_cleanup_free_ char *none = read_all(fd);
	ok(holds(none, "no keeper"), "an upgrade that cannot be started is refused");

	view.upgrade_arg = NULL;
	other = dial();
	send_all(other, request, strlen(request));
	while (taken < 0)
		usleep(1000);
	control_report_upgrade(taken, &view, "0.0.9 (old)");
	close(taken);
	_cleanup_free_ char *done = read_all(other);
	ok(holds(done, "\"previous\":\"0.0.9 (old)\"") &&
		   holds(done, "\"keeper\":{\"version\":\"0.0.8 (k)\",\"pid\":17}"),
	   "control_report_upgrade() answers: %s", done);

	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		abort();
	control_refuse(pair[0], ERR_DENIED, "the \"new\" one\ndoes not start");
	close(pair[0]);
	_cleanup_free_ char *no = read_all(pair[1]);
	ok(holds(no, "{\"error\":{\"kind\":\"denied\",\"message\":\"the \\\"new\\\" one?does not "
		     "start\"}}"),
	   "control_refuse() answers: %s", no);
	close(pair[1]);
}

int main(void)
{
	struct control *control = NULL;
	struct err err = ERR_INIT;
	int listener = -1;

	view.keeper_version = "0.0.8 (k)";
	view.keeper = 17;
	view.upgrade = take_upgrade;
	view.upgrade_arg = &view;
	snprintf(dir, sizeof(dir), "/tmp/rptfs-control-XXXXXX");
	if (!mkdtemp(dir) || chmod(dir, 0755) < 0 || cancel_init(&fake_cancel, &err) < 0)
		return 1;
	snprintf(path, sizeof(path), "%s/c.sock", dir);
	make_terms();
	if (budget_new(&budget, SHARE * 4 * MEGABYTE, SHARE * MEGABYTE, &err) < 0)
		return 1;
	test_status();
	test_metrics();
	test_private();
	test_closed();
	test_socket(&control, &listener);
	test_requests();
	test_garbage();
	test_refresh();
	test_vanishing();
	test_crowd();
	test_slow();
	test_peers();
	test_upgrade();
	test_successor(control, listener);

	free_terms();
	budget_free(budget);
	cancel_release(&fake_cancel);
	close(listener);
	unlink(path);
	ok(rmdir(dir) == 0, "no file is left");
	return tap_done();
}
