/*
 * http_ca: files of certificate authorities that only somebody else may open, remembered for a
 * moment. Many terms name the same one, and each request would have it read again. Internal to
 * http*.c.
 */
#ifndef HTTP_HTTP_CA_H
#define HTTP_HTTP_CA_H

#include <pthread.h>
#include <stdbool.h>

#include <curl/curl.h>

struct http_ca;

/* From any thread. */
struct http_cas {
	pthread_mutex_t lock;
	struct http_ca *by_path; /* guarded by lock; owned, with its elements */
};

void http_cas_init(struct http_cas *cas);
void http_cas_release(struct http_cas *cas);

/* Gives the handle a copy of what the file said less than a second ago. False: it is not known. */
bool http_cas_set(struct http_cas *cas, CURL *easy, const char *path);
/* What the file says now (a copy is made). If memory is short it is read again the next time. */
void http_cas_add(struct http_cas *cas, const char *path, const struct curl_blob *blob);

#endif
