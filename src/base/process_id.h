/*
 * process_id: the number of this process for people and for other processes.
 *
 * In a PID namespace of its own, getpid(2) returns another number.
 */
#ifndef BASE_PROCESS_ID_H
#define BASE_PROCESS_ID_H

#include <sys/types.h>

/* Call it while /proc is that of the machine and the process has one thread. */
void process_id_remember(void);

/* The number that was remembered, else that of getpid(2). From any thread. */
pid_t process_id(void);

#endif
