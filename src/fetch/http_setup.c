#include "fetch/http_setup.h"

#include <string.h>

#include "base/util.h"

/* So many times the longest that one transfer can be without progress: what 64 callers need to get
 * their turn at 16 connections, twice. */
#define WAIT_ROUNDS 8

#define CA_CACHE_S 60L

static void slist_cleanup(struct curl_slist **list)
{
	curl_slist_free_all(*list);
}

static int add_header(struct curl_slist **list, const char *line, struct err *err)
{
	struct curl_slist *longer = curl_slist_append(*list, line);

	if (!longer)
		return err_set(err, ERR_INTERNAL, "HTTP: out of memory");
	*list = longer;
	return 0;
}

static int add_headers(struct curl_slist **list, const char *const *lines, struct err *err)
{
	for (; lines && *lines; lines++) {
		if (add_header(list, *lines, err) < 0)
			return -1;
	}
	return 0;
}

static int add_bearer(struct curl_slist **list, const char *token, struct err *err)
{
	_cleanup_free_ char *line = NULL;

	if (asprintf(&line, "Authorization: Bearer %s", token) < 0) {
		line = NULL;
		return err_set(err, ERR_INTERNAL, "HTTP: out of memory");
	}
	return add_header(list, line, err);
}

static int set_headers(struct transfer *transfer, const struct http_request *request,
		       bool is_trusted, struct err *err)
{
	_cleanup_(slist_cleanup) struct curl_slist *list = NULL;

	if (add_headers(&list, request->public_headers, err) < 0)
		return -1;
	if (is_trusted && add_headers(&list, request->headers, err) < 0)
		return -1;
	if (is_trusted && request->bearer_token &&
	    add_bearer(&list, request->bearer_token, err) < 0)
		return -1;
	/* By hand: curl's own decoding takes a coded body that ends too early for whole. */
	if (request->accept_encoding &&
	    add_header(&list, "Accept-Encoding: gzip, br, zstd", err) < 0)
		return -1;
	if (request->body && add_header(&list, "Expect:", err) < 0)
		return -1;
	curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, list);
	transfer->headers = steal_ptr(&list);
	return 0;
}

static void set_method(CURL *easy, const struct http_request *request)
{
	const char *method = request->method;

	if (request->body) {
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
				 (curl_off_t)request->body_bytes);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body);
	}
	if (method && strcmp(method, "HEAD") == 0)
		curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
	else if (method)
		curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
}

static void set_tls(CURL *easy, const struct http_request *request, bool is_trusted)
{
	const curl_version_info_data *built = curl_version_info(CURLVERSION_NOW);

	/* Without a directory of CAs, curl parses the CA file once for many connections; and a CA
	 * file that was asked for is then the only thing that is trusted. */
	if (request->ca_file)
		curl_easy_setopt(easy, CURLOPT_CAINFO, request->ca_file);
	if (request->ca_file || (built->cainfo && access(built->cainfo, R_OK) == 0))
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
#if LIBCURL_VERSION_NUM >= 0x075700
	curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, CA_CACHE_S);
#endif
	if (!is_trusted || !request->client_cert_file)
		return;
	curl_easy_setopt(easy, CURLOPT_SSLCERT, request->client_cert_file);
	curl_easy_setopt(easy, CURLOPT_SSLKEY,
			 request->client_key_file ? request->client_key_file
						  : request->client_cert_file);
}

static void set_connection(struct http *http, CURL *easy, const struct http_request *request,
			   bool is_http1)
{
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)request->connect_timeout_ms);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
			 (long)(is_http1 ? CURL_HTTP_VERSION_1_1 : CURL_HTTP_VERSION_2TLS));
	/* libcurl 7.88 takes a kept connection with HTTP/2 for such a request too. */
	curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, (long)is_http1);
	curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, (long)is_http1);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, engine_close_socket);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, http);
	curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	if (request->unix_socket) {
		curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, request->unix_socket);
		curl_easy_setopt(easy, CURLOPT_PROXY, "");
	} else if (request->proxy) {
		curl_easy_setopt(easy, CURLOPT_PROXY, request->proxy);
	}
}

static void set_protocols(CURL *easy)
{
#if LIBCURL_VERSION_NUM >= 0x075500
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
}

/* Transfers that must not share a connection with HTTP/2 are counted by themselves. */
static int set_host(struct transfer *transfer, const struct http_request *request,
		    const struct http_hop *hop, struct err *err)
{
	if (http_url_origin(hop->url, &transfer->origin, err) < 0)
		return -1;
	transfer->is_tls = strncmp(transfer->origin, "https:", 6) == 0;
	if (asprintf(&transfer->host_key, "%s%s",
		     request->unix_socket ? request->unix_socket : transfer->origin,
		     hop->is_http1 ? " HTTP/1.1" : "") < 0) {
		transfer->host_key = NULL;
		return err_set(err, ERR_INTERNAL, "HTTP: out of memory");
	}
	return 0;
}

int http_setup(struct transfer *transfer, const struct http_request *request,
	       const struct http_hop *hop, struct err *err)
{
	CURL *easy = transfer->easy;

	if (set_host(transfer, request, hop, err) < 0 ||
	    set_headers(transfer, request, hop->is_trusted, err) < 0)
		return -1;
	transfer->stall_timeout_ms = request->stall_timeout_ms;
	transfer->wait_timeout_ms = WAIT_ROUNDS *
				    (request->connect_timeout_ms + request->stall_timeout_ms);

	set_protocols(easy);
	set_method(easy, request);
	if (transfer->is_tls)
		set_tls(easy, request, hop->is_trusted);
	set_connection(transfer->http, easy, request, hop->is_http1);
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, (long)request->path_as_is);
	if (request->user_agent)
		curl_easy_setopt(easy, CURLOPT_USERAGENT, request->user_agent);
	if (hop->is_trusted && request->user_password) {
		curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
		curl_easy_setopt(easy, CURLOPT_USERPWD, request->user_password);
	}
	if (curl_easy_setopt(easy, CURLOPT_URL, hop->url) != CURLE_OK)
		return err_set(err, ERR_INTERNAL, "HTTP: out of memory");
	return 0;
}
