/*
 * aws_files: the configuration and credentials files of the AWS tools: their paths, whether they
 * have changed, and files that hold a token.
 */
#ifndef FETCHERS_AWS_AWS_FILES_H
#define FETCHERS_AWS_AWS_FILES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct helper;

/* Owned. config is NULL where an option names `credentials` as the only file. */
struct aws_paths {
	char *credentials, *config;
};

/* credentials_file is the option; NULL: the environment decides. Both paths are NULL if they would
 * be in a home directory and there is none. */
int aws_paths_init(struct aws_paths *ret, const char *credentials_file, struct err *err);
void aws_paths_release(struct aws_paths *paths);

/* Identifies one state of a file; all zero: no such file. */
struct aws_file_stamp {
	uint64_t dev, ino;
	int64_t size, mtime_ns, ctime_ns;
};

struct aws_stamp {
	struct aws_file_stamp credentials, config;
	bool is_young; /* another write might leave the same stamp */
};

void aws_stamp_take(struct helper *helper, const struct aws_paths *paths, struct aws_stamp *ret);
/* False also if `then` is young. */
bool aws_stamp_is_same(const struct aws_stamp *then, const struct aws_stamp *now);

/* Reads a token: the one line of the file, without trailing blanks. `what` names the setting in
 * messages. ret as for secret_file_line(). ERR_DENIED, ERR_INTERNAL. */
int aws_token_read(struct helper *helper, const char *path, const char *what, char **ret,
		   struct err *err);

#endif
