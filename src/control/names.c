#include "control/names.h"

#include <stdint.h>
#include <string.h>

/* Longer names are not compared for the suggestion, nor is offered what differs in more places. */
#define NEAREST_MAX_BYTES 64
#define NEAREST_MAX_EDITS 3

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

/* Levenshtein's distance; both texts have at most NEAREST_MAX_BYTES. */
static unsigned distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	unsigned row[NEAREST_MAX_BYTES + 1];

	for (size_t j = 0; j <= b_len; j++)
		row[j] = (unsigned)j;
	for (size_t i = 0; i < a_len; i++) {
		unsigned diagonal = row[0];

		row[0] = (unsigned)i + 1;
		for (size_t j = 0; j < b_len; j++) {
			unsigned best = diagonal + (a[i] != b[j]);

			diagonal = row[j + 1];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j + 1] + 1 < best)
				best = row[j + 1] + 1;
			row[j + 1] = best;
		}
	}
	return row[b_len];
}

/* Takes `candidate` as *nearest if it is nearer to the text than *edits. */
static void consider(const char *text, size_t len, const char *candidate, const char **nearest,
		     unsigned *edits)
{
	size_t candidate_len = strlen(candidate);

	if (candidate_len > NEAREST_MAX_BYTES || candidate_len + *edits < len ||
	    len + *edits < candidate_len)
		return;
	unsigned found = distance(text, len, candidate, candidate_len);
	if (found < *edits) {
		*edits = found;
		*nearest = candidate;
	}
}

static const char *nearest_to(const struct names *names, const char *text)
{
	size_t len = strlen(text);
	unsigned edits = NEAREST_MAX_EDITS + 1;
	const char *nearest = NULL;

	if (len > NEAREST_MAX_BYTES)
		return NULL;
	/* A third of the letters, at most: "db" is not what somebody meant by "geo". */
	if (len < 3 * NEAREST_MAX_EDITS)
		edits = (unsigned)len / 3 + 1;
	for (size_t i = 0; i < names->n_terms; i++)
		consider(text, len, names->terms[i].config->name, &nearest, &edits);
	for (size_t i = 0; i < names->n_aliases; i++)
		consider(text, len, names->by_alias[i]->config->alias, &nearest, &edits);
	return nearest;
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
