/*
 * aws_file: the files that credentials come from: where they are, what is in them, and whether they
 * have changed since.
 */
#ifndef FETCHERS_AWS_AWS_FILE_H
#define FETCHERS_AWS_AWS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define AWS_FILE_MAX (1024 * 1024)

/* The variable's value; NULL if it is unset or empty. */
const char *aws_env(const char *name);

/* Owned. config is NULL where `credentials` is the only file there is, named by an option. */
struct aws_paths {
	char *credentials, *config;
};

/* credentials_file: what the option says; NULL: as the environment says. Both paths may be missing
 * (no home directory). */
int aws_paths_init(struct aws_paths *ret, const char *credentials_file, struct err *err);
void aws_paths_release(struct aws_paths *paths);

/* What tells a file from what it was; all zero: there is none. */
struct aws_file_stamp {
	uint64_t dev, ino;
	int64_t size, mtime_ns, ctime_ns;
};

struct aws_stamp {
	struct aws_file_stamp credentials, config;
	bool is_young; /* may be written to once more without a difference in its times */
};

void aws_stamp_take(const struct aws_paths *paths, struct aws_stamp *ret);
bool aws_stamp_is_same(const struct aws_stamp *then, const struct aws_stamp *now);

/*
 * The whole file, in locked memory (base/secret.h), the caller's, with a NUL behind it that is not
 * counted. ERR_NOT_FOUND if there is no such file, ERR_DENIED if it may not be read or is larger
 * than max_bytes. Does not wait for pipes.
 */
int aws_file_read(const char *path, size_t max_bytes, char **ret, size_t *ret_len, struct err *err);

/* A token: the file's one line, without what surrounds it. In locked memory. ERR_DENIED. */
int aws_file_token(const char *path, const char *what, char **ret, struct err *err);

#endif
