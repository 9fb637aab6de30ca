#include "helper/configured_files.h"

#include <stdlib.h>
#include <string.h>

#include "base/util.h"

struct list {
	char **texts; /* owned, as each of them; sorted */
	size_t n;
};

struct configured_files {
	struct list paths;
	struct list directories;
};

static void list_release(struct list *list)
{
	while (list->n)
		free(list->texts[--list->n]);
	free(list->texts);
}

static void configured_files_free(struct configured_files *files)
{
	list_release(&files->paths);
	list_release(&files->directories);
	free(files);
}

DEFINE_CLEANUP(struct configured_files, configured_files_free)

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
	/* The capacity is the next power of two. */
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

static int add_path(struct configured_files *files, const char *path, struct err *err)
{
	const char *slash = path ? strrchr(path, '/') : NULL;

	if (!slash)
		return 0;
	if (add(&files->paths, path, strlen(path), err) < 0)
		return -1;
	return add(&files->directories, path, (size_t)(slash - path), err);
}

static int add_source(struct configured_files *files, const struct source *source, struct err *err)
{
	const struct option_spec *spec = source->type->options->rows;

	for (; spec->name; spec++) {
		if (add_path(files, option_file(spec, source->options), err) < 0)
			return -1;
	}
	return 0;
}

int configured_files_new(struct configured_files **ret, const struct config *config,
			 struct err *err)
{
	_cleanup_(configured_files_free_cleanup) struct configured_files *files = calloc(
		1, sizeof(*files));

	if (!files)
		return err_set(err, ERR_INTERNAL, "out of memory");
	for (size_t i = 0; i < config->n_terms; i++) {
		const struct term_config *term = &config->terms[i];
		for (size_t j = 0; j < term->n_sources; j++) {
			if (add_source(files, &term->sources[j], err) < 0)
				return -1;
		}
	}
	sort(&files->paths);
	sort(&files->directories);
	*ret = steal_ptr(&files);
	return 0;
}

bool configured_files_have(const struct configured_files *files, const char *path)
{
	return has(&files->paths, path);
}

bool configured_files_in(const struct configured_files *files, const char *directory)
{
	return has(&files->directories, directory);
}
