/*
 * sigv4: AWS Signature Version 4, from strings to strings.
 *
 * Pure: no clock, no credentials of its own, no network; any thread. A request is signed for one
 * moment, so each attempt is signed again. Key material is wiped from what was allocated on the
 * way. (AWS Signature Version 4: "Create a signed AWS API request"; for S3 "Authenticating
 * Requests: Using the Authorization Header".)
 */
#ifndef FETCHERS_AWS_SIGV4_H
#define FETCHERS_AWS_SIGV4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* SHA-256 of nothing: the payload of a GET and a HEAD. */
#define SIGV4_NO_PAYLOAD "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct sigv4_pair {
	const char *name, *value;
};

/* All strings are borrowed for the call. */
struct sigv4_request {
	const char *method;
	const char *host; /* as the Host header says it: lower case, no default port */
	const char *path; /* not encoded, "/bucket/key": any bytes; for services but s3 in normal
			   * form, without "//", "/./" and "/../" */
	const char *region;
	const char *service;		/* "s3", "sts" */
	const struct sigv4_pair *query; /* not encoded, in any order */
	size_t n_query;
	const struct sigv4_pair *headers; /* further headers to sign: no control characters */
	size_t n_headers;
	const char *payload_sha256_hex;
	int64_t time_ms;	/* wall clock */
	const char *access_key; /* NULL: nothing is signed */
	const char *secret_key;
	const char *session_token; /* NULL: none */
};

struct sigv4_signed {
	char *target;	/* owned; encoded path and query: "/bucket/key%20?versionId=1" */
	char **headers; /* owned; "Name: value", NULL-terminated: those of the request, x-amz-date,
			 * x-amz-content-sha256 (s3), x-amz-security-token, Authorization. Host is
			 * not among them. Not signed: those of the request only. */
};

#define SIGV4_SIGNED_INIT       \
	{                       \
		.target = NULL, \
	}

/* ERR_INTERNAL: out of memory, OpenSSL failed. *ret must be SIGV4_SIGNED_INIT. */
int sigv4_sign(const struct sigv4_request *request, struct sigv4_signed *ret, struct err *err);

/* Wipes. Takes a released one, too. */
void sigv4_signed_release(struct sigv4_signed *signed_request);

/*
 * Each byte but A-Z a-z 0-9 - . _ ~ as %XX, and '/' as keep_slash says. ret holds
 * SIGV4_ENCODED_SIZE(strlen(text)). Returns the end, which is a NUL.
 */
#define SIGV4_ENCODED_SIZE(len) (3 * (len) + 1)
char *sigv4_encode(const char *text, bool keep_slash, char *ret);

/* "name=value&…", encoded, sorted by name and then by value. The caller's; NULL: out of memory. */
char *sigv4_query(const struct sigv4_pair *pairs, size_t n);

#endif
