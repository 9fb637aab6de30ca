/*
 * json_depth: how deeply a JSON text is nested.
 *
 * Jansson parses each level by recursion, up to 2048 levels, with about 200 bytes of stack per
 * level. That is more than the stack of an update thread: check a text from outside first.
 */
#ifndef BASE_JSON_DEPTH_H
#define BASE_JSON_DEPTH_H

#include <stdbool.h>
#include <stddef.h>

/* Enough for documents whose form is known. */
#define JSON_DEPTH_MAX 32

/* Whether a parser would meet more than max nested arrays and objects. Any bytes are accepted. */
bool json_is_deeper(const char *text, size_t len, unsigned max);

#endif
