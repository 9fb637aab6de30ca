#include "helper/helper.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "base/files.h"

struct list {
	char **texts; /* owned, as each of them; sorted */
	size_t n;
};

struct helper_names {
	struct list files;
	struct list directories;
};

DEFINE_CLEANUP(struct helper_names, helper_names_free)

/* ---- what the configuration names ---- */

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool has(const struct list *list, const char *text)
{
	return list->n && bsearch(&text, list->texts, list->n, sizeof(text), compare);
}

static void sort(struct list *list)
{
	if (list->n)
		qsort(list->texts, list->n, sizeof(*list->texts), compare);
}

static int add(struct list *list, const char *text, size_t len, struct err *err)
{
	/* Doubled at each power of two. */
	if ((list->n & (list->n - 1)) == 0) {
		char **grown = reallocarray(list->texts, list->n ? 2 * list->n : 1, sizeof(*grown));
		if (!grown)
			return err_set(err, ERR_INTERNAL, "out of memory");
		list->texts = grown;
	}
	list->texts[list->n] = strndup(text, len);
	if (!list->texts[list->n])
		return err_set(err, ERR_INTERNAL, "out of memory");
	list->n++;
	return 0;
}

static int add_path(struct helper_names *names, const char *path, struct err *err)
{
	const char *slash = path ? strrchr(path, '/') : NULL;

	if (!slash)
		return 0;
	if (add(&names->files, path, strlen(path), err) < 0)
		return -1;
	return add(&names->directories, path, (size_t)(slash - path), err);
}

static int add_source(struct helper_names *names, const struct source *source, struct err *err)
{
	const struct option_spec *spec = source->type->options;

	for (; spec->name; spec++) {
		if (spec->names_file &&
		    add_path(names, options_string(source->options, spec->name), err) < 0)
			return -1;
	}
	return 0;
}

int helper_names_new(struct helper_names **ret, const struct config *config, struct err *err)
{
	_cleanup_(helper_names_free_cleanup) struct helper_names *names = calloc(1, sizeof(*names));

	if (!names)
		return err_set(err, ERR_INTERNAL, "out of memory");
	for (size_t i = 0; i < config->n_terms; i++) {
		const struct term_config *term = &config->terms[i];
		for (size_t j = 0; j < term->n_sources; j++) {
			if (add_source(names, &term->sources[j], err) < 0)
				return -1;
		}
	}
	sort(&names->files);
	sort(&names->directories);
	*ret = steal_ptr(&names);
	return 0;
}

static void list_release(struct list *list)
{
	while (list->n)
		free(list->texts[--list->n]);
	free(list->texts);
}

void helper_names_free(struct helper_names *names)
{
	if (!names)
		return;
	list_release(&names->files);
	list_release(&names->directories);
	free(names);
}

bool helper_names_file(const struct helper_names *names, const char *path)
{
	return has(&names->files, path);
}

bool helper_names_directory(const struct helper_names *names, const char *directory)
{
	return has(&names->directories, directory);
}

/* ---- opening ---- */

/* First without effect: opening a device may have one, and a directory would be a way to all that
 * is in it. */
int helper_open(const char *path, struct err *err)
{
	_cleanup_close_ int place = open(path, O_PATH | O_CLOEXEC);
	char self[32];
	struct stat st;

	if (place < 0 || fstat(place, &st) < 0)
		return files_fail(err);
	if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode))
		return err_set(err, ERR_BAD_DATA, "it is not a regular file");
	snprintf(self, sizeof(self), "/proc/self/fd/%d", place);
	int fd = open(self, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return fd < 0 ? files_fail(err) : fd;
}
