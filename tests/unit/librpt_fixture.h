/* librpt_fixture: writes files, opens handles, and checks the result of a get. */
#ifndef TESTS_UNIT_LIBRPT_FIXTURE_H
#define TESTS_UNIT_LIBRPT_FIXTURE_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "librpt/rpt.h"
#include "tap.h"

static inline void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		perror(path);
	close(fd);
}

/* Replaces a file atomically. */
static inline void replace_file(const char *path, const char *text)
{
	char *next = NULL;

	if (asprintf(&next, "%s.next", path) < 0)
		abort();
	write_file(next, text);
	if (rename(next, path) < 0)
		perror(path);
	free(next);
}

static inline struct rpt_term *open_term(const char *path)
{
	struct rpt_term *term = NULL;

	if (!ok(rpt_term_open(&term, path) == 0, "%s can be opened", path))
		exit(1);
	return term;
}

static inline bool holds(const struct rpt_value *value, const char *text)
{
	return value->data && value->version && value->size == strlen(text) &&
	       memcmp(value->data, text, value->size) == 0;
}

static inline bool gives(struct rpt_term *term, const char *text)
{
	struct rpt_value value;

	return rpt_term_get(term, &value) == 0 && holds(&value, text);
}

static inline int get_error(struct rpt_term *term)
{
	struct rpt_value value = { .serial = 77 };
	int r = rpt_term_get(term, &value);

	return r < 0 && value.serial != 77 ? 1 : r; /* a failure must not touch the value */
}

static inline int count_entries(const char *directory)
{
	DIR *dir = opendir(directory);
	int n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

#endif
