/*
 * aws_sts_answer: the keys in what AssumeRole and AssumeRoleWithWebIdentity answer, XML. Any bytes
 * will do. Nothing is left in memory that is not wiped.
 */
#ifndef FETCHERS_AWS_AWS_STS_ANSWER_H
#define FETCHERS_AWS_AWS_STS_ANSWER_H

#include <stddef.h>

#include "base/err.h"
#include "fetchers/aws/aws_keys.h"

int aws_sts_answer_keys(const char *xml, size_t len, const char *where, struct aws_keys **ret,
			struct err *err);

#endif
