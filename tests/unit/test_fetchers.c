/* fetchers: static and file, through the contract that the engine uses. */
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/util.h"
#include "fake_fetcher.h"
#include "fetch/pipeline.h"
#include "fetchers/shared/media_type.h"
#include "fetchers/registry.h"

static struct temp_store temp;
static struct cancel cancel;

/* One call's result. */
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
	struct answer answer = { .fetched = { .last_modified_ms = FETCHED_UNKNOWN,
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

/* Options from name, text, …, NULL. state stays NULL if they are refused. */
struct made {
	struct options *options;
	void *state;
	struct err err;
};

static struct made make(const struct fetcher_ops *ops, const char *const *pairs)
{
	struct made made = { .options = NULL };

	if (options_new(&made.options, ops->type.options, &made.err) < 0)
		abort();
	for (; *pairs; pairs += 2) {
		if (options_set(made.options, pairs[0], pairs[1], &made.err) < 0)
			return made;
	}
	ops->type.init(&made.state, made.options, &made.err);
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
	ok(is_text(&answer, "abc"), "static: data");
	is_str(answer.fetched.version.token, "sha256:ba7816bf8f01cfea",
	       "the digest is its version");
	is_str(fetcher_static.type.describe(made.state), "static", "named");
	answer = ask(&fetcher_static, made.state, NULL, 2);
	is_int(answer.err.kind, ERR_BAD_DATA, "max_size holds");
	unmake(&fetcher_static, &made);

	made = MAKE(&fetcher_static, "base64", "AAEC\n Aw==", "version", "7");
	answer = ask(&fetcher_static, made.state, NULL, 100);
	is_int(answer.size, 4, "base64, with a line break");
	is_str(answer.bytes_hex, "054edec1d0211f624fed0cbca9d4f9400b0e491c43742af2c5b0abebf0c990d8",
	       "is decoded without its padding");
	fetcher_static.current_version(made.state, NULL, &version, &made.err);
	is_str(version.token, "7", "a version");
	unmake(&fetcher_static, &made);

	made = MAKE(&fetcher_static, "data", "");
	answer = ask(&fetcher_static, made.state, NULL, 100);
	ok(answer.result == FETCH_UPDATED && answer.size == 0, "no bytes are data");
	unmake(&fetcher_static, &made);
	made = MAKE(&fetcher_static, "base64", "");
	ok(made.state != NULL, "in base64 too");
	unmake(&fetcher_static, &made);
}

static void test_static_refused(void)
{
	static const char *const bad[] = { "A",	   "AB",   "ABC",   "=ABC",    "AB=C",
					   "A===", "AB-_", "ABCD-", "ABCD===", "\xc3\xa4\x41\x41" };
	struct made made = MAKE(&fetcher_static, "version", "1");

	ok(!made.state && made.err.kind == ERR_CONFIG, "static without data: %s", made.err.msg);
	unmake(&fetcher_static, &made);
	made = MAKE(&fetcher_static, "data", "a", "base64", "YQ==");
	ok(!made.state && made.err.kind == ERR_CONFIG, "or with two: %s", made.err.msg);
	unmake(&fetcher_static, &made);
	made = MAKE(&fetcher_static, "data", "a", "version", "");
	ok(!made.state && made.err.kind == ERR_CONFIG, "an empty version: %s", made.err.msg);
	unmake(&fetcher_static, &made);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		made = MAKE(&fetcher_static, "base64", bad[i]);
		ok(!made.state && made.err.kind == ERR_CONFIG, "bad base64 \"%s\"", bad[i]);
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
	is_int(answer.err.kind, ERR_NOT_FOUND, "file: missing: %s", answer.err.msg);
	is_str(fetcher_file.type.describe(made.state), path, "named by its path");
	is_str(fetcher_file.watched_path(made.state), path, "which is watched");

	put(path, "one", 1000000000);
	answer = ask(&fetcher_file, made.state, NULL, 100);
	ok(is_text(&answer, "one"), "read");
	is_int(answer.fetched.last_modified_ms, 1000000000000, "mtime");
	is_int(answer.fetched.order_key, 1000000000000, "orders versions");
	struct version have = answer.fetched.version;
	ok(strncmp(have.token, "3-1000000000.000000000-", 23) == 0, "the token: %s", have.token);
	answer = ask(&fetcher_file, made.state, &have, 100);
	is_int(answer.result, FETCH_UNCHANGED, "unchanged");
	put(path, "two", 1000000000);
	answer = ask(&fetcher_file, made.state, &have, 100);
	ok(is_text(&answer, "two"), "written to with mtime set back: noticed");
	have = answer.fetched.version;
	put(other, "two", 1000000000);
	rename(other, path);
	answer = ask(&fetcher_file, made.state, &have, 100);
	ok(is_text(&answer, "two"), "replaced by rename: noticed");
	answer = ask(&fetcher_file, made.state, NULL, 2);
	is_int(answer.err.kind, ERR_BAD_DATA, "max_size holds");
	put(path, "", 1000000000);
	answer = ask(&fetcher_file, made.state, NULL, 100);
	ok(is_text(&answer, ""), "no bytes");

	/* Written within the tick of the clock: it might be written to again unseen. */
	put(path, "now", 0);
	answer = ask(&fetcher_file, made.state, NULL, 100);
	have = answer.fetched.version;
	struct stat st;
	bool was_fresh = stat(path, &st) == 0 &&
			 clock_wall_ns() - (st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec) <
				 10000000;
	answer = ask(&fetcher_file, made.state, &have, 100);
	ok(!was_fresh || answer.result == FETCH_UPDATED, "one just written is read once more");
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
	is_str(answer.fetched.version.token, "", "no token, nothing to remember as refused");
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
	is_int(answer.err.kind, ERR_BAD_DATA, "a loop of links: %s", answer.err.msg);
	unlink(path);
	put(path, "secret", 0);
	chmod(path, 0);
	answer = ask(&fetcher_file, made.state, NULL, 100);
	ok(geteuid() == 0 || answer.err.kind == ERR_DENIED, "without permission");
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

/* A file that is written to while it is read. */
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
	is_int(answer.err.kind, ERR_BUSY, "changing meanwhile: %s", answer.err.msg);
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

	is_str(fetcher_file.type.url_schemes[0], "file", "file: URLs");
	for (size_t i = 0; i < ARRAY_SIZE(urls); i++) {
		struct options *options = NULL;
		struct err err = ERR_INIT;
		if (options_new(&options, fetcher_file.type.options, &err) < 0)
			abort();
		int result = fetcher_file.type.from_url(options, urls[i].url, &err);
		if (urls[i].path)
			is_str(options_string(options, "path"), urls[i].path, "%s", urls[i].url);
		else
			ok(result < 0 && err.kind == ERR_CONFIG, "refused: %s", err.msg);
		options_free(options);
	}
}

static void test_registry(void)
{
	size_t n = 0;

	for (; fetcher_types[n]; n++)
		ok(fetcher_types[n]->name && fetcher_types[n]->help && fetcher_types[n]->options,
		   "%s is described", fetcher_types[n]->name);
	is_int(n, 4, "four fetchers");
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

	ok(media_type_check(good, &err) == 0, "media types");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const char *const one[] = { bad[i], NULL };
		ok(media_type_check(one, &err) < 0, "not a media type: %s", bad[i]);
	}
	ok(takes(none, "x/y") && takes(none, "") && takes(NULL, ""), "none wanted: any is taken");
	ok(takes(good, "text/html"), "of a kind");
	ok(takes(good, "TEXT/HTML ; charset=utf-8"), "whatever its case and parameters");
	ok(takes(good, "application/vnd.X+JSON"), "the very one");
	ok(!takes(good, "application/vnd.x+jsonp"), "not a longer one");
	ok(!takes(good, "application/vnd.x"), "nor a shorter one");
	ok(!takes(good, "text/"), "nor half of one");
	ok(!takes(good, "text"), "nor less");
	ok(!takes(good, ""), "nor none");
	ok(!takes(good, "image/png; text/html"), "nor a parameter");
	is_int((media_type_take(good, "image/png", "http://x", &err), err.kind), ERR_BAD_DATA,
	       "is bad data");
	is_str(err.msg,
	       "GET http://x: the content type is image/png, expected text/*, "
	       "application/vnd.x+json (content_type)",
	       "and says what came and what was wanted");
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
	cancel_request(&cancel);
	struct made made = MAKE(&fetcher_file, "path", "/etc/passwd");
	struct answer answer = ask(&fetcher_file, made.state, NULL, 1 << 20);
	is_int(answer.err.kind, ERR_CANCELED, "canceled");
	unmake(&fetcher_file, &made);
	cancel_release(&cancel);
	temp_store_remove(&temp);
	test_media_types();
	return tap_done();
}
