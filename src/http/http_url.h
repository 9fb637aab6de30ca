/*
 * http_url: URLs, taken apart by curl. Internal to http*.c; http.h has the rest.
 */
#ifndef HTTP_HTTP_URL_H
#define HTTP_HTTP_URL_H

#include "http/http.h"

/* The URL without user information and fragment; *ret is the caller's. ERR_CONFIG if it is not a
 * URL. */
int http_url_clean(const char *url, char **ret, struct err *err);

/* The URL with its host in ASCII, otherwise unchanged; *ret is the caller's. ERR_CONFIG if an
 * internationalised host is not valid. */
int http_url_ascii(const char *url, char **ret, struct err *err);

#endif
