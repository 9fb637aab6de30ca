#include "fetchers/aws/aws_keys.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/secret.h"

#define TEXT_MAX 16384

/* In locked memory, followed by the texts. */
struct held_keys {
	struct aws_keys keys;
	atomic_uint refs;
	int64_t expire_ms;
	char texts[];
};

static struct held_keys *held(const struct aws_keys *keys)
{
	return container_of(keys, struct held_keys, keys);
}

/* The texts become part of header lines. */
static bool is_usable(const char *text)
{
	size_t len = 0;

	for (; text[len]; len++) {
		if (text[len] <= ' ' || text[len] > '~' || len == TEXT_MAX)
			return false;
	}
	return len > 0;
}

static const char *copy(char **at, const char *text)
{
	char *start = *at;

	*at = stpcpy(start, text) + 1;
	return start;
}

static int check(const struct aws_key_texts *texts, const char *where, struct err *err)
{
	bool has_token = texts->session_token && *texts->session_token;

	if (!texts->access_key || !*texts->access_key)
		return err_set(err, ERR_DENIED, "%s: no access key id", where);
	if (!texts->secret_key || !*texts->secret_key)
		return err_set(err, ERR_DENIED, "%s: no secret access key", where);
	if (!is_usable(texts->access_key) || !is_usable(texts->secret_key) ||
	    (has_token && !is_usable(texts->session_token)))
		return err_set(err, ERR_DENIED,
			       "%s: the keys are too long or contain a space, a control "
			       "character or a non-ASCII character",
			       where);
	return 0;
}

int aws_keys_new(struct aws_keys **ret, const struct aws_key_texts *texts, const char *where,
		 struct err *err)
{
	const char *token = texts->session_token ? texts->session_token : "";
	int64_t expire_ms = AWS_NEVER;

	if (check(texts, where, err) < 0)
		return -1;
	if (texts->expiration && *texts->expiration &&
	    aws_time_ms(texts->expiration, &expire_ms) < 0)
		return err_set(err, ERR_DENIED, "%s: the expiration is not a time", where);
	struct held_keys *made = secret_new(sizeof(*made) + strlen(texts->access_key) +
					    strlen(texts->secret_key) + strlen(token) + 3);
	if (!made)
		return err_set(err, ERR_INTERNAL, "%s: out of memory", where);
	char *at = made->texts;
	made->keys.access_key = copy(&at, texts->access_key);
	made->keys.secret_key = copy(&at, texts->secret_key);
	made->keys.session_token = *token ? copy(&at, token) : NULL;
	made->expire_ms = expire_ms;
	atomic_init(&made->refs, 1);
	*ret = &made->keys;
	return 0;
}

struct aws_keys *aws_keys_ref(struct aws_keys *keys)
{
	atomic_fetch_add(&held(keys)->refs, 1);
	return keys;
}

void aws_keys_free(struct aws_keys *keys)
{
	if (keys && atomic_fetch_sub(&held(keys)->refs, 1) == 1)
		secret_free(held(keys));
}

int64_t aws_keys_expire_ms(const struct aws_keys *keys)
{
	return held(keys)->expire_ms;
}

void aws_keys_number(struct aws_keys *keys, uint64_t serial)
{
	keys->serial = serial;
}

/* ---- time ---- */

static int two_digits(const char *text)
{
	if (text[0] < '0' || text[0] > '9' || text[1] < '0' || text[1] > '9')
		return -1;
	return (text[0] - '0') * 10 + text[1] - '0';
}

/* Parses "Z", "+00:00" or "-0130". Returns -1 for any other text. */
static int parse_offset(const char *text, int *ret_s)
{
	if (strcmp(text, "Z") == 0 || strcmp(text, "z") == 0) {
		*ret_s = 0;
		return 0;
	}
	int sign = *text == '-' ? -1 : 1;
	if (*text != '+' && *text != '-')
		return -1;
	int hours = two_digits(++text);
	if (hours < 0)
		return -1;
	text += 2;
	text += *text == ':';
	int minutes = two_digits(text);
	if (minutes < 0 || text[2])
		return -1;
	*ret_s = sign * (hours * 3600 + minutes * 60);
	return 0;
}

int aws_time_ms(const char *text, int64_t *ret)
{
	struct tm tm = { .tm_year = 0 };
	int64_t ms = 0;
	int offset_s;

	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	if (!rest)
		return -1;
	if (*rest == '.') {
		for (int scale = 100; *++rest >= '0' && *rest <= '9'; scale /= 10)
			ms += (*rest - '0') * scale;
	}
	if (parse_offset(rest, &offset_s) < 0)
		return -1;
	*ret = ((int64_t)timegm(&tm) - offset_s) * MS_PER_S + ms;
	return 0;
}
