/*
 * daemonize: into the background, with an exit code that tells the truth.
 */
#ifndef KEEPER_DAEMONIZE_H
#define KEEPER_DAEMONIZE_H

#include "base/err.h"

/*
 * Forks. In the child returns 0 with *ret_ready_fd, where one byte tells the parent its exit code;
 * standard error stays where it is until daemonize_detach(). The parent waits for the byte and
 * exits by returning 1 with its exit code in *ret_code (1 if the child died without a word).
 * Returns -1 on failure. Call before there are threads.
 */
int daemonize(int *ret_ready_fd, int *ret_code, struct err *err);

/* Leaves the terminal: standard descriptors to /dev/null, the log to syslog. */
void daemonize_detach(void);

#endif
