/*
 * helper: requests that the worker sends to processes with more rights: to the opener to open a
 * file, to the executor to run a program.
 *
 * Both have rights of the user who started rptfs. They do not trust the worker, which may be
 * compromised. They open only files that the configuration or the environment names. A request to
 * run a program names an entry of such a file, never a command line.
 *
 * Calls block until the answer arrives, and may come from any thread. Besides the errors below,
 * they fail with ERR_UNREACHABLE (there is no helper, or it died), ERR_BUSY (too many requests),
 * ERR_INTERNAL or ERR_CANCELED.
 */
#ifndef BASE_HELPER_H
#define BASE_HELPER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "base/cancel.h"
#include "base/err.h"

/* The processes. */
enum helper_role { HELPER_OPENER, HELPER_EXECUTOR, HELPER_ROLES };

/* Opened although no option names it: the worker has a copy (http/http_resolver.h). */
#define HELPER_RESOLV_CONF "/etc/resolv.conf"

#define HELPER_OUTPUT_MAX (64 * 1024)
#define HELPER_TIMEOUT_MS (60 * 1000)

struct helper {
	/*
	 * Runs the command line of an entry of a file (NULL: the file that the environment names).
	 * `name` selects the struct helper_program that finds it. Blocks until the program has
	 * ended, at most HELPER_TIMEOUT_MS. ret_output holds HELPER_OUTPUT_MAX bytes and gets its
	 * standard output, without a NUL; its content is undefined after a failure. ERR_DENIED if
	 * there is no such entry or the program failed, ERR_UNREACHABLE if it took too long.
	 */
	int (*run_program)(struct helper *helper, struct cancel *cancel, const char *name,
			   const char *file, const char *entry, char *ret_output, size_t *ret_len,
			   struct err *err);

	/* For base/files.h, with the errors of base/safe_path.h. Also ERR_DENIED for a path that is
	 * not configured. */
	int (*open_file)(struct helper *helper, const char *path, struct err *err);
	int (*look)(struct helper *helper, const char *path, bool follow, struct stat *ret,
		    struct err *err);
	/* Returns an O_PATH descriptor of a socket. */
	int (*find_socket)(struct helper *helper, const char *path, struct err *err);
	int (*watch)(struct helper *helper, int inotify, const char *directory, struct err *err);
};

/* One kind of program that the helper runs. */
struct helper_program {
	const char *name; /* unique among all fetchers */
	/* Does the configuration use such a program? */
	bool (*is_configured)(void);
	/* Finds the command line of an entry of a file (NULL: the file that the environment names).
	 * *ret is the caller's. ERR_DENIED if the configuration does not use that entry, or if
	 * others could change the file. */
	int (*find)(const char *file, const char *entry, char **ret, struct err *err);
};

/*
 * What the helper does for the sources of one type, besides opening the files that their options
 * name. The functions run in the helper, after it has loaded the configuration, from any thread.
 * Their results depend on the configuration and the environment alone.
 */
struct helper_uses {
	const struct helper_program *programs; /* the last has no name; NULL: none */
	/* Returns whether this file may be opened although no option names it. NULL: there are no
	 * such files. */
	bool (*names_file)(const char *path);
};

#endif
