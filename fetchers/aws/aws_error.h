/*
 * aws_error: the XML document that S3 and STS send for a refused request. Accepts any bytes.
 */
#ifndef FETCHERS_AWS_AWS_ERROR_H
#define FETCHERS_AWS_AWS_ERROR_H

#include <stdbool.h>
#include <stddef.h>

#define AWS_ERROR_CODE_SIZE 64

/* Bytes of an error's body that are read; more than any service sends. */
#define AWS_ERROR_BODY_MAX (16 * 1024)

/* The children of <Error>; empty where missing. Longer texts are cut. */
struct aws_error {
	bool is_found; /* the body has an <Error> */
	char code[AWS_ERROR_CODE_SIZE];
	char message[160];
	char region[64];
	char endpoint[256];
};

/* Reads as far as the body can be parsed. */
void aws_error_read(const char *body, size_t len, struct aws_error *ret);

#endif
