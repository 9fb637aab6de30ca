#include "http/http_setup.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd_path.h"
#include "base/files.h"
#include "base/read_full.h"
#include "base/secret.h"
#include "base/util.h"
#include "http/http_host.h"
#include "http/http_setopt.h"

/* How long a transfer may wait for a connection, as a multiple of the longest time that another one
 * can be without progress. 64 callers that share 16 connections need half of it. */
#define WAIT_ROUNDS 8

#define CA_CACHE_S 60L

/* Limits of a file of certificates or keys; all public CAs together take a quarter of a MiB. */
#define PEM_MAX		(4 * 1024 * 1024)
#define PEM_OF_FIFO_MAX (64 * 1024)

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
	/* Without curl's own decoding, which accepts a coded body that ends too early. */
	if (request->accept_encoding &&
	    add_header(&list, "Accept-Encoding: gzip, br, zstd", err) < 0)
		return -1;
	if (request->body && add_header(&list, "Expect:", err) < 0)
		return -1;
	transfer->headers = steal_ptr(&list);
	return http_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers, err);
}

static int set_method(CURL *easy, const struct http_request *request, struct err *err)
{
	const char *method = request->method;

	if (request->body && (http_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
					  (curl_off_t)request->body_bytes, err) < 0 ||
			      http_setopt(easy, CURLOPT_POSTFIELDS, request->body, err) < 0))
		return -1;
	if (!method)
		return 0;
	if (strcmp(method, "HEAD") == 0)
		return http_setopt(easy, CURLOPT_NOBODY, 1L, err);
	return http_setopt(easy, CURLOPT_CUSTOMREQUEST, method, err);
}

static void blob_release(struct curl_blob *blob)
{
	secret_heap_free(blob->data);
}

static int read_pem(struct helper *helper, const char *path, struct curl_blob *ret, struct err *err)
{
	_cleanup_close_ int fd = files_open(helper, path, err);
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0)
		return err_errno(err, "looking at %s", path);
	size_t size = S_ISREG(st.st_mode) ? (size_t)st.st_size : PEM_OF_FIFO_MAX;
	if (size > PEM_MAX)
		return err_set(err, ERR_BAD_DATA, "%s: more than %d MiB", path,
			       PEM_MAX / 1024 / 1024);
	ret->data = secret_heap_malloc(size + 1);
	if (!ret->data)
		return err_set(err, ERR_INTERNAL, "%s: out of memory", path);
	ssize_t len = read_full(fd, ret->data, size);
	if (len < 0)
		return err_errno(err, "reading %s", path);
	if (len == 0)
		return err_set(err, ERR_BAD_DATA, "%s is empty", path);
	ret->len = (size_t)len;
	return 0;
}

/* Passes the content of a file to curl; *ret refers to it. curl copies the bytes for the transfer,
 * and certificates and keys again for the connection, because only transfers with the same bytes
 * share a connection. */
static int set_blob(CURL *easy, struct helper *helper, CURLoption option, const char *name,
		    const char *path, struct curl_blob *ret, struct err *err)
{
	if (read_pem(helper, path, ret, err) < 0) {
		bool is_lasting = err->kind == ERR_NOT_FOUND || err->kind == ERR_DENIED ||
				  err->kind == ERR_BAD_DATA;
		if (is_lasting)
			err->kind = ERR_CONFIG;
		return err_prefix(err, "%s", name);
	}
	return http_setopt_result(curl_easy_setopt(easy, option, ret), name, err);
}

/* curl gets the path of a file that it can open itself: it keeps what it parsed of a path for all
 * connections together, but not what it parsed of bytes. */
static int set_ca(CURL *easy, struct http_cas *cas, struct helper *helper, const char *path,
		  struct err *err)
{
	_cleanup_(blob_release) struct curl_blob blob = { .flags = CURL_BLOB_COPY };

	if (http_cas_set(cas, easy, path))
		return 0;
	_cleanup_close_ int own = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (own >= 0)
		return http_setopt(easy, CURLOPT_CAINFO, path, err);
	if (set_blob(easy, helper, CURLOPT_CAINFO_BLOB, "ca_file", path, &blob, err) < 0)
		return -1;
	http_cas_add(cas, path, &blob);
	return 0;
}

static int set_own(CURL *easy, struct helper *helper, CURLoption option, const char *name,
		   const char *path, struct err *err)
{
	_cleanup_(blob_release) struct curl_blob blob = { .flags = CURL_BLOB_COPY };

	return set_blob(easy, helper, option, name, path, &blob, err);
}

static int set_tls(CURL *easy, struct http_cas *cas, struct helper *helper,
		   const struct http_request *request, bool is_trusted, struct err *err)
{
	const curl_version_info_data *built = curl_version_info(CURLVERSION_NOW);
	const char *cert = request->client_cert_file;
	const char *key = request->client_key_file;
	bool has_ca = request->ca_file || (built->cainfo && access(built->cainfo, R_OK) == 0);

	if (http_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2, err) < 0 ||
	    http_setopt(easy, CURLOPT_PROXY_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2, err) < 0)
		return -1;
	if (request->ca_file && set_ca(easy, cas, helper, request->ca_file, err) < 0)
		return -1;
	/* Without a directory of CAs, curl parses the CA file once for many connections, and trusts
	 * nothing besides the configured CA file. */
	if (has_ca && http_setopt(easy, CURLOPT_CAPATH, NULL, err) < 0)
		return -1;
#if LIBCURL_VERSION_NUM >= 0x075700
	if (http_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, CA_CACHE_S, err) < 0)
		return -1;
#endif
	if (!is_trusted || !cert)
		return 0;
	if (set_own(easy, helper, CURLOPT_SSLCERT_BLOB, "client_cert", cert, err) < 0)
		return -1;
	return set_own(easy, helper, CURLOPT_SSLKEY_BLOB, key ? "client_key" : "client_cert",
		       key ? key : cert, err);
}

/* A server that is not running may leave no socket. */
static int fail_socket(const char *path, struct err *err)
{
	enum err_kind kind = err->kind == ERR_NOT_FOUND ? ERR_UNREACHABLE : err->kind;
	struct err cause = *err;

	return err_set(err, kind, "%s (by way of unix_socket %s)", cause.msg, path);
}

/* This process connects, not the helper: the peer would see a process with more rights. */
static int set_unix_socket(struct transfer *transfer, struct helper *helper, const char *path,
			   struct err *err)
{
	CURL *easy = transfer->easy;
	char self[FD_PATH_SIZE];

	transfer->unix_socket = files_find_socket(helper, path, err);
	if (transfer->unix_socket < 0)
		return fail_socket(path, err);
	if (access(fd_path(transfer->unix_socket, self), W_OK) < 0 && errno == EACCES)
		return err_set(err, ERR_DENIED, "unix_socket %s: uid %u may not connect to it",
			       path, (unsigned)geteuid());
	if (http_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, path, err) < 0)
		return -1;
	return http_setopt(easy, CURLOPT_PROXY, "", err);
}

static int set_connection(struct transfer *transfer, struct helper *helper,
			  const struct http_request *request, const struct http_hop *hop,
			  struct err *err)
{
	CURL *easy = transfer->easy;
	bool is_http1 = hop->is_http1;
	bool is_fresh = is_http1 || hop->is_fresh;
	long version = is_http1 ? CURL_HTTP_VERSION_1_1 : CURL_HTTP_VERSION_2TLS;

	/* libcurl 7.88 would use a kept connection with HTTP/2 for a request with HTTP/1.1 too. */
	if (http_setopt(easy, CURLOPT_HTTP_VERSION, version, err) < 0 ||
	    http_setopt(easy, CURLOPT_FRESH_CONNECT, (long)is_fresh, err) < 0 ||
	    http_setopt(easy, CURLOPT_MAXLIFETIME_CONN, HTTP_KEPT_MAX_S, err) < 0 ||
	    http_setopt(easy, CURLOPT_FORBID_REUSE, (long)is_http1, err) < 0 ||
	    http_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)request->connect_timeout_ms, err) <
		    0 ||
	    http_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L, err) < 0 ||
	    http_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L, err) < 0)
		return -1;
	if (request->unix_socket)
		return set_unix_socket(transfer, helper, request->unix_socket, err);
	if (request->proxy)
		return http_setopt(easy, CURLOPT_PROXY, request->proxy, err);
	return 0;
}

/* Sets the URL and the identity of the client. */
static int set_target(CURL *easy, const struct http_request *request, const struct http_hop *hop,
		      struct err *err)
{
#if LIBCURL_VERSION_NUM >= 0x075500
	if (http_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https", err) < 0)
		return -1;
#else
	if (http_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS), err) < 0)
		return -1;
#endif
	if (http_setopt(easy, CURLOPT_URL, hop->url, err) < 0 ||
	    http_setopt(easy, CURLOPT_PATH_AS_IS, (long)request->path_as_is, err) < 0)
		return -1;
	if (request->user_agent &&
	    http_setopt(easy, CURLOPT_USERAGENT, request->user_agent, err) < 0)
		return -1;
	if (!hop->is_trusted || !request->user_password)
		return 0;
	if (http_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC, err) < 0)
		return -1;
	return http_setopt(easy, CURLOPT_USERPWD, request->user_password, err);
}

/* Transfers that must not share a connection with HTTP/2 are counted separately. */
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

int http_setup_generation(CURL *easy, unsigned generation)
{
	/* Transfers share a connection only if they have the same TLS options. These three concern
	 * Windows, and every other TLS library ignores them. */
	static const long bits[] = { CURLSSLOPT_NO_REVOKE, CURLSSLOPT_REVOKE_BEST_EFFORT,
				     CURLSSLOPT_AUTO_CLIENT_CERT };
	long options = 0;

	static_assert(HTTP_HOST_GENERATIONS == 1u << ARRAY_SIZE(bits), "one bit for each option");
	for (size_t i = 0; i < ARRAY_SIZE(bits); i++)
		options |= generation >> i & 1 ? bits[i] : 0;
	return curl_easy_setopt(easy, CURLOPT_SSL_OPTIONS, options) == CURLE_OK ? 0 : -1;
}

int http_setup(struct transfer *transfer, struct http_cas *cas, struct helper *helper,
	       const struct http_request *request, const struct http_hop *hop, struct err *err)
{
	CURL *easy = transfer->easy;

	transfer->connect_timeout_ms = request->connect_timeout_ms;
	transfer->stall_timeout_ms = request->stall_timeout_ms;
	transfer->is_public_only = hop->is_public;
	transfer->budget = request->budget;
	transfer->takes_any_address = hop->is_fresh;
	transfer->wait_timeout_ms = WAIT_ROUNDS *
				    (transfer->connect_timeout_ms + transfer->stall_timeout_ms);
	if (set_host(transfer, request, hop, err) < 0 || set_target(easy, request, hop, err) < 0 ||
	    set_method(easy, request, err) < 0 ||
	    set_headers(transfer, request, hop->is_trusted, err) < 0 ||
	    set_connection(transfer, helper, request, hop, err) < 0)
		return -1;
	return transfer->is_tls ? set_tls(easy, cas, helper, request, hop->is_trusted, err) : 0;
}
