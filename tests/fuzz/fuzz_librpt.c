/*
 * A mount as librpt sees it: the size and the attributes of a term, its slot, and the words of
 * .rpt/generations. A mount may belong to anybody.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "fuzz.h"
#include "librpt/rpt.h"

static char root[PATH_MAX], term_path[PATH_MAX + 8], words_path[PATH_MAX + 24];

/* Attributes of all files. */
static char *slot, *version; /* owned */

/* Instead of libc's. */
ssize_t fgetxattr(int fd, const char *name, void *value, size_t size)
{
	const char *text = strcmp(name, "user.rpt.slot") == 0 ? slot : version;
	size_t len = text ? strlen(text) : 0;

	(void)fd;
	if (!text || (size && size < len)) {
		errno = text ? ERANGE : ENODATA;
		return -1;
	}
	if (size)
		memcpy(value, text, len);
	return (ssize_t)len;
}

/* Instead of libc's: only the directory of this target is a mount. */
int statx(int at, const char *path, int flags, unsigned mask, struct statx *ret)
{
	(void)at, (void)flags, (void)mask;
	*ret = (struct statx){ .stx_attributes = strcmp(path, root) == 0 ? STATX_ATTR_MOUNT_ROOT
									 : 0 };
	return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char directory[PATH_MAX];

	(void)argc, (void)argv;
	fuzz_check(realpath(fuzz_directory(directory), root));
	snprintf(term_path, sizeof(term_path), "%s/term", root);
	snprintf(words_path, sizeof(words_path), "%s/.rpt", root);
	fuzz_check(mkdir(words_path, 0700) == 0);
	snprintf(words_path, sizeof(words_path), "%s/.rpt/generations", root);
	return 0;
}

/* Replaces the file: what is mapped must not become shorter. */
static void write_file(const char *path, const uint8_t *data, size_t size)
{
	unlink(path);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	fuzz_check(fd >= 0 && write(fd, data, size) == (ssize_t)size);
}

static void check_value(const struct rpt_value *value, const uint8_t *data, size_t size)
{
	fuzz_check(value->data && value->version && value->size == size);
	fuzz_check(memcmp(value->data, data, size) == 0);
	if (version)
		fuzz_check(strcmp(value->version, version) == 0);
}

/* Gets the term before and after it is replaced, and after the words have changed. */
static void read_term(const uint8_t *data, size_t size, uint8_t word)
{
	struct rpt_term *term = NULL;
	struct rpt_value value;
	size_t half = size / 2;

	write_file(term_path, data, size);
	int result = rpt_term_open(&term, term_path);
	fuzz_check(result == 0 || result == -ENOTCONN);
	if (result < 0)
		return;
	fuzz_check(rpt_term_get(term, &value) == 0);
	check_value(&value, data, size);
	write_file(term_path, data, half);
	_cleanup_close_ int fd = open(words_path, O_WRONLY | O_CLOEXEC);
	fuzz_check(fd >= 0 && pwrite(fd, &word, 1, word) == 1);
	result = rpt_term_get(term, &value);
	fuzz_check(result == 0 || result == -ENOTCONN);
	if (result == 0)
		check_value(&value, data, value.size == size ? size : half);
	fuzz_check(rpt_term_check(term) >= 0 || result == -ENOTCONN);
	rpt_term_close(term);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	size_t n_words = 8 * fuzz_below(&input, 1024);
	uint8_t word = (uint8_t)fuzz_below(&input, 256);

	slot = fuzz_line(&input);
	version = fuzz_line(&input);
	if (input.left)
		write_file(words_path, input.next, n_words < input.left ? n_words : input.left);
	if (version && input.left)
		read_term(input.next, input.left, word);
	free(steal_ptr(&slot));
	free(steal_ptr(&version));
	return 0;
}
