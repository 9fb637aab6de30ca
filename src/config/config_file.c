/*
 * config_file: one configuration file after the other, with what they include.
 *
 * An include() is followed when the file that has it has been parsed to its end, in the order of
 * the file: libconfuse's scanner is global.
 */
#include <glob.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "config/config_load.h"
#include "config/config_name.h"

#define DEPTH_MAX 64

/* The directory of the file that is being parsed, or was last; the caller's. */
static char *directory_of(const struct loader *loader, unsigned file)
{
	const char *path = loader->files[file - 1].path;
	const char *slash = strrchr(path, '/');

	if (!slash)
		return strdup(".");
	return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

/* Paths in a file are relative to the directory that the file is in. */
static char *absolute_here(const struct loader *loader, const char *path)
{
	_cleanup_free_ char *directory = directory_of(loader, loader->file);
	_cleanup_free_ char *base = directory ? path_absolute(loader->cwd, directory) : NULL;

	return base ? path_absolute(base, path) : NULL;
}

static void make_absolute(struct loader *loader, const char *name, const struct raw_value *value)
{
	_cleanup_free_ char *path = NULL;
	struct err err = ERR_INIT;

	if (!*value->text) {
		problem_add(&loader->problems, (struct place){ loader->file, value->line }, NULL,
			    "%s: the path is empty", name);
		return;
	}
	if (strcmp(name, "store") == 0) {
		loader->store_place = (struct place){ loader->file, value->line };
		if (strcmp(value->text, "memory") == 0)
			return;
	}
	path = absolute_here(loader, value->text);
	if (!path || options_set(loader->root, name, path, &err) < 0)
		problem_out_of_memory(&loader->problems);
}

static void on_root(void *arg, const struct raw_block *block)
{
	struct loader *loader = arg;

	load_values(loader, block, loader->root, NULL, NULL);
	for (size_t i = 0; i < block->n_values; i++) {
		const char *name = block->values[i].spec->name;
		if (strcmp(name, "mountpoint") == 0 || strcmp(name, "store") == 0)
			make_absolute(loader, name, &block->values[i]);
	}
}

static void on_defaults(void *arg, const struct raw_block *block)
{
	struct loader *loader = arg;

	load_values(loader, block, loader->defaults, NULL, "defaults");
}

static void on_term(void *arg, const char *name, const struct raw_block *block,
		    const struct raw_source *sources, size_t n_sources)
{
	load_term(arg, name, block, sources, n_sources);
}

static void on_include(void *arg, const char *pattern, unsigned line)
{
	struct loader *loader = arg;
	char *copy = strdup(pattern);
	struct include *includes = copy ? reallocarray(loader->includes, loader->n_includes + 1,
						       sizeof(*includes))
					: NULL;

	if (!includes) {
		free(copy);
		problem_out_of_memory(&loader->problems);
		return;
	}
	loader->includes = includes;
	includes[loader->n_includes++] = (struct include){ copy, line };
}

static void parse_file(struct loader *loader, struct scanner *scanner)
{
	_cleanup_(sieve_notes_release) struct sieve_notes notes = { 0 };
	const struct parse_handler handler = {
		.root = on_root,
		.defaults = on_defaults,
		.term = on_term,
		.include = on_include,
		.arg = loader,
	};

	config_sieve(scanner, &loader->schema, &notes);
	config_parse(scanner, &loader->schema, &notes, &handler);
}

/* What cannot be done with a file, said where it is included or on the command line. */
__attribute__((format(printf, 4, 5))) static void refuse_file(struct loader *loader,
							      struct place parent, const char *path,
							      const char *fmt, ...)
{
	char text[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	problem_add(&loader->problems, parent, NULL, "%s%s: %s", parent.file ? "include " : "",
		    path, text);
}

/* True if the file is new here; else, or when it cannot be found, a problem was noted. */
static bool check_file(struct loader *loader, struct place parent, const char *path,
		       struct stat *ret)
{
	char where[PLACE_SIZE];
	unsigned depth = 0;

	if (stat(path, ret) < 0) {
		refuse_file(loader, parent, path, "%s", strerror(errno));
		return false;
	}
	for (unsigned file = parent.file; file; depth++) {
		const struct loaded_file *ancestor = &loader->files[file - 1];
		if (ancestor->dev == ret->st_dev && ancestor->ino == ret->st_ino) {
			refuse_file(loader, parent, path, "the files include each other in a loop");
			return false;
		}
		file = ancestor->parent.file;
	}
	if (depth > DEPTH_MAX) {
		refuse_file(loader, parent, path, "the files include each other too deeply");
		return false;
	}
	for (unsigned i = 0; i < loader->n_files; i++) {
		const struct loaded_file *other = &loader->files[i];
		if (other->dev == ret->st_dev && other->ino == ret->st_ino) {
			refuse_file(loader, parent, path, "it is included twice, first in %s",
				    problems_place(&loader->problems, other->parent, where));
			return false;
		}
	}
	return true;
}

/* Its number, or 0. */
static unsigned add_file(struct loader *loader, struct place parent, const char *path,
			 const struct stat *st)
{
	char *copy = strdup(path);
	struct loaded_file *files = copy ? reallocarray(loader->files, loader->n_files + 1,
							sizeof(*files))
					 : NULL;

	if (files)
		loader->files = files;
	if (!files || problems_add_file(&loader->problems, path) == 0) {
		free(copy);
		problem_out_of_memory(&loader->problems);
		return 0;
	}
	files[loader->n_files] = (struct loaded_file){
		.path = copy, .dev = st->st_dev, .ino = st->st_ino, .parent = parent
	};
	return ++loader->n_files;
}

static void load_includes(struct loader *loader, unsigned file);

static void load_one(struct loader *loader, struct place parent, const char *path)
{
	_cleanup_(scanner_release) struct scanner scanner = { .problems = &loader->problems };
	struct err err = ERR_INIT;
	struct stat st;

	if (!check_file(loader, parent, path, &st))
		return;
	if (scanner_open(&scanner, path, &err) < 0) {
		refuse_file(loader, parent, path, "%s", err.msg);
		return;
	}
	loader->file = scanner.file = add_file(loader, parent, path, &st);
	if (loader->file == 0)
		return;
	parse_file(loader, &scanner);
	scanner_release(&scanner);
	load_includes(loader, loader->file);
}

/* The pattern below the file's directory, whose own name is not a pattern. The caller's. */
static char *pattern_here(const char *directory, const char *pattern)
{
	char *joined = malloc(2 * strlen(directory) + strlen(pattern) + 2), *out = joined;

	if (!joined)
		return NULL;
	if (*pattern != '/') {
		for (; *directory; directory++) {
			if (strchr("*?[]\\", *directory))
				*out++ = '\\';
			*out++ = *directory;
		}
		*out++ = '/';
	}
	strcpy(out, pattern);
	return joined;
}

static void load_glob(struct loader *loader, struct place place, const char *pattern)
{
	_cleanup_(globfree) glob_t found = { 0 };

	switch (glob(pattern, 0, NULL, &found)) {
	case 0:
		for (size_t i = 0; i < found.gl_pathc; i++)
			load_one(loader, place, found.gl_pathv[i]);
		break;
	case GLOB_NOMATCH:
		break;
	default:
		problem_add(&loader->problems, place, NULL, "include %s: %s", pattern,
			    strerror(errno));
		break;
	}
}

static void load_include(struct loader *loader, unsigned file, const struct include *include)
{
	_cleanup_free_ char *directory = directory_of(loader, file);
	_cleanup_free_ char *path = NULL;
	struct place place = { file, include->line };

	if (!directory) {
		problem_out_of_memory(&loader->problems);
		return;
	}
	if (!*include->pattern) {
		problem_add(&loader->problems, place, NULL, "include: the path is empty");
		return;
	}
	bool is_pattern = strpbrk(include->pattern, "*?[");
	bool is_here = strcmp(directory, ".") == 0 || *include->pattern == '/';
	if (is_pattern)
		path = pattern_here(directory, include->pattern);
	else if (asprintf(&path, "%s%s%s", is_here ? "" : directory, is_here ? "" : "/",
			  include->pattern) < 0)
		path = NULL;
	if (!path)
		problem_out_of_memory(&loader->problems);
	else if (is_pattern)
		load_glob(loader, place, path);
	else
		load_one(loader, place, path);
}

static void load_includes(struct loader *loader, unsigned file)
{
	struct include *includes = steal_ptr(&loader->includes);
	size_t n_includes = loader->n_includes;

	loader->n_includes = 0;
	for (size_t i = 0; i < n_includes; i++) {
		load_include(loader, file, &includes[i]);
		free(includes[i].pattern);
	}
	free(includes);
}

void load_file(struct loader *loader, const char *path)
{
	load_one(loader, (struct place){ 0, 0 }, path);
}
