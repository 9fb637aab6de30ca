/*
 * strict_mode: for a process that from now on only reads, writes and exits.
 */
#ifndef BASE_STRICT_MODE_H
#define BASE_STRICT_MODE_H

/* Allows only read(2), write(2) and the end of the thread. Nothing with a sanitizer, which has
 * threads and system calls of its own. */
void strict_mode_enter(void);

/* Ends the process, which has one thread. _exit(2) is not allowed in strict mode. */
__attribute__((noreturn)) void strict_mode_exit(void);

#endif
