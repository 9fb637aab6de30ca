/*
 * helper: both sides of the process that keeps the rights that rptfs was started with.
 *
 * The worker makes a socket pair when it first needs a helper, keeps one end, and hands the other
 * to the keeper, which starts the process (CHANNEL_HELPER). From then on these two talk, one
 * request a packet, each with a socket for its answer:
 *
 *	worker                              helper
 *	'c' "FILE\0PROFILE\0"    ────►         the credential_process there; FILE may be empty
 *	                      ◄────  'o' bytes    its standard output as it comes
 *	'r' "PATH\0"             ────►         a configured file, for reading
 *	's', 'l' "PATH\0"        ────►         stat(2) or lstat(2) of one
 *	'w' "DIRECTORY\0"        ────►         a watch on the directory of one, for the inotify
 *	                                    descriptor that comes along
 *	                      ◄────  'd' result   it went well: with a descriptor (r, u), a struct
 *stat (s, l), an int (w) ◄────  'e' kind text   or did not
 *
 * Each request has a thread, so that a slow program or a dead NFS server holds up nobody else. If
 * the worker closes its end of a program's socket, the program is killed; if it closes the first
 * pair, which it does by dying, the helper ends. A helper that dies is started again with the next
 * request.
 *
 * A worker that has been taken over gets nothing but this: paths are compared with those of the
 * configuration that the helper has loaded itself, character by character, and commands are looked
 * up there. But who may write to the directory of such a path can put a link there: a store has no
 * place above a configured file.
 *
 * The helper is not confined and gives up no rights, for it cannot know what a program needs. It
 * looks at no byte from the network, and at none of the files that it opens but for those of AWS
 * profiles.
 */
#ifndef HELPER_HELPER_H
#define HELPER_HELPER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cancel.h"
#include "base/err.h"
#include "base/helper.h"
#include "config/config.h"

/* The worker's side. channel, and cancel (NULL: none), which ends every wait, are borrowed. */
int helper_new(struct helper **ret, int channel, struct cancel *cancel, struct err *err);
/* No request may be under way. The helper, if there is one, ends. */
void helper_free(struct helper *helper);

/* At a time; more are refused. */
#define HELPER_PROGRAMS_MAX 16
#define HELPER_FILES_MAX    256

struct helper_setup {
	int socket;		     /* owned */
	const struct config *config; /* borrowed: options that name files do it there */
	/* Both from any thread. The command line of an entry; *ret is the caller's. */
	int (*command)(const char *credentials_file, const char *profile, char **ret,
		       struct err *err);
	/* May a path be opened that no option has? NULL: none. */
	bool (*names_file)(const char *path);
};

/* The helper's side: serves until the worker is gone. Returns the exit code. */
int helper_serve(const struct helper_setup *setup);

/* ---- helper_files.c: what the configuration names, and opening it ---- */

struct helper_names;

int helper_names_new(struct helper_names **ret, const struct config *config, struct err *err);
void helper_names_free(struct helper_names *names);
bool helper_names_file(const struct helper_names *names, const char *path);
bool helper_names_directory(const struct helper_names *names, const char *directory);

/* A regular file or a FIFO, and nothing else. The error is the reason alone. */
int helper_open(const char *path, struct err *err);

/* ---- helper_program.c ---- */

/* Splits as a shell does it, with single quotes, double quotes and backslashes, and expands
 * nothing. *ret is NULL-terminated and, like its words, in one piece of memory, the caller's.
 * ERR_DENIED if a quote is not closed or there is no word. */
int helper_split(const char *command, char ***ret, struct err *err);

/*
 * Runs the program, with nothing on its standard input, and sends its output and its end to reply.
 * Blocks, at most HELPER_TIMEOUT_MS; kills it (its process group) when that is over, when there
 * are more than HELPER_OUTPUT_MAX bytes, and when reply is closed at the other end.
 */
void helper_run(const char *command, int reply);

/* Sends an 'e' or a 'd' packet; fd stays the caller's, -1: none. */
void helper_reply_error(int reply, const struct err *err);
void helper_reply_done(int reply, const void *result, size_t len, int fd);

#define HELPER_REQUEST_MAX 8192
#define HELPER_FDS_MAX	   2 /* of a request: for the answer, inotify */
#define HELPER_PROGRAM	   'c'
#define HELPER_OPEN	   'r'
#define HELPER_STAT	   's'
#define HELPER_LSTAT	   'l'
#define HELPER_WATCH	   'w'

#define HELPER_PACKET_MAX 4096
#define HELPER_OUTPUT	  'o'
#define HELPER_DONE	  'd'
#define HELPER_ERROR	  'e'

#endif
