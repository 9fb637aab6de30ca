#include "helper/opener.h"

#include <string.h>

#include "base/files.h"
#include "base/helper.h"
#include "base/safe_path.h"
#include "base/util.h"
#include "helper/configured_files.h"
#include "helper/helper_reply.h"
#include "helper/helper_request.h"

static struct configured_files *files; /* never freed: detached threads use it */
static const struct source_type *const *all_types;

int opener_begin(const struct config *config, const struct source_type *const *types,
		 struct err *err)
{
	all_types = types;
	return configured_files_new(&files, config, err);
}

/* Types may parse files to answer, so they are asked last. */
static bool names_file(const char *path)
{
	if (configured_files_have(files, path) || strcmp(path, HELPER_RESOLV_CONF) == 0)
		return true;
	for (const struct source_type *const *type = all_types; *type; type++) {
		const struct helper_uses *helper = (*type)->helper;
		if (helper && helper->names_file && helper->names_file(path))
			return true;
	}
	return false;
}

/* ---- requests; the configuration names the path of the first three ---- */

static int open_file(const struct helper_request *request, struct err *err)
{
	_cleanup_close_ int fd = safe_path_open(request->text + 1, SAFE_PATH_OWN, err);

	if (fd < 0)
		return -1;
	helper_reply_done(request->fds[0], "", 0, fd);
	return 0;
}

static int look(const struct helper_request *request, struct err *err)
{
	struct stat st;
	_cleanup_close_ int found = safe_path_find(request->text + 1, SAFE_PATH_OWN,
						   request->text[0] == HELPER_STAT, &st, err);

	if (found < 0)
		return -1;
	helper_reply_done(request->fds[0], &st, sizeof(st), -1);
	return 0;
}

/* The descriptor gives no right to connect: the permissions of the socket apply to the worker. */
static int find_socket(const struct helper_request *request, struct err *err)
{
	_cleanup_close_ int found = safe_path_find_socket(request->text + 1, SAFE_PATH_OWN, err);

	if (found < 0)
		return -1;
	helper_reply_done(request->fds[0], "", 0, found);
	return 0;
}

static int watch(const struct helper_request *request, struct err *err)
{
	const char *directory = request->text + 1;

	if (!configured_files_in(files, directory))
		return err_set(err, ERR_DENIED, "the configuration names no file in it");
	int wd = safe_path_watch(request->fds[1], directory, FILES_WATCH_EVENTS, err);
	if (wd < 0)
		return -1;
	helper_reply_done(request->fds[0], &wd, sizeof(wd), -1);
	return 0;
}

static int if_named(int (*serve)(const struct helper_request *request, struct err *err),
		    const struct helper_request *request, struct err *err)
{
	if (names_file(request->text + 1))
		return serve(request, err);
	return err_set(err, ERR_DENIED, "the configuration does not name it");
}

int opener_serve(const struct helper_request *request, struct err *err)
{
	switch (request->text[0]) {
	case HELPER_OPEN:
		return if_named(open_file, request, err);
	case HELPER_STAT:
	case HELPER_LSTAT:
		return if_named(look, request, err);
	case HELPER_UNIX_SOCKET:
		return if_named(find_socket, request, err);
	case HELPER_WATCH:
		return watch(request, err);
	default:
		return err_set(err, ERR_DENIED, "no such request");
	}
}
