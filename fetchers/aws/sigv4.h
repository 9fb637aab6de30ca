/*
 * sigv4: AWS Signature Version 4, from strings to strings.
 *
 * Pure: the caller provides time and keys. From any thread. A signature is valid for one point in
 * time, so each retry must be signed again. All memory that held key material is wiped. (AWS
 * documentation: "Create a signed AWS API request"; for S3 "Authenticating Requests: Using the
 * Authorization Header".)
 */
#ifndef FETCHERS_AWS_SIGV4_H
#define FETCHERS_AWS_SIGV4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "fetchers/aws/uri_encode.h"

/* SHA-256 of the empty payload of a GET or HEAD. */
#define SIGV4_NO_PAYLOAD "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* All strings are borrowed for the call. */
struct sigv4_request {
	const char *method;
	const char *host; /* as in the Host header; see sigv4_host() */
	const char *path; /* not encoded, "/bucket/key": any bytes; except for s3, normalised:
			   * no "//", "/./" or "/../" */
	const char *region;
	const char *service;	      /* "s3", "sts" */
	const struct uri_pair *query; /* not encoded, in any order */
	size_t n_query;
	const struct uri_pair *headers; /* further headers to sign: no control characters */
	size_t n_headers;
	const char *payload_sha256_hex;
	int64_t time_ms;	/* wall clock */
	const char *access_key; /* NULL: do not sign */
	const char *secret_key;
	const char *session_token; /* NULL: none */
};

struct sigv4_signed {
	char *target;	/* owned; encoded path and query: "/bucket/key%20?versionId=1" */
	char **headers; /* owned; "Name: value", NULL-terminated: those of the request and, if it
			 * is signed, x-amz-date, x-amz-content-sha256 (s3), x-amz-security-token
			 * and Authorization; never Host */
};

#define SIGV4_SIGNED_INIT       \
	{                       \
		.target = NULL, \
	}

/* *ret must be SIGV4_SIGNED_INIT. ERR_INTERNAL: out of memory, or OpenSSL failed. */
int sigv4_sign(const struct sigv4_request *request, struct sigv4_signed *ret, struct err *err);

/* Wipes the headers. May be called twice. */
void sigv4_signed_release(struct sigv4_signed *signed_request);

/* The Host header for an origin such as "https://host:443": without the default port. The caller
 * frees it; NULL: out of memory. */
char *sigv4_host(const char *origin);

#endif
