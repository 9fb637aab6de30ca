#include "config/check_files.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

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

/* Returns the path that it has warned about, else `reported`: terms often share one file. */
static const char *check_source(const struct term_config *term, const struct source *source,
				const char *reported, FILE *out)
{
	const struct option_spec *spec = source->type->options->rows;

	for (; spec->name; spec++) {
		const char *path = spec->names_file ? option_string(spec, source->options) : NULL;

		if (!path || *path != '/' || (reported && strcmp(path, reported) == 0) ||
		    access(path, R_OK) == 0)
			continue;
		fprintf(out, "rptfs: warning: term \"%s\": %s: %s: %s: %s\n", term->name,
			source->type->name, spec->name, path, strerror(errno));
		reported = path;
	}
	return reported;
}

void config_check_files(const struct config *config, FILE *out)
{
	const char *reported = NULL;

	if (config->mountpoint)
		check_mountpoint(config->mountpoint, out);
	for (size_t i = 0; i < config->n_terms; i++) {
		const struct term_config *term = &config->terms[i];

		for (size_t j = 0; j < term->n_sources; j++)
			reported = check_source(term, &term->sources[j], reported, out);
	}
}
