/*
 * daemonize: putting a command into the background.
 *
 * The command's exit code is the outcome of the start, not of the fork.
 */
#ifndef BASE_DAEMONIZE_H
#define BASE_DAEMONIZE_H

#include "base/err.h"

/*
 * Forks. Returns 0 in the child, with *ret_ready_fd (the caller's): one byte written to it is the
 * exit code of the parent. Standard error stays open until daemonize_detach(). Returns 1 in the
 * parent once it has the exit code, in *ret_code; 1 if the child died without writing one. Returns
 * -1 on failure. Call it while the process has one thread.
 */
int daemonize(int *ret_ready_fd, int *ret_code, struct err *err);

/* Leaves the terminal: redirects the standard streams to /dev/null, and the log to syslog. */
void daemonize_detach(void);

#endif
