/*
 * runner: how a fetcher has a program run that the worker itself may not run.
 *
 * The process behind it keeps the rights that rptfs was started with. It looks up by itself what
 * is to be run, in the files that the configuration or the environment names: who asks says which
 * entry, never which program.
 */
#ifndef FETCH_RUNNER_H
#define FETCH_RUNNER_H

#include <stddef.h>

#include "base/cancel.h"
#include "base/err.h"

#define RUNNER_OUTPUT_MAX (64 * 1024)
#define RUNNER_TIMEOUT_MS (60 * 1000)

struct runner {
	/*
	 * Runs the credential_process of an AWS profile in credentials_file (NULL: in the files
	 * that the environment names), and blocks until it has ended, at most RUNNER_TIMEOUT_MS.
	 * ret_output holds RUNNER_OUTPUT_MAX bytes, and gets what it wrote to standard output,
	 * without a NUL; after a failure its content is undefined. From any thread. ERR_DENIED if
	 * there is no such entry or the program failed, ERR_UNREACHABLE (took too long, no runner),
	 * ERR_INTERNAL, ERR_CANCELED.
	 */
	int (*credential_process)(struct runner *runner, struct cancel *cancel,
				  const char *credentials_file, const char *profile,
				  char *ret_output, size_t *ret_len, struct err *err);
};

#endif
