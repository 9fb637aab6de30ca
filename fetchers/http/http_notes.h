/*
 * http_notes: what is kept of a response beside the token of its version, as the notes of struct
 * version: the other validator, what the response says of its freshness, and its length.
 */
#ifndef FETCHERS_HTTP_HTTP_NOTES_H
#define FETCHERS_HTTP_HTTP_NOTES_H

#include <stdbool.h>
#include <stdint.h>

#include "fetch/fetcher.h"
#include "fetchers/http/freshness.h"

#define HTTP_NOTES_DATE_SIZE 48

struct http_notes {
	struct freshness freshness;
	int64_t length;	  /* Content-Length; -1: none */
	bool is_unproven; /* the token is a date that the next version may have too */
	char last_modified[HTTP_NOTES_DATE_SIZE]; /* exactly as sent; empty: none, or the token */
};

#define HTTP_NOTES_INIT                                    \
	{                                                  \
		.freshness = FRESHNESS_INIT, .length = -1, \
	}

/* Any text can be read; what is not understood is HTTP_NOTES_INIT. */
void http_notes_read(struct http_notes *ret, const char *text);
void http_notes_write(const struct http_notes *notes, char ret[VERSION_NOTES_SIZE]);

#endif
