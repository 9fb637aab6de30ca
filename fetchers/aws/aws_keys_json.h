/*
 * aws_keys_json: keys written as JSON, as container endpoints, the metadata service and
 * credential_process return them. Accepts any bytes.
 */
#ifndef FETCHERS_AWS_AWS_KEYS_JSON_H
#define FETCHERS_AWS_AWS_KEYS_JSON_H

#include <stddef.h>

#include "base/err.h"
#include "fetchers/aws/aws_keys.h"

enum aws_json_kind {
	AWS_JSON_SERVICE, /* a container endpoint or the metadata service */
	AWS_JSON_PROCESS, /* credential_process */
};

/* Makes jansson wipe the memory that it frees. Call it before a second thread uses jansson. */
void aws_keys_json_prepare(void);

/* where names the provider in messages ("credential_process of profile "x""). ERR_DENIED if the
 * document holds no keys. */
int aws_keys_from_json(struct aws_keys **ret, enum aws_json_kind kind, const char *json, size_t len,
		       const char *where, struct err *err);

#endif
