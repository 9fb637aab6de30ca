/*
 * aws_env: the environment variables of the AWS tools.
 */
#ifndef FETCHERS_AWS_AWS_ENV_H
#define FETCHERS_AWS_AWS_ENV_H

#include <stddef.h>
#include <stdlib.h>

/* The variable's value; NULL if it is unset or empty. */
static inline const char *aws_env(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

#endif
