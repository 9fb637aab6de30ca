/*
 * run_program: runs a program for one request.
 *
 * Runs in the executor, with the rights of the user who started rptfs; so does the program.
 */
#ifndef HELPER_RUN_PROGRAM_H
#define HELPER_RUN_PROGRAM_H

#include "base/err.h"

/* Splits a command line like a shell, with single quotes, double quotes and backslashes, but
 * expands nothing. *ret is NULL-terminated and one allocation with its words, the caller's.
 * ERR_DENIED if a quote is not closed or there is no word. */
int run_program_split(const char *command, char ***ret, struct err *err);

/*
 * Runs the program with an empty standard input, and sends its output and its end to the socket
 * `reply` (borrowed). Blocks, at most HELPER_TIMEOUT_MS. Kills the program's process group when
 * that is over, when it writes more than HELPER_OUTPUT_MAX bytes, and when the other end of reply
 * is closed.
 */
void run_program(const char *command, int reply);

#endif
