/*
 * json_value: JSON values made of texts that may hold any bytes.
 *
 * Version tokens, source descriptions and error messages come from outside. If one is not valid
 * UTF-8, each of its bytes above 0x7f is replaced by '?'.
 */
#ifndef CONTROL_JSON_VALUE_H
#define CONTROL_JSON_VALUE_H

#include <jansson.h>

#include "base/err.h"
#include "base/util.h"

DEFINE_CLEANUP(json_t, json_decref)

/* A new JSON string, or JSON null for NULL. Returns NULL if out of memory. */
json_t *json_value_text(const char *text);

/* A new {"kind": …, "message": …}. message may be NULL. Returns NULL if out of memory. */
json_t *json_value_error(enum err_kind kind, const char *message);

#endif
