#include "fetchers/aws/aws_keys_json.h"

#include <pthread.h>
#include <string.h>

#include <jansson.h>

#include "base/json_depth.h"
#include "base/secret.h"

static void wipe_in_jansson(void)
{
	json_set_alloc_funcs(secret_heap_malloc, secret_heap_free);
}

void aws_keys_json_prepare(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, wipe_in_jansson);
}

static void json_cleanup(json_t **json)
{
	json_decref(*json);
}

static const char *text_of(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

/* Leaves out jansson's message, which may quote the text. */
static int parse(const char *text, size_t len, const char *where, json_t **ret, struct err *err)
{
	if (json_is_deeper(text, len, JSON_DEPTH_MAX))
		return err_set(err, ERR_DENIED, "%s: the answer is nested too deeply", where);
	_cleanup_(json_cleanup) json_t *json = json_loadb(text, len, 0, NULL);
	if (!json_is_object(json))
		return err_set(err, ERR_DENIED, "%s: the answer is not a JSON object", where);
	*ret = steal_ptr(&json);
	return 0;
}

/* "Code" is missing, "Success", or the reason why there are no keys. */
static int check_service(const json_t *json, const char *where, struct err *err)
{
	const char *code = text_of(json, "Code");
	const char *message = text_of(json, "Message");

	if (!code || strcmp(code, "Success") == 0)
		return 0;
	return err_set(err, ERR_DENIED, "%s: %.64s: %.256s", where, code, message ? message : "");
}

static int check_process(const json_t *json, const char *where, struct err *err)
{
	if (json_integer_value(json_object_get(json, "Version")) != 1)
		return err_set(err, ERR_DENIED, "%s: the answer has no \"Version\": 1", where);
	return 0;
}

static int check(enum aws_json_kind kind, const json_t *json, const char *where, struct err *err)
{
	switch (kind) {
	case AWS_JSON_SERVICE:
		return check_service(json, where, err);
	case AWS_JSON_PROCESS:
		break;
	}
	return check_process(json, where, err);
}

int aws_keys_from_json(struct aws_keys **ret, enum aws_json_kind kind, const char *json, size_t len,
		       const char *where, struct err *err)
{
	_cleanup_(json_cleanup) json_t *object = NULL;

	if (parse(json, len, where, &object, err) < 0 || check(kind, object, where, err) < 0)
		return -1;
	struct aws_key_texts texts = {
		.access_key = text_of(object, "AccessKeyId"),
		.secret_key = text_of(object, "SecretAccessKey"),
		.session_token = text_of(object,
					 kind == AWS_JSON_PROCESS ? "SessionToken" : "Token"),
		.expiration = text_of(object, "Expiration"),
	};
	return aws_keys_new(ret, &texts, where, err);
}
