/*
 * secret_file: files that hold a secret, read into locked memory (base/secret.h).
 *
 * The helper opens files that this process may not open (base/files.h). Of a pipe, only the bytes
 * that are already in it are read, without waiting.
 */
#ifndef FETCHERS_SHARED_SECRET_FILE_H
#define FETCHERS_SHARED_SECRET_FILE_H

#include <stddef.h>

#include "base/err.h"

struct helper;

/* The whole file, followed by a NUL that is not counted. The caller frees *ret with secret_free().
 * ERR_NOT_FOUND if there is no such file, ERR_DENIED if it cannot be read or is larger than
 * max_bytes. */
int secret_file_read(struct helper *helper, const char *path, size_t max_bytes, char **ret,
		     size_t *ret_len, struct err *err);

/* The same of an open file; path is for messages. */
int secret_file_read_open(int fd, const char *path, size_t max_bytes, char **ret, size_t *ret_len,
			  struct err *err);

/* The one line of the file, without its line break: not empty, without control characters, at most
 * 16 KiB. `what` names the option or setting in messages. ret as above. ERR_DENIED if the file is
 * missing or holds something else. */
int secret_file_line(struct helper *helper, const char *path, const char *what, char **ret,
		     struct err *err);

#endif
