/*
 * text: texts from outside as JSON and Prometheus want them, valid UTF-8.
 *
 * Version tokens, source descriptions and error messages may hold any bytes; one that is not UTF-8
 * has each of its bytes above 0x7f replaced by '?'.
 */
#ifndef CONTROL_TEXT_H
#define CONTROL_TEXT_H

#include <jansson.h>
#include <stdio.h>

#include "base/util.h"

DEFINE_CLEANUP(json_t, json_decref)

/* A new JSON string, or JSON null for NULL. NULL if memory is short. */
json_t *text_json(const char *text);

/* Writes the value of a label: with backslash, quote and newline escaped, without the quotes. */
void text_label(FILE *out, const char *text);

#endif
