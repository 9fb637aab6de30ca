/*
 * What the command rpt prints of an answer. The socket may belong to anybody: the first byte says
 * what was asked, the rest is the answer.
 */
#include <locale.h>
#include <sys/socket.h>
#include <sys/xattr.h>

#include "fuzz.h"
#include "rpt/ask.h"

#define ANSWER_MAX 65536 /* fits into the buffer of a socket */

static struct fuzz_input answer;

/* Instead of libc's: each path is a mount. */
ssize_t getxattr(const char *path, const char *name, void *value, size_t size)
{
	(void)path, (void)name;
	return snprintf(value, size, "/socket");
}

/* The other end has sent the answer, and closed, before it is asked. */
int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t len)
{
	int ends[2];

	(void)address, (void)len;
	fuzz_check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
	fuzz_check(send(ends[1], answer.next, answer.left, MSG_NOSIGNAL) == (ssize_t)answer.left);
	fuzz_check(dup2(ends[0], fd) == fd);
	close(ends[0]);
	close(ends[1]);
	return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	fuzz_check(setlocale(LC_CTYPE, "C.UTF-8"));
	return 0;
}

/* Nothing that was printed makes a terminal do anything but go to the next line. */
static void check_printed(const char *text)
{
	for (size_t len; *text; text += len) {
		len = *text == '\n' ? 1 : utf8_printable(text);
		fuzz_check(len);
	}
}

static enum ask_exit run(unsigned command, bool json)
{
	static const char *const term[] = { "a" };
	const struct ask ask = {
		.mount = "/mnt", .terms = term, .n_terms = command & 1, .json = json, .wait = true
	};

	switch (command >> 1) {
	case 0:
		return ask_status(&ask);
	case 1:
		return ask_refresh(&ask);
	default:
		return ask_upgrade(&ask);
	}
}

/* Runs the command, and returns what it printed. The caller frees it. */
static char *print(unsigned command, bool json)
{
	FILE *usual_out = stdout, *usual_err = stderr;
	char *text = NULL;
	size_t len = 0;
	FILE *printed = open_memstream(&text, &len);

	fuzz_check(printed);
	stdout = stderr = printed;
	enum ask_exit code = run(command, json);
	stdout = usual_out;
	stderr = usual_err;
	fuzz_check(fclose(printed) == 0);
	fuzz_check(strlen(text) == len && code >= ASK_OK && code <= ASK_TROUBLE);
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	unsigned command = fuzz_below(&input, 6);
	bool json = fuzz_below(&input, 2);

	if (size > ANSWER_MAX)
		return 0;
	answer = input;
	_cleanup_free_ char *printed = print(command, json);
	check_printed(printed);
	return 0;
}
