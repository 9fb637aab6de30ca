/*
 * config: files, defaults, includes, the command line, problems, the image, and its corruption.
 * The fetchers are stand-ins with the options of the real ones.
 *
 * `unit-config FILE…` loads each file instead, and writes its problems, or the configuration.
 */
#include "config/config.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/util.h"
#include "tap.h"
#include "config/config_name.h"
#include "config/image.h"
#include "config/image_format.h"
#include "config/load.h"
#include "config/show.h"

static int states;

struct http_options {
	const char *url;
	const char *const *headers;
	const char *user_agent, *user, *password, *password_file, *bearer_token_file;
	const char *client_cert, *client_key, *ca_file, *proxy, *unix_socket;
	int64_t min_refresh_interval, connect_timeout, stall_timeout;
	uint32_t max_redirects;
	bool http_cache, accept_unframed;
};
struct file_options {
	const char *path;
};
struct static_options {
	const char *data, *base64, *version;
};

static int http_init(void **ret_state, const void *options, struct helper *helper, struct err *err)
{
	const struct http_options *given = options;

	(void)helper;
	if (strncmp(given->url, "http", 4) != 0)
		return err_set(err, ERR_CONFIG, "url: \"%s\" is not http", given->url);
	*ret_state = strdup(given->url);
	states++;
	return 0;
}

static void http_free(void *state)
{
	states--;
	free(state);
}

static int http_from_url(struct options *options, const char *url, struct err *err)
{
	return options_set(options, "url", url, err);
}

static int file_from_url(struct options *options, const char *url, struct err *err)
{
	return options_set(options, "path", url + strlen("file://"), err);
}

static const struct option_spec http_rows[] = {
	{ .name = "url",
	  .type = OPTION_STRING,
	  .role = OPTION_IDENTITY,
	  OPTION_FIELD(http_options, url),
	  .required = true },
	{ .name = "http_cache",
	  .type = OPTION_BOOL,
	  .role = OPTION_MANNER,
	  OPTION_FIELD(http_options, http_cache),
	  .default_text = "false" },
	{ .name = "min_refresh_interval",
	  .type = OPTION_DURATION,
	  .role = OPTION_MANNER,
	  OPTION_FIELD(http_options, min_refresh_interval),
	  .default_text = "30s" },
	{ .name = "headers",
	  .type = OPTION_STRINGS,
	  .role = OPTION_IDENTITY,
	  OPTION_FIELD(http_options, headers) },
	{ .name = "user_agent",
	  .type = OPTION_STRING,
	  .role = OPTION_MANNER,
	  OPTION_FIELD(http_options, user_agent) },
	{ .name = "user",
	  .type = OPTION_STRING,
	  .role = OPTION_MANNER,
	  OPTION_FIELD(http_options, user) },
	{ .name = "password",
	  .type = OPTION_STRING,
	  .role = OPTION_MANNER,
	  OPTION_FIELD(http_options, password),
	  .secret = true },
	{ .name = "password_file",
	  .type = OPTION_STRING,
	  .role = OPTION_MANNER,
	  OPTION_FIELD(http_options, password_file) },
	{ .name = "bearer_token_file",
	  .type = OPTION_STRING,
	  .role = OPTION_MANNER,
	  OPTION_FIELD(http_options, bearer_token_file) },
	{ .name = "client_cert",
	  .type = OPTION_STRING,
	  .role = OPTION_MANNER,
	  OPTION_FIELD(http_options, client_cert) },
	{ .name = "client_key",
	  .type = OPTION_STRING,
	  .role = OPTION_MANNER,
	  OPTION_FIELD(http_options, client_key) },
	{ .name = "ca_file",
	  .type = OPTION_STRING,
	  .role = OPTION_MANNER,
	  OPTION_FIELD(http_options, ca_file) },
	{ .name = "proxy",
	  .type = OPTION_STRING,
	  .role = OPTION_MANNER,
	  OPTION_FIELD(http_options, proxy) },
	{ .name = "unix_socket",
	  .type = OPTION_STRING,
	  .role = OPTION_MANNER,
	  OPTION_FIELD(http_options, unix_socket) },
	{ .name = "connect_timeout",
	  .type = OPTION_DURATION,
	  .role = OPTION_MANNER,
	  OPTION_FIELD(http_options, connect_timeout),
	  .default_text = "10s" },
	{ .name = "stall_timeout",
	  .type = OPTION_DURATION,
	  .role = OPTION_MANNER,
	  OPTION_FIELD(http_options, stall_timeout),
	  .default_text = "30s" },
	{ .name = "max_redirects",
	  .type = OPTION_NUMBER,
	  .role = OPTION_MANNER,
	  OPTION_FIELD(http_options, max_redirects),
	  .default_text = "10" },
	{ .name = "accept_unframed",
	  .type = OPTION_BOOL,
	  .role = OPTION_MANNER,
	  OPTION_FIELD(http_options, accept_unframed),
	  .default_text = "false" },
	{ .name = NULL },
};
static const struct option_spec file_rows[] = {
	{ .name = "path",
	  .type = OPTION_STRING,
	  .role = OPTION_IDENTITY,
	  OPTION_FIELD(file_options, path),
	  .required = true },
	{ .name = NULL },
};
static const struct option_spec static_rows[] = {
	{ .name = "data",
	  .type = OPTION_STRING,
	  .role = OPTION_IDENTITY,
	  OPTION_FIELD(static_options, data) },
	{ .name = "base64",
	  .type = OPTION_STRING,
	  .role = OPTION_IDENTITY,
	  OPTION_FIELD(static_options, base64) },
	{ .name = "version",
	  .type = OPTION_STRING,
	  .role = OPTION_IDENTITY,
	  OPTION_FIELD(static_options, version) },
	{ .name = NULL },
};
static const struct option_table http_table = OPTION_TABLE(http_rows, http_options);
static const struct option_table file_table = OPTION_TABLE(file_rows, file_options);
static const struct option_table static_table = OPTION_TABLE(static_rows, static_options);

static const char *const http_schemes[] = { "http", "https", NULL };
static const char *const file_schemes[] = { "file", NULL };
static const struct source_type http = { .name = "http",
					 .options = &http_table,
					 .init = http_init,
					 .free = http_free,
					 .url_schemes = http_schemes,
					 .from_url = http_from_url };
static const struct source_type file = { .name = "file",
					 .options = &file_table,
					 .url_schemes = file_schemes,
					 .from_url = file_from_url };
static const struct source_type fixed = { .name = "static", .options = &static_table };
static const struct source_type *const types[] = { &http, &file, &fixed, NULL };

static char dir[] = "/tmp/rptfs-config-XXXXXX";

static const char *path_of(const char *name)
{
	static char path[4][256];
	static unsigned next;
	char *ret = path[next++ % 4];

	snprintf(ret, 256, "%s/%s", dir, name);
	return ret;
}

static void write_bytes(const char *name, const char *text, size_t len)
{
	_cleanup_fclose_ FILE *out = fopen(path_of(name), "w");

	if (!out || fwrite(text, 1, len, out) != len)
		abort();
}

static void write_file(const char *name, const char *text)
{
	write_bytes(name, text, strlen(text));
}

/* Loads. *ret_problems (the caller frees it) are the problems, without the directory. */
static struct config *load(const struct config_request *request, char **ret_problems)
{
	struct config *config = NULL;
	size_t len = 0;
	FILE *out = open_memstream(ret_problems, &len);
	struct config_request with_types = *request;

	if (!out)
		abort();
	with_types.types = types;
	int rc = config_load(&config, &with_types, out);
	fclose(out);
	ok((rc == 0) == (len == 0) && (rc == 0) == (config != NULL), "problems or a configuration");
	for (char *at; (at = strstr(*ret_problems, dir));)
		memmove(at, at + sizeof(dir), strlen(at + sizeof(dir)) + 1);
	return config;
}

static struct config *load_text(const char *text, char **ret_problems)
{
	write_file("c", text);
	return load(&(struct config_request){ .file = path_of("c") }, ret_problems);
}

/* Loading the text fails with exactly these problems. */
static void expect(const char *text, const char *problems)
{
	_cleanup_free_ char *said = NULL;
	struct config *config = load_text(text, &said);

	is_str(said, problems, "problems of: %.*s", (int)strcspn(text, "\n"), text);
	config_free(config);
}

static void test_effective(void)
{
	_cleanup_free_ char *said = NULL;
	struct config *config = load_text(
		"mountpoint = /mnt//x/./y/../z/\n"
		"store = stores/prod\n"
		"start_timeout = 5s # a comment\n"
		"term \"b\" { static { data = \"x\" } }\n"
		"defaults { refresh_interval = 12h mode = 0400 }\n"
		"term 'a/b' { alias = ab /* what */ refresh_interval =\n"
		"   // why\n never\n"
		"  file { path = /1 } http { url = 'http://x' \n"
		"    headers = { 'a: 1', # one\n 'b: 2', } }\n"
		"  file { path = /2 } lazy_init = on user = 12 group = 13\n"
		"  max_size = 5KiB failover = any backwards = confirm\n"
		"  on_delete = remove history = 0 }\n",
		&said);

	is_str(said, "", "nothing wrong");
	if (!config)
		return;
	is_str(config->mountpoint, "/mnt/x/z", "mountpoint");
	is_str(config->store + strlen(dir), "/stores/prod", "a store beside the file");
	is_int(config->start_timeout_ms, 5000, "start_timeout");
	ok(config->allow_other == (geteuid() == 0), "allow_other");
	is_int(config->n_terms, 2, "two terms");
	const struct term_config *a = &config->terms[0], *b = &config->terms[1];
	is_str(a->name, "a/b", "sorted by name");
	is_str(a->alias, "ab", "alias");
	is_int(a->refresh_interval_ms, CONFIG_NEVER, "never");
	is_int(a->n_sources, 3, "three sources");
	ok(a->sources[0].type == &file && a->sources[1].type == &http &&
		   a->sources[2].type == &file,
	   "in the order of the file");
	is_str(((const struct file_options *)a->sources[2].options)->path, "/2", "path");
	is_str(((const struct http_options *)a->sources[1].options)->headers[1], "b: 2", "headers");
	ok(a->sources[0].fingerprint != a->sources[2].fingerprint, "fingerprints");
	ok(a->lazy_init && a->user == 12 && a->group == 13 && a->max_size_bytes == 5120 &&
		   a->failover == FAILOVER_ANY && a->backwards == BACKWARDS_CONFIRM &&
		   a->on_delete == ON_DELETE_REMOVE && a->history == 0 && a->mode == 0400,
	   "the options of a");
	is_int(b->refresh_interval_ms, 43200000, "from defaults, though they come later");
	ok(!b->alias && !b->lazy_init && b->mode == 0400 && b->user == geteuid() &&
		   b->group == getegid() && b->max_size_bytes == 1 << 30 && b->history == 3 &&
		   b->failover == FAILOVER_NEWER && b->backwards == BACKWARDS_ACCEPT &&
		   b->on_delete == ON_DELETE_KEEP,
	   "the options of b");
	config_free(config);
	is_int(states, 0, "all states are freed");
}

static void test_problems(void)
{
	expect("term \"x\" {\n  htp { url = a }\n  refesh_interval = 5s\n  http {\n  urk = 1\n"
	       "  zzz = { 1, 2 }\n  }\n}\nfoo = 1\nbar { a = 1 b { c = 2 } }\n"
	       "term x2 { http { url = ftp } }\n",
	       "c:2: term \"x\": unknown fetcher \"htp\"; there are: http, file, static; did you "
	       "mean \"http\"?\n"
	       "c:3: term \"x\": unknown option \"refesh_interval\"; did you mean "
	       "\"refresh_interval\"?\n"
	       "c:5: term \"x\": http: unknown option \"urk\"; did you mean \"url\"?\n"
	       "c:6: term \"x\": http: unknown option \"zzz\"\n"
	       "c:9: unknown option \"foo\"\n"
	       "c:10: unknown block \"bar\"\n"
	       "c:11: term \"x2\": http: url: \"ftp\" is not http\n");
	expect("term a {\n static { }\n lazy_init = 1\n lazy_init = true\n lazy_init = no }\n",
	       "c:3: term \"a\": lazy_init: \"1\" is neither true nor false\n"
	       "c:4: term \"a\": option \"lazy_init\" is given twice, first on line 3\n"
	       "c:5: term \"a\": option \"lazy_init\" is given twice, first on line 3\n");
	expect("term a {\n\n}\nterm b { http {\n } }\n",
	       "c:1: term \"a\": it has no source: a block such as http { … } is missing\n"
	       "c:4: term \"b\": http: option \"url\" is required\n");
	expect("term a/b { static { } }\nterm a { static { } }\nterm a { static { } }\n"
	       "term 'a!' { static { } }",
	       "c:1: term \"a/b\": \"a\" is a term (c:2) and cannot be a directory too\n"
	       "c:3: term \"a\": the name is given twice, first in c:2\n");
	expect("term a { static { } }\nterm b { static { }\n alias = a }\nterm c { alias = x "
	       "static { "
	       "} }\nterm d { alias = x static { } }",
	       "c:2: term \"b\": alias \"a\" is taken by term \"a\" (c:1)\n"
	       "c:5: term \"d\": alias \"x\" is taken by term \"c\" (c:4)\n");
	expect("term a {\n static {\n data = \"x",
	       "c:3: term \"a\": static: the string that begins here has no end\n");
	expect("foo = 1\nterm a { static { } }\nterm b { static { ",
	       "c:1: unknown option \"foo\"\n"
	       "c:3: term \"b\": static: syntax error: the \"{\" of \"static\" has no \"}\"\n");
	expect("# 1\n# 2\n/* 3\n 4 */ foo = ${RPTFS_UNSET}\nbar = \"${RPTFS_UNSET:-x}\" "
	       "baz = \"\\${x}\"",
	       "c:4: the environment variable RPTFS_UNSET is not set; ${RPTFS_UNSET:-} would be "
	       "empty\n"
	       "c:4: unknown option \"foo\"\nc:5: unknown option \"bar\"\n"
	       "c:5: unknown option \"baz\"\n");
	expect("term|x = 1\n'' = 2\nmountpoint { }\nterm { }\ndefaults x { }\nhttp { }\n"
	       "defaults { alias = x http { } }\nurl(1)\ninclude(a, b)\n",
	       "c:1: unknown option \"term|x\"\nc:2: unknown option \"\"\n"
	       "c:3: \"mountpoint\" is an option, not a block: mountpoint = …\n"
	       "c:4: a term needs a name: term \"NAME\" { … }\n"
	       "c:5: a block \"defaults\" has no name: defaults { … }\n"
	       "c:6: a block \"http\" belongs in a term\n"
	       "c:7: defaults: an alias belongs to one term\n"
	       "c:7: defaults: a source belongs to one term\n"
	       "c:8: unknown function \"url\"; there is only include(\"FILE\")\n"
	       "c:9: include() takes one file name: include(\"conf.d/*.conf\")\n");
}

/* A "}" that is missing is reported at its block, and what follows is loaded. */
static void test_missing_brace(void)
{
	expect("term a {\n static {\n data = x\n }\n\nterm b {\n static { }\n refesh = 1\n}\n",
	       "c:1: term \"a\": syntax error: the \"{\" of \"term\" has no \"}\"\n"
	       "c:8: term \"b\": unknown option \"refesh\"\n");
	expect("term a {\n static {\n data = x\n\n}\nterm b {\n static { }\n foo = 1\n}\n",
	       "c:1: term \"a\": syntax error: the \"{\" of \"term\" has no \"}\"\n"
	       "c:8: term \"b\": unknown option \"foo\"\n");
	expect("term a {\n http {\n url = http://x\n file { path = /x }\n }\n}\n",
	       "c:4: term \"a\": http: a block \"file\" cannot be in \"http\": is there a \"}\" "
	       "missing before it?\n");
	expect("defaults {\n mode = 0400\nterm b { static { } }\nfoo = 1",
	       "c:1: syntax error: the \"{\" of \"defaults\" has no \"}\"\n"
	       "c:4: unknown option \"foo\"\n");
}

/* An unknown option may belong elsewhere, whatever block it is in. */
static void test_elsewhere(void)
{
	expect("term a {\n http {\n url = http://x\n refresh_intervall = 5s\n lazy_init = true\n"
	       " start_timeout = 1s\n }\n pasword = x\n start_timeot = 1s\n}\n"
	       "refresh_intervall = 5s\npath = /x\ndefaults { urk = 1 }\n",
	       "c:4: term \"a\": http: unknown option \"refresh_intervall\"; did you mean "
	       "\"refresh_interval\", which belongs in a term or defaults { … }?\n"
	       "c:5: term \"a\": http: option \"lazy_init\" belongs in a term or defaults { … }\n"
	       "c:6: term \"a\": http: option \"start_timeout\" belongs outside of all blocks\n"
	       "c:8: term \"a\": unknown option \"pasword\"; did you mean \"password\", which "
	       "belongs in a block of its fetcher: http { … }?\n"
	       "c:9: term \"a\": unknown option \"start_timeot\"; did you mean \"start_timeout\", "
	       "which belongs outside of all blocks?\n"
	       "c:11: unknown option \"refresh_intervall\"; did you mean \"refresh_interval\", "
	       "which belongs in a term or defaults { … }?\n"
	       "c:12: option \"path\" belongs in a block of its fetcher: file { … }\n"
	       "c:13: defaults: unknown option \"urk\"; did you mean \"url\", which belongs in a "
	       "block of its fetcher: http { … }?\n");
	expect("", "c:1: the file is empty: it has no terms\n");
	expect("# nothing\n", "c:1: the file is empty: it has no terms\n");
}

static void test_words(void)
{
	_cleanup_free_ char *said = NULL;
	struct config *config = load_text(
		"term a { static { data = \"a\\n\\t\\r\\b\\f\\a\\e\\v\\x41\\x4k\\101\\q\\'\\\nz\"\n"
		"version = 'a\\n\\'\\\\\\\nz' } }\n"
		"term b { static { data = a\\b;c:d/e[f]//g/h version = ${RPTFS_UNSET:-q\"r} } }\n"
		"term c { static { data = \"$x ${RPTFS_UNSET:-y z} $\" version = x#y\n} }\n",
		&said);

	is_str(said, "", "nothing wrong");
	if (!config)
		return;
	const struct static_options *a = config->terms[0].sources[0].options;
	const struct static_options *b = config->terms[1].sources[0].options;
	const struct static_options *c = config->terms[2].sources[0].options;
	is_str(a->data, "a\n\t\r\b\f\a\033\vA\x04kAq'z", "escapes");
	is_str(a->version, "a\\n'\\z", "in single quotes");
	is_str(b->data, "a\\b;c:d/e[f]//g/h", "a bare word");
	is_str(b->version, "q\"r", "a variable alone");
	is_str(c->data, "$x y z $", "a variable in quotes");
	is_str(c->version, "x", "a comment ends a word");
	config_free(config);
}

static void test_include(void)
{
	_cleanup_free_ char *said = NULL, *said_loop = NULL, *said_missing = NULL;

	mkdir(path_of("d"), 0700);
	write_file("d/2.conf", "term two { static { } }");
	write_file("d/1.conf", "term one { static { } }");
	struct config *config = load_text(
		"include('d/*.conf')\ninclude('none/*.conf')\nterm zero { file { path = /x "
		"} }",
		&said);
	is_str(said, "", "nothing wrong");
	is_int(config ? config->n_terms : 0, 3, "terms of all files");
	config_free(config);

	write_file("d/1.conf", "\n\ninclude('../c')\nfoo = 1\nterm zero { static { } }");
	config_free(load_text("include('d/1.conf')\nterm zero { static { } }\ninclude(d/2.conf)\n"
			      "include('d/2.*')",
			      &said_loop));
	is_str(said_loop,
	       "c:4: include d/2.conf: it is included twice, first in c:3\n"
	       "d/1.conf:3: include d/../c: the files include each other in a loop\n"
	       "d/1.conf:4: unknown option \"foo\"\n"
	       "d/1.conf:5: term \"zero\": the name is given twice, first in c:2\n",
	       "loops and doubles");
	config_free(load_text("\ninclude('gone.conf')", &said_missing));
	is_str(said_missing, "c:2: include gone.conf: No such file or directory\n", "missing");
}

static void test_command_line(void)
{
	_cleanup_free_ char *said = NULL, *said_bad = NULL;
	const char *const options[] = { "rw",
					"nosuid",
					"x-systemd.automount",
					"fsname=a",
					"refresh_interval=5s",
					"lazy_init",
					"store=memory",
					"allow_other",
					"start_timeout=1s",
					NULL };
	const char *const terms[] = { "b=file:///etc/x=y", "a/x=https://h/p", NULL };
	struct config *config = load(&(struct config_request){ .mountpoint = "/mnt/rpt/",
							       .options = options,
							       .terms = terms },
				     &said);

	is_str(said, "", "nothing wrong");
	if (config) {
		is_str(config->mountpoint, "/mnt/rpt", "mountpoint");
		is_str(config->store, "memory", "store");
		ok(config->allow_other && config->start_timeout_ms == 1000, "options");
		is_int(config->n_terms, 2, "two terms");
		ok(config->terms[0].sources[0].type == &http, "https");
		is_str(((const struct file_options *)config->terms[1].sources[0].options)->path,
		       "/etc/x=y", "file");
		ok(config->terms[1].refresh_interval_ms == 5000 && config->terms[0].lazy_init,
		   "options of terms");
	}
	config_free(config);

	const char *const bad_options[] = { "foo",  "lazy_int=1", "history=x",
					    "mode", "alias=a",	  NULL };
	const char *const bad_terms[] = { "x", "y=ftp://u:secret@h", "=http://h", "z=http:/h",
					  NULL };
	load(&(struct config_request){ .options = bad_options, .terms = bad_terms }, &said_bad);
	is_str(said_bad,
	       "rptfs: unknown option -o \"foo\"\n"
	       "rptfs: unknown option -o \"lazy_int=1\"; did you mean \"lazy_init\"?\n"
	       "rptfs: -o history: \"x\" is not a whole number\n"
	       "rptfs: option -o \"mode\" needs a value: mode=…\n"
	       "rptfs: unknown option -o \"alias=a\"\n"
	       "rptfs: \"x\" is not of the form NAME=URL\n"
	       "rptfs: term \"y\": its URL does not begin with one of: http://, https://, file://\n"
	       "rptfs: term \"\": the name is empty\n"
	       "rptfs: term \"z\": its URL does not begin with one of: http://, https://, "
	       "file://\n",
	       "all at once");
}

static void test_precedence(void)
{
	_cleanup_free_ char *said = NULL;
	const char *const options[] = { "refresh_interval=5s", NULL };
	const char *text = "mountpoint = /a defaults { refresh_interval = 1m history = 7 }\n"
			   "term a { refresh_interval = 2m static { } }\nterm b { static { } }";

	write_file("c", text);
	struct config *config = load(&(struct config_request){ .file = path_of("c"),
							       .mountpoint = "/b",
							       .options = options },
				     &said);
	is_str(said, "", "nothing wrong");
	if (config) {
		is_str(config->mountpoint, "/b", "the command line wins");
		is_int(config->terms[0].refresh_interval_ms, 120000, "a term's own wins");
		is_int(config->terms[1].refresh_interval_ms, 5000, "-o wins over defaults");
		is_int(config->terms[1].history, 7, "defaults win over the table");
	}
	config_free(config);
}

static void test_default_store(void)
{
	_cleanup_free_ char *said = NULL;

	setenv("XDG_STATE_HOME", "/state", 1);
	struct config *config = load(&(struct config_request){ .mountpoint = "/mnt/a-b c" }, &said);
	is_str(config ? config->store : NULL,
	       geteuid() == 0 ? "/var/lib/rptfs/mnt-a\\x2db\\x20c"
			      : "/state/rptfs/mnt-a\\x2db\\x20c",
	       "the default store");
	config_free(config);
}

static char *show(const struct config *config)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		abort();
	config_show(config, out);
	fclose(out);
	return text;
}

static void test_show(void)
{
	_cleanup_free_ char *said = NULL, *said_again = NULL, *shown = NULL, *shown_again = NULL;
	struct config *config = load_text(
		"mountpoint = /m\nterm \"a \\\"${RPTFS_UNSET:-q}$\" { max_size = 1536 "
		"refresh_interval = 90s alias = '\\z' mode = 555\n"
		"static { data = \"\\x01\\n\\t\\\\\\\"\\${x} ä\" }\n"
		"http { url = 'http://x' password = hunter2 headers = { a, \"b\\\"\" } } }\n",
		&said);

	is_str(said, "", "nothing wrong");
	if (!config)
		return;
	shown = show(config);
	ok(strstr(shown, "password = \"***\"") && !strstr(shown, "hunter2"), "secrets are masked");
	ok(strstr(shown, "refresh_interval = 90s\n"), "an exact unit");
	is_str(config->terms[0].name, "a \"q$", "a name that needs care");
	struct config *again = load_text(shown, &said_again);
	is_str(said_again, "", "it loads");
	if (again) {
		shown_again = show(again);
		is_str(shown_again, shown, "to the same");
		is_str(((const struct static_options *)again->terms[0].sources[0].options)->data,
		       "\001\n\t\\\"${x} ä", "a text that needs care");
	}
	config_free(again);
	config_free(config);
}

/* The image of a configuration, in a memfd. */
static int write_image(const struct config *config)
{
	struct err err = ERR_INIT;
	int fd = memfd_create("image", MFD_CLOEXEC);

	if (fd < 0)
		abort();
	ok(config_image_write(config, fd, &err) == 0, "an image %s", err.msg);
	ok(config_image_is(fd), "it looks like one");
	return fd;
}

static const char worker_text[] =
	"mountpoint = /m defaults { history = 7 on_expire = hide max_stale = 1d }\n"
	"term a { refresh_interval = never lazy_init = true min_size = 1 max_size = 2\n"
	"mode = 400 user = 1 group = 2 failover = any backwards = refuse history = 0\n"
	"on_delete = remove alias = z on_expire = keep mtime = published http { url = 'http://x'\n"
	"password = hunter2 headers = { 'a: 1', 'b: 2' } } } term b { static { data = b } }\n"
	"term c { http { url = 'http://c' stall_timeout = 7s headers = { 'a: 1', 'b: 2' } } "
	"file { path = /c } }\n";

static void test_image(void)
{
	_cleanup_free_ char *said = NULL;
	struct config *config = load_text(worker_text, &said), *again = NULL;
	struct err err = ERR_INIT;
	_cleanup_close_ int fd = write_image(config);

	is_int(config_image_read(&again, fd, types, &err), 0, "it is read %s", err.msg);
	if (!again)
		return;
	_cleanup_free_ char *before = show(config), *after = show(again);
	is_str(after, before, "it is the same configuration");
	const struct http_options *a = again->terms[0].sources[0].options;
	const struct http_options *c = again->terms[2].sources[0].options;
	is_str(a->password, "hunter2", "with its secrets");
	ok(a->headers == c->headers && strcmp(c->headers[1], "b: 2") == 0, "equal lists are one");
	ok(again->terms[2].sources[1].fingerprint == config->terms[2].sources[1].fingerprint &&
		   again->terms[2].sources[0].legacy_fingerprint ==
			   config->terms[2].sources[0].legacy_fingerprint,
	   "and fingerprints");
	is_int(states, 2, "no states yet");
	is_int(config_init_sources(again, NULL, &err), 0, "states");
	is_int(states, 4, "of both sources that have them");
	config_free(again);
	config_free(config);
	is_int(states, 0, "all states are freed");
}

/* A changed or shortened image is refused, or read to something that can be shown. */
static void test_corrupt_image(void)
{
	_cleanup_free_ char *said = NULL;
	struct config *config = load_text(worker_text, &said);
	_cleanup_close_ int fd = write_image(config);
	uint8_t image[4096], changed[sizeof(image)];
	ssize_t len = pread(fd, image, sizeof(image), 0);
	size_t n_read = 0;

	config_free(config);
	srandom(2);
	for (int round = 0; round < 20000; round++) {
		_cleanup_close_ int copy = memfd_create("changed", MFD_CLOEXEC);
		struct config *again = NULL;
		struct err err = ERR_INIT;
		size_t n = (size_t)len - (round % 5 == 0 ? (size_t)random() % (size_t)len : 0);
		memcpy(changed, image, sizeof(image));
		for (long i = random() % 4; i >= 0 && round % 5; i--)
			changed[random() % len] = random() % 2 ? (uint8_t)random()
							       : (uint8_t)(1 << random() % 8);
		if (copy < 0 || write(copy, changed, n) != (ssize_t)n)
			abort();
		if (config_image_read(&again, copy, types, &err) == 0) {
			_cleanup_free_ char *shown = show(again);
			config_init_sources(again, NULL, &err);
			n_read++;
		}
		config_free(again);
	}
	ok(n_read > 0, "%zu of 20000 changed images can still be read", n_read);
	is_int(states, 0, "and leave nothing");
}

static void test_long_image(void)
{
	_cleanup_free_ char *said = NULL;
	struct config *config = load_text("mountpoint = /m\n", &said), *again = NULL;
	_cleanup_close_ int fd = write_image(config);
	struct image_header header;
	struct err err = ERR_INIT;

	config_free(config);
	if (pread(fd, &header, sizeof(header), 0) != sizeof(header))
		abort();
	header.records_len++;
	if (pwrite(fd, &header, sizeof(header), 0) != sizeof(header) ||
	    pwrite(fd, "", 1, lseek(fd, 0, SEEK_END)) != 1)
		abort();
	ok(config_image_read(&again, fd, types, &err) < 0 && err.kind == ERR_BAD_DATA,
	   "an image without terms ends after its records: %s", err.msg);
	config_free(again);
}

static void test_names(void)
{
	struct err err = ERR_INIT;
	char name[1200];
	static const char *const good[] = { "a", "a/b/c", "ä", "a b", "a.", "日本/x", "-", "a=b" };
	static const char *const bad[] = {
		"",	 "/a",	     "a/",	     "a//b",	 ".a",
		"a/.b",	 "..",	     "a\n",	     "\x7f",	 "\xff",
		"a\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xc2\x85", "\xf4\x90\x80\x80"
	};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		ok(name_check(good[i], &err) == 0, "\"%s\" is a name", good[i]);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ok(name_check(bad[i], &err) < 0, "bad name %zu: %s", i, err.msg);
	memset(name, 'a', sizeof(name));
	name[255] = '\0';
	ok(name_check(name, &err) == 0, "255 bytes");
	name[255] = 'a';
	name[256] = '\0';
	ok(name_check(name, &err) < 0, "256 bytes");
	memset(name, 'a', sizeof(name));
	for (size_t i = 200; i < sizeof(name); i += 201)
		name[i] = '/';
	name[1024] = '\0';
	ok(name_check(name, &err) == 0, "1024 bytes in parts");
	name[1024] = 'a';
	name[1025] = '\0';
	ok(name_check(name, &err) < 0, "1025 bytes");
}

static void test_paths(void)
{
	static const char *const absolute[][2] = {
		{ "x", "/b/x" },       { "/x", "/x" },	 { "", "/b" },	     { ".", "/b" },
		{ "..", "/" },	       { "../..", "/" }, { "/", "/" },	     { "//a//b/", "/a/b" },
		{ "/a/./b/..", "/a" }, { "../x", "/x" }, { "/...", "/..." }, { "/a/..b", "/a/..b" },
	};
	static const char *const escaped[][2] = {
		{ "/", "-" },
		{ "/mnt/rpt", "mnt-rpt" },
		{ "/a-b", "a\\x2db" },
		{ "/.a/.b", "\\x2ea-.b" },
		{ "/ä:_", "\\xc3\\xa4:_" },
		{ "/a\\b c", "a\\x5cb\\x20c" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(absolute); i++) {
		_cleanup_free_ char *path = path_absolute("/b", absolute[i][0]);
		is_str(path, absolute[i][1], "%s made absolute", absolute[i][0]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(escaped); i++) {
		_cleanup_free_ char *name = path_escape(escaped[i][0]);
		is_str(name, escaped[i][1], "%s escaped", escaped[i][0]);
	}
}

/* Random bytes, and good files with random changes, are loaded or refused. */
static void test_noise(void)
{
	static const char seed_text[] =
		"mountpoint = \"/mnt\" # c\nterm \"a\" { refresh_interval = 12h /* x */\n"
		"http { url = \"http://${HOME}/\\x41\" headers = { \"a\", 'b' } } }\n"
		"defaults { mode = 0400 }\ninclude(\"d/*.conf\")\nterm b { static { data += x } "
		"}\n";
	static const char spice[] = "{}()=+,\"'\\$#/*\n\r |;\0\xff";
	bool is_consistent = true;

	srandom(1);
	for (int round = 0; round < 300; round++) {
		char text[sizeof(seed_text)];
		char *said = NULL;
		size_t said_len = 0;
		memcpy(text, seed_text, sizeof(text));
		for (int i = random() % 8; i >= 0; i--)
			text[(size_t)random() % sizeof(text)] =
				spice[(size_t)random() % sizeof(spice)];
		if (round % 10 == 0) {
			for (size_t i = 0; i < sizeof(text); i++)
				text[i] = (char)random();
		}
		write_bytes("c", text, (size_t)random() % sizeof(text));
		struct config *config = NULL;
		FILE *out = open_memstream(&said, &said_len);
		if (!out)
			abort();
		int rc = config_load(
			&config, &(struct config_request){ .file = path_of("c"), .types = types },
			out);
		fclose(out);
		is_consistent = is_consistent && (rc == 0) == (said_len == 0);
		free(said);
		config_free(config);
	}
	ok(is_consistent, "noise fails with a problem or loads without one");
	is_int(states, 0, "and leaves nothing");
}

static void test_many(size_t n)
{
	_cleanup_free_ char *text = NULL, *said = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		abort();
	fputs("mountpoint = /m\n", out);
	for (size_t i = 0; i < n; i++)
		fprintf(out,
			"term \"dir%zu/t%zu\" { refresh_interval = 5s http { url = "
			"\"http://h/%zu\" } }\n",
			i % 100, i, i);
	fclose(out);
	struct config *config = load_text(text, &said);
	is_int(config ? config->n_terms : 0, (int64_t)n, "%zu terms", n);
	if (config) {
		struct config *again = NULL;
		struct err err = ERR_INIT;
		_cleanup_close_ int fd = write_image(config);
		int64_t start = clock_boot_ms();
		is_int(config_image_read(&again, fd, types, &err), 0, "and their image");
		printf("# read in %d ms\n", (int)(clock_boot_ms() - start));
		config_free(again);
	}
	config_free(config);
}

static int load_named(char **paths)
{
	int failed = 0;

	for (; *paths; paths++) {
		_cleanup_free_ char *absolute = realpath(*paths, NULL);
		struct config *config = NULL;
		if (config_load(&config,
				&(struct config_request){ .file = absolute ? absolute : *paths,
							  .types = types },
				stderr) < 0)
			failed = 1;
		else
			config_show(config, stdout);
		config_free(config);
	}
	return failed;
}

static void remove_files(void)
{
	static const char *const names[] = { "d/1.conf", "d/2.conf", "c" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		unlink(path_of(names[i]));
	rmdir(path_of("d"));
	rmdir(dir);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return load_named(argv + 1);
	if (!mkdtemp(dir))
		abort();
	test_effective();
	test_problems();
	test_missing_brace();
	test_elsewhere();
	test_words();
	test_include();
	test_command_line();
	test_precedence();
	test_default_store();
	test_show();
	test_image();
	test_corrupt_image();
	test_long_image();
	test_names();
	test_paths();
	test_noise();
	test_many(10000);
	remove_files();
	return tap_done();
}
