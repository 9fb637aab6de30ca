/*
 * runner: both sides of the process that runs programs with the rights that rptfs was started with.
 *
 * The worker makes a socket pair when it first needs a runner, keeps one end, and hands the other
 * to the keeper, which starts the process (CHANNEL_RUNNER). From then on these two talk:
 *
 *	worker                              runner
 *	"FILE\0PROFILE\0" + a socket  ────►          FILE may be empty; one request a packet
 *	                      ◄────  'o' bytes       on that socket: standard output as it comes
 *	                      ◄────  'd'             it ended well
 *	                      ◄────  'e' kind text   or did not
 *
 * For each request the runner forks a process that waits for the program, so that a slow program
 * holds up nobody else. If the worker closes its end of a request's socket, the program is killed;
 * if it closes the first pair, which it does by dying, the runner ends. A runner that dies is
 * started again with the next request.
 *
 * What is run is looked up by the runner itself, in the configuration that it has loaded: a worker
 * that has been taken over can name an entry, and nothing else.
 */
#ifndef DAEMON_RUNNER_H
#define DAEMON_RUNNER_H

#include "base/err.h"
#include "fetch/runner.h"

/* The worker's side. channel is borrowed. */
int runner_new(struct runner **ret, int channel, struct err *err);
/* No request may be under way. The runner, if there is one, ends. */
void runner_free(struct runner *runner);

/* Programs at a time; more are refused. */
#define RUNNER_PROGRAMS_MAX 16

struct runner_setup {
	int socket; /* owned */
	/* The command line of an entry; *ret is the caller's. */
	int (*command)(const char *credentials_file, const char *profile, char **ret,
		       struct err *err);
};

/* The runner's side: serves until the worker is gone. Returns the exit code. */
int runner_serve(const struct runner_setup *setup);

/* ---- runner_program.c ---- */

/* Splits as a shell does it, with single quotes, double quotes and backslashes, and expands
 * nothing. *ret is NULL-terminated and, like its words, in one piece of memory, the caller's.
 * ERR_DENIED if a quote is not closed or there is no word. */
int runner_split(const char *command, char ***ret, struct err *err);

/*
 * Runs the program, with nothing on its standard input, and sends its output and its end to reply.
 * Blocks, at most RUNNER_TIMEOUT_MS; kills it (its process group) when that is over, when there
 * are more than RUNNER_OUTPUT_MAX bytes, and when reply is closed at the other end.
 */
void runner_run(const char *command, int reply);

/* Sends an 'e' packet. */
void runner_reply_error(int reply, const struct err *err);

#define RUNNER_PACKET_MAX 4096
#define RUNNER_OUTPUT	  'o'
#define RUNNER_DONE	  'd'
#define RUNNER_ERROR	  'e'

#endif
