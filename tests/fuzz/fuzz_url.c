/*
 * URLs from redirects and from the configuration: their origin, what of them is shown, and whether
 * they lead to a private network. Each line is one.
 */
#include "fetchers/shared/option_check.h"
#include "fuzz.h"
#include "http/http_public.h"
#include "http/http_url.h"

#define SECRET "s3cr3t"

/* http_url_origin() remembers the last URL. Each check has to begin with another one, or what it
 * finds could not be found again. */
static void forget_last(void)
{
	struct err ignored = ERR_INIT;
	_cleanup_free_ char *origin = NULL;

	fuzz_check(http_url_origin("http://forget.example/", &origin, &ignored) == 0);
}

/* Returns the origin, the caller's, or NULL. */
static char *origin_of(const char *url)
{
	struct err err = ERR_INIT;
	char *origin = NULL;

	if (http_url_origin(url, &origin, &err) == 0)
		return origin;
	fuzz_check_error(&err, ERR_CONFIG);
	fuzz_check(!origin);
	return NULL;
}

static void check_origin(const char *url)
{
	_cleanup_free_ char *origin = origin_of(url);
	_cleanup_free_ char *again = origin ? origin_of(origin) : NULL;
	_cleanup_free_ char *remembered = origin_of(url);

	if (!origin)
		return;
	fuzz_check(again && strcmp(again, origin) == 0);
	fuzz_check(remembered && strcmp(remembered, origin) == 0);
	fuzz_check(!strpbrk(origin, "@ABCDEFGHIJKLMNOPQRSTUVWXYZ"));
	fuzz_check(strncmp(origin, "http://", 7) == 0 || strncmp(origin, "https://", 8) == 0);
	http_is_private_origin(origin);
}

/* An internationalised host becomes the same one each time, and does not move to another URL. */
static void check_ascii(const char *url)
{
	_cleanup_free_ char *ascii = NULL;
	_cleanup_free_ char *again = NULL;
	struct err err = ERR_INIT;

	if (http_url_ascii(url, &ascii, &err) < 0) {
		fuzz_check_error(&err, ERR_CONFIG);
		return;
	}
	fuzz_check(http_url_ascii(ascii, &again, &err) == 0 && strcmp(ascii, again) == 0);
	_cleanup_free_ char *before = origin_of(url);
	_cleanup_free_ char *after = origin_of(ascii);
	fuzz_check(!before || (after && strcmp(before, after) == 0));
}

static void check_clean(const char *url)
{
	_cleanup_free_ char *clean = NULL;
	_cleanup_free_ char *again = NULL;
	struct err err = ERR_INIT;

	if (http_url_clean(url, &clean, &err) < 0) {
		fuzz_check_error(&err, ERR_CONFIG);
		return;
	}
	const char *host = strstr(clean, "://");
	fuzz_check(host && !strchr(clean, '#'));
	fuzz_check(!memchr(host + 3, '@', strcspn(host + 3, "/?")));
	fuzz_check(http_url_clean(clean, &again, &err) == 0 && strcmp(clean, again) == 0);
}

static void check_hidden(const char *before, const char *text, const char *behind)
{
	size_t size = 1 + 2 * strlen(text);
	_cleanup_free_ char *url = NULL;
	_cleanup_free_ char *masked = malloc(size);

	fuzz_check(masked && asprintf(&url, "%s%s%s", before, text, behind) >= 0);
	fuzz_check(http_url_mask(url, masked, size) == masked && strlen(masked) < size);
	fuzz_check(strstr(text, SECRET) || !strstr(masked, SECRET));
}

/* Whatever the text is, neither a password before it nor a query behind it is shown. */
static void check_mask(const char *text)
{
	check_hidden("https://user:" SECRET "@", text, "");
	check_hidden("https://user:" SECRET "@", text, "?" SECRET);
	check_hidden("", text, "?" SECRET "=http://example.com/" SECRET);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	struct err ignored = ERR_INIT;

	for (char *line; (line = fuzz_line(&input)); free(line)) {
		forget_last();
		check_origin(line);
		check_ascii(line);
		check_clean(line);
		check_mask(line);
		check_proxy(line, &ignored);
		http_is_loopback(line);
		http_is_public_address(line);
	}
	return 0;
}
