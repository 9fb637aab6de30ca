/*
 * load_names: names and aliases that collide.
 */
#include <string.h>

#include "base/util.h"
#include "config/load_internal.h"

static int compare_places(struct place a, struct place b)
{
	if (a.file != b.file)
		return a.file < b.file ? -1 : 1;
	return a.line < b.line ? -1 : a.line > b.line;
}

static int compare_drafts(const void *left, const void *right)
{
	const struct draft *a = left, *b = right;
	int order = strcmp(a->term.name, b->term.name);

	return order ? order : compare_places(a->place, b->place);
}

static bool is_sorted(const struct loader *loader)
{
	for (size_t i = 1; i < loader->n_drafts; i++) {
		if (compare_drafts(&loader->drafts[i - 1], &loader->drafts[i]) > 0)
			return false;
	}
	return true;
}

/* The first draft in the file with that name, or NULL. The drafts are sorted. */
static const struct draft *find_first(const struct loader *loader, const char *name)
{
	size_t low = 0, high = loader->n_drafts;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (strcmp(loader->drafts[middle].term.name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == loader->n_drafts || strcmp(loader->drafts[low].term.name, name) != 0)
		return NULL;
	return &loader->drafts[low];
}

static void check_duplicates(struct loader *loader)
{
	const struct draft *first = loader->drafts;
	char where[PLACE_SIZE];

	for (size_t i = 1; i < loader->n_drafts; i++) {
		const struct draft *draft = &loader->drafts[i];
		if (strcmp(first->term.name, draft->term.name) != 0)
			first = draft;
		else
			problem_add(&loader->problems, draft->place, draft->term.name,
				    "the name is given twice, first in %s",
				    problems_place(&loader->problems, first->place, where));
	}
}

/* A name that is also a directory in the name of another term. */
static void check_directories(struct loader *loader, const struct draft *draft)
{
	_cleanup_free_ char *directory = strdup(draft->term.name);
	char where[PLACE_SIZE];

	if (!directory) {
		problem_out_of_memory(&loader->problems);
		return;
	}
	for (char *slash = strchr(directory, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		const struct draft *other = find_first(loader, directory);
		if (other)
			problem_add(&loader->problems, draft->place, draft->term.name,
				    "\"%s\" is a term (%s) and cannot be a directory too",
				    directory,
				    problems_place(&loader->problems, other->place, where));
		*slash = '/';
	}
}

static const char *shown_name(const struct draft *draft)
{
	return draft->term.alias ? draft->term.alias : draft->term.name;
}

static int compare_shown_names(const void *left, const void *right)
{
	const struct draft *a = *(const struct draft *const *)left;
	const struct draft *b = *(const struct draft *const *)right;
	int order = strcmp(shown_name(a), shown_name(b));

	return order ? order : compare_places(a->place, b->place);
}

/* Events and metrics show the alias of a term, else its name. No two terms may share one. */
static void check_aliases(struct loader *loader)
{
	_cleanup_free_ const struct draft **drafts = calloc(loader->n_drafts, sizeof(*drafts));
	char where[PLACE_SIZE];

	if (!drafts) {
		problem_out_of_memory(&loader->problems);
		return;
	}
	for (size_t i = 0; i < loader->n_drafts; i++)
		drafts[i] = &loader->drafts[i];
	qsort(drafts, loader->n_drafts, sizeof(*drafts), compare_shown_names);
	for (size_t i = 1; i < loader->n_drafts; i++) {
		const struct draft *first = drafts[i - 1], *draft = drafts[i];
		if (strcmp(shown_name(first), shown_name(draft)) != 0 ||
		    strcmp(first->term.name, draft->term.name) == 0)
			continue;
		/* Report the term with the alias: the other one may be years old. */
		const struct draft *reported = draft->term.alias ? draft : first;
		const struct draft *other = reported == draft ? first : draft;
		problem_add(&loader->problems, reported->place, reported->term.name,
			    "alias \"%s\" is taken by term \"%s\" (%s)", reported->term.alias,
			    other->term.name,
			    problems_place(&loader->problems, other->place, where));
	}
}

void load_check_names(struct loader *loader)
{
	bool has_alias = false;

	if (loader->n_drafts == 0)
		return;
	if (!is_sorted(loader))
		qsort(loader->drafts, loader->n_drafts, sizeof(*loader->drafts), compare_drafts);
	check_duplicates(loader);
	for (size_t i = 0; i < loader->n_drafts; i++) {
		check_directories(loader, &loader->drafts[i]);
		has_alias = has_alias || loader->drafts[i].term.alias;
	}
	if (has_alias)
		check_aliases(loader);
}
