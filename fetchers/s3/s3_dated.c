#include "fetchers/s3/s3_dated.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fetchers/shared/http_version.h"

void s3_dated_note(struct version *version, const struct http_response *response, int64_t length)
{
	version->notes[0] = '\0';
	if (http_version_is_date(version->token))
		snprintf(version->notes, sizeof(version->notes), "length=%" PRId64 " unproven=%d",
			 length, http_version_is_unproven(response, version->token));
}

/* The answer to HEAD. */
struct answer {
	const struct version *have;
	int64_t length; /* of that version */
	bool is_same;
};

static int on_headers(void *arg, const struct http_response *response, struct err *err)
{
	struct answer *answer = arg;

	(void)err;
	answer->is_same = http_status(response) == 304 ||
			  (http_length(response) == answer->length &&
			   strcmp(http_version_token(response), answer->have->token) == 0);
	return 0;
}

enum s3_dated_result s3_dated_ask(struct s3_source *source, struct fetch_ctx *ctx,
				  const struct version *have, struct s3_failure *ret_failure,
				  struct err *err)
{
	struct answer answer = { .have = have };
	char condition[VERSION_SIZE + 32];
	const char *const lines[] = { condition, NULL };
	const struct s3_request request = {
		.method = "HEAD",
		.headers = lines,
		.ret_failure = ret_failure,
	};
	const struct http_callbacks callbacks = { .on_headers = on_headers, .arg = &answer };
	int is_unproven;

	if (sscanf(have->notes, "length=%" SCNd64 " unproven=%d", &answer.length, &is_unproven) !=
		    2 ||
	    is_unproven)
		return S3_DATED_NEWS;
	snprintf(condition, sizeof(condition), "If-Modified-Since: %s", have->token);
	if (s3_perform(source, ctx, &request, &callbacks, err) < 0)
		return S3_DATED_FAILED;
	return answer.is_same ? S3_DATED_SAME : S3_DATED_NEWS;
}
