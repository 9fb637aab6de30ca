/*
 * helper: how the worker has done what itself may not: a program run, a file opened.
 *
 * The process behind it keeps the rights that rptfs was started with. It decides by itself, from
 * the configuration and the files that configuration or environment name: who asks says which
 * entry, never which program, and gets no path that does not stand there.
 *
 * Each call is made from any thread, blocks for the answer, and fails with ERR_UNREACHABLE (there
 * is no helper, or it died), ERR_BUSY (too many requests), ERR_INTERNAL or ERR_CANCELED, and as
 * said below.
 */
#ifndef BASE_HELPER_H
#define BASE_HELPER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "base/cancel.h"
#include "base/err.h"

#define HELPER_OUTPUT_MAX (64 * 1024)
#define HELPER_TIMEOUT_MS (60 * 1000)

struct helper {
	/*
	 * Runs the credential_process of an AWS profile in credentials_file (NULL: in the files
	 * that the environment names), and blocks until it has ended, at most HELPER_TIMEOUT_MS.
	 * ret_output holds HELPER_OUTPUT_MAX bytes, and gets what it wrote to standard output,
	 * without a NUL; after a failure its content is undefined. ERR_DENIED if there is no such
	 * entry or the program failed, ERR_UNREACHABLE if it took too long.
	 */
	int (*credential_process)(struct helper *helper, struct cancel *cancel,
				  const char *credentials_file, const char *profile,
				  char *ret_output, size_t *ret_len, struct err *err);

	/* Those of base/files.h, with errors as there. ERR_DENIED too for a path that is not
	 * configured, ERR_BAD_DATA for opening what is neither a regular file nor a FIFO. */
	int (*open_file)(struct helper *helper, const char *path, struct err *err);
	int (*look)(struct helper *helper, const char *path, bool follow, struct stat *ret,
		    struct err *err);
	int (*watch)(struct helper *helper, int inotify, const char *directory, struct err *err);
};

#endif
