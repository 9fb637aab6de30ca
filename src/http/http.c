/*
 * http_perform(), the caller's side of the engine. A call is one transfer, and one more for each
 * redirect that is followed, if a body needs HTTP/1.1, if a kept connection turns out to be broken,
 * and if there are only addresses that did not answer before. Secrets are sent only as long as
 * scheme, host and port stay the same.
 */
#include "http/http.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/util.h"
#include "http/decode.h"
#include "http/http_engine.h"
#include "http/http_public.h"
#include "http/http_resolver.h"
#include "http/http_setup.h"
#include "http/http_url.h"

#define URL_SHOWN_SIZE	  300
#define REDIRECT_BODY_MAX (1024 * 1024)
#define STATUS_MAX	  999

struct call {
	const struct http_request *request;
	const struct http_callbacks *callbacks;
	struct http_hop hop;
	unsigned redirects_left;
	bool is_public;	 /* the first host, so that redirects must not leave the public addresses */
	bool has_cookie; /* a redirect has set one */

	/* For the current transfer. */
	enum { STEP_LAST, STEP_REDIRECT, STEP_HTTP1, STEP_FRESH } step;
	uint64_t body_bytes;	 /* on the wire */
	struct decoder *decoder; /* owned; NULL: the body is not coded */
	bool is_refused;	 /* by a callback, whose error is returned unchanged */
};

DEFINE_CLEANUP(struct transfer, engine_close)

static int prefix(const struct call *call, struct err *err)
{
	const char *method = call->request->method;
	char shown[URL_SHOWN_SIZE];

	return err_prefix(err, "%s %s%s", method ? method : "GET",
			  http_url_mask(call->hop.url, shown, sizeof(shown)),
			  call->hop.is_http1 ? " with HTTP/1.1" : "");
}

/* ---- what went wrong ---- */

static enum err_kind kind_of(CURLcode code)
{
	static const struct {
		CURLcode code;
		enum err_kind kind;
	} kinds[] = {
		{ CURLE_OUT_OF_MEMORY, ERR_INTERNAL },
		{ CURLE_FAILED_INIT, ERR_INTERNAL },
		{ CURLE_URL_MALFORMAT, ERR_CONFIG },
		{ CURLE_SSL_CERTPROBLEM, ERR_CONFIG },
		{ CURLE_SSL_CACERT_BADFILE, ERR_CONFIG },
		{ CURLE_UNSUPPORTED_PROTOCOL, ERR_BAD_DATA }, /* HTTP/0.9 */
		{ CURLE_WEIRD_SERVER_REPLY, ERR_BAD_DATA },
	};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (kinds[i].code == code)
			return kinds[i].kind;
	}
	return ERR_UNREACHABLE;
}

static int fail_headers(struct err *err)
{
	return err_set(err, ERR_BAD_DATA, "headers of more than %d KiB", HTTP_HEADERS_MAX / 1024);
}

/* Is this no HTTP, on a connection that has served an earlier request? What comes is then the rest
 * of an earlier response. */
static bool is_late_rest(const struct transfer *transfer)
{
	long n_connects = -1;

	if (transfer->end != END_CURL || transfer->response.fields ||
	    kind_of(transfer->code) != ERR_BAD_DATA)
		return false;
	curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &n_connects);
	return n_connects == 0;
}

/* Did a failure of this kind concern the connection itself? */
static bool is_of_connecting(CURLcode code)
{
	return code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_PROXY ||
	       code == CURLE_OPERATION_TIMEDOUT || code == CURLE_PROXY;
}

/* What curl's text leaves out, to be appended to it; "" if nothing. Returns ret. */
static const char *advice_on(const struct call *call, const struct transfer *transfer,
			     const char *text, char ret[256])
{
	const struct http_request *request = call->request;
	bool is_http = strncmp(transfer->origin, "http:", 5) == 0;
	CURLcode code = transfer->code;
	char shown[160];

	*ret = '\0';
	if (strstr(text, "wrong version number"))
		snprintf(ret, 256, " (does the server speak http instead of https on this port?)");
	else if (strstr(text, "alert protocol version"))
		snprintf(ret, 256, " (rptfs speaks TLS 1.2 and later)");
	else if (is_http && strstr(call->hop.url, "443") &&
		 (code == CURLE_RECV_ERROR || code == CURLE_GOT_NOTHING ||
		  code == CURLE_UNSUPPORTED_PROTOCOL))
		snprintf(ret, 256, " (does the server speak https instead of http on this port?)");
	else if (is_of_connecting(code) && request->unix_socket)
		snprintf(ret, 256, " (by way of unix_socket %.200s)", request->unix_socket);
	else if (is_of_connecting(code) && request->proxy && *request->proxy)
		snprintf(ret, 256, " (by way of the proxy %s)",
			 http_url_mask(request->proxy, shown, sizeof(shown)));
	return ret;
}

static int fail_curl(const struct call *call, const struct transfer *transfer, struct err *err)
{
	/* The only message that quotes a proxy, with its password. */
	bool names_proxy = strncmp(transfer->error, "Unsupported proxy ", 18) == 0;
	const char *text = names_proxy		? "the URL of the proxy is not valid"
			   : transfer->error[0] ? transfer->error
						: curl_easy_strerror(transfer->code);
	enum err_kind kind = kind_of(transfer->code);
	long connect_status = 0;
	char advice[256];

	/* curl reports "out of memory" for a header line that is too long for it. */
	if (transfer->code == CURLE_OUT_OF_MEMORY && transfer->is_requested &&
	    !transfer->has_headers)
		return fail_headers(err);
	if (is_late_rest(transfer))
		return err_set(err, ERR_UNREACHABLE, "the connection is broken: %s", text);
	curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_CONNECTCODE, &connect_status);
	if (connect_status == 403 || connect_status == 407)
		kind = ERR_DENIED;
	if ((transfer->code == CURLE_PEER_FAILED_VERIFICATION ||
	     transfer->code == CURLE_SSL_CACERT_BADFILE) &&
	    call->request->ca_file)
		return err_set(err, kind, "%s (CA file %s)", text, call->request->ca_file);
	if (transfer->code == CURLE_SSL_CERTPROBLEM && call->request->client_cert_file)
		return err_set(err, kind, "%s (client certificate %s)", text,
			       call->request->client_cert_file);
	return err_set(err, kind, "%s%s", text, advice_on(call, transfer, text, advice));
}

/* A connection to a broken proxy or server may still answer the next request properly. */
static int fail_interim(const struct transfer *transfer, struct err *err)
{
	long status = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	return err_set(err, ERR_UNREACHABLE, "%ld without a final response", status);
}

static int fail_private(struct err *err)
{
	return err_set(err, ERR_BAD_DATA,
		       "redirect of a public host to an address that is not public: not followed "
		       "(redirects = any)");
}

/* How the transfer ended: 0 when it is complete. */
static int judge_end(const struct call *call, const struct transfer *transfer, struct err *err)
{
	const struct http_budget *budget = transfer->budget;
	char human[CLOCK_HUMAN_SIZE];

	switch (transfer->end) {
	case END_CURL:
		if (transfer->code != CURLE_OK)
			return fail_curl(call, transfer, err);
		return transfer->response.fields ? 0 : fail_interim(transfer, err);
	case END_STALLED:
		return err_set(err, ERR_UNREACHABLE, "stalled: %llu bytes in %s",
			       (unsigned long long)transfer->stalled_bytes,
			       clock_human(transfer->stall_timeout_ms, human));
	case END_SLOW:
		return err_set(err, ERR_UNREACHABLE,
			       "too slow: %llu bytes in %s, with min_rate = %llu",
			       (unsigned long long)transfer->stalled_bytes,
			       clock_human(transfer->stall_timeout_ms, human),
			       (unsigned long long)budget->min_rate);
	case END_OVERDUE:
		return err_set(err, ERR_UNREACHABLE,
			       "not complete within the attempt_timeout of %s",
			       clock_human(budget->timeout_ms, human));
	case END_PRIVATE:
		return fail_private(err);
	case END_TOO_MUCH:
		return err_set(err, ERR_BAD_DATA,
			       "received more than the max_received of %llu bytes",
			       (unsigned long long)budget->max_bytes);
	case END_CROWDED:
		return err_set(err, ERR_UNREACHABLE, "no connection to the host became free in %s",
			       clock_human(transfer->wait_timeout_ms, human));
	case END_CANCELED:
		return err_set(err, ERR_CANCELED, "canceled");
	case END_HEADERS:
		return fail_headers(err);
	case END_INTERIM:
		return fail_interim(transfer, err);
	case END_NO_MEMORY:
		return err_set(err, ERR_INTERNAL, "out of memory");
	case END_NONE:
	case END_STOPPED:
		break;
	}
	return err_set(err, ERR_INTERNAL, "the transfer was stopped");
}

/* ---- the response ---- */

static int pass_on(void *arg, const void *data, size_t len, struct err *err)
{
	struct call *call = arg;

	if (call->callbacks->on_body &&
	    call->callbacks->on_body(call->callbacks->arg, data, len, err) < 0) {
		call->is_refused = true;
		return -1;
	}
	return 0;
}

static bool is_head(const struct call *call)
{
	return call->request->method && strcmp(call->request->method, "HEAD") == 0;
}

/* Only content is decoded; an error page may be broken. */
static bool is_decoded(const struct call *call, const struct http_response *response)
{
	return call->request->accept_encoding && response->status == 200 && !is_head(call) &&
	       http_is_coded(response);
}

static int start_decoder(struct call *call, const struct http_response *response, struct err *err)
{
	struct codings codings;

	if (!is_decoded(call, response))
		return 0;
	http_codings(response, &codings);
	return decoder_new(&call->decoder, &codings, pass_on, call, err);
}

bool http_is_redirect(int status)
{
	return (status >= 301 && status <= 303) || status == 307 || status == 308;
}

static bool is_redirect(const struct call *call, const struct http_response *response)
{
	const char *method = call->request->method;

	if (method && strcmp(method, "GET") != 0 && !is_head(call))
		return false;
	return call->redirects_left && http_header(response, "Location") &&
	       http_is_redirect(response->status);
}

/* With HTTP/2, libcurl takes a stream that the server resets with NO_ERROR for a complete body.
 * Proxies that lose the server behind them do that. Only a length or a content coding shows then
 * that the body was cut. */
static bool may_be_cut(const struct http_response *response)
{
	return response->is_http2 && response->length < 0;
}

/* With HTTP/1.1 every cut shows. For large bodies see TRANSFER_BUFFER_HTTP2_MAX. */
static bool needs_http1(const struct call *call, const struct http_response *response)
{
	const struct http_request *request = call->request;

	if (may_be_cut(response))
		return response->status == 200 && !is_head(call) && !request->body &&
		       !request->accept_unframed && !is_decoded(call, response);
	return response->is_http2 && response->length > TRANSFER_BUFFER_HTTP2_MAX;
}

/* Each Content-Length must have the value that curl uses. Of several values curl uses the last; it
 * ignores one that is too large. */
static int check_length(const struct http_response *response, struct err *err)
{
	const char *value;
	char expected[24];

	if (response->n_transfer_codings)
		return 0;
	snprintf(expected, sizeof(expected), "%lld", (long long)response->length);
	for (size_t i = 0; (value = http_header_at(response, "Content-Length", i)); i++) {
		size_t zeros = strspn(value, "0");
		if (zeros && !value[zeros])
			zeros--;
		if (strcmp(value + zeros, expected) != 0)
			return err_set(err, ERR_BAD_DATA, "unusable Content-Length \"%.64s\"",
				       value);
	}
	return 0;
}

static int take_headers(struct call *call, const struct http_response *response, struct err *err)
{
	if (response->n_transfer_codings > 1)
		return err_set(err, ERR_BAD_DATA,
			       "%zu headers Transfer-Encoding: the body may be coded twice",
			       response->n_transfer_codings);
	if (response->n_transfer_codings && !response->is_framed)
		return err_set(err, ERR_BAD_DATA, "unknown transfer coding \"%.64s\"",
			       http_header(response, "Transfer-Encoding"));
	if (response->is_forged)
		return err_set(err, ERR_BAD_DATA, "an answer of HTTP/2 on a connection of HTTP/1");
	/* libcurl takes a longer number behind "HTTP/2 ". */
	if (response->status > STATUS_MAX)
		return err_set(err, ERR_BAD_DATA, "%d is not a status of HTTP", response->status);
	if (response->status == 200 && check_length(response, err) < 0)
		return -1;
	if (is_redirect(call, response))
		call->step = STEP_REDIRECT;
	else if (needs_http1(call, response))
		call->step = STEP_HTTP1;
	if (call->step != STEP_LAST)
		return 0;
	if (start_decoder(call, response, err) < 0)
		return -1;
	if (call->callbacks->on_headers &&
	    call->callbacks->on_headers(call->callbacks->arg, response, err) < 0) {
		call->is_refused = true;
		return -1;
	}
	return 0;
}

static int take_body(struct call *call, const void *data, size_t len, struct err *err)
{
	call->body_bytes += len;
	if (call->step == STEP_REDIRECT) {
		if (call->body_bytes > REDIRECT_BODY_MAX)
			return err_set(err, ERR_BAD_DATA,
				       "redirect with a body of more than %d MiB",
				       REDIRECT_BODY_MAX / 1024 / 1024);
		return 0;
	}
	if (call->decoder)
		return decoder_feed(call->decoder, data, len, err);
	return pass_on(call, data, len, err);
}

/* Is the content complete? curl should check the length, but has not always done so. */
static int judge_content(const struct call *call, const struct http_response *response,
			 struct err *err)
{
	bool is_content = response->status == 200 || response->status == 206;

	if (is_content && !is_head(call) && response->length >= 0 &&
	    call->body_bytes != (uint64_t)response->length)
		return err_set(err, ERR_UNREACHABLE, "%llu bytes of content instead of %lld",
			       (unsigned long long)call->body_bytes, (long long)response->length);
	/* Some servers label an empty body as coded. */
	bool is_empty = !call->body_bytes && response->is_framed && !may_be_cut(response);
	if (!call->decoder || is_empty || decoder_finish(call->decoder, err) == 0)
		return 0;
	if (may_be_cut(response))
		err->kind = ERR_UNREACHABLE;
	return -1;
}

static bool is_counted_out(const struct call *call, const struct http_response *response)
{
	return response->is_counted && response->length >= 0 &&
	       call->body_bytes >= (uint64_t)response->length;
}

static int receive(struct call *call, struct transfer *transfer, struct err *err)
{
	const void *data;
	size_t len;

	for (;;) {
		switch (engine_wait(transfer, &data, &len)) {
		case TRANSFER_HEADERS:
			if (take_headers(call, &transfer->response, err) < 0)
				return -1;
			if (call->step == STEP_HTTP1)
				return 0;
			break;
		case TRANSFER_BODY:
			if (take_body(call, data, len, err) < 0)
				return -1;
			if (is_counted_out(call, &transfer->response))
				return judge_content(call, &transfer->response, err);
			break;
		case TRANSFER_END:
			if (judge_end(call, transfer, err) < 0)
				return -1;
			return judge_content(call, &transfer->response, err);
		}
	}
}

/* ---- redirects ---- */

/* The peer of a request through a proxy is the proxy. The variables are those that curl reads for
 * the scheme; no_proxy is not considered. */
static bool has_proxy(const struct http_request *request, const char *origin)
{
	static const char *const of_http[] = { "http_proxy", "all_proxy", "ALL_PROXY", NULL };
	static const char *const of_https[] = { "https_proxy", "HTTPS_PROXY", "all_proxy",
						"ALL_PROXY", NULL };
	const char *const *names = strncmp(origin, "https:", 6) == 0 ? of_https : of_http;

	for (; !request->proxy && *names; names++) {
		const char *value = getenv(*names);
		if (value && *value)
			return true;
	}
	return request->proxy && *request->proxy;
}

static bool has_private_peer(const struct transfer *transfer)
{
	char *ip = NULL;

	curl_easy_getinfo(transfer->easy, CURLINFO_PRIMARY_IP, &ip);
	return !ip || !http_is_public_address(ip);
}

/* The first redirect decides: may the others lead anywhere? */
static void judge_first_host(struct call *call, const struct transfer *transfer)
{
	const struct http_request *request = call->request;
	bool is_private = has_proxy(request, transfer->origin)
				  ? http_is_private_origin(transfer->origin)
				  : has_private_peer(transfer);

	call->is_public = !request->redirects_anywhere && !request->unix_socket && !is_private;
}

/* A redirect that sets a cookie and leads back expects it to be sent. */
static int check_cookie(struct call *call, const struct transfer *transfer, const char *next,
			struct err *err)
{
	_cleanup_free_ char *first = NULL;
	_cleanup_free_ char *here = NULL;

	call->has_cookie |= http_header(&transfer->response, "Set-Cookie") != NULL;
	if (!call->has_cookie)
		return 0;
	if (http_url_clean(call->request->url, &first, err) < 0 ||
	    http_url_clean(call->hop.url, &here, err) < 0)
		return -1;
	if (strcmp(next, first) != 0 && strcmp(next, here) != 0)
		return 0;
	return err_set(err, ERR_BAD_DATA,
		       "redirect to itself that sets a cookie; rptfs sends no cookies");
}

static int follow(struct call *call, const struct transfer *transfer, struct err *err)
{
	_cleanup_free_ char *next = NULL;
	_cleanup_free_ char *origin = NULL;
	char *location = NULL;

	curl_easy_getinfo(transfer->easy, CURLINFO_REDIRECT_URL, &location);
	if (!location)
		return err_set(err, ERR_BAD_DATA, "redirect: not a URL");
	if (http_url_clean(location, &next, err) < 0 || http_url_origin(next, &origin, err) < 0) {
		if (err->kind == ERR_CONFIG)
			err->kind = ERR_BAD_DATA;
		return err_prefix(err, "redirect");
	}
	if (strncmp(transfer->origin, "https:", 6) == 0 && strncmp(origin, "https:", 6) != 0)
		return err_set(err, ERR_BAD_DATA, "redirect from https to http: not followed");
	if (check_cookie(call, transfer, next, err) < 0)
		return -1;
	if (call->redirects_left == call->request->max_redirects)
		judge_first_host(call, transfer);
	if (call->is_public && http_is_private_origin(origin))
		return fail_private(err);
	call->hop.is_public = call->is_public && !has_proxy(call->request, origin);
	if (strcmp(transfer->origin, origin) != 0)
		call->hop.is_trusted = false;
	free(call->hop.url);
	call->hop.url = steal_ptr(&next);
	call->hop.is_http1 = call->hop.is_fresh = false;
	call->redirects_left--;
	return 0;
}

/* ---- one call ---- */

/* A request with a body may have had an effect, if it was sent. */
static bool must_repeat(const struct call *call, const struct transfer *transfer)
{
	bool has_avoided_all = transfer->has_avoided && !transfer->is_requested &&
			       transfer->end == END_CURL;

	return !call->hop.is_fresh &&
	       (has_avoided_all || (is_late_rest(transfer) && !call->request->body));
}

static int repeat(struct call *call, struct err *err)
{
	*err = (struct err)ERR_INIT;
	call->step = STEP_FRESH;
	call->hop.is_fresh = true;
	return 0;
}

/* Sets call->hop to the next hop, unless this was STEP_LAST. */
static int perform_step(struct http *http, struct call *call, struct err *err)
{
	_cleanup_(engine_close_cleanup) struct transfer *transfer = NULL;

	call->step = STEP_LAST;
	call->body_bytes = 0;
	if (engine_open(http, &transfer, err) < 0 ||
	    http_setup(transfer, engine_cas(http), engine_helper(http), call->request, &call->hop,
		       err) < 0)
		return -1;
	http_resolver_update(engine_resolver(http));
	engine_start(transfer);
	int rc = receive(call, transfer, err);
	engine_stop(transfer);
	if (rc < 0)
		return must_repeat(call, transfer) ? repeat(call, err) : -1;
	if (call->step == STEP_HTTP1)
		call->hop.is_http1 = true;
	return call->step == STEP_REDIRECT ? follow(call, transfer, err) : 0;
}

int http_perform(struct http *http, const struct http_request *request,
		 const struct http_callbacks *callbacks, struct err *err)
{
	struct call call = {
		.request = request,
		.callbacks = callbacks,
		.hop = { .is_trusted = true },
		.redirects_left = request->max_redirects,
	};
	int rc;

	if (http_url_ascii(request->url, &call.hop.url, err) < 0)
		return -1;
	do
		rc = perform_step(http, &call, err);
	while (rc == 0 && call.step != STEP_LAST);
	if (rc < 0 && !call.is_refused)
		prefix(&call, err);
	decoder_free(call.decoder);
	free(call.hop.url);
	return rc;
}
