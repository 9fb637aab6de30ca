/* aws_credentials: chains, with scripted services in this process. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "aws_server.h"
#include "base/clock.h"
#include "base/util.h"
#include "http/http.h"
#include "base/helper.h"
#include "base/safe_path.h"
#include "fetchers/aws/aws_credentials.h"
#include "fetchers/aws/aws_keys.h"

static char dir[] = "/tmp/rptfs-unit-XXXXXX";
static char config_path[64], credentials_path[64], token_path[64], other_path[64];
static struct cancel cancel;
static struct fetch_ctx ctx = { .cancel = &cancel };

static void put(const char *path, const char *text)
{
	_cleanup_fclose_ FILE *file = fopen(path, "we");

	if (!file || fputs(text, file) < 0)
		abort();
}

/* Waits until the file is old enough for its stamp to be reliable. */
static void put_old(const char *path, const char *text)
{
	put(path, text);
	usleep(25000);
}

static void clear(void)
{
	static const char *const names[] = {
		"AWS_ACCESS_KEY_ID",
		"AWS_SECRET_ACCESS_KEY",
		"AWS_SESSION_TOKEN",
		"AWS_PROFILE",
		"AWS_DEFAULT_PROFILE",
		"AWS_REGION",
		"AWS_DEFAULT_REGION",
		"AWS_ROLE_ARN",
		"AWS_ROLE_SESSION_NAME",
		"AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
		"AWS_EC2_METADATA_SERVICE_ENDPOINT",
		"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
		"AWS_ENDPOINT_URL",
		"AWS_ENDPOINT_URL_STS",
		"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
		"AWS_USE_FIPS_ENDPOINT",
		"AWS_USE_DUALSTACK_ENDPOINT",
		"AWS_CA_BUNDLE",
		"http_proxy",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		unsetenv(names[i]);
	setenv("AWS_SHARED_CREDENTIALS_FILE", credentials_path, 1);
	setenv("AWS_CONFIG_FILE", config_path, 1);
	setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
	unlink(config_path);
	unlink(credentials_path);
	unlink(other_path);
}

static void set_url(const char *name, uint16_t port, const char *path)
{
	char url[128];

	snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", port, path);
	setenv(name, url, 1);
}

static struct aws_chain *chain_for(const char *profile, const char *file)
{
	struct aws_chain_setup setup = { .profile = profile, .credentials_file = file };
	struct aws_chain *chain = NULL;
	struct err err = ERR_INIT;

	if (aws_chain_get(&chain, &setup, &err) < 0)
		abort();
	return chain;
}

/* The result of the last call: the keys, or the kind of error. */
static char given[300];
static struct err failure;

static const char *keys_of(struct aws_chain *chain)
{
	_cleanup_(aws_keys_free_cleanup) struct aws_keys *keys = NULL;

	failure = (struct err)ERR_INIT;
	if (aws_chain_keys(chain, &ctx, &keys, &failure) < 0) {
		if (strstr(failure.msg, "SECRET"))
			abort();
		snprintf(given, sizeof(given), "failed: %s", err_kind_name(failure.kind));
	} else {
		snprintf(given, sizeof(given), "%s %s %s", keys->access_key, keys->secret_key,
			 keys->session_token ? keys->session_token : "-");
	}
	return given;
}

/* Asks a new chain. */
static const char *ask(const char *profile, const char *file)
{
	struct aws_chain *chain = chain_for(profile, file);

	keys_of(chain);
	aws_chain_put(chain);
	return given;
}

static void refuse(struct aws_chain *chain)
{
	_cleanup_(aws_keys_free_cleanup) struct aws_keys *keys = NULL;

	if (aws_chain_keys(chain, &ctx, &keys, &failure) < 0)
		abort();
	aws_chain_expired(chain, keys);
}

/* ---- environment and files ---- */

static void test_environment(void)
{
	clear();
	put(credentials_path, "[default]\naws_access_key_id = FILE\naws_secret_access_key = S\n");
	setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "SECRET1", 1);
	is_str(ask(NULL, NULL), "ENV SECRET1 -", "keys of the environment come first");
	setenv("AWS_SESSION_TOKEN", "T", 1);
	is_str(ask(NULL, NULL), "ENV SECRET1 T", "the session token of the environment is used");
	is_str(ask("default", NULL), "FILE S -",
	       "a named profile takes no keys from the environment");
	unsetenv("AWS_SECRET_ACCESS_KEY");
	is_str(ask(NULL, NULL), "failed: denied", "an access key without its secret is an error");
	setenv("AWS_ACCESS_KEY_ID", "", 1);
	is_str(ask(NULL, NULL), "FILE S -", "an empty variable counts as not set");
}

static void test_files(void)
{
	struct aws_chain_setup anonymous = { .anonymous = true };
	struct aws_chain *chain = NULL;
	struct aws_keys *keys = (struct aws_keys *)&anonymous;
	char region[16] = "";

	clear();
	put(config_path, "[default]\nregion = eu-west-1\n[profile a]\nregion = us-east-2\n");
	put(credentials_path, "[a]\naws_access_key_id = A\naws_secret_access_key = SA\n"
			      "[b]\naws_access_key_id = B\n");
	put(other_path, "[default]\naws_access_key_id = O\naws_secret_access_key = SO\n"
			"region = r\n");
	is_str(ask("a", NULL), "A SA -", "a profile has keys");
	is_str(ask("b", NULL), "failed: denied", "half a pair of keys is an error: %s",
	       failure.msg);
	is_str(ask("c", NULL), "failed: denied", "a missing profile is an error: %s", failure.msg);
	is_str(ask(NULL, NULL), "failed: denied", "it is an error that no provider has keys: %s",
	       failure.msg);
	is_str(ask(NULL, other_path), "O SO -", "a named file has keys");
	is_str(ask("a", other_path), "failed: denied", "only the named file is read: %s",
	       failure.msg);
	setenv("AWS_PROFILE", "a", 1);
	is_str(ask(NULL, NULL), "A SA -", "AWS_PROFILE selects the profile");
	is_str(ask(NULL, other_path), "O SO -", "AWS_PROFILE does not apply to a named file");
	setenv("AWS_PROFILE", "nobody", 1);
	is_str(ask(NULL, NULL), "failed: denied", "the profile of AWS_PROFILE must exist: %s",
	       failure.msg);

	chain = chain_for("a", NULL);
	ok(aws_chain_region(chain, NULL, region, sizeof(region)) == 0, "a chain has a region");
	is_str(region, "us-east-2", "it is the region of the profile");
	setenv("AWS_REGION", "eu-north-1", 1);
	aws_chain_region(chain, NULL, region, sizeof(region));
	is_str(region, "eu-north-1", "the region of the environment comes first");
	ok(aws_chain_region(chain, NULL, region, 4) < 0,
	   "a region that does not fit the buffer is not returned");
	aws_chain_put(chain);

	if (aws_chain_get(&chain, &anonymous, &failure) < 0)
		abort();
	ok(aws_chain_keys(chain, &ctx, &keys, &failure) == 0 && !keys,
	   "an anonymous chain has no keys");
	aws_chain_put(chain);
	aws_chain_put(NULL);
}

static void test_rotation(void)
{
	struct aws_chain *chain, *same;

	clear();
	chain = chain_for(NULL, other_path);
	same = chain_for(NULL, other_path);
	ok(chain == same, "equal setups share one chain");
	aws_chain_put(same);
	is_str(keys_of(chain), "failed: denied", "a missing file is an error: %s", failure.msg);
	put(other_path, "[default]\naws_access_key_id = A\naws_secret_access_key = S\n");
	is_str(keys_of(chain), "A S -", "a new file is read at once");
	put(other_path, "[default]\naws_access_key_id = B\naws_secret_access_key = S\n");
	is_str(keys_of(chain), "B S -", "a file that is rewritten immediately is read again");
	put_old(other_path, "[default]\naws_access_key_id = C\naws_secret_access_key = S\n");
	is_str(keys_of(chain), "C S -", "a file that is rewritten later is read again");
	put_old(other_path, "[defau");
	is_str(keys_of(chain), "failed: denied", "a half-written file is an error: %s",
	       failure.msg);
	is_str(keys_of(chain), "failed: denied", "the old keys are no longer used");
	put_old(other_path, "[default]\naws_access_key_id = D\naws_secret_access_key = S\n");
	is_str(keys_of(chain), "D S -", "the complete file is read again");
	aws_chain_put(chain);
}

/* ---- services ---- */

static atomic_int serial;      /* part of the access key */
static atomic_int lifetime_s;  /* of the keys */
static atomic_int status;      /* of the answers; 0: no answer */
static atomic_int clock_off_s; /* how far the service's clock is ahead */
static char last_request[AWS_SERVER_SIZE];

enum { STAMP_RFC3339, STAMP_HTTP, STAMP_HOUR };

static const char *stamp(int64_t ms, int format, char ret[64])
{
	time_t now = (time_t)(ms / MS_PER_S);
	struct tm tm;

	gmtime_r(&now, &tm);
	if (format == STAMP_RFC3339)
		return clock_rfc3339(ms, ret);
	if (format == STAMP_HTTP)
		strftime(ret, 64, "Date: %a, %d %b %Y %T GMT", &tm);
	else
		strftime(ret, 64, "%Y%m%dT%H", &tm);
	return ret;
}

static void put_document(char *ret, size_t size)
{
	char until[64];

	aws_server_put(
		ret, size, "200 OK",
		"{\"Code\":\"Success\",\"AccessKeyId\":\"A%d\",\"SecretAccessKey\":\"SECRET\","
		"\"Token\":\"T\",\"Expiration\":\"%s\"}",
		++serial, stamp(clock_wall_ms() + lifetime_s * 1000, STAMP_RFC3339, until));
}

static bool has(const char *text)
{
	return strstr(last_request, text) != NULL;
}

static void answer_metadata(const char *request, char *ret, size_t size)
{
	strcpy(last_request, request);
	if (status == 0)
		*ret = '\0';
	else if (status != 200)
		aws_server_put(ret, size, "503 Busy", "busy");
	else if (strncmp(request, "PUT /latest/api/token ", 22) == 0 &&
		 has("X-aws-ec2-metadata-token-ttl-seconds: 21600\r\n"))
		aws_server_put(ret, size, "200 OK", "TOKEN-OF-INSTANCE");
	else if (strncmp(request, "GET /container", 14) == 0 && has("Authorization: Bearer x\r\n"))
		put_document(ret, size);
	else if (!has("X-aws-ec2-metadata-token: TOKEN-OF-INSTANCE\r\n"))
		aws_server_put(ret, size, "401 Unauthorized", "no token");
	else if (has("GET /latest/meta-data/iam/security-credentials/ HTTP"))
		aws_server_put(ret, size, "200 OK", "my-role\n");
	else if (has("GET /latest/meta-data/iam/security-credentials/my-role HTTP"))
		put_document(ret, size);
	else
		aws_server_put(ret, size, "404 Not Found", "?");
}

static void test_metadata(struct aws_server *server)
{
	clear();
	unsetenv("AWS_EC2_METADATA_DISABLED");
	set_url("AWS_EC2_METADATA_SERVICE_ENDPOINT", server->port, "");
	serial = 0;
	lifetime_s = 3600;
	status = 200;
	is_str(ask(NULL, NULL), "A1 SECRET T", "the metadata service has keys: %s", failure.msg);
	is_str(ask("x", NULL), "failed: denied",
	       "a named profile does not use the metadata service");
	put(config_path, "[default]\nrole_arn = arn:aws:iam::1:role/x\n");
	is_str(ask(NULL, NULL), "failed: denied", "a broken profile ends the search: %s",
	       failure.msg);
	unlink(config_path);
	status = 503;
	is_str(ask(NULL, NULL), "failed: busy", "a busy service is reported: %s", failure.msg);
	status = 0;
	is_str(ask(NULL, NULL), "failed: unreachable",
	       "a service that does not answer is reported: %s", failure.msg);
	status = 200;

	setenv("AWS_EC2_METADATA_DISABLED", "TRUE", 1);
	is_str(ask(NULL, NULL), "failed: denied", "a disabled metadata service is not asked: %s",
	       failure.msg);
	set_url("AWS_CONTAINER_CREDENTIALS_FULL_URI", server->port, "/container");
	is_str(ask(NULL, NULL), "failed: denied", "a container endpoint may require a token: %s",
	       failure.msg);
	setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer x", 1);
	is_str(ask(NULL, NULL), "A2 SECRET T", "the token of the environment is sent");
	put(token_path, "Bearer y\n");
	setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token_path, 1);
	is_str(ask(NULL, NULL), "failed: denied", "the token file comes before the environment");
	put(token_path, "Bearer x\n");
	is_str(ask(NULL, NULL), "A3 SECRET T", "the token file is read each time");
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/x", 1);
	is_str(ask(NULL, NULL), "failed: denied", "plain HTTP to another host is refused: %s",
	       failure.msg);
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1.example.com/x", 1);
	is_str(ask(NULL, NULL), "failed: denied", "a host that only looks local is refused: %s",
	       failure.msg);
	setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@example.com/x", 1);
	is_str(ask(NULL, NULL), "failed: denied",
	       "a relative URI that would extend the host is refused: %s", failure.msg);
}

static void wait_ms(int64_t ms)
{
	usleep((useconds_t)(ms * 1000));
}

static void test_renewal(struct aws_server *server)
{
	struct aws_chain *chain;
	struct aws_keys *old = NULL;

	clear();
	unsetenv("AWS_EC2_METADATA_DISABLED");
	set_url("AWS_EC2_METADATA_SERVICE_ENDPOINT", server->port, "/");
	serial = 0;
	lifetime_s = 3600;
	status = 200;
	chain = chain_for(NULL, NULL);
	is_str(keys_of(chain), "A1 SECRET T", "the first call gets keys: %s", failure.msg);
	is_str(keys_of(chain), "A1 SECRET T", "the next call gets the same keys");
	if (aws_chain_keys(chain, &ctx, &old, &failure) < 0)
		abort();
	lifetime_s = 4;
	refuse(chain);
	is_str(keys_of(chain), "A2 SECRET T", "keys refused by the service are renewed at once");
	aws_chain_expired(chain, old);
	is_str(keys_of(chain), "A2 SECRET T", "a refusal of older keys does not matter");
	is_str(old->access_key, "A1", "older keys live until they are released");
	aws_keys_free(old);
	refuse(chain);
	is_str(keys_of(chain), "A2 SECRET T", "a second refusal does not renew at once");
	wait_ms(3400); /* more than 3/4 of 4 s */
	status = 0;
	is_str(keys_of(chain), "A2 SECRET T",
	       "while the service does not answer, the old keys are used");
	wait_ms(1500);
	is_str(keys_of(chain), "failed: unreachable", "expired keys are not used");
	int asked = server->requests;
	is_str(keys_of(chain), "failed: unreachable", "an error is kept for a while");
	is_int(server->requests, asked, "a kept error causes no request");
	status = 200;
	wait_ms(2100);
	is_str(keys_of(chain), "A3 SECRET T", "the service is asked again later");
	aws_chain_put(chain);
}

static void *ask_often(void *arg)
{
	struct aws_keys *keys = NULL;
	struct err err = ERR_INIT;

	for (int i = 0; i < 20; i++) {
		if (aws_chain_keys(arg, &ctx, &keys, &err) < 0)
			abort();
		aws_keys_free(keys);
	}
	return NULL;
}

static void test_sharing(struct aws_server *server)
{
	struct aws_chain *chain;
	pthread_t threads[16];

	clear();
	unsetenv("AWS_EC2_METADATA_DISABLED");
	set_url("AWS_EC2_METADATA_SERVICE_ENDPOINT", server->port, "");
	lifetime_s = 3600;
	status = 200;
	chain = chain_for(NULL, NULL);
	int asked = server->requests;
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_create(&threads[i], NULL, ask_often, chain);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	is_int(server->requests - asked, 3, "many callers cause one search");
	aws_chain_put(chain);
}

/* ---- STS ---- */

static void answer_sts(const char *request, char *ret, size_t size)
{
	char text[64], date[64];
	int64_t now_ms = clock_wall_ms() + clock_off_s * MS_PER_S;

	strcpy(last_request, request);
	stamp(now_ms, STAMP_HTTP, date);
	stamp(now_ms, STAMP_HOUR, text);
	bool is_signed = strcasestr(request, "authorization: AWS4-HMAC-SHA256 Credential=");
	bool is_in_time = strstr(request, text) != NULL;
	if (status != 200)
		snprintf(ret, size,
			 "HTTP/1.1 403 No\r\nConnection: close\r\n\r\n<ErrorResponse><Error><Code>"
			 "AccessDenied</Code><Message>not you</Message></Error></ErrorResponse>");
	else if (is_signed && !is_in_time)
		snprintf(ret, size,
			 "HTTP/1.1 403 No\r\n%s\r\nConnection: close\r\n\r\n<ErrorResponse><Error>"
			 "<Code>SignatureDoesNotMatch</Code></Error></ErrorResponse>",
			 date);
	else
		aws_server_put(ret, size, "200 OK",
			       "<R><Credentials><AccessKeyId>ASIA%d</AccessKeyId><SecretAccessKey>"
			       "SECRET</SecretAccessKey><SessionToken>T</SessionToken><Expiration>"
			       "%s</Expiration></Credentials></R>",
			       ++serial, stamp(clock_wall_ms() + 3600000, STAMP_RFC3339, text));
}

static void test_roles(struct aws_server *server)
{
	clear();
	serial = 0;
	status = 200;
	set_url("AWS_ENDPOINT_URL_STS", server->port, "");
	put(config_path, "[profile role]\nrole_arn = arn:aws:iam::1:role/r+1\n"
			 "source_profile = base\nexternal_id = e/1\nduration_seconds = 900\n"
			 "[profile self]\nrole_arn = arn:x\nsource_profile = self\n"
			 "[profile env]\nrole_arn = arn:aws:iam::1:role/e\n"
			 "credential_source = Environment\nregion = eu-west-3\n"
			 "[profile chained]\nrole_arn = arn:aws-cn:iam::1:role/c\n"
			 "source_profile = role\n"
			 "[profile a]\nrole_arn = arn:a\nsource_profile = b\n"
			 "[profile b]\nrole_arn = arn:b\nsource_profile = a\n"
			 "[profile both]\nrole_arn = arn:b\nsource_profile = a\n"
			 "credential_source = Environment\n"
			 "[profile lost]\nrole_arn = arn:b\nsource_profile = nobody\n"
			 "[profile mfa]\nrole_arn = arn:b\nsource_profile = base\nmfa_serial = 1\n"
			 "[profile sso]\nsso_start_url = https://x\n");
	put(credentials_path, "[base]\naws_access_key_id = BASE\naws_secret_access_key = S\n");
	is_str(ask("role", NULL), "ASIA1 SECRET T", "a role has keys: %s", failure.msg);
	ok(has("POST / HTTP/1.1\r\n"), "the request is a POST");
	ok(has("\r\n\r\nAction=AssumeRole&Version=2011-06-15&"
	       "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr%2B1&RoleSessionName=rptfs&"
	       "DurationSeconds=900&ExternalId=e%2F1"),
	   "the request has all parameters");
	ok(has("Credential=BASE/") && has("/us-east-1/sts/aws4_request"),
	   "the request is signed with the keys of the source profile");
	setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "S", 1);
	is_str(ask("env", NULL), "ASIA2 SECRET T", "credential_source has keys");
	ok(has("Credential=ENV/") && has("/eu-west-3/sts/"), "the region of the profile is used");
	is_str(ask("chained", NULL), "ASIA4 SECRET T", "a role can be the source of another role");
	ok(has("Credential=ASIA3/") && has("/cn-north-1/sts/"),
	   "the region comes from the partition of the ARN");
	is_str(ask("self", NULL), "failed: denied", "a role needs keys of its source: %s",
	       failure.msg);
	is_str(ask("a", NULL), "failed: denied", "roles must not form a circle: %s", failure.msg);
	is_str(ask("both", NULL), "failed: denied", "a role must not have two sources: %s",
	       failure.msg);
	is_str(ask("lost", NULL), "failed: denied", "the source profile must exist: %s",
	       failure.msg);
	is_str(ask("mfa", NULL), "failed: denied", "a role with MFA is refused: %s", failure.msg);
	is_str(ask("sso", NULL), "failed: denied", "a profile with SSO is refused: %s",
	       failure.msg);

	clock_off_s = 7 * 3600;
	is_str(ask("role", NULL), "ASIA5 SECRET T", "a wrong clock is corrected: %s", failure.msg);
	clock_off_s = 0;
	status = 403;
	is_str(ask("role", NULL), "failed: denied", "a refused role is an error");
	ok(strstr(failure.msg, "AccessDenied: not you"),
	   "the message has the reason of the service: %s", failure.msg);
	status = 200;
}

/* A role with a profile's endpoint of the token service. */
static void test_endpoints_of_profiles(struct aws_server *server)
{
	char text[1024];

	clear();
	serial = 0;
	snprintf(text, sizeof(text),
		 "[profile global]\nrole_arn = arn:aws:iam::1:role/g\n"
		 "credential_source = Environment\nendpoint_url = http://127.0.0.1:%u\n"
		 "[profile own]\nrole_arn = arn:aws:iam::1:role/o\n"
		 "credential_source = Environment\nendpoint_url = http://127.0.0.1:1\n"
		 "services = s\n[services s]\nsts =\n  endpoint_url = http://127.0.0.1:%u\n"
		 "[profile bad]\nrole_arn = arn:aws:iam::1:role/b\n"
		 "credential_source = Environment\nendpoint_url = sts\n",
		 server->port, server->port);
	put(config_path, text);
	setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "S", 1);
	is_str(ask("global", NULL), "ASIA1 SECRET T", "endpoint_url of a profile is used: %s",
	       failure.msg);
	is_str(ask("own", NULL), "ASIA2 SECRET T", "that of its services wins: %s", failure.msg);
	setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1", 1);
	is_str(ask("own", NULL), "failed: unreachable", "the environment wins: %s", failure.msg);
	unsetenv("AWS_ENDPOINT_URL");
	setenv("AWS_USE_FIPS_ENDPOINT", "true", 1);
	ask("own", NULL);
	ok(strstr(failure.msg, "AWS_USE_FIPS_ENDPOINT and ") &&
		   strstr(failure.msg, "/config:12: endpoint_url exclude each other"),
	   "an endpoint and FIPS exclude each other: %s", failure.msg);
	unsetenv("AWS_USE_FIPS_ENDPOINT");
	ask("bad", NULL);
	ok(strstr(failure.msg, "/config:16: endpoint_url: "), "a wrong one is named: %s",
	   failure.msg);
}

static void test_web_identity(struct aws_server *server)
{
	clear();
	serial = 0;
	set_url("AWS_ENDPOINT_URL_STS", server->port, "");
	put(token_path, "eyJ.SECRET\n");
	put(config_path, "[profile web]\nrole_arn = arn:w\nweb_identity_token_file = /nowhere\n");
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", token_path, 1);
	is_str(ask(NULL, NULL), "failed: denied", "a token file without a role is an error: %s",
	       failure.msg);
	setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/w", 1);
	setenv("AWS_ROLE_SESSION_NAME", "pod", 1);
	is_str(ask(NULL, NULL), "ASIA1 SECRET T", "web identity has keys: %s", failure.msg);
	ok(has("Action=AssumeRoleWithWebIdentity&") && has("&RoleSessionName=pod&") &&
		   has("&WebIdentityToken=eyJ.SECRET"),
	   "the request contains the token");
	ok(!strcasestr(last_request, "\r\nauthorization:"), "the request is not signed");
	is_str(ask("web", NULL), "failed: denied", "a missing token file is an error: %s",
	       failure.msg);
}

/* ---- programs ---- */

static char asked_file[64], asked_profile[64];

static int run_process(struct helper *helper, struct cancel *unused, const char *name,
		       const char *credentials_file, const char *profile, char *ret_output,
		       size_t *ret_len, struct err *err)
{
	(void)helper, (void)unused, (void)name;
	snprintf(asked_file, sizeof(asked_file), "%s", credentials_file ? credentials_file : "-");
	snprintf(asked_profile, sizeof(asked_profile), "%s", profile);
	if (status != 200)
		return err_set(err, ERR_DENIED, "it ended with exit code 1");
	*ret_len = (size_t)snprintf(ret_output, HELPER_OUTPUT_MAX,
				    "{\"Version\":1,\"AccessKeyId\":\"P%d\","
				    "\"SecretAccessKey\":\"SECRET\"}",
				    ++serial);
	return 0;
}

static int open_file(struct helper *helper, const char *path, struct err *err)
{
	(void)helper;
	return safe_path_open(path, SAFE_PATH_OWN, err);
}

static int look(struct helper *helper, const char *path, bool follow, struct stat *ret,
		struct err *err)
{
	(void)helper;
	_cleanup_close_ int found = safe_path_find(path, SAFE_PATH_OWN, follow, ret, err);
	return found < 0 ? -1 : 0;
}

/* As the helper, which does not trust who asks. *command: NULL if it refuses. */
static const char *program_of(const char *file, const char *profile)
{
	static char text[128];
	char *command = NULL;

	failure = (struct err)ERR_INIT;
	if (aws_credential_process(file, profile, &command, &failure) < 0)
		return "refused";
	snprintf(text, sizeof(text), "%s", command);
	free(command);
	return text;
}

static void test_program_of_chain(void)
{
	ok(!aws_has_credential_process(), "without a chain there is no program");
	is_str(program_of(NULL, "p"), "refused",
	       "a program of the default files needs a chain that uses them: %s", failure.msg);
	struct aws_chain *other = chain_for("x", NULL);
	ok(!aws_has_credential_process(), "a chain with another profile has no program");
	is_str(program_of(NULL, "p"), "refused", "it runs that of no other profile: %s",
	       failure.msg);
	struct aws_chain *chain = chain_for("p", NULL);
	ok(aws_has_credential_process(), "a chain with the profile has one");
	is_str(program_of(other_path, "default"), "refused",
	       "a program of a named file needs a chain that uses it: %s", failure.msg);
	is_str(program_of(NULL, "default"), "refused", "a program needs an existing profile: %s",
	       failure.msg);
	is_str(program_of(NULL, "p"), "/bin/keys \"a b\"", "the command line is complete: %s",
	       failure.msg);
	aws_chain_put(chain);
	aws_chain_put(other);
}

static void test_program_of_role(void)
{
	struct aws_chain *chain = chain_for("role", NULL);

	put(config_path,
	    "[profile role]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = p\n"
	    "credential_process = /bin/of-role\n"
	    "[profile p]\ncredential_process = /bin/keys\n"
	    "[profile loop]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = loop\n");
	is_str(program_of(NULL, "p"), "/bin/keys", "that of the source of a role: %s", failure.msg);
	is_str(program_of(NULL, "role"), "refused", "the role itself has none: %s", failure.msg);
	aws_chain_put(chain);
	chain = chain_for("loop", NULL);
	is_str(program_of(NULL, "p"), "refused", "a role that is its own source: %s", failure.msg);
	aws_chain_put(chain);
}

/* As root, from files of root only. */
static void test_program_of_others(void)
{
	struct aws_chain *chain = chain_for("p", NULL);

	if (chmod(config_path, 0666) < 0)
		abort();
	is_str(program_of(NULL, "p"), "refused", "of a file that others may write: %s",
	       failure.msg);
	ok(strstr(failure.msg, "chmod go-w"), "the message names the remedy");
	if (chmod(config_path, 0600) < 0 || chown(config_path, 1234, 1234) < 0)
		abort();
	is_str(program_of(NULL, "p"), "refused", "of a file that belongs to others: %s",
	       failure.msg);
	ok(strstr(failure.msg, "chown root"), "the message names the remedy");
	if (chown(config_path, 0, 0) < 0)
		abort();
	is_str(program_of(NULL, "p"), "/bin/keys", "of a file of root's again: %s", failure.msg);
	aws_chain_put(chain);
}

static void test_process(void)
{
	struct helper helper = {
		.run_program = run_process,
		.open_file = open_file,
		.look = look,
	};

	clear();
	serial = 0;
	status = 200;
	put(config_path, "[profile p]\ncredential_process = /bin/keys \"a b\"\n");
	put(other_path, "[default]\ncredential_process = other\n");
	is_str(ask("p", NULL), "failed: internal", "a program cannot run without a helper: %s",
	       failure.msg);
	ctx.helper = &helper;
	is_str(ask("p", NULL), "P1 SECRET -", "a program returns keys: %s", failure.msg);
	is_str(asked_profile, "p", "the helper gets the name of the profile");
	is_str(asked_file, "-", "the helper reads the files that the environment names");
	is_str(ask(NULL, other_path), "P2 SECRET -", "a program of a named file returns keys");
	is_str(asked_file, other_path, "the helper reads the named file");
	status = 1;
	is_str(ask("p", NULL), "failed: denied", "a program that fails is an error: %s",
	       failure.msg);
	ctx.helper = NULL;

	test_program_of_chain();
	test_program_of_role();
	test_program_of_others();
}

static void test_named_files(void)
{
	clear();
	put(config_path, "[profile p]\nweb_identity_token_file = /nowhere/web\n"
			 "ca_bundle = /nowhere/profile-ca\n");
	setenv("AWS_CA_BUNDLE", "/nowhere/ca", 1);
	ok(!aws_names_file(config_path) && !aws_names_file("/nowhere/ca"),
	   "no file is named without a chain");
	struct aws_chain *chain = chain_for("p", NULL);
	ok(aws_names_file(config_path) && aws_names_file(credentials_path),
	   "the files of a chain are named");
	ok(aws_names_file("/nowhere/web") && aws_names_file("/nowhere/profile-ca"),
	   "the files that a profile names are named");
	ok(aws_names_file("/nowhere/ca"), "a file that the environment names is named");
	ok(!aws_names_file(other_path) && !aws_names_file("/etc/shadow"), "no other file is named");
	aws_chain_put(chain);
	unsetenv("AWS_CA_BUNDLE");
}

int main(void)
{
	struct aws_server metadata = { .answer = answer_metadata }, sts = { .answer = answer_sts };
	struct err err = ERR_INIT;

	if (!mkdtemp(dir))
		abort();
	snprintf(config_path, sizeof(config_path), "%s/config", dir);
	snprintf(credentials_path, sizeof(credentials_path), "%s/credentials", dir);
	snprintf(token_path, sizeof(token_path), "%s/token", dir);
	snprintf(other_path, sizeof(other_path), "%s/other", dir);
	if (cancel_init(&cancel, &err) < 0 || http_new(&ctx.http, NULL, &cancel, &err) < 0)
		abort();
	aws_server_start(&metadata);
	aws_server_start(&sts);
	test_environment();
	test_files();
	test_rotation();
	test_process();
	test_named_files();
	test_metadata(&metadata);
	test_renewal(&metadata);
	test_sharing(&metadata);
	test_roles(&sts);
	test_endpoints_of_profiles(&sts);
	test_web_identity(&sts);
	http_free(ctx.http);
	aws_server_stop(&metadata);
	aws_server_stop(&sts);
	cancel_release(&cancel);
	clear();
	unlink(token_path);
	rmdir(dir);
	return tap_done();
}
