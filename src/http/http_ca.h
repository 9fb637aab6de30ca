/*
 * http_ca: keeps the content of files of certificate authorities for a second.
 *
 * This is for files that only the helper may open. Many terms name the same one, which would be
 * read again for each request. Internal to http*.c. From any thread.
 */
#ifndef HTTP_HTTP_CA_H
#define HTTP_HTTP_CA_H

#include <pthread.h>
#include <stdbool.h>

#include <curl/curl.h>

struct http_ca;

struct http_cas {
	pthread_mutex_t lock;
	struct http_ca *by_path; /* guarded by lock; owned, with its elements */
};

void http_cas_init(struct http_cas *cas);
void http_cas_release(struct http_cas *cas);

/* Gives the handle a copy of the file, if it was read less than a second ago. */
bool http_cas_set(struct http_cas *cas, CURL *easy, const char *path);
/* Adds a file that was just read. Copies the bytes; if out of memory, it is read again the next
 * time. */
void http_cas_add(struct http_cas *cas, const char *path, const struct curl_blob *blob);

#endif
