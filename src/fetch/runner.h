/*
 * runner: how the worker has done what itself may not: a program run, a file opened.
 *
 * The process behind it keeps the rights that rptfs was started with. It decides by itself, from
 * the configuration and the files that configuration or environment name: who asks says which
 * entry, never which program, and gets no path that does not stand there.
 *
 * Each call is made from any thread, blocks for the answer, and fails with ERR_UNREACHABLE (there
 * is no runner, or it died), ERR_BUSY (too many requests), ERR_INTERNAL or ERR_CANCELED, and as
 * said below.
 */
#ifndef FETCH_RUNNER_H
#define FETCH_RUNNER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "base/cancel.h"
#include "base/err.h"

#define RUNNER_OUTPUT_MAX (64 * 1024)
#define RUNNER_TIMEOUT_MS (60 * 1000)

struct runner {
	/*
	 * Runs the credential_process of an AWS profile in credentials_file (NULL: in the files
	 * that the environment names), and blocks until it has ended, at most RUNNER_TIMEOUT_MS.
	 * ret_output holds RUNNER_OUTPUT_MAX bytes, and gets what it wrote to standard output,
	 * without a NUL; after a failure its content is undefined. ERR_DENIED if there is no such
	 * entry or the program failed, ERR_UNREACHABLE if it took too long.
	 */
	int (*credential_process)(struct runner *runner, struct cancel *cancel,
				  const char *credentials_file, const char *profile,
				  char *ret_output, size_t *ret_len, struct err *err);

	/* Those of fetch/files.h, with errors as there. ERR_DENIED too for a path that is not
	 * configured, ERR_BAD_DATA for opening what is neither a regular file nor a FIFO. */
	int (*open_file)(struct runner *runner, const char *path, struct err *err);
	int (*look)(struct runner *runner, const char *path, bool follow, struct stat *ret,
		    struct err *err);
	int (*watch)(struct runner *runner, int inotify, const char *directory, struct err *err);
};

#endif
