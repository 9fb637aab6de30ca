/* aws_parse: profiles, token files, keys in JSON and XML, times, regions. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/secret.h"
#include "base/util.h"
#include "fetchers/aws/aws_files.h"
#include "fetchers/aws/aws_keys.h"
#include "fetchers/aws/aws_keys_json.h"
#include "fetchers/aws/aws_keys_xml.h"
#include "fetchers/aws/aws_profile.h"
#include "fetchers/aws/aws_region.h"
#include "tap.h"

static char dir[] = "/tmp/rptfs-unit-XXXXXX";
static char config_path[64], credentials_path[64];

static void put(const char *path, const char *text)
{
	_cleanup_fclose_ FILE *file = fopen(path, "we");

	if (!file || fputs(text, file) < 0)
		abort();
}

/* ---- profiles ---- */

static const char config_text[] = "; a comment\n"
				  "# another\n"
				  "\n"
				  "[default]\n"
				  "region = eu-west-1\n"
				  "output=json # for people\n"
				  "[profile prod]\r\n"
				  "Role_ARN = arn:aws:iam::1:role/r\r\n"
				  "source_profile=default\n"
				  "s3 =\n"
				  "  addressing_style = path\n"
				  "  region = nested\n"
				  "region = eu-west-2\n"
				  "region = eu-west-3\n"
				  "[ profile \"two words\" ]\n"
				  "    region = quoted\n"
				  "    aws_access_key_id =\n"
				  "    output = text\n"
				  "[profile p]\n"
				  "credential_process = sh -c \"a ; b # c\"\n"
				  "[sso-session s]\n"
				  "sso_region = us-east-1\n"
				  "[nothing]\n"
				  "region = none\n";

static const char credentials_text[] = "[default]\n"
				       "aws_access_key_id = AKIA1\n"
				       "aws_secret_access_key = a+b/c=d\n"
				       "[prod]\n"
				       "aws_access_key_id:AKIA2\n"
				       "region = from-credentials";

static void test_profiles(void)
{
	struct aws_paths paths = { .config = config_path, .credentials = credentials_path };
	struct aws_profiles *profiles = NULL;
	struct err err = ERR_INIT;

	put(config_path, config_text);
	put(credentials_path, credentials_text);
	ok(aws_profiles_load(&profiles, NULL, &paths, &err) == 0, "both files are loaded: %s",
	   err.msg);
#define get(profile, name) aws_profiles_get(profiles, profile, name)
	is_str(get("default", "region"), "eu-west-1", "a setting is read");
	is_str(get("default", "output"), "json", "a trailing comment is removed");
	is_str(get("default", "aws_access_key_id"), "AKIA1", "a setting of the other file is read");
	is_str(get("default", "aws_secret_access_key"), "a+b/c=d", "a value may contain \"=\"");
	is_str(get("prod", "role_arn"), "arn:aws:iam::1:role/r", "names are case-insensitive");
	is_str(get("prod", "region"), "from-credentials", "the credentials file wins");
	is_str(get("prod", "aws_access_key_id"), "AKIA2", "a colon separates name and value");
	ok(!get("prod", "addressing_style"), "nested settings are ignored");
	is_str(get("two words", "region"), "quoted", "a name may be quoted and a section indented");
	is_str(get("two words", "output"), "text", "the indented section continues");
	ok(!get("two words", "aws_access_key_id"), "an empty value is not set");
	is_str(get("p", "credential_process"), "sh -c \"a ; b # c\"",
	       "a command line keeps its \"#\"");
	ok(!get("s", "sso_region") && !get("nothing", "region"), "not every section is a profile");
	ok(aws_profiles_have(profiles, "p") && !aws_profiles_have(profiles, "nothing"),
	   "a profile exists only if it has a section");
	is_str(aws_profiles_problem(profiles), "", "both files could be read");
#undef get
	aws_profiles_free(profiles);
}

static void test_services(void)
{
	static const char text[] = "[profile p]\n"
				   "services = here\n"
				   "[services here]\n"
				   "dynamodb =\n"
				   "  endpoint_url = https://dynamo\n"
				   "s3 =\n"
				   "  endpoint_url = https://first\n"
				   "  Endpoint_URL = https://s3 # MinIO\n"
				   "\n"
				   "  other = x\n"
				   "sts =\n"
				   "[services empty]\n"
				   "[services here2]\n"
				   "s3 =\n"
				   "  endpoint_url = https://here2\n";
	struct aws_paths paths = { .config = config_path, .credentials = credentials_path };
	struct aws_profiles *profiles = NULL;
	struct err err = ERR_INIT;
	char place[160] = "", expected[160];

	put(config_path, text);
	put(credentials_path, "[services away]\ns3 =\n  endpoint_url = https://away\n");
	ok(aws_profiles_load(&profiles, NULL, &paths, &err) == 0, "the files are loaded: %s",
	   err.msg);
#define get(services, service) \
	aws_profiles_get_of_service(profiles, services, service, "endpoint_url")
	is_str(get("here", "s3"), "https://s3", "a nested setting is read");
	aws_profiles_place(profiles, get("here", "s3"), place, sizeof(place));
	snprintf(expected, sizeof(expected), "%s:8: Endpoint_URL", config_path);
	is_str(place, expected, "its place is known");
	is_str(get("here", "dynamodb"), "https://dynamo", "the service before is read");
	is_str(get("here2", "s3"), "https://here2", "the section after is read");
	ok(!get("here", "sts") && !get("empty", "s3") && !get("nothing", "s3"),
	   "what is not there is not found");
	ok(!get("away", "s3"), "the credentials file has no sections of services");
	ok(aws_profiles_have_services(profiles, "empty") &&
		   !aws_profiles_have_services(profiles, "nothing") &&
		   !aws_profiles_have_services(profiles, "p"),
	   "a section of services exists only if the file has it");
	ok(!aws_profiles_have(profiles, "here"), "it is not a profile");
	ok(!aws_profiles_get(profiles, "p", "endpoint_url"), "its settings are not the profile's");
	ok(!aws_profiles_name(profiles, "endpoint_url", "https://s3"), "no profile names them");
#undef get
	aws_profiles_free(profiles);
}

static void test_profile_files(void)
{
	struct aws_paths paths = { .config = config_path, .credentials = credentials_path };
	struct aws_paths only = { .credentials = credentials_path };
	static const char *const bad[] = { "[default\n", "[a]\nkey SECRET\n", "key = SECRET\n",
					   "[a]\n= SECRET\n" };
	static const char bad_service[] = "[services a]\ns3 =\n  endpoint_url SECRET\n";
	struct aws_profiles *profiles = NULL;
	struct err err = ERR_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		put(credentials_path, bad[i]);
		ok(aws_profiles_load(&profiles, NULL, &paths, &err) < 0 && err.kind == ERR_DENIED &&
			   strstr(err.msg, credentials_path),
		   "bad file %zu is refused: %s", i, err.msg);
		ok(!strstr(err.msg, "SECRET"), "the message shows nothing of the file");
	}
	put(config_path, bad_service);
	ok(aws_profiles_load(&profiles, NULL, &paths, &err) < 0 && strstr(err.msg, ":3: "),
	   "a bad setting of a service is refused: %s", err.msg);
	put(credentials_path, "[profile x]\nregion = r\n[y]\nregion = s\n");
	ok(aws_profiles_load(&profiles, NULL, &only, &err) == 0, "the only file is loaded");
	ok(aws_profiles_get(profiles, "x", "region") && aws_profiles_get(profiles, "y", "region"),
	   "the only file may have both forms of section names");
	aws_profiles_free(profiles);

	unlink(credentials_path);
	ok(aws_profiles_load(&profiles, NULL, &only, &err) < 0 && err.kind == ERR_DENIED,
	   "the only file must exist: %s", err.msg);
	unlink(config_path);
	ok(aws_profiles_load(&profiles, NULL, &paths, &err) == 0, "both files may be missing");
	ok(!aws_profiles_have(profiles, "default"), "then there is no profile");
	aws_profiles_free(profiles);
	mkdir(credentials_path, 0700);
	ok(aws_profiles_load(&profiles, NULL, &paths, &err) == 0,
	   "an unreadable file is not an error");
	ok(strstr(aws_profiles_problem(profiles), credentials_path), "but is reported: %s",
	   aws_profiles_problem(profiles));
	aws_profiles_free(profiles);
	rmdir(credentials_path);
}

static void test_stamps(void)
{
	struct aws_paths paths = { .config = config_path, .credentials = credentials_path };
	struct aws_stamp first, second;

	put(credentials_path, "[a]\n");
	aws_stamp_take(NULL, &paths, &first);
	ok(first.is_young && !aws_stamp_is_same(&first, &first),
	   "a file that was just written is young");
	usleep(30000);
	aws_stamp_take(NULL, &paths, &first);
	aws_stamp_take(NULL, &paths, &second);
	ok(aws_stamp_is_same(&first, &second), "an unchanged file has the same stamp");
	put(credentials_path, "[b]\n");
	aws_stamp_take(NULL, &paths, &second);
	ok(!aws_stamp_is_same(&first, &second), "a later write of the same size changes it");
	put(config_path, "");
	usleep(30000);
	aws_stamp_take(NULL, &paths, &first);
	ok(!aws_stamp_is_same(&second, &first), "a new file has another stamp");
	unlink(credentials_path);
	unlink(config_path);
}

static void test_tokens(void)
{
	struct err err = ERR_INIT;
	char *token = NULL;

	put(credentials_path, "abc.def\r\n\n");
	ok(aws_token_read(NULL, credentials_path, "token", &token, &err) == 0,
	   "a token file is read");
	is_str(token, "abc.def", "its line break is removed");
	secret_free(token);
	put(credentials_path, "abc\ndef\n");
	ok(aws_token_read(NULL, credentials_path, "token", &token, &err) < 0,
	   "two lines are refused: %s", err.msg);
	put(credentials_path, "\n");
	ok(aws_token_read(NULL, credentials_path, "token", &token, &err) < 0,
	   "an empty file is refused: %s", err.msg);
	unlink(credentials_path);
	ok(aws_token_read(NULL, credentials_path, "token", &token, &err) < 0 &&
		   err.kind == ERR_DENIED,
	   "a missing file is refused: %s", err.msg);
}

/* ---- keys ---- */

static void test_times(void)
{
	static const struct {
		const char *text;
		int64_t ms;
	} good[] = {
		{ "2013-05-24T00:00:00Z", INT64_C(1369353600000) },
		{ "2013-05-24T00:00:00.1239999Z", INT64_C(1369353600123) },
		{ "2013-05-24T02:30:00+02:30", INT64_C(1369353600000) },
		{ "2013-05-23T23:00:00-0100", INT64_C(1369353600000) },
		{ "2040-01-01T00:00:00Z", INT64_C(2208988800000) },
	};
	static const char *const bad[] = { "",
					   "2013-05-24",
					   "2013-05-24T00:00:00",
					   "tomorrow",
					   "2013-05-24T00:00:00Zx",
					   "2013-05-24T00:00:00+1" };
	int64_t ms = 0;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		ok(aws_time_ms(good[i].text, &ms) == 0, "%s is a time", good[i].text);
		is_int(ms, good[i].ms, "it has the right value");
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ok(aws_time_ms(bad[i], &ms) < 0, "\"%s\" is not a time", bad[i]);
}

static void test_keys(void)
{
	struct aws_key_texts texts = { .access_key = "AKIA", .secret_key = "SECRET" };
	struct aws_keys *keys = NULL;
	struct err err = ERR_INIT;

	ok(aws_keys_new(&keys, &texts, "here", &err) == 0, "a pair of keys is accepted");
	ok(!keys->session_token && aws_keys_expire_ms(keys) == AWS_NEVER,
	   "it has no session token and never expires");
	aws_keys_ref(keys);
	aws_keys_free(keys);
	is_str(keys->secret_key, "SECRET", "a reference keeps the keys");
	aws_keys_free(keys);
	aws_keys_free(NULL);

	texts.session_token = "TOK\nEN";
	ok(aws_keys_new(&keys, &texts, "here", &err) < 0 && !strstr(err.msg, "TOK"),
	   "a line break is refused: %s", err.msg);
	texts.session_token = NULL;
	texts.expiration = "soon";
	ok(aws_keys_new(&keys, &texts, "here", &err) < 0, "an invalid expiration is refused: %s",
	   err.msg);
	texts.secret_key = NULL;
	ok(aws_keys_new(&keys, &texts, "here", &err) < 0 && err.kind == ERR_DENIED,
	   "a missing secret key is refused: %s", err.msg);
}

static void test_documents(void)
{
	static const struct {
		enum aws_json_kind kind;
		const char *json;
		bool is_good;
	} cases[] = {
		{ AWS_JSON_SERVICE,
		  "{\"Code\":\"Success\",\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"SECRET\","
		  "\"Token\":\"T\",\"Expiration\":\"2040-01-01T00:00:00Z\"}",
		  true },
		{ AWS_JSON_PROCESS,
		  "{\"Version\":1,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"SECRET\","
		  "\"SessionToken\":\"T\"}\n",
		  true },
		{ AWS_JSON_PROCESS, "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"SECRET\"}",
		  false },
		{ AWS_JSON_SERVICE, "{\"Code\":\"Failed\",\"Message\":\"no trust\"}", false },
		{ AWS_JSON_SERVICE, "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":7}", false },
		{ AWS_JSON_SERVICE, "{\"AccessKeyId\":\"SECRET", false },
		{ AWS_JSON_SERVICE, "[]", false },
		{ AWS_JSON_SERVICE, "", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct aws_keys *keys = NULL;
		struct err err = ERR_INIT;
		int rc = aws_keys_from_json(&keys, cases[i].kind, cases[i].json,
					    strlen(cases[i].json), "document", &err);
		ok((rc == 0) == cases[i].is_good, "document %zu: %s", i, err.msg);
		ok(!strstr(err.msg, "SECRET"), "the message contains no secret");
		if (rc == 0)
			is_str(keys->session_token, "T", "it has a session token");
		aws_keys_free(keys);
	}
}

/* A parser that recurses 2048 times would leave the stack of an update thread. */
static void test_deep_document(void)
{
	static const char keys_text[] = "{\"Version\":1,\"AccessKeyId\":\"A\","
					"\"SecretAccessKey\":\"SECRET\",\"X\":";
	static const unsigned depths[] = { 30, 32, 2000 };
	char text[8192];

	for (size_t i = 0; i < ARRAY_SIZE(depths); i++) {
		struct aws_keys *keys = NULL;
		struct err err = ERR_INIT;
		unsigned n = depths[i];
		int len = snprintf(text, sizeof(text), "%s", keys_text);
		memset(text + len, '[', n);
		memset(text + len + n, ']', n);
		snprintf(text + len + 2 * n, 2, "}");
		int rc = aws_keys_from_json(&keys, AWS_JSON_PROCESS, text, strlen(text), "document",
					    &err);
		ok((rc == 0) == (n < 32), "a document with %u levels: %s", n, err.msg);
		aws_keys_free(keys);
	}
}

static void test_answers(void)
{
	static const char good[] =
		"<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"
		"<AssumeRoleResult><AssumedRoleUser><Arn>arn</Arn></AssumedRoleUser><Credentials>"
		"<AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>S&amp;ECRET</SecretAccessKey>"
		"<SessionToken>T</SessionToken><Expiration>2040-01-01T00:00:00Z</Expiration>"
		"</Credentials></AssumeRoleResult></AssumeRoleResponse>";
	static const char doctype[] =
		"<!DOCTYPE a [<!ENTITY b \"SECRET\">]><Credentials><AccessKeyId>A</AccessKeyId>"
		"<SecretAccessKey>&b;</SecretAccessKey></Credentials>";
	static const char *const bad[] = { "", "<a/>", "<Credentials><AccessKeyId>A</AccessKeyId>",
					   doctype };
	struct aws_keys *keys = NULL;
	struct err err = ERR_INIT;

	ok(aws_keys_from_xml(&keys, good, strlen(good), "sts", &err) == 0,
	   "an STS answer is accepted: %s", err.msg);
	is_str(keys->access_key, "ASIA", "the access key is read");
	is_str(keys->secret_key, "S&ECRET", "the secret key is read and decoded");
	is_int(aws_keys_expire_ms(keys), INT64_C(2208988800000), "the expiration is read");
	aws_keys_free(keys);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ok(aws_keys_from_xml(&keys, bad[i], strlen(bad[i]), "sts", &err) < 0 &&
			   err.kind == ERR_DENIED,
		   "bad answer %zu is refused: %s", i, err.msg);
}

static void test_regions(void)
{
	char host[AWS_STS_HOST_SIZE];

	ok(aws_is_region("eu-west-1") && aws_is_region("r"), "names of regions are accepted");
	ok(!aws_is_region("") && !aws_is_region("-a") && !aws_is_region("a-") &&
		   !aws_is_region("a.b") && !aws_is_region("a/b") && !aws_is_region("EU") &&
		   !aws_is_region("012345678901234567890123456789012"),
	   "invalid names of regions are refused");
	is_str(aws_domain("eu-west-1"), "amazonaws.com", "most regions have the usual domain");
	is_str(aws_domain("cn-north-1"), "amazonaws.com.cn", "China has its own domain");
	is_str(aws_region_of_arn("arn:aws:iam::1:role/r"), "us-east-1",
	       "the usual partition has a region");
	is_str(aws_region_of_arn("arn:aws-us-gov:iam::1:role/r"), "us-gov-west-1",
	       "GovCloud has a region");
	is_str(aws_domain(aws_region_of_arn("arn:aws-iso-b:iam::1:role/r")), "sc2s.sgov.gov",
	       "an isolated partition has a domain");
	is_str(aws_sts_host("eu-west-1", false, false, host), "sts.eu-west-1.amazonaws.com",
	       "the token service has a host");
	is_str(aws_sts_host("us-east-2", true, false, host), "sts-fips.us-east-2.amazonaws.com",
	       "it has a FIPS host");
	is_str(aws_sts_host("us-gov-west-1", true, false, host), "sts.us-gov-west-1.amazonaws.com",
	       "the usual host of GovCloud is a FIPS host");
	is_str(aws_sts_host("us-gov-west-1", true, true, host), "sts-fips.us-gov-west-1.api.aws",
	       "its dual-stack FIPS host has a name of its own");
	is_str(aws_sts_host("cn-north-1", false, true, host),
	       "sts.cn-north-1.api.amazonwebservices.com.cn", "China has a dual-stack domain");
	ok(aws_is_host("s3.cn-north-1.amazonaws.com.cn:443") &&
		   aws_is_host("b.s3.eu-west-1.amazonaws.com"),
	   "hosts of AWS are recognised");
	ok(!aws_is_host("amazonaws.com") && !aws_is_host("s3.notamazonaws.com") &&
		   !aws_is_host("s3.amazonaws.com.evil.example"),
	   "other hosts are not hosts of AWS");
}

static void test_memory(void)
{
	char *secret = secret_new(10000);
	char *text = secret_heap_malloc(10);

	ok(secret && secret[9999] == 0, "locked memory is zeroed");
	memset(secret, 'x', 10000);
	secret_free(secret);
	secret_free(NULL);
	memcpy(text, "012345678", 10);
	text = secret_heap_realloc(text, 5000);
	is_str(text, "012345678", "realloc keeps the content");
	secret_heap_free(text);
	secret_heap_free(secret_heap_realloc(NULL, 1));
}

int main(void)
{
	if (!mkdtemp(dir))
		abort();
	snprintf(config_path, sizeof(config_path), "%s/config", dir);
	snprintf(credentials_path, sizeof(credentials_path), "%s/credentials", dir);
	aws_keys_json_prepare();
	test_memory();
	test_profiles();
	test_services();
	test_profile_files();
	test_stamps();
	test_tokens();
	test_times();
	test_keys();
	test_documents();
	test_deep_document();
	test_answers();
	test_regions();
	rmdir(dir);
	return tap_done();
}
