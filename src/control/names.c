#include "control/names.h"

#include <stdint.h>
#include <string.h>

#include "base/nearest.h"

struct names {
	const struct term *terms;
	size_t n_terms;
	size_t n_aliases;
	const struct term *by_alias[]; /* those that have one, sorted by it */
};

static int compare_aliases(const void *a, const void *b)
{
	const struct term *const *left = a, *const *right = b;

	return strcmp((*left)->config->alias, (*right)->config->alias);
}

int names_new(struct names **ret, const struct term *terms, size_t n_terms, struct err *err)
{
	size_t n_aliases = 0;

	for (size_t i = 0; i < n_terms; i++)
		n_aliases += terms[i].config->alias != NULL;

	struct names *names = malloc(sizeof(*names) + n_aliases * sizeof(struct term *));
	if (!names)
		return err_errno(err, "table of names");
	*names = (struct names){ .terms = terms, .n_terms = n_terms };
	for (size_t i = 0; i < n_terms; i++) {
		if (terms[i].config->alias)
			names->by_alias[names->n_aliases++] = &terms[i];
	}
	qsort(names->by_alias, names->n_aliases, sizeof(struct term *), compare_aliases);
	*ret = names;
	return 0;
}

void names_free(struct names *names)
{
	free(names);
}

static int compare_to_name(const void *text, const void *term)
{
	return strcmp(text, ((const struct term *)term)->config->name);
}

static int compare_to_alias(const void *text, const void *place)
{
	return strcmp(text, (*(const struct term *const *)place)->config->alias);
}

static const char *nearest_to(const struct names *names, const char *text)
{
	struct nearest nearest = NEAREST_INIT(text);

	for (size_t i = 0; i < names->n_terms; i++)
		nearest_consider(&nearest, names->terms[i].config->name);
	for (size_t i = 0; i < names->n_aliases; i++)
		nearest_consider(&nearest, names->by_alias[i]->config->alias);
	return nearest.found;
}

int names_find(const struct names *names, const char *text, size_t *ret, struct err *err)
{
	const struct term *term = NULL;
	const struct term *const *place = NULL;

	if (names->n_terms > 0)
		term = bsearch(text, names->terms, names->n_terms, sizeof(*names->terms),
			       compare_to_name);
	if (!term && names->n_aliases > 0)
		place = bsearch(text, names->by_alias, names->n_aliases, sizeof(struct term *),
				compare_to_alias);
	if (place)
		term = *place;
	if (term) {
		*ret = (size_t)(term - names->terms);
		return 0;
	}

	const char *nearest = nearest_to(names, text);
	if (nearest)
		return err_set(err, ERR_NOT_FOUND, "there is no term \"%s\"; did you mean \"%s\"?",
			       text, nearest);
	return err_set(err, ERR_NOT_FOUND, "there is no term \"%s\"", text);
}
