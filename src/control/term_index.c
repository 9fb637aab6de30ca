#include "control/term_index.h"

#include <stdint.h>
#include <string.h>

#include "base/nearest_name.h"

struct term_index {
	struct term *terms;
	size_t n_terms;
	const struct term_rights *rights;
	size_t n_aliases;
	const struct term *by_alias[]; /* the terms that have an alias, sorted by it */
};

static int compare_aliases(const void *a, const void *b)
{
	const struct term *const *left = a, *const *right = b;

	return strcmp((*left)->config->alias, (*right)->config->alias);
}

int term_index_new(struct term_index **ret, struct term *terms, size_t n_terms,
		   const struct term_rights *rights, struct err *err)
{
	size_t n_aliases = 0;

	for (size_t i = 0; i < n_terms; i++)
		n_aliases += terms[i].config->alias != NULL;

	struct term_index *index = malloc(sizeof(*index) + n_aliases * sizeof(struct term *));
	if (!index)
		return err_errno(err, "index of terms");
	*index = (struct term_index){ .terms = terms, .n_terms = n_terms, .rights = rights };
	for (size_t i = 0; i < n_terms; i++) {
		if (terms[i].config->alias)
			index->by_alias[index->n_aliases++] = &terms[i];
	}
	qsort(index->by_alias, index->n_aliases, sizeof(struct term *), compare_aliases);
	*ret = index;
	return 0;
}

void term_index_free(struct term_index *index)
{
	free(index);
}

static int compare_to_alias(const void *text, const void *place)
{
	return strcmp(text, (*(const struct term *const *)place)->config->alias);
}

static const char *nearest_to(const struct term_index *index, const struct term_access *access,
			      const char *text)
{
	struct nearest nearest = NEAREST_INIT(text);

	for (size_t i = 0; i < index->n_terms; i++) {
		const struct term *term = &index->terms[i];

		if (!term_rights_include(index->rights, access, term))
			continue;
		nearest_consider(&nearest, term->config->name);
		if (term->config->alias)
			nearest_consider(&nearest, term->config->alias);
	}
	return nearest.found;
}

static const struct term *find(const struct term_index *index, const char *text)
{
	const struct term *term = term_find(index->terms, index->n_terms, text);
	const struct term *const *place = NULL;

	if (!term && index->n_aliases > 0)
		place = bsearch(text, index->by_alias, index->n_aliases, sizeof(struct term *),
				compare_to_alias);
	return place ? *place : term;
}

int term_index_find(const struct term_index *index, const struct term_access *access,
		    const char *text, size_t *ret, struct err *err)
{
	const struct term *term = find(index, text);

	if (term && term_rights_include(index->rights, access, term)) {
		*ret = (size_t)(term - index->terms);
		return 0;
	}
	bool is_full = term_rights_are_full(index->rights, access);
	const char *nearest = nearest_to(index, access, text);
	return err_set(err, ERR_NOT_FOUND, "there is no term \"%s\"%s%s%s%s", text,
		       is_full ? "" : " that you may read", nearest ? "; did you mean \"" : "",
		       nearest ? nearest : "", nearest ? "\"?" : "");
}
