/*
 * helper_protocol: the messages between the worker and its helpers, the opener and the executor.
 *
 * When the worker first needs one of them, it makes a pair of sockets, keeps one end, and has the
 * keeper start the process with the other (CHANNEL_HELPER, CHANNEL_EXECUTOR). Over it the worker
 * sends requests, each one packet with a socket for the answer:
 *
 *	worker                            opener
 *	'r' "PATH\0"             ────►           open a configured file for reading
 *	's' 'l' "PATH\0"         ────►           stat(2), lstat(2) a configured file
 *	'u' "PATH\0"             ────►           find a configured socket
 *	'w' "DIRECTORY\0"        ────►           watch the directory of a configured file with the
 *	                                         inotify descriptor that comes with the request
 *	                         ◄────  'd' result    success, with a descriptor (r, u), a struct
 *	                                              stat (s, l) or an int (w)
 *	                         ◄────  'e' kind text failure
 *	worker                            executor
 *	'c' "NAME\0FILE\0ENTRY\0" ────►         run a program (base/helper.h); FILE may be empty
 *	                         ◄────  'o' bytes     its standard output, as it comes
 *	                         ◄────  'd'           success
 *	                         ◄────  'e' kind text failure
 *
 * When the worker closes the socket of a request for a program, the executor kills the program.
 * When it closes the first socket, which happens at the latest when it dies, the process ends.
 * After the death of a process the next request starts another one.
 *
 * Runs in the worker, unprivileged, in the opener and in the executor.
 */
#ifndef HELPER_HELPER_PROTOCOL_H
#define HELPER_HELPER_PROTOCOL_H

#include "base/helper.h"

#define HELPER_REQUEST_MAX 8192 /* bytes */
#define HELPER_FDS_MAX	   2	/* of a request: for the answer, inotify */
#define HELPER_PROGRAM	   'c'
#define HELPER_OPEN	   'r'
#define HELPER_STAT	   's'
#define HELPER_LSTAT	   'l'
#define HELPER_UNIX_SOCKET 'u'
#define HELPER_WATCH	   'w'

#define HELPER_PACKET_MAX 4096 /* bytes after the letter */
#define HELPER_OUTPUT	  'o'
#define HELPER_DONE	  'd'
#define HELPER_ERROR	  'e'

#endif
