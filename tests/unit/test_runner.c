/* runner: both sides of it, with a keeper that is played by the test. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "base/cancel.h"
#include "base/clock.h"
#include "base/util.h"
#include "daemon/channel.h"
#include "daemon/runner.h"
#include "tap.h"

static struct cancel cancel;
static const char *command;
static int channel[2];
static pid_t runner_pid;

/* What stands in the configuration. */
static int find_command(const char *credentials_file, const char *profile, char **ret,
			struct err *err)
{
	if (strcmp(profile, "unknown") == 0)
		return err_set(err, ERR_DENIED, "there is no such profile");
	if (asprintf(ret, "%s %s %s", command, credentials_file ? credentials_file : "none",
		     profile) < 0)
		abort();
	return 0;
}

/* What the keeper does. */
static void start_runner(void)
{
	int fd = -1;

	if (channel_receive(channel[0], &fd) != CHANNEL_RUNNER || fd < 0)
		abort();
	runner_pid = fork();
	if (runner_pid == 0) {
		struct runner_setup setup = { .socket = STDERR_FILENO + 1,
					      .command = find_command };
		/* What exec would close: the worker's end above all. */
		dup2(fd, setup.socket);
		close_range((unsigned)setup.socket + 1, ~0U, 0);
		_exit(runner_serve(&setup));
	}
	close(fd);
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
		bool is_same = runner_split(good[i].command, &words, &err) == 0;
		size_t n = 0;
		for (; is_same && n < 5 && good[i].words[n]; n++)
			is_same = words[n] && strcmp(words[n], good[i].words[n]) == 0;
		ok(is_same && !words[n], "%s", good[i].command);
		free(words);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ok(runner_split(bad[i], &words, &err) < 0 && err.kind == ERR_DENIED, "\"%s\": %s",
		   bad[i], err.msg);
}

/* ---- running ---- */

static char output[RUNNER_OUTPUT_MAX + 1];
static struct err failure;

static int ask(struct runner *runner, const char *file, const char *profile)
{
	size_t len = 0;

	failure = (struct err)ERR_INIT;
	int rc = runner->credential_process(runner, &cancel, file, profile, output, &len, &failure);
	output[rc == 0 ? len : 0] = '\0';
	return rc;
}

struct asker {
	struct runner *runner;
	pthread_t thread;
	int rc;
	struct err err;
	char output[RUNNER_OUTPUT_MAX];
};

static void *ask_aside(void *arg)
{
	struct asker *asker = arg;
	size_t len;

	asker->rc = asker->runner->credential_process(asker->runner, &cancel, NULL, "p",
						      asker->output, &len, &asker->err);
	return NULL;
}

static void *keep(void *arg)
{
	(void)arg;
	start_runner();
	return NULL;
}

static bool is_gone(pid_t pid)
{
	int64_t deadline = clock_boot_ms() + 5000;

	while (kill(pid, 0) == 0 && clock_boot_ms() < deadline)
		poll(NULL, 0, 5);
	return kill(pid, 0) < 0;
}

static void test_run(struct runner *runner)
{
	pthread_t keeper;

	pthread_create(&keeper, NULL, keep, NULL);
	is_int(ask(runner, NULL, "p"), 0, "a program is run: %s", failure.msg);
	pthread_join(keeper, NULL);
	is_str(output, "none p\n", "its output");
	is_int(ask(runner, "/a/b", "q r"), 0, "another one, by the same runner");
	is_str(output, "/a/b q r\n", "with its own arguments");
	ok(ask(runner, NULL, "unknown") < 0 && failure.kind == ERR_DENIED, "refused");
	is_str(failure.msg, "there is no such profile", "in the words of who knows");
}

static void restart(struct runner **runner, const char *new_command)
{
	struct err err = ERR_INIT;
	pthread_t keeper;

	runner_free(*runner);
	if (runner_pid)
		waitpid(runner_pid, NULL, 0);
	command = new_command;
	if (runner_new(runner, channel[1], &err) < 0)
		abort();
	pthread_create(&keeper, NULL, keep, NULL);
	ask(*runner, NULL, "unknown");
	pthread_join(keeper, NULL);
}

static void test_failures(struct runner **runner)
{
	restart(runner, "sh -c 'echo said; exit 3'");
	ok(ask(*runner, NULL, "p") < 0 && failure.kind == ERR_DENIED, "exit code: %s", failure.msg);
	ok(strstr(failure.msg, "exit code 3") && !strstr(failure.msg, "said"), "in words");
	restart(runner, "/nowhere/at-all");
	ok(ask(*runner, NULL, "p") < 0 && strstr(failure.msg, "executed"), "no program: %s",
	   failure.msg);
	restart(runner, "head -c 70000 /dev/zero #");
	ok(ask(*runner, NULL, "p") < 0 && failure.kind == ERR_DENIED, "too much: %s", failure.msg);
	restart(runner, "sh -c 'kill -9 $$'");
	ok(ask(*runner, NULL, "p") < 0 && strstr(failure.msg, "signal 9"), "killed: %s",
	   failure.msg);
	restart(runner, "sh -c 'head -c 65536 /dev/zero'");
	is_int(ask(*runner, NULL, "p"), 0, "just not too much: %s", failure.msg);
	restart(runner, "sh -c 'cat; ls /proc/self/fd | tr \"\\n\" ,'");
	is_int(ask(*runner, NULL, "p"), 0, "nothing to read: %s", failure.msg);
	is_str(output, "0,1,2,3,", "and no descriptors of ours (3: the directory)");
}

/* A runner that dies is replaced, and one that never comes is an error. */
static void test_death(struct runner **runner)
{
	pthread_t keeper;
	int unwanted = -1;

	restart(runner, "echo");
	kill(runner_pid, SIGKILL);
	waitpid(runner_pid, NULL, 0);
	pthread_create(&keeper, NULL, keep, NULL);
	is_int(ask(*runner, NULL, "p"), 0, "a new one: %s", failure.msg);
	pthread_join(keeper, NULL);
	kill(runner_pid, SIGKILL);
	waitpid(runner_pid, NULL, 0);
	runner_pid = 0;

	struct asker asker = { .runner = *runner, .err = ERR_INIT };
	pthread_create(&asker.thread, NULL, ask_aside, &asker);
	channel_receive(channel[0], &unwanted);
	close(unwanted);
	pthread_join(asker.thread, NULL);
	ok(asker.rc < 0 && asker.err.kind == ERR_UNREACHABLE, "none: %s", asker.err.msg);
}

/* Whoever is told to end does not wait, and its program is killed. */
static void test_cancel(struct runner **runner)
{
	char pid_file[] = "/tmp/rptfs-unit-XXXXXX";
	_cleanup_close_ int fd = mkstemp(pid_file);
	_cleanup_free_ char *slow = NULL;
	int64_t began_ms = clock_boot_ms();
	char text[16] = "";

	if (fd < 0 || asprintf(&slow, "sh -c 'echo $$ >%s; sleep 30; echo x'", pid_file) < 0)
		abort();
	restart(runner, slow);
	struct asker asker = { .runner = *runner, .err = ERR_INIT };
	pthread_create(&asker.thread, NULL, ask_aside, &asker);
	while (pread(fd, text, sizeof(text) - 1, 0) < 2)
		poll(NULL, 0, 5);
	cancel_request(&cancel);
	pthread_join(asker.thread, NULL);
	ok(asker.rc < 0 && asker.err.kind == ERR_CANCELED, "canceled");
	ok(is_gone((pid_t)atoi(text)), "the program is killed");
	runner_free(*runner);
	*runner = NULL;
	waitpid(runner_pid, NULL, 0);
	ok(clock_boot_ms() - began_ms < 10000, "the runner ends with its worker");
	unlink(pid_file);
}

int main(void)
{
	struct runner *runner = NULL;
	struct err err = ERR_INIT;

	test_split();
	command = "echo";
	if (cancel_init(&cancel, &err) < 0 || channel_new(channel, &err) < 0 ||
	    runner_new(&runner, channel[1], &err) < 0)
		abort();
	test_run(runner);
	test_failures(&runner);
	test_death(&runner);
	test_cancel(&runner);
	cancel_release(&cancel);
	close(channel[0]);
	close(channel[1]);
	return tap_done();
}
