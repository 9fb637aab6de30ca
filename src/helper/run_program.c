#include "helper/run_program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/helper.h"
#include "base/safe_path.h"
#include "base/secret.h"
#include "base/util.h"
#include "helper/helper_protocol.h"
#include "helper/helper_reply.h"

/* The exit code if the program cannot be executed, as in a shell. */
#define EXIT_NOT_RUN 127

/* ---- the command line ---- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Copies one word without its quotes. Returns its end in the command, or NULL if a quote is not
 * closed. */
static const char *copy_word(const char *at, char **out)
{
	char quote = 0;

	for (; *at && (quote || !is_blank(*at)); at++) {
		bool is_quote = *at == '"' || *at == '\'';
		if (is_quote && (!quote || quote == *at)) {
			quote = quote ? 0 : *at;
			continue;
		}
		/* In double quotes a backslash is literal before most characters. */
		if (*at == '\\' && quote != '\'' &&
		    (!quote || (at[1] && strchr("\"\\$`", at[1])))) {
			if (!*++at)
				return NULL;
		}
		*(*out)++ = *at;
	}
	*(*out)++ = '\0';
	return quote ? NULL : at;
}

int run_program_split(const char *command, char ***ret, struct err *err)
{
	/* Each word but the last takes at least two characters. */
	size_t max_words = strlen(command) / 2 + 2;
	_cleanup_free_ char **words = calloc(1, max_words * sizeof(*words) + strlen(command) + 1);
	size_t n = 0;

	if (!words)
		return err_set(err, ERR_INTERNAL, "out of memory");
	char *out = (char *)&words[max_words];
	for (;;) {
		while (is_blank(*command))
			command++;
		if (!*command)
			break;
		words[n++] = out;
		command = copy_word(command, &out);
		if (!command)
			return err_set(err, ERR_DENIED, "the command has an unclosed quote");
	}
	if (!n)
		return err_set(err, ERR_DENIED, "the command is empty");
	*ret = steal_ptr(&words);
	return 0;
}

/* ---- the file ---- */

#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"

/* As root, only what root alone can change is executed. Others have no rights to lose. */
static enum safe_path_rule rule_of_programs(void)
{
	return geteuid() == 0 ? SAFE_PATH_OURS : SAFE_PATH_OWN;
}

/* Returns 1 if there is no such program. */
static int find_at(const char *path, int *ret, struct err *err)
{
	struct stat st;
	_cleanup_close_ int found = safe_path_find(path, SAFE_PATH_OWN, true, &st, err);

	if (found < 0 && err->kind == ERR_NOT_FOUND)
		return 1;
	close_cleanup(&found);
	found = safe_path_find(path, rule_of_programs(), true, &st, err);
	if (found < 0)
		return -1;
	*ret = steal_fd(&found);
	return 0;
}

/* Looks for a name without a slash in PATH, as a shell does. *ret_path is the caller's. */
static int find_in_path(const char *name, char **ret_path, int *ret, struct err *err)
{
	const char *path = getenv("PATH");
	_cleanup_free_ char *list = strdup(path ? path : DEFAULT_PATH);
	char *rest = list, *directory;
	int rc = 1;

	if (!list)
		return err_set(err, ERR_INTERNAL, "out of memory");
	while (rc == 1 && (directory = strsep(&rest, ":"))) {
		_cleanup_free_ char *candidate = NULL;
		if (asprintf(&candidate, "%s/%s", *directory ? directory : ".", name) < 0) {
			candidate = NULL;
			return err_set(err, ERR_INTERNAL, "out of memory");
		}
		rc = find_at(candidate, ret, err);
		if (rc == 0)
			*ret_path = steal_ptr(&candidate);
	}
	return rc;
}

/* Sets *ret to an O_PATH descriptor of the program, and *ret_path to its path. */
static int find_program(const char *name, char **ret_path, int *ret, struct err *err)
{
	int rc;

	if (strchr(name, '/')) {
		*ret_path = strdup(name);
		rc = *ret_path ? find_at(name, ret, err)
			       : err_set(err, ERR_INTERNAL, "out of memory");
	} else {
		rc = find_in_path(name, ret_path, ret, err);
	}
	if (rc == 1)
		return err_set(err, ERR_DENIED, "%.200s cannot be executed: there is no such file",
			       name);
	return rc < 0 ? err_prefix(err, "%.200s cannot be executed", name) : 0;
}

/* ---- the program ---- */

struct program {
	pid_t pid;
	int file;   /* owned; opened with O_PATH */
	char *path; /* owned */
	int output; /* owned */
	int reply;
	size_t output_bytes;
};

/* Executes the file that was checked. An interpreter opens its script by name, so the descriptor of
 * a script is of no use here: it is executed by its path, which nobody but root can lead elsewhere.
 */
__attribute__((noreturn)) static void exec_program(const struct program *program, char **words,
						   int output)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	sigset_t none;

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGXFSZ, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	if (null >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(output, STDOUT_FILENO) >= 0 &&
	    close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC) == 0) {
		execveat(program->file, "", words, environ, AT_EMPTY_PATH);
		execvp(program->path, words);
	}
	_exit(EXIT_NOT_RUN);
}

static int start(struct program *program, char **words, struct err *err)
{
	int pair[2];

	if (pipe2(pair, O_CLOEXEC) < 0)
		return err_errno(err, "pipe");
	program->output = pair[0];
	_cleanup_close_ int writer = pair[1];
	program->pid = fork();
	if (program->pid < 0)
		return err_errno(err, "fork");
	if (program->pid == 0)
		exec_program(program, words, writer);
	setpgid(program->pid,
		program->pid); /* in the parent and in the child, because either may run first */
	return 0;
}

/* Returns 1, or 0 after the program has closed its output. */
static int forward_output(struct program *program, struct err *err)
{
	char chunk[HELPER_PACKET_MAX];
	ssize_t n = read(program->output, chunk, sizeof(chunk));

	if (n < 0)
		return errno == EINTR ? 1 : err_errno(err, "its output");
	if (n == 0)
		return 0;
	program->output_bytes += (size_t)n;
	if (program->output_bytes > HELPER_OUTPUT_MAX) {
		err_set(err, ERR_DENIED, "more than %d KiB of output", HELPER_OUTPUT_MAX / 1024);
		n = 0;
	}
	int rc = n ? helper_reply_output(program->reply, chunk, (size_t)n) : -1;
	secret_wipe(chunk, sizeof(chunk));
	if (rc < 0 && n)
		return err_set(err, ERR_CANCELED, "the request was canceled");
	return rc < 0 ? -1 : 1;
}

/* Returns when the program has closed its output. */
static int forward_all(struct program *program, int64_t deadline_ms, struct err *err)
{
	struct pollfd pfds[] = {
		{ .fd = program->output, .events = POLLIN },
		{ .fd = program->reply, .events = 0 },
	};
	int64_t left_ms;
	int more = 1;

	while (more > 0) {
		left_ms = deadline_ms - clock_boot_ms();
		if (left_ms <= 0)
			return err_set(err, ERR_UNREACHABLE, "it took more than %d s",
				       HELPER_TIMEOUT_MS / MS_PER_S);
		if (poll(pfds, ARRAY_SIZE(pfds), (int)left_ms) <= 0)
			continue;
		if (pfds[1].revents)
			return err_set(err, ERR_CANCELED, "the request was canceled");
		more = forward_output(program, err);
	}
	return more;
}

/* How long a program may run after it has closed its output. */
#define END_STEP_MS 5
#define END_MS	    2000

static int wait_for_end(struct program *program, struct err *err)
{
	int status;

	for (int waited_ms = 0; waitpid(program->pid, &status, WNOHANG) == 0;
	     waited_ms += END_STEP_MS) {
		if (waited_ms >= END_MS)
			return err_set(err, ERR_UNREACHABLE,
				       "it closed its output and did not end");
		poll(NULL, 0, END_STEP_MS);
	}
	program->pid = 0;
	if (WIFSIGNALED(status))
		return err_set(err, ERR_DENIED, "it was killed by signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status) == EXIT_NOT_RUN)
		return err_set(err, ERR_DENIED, "the program cannot be executed");
	if (WEXITSTATUS(status))
		return err_set(err, ERR_DENIED, "it ended with exit code %d", WEXITSTATUS(status));
	return 0;
}

static void program_release(struct program *program)
{
	if (program->pid > 0) {
		kill(-program->pid, SIGKILL);
		waitpid(program->pid, NULL, 0);
	}
	close_cleanup(&program->output);
	close_cleanup(&program->file);
	free(program->path);
}

static int run(const char *command, int reply, struct err *err)
{
	_cleanup_free_ char **words = NULL;
	_cleanup_(program_release) struct program program = {
		.file = -1,
		.output = -1,
		.reply = reply,
	};
	int64_t deadline_ms = clock_boot_ms() + HELPER_TIMEOUT_MS;

	if (run_program_split(command, &words, err) < 0 ||
	    find_program(words[0], &program.path, &program.file, err) < 0 ||
	    start(&program, words, err) < 0 || forward_all(&program, deadline_ms, err) < 0)
		return -1;
	return wait_for_end(&program, err);
}

void run_program(const char *command, int reply)
{
	struct err err = ERR_INIT;

	if (run(command, reply, &err) < 0)
		helper_reply_error(reply, &err);
	else
		helper_reply_done(reply, "", 0, -1);
}
