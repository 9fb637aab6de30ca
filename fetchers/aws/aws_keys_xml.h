/*
 * aws_keys_xml: the keys in the XML answers of the security token service (AssumeRole and
 * AssumeRoleWithWebIdentity). Accepts any bytes. Wipes all memory that held keys.
 */
#ifndef FETCHERS_AWS_AWS_KEYS_XML_H
#define FETCHERS_AWS_AWS_KEYS_XML_H

#include <stddef.h>

#include "base/err.h"
#include "fetchers/aws/aws_keys.h"

/* where names the request in messages. ERR_DENIED if the answer holds no keys. */
int aws_keys_from_xml(struct aws_keys **ret, const char *xml, size_t len, const char *where,
		      struct err *err);

#endif
