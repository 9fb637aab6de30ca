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

/* Redirects the standard streams to /dev/null, and the log to syslog. */
void daemonize_silence(void);

/* The same, and leaves the session of the command. Not before the command has mounted: a directory
 * that is mounted on demand lets the process group of the automounter pass, and makes all others
 * wait until the command has ended. */
void daemonize_detach(void);

/* Closes all descriptors but one, which becomes number DAEMONIZE_KEPT. The standard streams lead to
 * /dev/null. */
#define DAEMONIZE_KEPT 3
void daemonize_keep_only(int fd);

#endif
