#include "config/check_named.h"

#include <fcntl.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file_error.h"
#include "base/safe_path.h"
#include "base/util.h"
#include "config/option.h"

/* Does not ask the daemon of a mount, which may hang. */
static void check_mountpoint(const char *path, FILE *out)
{
	struct statx stx;

	if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &stx) < 0)
		fprintf(out, "rptfs: warning: mountpoint: %s: %s\n", path, strerror(errno));
	else if (!S_ISDIR(stx.stx_mode))
		fprintf(out, "rptfs: warning: mountpoint: %s: %s\n", path, strerror(ENOTDIR));
}

static void check_user(const char *user, FILE *out)
{
	char buffer[16384];
	struct passwd entry, *found = NULL;

	/* An error is not an answer. */
	if (getpwnam_r(user, &entry, buffer, sizeof(buffer), &found) == 0 && !found)
		fprintf(out, "rptfs: warning: user: there is no user \"%s\"\n", user);
}

/* As whoever reads it later walks it, but without opening it: somebody may wait for a reader. */
static int check_path(const char *path, struct err *err)
{
	struct stat st;
	_cleanup_close_ int found = safe_path_find(path, SAFE_PATH_OWN, true, &st, err);

	if (found < 0)
		return -1;
	return faccessat(found, "", R_OK, AT_EMPTY_PATH | AT_EACCESS) < 0 ? file_error(err) : 0;
}

/* Returns the path that it has warned about, else `reported`: terms often share one file. */
static const char *check_source(const struct term_config *term, const struct source *source,
				const char *reported, FILE *out)
{
	const struct option_spec *spec = source->type->options->rows;

	for (; spec->name; spec++) {
		const char *path = option_file(spec, source->options);
		struct err err = ERR_INIT;

		if (!path || *path != '/' || (reported && strcmp(path, reported) == 0) ||
		    check_path(path, &err) == 0)
			continue;
		fprintf(out, "rptfs: warning: term \"%s\": %s: %s: %s: %s\n", term->name,
			source->type->name, spec->name, path, err.msg);
		reported = path;
	}
	return reported;
}

void config_check_named(const struct config *config, FILE *out)
{
	const char *reported = NULL;

	if (config->mountpoint)
		check_mountpoint(config->mountpoint, out);
	if (config->user)
		check_user(config->user, out);
	for (size_t i = 0; i < config->n_terms; i++) {
		const struct term_config *term = &config->terms[i];

		for (size_t j = 0; j < term->n_sources; j++)
			reported = check_source(term, &term->sources[j], reported, out);
	}
}
