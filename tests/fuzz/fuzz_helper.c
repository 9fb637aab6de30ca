/*
 * Requests to the opener and to the executor. They come from a worker that may have been taken
 * over, and get nothing but the one file that the configuration names, and the machine's
 * resolv.conf; the configuration names no program.
 */
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/pass_fds.h"
#include "fuzz.h"
#include "helper/executor.h"
#include "helper/helper_request.h"
#include "helper/opener.h"
#include "loaded.h"

#define DIRECTORY_MARK '*' /* stands for the directory, whose name an input cannot know */

static char directory[PATH_MAX];
static struct stat named;

static void make_file(const char *name, struct stat *ret)
{
	char path[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	_cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	fuzz_check(fd >= 0 && fstat(fd, ret) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static struct config *config; /* borrowed by the opener */
	char text[PATH_MAX + 64];
	struct stat other;
	struct err err = ERR_INIT;

	(void)argc, (void)argv;
	log_set_level(LOG_LEVEL_ERROR);
	/* Not this machine's AWS profiles. */
	fuzz_check(setenv("HOME", fuzz_directory(directory), 1) == 0);
	make_file("named", &named);
	make_file("other", &other);
	int len = snprintf(text, sizeof(text), "term a { file { path = \"%s/named\" } }",
			   directory);
	config = load_text(text, (size_t)len, stderr);
	fuzz_check(config);
	fuzz_check(opener_begin(config, fetcher_types, &err) == 0);
	fuzz_check(executor_begin(fetcher_types, &err) < 0);
	return 0;
}

/* The request that the input spells. */
static void read_request(struct fuzz_input *input, struct helper_request *ret)
{
	size_t len = strlen(directory);

	for (; input->left && ret->len + len < HELPER_REQUEST_MAX; input->next++, input->left--) {
		bool is_mark = *input->next == DIRECTORY_MARK;
		memcpy(ret->text + ret->len, is_mark ? directory : (const char *)input->next,
		       is_mark ? len : 1);
		ret->len += is_mark ? len : 1;
	}
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev;
}

/* An answer is about a file that the worker may see. */
static void check_answer(const struct helper_request *request, int socket)
{
	char packet[1 + HELPER_PACKET_MAX];
	struct stat other, st = { .st_ino = 0 };
	int fd;
	ssize_t len = pass_fds_receive(socket, packet, sizeof(packet), &fd, 1, MSG_DONTWAIT);
	_cleanup_close_ int received = fd;

	fuzz_check(len >= 1 && packet[0] == HELPER_DONE);
	if (request->text[0] == HELPER_WATCH)
		return;
	if (received >= 0)
		fuzz_check(fstat(received, &st) == 0 && len == 1);
	fuzz_check(received >= 0 || len == 1 + sizeof(st));
	if (received < 0)
		memcpy(&st, packet + 1, sizeof(st));
	fuzz_check(is_same(&st, &named) ||
		   (stat("/etc/resolv.conf", &other) == 0 && is_same(&st, &other)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	struct helper_request request = { .len = 0 };
	struct err err = ERR_INIT;
	int pair[2];

	fuzz_check(pass_fds_pair(pair, &err) == 0);
	_cleanup_close_ int worker = pair[0], helper = pair[1], inotify = inotify_init1(IN_CLOEXEC);
	request.fds[0] = helper;
	request.fds[1] = fuzz_below(&input, 2) ? -1 : inotify;
	read_request(&input, &request);
	if (opener_serve(&request, &err) == 0)
		check_answer(&request, worker);
	else
		fuzz_check_error(&err, err.kind);
	fuzz_check(executor_serve(&request, &err) < 0);
	fuzz_check_error(&err, ERR_DENIED);
	return 0;
}
