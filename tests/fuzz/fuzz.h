/*
 * fuzz: what the targets of libFuzzer share.
 *
 * A target is one file. libFuzzer calls its LLVMFuzzerTestOneInput() with one input after the
 * other. The target gives the input to the code under test as an outsider could, and checks with
 * fuzz_check() what must be true whatever the input is.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/utf8.h"
#include "base/util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* libFuzzer writes the input to a file before the process ends. */
#define fuzz_check(condition)                                                                     \
	do {                                                                                      \
		if (!(condition)) {                                                               \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                                  \
		}                                                                                 \
	} while (0)

/* The error is of this kind, and its message cannot confuse a terminal or a log. */
static inline void fuzz_check_error(const struct err *err, enum err_kind kind)
{
	fuzz_check(err->kind == kind && err->msg[0]);
	for (size_t at = 0, len; err->msg[at]; at += len) {
		len = utf8_printable(err->msg + at);
		fuzz_check(len);
	}
}

/* The part of the input that is left. */
struct fuzz_input {
	const uint8_t *next;
	size_t left;
};

/* A number from 0 to limit - 1, of the next two bytes; 0 at the end of the input. */
static inline unsigned fuzz_below(struct fuzz_input *input, unsigned limit)
{
	unsigned number = 0;

	for (int i = 0; i < 2 && input->left; i++, input->left--)
		number = number << 8 | *input->next++;
	return number % limit;
}

/* The next line without its newline, cut at a NUL. In memory of its own, so that AddressSanitizer
 * sees each byte that is read beyond it. The caller frees it. NULL at the end of the input. */
static inline char *fuzz_line(struct fuzz_input *input)
{
	const uint8_t *newline = input->left ? memchr(input->next, '\n', input->left) : NULL;
	size_t len = newline ? (size_t)(newline - input->next) : input->left;

	if (!input->left)
		return NULL;
	char *line = strndup((const char *)input->next, len);
	fuzz_check(line);
	input->next += newline ? len + 1 : len;
	input->left -= newline ? len + 1 : len;
	return line;
}

/* Changes pieces of the bytes as the input says: a place, a length, and the bytes. A good file of a
 * binary format stays good enough to be read to its end. */
static inline void fuzz_edit(struct fuzz_input *input, uint8_t *bytes, size_t size)
{
	while (input->left > 3 && size) {
		size_t at = fuzz_below(input, 65536) % size, len = *input->next++;

		input->left--;
		len = len < input->left ? len : input->left;
		len = len < size - at ? len : size - at;
		memcpy(bytes + at, input->next, len);
		input->next += len;
		input->left -= len;
	}
}

/* A file in memory with this content; the caller closes it. */
static inline int fuzz_file(const void *data, size_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	fuzz_check(fd >= 0 && write(fd, data, size) == (ssize_t)size &&
		   lseek(fd, 0, SEEK_SET) == 0);
	return fd;
}

/* A new directory, which stays: whoever runs the target removes TMPDIR. */
static inline const char *fuzz_directory(char ret[PATH_MAX])
{
	const char *parent = getenv("TMPDIR");

	snprintf(ret, PATH_MAX, "%s/rptfs-fuzz-XXXXXX", parent ? parent : "/tmp");
	fuzz_check(mkdtemp(ret));
	return ret;
}

#endif
