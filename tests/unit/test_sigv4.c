/*
 * sigv4: AWS's published vectors and botocore's (tests/vectors/sigv4.txt, written by
 * make_sigv4.py), and a fuzzer that compares the encoder with a table of its own.
 */
#include "fetchers/aws/sigv4.h"

#include <stdlib.h>

#include "base/util.h"
#include "tap.h"

#define ACCESS_KEY "AKIAIOSFODNN7EXAMPLE"
#define SECRET_KEY "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define TIME_MS	   (INT64_C(1369353600) * 1000) /* 2013-05-24T00:00:00Z */
#define STAMP	   "20130524T000000Z"
#define PAIRS_MAX  8

/* ---- vectors ---- */

/* The texts are owned. */
struct vector {
	char *name, *service, *method, *host, *region, *path, *token, *sha256;
	char *target, *signed_names, *signature;
	struct uri_pair query[PAIRS_MAX], headers[PAIRS_MAX];
	size_t n_query, n_headers;
};

static void vector_release(struct vector *vector)
{
	char *texts[] = { vector->name,	  vector->service,	vector->method,	  vector->host,
			  vector->region, vector->path,		vector->token,	  vector->sha256,
			  vector->target, vector->signed_names, vector->signature };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		free(texts[i]);
	for (size_t i = 0; i < PAIRS_MAX; i++) {
		free((char *)vector->query[i].name);
		free((char *)vector->query[i].value);
		free((char *)vector->headers[i].name);
		free((char *)vector->headers[i].value);
	}
	*vector = (struct vector){ .n_query = 0 };
}

static char *unhex(const char *text)
{
	size_t n = strcmp(text, "-") == 0 ? 0 : strlen(text) / 2;
	char *ret = calloc(1, n + 1);
	unsigned byte = 0;

	for (size_t i = 0; i < n && sscanf(text + 2 * i, "%2x", &byte) == 1; i++)
		ret[i] = (char)byte;
	return ret;
}

static void take_pair(struct uri_pair *pairs, size_t *n, char *text, bool is_hex)
{
	char *value = strchr(text, ' ');

	if (!value || *n == PAIRS_MAX)
		abort();
	*value++ = '\0';
	pairs[*n].name = is_hex ? unhex(text) : strdup(text);
	pairs[(*n)++].value = is_hex ? unhex(value) : strdup(value);
}

static void take_field(struct vector *vector, const char *field, char *value)
{
	const struct {
		const char *field;
		char **place;
	} texts[] = {
		{ "name", &vector->name },	     { "service", &vector->service },
		{ "method", &vector->method },	     { "host", &vector->host },
		{ "region", &vector->region },	     { "token", &vector->token },
		{ "sha256", &vector->sha256 },	     { "target", &vector->target },
		{ "signed", &vector->signed_names }, { "signature", &vector->signature },
	};

	if (strcmp(field, "path") == 0)
		vector->path = unhex(value);
	else if (strcmp(field, "query") == 0)
		take_pair(vector->query, &vector->n_query, value, true);
	else if (strcmp(field, "header") == 0)
		take_pair(vector->headers, &vector->n_headers, value, false);
	else
		for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
			if (strcmp(field, texts[i].field) == 0)
				*texts[i].place = strdup(value);
		}
}

static const char *find_line(const struct sigv4_signed *done, const char *name)
{
	size_t len = strlen(name);

	for (char **line = done->headers; *line; line++) {
		if (strncmp(*line, name, len) == 0 && strncmp(*line + len, ": ", 2) == 0)
			return *line + len + 2;
	}
	return NULL;
}

static struct sigv4_request request_of(const struct vector *vector)
{
	return (struct sigv4_request){
		.method = vector->method,
		.host = vector->host,
		.path = vector->path,
		.region = vector->region,
		.service = vector->service,
		.query = vector->query,
		.n_query = vector->n_query,
		.headers = vector->headers,
		.n_headers = vector->n_headers,
		.payload_sha256_hex = vector->sha256,
		.time_ms = TIME_MS,
		.access_key = ACCESS_KEY,
		.secret_key = SECRET_KEY,
		.session_token = vector->token,
	};
}

static void check_vector(const struct vector *vector)
{
	_cleanup_(sigv4_signed_release) struct sigv4_signed done = SIGV4_SIGNED_INIT;
	const struct sigv4_request request = request_of(vector);
	bool is_s3 = strcmp(vector->service, "s3") == 0;
	_cleanup_free_ char *expected = NULL;
	struct err err = ERR_INIT;

	if (!ok(sigv4_sign(&request, &done, &err) == 0, "%s", vector->name))
		return;
	is_str(done.target, vector->target, "%s: target", vector->name);
	if (asprintf(&expected,
		     "AWS4-HMAC-SHA256 Credential=" ACCESS_KEY "/20130524/%s/%s/aws4_request, "
		     "SignedHeaders=%s, Signature=%s",
		     vector->region, vector->service, vector->signed_names, vector->signature) < 0)
		abort();
	is_str(find_line(&done, "Authorization"), expected, "%s: Authorization", vector->name);
	const char *sha256 = find_line(&done, "x-amz-content-sha256");
	const char *token = find_line(&done, "x-amz-security-token");
	ok(strcmp(find_line(&done, "x-amz-date"), STAMP) == 0 && !find_line(&done, "host") &&
		   (is_s3 ? sha256 && strcmp(sha256, vector->sha256) == 0 : !sha256) &&
		   (vector->token ? token && strcmp(token, vector->token) == 0 : !token),
	   "%s: the other headers", vector->name);
}

static void test_vectors(void)
{
	_cleanup_fclose_ FILE *file = fopen(VECTORS_FILE, "re");
	_cleanup_(vector_release) struct vector vector = { .n_query = 0 };
	_cleanup_free_ char *line = NULL;
	size_t size = 0, n = 0;

	if (!ok(file, VECTORS_FILE " exists"))
		return;
	for (ssize_t len; (len = getline(&line, &size, file)) > 0;) {
		line[len - 1] = '\0';
		char *value = strchr(line, ' ');
		if (value) {
			*value++ = '\0';
			take_field(&vector, line, value);
			continue;
		}
		check_vector(&vector);
		vector_release(&vector);
		n++;
	}
	ok(n >= 200, "there are %zu vectors", n);
}

/* ---- cases without a vector ---- */

static void test_unsigned(void)
{
	_cleanup_(sigv4_signed_release) struct sigv4_signed done = SIGV4_SIGNED_INIT;
	const struct uri_pair header = { "X-Amz-Checksum-Mode", "  ENABLED " };
	const struct uri_pair query = { "versionId", "+" };
	const struct sigv4_request request = {
		.method = "GET",
		.host = "localhost",
		.path = "/b/k?",
		.region = "us-east-1",
		.service = "s3",
		.query = &query,
		.n_query = 1,
		.headers = &header,
		.n_headers = 1,
		.payload_sha256_hex = SIGV4_NO_PAYLOAD,
	};
	struct err err = ERR_INIT;

	is_int(sigv4_sign(&request, &done, &err), 0, "a request without keys is not signed");
	is_str(done.target, "/b/k%3F?versionId=%2B", "the target is encoded");
	is_str(done.headers[0], "x-amz-checksum-mode: ENABLED", "it has the given header");
	ok(!done.headers[1], "it has no other header");
	sigv4_signed_release(&done);
	ok(!done.headers && !done.target, "releasing twice is allowed");
}

static void test_host(void)
{
	static const char *const hosts[][2] = {
		{ "https://h:443", "h" },	{ "http://h:80", "h" },
		{ "https://h:80", "h:80" },	{ "http://h:443", "h:443" },
		{ "http://[::1]:80", "[::1]" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		_cleanup_free_ char *host = sigv4_host(hosts[i][0]);
		is_str(host, hosts[i][1], "the Host header of %s", hosts[i][0]);
	}
}

static void test_clock(void)
{
	_cleanup_(sigv4_signed_release) struct sigv4_signed done = SIGV4_SIGNED_INIT;
	struct sigv4_request request = {
		.method = "GET",
		.host = "h",
		.path = "/",
		.region = "r",
		.service = "s3",
		.payload_sha256_hex = SIGV4_NO_PAYLOAD,
		.access_key = "a",
		.secret_key = "s",
		.time_ms = INT64_MAX,
	};
	struct err err = ERR_INIT;

	ok(sigv4_sign(&request, &done, &err) < 0 && !done.target,
	   "a year that cannot be formatted is refused");
	is_int(err.kind, ERR_INTERNAL, "this is an internal error");
	request.time_ms = TIME_MS + 999;
	is_int(sigv4_sign(&request, &done, &err), 0, "a time with milliseconds is accepted");
	is_str(find_line(&done, "x-amz-date"), STAMP, "milliseconds are dropped");
}

/* ---- the fuzzer ---- */

static uint64_t state = 20130524;

/* xorshift64*: the same sequence in every run. */
static uint64_t next(uint64_t below)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (state * UINT64_C(2685821657736338717) >> 33) % below;
}

/* Half of the bytes are special characters. */
static void random_text(char *ret, size_t max)
{
	static const char special[] = "/%+ ?#&=~.-_:;@\\\"'<>\t\n";
	size_t len = next(max);

	for (size_t i = 0; i < len; i++)
		ret[i] = next(2) ? special[next(sizeof(special) - 1)] : (char)(1 + next(255));
	ret[len] = '\0';
}

static char table[2][256][4];

static void make_table(void)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789-._~";

	for (int keep = 0; keep < 2; keep++) {
		for (unsigned c = 1; c < 256; c++)
			snprintf(table[keep][c], 4, "%%%02X", c);
		for (const char *c = plain; *c; c++)
			snprintf(table[keep][(unsigned char)*c], 4, "%c", *c);
	}
	strcpy(table[1]['/'], "/");
}

static bool is_encoded(const char *text, bool keep_slash, const char *encoded)
{
	for (; *text; text++) {
		const char *expected = table[keep_slash][(unsigned char)*text];
		if (strncmp(encoded, expected, strlen(expected)) != 0)
			return false;
		encoded += strlen(expected);
	}
	return !*encoded;
}

static bool decodes_to(const char *encoded, const char *text)
{
	for (; *encoded; encoded++, text++) {
		unsigned byte = (unsigned char)*encoded;
		if (byte == '%' && sscanf(encoded + 1, "%2X", &byte) == 1)
			encoded += 2;
		if (byte != (unsigned char)*text)
			return false;
	}
	return !*text;
}

static bool encodes(const char *text, bool keep_slash)
{
	_cleanup_free_ char *encoded = malloc(URI_ENCODED_SIZE(strlen(text)));
	char *end = uri_encode(text, keep_slash, encoded);

	return *end == '\0' && end == encoded + strlen(encoded) &&
	       is_encoded(text, keep_slash, encoded) && decodes_to(encoded, text);
}

static void fuzz_encoder(void)
{
	char text[400];
	int wrong = 0;

	for (unsigned c = 1; c < 256; c++) {
		char one[] = { (char)c, '\0' };
		wrong += !encodes(one, true) + !encodes(one, false);
	}
	for (int i = 0; i < 20000; i++) {
		random_text(text, sizeof(text));
		wrong += !encodes(text, true) + !encodes(text, false);
	}
	is_int(wrong, 0, "20,000 random texts are encoded as in the table and can be decoded");
}

/* Is the query sorted by name, then by value, and does it have n pairs? */
static bool is_sorted(char *query, size_t n)
{
	char *last_name = NULL, *last_value = NULL;
	size_t found = 0;

	for (char *pair; (pair = strsep(&query, "&")); found++) {
		char *value = strchr(pair, '=');
		if (!value || strchr(value + 1, '='))
			return false;
		*value++ = '\0';
		int order = last_name ? strcmp(last_name, pair) : -1;
		if (order > 0 || (order == 0 && strcmp(last_value, value) > 0))
			return false;
		last_name = pair;
		last_value = value;
	}
	return found == n;
}

static bool signs(const struct sigv4_request *request)
{
	_cleanup_(sigv4_signed_release) struct sigv4_signed done = SIGV4_SIGNED_INIT;
	_cleanup_(sigv4_signed_release) struct sigv4_signed again = SIGV4_SIGNED_INIT;
	struct err err = ERR_INIT;

	if (sigv4_sign(request, &done, &err) < 0 || sigv4_sign(request, &again, &err) < 0 ||
	    strcmp(find_line(&done, "Authorization"), find_line(&again, "Authorization")) != 0)
		return false;
	char *query = strchr(done.target, '?');
	if (query)
		*query++ = '\0';
	return is_encoded(request->path, true, done.target) &&
	       (query ? is_sorted(query, request->n_query) : !request->n_query);
}

static void fuzz_requests(void)
{
	char path[300] = "/", texts[2 * PAIRS_MAX][40];
	struct uri_pair query[PAIRS_MAX];
	struct sigv4_request request = {
		.method = "GET",
		.host = "localhost",
		.path = path,
		.region = "us-east-1",
		.service = "s3",
		.query = query,
		.payload_sha256_hex = SIGV4_NO_PAYLOAD,
		.time_ms = TIME_MS,
		.access_key = ACCESS_KEY,
		.secret_key = SECRET_KEY,
	};
	int wrong = 0;

	for (int i = 0; i < 2000; i++) {
		random_text(path + 1, sizeof(path) - 1);
		request.n_query = next(PAIRS_MAX + 1);
		for (size_t n = 0; n < request.n_query; n++) {
			/* Short names, so that some occur twice. */
			random_text(texts[2 * n], next(2) ? 3 : 40);
			random_text(texts[2 * n + 1], next(2) ? 3 : 40);
			query[n] = (struct uri_pair){ texts[2 * n], texts[2 * n + 1] };
		}
		request.session_token = next(2) ? texts[0] : NULL;
		if (!request.n_query)
			request.session_token = NULL;
		wrong += !signs(&request);
	}
	is_int(wrong, 0, "2,000 random requests are signed correctly");
}

int main(void)
{
	make_table();
	test_vectors();
	test_unsigned();
	test_host();
	test_clock();
	fuzz_encoder();
	fuzz_requests();
	return tap_done();
}
