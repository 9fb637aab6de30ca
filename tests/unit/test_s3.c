/* s3: addresses, URLs, names of buckets, keys and hosts, SSE-C keys. */
#include <fcntl.h>
#include <stdlib.h>

#include "base/secret.h"
#include "base/util.h"
#include "fetchers/registry.h"
#include "fetchers/s3/s3_address.h"
#include "fetchers/s3/s3_bucket.h"
#include "fetchers/s3/s3_source.h"
#include "fetchers/s3/s3_sse_key.h"
#include "make_options.h"
#include "tap.h"

DEFINE_CLEANUP(struct options, options_free)

static char dir[] = "/tmp/rptfs-s3-XXXXXX";

/* A source with the options name, text, …, NULL. Returns NULL if they are refused. */
static struct s3_source *make(struct options **ret_options, struct err *err,
			      const char *const *pairs)
{
	void *state = NULL;

	*ret_options = options_make(&s3_source_options);
	for (; *pairs; pairs += 2) {
		if (options_set(*ret_options, pairs[0], pairs[1], err) < 0)
			return NULL;
	}
	if (options_finish(*ret_options, &fetcher_s3.type, err) < 0)
		return NULL;
	return s3_source_init(&state, (*ret_options)->values, NULL, err) < 0 ? NULL : state;
}

/* Compares the URL in a region (NULL: the configured one), or the error. */
static void expect(const char *expected, const char *region, const char *const *pairs)
{
	_cleanup_(options_free_cleanup) struct options *options = NULL;
	_cleanup_(s3_address_release) struct s3_address address = S3_ADDRESS_INIT;
	_cleanup_free_ char *got = NULL;
	struct err err = ERR_INIT;
	struct s3_source *source = make(&options, &err, pairs);

	if (!source) {
		is_str(err.msg, expected, "the configuration is refused");
		return;
	}
	if (s3_address_make(&source->location, region ? region : source->location.region, &address,
			    &err) < 0 ||
	    asprintf(&got, "%s%s%s", s3_scheme(&source->location), address.host, address.path) < 0)
		abort();
	is_str(got, expected, "the address is right");
	s3_source_free(source);
}

#define EXPECT(expected, region, ...) \
	expect(expected, region, (const char *const[]){ __VA_ARGS__, NULL })
#define ONE "bucket", "one", "key", "a/b c"

static void test_addresses(void)
{
	EXPECT("https://one.s3.eu-west-1.amazonaws.com/a/b c", NULL, ONE, "region", "eu-west-1");
	EXPECT("https://one.s3.us-west-2.amazonaws.com/a/b c", "us-west-2", ONE, "region",
	       "eu-west-1");
	EXPECT("https://one.s3.cn-north-1.amazonaws.com.cn/a/b c", NULL, ONE, "region",
	       "cn-north-1");
	EXPECT("https://s3.eu-west-1.amazonaws.com/one/a/b c", NULL, ONE, "region", "eu-west-1",
	       "addressing", "path");
	EXPECT("https://s3.eu-west-1.amazonaws.com/w.x.y//k", NULL, "bucket", "w.x.y", "key", "/k",
	       "region", "eu-west-1");
	EXPECT("https://s3.us-east-1.amazonaws.com/Old_One/k", NULL, "bucket", "Old_One", "key",
	       "k", "region", "us-east-1");
	EXPECT("http://127.0.0.1:9000/one/a/b c", NULL, ONE, "endpoint", "http://127.0.0.1:9000/");
	EXPECT("http://127.0.0.1:9000/one/a/b c", "mars", ONE, "endpoint", "http://127.0.0.1:9000");
	EXPECT("https://one.minio.example/a/b c", NULL, ONE, "endpoint",
	       "HTTPS://MinIO.example:443", "addressing", "virtual");
	EXPECT("http://one.localhost:81/a/b c", NULL, ONE, "endpoint", "http://localhost:81",
	       "addressing", "virtual");
	EXPECT("http://localhost/one/a/b c", NULL, ONE, "endpoint", "http://localhost:80");
	EXPECT("https://localhost:80/one/a/b c", NULL, ONE, "endpoint", "https://localhost:80");
	EXPECT("http://[::1]:9000/one/a/b c", NULL, ONE, "endpoint", "http://[::1]:9000");
	EXPECT("https://x.example/storage/v1/s3/one/a/b c", NULL, ONE, "endpoint",
	       "https://x.example/storage/v1/s3/");
	EXPECT("https://x.example/t:one/k", NULL, "bucket", "t:one", "key", "k", "endpoint",
	       "https://x.example");
	EXPECT("https://s3.eu-1.wasabi.example/one/a/b c", NULL, ONE, "endpoint",
	       "https://s3.eu-1.wasabi.example");
	EXPECT("https://s3.us-2.wasabi.example/one/a/b c", "us-2", ONE, "endpoint",
	       "https://s3.eu-1.wasabi.example");
	EXPECT("https://one.s3.dualstack.us-west-2.amazonaws.com/a/b c", "us-west-2", ONE,
	       "endpoint", "https://s3.dualstack.eu-west-1.amazonaws.com");
}

static void test_refused(void)
{
	EXPECT("region: required for AWS: as an option, as AWS_REGION, or in the profile (for "
	       "another "
	       "service, set endpoint)",
	       NULL, ONE);
	EXPECT("region: \"EU (Ireland)\" is not a valid name, such as eu-west-1", NULL, ONE,
	       "region", "EU (Ireland)");
	EXPECT("addressing: \"dns\" is none of auto, path, virtual", NULL, ONE, "addressing",
	       "dns");
	EXPECT("addressing: the endpoint is an IP address, so the bucket cannot be part of "
	       "its name: use \"path\"",
	       NULL, ONE, "endpoint", "http://10.0.0.1:80", "addressing", "virtual");
	EXPECT("endpoint: must begin with http:// or https://", NULL, ONE, "endpoint",
	       "minio:9000");
	EXPECT("endpoint: write the host without the bucket (addressing = virtual adds it)", NULL,
	       ONE, "endpoint", "https://one.s3.eu-west-1.amazonaws.com");
	EXPECT("endpoint: must not have a query or fragment (\"?…\", \"#…\")", NULL, ONE,
	       "endpoint", "https://localhost/?x");
}

static void test_regions(void)
{
	_cleanup_(options_free_cleanup) struct options *options = NULL;
	struct err err = ERR_INIT;

	setenv("AWS_DEFAULT_REGION", "eu-north-1", 1);
	EXPECT("https://one.s3.eu-north-1.amazonaws.com/a/b c", NULL, ONE);
	setenv("AWS_REGION", "ap-south-1", 1);
	EXPECT("https://one.s3.ap-south-1.amazonaws.com/a/b c", NULL, ONE);
	setenv("AWS_REGION", "evil.example/", 1);
	EXPECT("region: \"evil.example/\", from the environment or the profile, is not a valid "
	       "name",
	       NULL, ONE);
	unsetenv("AWS_REGION");
	unsetenv("AWS_DEFAULT_REGION");
	struct s3_source *source = make(&options, &err,
					(const char *const[]){ ONE, "endpoint", "http://h", NULL });
	is_str(source->location.region, "us-east-1", "the default region of other services");
	s3_source_free(source);
}

/* ---- what a block leaves out ---- */

static const char *const variables[] = {
	"AWS_REGION",
	"AWS_DEFAULT_REGION",
	"AWS_PROFILE",
	"AWS_DEFAULT_PROFILE",
	"AWS_ENDPOINT_URL",
	"AWS_ENDPOINT_URL_S3",
	"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
	"AWS_USE_FIPS_ENDPOINT",
	"AWS_USE_DUALSTACK_ENDPOINT",
	"AWS_CA_BUNDLE",
};

static void clear(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
		unsetenv(variables[i]);
	setenv("AWS_CONFIG_FILE", "/nonexistent", 1);
	setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent", 1);
}

/* Writes a file for the AWS tools and returns its path. */
static const char *config_file(const char *text)
{
	static char path[64];

	snprintf(path, sizeof(path), "%s/config", dir);
	_cleanup_fclose_ FILE *file = fopen(path, "w");
	if (!file || fputs(text, file) < 0)
		abort();
	return path;
}

#define AWS	 ONE, "region", "eu-west-1"
#define AT(host) "https://" host "/one/a/b c"

/* Each source of an endpoint wins over those that were set before it. */
static void test_endpoints(void)
{
	EXPECT("https://one.s3.eu-west-1.amazonaws.com/a/b c", NULL, AWS);
	setenv("AWS_CONFIG_FILE",
	       config_file("[default]\nendpoint_url = https://default\n"
			   "[profile p]\nendpoint_url = https://profile\nservices = local\n"
			   "[profile other]\nendpoint_url = https://profile\nservices = dynamo\n"
			   "[profile lost]\nservices = nowhere\n"
			   "[profile not]\nendpoint_url = https://profile\n"
			   "ignore_configured_endpoint_urls = TRUE\n"
			   "[services local]\ns3 =\n  endpoint_url = https://services/x/ # MinIO\n"
			   "[services dynamo]\ndynamodb =\n  endpoint_url = https://dynamo\n"),
	       1);
	EXPECT(AT("default"), NULL, AWS);
	EXPECT("https://services/x/one/a/b c", NULL, AWS, "profile", "p");
	EXPECT(AT("profile"), NULL, AWS, "profile", "other");
	EXPECT("https://one.s3.eu-west-1.amazonaws.com/a/b c", NULL, AWS, "profile", "not");
	setenv("AWS_PROFILE", "p", 1);
	EXPECT("https://services/x/one/a/b c", NULL, AWS);
	setenv("AWS_ENDPOINT_URL", "https://env", 1);
	EXPECT(AT("env"), NULL, AWS);
	EXPECT(AT("env"), NULL, AWS, "profile", "lost");
	setenv("AWS_ENDPOINT_URL_S3", "https://s3-env", 1);
	EXPECT(AT("s3-env"), NULL, AWS);
	EXPECT("https://one.s3-env/a/b c", NULL, AWS, "addressing", "virtual");
	EXPECT(AT("option"), NULL, AWS, "endpoint", "https://option");
	EXPECT("https://one.s3.eu-west-1.amazonaws.com/a/b c", NULL, AWS, "profile", "not");
	setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "false", 1);
	EXPECT(AT("s3-env"), NULL, AWS, "profile", "not");
	setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true", 1);
	EXPECT("https://one.s3.eu-west-1.amazonaws.com/a/b c", NULL, AWS);
	EXPECT(AT("option"), NULL, AWS, "endpoint", "https://option");
	clear();
}

/* A file that an option names replaces both files. */
static void test_endpoint_of_named_file(void)
{
	const char *path = config_file("[default]\nservices = x\n"
				       "[services x]\ns3 =\n endpoint_url = https://named\n");

	EXPECT(AT("named"), NULL, AWS, "credentials_file", path);
	EXPECT("https://one.s3.eu-west-1.amazonaws.com/a/b c", NULL, AWS, "credentials_file",
	       "/nonexistent");
	unlink(path);
}

static void test_hosts(void)
{
	static const struct {
		const char *fips, *dualstack, *expected;
	} cases[] = {
		{ "true", "", "https://one.s3-fips.eu-west-1.amazonaws.com/a/b c" },
		{ "", "true", "https://one.s3.dualstack.eu-west-1.amazonaws.com/a/b c" },
		{ "true", "true", "https://one.s3-fips.dualstack.eu-west-1.amazonaws.com/a/b c" },
		{ "false", "false", "https://one.s3.eu-west-1.amazonaws.com/a/b c" },
	};
	char text[128];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		setenv("AWS_USE_FIPS_ENDPOINT", cases[i].fips, 1);
		setenv("AWS_USE_DUALSTACK_ENDPOINT", cases[i].dualstack, 1);
		EXPECT(cases[i].expected, NULL, AWS);
		clear();
		snprintf(text, sizeof(text),
			 "[default]\nuse_fips_endpoint = %s\nuse_dualstack_endpoint = %s\n",
			 cases[i].fips, cases[i].dualstack);
		setenv("AWS_CONFIG_FILE", config_file(text), 1);
		EXPECT(cases[i].expected, NULL, AWS);
		clear();
		EXPECT(cases[i].expected, NULL, AWS, "use_fips_endpoint",
		       *cases[i].fips ? cases[i].fips : "false", "use_dualstack_endpoint",
		       *cases[i].dualstack ? cases[i].dualstack : "false");
	}
}

static void test_ca_bundle(void)
{
	_cleanup_(options_free_cleanup) struct options *options = NULL;
	struct err err = ERR_INIT;

	setenv("AWS_CONFIG_FILE", config_file("[default]\nca_bundle = /profile.pem\n"), 1);
	s3_source_free(make(&options, &err, (const char *const[]){ AWS, NULL }));
	is_str(((const struct s3_options *)options->values)->ca_file, "/profile.pem",
	       "ca_bundle of the profile is used");
	options_free(steal_ptr(&options));
	setenv("AWS_CA_BUNDLE", "/env.pem", 1);
	s3_source_free(make(&options, &err, (const char *const[]){ AWS, NULL }));
	is_str(((const struct s3_options *)options->values)->ca_file, "/env.pem",
	       "AWS_CA_BUNDLE wins");
	options_free(steal_ptr(&options));
	s3_source_free(
		make(&options, &err, (const char *const[]){ AWS, "ca_file", "/o.pem", NULL }));
	is_str(((const struct s3_options *)options->values)->ca_file, "/o.pem", "ca_file wins");
	clear();
}

static void test_wrong_environment(void)
{
	char message[256];
	const char *path = config_file("[default]\nendpoint_url = minio:9000\n"
				       "[profile f]\nuse_fips_endpoint = maybe\n"
				       "[profile lost]\nservices = nowhere\n"
				       "[profile broken]\nendpoint_url\n");

	setenv("AWS_ENDPOINT_URL_S3", "minio:9000", 1);
	EXPECT("AWS_ENDPOINT_URL_S3: must begin with http:// or https://", NULL, AWS);
	setenv("AWS_ENDPOINT_URL_S3", "https://one.s3.eu-west-1.amazonaws.com", 1);
	EXPECT("AWS_ENDPOINT_URL_S3: write the host without the bucket (addressing = virtual adds "
	       "it)",
	       NULL, AWS);
	setenv("AWS_ENDPOINT_URL_S3", "https://h", 1);
	setenv("AWS_USE_FIPS_ENDPOINT", "true", 1);
	EXPECT("AWS_USE_FIPS_ENDPOINT and AWS_ENDPOINT_URL_S3 exclude each other: an endpoint "
	       "names its host itself",
	       NULL, AWS);
	EXPECT("use_dualstack_endpoint and endpoint exclude each other: an endpoint names its host "
	       "itself",
	       NULL, AWS, "endpoint", "https://h", "use_dualstack_endpoint", "true");
	EXPECT(AT("h"), NULL, AWS, "endpoint", "https://h");
	EXPECT(AT("h"), NULL, AWS, "use_fips_endpoint", "false");
	clear();
	setenv("AWS_CA_BUNDLE", "ca.pem", 1);
	EXPECT("AWS_CA_BUNDLE: \"ca.pem\" is not an absolute path", NULL, AWS);
	clear();
	setenv("AWS_CONFIG_FILE", path, 1);
	snprintf(message, sizeof(message), "%s:8: neither \"[section]\" nor \"setting = value\"",
		 path);
	EXPECT(message, NULL, AWS);
	EXPECT(AT("option"), NULL, AWS, "endpoint", "https://option");
	config_file("[default]\nendpoint_url = minio:9000\n"
		    "[profile f]\nuse_fips_endpoint = maybe\n"
		    "[profile lost]\nservices = nowhere\n");
	snprintf(message, sizeof(message),
		 "%s:2: endpoint_url: must begin with http:// or https://", path);
	EXPECT(message, NULL, AWS);
	snprintf(message, sizeof(message),
		 "%s:4: use_fips_endpoint: \"maybe\" is neither true nor false", path);
	EXPECT(message, NULL, AWS, "profile", "f");
	snprintf(message, sizeof(message), "%s:6: services: there is no section [services nowhere]",
		 path);
	EXPECT(message, NULL, AWS, "profile", "lost");
	unlink(path);
	clear();
}

static void expect_url(const char *url, const char *error, const char *shown)
{
	_cleanup_(options_free_cleanup) struct options *options = options_make(&s3_source_options);
	struct err err = ERR_INIT;
	void *state = NULL;

	if (s3_source_from_url(options, url, &err) < 0 ||
	    options_finish(options, &fetcher_s3.type, &err) < 0 ||
	    s3_source_init(&state, options->values, NULL, &err) < 0) {
		is_str(err.msg, error, "%s", url);
		return;
	}
	is_str(s3_source_describe(state), shown, "%s", url);
	s3_source_free(state);
}

static void test_urls(void)
{
	expect_url("s3://one/a/b+c%20%3f%25%0a?region=eu-west-1", NULL, "s3://one/a/b+c %3F%25%0A");
	expect_url("s3://one/k?endpoint=http://localhost:80&anonymous=true", NULL,
		   "s3://one/k?endpoint=http://localhost");
	expect_url("s3://one/k?endpoint=http%3A%2F%2Flocalhost/&", NULL,
		   "s3://one/k?endpoint=http://localhost");
	expect_url("s3://one//?region=r", NULL, "s3://one//");
	expect_url("s3://one", "URL: does not have the form s3://BUCKET/KEY", NULL);
	expect_url("s3://one/?region=r", "URL: does not have the form s3://BUCKET/KEY", NULL);
	expect_url("s3://one/%",
		   "URL: a \"%\" must be followed by two hexadecimal digits (write \"%\" itself as "
		   "%25)",
		   NULL);
	expect_url("s3://one/a%00b",
		   "URL: a \"%\" must be followed by two hexadecimal digits (write \"%\" itself as "
		   "%25)",
		   NULL);
	expect_url("s3://one/k?region", "URL: \"region\" does not have the form OPTION=VALUE",
		   NULL);
	expect_url("s3://one/k?regio=r", "unknown option \"regio\"", NULL);
	expect_url("s3://one/k?key=r", "URL: key must not be in the query", NULL);
	expect_url("s3:///k?region=r",
		   "bucket: \"\" is not a valid name: 3 to 63 of a-z, 0-9, \"-\" and \".\", "
		   "beginning and ending with a letter or digit",
		   NULL);
}

static void test_shown(void)
{
	_cleanup_(options_free_cleanup) struct options *options = NULL;
	char key[S3_KEY_MAX + 1] = "", shown[S3_SHOWN_SIZE];
	struct err err = ERR_INIT;

	for (int i = 0; i < 340; i++)
		strcat(key, "日");
	struct s3_source *source = make(
		&options, &err,
		(const char *const[]){ "bucket", "one", "key", key, "region", "r", NULL });
	s3_source_shown(source, shown);
	ok(strlen(shown) < S3_SHOWN_SIZE && strstr(shown, "日…日"),
	   "a long key is shortened between characters: %s", shown);
	ok(strlen(shown) > S3_SHOWN_SIZE - 12, "it is shortened to %zu bytes", strlen(shown));
	s3_source_free(source);
}

static void test_names(void)
{
	char region[AWS_REGION_SIZE] = "old";

	ok(s3_host_region("b.s3.eu-west-1.amazonaws.com", "b", region),
	   "a virtual host has a region");
	is_str(region, "eu-west-1", "the region is right");
	ok(s3_host_region("s3-us-west-2.amazonaws.com:443/b", "b", region),
	   "a host in the old form has a region");
	is_str(region, "us-west-2", "the region is right");
	ok(s3_host_region("s3.dualstack.r-1.x.y", "b", region), "a dualstack host has a region");
	ok(!s3_host_region("s3.amazonaws.com", "b", region), "a host without a region has none");
	ok(!s3_host_region("s3.UP.x.y", "b", region) && !s3_host_region("", "b", region) &&
		   !s3_host_region("minio.local:9000", "minio", region) &&
		   !s3_host_region("s3..x.y", "b", region),
	   "an invalid region is not found");
	is_str(region, "r-1", "ret is unchanged");
}

static void test_keys(void)
{
	static const char *const good[] = { "a",    "/",    "..",
					    " ",    "\x01", "é",
					    "日本", "🦆", "\xf4\x8f\xbf\xbf" };
	static const char *const bad[] = { "",
					   "\xff",
					   "a\x80",
					   "\xc0\x80",
					   "\xe0\x80\x80",
					   "\xed\xa0\x80",
					   "\xf4\x90\x80\x80",
					   "\xe2\x82" };
	struct err err = ERR_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		ok(s3_key_check(good[i], &err) == 0, "good key %zu is accepted", i);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ok(s3_key_check(bad[i], &err) < 0, "bad key %zu is refused", i);
}

static const char *key_file(const char *bytes, size_t len)
{
	static char path[64];

	snprintf(path, sizeof(path), "%s/key", dir);
	_cleanup_fclose_ FILE *file = fopen(path, "w");
	if (!file || fwrite(bytes, 1, len, file) != len)
		abort();
	return path;
}

static void test_sse(void)
{
	static const char raw[] = "01234567890123456789012345678901";
	static const char base64[] = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
	static const char *const bad[] = { "", "short", "0123456789012345678901234567890",
					   "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEy",
					   "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5M*E=" };
	struct err err = ERR_INIT;
	struct s3_sse_key *key = NULL;

	is_int(s3_sse_key_read(&key, NULL, key_file(raw, 32), &err), 0,
	       "a file of 32 bytes is read");
	is_str(key->key, base64, "the key is encoded in base64");
	is_str(key->md5, "KYvwGXoFFJ42a2u2GDWhwQ==", "its MD5 is right");
	secret_free(steal_ptr(&key));
	is_int(s3_sse_key_read(&key, NULL, key_file(base64, 44), &err), 0,
	       "a file in base64 is read");
	is_str(key->key, base64, "the key is unchanged");
	secret_free(steal_ptr(&key));
	_cleanup_free_ char *line = NULL;
	if (asprintf(&line, "%s\r\n", base64) < 0)
		abort();
	is_int(s3_sse_key_read(&key, NULL, key_file(line, 46), &err), 0,
	       "a line of base64 is read");
	secret_free(steal_ptr(&key));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		err = (struct err)ERR_INIT;
		ok(s3_sse_key_read(&key, NULL, key_file(bad[i], strlen(bad[i])), &err) < 0 &&
			   err.kind == ERR_DENIED && !key,
		   "invalid key %zu is refused: %s", i, err.msg);
	}
	unlink(key_file("", 0));
	ok(s3_sse_key_read(&key, NULL, "/nonexistent/key", &err) < 0 && err.kind == ERR_DENIED,
	   "%s", err.msg);
}

int main(void)
{
	if (!mkdtemp(dir))
		abort();
	clear();
	test_addresses();
	test_refused();
	test_regions();
	test_endpoints();
	test_endpoint_of_named_file();
	test_hosts();
	test_ca_bundle();
	test_wrong_environment();
	test_urls();
	test_shown();
	test_names();
	test_keys();
	test_sse();
	rmdir(dir);
	return tap_done();
}
