/* helper: client and helper, with a keeper that the test plays, and a compromised worker. */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/cancel.h"
#include "base/clock.h"
#include "base/pass_fds.h"
#include "base/util.h"
#include "helper/helper.h"
#include "helper/helper_protocol.h"
#include "helper/run_program.h"
#include "keeper/channel.h"
#include "make_options.h"
#include "tap.h"
#include "worker/helper_client.h"

#define HELPER_SOCKET (STDERR_FILENO + 1)

static struct cancel cancel;
static const char *command;
static int channel[2];
static pid_t pids[HELPER_ROLES]; /* 0: none */

/* As is_configured of struct helper_program. */
static bool is_configured(void)
{
	return command != NULL;
}

/* As find of struct helper_program. */
static int find_command(const char *file, const char *entry, char **ret, struct err *err)
{
	if (strcmp(entry, "unknown") == 0)
		return err_set(err, ERR_DENIED, "there is no such entry");
	if (asprintf(ret, "%s %s %s", command, file ? file : "none", entry) < 0)
		abort();
	return 0;
}

/* ---- the configuration: one term with one file, "dir/named" ---- */

static char dir[] = "/tmp/rptfs-unit-XXXXXX";

struct test_options {
	const char *path, *unset, *text;
};

static const struct option_spec rows[] = {
	{ .name = "path",
	  .type = OPTION_STRING,
	  OPTION_FIELD(test_options, path),
	  .names_file = true },
	{ .name = "unset",
	  .type = OPTION_STRING,
	  OPTION_FIELD(test_options, unset),
	  .names_file = true },
	{ .name = "text", .type = OPTION_STRING, OPTION_FIELD(test_options, text) },
	{ .name = NULL },
};
static const struct option_table table = OPTION_TABLE(rows, test_options);

static struct options *options;
static struct source source;
static struct term_config term = { .name = "t", .sources = &source, .n_sources = 1 };

static const char *at(const char *name)
{
	static char paths[4][128];
	static unsigned next;
	char *path = paths[next++ % ARRAY_SIZE(paths)];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

/* As names_file of struct helper_uses: "dir/extra". */
static bool names_file(const char *path)
{
	size_t len = strlen(dir);

	return strncmp(path, dir, len) == 0 && strcmp(path + len, "/extra") == 0;
}

static const struct helper_program programs[] = {
	{ .name = "test", .is_configured = is_configured, .find = find_command },
	{ .name = NULL },
};
static const struct helper_uses uses = { .programs = programs, .names_file = names_file };
static const struct source_type type = { .name = "test", .options = &table, .helper = &uses };
static const struct source_type *const types[] = { &type, NULL };
static const struct config config = { .terms = &term, .n_terms = 1 };

static void write_file(const char *name, const char *text)
{
	_cleanup_fclose_ FILE *file = fopen(at(name), "we");

	if (!file || fputs(text, file) < 0)
		abort();
}

static void set_options(void)
{
	struct err err = ERR_INIT;

	options = options_make(&table);
	source.type = &type;
	source.options = options->values;
	if (options_set(options, "path", at("named"), &err) < 0 ||
	    options_set(options, "text", at("mentioned"), &err) < 0)
		abort();
}

static void make_config(void)
{
	if (!mkdtemp(dir))
		abort();
	set_options();
	write_file("named", "content");
	write_file("mentioned", "secret");
	write_file("other", "secret");
	write_file("extra", "extra content");
}

static void drop_config(void)
{
	static const char *const names[] = { "named", "mentioned", "other", "extra", "link" };

	options_free(options);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		unlink(at(names[i]));
	rmdir(dir);
}

/* What the worker does: asks for a helper. */
static int ask_keeper(void *arg, enum helper_role role, int socket)
{
	(void)arg;
	return channel_send(channel[1], role == HELPER_EXECUTOR ? CHANNEL_EXECUTOR : CHANNEL_HELPER,
			    socket);
}

/* What the keeper does: starts it. */
static void start_helper(void)
{
	_cleanup_(channel_message_release) struct channel_message message;

	channel_receive(channel[0], CHANNEL_WAITS, &message);
	bool is_executor = message.type == CHANNEL_EXECUTOR;
	if ((!is_executor && message.type != CHANNEL_HELPER) || message.fds[0] < 0)
		abort();
	pid_t pid = fork();
	pids[is_executor ? HELPER_EXECUTOR : HELPER_OPENER] = pid;
	if (pid == 0) {
		dup2(message.fds[0], HELPER_SOCKET);
		execl("/proc/self/exe", "unit-helper", dir, command,
		      is_executor ? "executor" : "opener", NULL);
		_exit(1);
	}
}

/* Arguments: the directory of the configured file, the command, and the role. */
static int be_helper(char **argv)
{
	struct helper_setup setup = {
		.role = strcmp(argv[3], "executor") == 0 ? HELPER_EXECUTOR : HELPER_OPENER,
		.socket = HELPER_SOCKET,
		.config = &config,
		.types = types,
	};
	struct err err = ERR_INIT;

	fcntl(setup.socket, F_SETFD, FD_CLOEXEC);
	snprintf(dir, sizeof(dir), "%s", argv[1]);
	command = argv[2];
	set_options();
	if (helper_begin(&setup, &err) < 0)
		return 1;
	return helper_serve(&setup);
}

/* ---- splitting ---- */

static void test_split(void)
{
	static const struct {
		const char *command;
		const char *words[5];
	} good[] = {
		{ "a", { "a" } },
		{ " a\tb  c ", { "a", "b", "c" } },
		{ "\"/a b/c\" d", { "/a b/c", "d" } },
		{ "a'b c'\"d e\"f", { "ab cd ef" } },
		{ "a '' \"\"", { "a", "", "" } },
		{ "a\\ b \\\"", { "a b", "\"" } },
		{ "\"a\\b\\\"c\" '\\'", { "a\\b\"c", "\\" } },
		{ "a $HOME ~ `b` *", { "a", "$HOME", "~", "`b`", "*" } },
	};
	static const char *const bad[] = { "", "  ", "a \"b", "a 'b", "a\\" };
	struct err err = ERR_INIT;
	char **words = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		bool is_same = run_program_split(good[i].command, &words, &err) == 0;
		size_t n = 0;
		for (; is_same && n < 5 && good[i].words[n]; n++)
			is_same = words[n] && strcmp(words[n], good[i].words[n]) == 0;
		ok(is_same && !words[n], "%s", good[i].command);
		free(words);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ok(run_program_split(bad[i], &words, &err) < 0 && err.kind == ERR_DENIED,
		   "\"%s\": %s", bad[i], err.msg);
}

/* ---- running ---- */

static char output[HELPER_OUTPUT_MAX + 1];
static struct err failure;

static int run(struct helper *helper, const char *name, const char *file, const char *entry)
{
	size_t len = 0;

	failure = (struct err)ERR_INIT;
	int rc = helper->run_program(helper, &cancel, name, file, entry, output, &len, &failure);
	output[rc == 0 ? len : 0] = '\0';
	return rc;
}

static int ask(struct helper *helper, const char *file, const char *entry)
{
	return run(helper, "test", file, entry);
}

struct asker {
	struct helper *helper;
	pthread_t thread;
	int rc;
	struct err err;
	char output[HELPER_OUTPUT_MAX];
};

static void *ask_aside(void *arg)
{
	struct asker *asker = arg;
	size_t len;

	asker->rc = asker->helper->run_program(asker->helper, &cancel, "test", NULL, "p",
					       asker->output, &len, &asker->err);
	return NULL;
}

static void *keep(void *arg)
{
	(void)arg;
	start_helper();
	return NULL;
}

static bool is_gone(pid_t pid)
{
	int64_t deadline = clock_boot_ms() + 5000;

	while (kill(pid, 0) == 0 && clock_boot_ms() < deadline)
		poll(NULL, 0, 5);
	return kill(pid, 0) < 0;
}

static void test_run(struct helper *helper)
{
	pthread_t keeper;

	pthread_create(&keeper, NULL, keep, NULL);
	is_int(ask(helper, NULL, "p"), 0, "a program is run: %s", failure.msg);
	pthread_join(keeper, NULL);
	is_str(output, "none p\n", "the output is returned");
	is_int(ask(helper, "/a/b", "q r"), 0, "the same helper runs another program");
	is_str(output, "/a/b q r\n", "the output is returned");
	ok(ask(helper, NULL, "unknown") < 0 && failure.kind == ERR_DENIED,
	   "an unknown entry is refused");
	is_str(failure.msg, "there is no such entry", "the message has the reason");
	ok(run(helper, "other", NULL, "p") < 0 && failure.kind == ERR_DENIED,
	   "an unknown program is refused: %s", failure.msg);
}

static void restart(struct helper **helper, const char *new_command)
{
	struct err err = ERR_INIT;
	pthread_t keeper;

	helper_client_free(*helper);
	for (size_t i = 0; i < ARRAY_SIZE(pids); i++) {
		if (pids[i])
			waitpid(pids[i], NULL, 0);
		pids[i] = 0;
	}
	command = new_command;
	if (helper_client_new(helper, ask_keeper, NULL, &cancel, &err) < 0)
		abort();
	pthread_create(&keeper, NULL, keep, NULL);
	ask(*helper, NULL, "unknown");
	pthread_join(keeper, NULL);
}

static void test_failures(struct helper **helper)
{
	restart(helper, "sh -c 'echo said; exit 3'");
	ok(ask(*helper, NULL, "p") < 0 && failure.kind == ERR_DENIED,
	   "a failing program is an error: %s", failure.msg);
	ok(strstr(failure.msg, "exit code 3") && !strstr(failure.msg, "said"),
	   "the message has its exit code, but not its output");
	restart(helper, "/nowhere/at-all");
	ok(ask(*helper, NULL, "p") < 0 && strstr(failure.msg, "executed"),
	   "a program that does not exist is an error: %s", failure.msg);
	restart(helper, "head -c 70000 /dev/zero #");
	ok(ask(*helper, NULL, "p") < 0 && failure.kind == ERR_DENIED,
	   "too much output is an error: %s", failure.msg);
	restart(helper, "sh -c 'kill -9 $$'");
	ok(ask(*helper, NULL, "p") < 0 && strstr(failure.msg, "signal 9"),
	   "a program that is killed is an error: %s", failure.msg);
	restart(helper, "sh -c 'head -c 65536 /dev/zero'");
	is_int(ask(*helper, NULL, "p"), 0, "the largest output is accepted: %s", failure.msg);
	restart(helper, "sh -c 'cat; ls /proc/self/fd | tr \"\\n\" ,'");
	is_int(ask(*helper, NULL, "p"), 0, "standard input is empty: %s", failure.msg);
	is_str(output, "0,1,2,3,",
	       "the program inherits no descriptors (3 is the directory of ls)");
}

/* The client replaces a dead helper, and fails if it gets none. */
static void test_death(struct helper **helper)
{
	pthread_t keeper;

	restart(helper, "echo");
	kill(pids[HELPER_EXECUTOR], SIGKILL);
	waitpid(pids[HELPER_EXECUTOR], NULL, 0);
	pthread_create(&keeper, NULL, keep, NULL);
	is_int(ask(*helper, NULL, "p"), 0, "a new helper is started: %s", failure.msg);
	pthread_join(keeper, NULL);
	kill(pids[HELPER_EXECUTOR], SIGKILL);
	waitpid(pids[HELPER_EXECUTOR], NULL, 0);
	pids[HELPER_EXECUTOR] = 0;

	struct asker asker = { .helper = *helper, .err = ERR_INIT };
	pthread_create(&asker.thread, NULL, ask_aside, &asker);
	struct channel_message unwanted;
	channel_receive(channel[0], CHANNEL_WAITS, &unwanted);
	channel_message_release(&unwanted);
	pthread_join(asker.thread, NULL);
	ok(asker.rc < 0 && asker.err.kind == ERR_UNREACHABLE, "no helper is started: %s",
	   asker.err.msg);
}

/* ---- files ---- */

static bool holds(int fd, const char *text)
{
	char content[64] = "";

	return fd >= 0 && read(fd, content, sizeof(content) - 1) >= 0 && strcmp(content, text) == 0;
}

static bool is_refused(struct helper *helper, const char *path)
{
	struct err err = ERR_INIT;
	struct stat st;
	_cleanup_close_ int fd = helper->open_file(helper, path, &err);

	bool is_closed = fd < 0 && err.kind == ERR_DENIED && strstr(err.msg, "does not name");
	err = (struct err)ERR_INIT;
	return is_closed && helper->look(helper, path, true, &st, &err) < 0 &&
	       err.kind == ERR_DENIED && helper->look(helper, path, false, &st, &err) < 0 &&
	       helper->find_socket(helper, path, &err) < 0 && err.kind == ERR_DENIED;
}

static void test_open(struct helper *helper)
{
	struct err err = ERR_INIT;
	pthread_t keeper;

	pthread_create(&keeper, NULL, keep, NULL);
	_cleanup_close_ int fd = helper->open_file(helper, at("named"), &err);
	pthread_join(keeper, NULL);
	_cleanup_close_ int extra = helper->open_file(helper, at("extra"), &err);

	ok(holds(fd, "content"), "a configured file is opened: %s", err.msg);
	ok(write(fd, "x", 1) < 0 && errno == EBADF, "it is open only for reading");
	is_int(fcntl(fd, F_GETFD), FD_CLOEXEC, "it is close-on-exec");
	ok(holds(extra, "extra content"), "a file that names_file accepts is opened: %s", err.msg);
	ok(is_refused(helper, at("mentioned")), "a path in another kind of option is refused");
	ok(is_refused(helper, at("other")) && is_refused(helper, "/etc/passwd"),
	   "other files are refused");
	ok(is_refused(helper, "") && is_refused(helper, dir), "the directory is refused");
	ok(is_refused(helper, at("./named")) && is_refused(helper, at("named/")) &&
		   is_refused(helper, at("named/../other")),
	   "other spellings of a path are refused");
}

static void make_socket(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	ok(bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0, "a socket");
}

static void test_sockets(struct helper *helper)
{
	struct err err = ERR_INIT;

	ok(helper->find_socket(helper, at("named"), &err) < 0 && err.kind == ERR_BAD_DATA,
	   "a file is no socket: %s", err.msg);
	make_socket(at("unnamed"));
	ok(helper->find_socket(helper, at("unnamed"), &err) < 0 && err.kind == ERR_DENIED,
	   "another socket is refused: %s", err.msg);
	rename(at("named"), at("aside"));
	rename(at("unnamed"), at("named"));
	_cleanup_close_ int fd = helper->find_socket(helper, at("named"), &err);
	ok(fd >= 0 && (fcntl(fd, F_GETFL) & O_PATH), "a configured socket is found: %s", err.msg);
	ok(helper->open_file(helper, at("named"), &err) < 0 && err.kind == ERR_BAD_DATA,
	   "it is not opened like a file: %s", err.msg);
	unlink(at("named"));
	rename(at("aside"), at("named"));
}

/* The configured path leads to something else. */
static void test_other_things(struct helper *helper)
{
	struct err err = ERR_INIT;
	struct stat st;

	rename(at("named"), at("aside"));
	ok(helper->open_file(helper, at("named"), &err) < 0 && err.kind == ERR_NOT_FOUND,
	   "a missing file is not found: %s", err.msg);
	mkdir(at("named"), 0700);
	ok(helper->open_file(helper, at("named"), &err) < 0 && err.kind == ERR_BAD_DATA,
	   "a directory is not opened: %s", err.msg);
	rmdir(at("named"));
	is_int(symlink("/dev/zero", at("named")), 0, "the name is a link to a device");
	ok(helper->open_file(helper, at("named"), &err) < 0 && err.kind == ERR_BAD_DATA,
	   "a device is not opened: %s", err.msg);
	is_int(helper->look(helper, at("named"), false, &st, &err), 0, "lstat succeeds: %s",
	       err.msg);
	ok(S_ISLNK(st.st_mode), "it shows the link");
	is_int(helper->look(helper, at("named"), true, &st, &err), 0, "stat succeeds: %s", err.msg);
	ok(S_ISCHR(st.st_mode), "it shows the device");
	unlink(at("named"));
	rename(at("aside"), at("named"));
}

static void test_watch(struct helper *helper)
{
	_cleanup_close_ int inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	_cleanup_close_ int wrong = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct pollfd pfd = { .fd = inotify, .events = POLLIN };
	struct err err = ERR_INIT;

	ok(helper->watch(helper, inotify, "/etc", &err) < 0 && err.kind == ERR_DENIED,
	   "another directory is not watched: %s", err.msg);
	ok(helper->watch(helper, wrong, dir, &err) < 0 && err.kind == ERR_INTERNAL,
	   "a descriptor that is not inotify is refused: %s", err.msg);
	ok(helper->watch(helper, inotify, dir, &err) >= 0,
	   "the directory of the configured file is watched: %s", err.msg);
	write_file("named", "content");
	ok(poll(&pfd, 1, 5000) == 1, "a change is reported");
}

/* ---- a compromised worker ---- */

/* Sends any bytes with any descriptors. Returns the first byte of the answer, 0 for none. */
static char send_anything(int helper, const void *bytes, size_t len, const int *fds, size_t n_fds)
{
	char answer[1024];
	int pair[2], all[8];

	if (pass_fds_pair(pair, &failure) < 0)
		abort();
	all[0] = pair[1];
	for (size_t i = 0; i < n_fds; i++)
		all[i + 1] = fds[i];
	if (pass_fds_send(helper, bytes, len, all, n_fds + 1, 0) < 0)
		abort();
	close(pair[1]);
	ssize_t got = recv(pair[0], answer, sizeof(answer), 0);
	close(pair[0]);
	return got > 0 ? answer[0] : 0;
}

static size_t count_fds_now(pid_t pid)
{
	char path[32];
	size_t n = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	DIR *list = opendir(path);
	while (list && readdir(list))
		n++;
	closedir(list);
	return n;
}

/* Waits until the number is stable, because the helper answers before it closes descriptors. */
static size_t count_fds(pid_t pid)
{
	size_t before, now = count_fds_now(pid);

	do {
		before = now;
		poll(NULL, 0, 30);
		now = count_fds_now(pid);
	} while (now != before);
	return now;
}

/* A request that would be good for a process with the other role. */
static void refuses_what_the_other_does(int helper, enum helper_role role)
{
	static const char program[] = "ctest\0\0p";
	char path[130];

	snprintf(path, sizeof(path), "r%s", at("named"));
	char answer = role == HELPER_OPENER
			      ? send_anything(helper, program, sizeof(program), NULL, 0)
			      : send_anything(helper, path, strlen(path) + 1, NULL, 0);
	is_int(answer, HELPER_ERROR, "%s",
	       role == HELPER_OPENER ? "the opener runs no program" : "the executor opens no file");
}

static void test_hostile(enum helper_role role)
{
	static char longest[HELPER_REQUEST_MAX];
	struct {
		const char *bytes;
		size_t len;
	} requests[] = {
		{ "r", 1 },
		{ "r/etc/shadow", 12 }, /* without a NUL */
		{ "r/etc/shadow\0/tmp", 17 },
		{ "l/etc/shadow", 13 },
		{ "w/etc", 6 },
		{ "x/etc/shadow", 13 },
		{ "\0", 1 },
		{ "c", 1 },
		{ "c\0", 2 },
		{ "c/etc/shadow", 13 },
		{ "ctest", 5 },
		{ "ctest\0", 6 },
		{ "ctest\0file", 10 },
		{ "ctest\0\0unknown", 14 },
		{ "cother\0\0p", 10 },
		{ longest, sizeof(longest) },
	};
	pthread_t keeper;
	int pair[2], fds[7];

	if (pass_fds_pair(pair, &failure) < 0)
		abort();
	pthread_create(&keeper, NULL, keep, NULL);
	ask_keeper(NULL, role, pair[1]);
	close(pair[1]);
	pthread_join(keeper, NULL);
	memset(longest, 'r', sizeof(longest));
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = pair[0];
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++)
		is_int(send_anything(pair[0], requests[i].bytes, requests[i].len, NULL, 0),
		       HELPER_ERROR, "invalid request %zu is refused", i);
	refuses_what_the_other_does(pair[0], role);
	size_t before = count_fds(pids[role]);
	for (size_t n = 1; n <= ARRAY_SIZE(fds); n++)
		send_anything(pair[0], "r/etc/shadow", 13, fds, n);
	send(pair[0], "r/etc/shadow", 13, MSG_NOSIGNAL);
	is_int(send_anything(pair[0], "r/etc/shadow", 13, NULL, 0), HELPER_ERROR,
	       "after requests with too many descriptors and without any");
	is_int(count_fds(pids[role]), before, "no descriptor stays open");
	close(pair[0]);
	int status = -1;
	waitpid(pids[role], &status, 0);
	is_int(status, 0, "it exits with 0");
	pids[role] = 0;
}

/* Cancelling ends the wait, and the helper kills the program. */
static void test_cancel(struct helper **helper)
{
	char pid_file[] = "/tmp/rptfs-unit-XXXXXX";
	_cleanup_close_ int fd = mkstemp(pid_file);
	_cleanup_free_ char *slow = NULL;
	char text[16] = "";

	if (fd < 0 || asprintf(&slow, "sh -c 'echo $$ >%s; sleep 1000; echo x'", pid_file) < 0)
		abort();
	restart(helper, slow);
	struct asker asker = { .helper = *helper, .err = ERR_INIT };
	pthread_create(&asker.thread, NULL, ask_aside, &asker);
	while (pread(fd, text, sizeof(text) - 1, 0) < 2)
		poll(NULL, 0, 5);
	cancel_request(&cancel);
	pthread_join(asker.thread, NULL);
	ok(asker.rc < 0 && asker.err.kind == ERR_CANCELED, "the wait is canceled");
	ok(is_gone((pid_t)atoi(text)), "the program is killed");
	helper_client_free(*helper);
	*helper = NULL;
	waitpid(pids[HELPER_EXECUTOR], NULL, 0);
	unlink(pid_file);
}

int main(int argc, char **argv)
{
	struct helper *helper = NULL;
	struct err err = ERR_INIT;

	if (argc == 4)
		return be_helper(argv);

	test_split();
	command = "echo";
	if (cancel_init(&cancel, &err) < 0 || pass_fds_pair(channel, &err) < 0 ||
	    helper_client_new(&helper, ask_keeper, NULL, &cancel, &err) < 0)
		abort();
	make_config();
	test_run(helper);
	test_open(helper);
	test_sockets(helper);
	test_other_things(helper);
	test_watch(helper);
	test_failures(&helper);
	test_death(&helper);
	test_hostile(HELPER_OPENER);
	test_hostile(HELPER_EXECUTOR);
	test_cancel(&helper);
	drop_config();
	cancel_release(&cancel);
	close(channel[0]);
	close(channel[1]);
	return tap_done();
}
