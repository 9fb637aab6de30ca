#include "fetchers/aws/sigv4.h"

#include <stdarg.h>
#include <string.h>
#include <time.h>

#include <openssl/evp.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/secret.h"
#include "base/util.h"

#define ALGORITHM "AWS4-HMAC-SHA256"

/* Of the signature: date, region, service, "aws4_request", string to sign. */
#define N_STEPS 5

/* A header as it is sent and as it is signed; both owned. */
struct header {
	char *name;  /* lower case */
	char *value; /* trimmed; one space between words */
};

/* One signature. */
struct work {
	const struct sigv4_request *request;
	bool is_s3;
	char stamp[20];		/* "20130524T000000Z" */
	char date[12];		/* "20130524" */
	char *path;		/* owned; encoded once */
	char *query;		/* owned; canonical */
	struct header *headers; /* owned; sorted */
	size_t n_headers;
	char *signed_names; /* owned; "host;x-amz-date" */
};

static int no_memory(struct err *err)
{
	return err_set(err, ERR_INTERNAL, "signature: out of memory");
}

static void wipe_free(char *text)
{
	if (text)
		secret_wipe(text, strlen(text));
	free(text);
}

/* Concatenates the texts up to NULL. Allocates once, since growing would leave copies of secrets in
 * freed memory. */
__attribute__((sentinel)) static char *joined(const char *first, ...)
{
	size_t size = 1;
	va_list args;

	va_start(args, first);
	for (const char *text = first; text; text = va_arg(args, const char *))
		size += strlen(text);
	va_end(args);
	char *ret = malloc(size), *end = ret;
	if (!ret)
		return NULL;
	va_start(args, first);
	for (const char *text = first; text; text = va_arg(args, const char *))
		end = stpcpy(end, text);
	va_end(args);
	return ret;
}

static void work_release(struct work *work)
{
	for (size_t i = 0; i < work->n_headers; i++) {
		free(work->headers[i].name);
		wipe_free(work->headers[i].value);
	}
	free(work->headers);
	free(work->path);
	free(work->query);
	free(work->signed_names);
}

void sigv4_signed_release(struct sigv4_signed *signed_request)
{
	for (char **line = signed_request->headers; line && *line; line++)
		wipe_free(*line);
	free(signed_request->headers);
	free(signed_request->target);
	*signed_request = (struct sigv4_signed)SIGV4_SIGNED_INIT;
}

static char *encoded_path(const char *path)
{
	char *ret = malloc(URI_ENCODED_SIZE(strlen(path)));

	if (ret)
		uri_encode(path, true, ret);
	return ret;
}

/* ---- headers ---- */

static char *lower(const char *name)
{
	char *ret = strdup(name);

	for (char *c = ret; c && *c; c++) {
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c - 'A' + 'a');
	}
	return ret;
}

static char *squeezed(const char *value)
{
	char *ret = malloc(strlen(value) + 1), *end = ret;

	if (!ret)
		return NULL;
	for (; *value; value++) {
		if (*value != ' ' || (end > ret && end[-1] != ' '))
			*end++ = *value;
	}
	while (end > ret && end[-1] == ' ')
		end--;
	*end = '\0';
	return ret;
}

static int add_header(struct work *work, const char *name, const char *value, struct err *err)
{
	struct header *header = &work->headers[work->n_headers++];

	header->name = lower(name);
	header->value = squeezed(value);
	return header->name && header->value ? 0 : no_memory(err);
}

static int compare_headers(const void *a, const void *b)
{
	return strcmp(((const struct header *)a)->name, ((const struct header *)b)->name);
}

static int name_headers(struct work *work, struct err *err)
{
	size_t size = 1;

	for (size_t i = 0; i < work->n_headers; i++)
		size += strlen(work->headers[i].name) + 1;
	char *end = work->signed_names = calloc(1, size);
	if (!end)
		return no_memory(err);
	for (size_t i = 0; i < work->n_headers; i++)
		end = stpcpy(stpcpy(end, i ? ";" : ""), work->headers[i].name);
	return 0;
}

static int make_headers(struct work *work, struct err *err)
{
	const struct sigv4_request *request = work->request;

	/* Four more: host, date, payload and token. */
	work->headers = calloc(request->n_headers + 4, sizeof(*work->headers));
	if (!work->headers)
		return no_memory(err);
	for (size_t i = 0; i < request->n_headers; i++) {
		if (add_header(work, request->headers[i].name, request->headers[i].value, err) < 0)
			return -1;
	}
	if (!request->access_key)
		return 0;
	if (add_header(work, "host", request->host, err) < 0 ||
	    add_header(work, "x-amz-date", work->stamp, err) < 0 ||
	    (work->is_s3 &&
	     add_header(work, "x-amz-content-sha256", request->payload_sha256_hex, err) < 0) ||
	    (request->session_token &&
	     add_header(work, "x-amz-security-token", request->session_token, err) < 0))
		return -1;
	qsort(work->headers, work->n_headers, sizeof(*work->headers), compare_headers);
	return name_headers(work, err);
}

/* ---- the signature ---- */

/* The output of each step is the key of the next one. */
static bool hmac(EVP_MAC_CTX *ctx, const void *key, size_t key_len, const char *text,
		 uint8_t ret[DIGEST_SIZE])
{
	size_t len = 0;

	return EVP_MAC_init(ctx, key, key_len, NULL) == 1 &&
	       EVP_MAC_update(ctx, (const unsigned char *)text, strlen(text)) == 1 &&
	       EVP_MAC_final(ctx, ret, &len, DIGEST_SIZE) == 1 && len == DIGEST_SIZE;
}

static bool chain(EVP_MAC_CTX *ctx, const char *secret, const char *const steps[N_STEPS],
		  uint8_t key[DIGEST_SIZE])
{
	if (!hmac(ctx, secret, strlen(secret), steps[0], key))
		return false;
	for (size_t i = 1; i < N_STEPS; i++) {
		if (!hmac(ctx, key, DIGEST_SIZE, steps[i], key))
			return false;
	}
	return true;
}

DEFINE_CLEANUP(EVP_MAC, EVP_MAC_free)
DEFINE_CLEANUP(EVP_MAC_CTX, EVP_MAC_CTX_free)
DEFINE_CLEANUP(char, wipe_free)

static int compute(const struct work *work, const char *to_sign, char ret[DIGEST_HEX_SIZE],
		   struct err *err)
{
	_cleanup_(EVP_MAC_free_cleanup) EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	_cleanup_(EVP_MAC_CTX_free_cleanup) EVP_MAC_CTX *ctx = mac ? EVP_MAC_CTX_new(mac) : NULL;
	const char *secret_key = work->request->secret_key;
	_cleanup_secret_ char *secret = secret_new(strlen("AWS4") + strlen(secret_key) + 1);
	char sha256[] = "SHA256";
	const OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_string("digest", sha256, 0),
				      OSSL_PARAM_construct_end() };
	const char *const steps[N_STEPS] = { work->date, work->request->region,
					     work->request->service, "aws4_request", to_sign };
	uint8_t key[DIGEST_SIZE];

	if (!secret)
		return no_memory(err);
	stpcpy(stpcpy(secret, "AWS4"), secret_key);
	bool made = ctx && EVP_MAC_CTX_set_params(ctx, params) == 1 &&
		    chain(ctx, secret, steps, key);
	if (made)
		digest_hex(key, ret);
	secret_wipe(key, sizeof(key));
	return made ? 0 : err_set(err, ERR_INTERNAL, "signature: OpenSSL failed (HMAC-SHA256)");
}

/* "name:value\n" for each header. Contains the session token. */
static char *canonical_headers(const struct work *work)
{
	size_t size = 1;

	for (size_t i = 0; i < work->n_headers; i++)
		size += strlen(work->headers[i].name) + strlen(work->headers[i].value) + 2;
	char *ret = calloc(1, size), *end = ret;
	for (size_t i = 0; ret && i < work->n_headers; i++) {
		end = stpcpy(stpcpy(end, work->headers[i].name), ":");
		end = stpcpy(stpcpy(end, work->headers[i].value), "\n");
	}
	return ret;
}

/* The digest of the canonical request. */
static int digest_request(const struct work *work, char ret[DIGEST_HEX_SIZE], struct err *err)
{
	_cleanup_free_ char *path = work->is_s3 ? strdup(work->path) : encoded_path(work->path);
	_cleanup_(wipe_free_cleanup) char *headers = canonical_headers(work);
	_cleanup_(wipe_free_cleanup) char *text = NULL;
	uint8_t sum[DIGEST_SIZE];

	if (path && headers)
		text = joined(work->request->method, "\n", path, "\n", work->query, "\n", headers,
			      "\n", work->signed_names, "\n", work->request->payload_sha256_hex,
			      NULL);
	if (!text)
		return no_memory(err);
	if (digest_of(text, strlen(text), sum, err) < 0)
		return -1;
	digest_hex(sum, ret);
	return 0;
}

static int authorize(const struct work *work, char **ret, struct err *err)
{
	const struct sigv4_request *request = work->request;
	_cleanup_free_ char *scope = joined(work->date, "/", request->region, "/", request->service,
					    "/aws4_request", NULL);
	_cleanup_free_ char *to_sign = NULL;
	char request_hex[DIGEST_HEX_SIZE], signature[DIGEST_HEX_SIZE];

	if (digest_request(work, request_hex, err) < 0)
		return -1;
	if (scope)
		to_sign = joined(ALGORITHM "\n", work->stamp, "\n", scope, "\n", request_hex, NULL);
	if (!to_sign)
		return no_memory(err);
	if (compute(work, to_sign, signature, err) < 0)
		return -1;
	*ret = joined("Authorization: " ALGORITHM " Credential=", request->access_key, "/", scope,
		      ", SignedHeaders=", work->signed_names, ", Signature=", signature, NULL);
	return *ret ? 0 : no_memory(err);
}

/* ---- the signed request ---- */

static int write_headers(const struct work *work, struct sigv4_signed *ret, struct err *err)
{
	size_t n = 0;

	ret->headers = calloc(work->n_headers + 2, sizeof(*ret->headers));
	if (!ret->headers)
		return no_memory(err);
	for (size_t i = 0; i < work->n_headers; i++) {
		const struct header *header = &work->headers[i];
		if (strcmp(header->name, "host") == 0)
			continue;
		if (!(ret->headers[n++] = joined(header->name, ": ", header->value, NULL)))
			return no_memory(err);
	}
	return work->request->access_key ? authorize(work, &ret->headers[n], err) : 0;
}

static int write_target(const struct work *work, struct sigv4_signed *ret, struct err *err)
{
	ret->target = joined(work->path, *work->query ? "?" : "", work->query, NULL);
	return ret->target ? 0 : no_memory(err);
}

static int make_stamp(struct work *work, struct err *err)
{
	time_t seconds = (time_t)(work->request->time_ms / MS_PER_S);
	struct tm tm;

	if (!gmtime_r(&seconds, &tm) ||
	    !strftime(work->stamp, sizeof(work->stamp), "%Y%m%dT%H%M%SZ", &tm) ||
	    !strftime(work->date, sizeof(work->date), "%Y%m%d", &tm))
		return err_set(err, ERR_INTERNAL, "signature: the time is out of range");
	return 0;
}

int sigv4_sign(const struct sigv4_request *request, struct sigv4_signed *ret, struct err *err)
{
	_cleanup_(work_release) struct work work = {
		.request = request,
		.is_s3 = strcmp(request->service, "s3") == 0,
	};
	_cleanup_(sigv4_signed_release) struct sigv4_signed made = SIGV4_SIGNED_INIT;

	work.path = encoded_path(request->path);
	work.query = uri_query(request->query, request->n_query);
	if (!work.path || !work.query)
		return no_memory(err);
	if (make_stamp(&work, err) < 0 || make_headers(&work, err) < 0 ||
	    write_target(&work, &made, err) < 0 || write_headers(&work, &made, err) < 0)
		return -1;
	*ret = made;
	made = (struct sigv4_signed)SIGV4_SIGNED_INIT;
	return 0;
}

char *sigv4_host(const char *origin)
{
	const char *standard_port = strncmp(origin, "https:", 6) == 0 ? ":443" : ":80";
	char *host = strdup(strstr(origin, "://") + 3);
	char *port = host ? strrchr(host, ':') : NULL;

	if (port && strcmp(port, standard_port) == 0)
		*port = '\0';
	return host;
}
