/*
 * Keys as providers send them: JSON of credential_process and of the metadata service, XML of STS.
 * The first byte says which.
 */
#include <jansson.h>

#include "base/clock.h"
#include "base/log.h"
#include "fetchers/aws/aws_keys_json.h"
#include "fetchers/aws/aws_keys_xml.h"
#include "fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	log_set_level(LOG_LEVEL_ERROR);
	aws_keys_json_prepare();
	return 0;
}

static void check_text(const char *text)
{
	fuzz_check(*text);
	for (; *text; text++)
		fuzz_check(*text > ' ' && *text <= '~');
}

/* The keys come back from a document that holds them. */
static void check_again(const struct aws_keys *keys)
{
	_cleanup_(aws_keys_free_cleanup) struct aws_keys *again = NULL;
	struct err err = ERR_INIT;
	json_t *document = json_pack("{s:i, s:s, s:s, s:s*}", "Version", 1, "AccessKeyId",
				     keys->access_key, "SecretAccessKey", keys->secret_key,
				     "SessionToken", keys->session_token);
	static char text[6 * 3 * 16384];
	size_t len = json_dumpb(document, text, sizeof(text), 0);

	json_decref(document);
	fuzz_check(len && len <= sizeof(text));
	fuzz_check(aws_keys_from_json(&again, AWS_JSON_PROCESS, text, len, "again", &err) == 0);
	fuzz_check(strcmp(again->access_key, keys->access_key) == 0);
	fuzz_check(strcmp(again->secret_key, keys->secret_key) == 0);
	fuzz_check(!again->session_token == !keys->session_token);
	fuzz_check(aws_keys_expire_ms(again) == AWS_NEVER);
}

static void check_keys(const struct aws_keys *keys)
{
	check_text(keys->access_key);
	check_text(keys->secret_key);
	if (keys->session_token)
		check_text(keys->session_token);
	check_again(keys);
}

static int read_keys(struct aws_keys **ret, unsigned kind, const char *text, size_t len,
		     struct err *err)
{
	switch (kind) {
	case 0:
		return aws_keys_from_json(ret, AWS_JSON_PROCESS, text, len, "fuzz", err);
	case 1:
		return aws_keys_from_json(ret, AWS_JSON_SERVICE, text, len, "fuzz", err);
	default:
		return aws_keys_from_xml(ret, text, len, "fuzz", err);
	}
}

/* RFC 3339 as printed is read again. */
static void check_time(const char *text)
{
	char again[CLOCK_RFC3339_SIZE];
	int64_t ms = 0, again_ms = 0;

	if (aws_time_ms(text, &ms) < 0)
		return;
	fuzz_check(aws_time_ms(clock_rfc3339(ms, again), &again_ms) == 0 && again_ms == ms);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	_cleanup_(aws_keys_free_cleanup) struct aws_keys *keys = NULL;
	struct err err = ERR_INIT;

	if (!size)
		return 0;
	unsigned kind = *input.next++ % 3;
	input.left--;
	if (read_keys(&keys, kind, (const char *)input.next, input.left, &err) == 0)
		check_keys(keys);
	else
		fuzz_check_error(&err, ERR_DENIED);
	_cleanup_free_ char *line = fuzz_line(&input);
	if (line)
		check_time(line);
	return 0;
}
