#include "http/http_ca.h"

#include <stdint.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/util.h"

#define KEPT_MS 1000
#define CAS_MAX 16

struct http_ca {
	int64_t read_at_ms; /* clock_boot_ms() */
	char *data;	    /* behind the path */
	size_t len;
	UT_hash_handle hh;
	char path[];
};

static void ca_free(struct http_cas *cas, struct http_ca *ca)
{
	HASH_DEL(cas->by_path, ca);
	free(ca);
}

void http_cas_init(struct http_cas *cas)
{
	pthread_mutex_init(&cas->lock, NULL);
	cas->by_path = NULL;
}

static void drop(struct http_cas *cas, int64_t read_before_ms)
{
	struct http_ca *ca, *next;

	HASH_ITER(hh, cas->by_path, ca, next) {
		if (ca->read_at_ms < read_before_ms)
			ca_free(cas, ca);
	}
}

void http_cas_release(struct http_cas *cas)
{
	drop(cas, INT64_MAX);
	pthread_mutex_destroy(&cas->lock);
}

bool http_cas_set(struct http_cas *cas, CURL *easy, const char *path)
{
	struct curl_blob blob = { .flags = CURL_BLOB_COPY };
	struct http_ca *ca = NULL;
	bool is_set = false;

	pthread_mutex_lock(&cas->lock);
	HASH_FIND_STR(cas->by_path, path, ca);
	if (ca && clock_boot_ms() - ca->read_at_ms < KEPT_MS) {
		blob.data = ca->data;
		blob.len = ca->len;
		is_set = curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &blob) == CURLE_OK;
	}
	pthread_mutex_unlock(&cas->lock);
	return is_set;
}

static struct http_ca *ca_new(const char *path, const struct curl_blob *blob)
{
	size_t path_size = strlen(path) + 1;
	struct http_ca *ca = calloc(1, sizeof(*ca) + path_size + blob->len);

	if (!ca)
		return NULL;
	memcpy(ca->path, path, path_size);
	ca->data = ca->path + path_size;
	memcpy(ca->data, blob->data, blob->len);
	ca->len = blob->len;
	ca->read_at_ms = clock_boot_ms();
	return ca;
}

void http_cas_add(struct http_cas *cas, const char *path, const struct curl_blob *blob)
{
	struct http_ca *ca = ca_new(path, blob), *old = NULL;

	if (!ca)
		return;
	pthread_mutex_lock(&cas->lock);
	HASH_FIND_STR(cas->by_path, path, old);
	if (old)
		ca_free(cas, old);
	if (HASH_COUNT(cas->by_path) >= CAS_MAX)
		drop(cas, ca->read_at_ms - KEPT_MS);
	if (HASH_COUNT(cas->by_path) < CAS_MAX) {
		HASH_ADD_STR(cas->by_path, path, ca);
		if (hash_has(ca, hh))
			ca = NULL;
	}
	pthread_mutex_unlock(&cas->lock);
	free(ca);
}
