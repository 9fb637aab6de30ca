/* fetchers: static and file, through their contract, and the shared modules. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/secret.h"
#include "base/util.h"
#include "fake_fetcher.h"
#include "fetch/sink.h"
#include "fetchers/registry.h"
#include "make_options.h"
#include "fetchers/shared/base64.h"
#include "fetchers/shared/media_type.h"
#include "fetchers/shared/secret_file.h"

static struct temp_store temp;
static struct cancel cancel;

/* The result of one call. */
struct answer {
	enum fetch_result result;
	struct fetched fetched;
	struct err err;
	char bytes_hex[DIGEST_HEX_SIZE];
	uint64_t size;
};

static struct answer ask(const struct fetcher_ops *ops, void *state, const struct version *have,
			 uint64_t max_bytes)
{
	struct fetch_ctx ctx = { .cancel = &cancel };
	struct answer answer = { .fetched = { .last_modified = CLOCK_NO_TIME,
					      .order_key = FETCHED_UNKNOWN } };
	_cleanup_(sink_free_cleanup) struct sink *sink = NULL;
	struct store_writer *writer;
	uint8_t sha256[DIGEST_SIZE];

	if (sink_new(&sink, temp.store, 0, max_bytes, &answer.err) < 0)
		abort();
	if (have)
		answer.result = ops->download_if_changed(state, &ctx, have, sink, &answer.fetched,
							 &answer.err);
	else
		answer.result = ops->download(state, &ctx, sink, &answer.fetched, &answer.err) < 0
					? FETCH_FAILED
					: FETCH_UPDATED;
	if (answer.result != FETCH_UPDATED)
		return answer;
	if (sink_finish(sink, &writer, sha256, &answer.err) < 0)
		abort();
	answer.size = store_writer_size(writer);
	digest_hex(sha256, answer.bytes_hex);
	return answer;
}

static bool is_text(const struct answer *answer, const char *text)
{
	uint8_t sha256[DIGEST_SIZE];
	char hex[DIGEST_HEX_SIZE];
	struct err err = ERR_INIT;

	digest_of(text, strlen(text), sha256, &err);
	return answer->result == FETCH_UPDATED &&
	       strcmp(answer->bytes_hex, digest_hex(sha256, hex)) == 0;
}

/* Made from options name, text, …, NULL. state stays NULL if they are refused. */
struct made {
	struct options *options;
	void *state;
	struct err err;
};

static struct made make(const struct fetcher_ops *ops, const char *const *pairs)
{
	struct made made = { .options = options_make(ops->type.options) };

	for (; *pairs; pairs += 2) {
		if (options_set(made.options, pairs[0], pairs[1], &made.err) < 0)
			return made;
	}
	if (options_finish(made.options, &ops->type, &made.err) == 0)
		ops->type.init(&made.state, made.options->values, NULL, &made.err);
	return made;
}

#define MAKE(ops, ...) make(ops, (const char *const[]){ __VA_ARGS__, NULL })

static void unmake(const struct fetcher_ops *ops, struct made *made)
{
	ops->type.free(made->state);
	options_free(made->options);
}

static void test_static(void)
{
	struct made made = MAKE(&fetcher_static, "data", "abc");
	struct version version;

	struct answer answer = ask(&fetcher_static, made.state, NULL, 100);
	ok(is_text(&answer, "abc"), "static content is written to the sink");
	is_str(answer.fetched.version.token, "sha256:ba7816bf8f01cfea",
	       "the digest is the version");
	is_str(fetcher_static.type.describe(made.state), "static", "static describes itself");
	answer = ask(&fetcher_static, made.state, NULL, 2);
	is_int(answer.err.kind, ERR_BAD_DATA, "max_size is enforced");
	unmake(&fetcher_static, &made);

	made = MAKE(&fetcher_static, "base64", "AAEC\n Aw==", "version", "7");
	answer = ask(&fetcher_static, made.state, NULL, 100);
	is_int(answer.size, 4, "base64 may have a line break");
	is_str(answer.bytes_hex, "054edec1d0211f624fed0cbca9d4f9400b0e491c43742af2c5b0abebf0c990d8",
	       "base64 is decoded without padding");
	fetcher_static.current_version(made.state, NULL, &version, &made.err);
	is_str(version.token, "7", "the option version is the token");
	unmake(&fetcher_static, &made);

	made = MAKE(&fetcher_static, "data", "");
	answer = ask(&fetcher_static, made.state, NULL, 100);
	ok(answer.result == FETCH_UPDATED && answer.size == 0, "empty data is content");
	unmake(&fetcher_static, &made);
	made = MAKE(&fetcher_static, "base64", "");
	ok(made.state != NULL, "empty base64 is content");
	unmake(&fetcher_static, &made);
}

static void test_static_refused(void)
{
	static const char *const bad[] = { "A",	   "AB",   "ABC",   "=ABC",    "AB=C",
					   "A===", "AB-_", "ABCD-", "ABCD===", "\xc3\xa4\x41\x41" };
	struct made made = MAKE(&fetcher_static, "version", "1");

	ok(!made.state && made.err.kind == ERR_CONFIG, "static needs data: %s", made.err.msg);
	unmake(&fetcher_static, &made);
	made.options = options_make(fetcher_static.type.options);
	made.err = (struct err)ERR_INIT;
	ok(fetcher_static.type.init(&made.state, made.options->values, NULL, &made.err) < 0 &&
		   made.err.kind == ERR_CONFIG,
	   "static refuses an image without data: %s", made.err.msg);
	unmake(&fetcher_static, &made);
	made = MAKE(&fetcher_static, "data", "a", "base64", "YQ==");
	ok(!made.state && made.err.kind == ERR_CONFIG, "data and base64 exclude each other: %s",
	   made.err.msg);
	unmake(&fetcher_static, &made);
	made = MAKE(&fetcher_static, "data", "a", "version", "");
	ok(!made.state && made.err.kind == ERR_CONFIG, "an empty version is refused: %s",
	   made.err.msg);
	unmake(&fetcher_static, &made);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		made = MAKE(&fetcher_static, "base64", bad[i]);
		ok(!made.state && made.err.kind == ERR_CONFIG, "invalid base64 is refused: \"%s\"",
		   bad[i]);
		unmake(&fetcher_static, &made);
	}
}

static void put(const char *path, const char *text, int64_t mtime_s)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct timespec times[2] = { { .tv_sec = mtime_s }, { .tv_sec = mtime_s } };

	if (fd < 0 || write(fd, text, strlen(text)) < 0 || (mtime_s && futimens(fd, times) < 0))
		abort();
}

static void test_file(const char *dir)
{
	char path[96], other[96];

	snprintf(path, sizeof(path), "%s/f", dir);
	snprintf(other, sizeof(other), "%s/g", dir);
	struct made made = MAKE(&fetcher_file, "path", path);
	struct answer answer = ask(&fetcher_file, made.state, NULL, 100);
	is_int(answer.err.kind, ERR_NOT_FOUND, "a missing file is not found: %s", answer.err.msg);
	is_str(fetcher_file.type.describe(made.state), path, "a file is described by its path");
	is_str(fetcher_file.watched_path(made.state), path, "the path is watched");

	put(path, "one", 1000000000);
	answer = ask(&fetcher_file, made.state, NULL, 100);
	ok(is_text(&answer, "one"), "an existing file is read");
	is_int(answer.fetched.last_modified.tv_sec, 1000000000, "its mtime is reported");
	struct version have = answer.fetched.version;
	ok(strncmp(have.token, "3-1000000000.000000000-", 23) == 0,
	   "the token begins with size and mtime: %s", have.token);
	answer = ask(&fetcher_file, made.state, &have, 100);
	is_int(answer.result, FETCH_UNCHANGED, "the file is unchanged");
	put(path, "two", 1000000000);
	answer = ask(&fetcher_file, made.state, &have, 100);
	ok(is_text(&answer, "two"), "a write with mtime set back is noticed");
	have = answer.fetched.version;
	put(other, "two", 1000000000);
	rename(other, path);
	answer = ask(&fetcher_file, made.state, &have, 100);
	ok(is_text(&answer, "two"), "a replacement by rename is noticed");
	answer = ask(&fetcher_file, made.state, NULL, 2);
	is_int(answer.err.kind, ERR_BAD_DATA, "max_size is enforced");
	put(path, "", 1000000000);
	answer = ask(&fetcher_file, made.state, NULL, 100);
	ok(is_text(&answer, ""), "an empty file is content");

	/* Another write within the same tick might go unnoticed. */
	put(path, "now", 0);
	answer = ask(&fetcher_file, made.state, NULL, 100);
	have = answer.fetched.version;
	struct stat st;
	bool was_fresh = stat(path, &st) == 0 &&
			 clock_wall_ns() - (st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec) <
				 10000000;
	answer = ask(&fetcher_file, made.state, &have, 100);
	ok(!was_fresh || answer.result == FETCH_UPDATED,
	   "a file that was just written is read once more");
	unmake(&fetcher_file, &made);
}

static void test_file_types(const char *dir)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char path[96];

	snprintf(path, sizeof(path), "%s/x", dir);
	struct made made = MAKE(&fetcher_file, "path", path);
	mkdir(path, 0700);
	struct answer answer = ask(&fetcher_file, made.state, NULL, 100);
	ok(answer.err.kind == ERR_BAD_DATA && strstr(answer.err.msg, "is a directory"), "%s",
	   answer.err.msg);
	is_str(answer.fetched.version.token, "", "a directory has no token");
	rmdir(path);
	mkfifo(path, 0600);
	answer = ask(&fetcher_file, made.state, NULL, 100);
	ok(answer.err.kind == ERR_BAD_DATA && strstr(answer.err.msg, "is a FIFO"), "%s",
	   answer.err.msg);
	unlink(path);
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		abort();
	answer = ask(&fetcher_file, made.state, NULL, 100);
	ok(answer.err.kind == ERR_BAD_DATA && strstr(answer.err.msg, "is a socket"), "%s",
	   answer.err.msg);
	unlink(path);
	if (symlink("x", path) < 0)
		abort();
	answer = ask(&fetcher_file, made.state, NULL, 100);
	is_int(answer.err.kind, ERR_BAD_DATA, "a loop of links is refused: %s", answer.err.msg);
	unlink(path);
	put(path, "secret", 0);
	chmod(path, 0);
	answer = ask(&fetcher_file, made.state, NULL, 100);
	ok(geteuid() == 0 || answer.err.kind == ERR_DENIED, "a file without permission is denied");
	unmake(&fetcher_file, &made);

	made = MAKE(&fetcher_file, "path", "/dev/null");
	answer = ask(&fetcher_file, made.state, NULL, 100);
	ok(answer.err.kind == ERR_BAD_DATA && strstr(answer.err.msg, "is a device"), "%s",
	   answer.err.msg);
	unmake(&fetcher_file, &made);
	made = MAKE(&fetcher_file, "path", "f");
	ok(!made.state && made.err.kind == ERR_CONFIG, "%s", made.err.msg);
	unmake(&fetcher_file, &made);
}

/* A thread that writes to a file while it is read. */
struct writer {
	const char *path;
	bool truncates;
	atomic_bool stop;
};

static void *keep_writing(void *arg)
{
	struct writer *writer = arg;
	_cleanup_close_ int fd = open(writer->path, O_WRONLY | O_CLOEXEC);

	while (!atomic_load(&writer->stop)) {
		if (writer->truncates) {
			if (ftruncate(fd, 0) < 0 || ftruncate(fd, 64 << 20) < 0)
				abort();
		} else if (pwrite(fd, "y", 1, 0) < 0) {
			abort();
		}
	}
	return NULL;
}

static void test_file_changing(const char *dir, bool truncates)
{
	char path[96];
	struct writer writer = { .path = path, .truncates = truncates };
	struct answer answer = { .result = FETCH_UPDATED };
	pthread_t thread;

	snprintf(path, sizeof(path), "%s/c", dir);
	put(path, "x", 0);
	if (truncate(path, 64 << 20) < 0 || pthread_create(&thread, NULL, keep_writing, &writer))
		abort();
	struct made made = MAKE(&fetcher_file, "path", path);
	int64_t give_up_ms = clock_boot_ms() + 20000;
	while (answer.err.kind != ERR_BUSY && clock_boot_ms() < give_up_ms)
		answer = ask(&fetcher_file, made.state, NULL, 1 << 30);
	is_int(answer.err.kind, ERR_BUSY, "a change during the read is an error: %s",
	       answer.err.msg);
	atomic_store(&writer.stop, true);
	pthread_join(thread, NULL);
	unmake(&fetcher_file, &made);
	unlink(path);
}

static void test_file_url(void)
{
	static const struct {
		const char *url, *path;
	} urls[] = {
		{ "file:///etc/motd", "/etc/motd" },
		{ "file:/etc/motd", "/etc/motd" },
		{ "file://localhost/a%20b", "/a b" },
		{ "file:///a%2Fb%C3%a4", "/a/b\xc3\xa4" },
		{ "file://host/etc/motd", NULL },
		{ "file:etc/motd", NULL },
		{ "file:///a%00b", NULL },
		{ "file:///a%2", NULL },
		{ "file:///a%zz", NULL },
		{ "file:///a?b", NULL },
	};

	is_str(fetcher_file.type.url_schemes[0], "file", "the file fetcher takes file: URLs");
	for (size_t i = 0; i < ARRAY_SIZE(urls); i++) {
		const struct option_table *table = fetcher_file.type.options;
		struct options *options = options_make(table);
		struct err err = ERR_INIT;
		int result = fetcher_file.type.from_url(options, urls[i].url, &err);
		if (urls[i].path)
			is_str(option_string(&table->rows[0], options->values), urls[i].path, "%s",
			       urls[i].url);
		else
			ok(result < 0 && err.kind == ERR_CONFIG, "a bad URL is refused: %s",
			   err.msg);
		options_free(options);
	}
}

static void test_registry(void)
{
	size_t n = 0;

	for (; fetcher_types[n]; n++)
		ok(fetcher_types[n]->name && fetcher_types[n]->help && fetcher_types[n]->options,
		   "%s has name, help and options", fetcher_types[n]->name);
	is_int(n, 4, "there are four fetchers");
}

static bool takes(const char *const *wanted, const char *answered)
{
	struct err err = ERR_INIT;

	return media_type_take(wanted, answered, "http://x", &err) == 0;
}

static void test_media_types(void)
{
	static const char *const good[] = { "text/*", "application/vnd.x+json", NULL };
	static const char *const bad[] = { "text", "/x", "text/", "te xt/x", "text/x*", "*/*", "" };
	static const char *const none[] = { NULL };
	struct err err = ERR_INIT;

	for (size_t i = 0; good[i]; i++)
		ok(media_type_check(good[i], &err) == 0, "%s is a media type", good[i]);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ok(media_type_check(bad[i], &err) < 0, "\"%s\" is not a media type", bad[i]);
	ok(takes(none, "x/y") && takes(none, "") && takes(NULL, ""),
	   "an empty list accepts everything");
	ok(takes(good, "text/html"), "any subtype is accepted");
	ok(takes(good, "TEXT/HTML ; charset=utf-8"), "case and parameters are ignored");
	ok(takes(good, "application/vnd.X+JSON"), "an exact type is accepted");
	ok(!takes(good, "application/vnd.x+jsonp"), "a longer type is refused");
	ok(!takes(good, "application/vnd.x"), "a shorter type is refused");
	ok(!takes(good, "text/"), "a type without a subtype is refused");
	ok(!takes(good, "text"), "a type without a slash is refused");
	ok(!takes(good, ""), "a missing type is refused");
	ok(!takes(good, "image/png; text/html"), "a type in a parameter is refused");
	is_int((media_type_take(good, "image/png", "http://x", &err), err.kind), ERR_BAD_DATA,
	       "another type is bad data");
	is_str(err.msg,
	       "GET http://x: the content type is image/png, expected text/*, "
	       "application/vnd.x+json (content_type)",
	       "the message names both types");
}

static void test_base64(void)
{
	static const char *const bad[] = { "A",	   "AB=",  "=AAA",  "AA=A", "A===",
					   "====", " AAA", "AAA\n", "AA-_", "AAAA=" };
	uint8_t bytes[BASE64_DECODED_SIZE(8)];

	is_int(base64_decode("", 0, bytes), 0, "empty base64 is decoded");
	is_int(base64_decode("AAECAw==", 8, bytes), 4, "base64 with padding is decoded");
	ok(memcmp(bytes, "\0\1\2\3", 4) == 0, "the decoded bytes are right");
	is_int(base64_decode("AAECAwQ=", 8, bytes), 5,
	       "base64 with one padding character is decoded");
	is_int(base64_decode("AAEC!", 4, bytes), 3, "the length counts, not the NUL");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		is_int(base64_decode(bad[i], strlen(bad[i]), bytes), -1, "\"%s\" is not base64",
		       bad[i]);
}

static const char *read_line(const char *path, const char *text, struct err *err)
{
	static char line[16];
	_cleanup_secret_ char *secret = NULL;

	put(path, text, 0);
	*err = (struct err)ERR_INIT;
	if (secret_file_line(NULL, path, "option", &secret, err) < 0)
		return err_kind_name(err->kind);
	snprintf(line, sizeof(line), "%s", secret);
	return line;
}

static void test_secret_file(const char *dir)
{
	char path[96], *secret = NULL;
	struct err err = ERR_INIT;
	size_t len = 0;

	snprintf(path, sizeof(path), "%s/secret", dir);
	is_str(read_line(path, "a b ", &err), "a b ", "blanks are part of a line");
	is_str(read_line(path, "x\r\n\n", &err), "x", "line breaks at the end are removed");
	is_str(read_line(path, "x\ny\n", &err), "denied", "two lines are refused: %s", err.msg);
	is_str(read_line(path, "\n", &err), "denied", "an empty line is refused: %s", err.msg);
	is_str(read_line(path, "a\tb", &err), "denied", "a control character is refused: %s",
	       err.msg);
	put(path, "12345", 0);
	ok(secret_file_read(NULL, path, 5, &secret, &len, &err) == 0 && len == 5,
	   "a file of max_bytes is read");
	is_str(secret, "12345", "the secret ends with a NUL");
	secret_free(steal_ptr(&secret));
	ok(secret_file_read(NULL, path, 4, &secret, &len, &err) < 0 && err.kind == ERR_DENIED, "%s",
	   err.msg);
	unlink(path);
	ok(secret_file_read(NULL, path, 4, &secret, &len, &err) < 0 && err.kind == ERR_NOT_FOUND,
	   "a missing file is not found");
	ok(secret_file_line(NULL, path, "option", &secret, &err) < 0 && err.kind == ERR_DENIED,
	   "a missing file is denied: %s", err.msg);
	mkfifo(path, 0600);
	ok(secret_file_line(NULL, path, "option", &secret, &err) < 0 && err.kind == ERR_DENIED,
	   "an empty FIFO does not block: %s", err.msg);
	unlink(path);
}

int main(void)
{
	struct err err = ERR_INIT;

	if (cancel_init(&cancel, &err) < 0)
		abort();
	temp_store_open(&temp);
	test_registry();
	test_static();
	test_static_refused();
	test_file(temp.dir);
	test_file_types(temp.dir);
	test_file_changing(temp.dir, false);
	test_file_changing(temp.dir, true);
	test_file_url();
	test_base64();
	test_secret_file(temp.dir);
	cancel_request(&cancel);
	struct made made = MAKE(&fetcher_file, "path", "/etc/passwd");
	struct answer answer = ask(&fetcher_file, made.state, NULL, 1 << 20);
	is_int(answer.err.kind, ERR_CANCELED, "a canceled read ends");
	unmake(&fetcher_file, &made);
	cancel_release(&cancel);
	temp_store_remove(&temp);
	test_media_types();
	return tap_done();
}
