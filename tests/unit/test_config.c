/*
 * Unit tests of term/config: loading, defaults, includes, the command line, and what is said of
 * what is wrong. The fetchers are stand-ins with the options of the real ones.
 *
 * `unit-config FILE…` loads each file instead and writes its problems, or what it comes to.
 */
#include "config/config.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/util.h"
#include "tap.h"
#include "config/config_name.h"

static int states;

static int http_init(void **ret_state, const struct options *options, struct helper *helper,
		     struct err *err)
{
	const char *url = options_string(options, "url");

	(void)helper;
	if (strncmp(url, "http", 4) != 0)
		return err_set(err, ERR_CONFIG, "url: \"%s\" is not http", url);
	*ret_state = strdup(url);
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

static const struct option_spec http_options[] = {
	{ .name = "url", .type = OPTION_STRING, .required = true },
	{ .name = "http_cache", .type = OPTION_BOOL, .default_text = "false" },
	{ .name = "min_refresh_interval", .type = OPTION_DURATION, .default_text = "30s" },
	{ .name = "headers", .type = OPTION_STRINGS },
	{ .name = "user_agent", .type = OPTION_STRING },
	{ .name = "user", .type = OPTION_STRING },
	{ .name = "password", .type = OPTION_STRING, .secret = true },
	{ .name = "password_file", .type = OPTION_STRING },
	{ .name = "bearer_token_file", .type = OPTION_STRING },
	{ .name = "client_cert", .type = OPTION_STRING },
	{ .name = "client_key", .type = OPTION_STRING },
	{ .name = "ca_file", .type = OPTION_STRING },
	{ .name = "proxy", .type = OPTION_STRING },
	{ .name = "unix_socket", .type = OPTION_STRING },
	{ .name = "connect_timeout", .type = OPTION_DURATION, .default_text = "10s" },
	{ .name = "stall_timeout", .type = OPTION_DURATION, .default_text = "30s" },
	{ .name = "max_redirects", .type = OPTION_INT, .default_text = "10" },
	{ .name = "accept_unframed", .type = OPTION_BOOL, .default_text = "false" },
	{ .name = NULL },
};
static const struct option_spec file_options[] = {
	{ .name = "path", .type = OPTION_STRING, .required = true },
	{ .name = NULL },
};
static const struct option_spec static_options[] = {
	{ .name = "data", .type = OPTION_STRING },
	{ .name = "base64", .type = OPTION_STRING },
	{ .name = "version", .type = OPTION_STRING },
	{ .name = NULL },
};

static const char *const http_schemes[] = { "http", "https", NULL };
static const char *const file_schemes[] = { "file", NULL };
static const struct source_type http = { .name = "http",
					 .options = http_options,
					 .init = http_init,
					 .free = http_free,
					 .url_schemes = http_schemes,
					 .from_url = http_from_url };
static const struct source_type file = { .name = "file",
					 .options = file_options,
					 .url_schemes = file_schemes,
					 .from_url = file_from_url };
static const struct source_type fixed = { .name = "static", .options = static_options };
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

/* Loads; *ret_problems (the caller's) is what was said, without the directory. */
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

/* The text loads to nothing but exactly these problems. */
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
	is_str(options_string(a->sources[2].options, "path"), "/2", "path");
	is_str(options_strings(a->sources[1].options, "headers", NULL)[1], "b: 2", "headers");
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
	       "  zzz = { 1, 2 }\n  }\n}\nfoo = 1\nbar { a = 1 b { c } }\n"
	       "term x2 { http { url = ftp } }\n",
	       "c:2: term \"x\": unknown fetcher \"htp\"; there are: http, file, static\n"
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
	expect("term a {\n static {\n data = \"x", "c:3: the string that begins here has no end\n");
	expect("foo = 1\nterm a { static { } }\nterm b { static { ",
	       "c:1: unknown option \"foo\"\n"
	       "c:3: term \"b\": static: syntax error: the file ends where the \"}\" of \"static\" "
	       "on line 3 is expected\n");
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
	       "c:6: a block \"http\" belongs into a term\n"
	       "c:7: defaults: an alias belongs to one term\n"
	       "c:7: defaults: a source belongs to one term\n"
	       "c:8: unknown function \"url\"; there is only include(\"FILE\")\n"
	       "c:9: include() takes one file name: include(\"conf.d/*.conf\")\n");
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
		is_str(options_string(config->terms[1].sources[0].options, "path"), "/etc/x=y",
		       "file");
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

static char *show(const struct config *config, enum config_secrets secrets)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		abort();
	config_show(config, secrets, out);
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
	shown = show(config, CONFIG_SECRETS_MASKED);
	ok(strstr(shown, "password = \"***\"") && !strstr(shown, "hunter2"), "secrets are masked");
	ok(strstr(shown, "refresh_interval = 90s\n"), "an exact unit");
	is_str(config->terms[0].name, "a \"q$", "a name that needs care");
	struct config *again = load_text(shown, &said_again);
	is_str(said_again, "", "it loads");
	if (again) {
		shown_again = show(again, CONFIG_SECRETS_MASKED);
		is_str(shown_again, shown, "to the same");
		is_str(options_string(again->terms[0].sources[0].options, "data"),
		       "\001\n\t\\\"${x} ä", "a text that needs care");
	}
	config_free(again);
	config_free(config);
}

/* What a worker is given leaves out what is usual; no value is another one for it. */
static void test_for_worker(void)
{
	_cleanup_free_ char *said = NULL, *again_said = NULL;
	struct config *config = load_text(
		"mountpoint = /m defaults { history = 7 on_expire = hide max_stale = 1d }\n"
		"term a { refresh_interval = never lazy_init = true min_size = 1 max_size = 2\n"
		"mode = 400 user = 1 group = 2 failover = any backwards = refuse history = 0\n"
		"on_delete = remove alias = z on_expire = keep http { url = 'http://x'\n"
		"password = hunter2 } } term b { static { data = b } }\n"
		"term c { http { url = 'http://c' stall_timeout = 7s } }\n",
		&said);
	_cleanup_free_ char *terse = show(config, CONFIG_SECRETS_SHOWN);
	_cleanup_free_ char *full = show(config, CONFIG_SECRETS_MASKED);
	struct config *again = load_text(terse, &again_said);
	_cleanup_free_ char *shown = show(again, CONFIG_SECRETS_MASKED);
	ok(strstr(terse, "hunter2") && !strstr(terse, "connect_timeout"), "secrets, no defaults");
	is_str(shown, full, "it loads to the same");
	config_free(again);
	config_free(config);
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

/* Random bytes, and good files with random changes, never do more than fail. */
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
	config_free(config);
}

static int load_named(char **paths)
{
	int failed = 0;

	for (; *paths; paths++) {
		struct config *config = NULL;
		if (config_load(&config, &(struct config_request){ .file = *paths, .types = types },
				stderr) < 0)
			failed = 1;
		else
			config_show(config, CONFIG_SECRETS_MASKED, stdout);
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
	test_include();
	test_command_line();
	test_precedence();
	test_default_store();
	test_show();
	test_for_worker();
	test_names();
	test_paths();
	test_noise();
	test_many(10000);
	remove_files();
	return tap_done();
}
