/*
 * Requests to the visitor, which has the rights to rename below the mount. They come from a worker
 * that may have been taken over. The mount is a directory here, and nothing beside it may change.
 * Each request is a length and its bytes.
 */
#include <fcntl.h>
#include <ftw.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/pass_fds.h"
#include "fuzz.h"
#include "mount/visitor/visitor.h"

#define REQUESTS_MAX 16 /* as many replies fit into the buffer of a socket */

static char beside[PATH_MAX], root[PATH_MAX + 8];

static void make_file(const char *path)
{
	char full[PATH_MAX + 32];

	snprintf(full, sizeof(full), "%s/%s", beside, path);
	_cleanup_close_ int fd = open(full, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	fuzz_check(fd >= 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	fuzz_directory(beside);
	snprintf(root, sizeof(root), "%s/root", beside);
	fuzz_check(mkdir(root, 0700) == 0);
	make_file("canary");
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type;
	return ftw->level ? remove(path) : 0;
}

/* Two files, a directory, and a link that leads out. */
static void make_root(void)
{
	char link[PATH_MAX + 16], directory[PATH_MAX + 16];

	fuzz_check(nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS) == 0);
	snprintf(link, sizeof(link), "%s/out", root);
	snprintf(directory, sizeof(directory), "%s/d", root);
	fuzz_check(symlink("..", link) == 0 && mkdir(directory, 0700) == 0);
	make_file("root/a");
	make_file("root/d/b");
}

/* Sends the requests. Returns their number. */
static unsigned send_requests(struct fuzz_input *input, int socket)
{
	unsigned n = 0;

	while (input->left && n < REQUESTS_MAX) {
		size_t len = fuzz_below(input, 256) + 1;
		len = len < input->left ? len : input->left;
		if (len && send(socket, input->next, len, MSG_NOSIGNAL) == (ssize_t)len)
			n++;
		input->next += len;
		input->left -= len;
	}
	shutdown(socket, SHUT_WR);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	struct stat before, after;
	struct err err = ERR_INIT;
	bool has_handle = !fuzz_below(&input, 2);
	int pair[2], reply;

	make_root();
	fuzz_check(stat(beside, &before) == 0 && pass_fds_pair(pair, &err) == 0);
	_cleanup_close_ int worker = pair[0];
	unsigned n = send_requests(&input, worker);
	int handle = has_handle ? open(root, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	fuzz_check(visitor_serve(pair[1], handle, root) == 0);
	for (; n > 0; n--)
		fuzz_check(recv(worker, &reply, sizeof(reply), 0) == sizeof(reply) && reply <= 0);
	/* A name that came or went would have changed the time of the directory. */
	fuzz_check(stat(beside, &after) == 0 && before.st_mtim.tv_sec == after.st_mtim.tv_sec &&
		   before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
	return 0;
}
