#include "http/http_response.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/util.h"
#include "http/decode.h"

/* curl leaves the CR of an empty value. */
static char *copy_value(char *to, const char *value)
{
	size_t len = strlen(value);

	while (len && strchr(" \t\r", value[len - 1]))
		len--;
	memcpy(to, value, len);
	to[len] = '\0';
	return to + len;
}

/* Copies name and value of each header into one allocation. */
static bool copy_headers(CURL *easy, struct http_response *response)
{
	struct curl_header *header = NULL;
	size_t n = 0, bytes = 0;

	while ((header = curl_easy_nextheader(easy, CURLH_HEADER, -1, header))) {
		n++;
		bytes += strlen(header->name) + strlen(header->value) + 2;
	}
	struct http_header_line *fields = malloc(n * sizeof(*fields) + bytes + 1);
	if (!fields)
		return false;
	char *text = (char *)(fields + n);
	size_t i = 0;
	while ((header = curl_easy_nextheader(easy, CURLH_HEADER, -1, header))) {
		fields[i].name = text;
		text = stpcpy(text, header->name) + 1;
		fields[i++].value = text;
		text = copy_value(text, header->value) + 1;
	}
	response->fields = fields;
	response->n_fields = n;
	return true;
}

/* -1: there is no valid one. */
static int64_t read_length(const struct http_response *response)
{
	const char *text = http_header(response, "Content-Length");
	char *end;

	if (!text || text[0] < '0' || text[0] > '9')
		return -1;
	errno = 0;
	long long length = strtoll(text, &end, 10);
	return errno || *end ? -1 : length;
}

/* RFC 9112 has no "identity" any more; it changes nothing. */
static bool is_transfer_coding(const char *value)
{
	return *value && strcasecmp(value, "identity") != 0;
}

/* "chunked" is the only supported transfer coding: the request allows no other. */
static void judge_framing(CURL *easy, struct http_response *response)
{
	size_t n_codings = 0;
	const char *value, *coding = "";
	curl_off_t length = -1;

	for (size_t i = 0; (value = http_header_at(response, "Transfer-Encoding", i)); i++) {
		if (!is_transfer_coding(value))
			continue;
		n_codings++;
		coding = value;
	}
	response->n_transfer_codings = n_codings;
	/* curl ignores Content-Length beside a Transfer-Encoding without a coding. */
	response->is_counted = !n_codings && !response->is_http2 &&
			       http_header(response, "Transfer-Encoding");

	curl_easy_getinfo(easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	if (response->is_counted)
		length = read_length(response);
	response->length = n_codings ? -1 : length;
	if (response->is_http2)
		response->is_framed = true;
	else if (n_codings)
		response->is_framed = n_codings == 1 && strcasecmp(coding, "chunked") == 0;
	else
		response->is_framed = length >= 0;
}

/* Only then HTTP/2 is used; but libcurl takes a status line that says "HTTP/2" at its word. */
static bool is_over_tls(CURL *easy)
{
	const char *scheme = NULL;

	curl_easy_getinfo(easy, CURLINFO_SCHEME, &scheme);
	return scheme && strcasecmp(scheme, "https") == 0;
}

bool http_response_read(CURL *easy, struct http_response *response)
{
	long status = 0, version = 0;

	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(easy, CURLINFO_HTTP_VERSION, &version);
	if (status < 200)
		return true;
	if (!copy_headers(easy, response))
		return false;
	response->status = (int)status;
	response->is_http2 = version >= CURL_HTTP_VERSION_2_0;
	response->is_forged = response->is_http2 && !is_over_tls(easy);
	judge_framing(easy, response);
	return true;
}

void http_response_release(struct http_response *response)
{
	free(response->fields);
	*response = (struct http_response){ .status = 0 };
}

int http_status(const struct http_response *response)
{
	return response->status;
}

bool http_is_framed(const struct http_response *response)
{
	return response->is_framed;
}

int64_t http_length(const struct http_response *response)
{
	return response->length;
}

void http_codings(const struct http_response *response, struct codings *ret)
{
	const char *value;

	*ret = (struct codings){ .n = 0 };
	for (size_t i = 0; (value = http_header_at(response, "Content-Encoding", i)); i++)
		codings_add(ret, value);
}

bool http_is_coded(const struct http_response *response)
{
	struct codings codings;

	http_codings(response, &codings);
	return codings.n > 0;
}

const char *http_header_at(const struct http_response *response, const char *name, size_t index)
{
	for (size_t i = 0; i < response->n_fields; i++) {
		if (strcasecmp(response->fields[i].name, name) == 0 && index-- == 0)
			return response->fields[i].value;
	}
	return NULL;
}

const char *http_header(const struct http_response *response, const char *name)
{
	return http_header_at(response, name, 0);
}
