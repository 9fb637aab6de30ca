/*
 * load_files: loads configuration files and the files that they include, one after the other.
 *
 * An included file is loaded after the including file has been parsed to its end, so that only one
 * file is in memory at a time.
 */
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file_error.h"
#include "base/safe_path.h"
#include "base/util.h"
#include "config/config_name.h"
#include "config/load_internal.h"

#define DEPTH_MAX 64

/* The includes of the file that is being parsed. */
struct include {
	char *pattern; /* owned */
	unsigned line;
};

struct includes {
	struct include *items; /* owned */
	size_t n;
};

static void includes_release(struct includes *includes)
{
	for (size_t i = 0; i < includes->n; i++)
		free(includes->items[i].pattern);
	free(includes->items);
}

/* The directory of a file. The caller frees it. */
static char *directory_of(const struct loader *loader, unsigned file)
{
	const char *path = loader->files[file - 1].path;
	size_t len = (size_t)(strrchr(path, '/') - path);

	return strndup(path, len ? len : 1);
}

/* Paths in a file are relative to the directory of the file. */
static char *absolute_here(const struct loader *loader, unsigned file, const char *path)
{
	_cleanup_free_ char *directory = directory_of(loader, file);

	return directory ? path_absolute(directory, path) : NULL;
}

/* An option of the root. mountpoint and store become absolute paths. */
static void load_root_option(struct loader *loader, const struct statement *option, unsigned file)
{
	bool is_store = strcmp(option->name, "store") == 0;
	bool is_path = is_store || strcmp(option->name, "mountpoint") == 0;
	const char *text = option->n_texts == 1 ? option->texts[0] : NULL;
	struct statement absolute = *option;

	if (!is_path || !text || option->is_list || (is_store && config_is_memory(text))) {
		load_option(loader, &loader->root, option, file);
		return;
	}
	if (!*text) {
		problem_add(&loader->problems, (struct place){ file, option->line }, NULL,
			    "%s: the path is empty", option->name);
		return;
	}
	_cleanup_free_ char *path = absolute_here(loader, file, text);
	if (!path) {
		problem_out_of_memory(&loader->problems);
		return;
	}
	absolute.texts = (const char *[]){ path };
	load_option(loader, &loader->root, &absolute, file);
}

static void note_include(struct loader *loader, struct includes *includes,
			 const struct statement *call)
{
	char *copy = strdup(call->texts[0]);
	struct include *items = copy ? reallocarray(includes->items, includes->n + 1,
						    sizeof(*items))
				     : NULL;

	if (!items) {
		free(copy);
		problem_out_of_memory(&loader->problems);
		return;
	}
	includes->items = items;
	items[includes->n++] = (struct include){ copy, call->line };
}

static void load_call(struct loader *loader, struct includes *includes,
		      const struct statement *call, unsigned file)
{
	if (strcmp(call->name, "include") != 0)
		load_misplaced_call(loader, &loader->root, call, file);
	else if (call->n_texts == 1)
		note_include(loader, includes, call);
	else
		problem_add(&loader->problems, (struct place){ file, call->line }, NULL,
			    "include() takes one file name: include(\"conf.d/*.conf\")");
}

static void load_block(struct loader *loader, const struct statement *block, unsigned file)
{
	if (strcmp(block->name, "term") == 0 && block->title)
		load_term(loader, block, file);
	else if (strcmp(block->name, "defaults") == 0 && !block->title)
		load_defaults(loader, block, file);
	else
		load_unknown_block(loader, &loader->root, block, file);
}

static void parse_file(struct loader *loader, struct grammar *grammar, struct includes *includes,
		       unsigned file)
{
	const struct statement *statement;

	grammar_report_to(grammar, &loader->problems, file);
	while ((statement = grammar_next(grammar))) {
		loader->has_statement = true;
		switch (statement->kind) {
		case STATEMENT_BROKEN:
			break;
		case STATEMENT_OPTION:
			load_root_option(loader, statement, file);
			break;
		case STATEMENT_BLOCK:
			load_block(loader, statement, file);
			break;
		case STATEMENT_CALL:
			load_call(loader, includes, statement, file);
			break;
		}
	}
}

/* Reports a problem with a file at its include(), or at the command line. */
__attribute__((format(printf, 4, 5))) static void refuse_file(struct loader *loader,
							      struct place parent, const char *path,
							      const char *fmt, ...)
{
	char subject[PATH_MAX + sizeof("include ")];
	va_list args;

	snprintf(subject, sizeof(subject), "%s%s", parent.file ? "include " : "", path);
	va_start(args, fmt);
	problem_add_about(&loader->problems, parent, NULL, subject, fmt, args);
	va_end(args);
}

/* Is it a descriptor that the command inherited? Then there is no path to check. */
static bool names_descriptor(const char *path)
{
	return strcmp(path, "/dev/stdin") == 0 || strncmp(path, "/dev/fd/", 8) == 0 ||
	       strncmp(path, "/proc/self/fd/", 14) == 0;
}

static int open_inherited(const char *path, struct stat *ret, struct err *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0 || fstat(fd, ret) < 0)
		return file_error(err);
	return steal_fd(&fd);
}

/* Opens it if only root and the user who starts rptfs may change it. */
static int open_file(const char *path, struct stat *ret, struct err *err)
{
	if (names_descriptor(path))
		return open_inherited(path, ret, err);
	_cleanup_close_ int found = safe_path_find(path, SAFE_PATH_OURS, true, ret, err);
	if (found < 0)
		return -1;
	/* Opening a FIFO would wait for its other end. */
	if (!S_ISREG(ret->st_mode) && !S_ISDIR(ret->st_mode))
		return err_set(err, ERR_CONFIG, "not a regular file");
	return safe_path_reopen(found, 0, err);
}

/* Returns true if the file is new here. If not, the problem is noted. */
static bool check_file(struct loader *loader, struct place parent, const char *path,
		       const struct stat *st)
{
	char where[PLACE_SIZE];
	unsigned depth = 0;

	for (unsigned file = parent.file; file; depth++) {
		const struct loaded_file *ancestor = &loader->files[file - 1];
		if (ancestor->dev == st->st_dev && ancestor->ino == st->st_ino) {
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
		if (other->dev == st->st_dev && other->ino == st->st_ino) {
			refuse_file(loader, parent, path, "it is included twice, first in %s",
				    problems_place(&loader->problems, other->parent, where));
			return false;
		}
	}
	return true;
}

/* Returns the number of the file, or 0 if out of memory. */
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

static void load_one(struct loader *loader, struct place parent, const char *path);

/* The pattern below the directory. Special characters in the directory are escaped. The caller
 * frees it. */
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

/* Whoever may write to the directory decides which files match. Returns whether it is safe or
 * missing; otherwise reports the problem. */
static bool check_directory(struct loader *loader, struct place place, const char *directory,
			    const char *pattern)
{
	_cleanup_free_ char *path = NULL;
	size_t literal = strcspn(pattern, "*?[");
	struct err err = ERR_INIT;
	struct stat st;

	while (literal && pattern[literal - 1] != '/')
		literal--;
	if (asprintf(&path, "%s/%.*s", *pattern == '/' ? "" : directory, (int)literal, pattern) <
	    0) {
		path = NULL;
		problem_out_of_memory(&loader->problems);
		return false;
	}
	_cleanup_close_ int found = safe_path_find(path, SAFE_PATH_OURS, true, &st, &err);
	if (found >= 0 || err.kind == ERR_NOT_FOUND)
		return true;
	problem_add(&loader->problems, place, NULL, "include %s: %s", pattern, err.msg);
	return false;
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
	bool is_absolute = *include->pattern == '/';
	if (is_pattern && !check_directory(loader, place, directory, include->pattern))
		return;
	if (is_pattern)
		path = pattern_here(directory, include->pattern);
	else if (asprintf(&path, "%s%s%s", is_absolute ? "" : directory, is_absolute ? "" : "/",
			  include->pattern) < 0)
		path = NULL;
	if (!path)
		problem_out_of_memory(&loader->problems);
	else if (is_pattern)
		load_glob(loader, place, path);
	else
		load_one(loader, place, path);
}

DEFINE_CLEANUP(struct grammar, grammar_free)

static void load_one(struct loader *loader, struct place parent, const char *path)
{
	_cleanup_(grammar_free_cleanup) struct grammar *grammar = NULL;
	_cleanup_(includes_release) struct includes includes = { 0 };
	struct err err = ERR_INIT;
	struct stat st;

	_cleanup_close_ int fd = open_file(path, &st, &err);
	if (fd >= 0 && !check_file(loader, parent, path, &st))
		return;
	if (fd < 0 || grammar_read(&grammar, fd, &err) < 0) {
		refuse_file(loader, parent, path, "%s", err.msg);
		return;
	}
	close(steal_fd(&fd));
	unsigned file = add_file(loader, parent, path, &st);
	if (file == 0)
		return;
	parse_file(loader, grammar, &includes, file);
	grammar_free(steal_ptr(&grammar));
	for (size_t i = 0; i < includes.n; i++)
		load_include(loader, file, &includes.items[i]);
}

void load_file(struct loader *loader, const char *path)
{
	load_one(loader, (struct place){ 0, 0 }, path);
	if (!loader->has_statement && !problems_any(&loader->problems) && loader->n_drafts == 0)
		problem_add(&loader->problems, (struct place){ 1, 1 }, NULL,
			    "the file is empty: it has no terms");
}
