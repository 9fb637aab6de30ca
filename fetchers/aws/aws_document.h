/*
 * aws_document: keys written as JSON, the way in which container endpoints, the metadata service
 * and credential_process give them. Any bytes will do.
 */
#ifndef FETCHERS_AWS_AWS_DOCUMENT_H
#define FETCHERS_AWS_AWS_DOCUMENT_H

#include <stddef.h>

#include "base/err.h"
#include "fetchers/aws/aws_keys.h"

enum aws_document { AWS_DOCUMENT_SERVICE, AWS_DOCUMENT_PROCESS };

/* Once, before there is a second thread that uses jansson: makes it wipe what it frees. */
void aws_document_prepare(void);

/* where: for messages ("credential_process of profile "x""). */
int aws_document_keys(enum aws_document kind, const char *json, size_t len, const char *where,
		      struct aws_keys **ret, struct err *err);

#endif
