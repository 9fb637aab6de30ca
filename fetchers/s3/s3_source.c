#include "fetchers/s3/s3_source.h"

#include <string.h>

#include "base/log.h"
#include "base/utf8.h"
#include "base/util.h"
#include "http/http.h"
#include "fetchers/shared/http_rows.h"
#include "fetchers/shared/option_check.h"
#include "fetchers/s3/s3_bucket.h"

#define PART_SIZE_MIN	   (UINT64_C(64) << 10)
#define PART_SIZE_MAX	   (UINT64_C(5) << 30)
#define PARALLEL_PARTS_MAX 16

/* The default region of services other than AWS. */
#define REGION_ELSEWHERE "us-east-1"

/* ---- the options ---- */

/* In the order of the enums. */
static const char *const addressings[] = { "auto", "path", "virtual", NULL };
static const char *const content_codings[] = { "auto", "decode", "as-sent", NULL };
static const char *const checksums[] = { "auto", "require", "off", NULL };

static int check_region(const char *region, struct err *err)
{
	if (aws_is_region(region))
		return 0;
	return err_set(err, ERR_CONFIG, "\"%.64s\" is not a valid name, such as eu-west-1", region);
}

static int check_header_name(const char *name, struct err *err)
{
	if (!*name || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_"
				   "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != strlen(name))
		return err_set(err, ERR_CONFIG, "\"%.64s\" is not a header name", name);
	return 0;
}

static const struct option_spec rows[] = {
	{ .name = "bucket",
	  .type = OPTION_STRING,
	  OPTION_FIELD(s3_options, bucket),
	  .role = OPTION_IDENTITY,
	  .required = true,
	  .help = "the name of the bucket" },
	{ .name = "key",
	  .type = OPTION_STRING,
	  OPTION_FIELD(s3_options, key),
	  .role = OPTION_IDENTITY,
	  .check = s3_key_check,
	  .required = true,
	  .help = "the key of the object" },
	{ .name = "region",
	  .type = OPTION_STRING,
	  OPTION_FIELD(s3_options, region),
	  .role = OPTION_MANNER,
	  .check = check_region,
	  .help = "region of the bucket; left out: AWS_REGION, AWS_DEFAULT_REGION or the "
		  "profile's" },
	{ .name = "endpoint",
	  .type = OPTION_STRING,
	  OPTION_FIELD(s3_options, endpoint),
	  .role = OPTION_IDENTITY,
	  .check = s3_endpoint_check,
	  .help = "URL of a service other than AWS: MinIO, Ceph, R2, …; left out: "
		  "AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or the profile's" },
	{ .name = "use_fips_endpoint",
	  .type = OPTION_BOOL,
	  OPTION_FIELD(s3_options, use_fips_endpoint),
	  .role = OPTION_MANNER,
	  .default_text = "false",
	  .help = "AWS's FIPS hosts; left out: AWS_USE_FIPS_ENDPOINT or the profile's" },
	{ .name = "use_dualstack_endpoint",
	  .type = OPTION_BOOL,
	  OPTION_FIELD(s3_options, use_dualstack_endpoint),
	  .role = OPTION_MANNER,
	  .default_text = "false",
	  .help = "AWS's hosts with IPv4 and IPv6; left out: AWS_USE_DUALSTACK_ENDPOINT or the "
		  "profile's" },
	{ .name = "addressing",
	  .type = OPTION_WORD,
	  OPTION_FIELD(s3_options, addressing),
	  .role = OPTION_MANNER,
	  .words = addressings,
	  .default_text = "auto",
	  .help = "the bucket is in the path, or in the host name (virtual)" },
	{ .name = "version_id",
	  .type = OPTION_STRING,
	  OPTION_FIELD(s3_options, version_id),
	  .role = OPTION_IDENTITY,
	  .check = check_text,
	  .help = "a fixed version of the object; left out: the latest" },
	{ .name = "version_header",
	  .type = OPTION_STRING,
	  OPTION_FIELD(s3_options, version_header),
	  .role = OPTION_MANNER,
	  .check = check_header_name,
	  .help = "a response header whose value is shown as the version" },
	HTTP_ROW_CONTENT_TYPE(s3_options),
	{ .name = "profile",
	  .type = OPTION_STRING,
	  OPTION_FIELD(s3_options, profile),
	  .role = OPTION_MANNER,
	  .check = check_text,
	  .help = "profile in the AWS files; left out: AWS_PROFILE or \"default\"" },
	{ .name = "credentials_file",
	  .type = OPTION_STRING,
	  OPTION_FIELD(s3_options, credentials_file),
	  .role = OPTION_MANNER,
	  .check = check_path,
	  .names_file = true,
	  .help = "read instead of ~/.aws/credentials and ~/.aws/config" },
	{ .name = "anonymous",
	  .type = OPTION_BOOL,
	  OPTION_FIELD(s3_options, anonymous),
	  .role = OPTION_MANNER,
	  .default_text = "false",
	  .help = "do not sign requests: for public buckets" },
	{ .name = "requester_pays",
	  .type = OPTION_BOOL,
	  OPTION_FIELD(s3_options, requester_pays),
	  .role = OPTION_MANNER,
	  .default_text = "false",
	  .help = "agree to pay for the requests" },
	{ .name = "sse_c_key_file",
	  .type = OPTION_STRING,
	  OPTION_FIELD(s3_options, sse_c_key_file),
	  .role = OPTION_MANNER,
	  .check = check_path,
	  .names_file = true,
	  .help = "a file with the key that encrypts the object" },
	{ .name = "checksum",
	  .type = OPTION_WORD,
	  OPTION_FIELD(s3_options, checksum),
	  .role = OPTION_JUDGE,
	  .words = checksums,
	  .default_text = "auto",
	  .help = "x-amz-checksum-…: verify it if there is one, require it, or ignore it" },
	{ .name = "content_coding",
	  .type = OPTION_WORD,
	  OPTION_FIELD(s3_options, content_coding),
	  .role = OPTION_IDENTITY,
	  .words = content_codings,
	  .default_text = "auto",
	  .help = "gzip, br, zstd: decode the object, or take its bytes as sent (auto too)" },
	{ .name = "part_size",
	  .type = OPTION_SIZE,
	  OPTION_FIELD(s3_options, part_size_bytes),
	  .role = OPTION_MANNER,
	  .min = PART_SIZE_MIN,
	  .max = PART_SIZE_MAX,
	  .default_text = "16MiB",
	  .help = "larger objects are fetched in parallel ranges" },
	{ .name = "parallel_parts",
	  .type = OPTION_NUMBER,
	  OPTION_FIELD(s3_options, parallel_parts),
	  .role = OPTION_MANNER,
	  .min = 1,
	  .max = PARALLEL_PARTS_MAX,
	  .help = "how many ranges at once; left out: 4, but only if one transfer is slow" },
	HTTP_ROW_CA_FILE(s3_options),
	HTTP_ROW_PROXY(s3_options),
	HTTP_ROW_CONNECT_TIMEOUT(s3_options),
	HTTP_ROW_STALL_TIMEOUT(s3_options),
	{ .name = NULL },
};

const struct option_table s3_source_options = OPTION_TABLE(rows, s3_options);

/* ---- the region ---- */

static int find_region(const char *host, const char *bucket, struct aws_chain *chain,
		       struct helper *helper, char ret[AWS_REGION_SIZE], struct err *err)
{
	if (host && s3_host_region(host, bucket, ret))
		return 0;
	if (aws_chain_region(chain, helper, ret, AWS_REGION_SIZE) == 0) {
		if (aws_is_region(ret))
			return 0;
		return err_set(
			err, ERR_CONFIG,
			"region: \"%s\", from the environment or the profile, is not a valid "
			"name",
			ret);
	}
	if (!host)
		return err_set(err, ERR_CONFIG,
			       "region: required for AWS: as an option, as AWS_REGION, or in the "
			       "profile (for another service, set endpoint)");
	strcpy(ret, REGION_ELSEWHERE);
	return 0;
}

static int take_region(struct s3_source *source, const char *region, struct helper *helper,
		       struct err *err)
{
	const struct s3_location *location = &source->location;

	if (region)
		strcpy(source->location.region, region);
	else if (find_region(location->host, location->bucket, source->chain, helper,
			     source->location.region, err) < 0)
		return -1;
	strcpy(source->region, source->location.region);
	return 0;
}

static int get_chain(const struct s3_options *options, struct aws_chain **ret, struct err *err)
{
	const struct aws_chain_setup setup = {
		.profile = options->profile,
		.credentials_file = options->credentials_file,
		.anonymous = options->anonymous,
	};

	return aws_chain_get(ret, &setup, err);
}

/* ---- how the options go together ---- */

static void check_credentials(const struct s3_options *options, struct option_problems *problems)
{
	if (options->anonymous && options->profile)
		option_problem(problems, "profile", "anonymous",
			       "anonymous and profile exclude each other");
	if (options->anonymous && options->credentials_file)
		option_problem(problems, "credentials_file", "anonymous",
			       "anonymous and credentials_file exclude each other");
	if (options->anonymous && options->requester_pays)
		option_problem(problems, "requester_pays", "anonymous",
			       "anonymous and requester_pays exclude each other: an anonymous "
			       "requester cannot pay");
}

static void check_bucket(const struct s3_options *options, const struct s3_location *location,
			 struct option_problems *problems)
{
	struct err of_name = ERR_INIT, of_address = ERR_INIT;
	const char *other;

	if (s3_bucket_check(options->bucket, location->host, &of_name) < 0)
		option_problem(problems, "bucket", "endpoint", "%s", of_name.msg);
	if (options->addressing == S3_ADDRESSING_VIRTUAL &&
	    s3_location_check_virtual(location, &other, &of_address) < 0)
		option_problem(problems, "addressing", other, "%s", of_address.msg);
}

static void check_region_is_known(const struct s3_options *options,
				  const struct s3_location *location,
				  struct option_problems *problems)
{
	char ignored[AWS_REGION_SIZE];
	struct aws_chain *chain = NULL;
	struct err err = ERR_INIT;

	if (get_chain(options, &chain, &err) < 0 ||
	    find_region(location->host, options->bucket, chain, NULL, ignored, &err) < 0)
		option_problem(problems, "region", "endpoint", "%s", err.msg);
	aws_chain_put(chain);
}

void s3_source_check(const void *values, struct option_problems *problems)
{
	const struct s3_options *options = values;
	_cleanup_(s3_location_release) struct s3_location location = { options->bucket };
	struct err err = ERR_INIT;

	if (s3_location_set_endpoint(&location, options->endpoint, &err) < 0)
		option_problem(problems, "endpoint", NULL, "endpoint: %s", err.msg);
	check_credentials(options, problems);
	if (options->sse_c_key_file && !location.is_tls && !http_is_loopback(location.host))
		option_problem(problems, "sse_c_key_file", "endpoint",
			       "sse_c_key_file: the key would be sent unencrypted: endpoint must "
			       "begin with https://");
	if (options->bucket)
		check_bucket(options, &location, problems);
	if (options->bucket && !options->region)
		check_region_is_known(options, &location, problems);
}

/* ---- address and names ---- */

static int name_origin(struct s3_source *source, struct err *err)
{
	_cleanup_(s3_address_release) struct s3_address address = S3_ADDRESS_INIT;

	if (s3_address_make(&source->location, source->location.region, &address, err) < 0)
		return -1;
	if (asprintf(&source->origin, "%s%s", s3_scheme(&source->location), address.host) < 0) {
		source->origin = NULL;
		return err_set(err, ERR_INTERNAL, "s3: out of memory");
	}
	return 0;
}

/* Characters with a meaning in a URL. */
static bool is_special(unsigned char c)
{
	return c < ' ' || c == 0x7f || c == '%' || c == '?' || c == '#';
}

/* In the form that s3_source_from_url() accepts. */
static int name_url(struct s3_source *source, struct err *err)
{
	_cleanup_free_ char *key = malloc(3 * strlen(source->location.key) + 1);
	const char *host = source->location.host;
	char *end = key;

	for (const char *c = source->location.key; key && *c; c++)
		end += sprintf(end, is_special((unsigned char)*c) ? "%%%02X" : "%c",
			       (unsigned char)*c);
	if (!key || asprintf(&source->url, "s3://%s/%s%s%s%s%s", source->location.bucket, key,
			     host ? "?endpoint=" : "", host ? s3_scheme(&source->location) : "",
			     host ? host : "", source->location.prefix) < 0) {
		source->url = NULL;
		return err_set(err, ERR_INTERNAL, "s3: out of memory");
	}
	return 0;
}

const char *s3_source_shown(const struct s3_source *source, char ret[S3_SHOWN_SIZE])
{
	const char *url = source->url;
	size_t len = strcspn(url, "?"), head = len, tail = len;

	if (len >= S3_SHOWN_SIZE) {
		head = utf8_cut(url, S3_SHOWN_SIZE / 2 - 2);
		tail = utf8_cut(url, len - (S3_SHOWN_SIZE / 2 - 6));
	}
	snprintf(ret, S3_SHOWN_SIZE, "%.*s%s%.*s", (int)head, url, tail > head ? "…" : "",
		 (int)(len - tail), url + tail);
	return ret;
}

void s3_source_warn(struct s3_source *source, enum s3_warning warning)
{
	static const struct {
		const char *event, *text;
	} warnings[] = {
		[S3_WARNS_UNCONDITIONAL] = { "if_none_match_ignored",
					     "the service sends the object even if it has not "
					     "changed: each check downloads it" },
		[S3_WARNS_NO_VERSION] = { "no_version",
					  "the service sends neither ETag nor Last-Modified: each "
					  "check downloads the object" },
		[S3_WARNS_ETAGS] = { "etags_are_not_md5",
				     "the ETags of the service are not MD5s of the content, and it "
				     "sends no checksum: downloads are not verified" },
		[S3_WARNS_CODED] = { "coded_object",
				     "the object has a Content-Encoding and is served as stored "
				     "(content_coding = decode decodes it, as-sent is silent)" },
	};

	pthread_mutex_lock(&source->lock);
	bool is_first = !source->has_warned[warning];
	source->has_warned[warning] = true;
	pthread_mutex_unlock(&source->lock);
	if (is_first)
		log_event(LOG_LEVEL_WARNING, warnings[warning].event,
			  LOG_STR("source", source->url), LOG_STR("error", warnings[warning].text));
}

/* ---- life ---- */

static void source_cleanup(struct s3_source **source)
{
	s3_source_free(*source);
}

int s3_source_init(void **ret_state, const void *options, struct helper *helper, struct err *err)
{
	_cleanup_(source_cleanup) struct s3_source *source = calloc(1, sizeof(*source));
	const struct s3_options *given = options;

	if (!source)
		return err_set(err, ERR_INTERNAL, "s3: out of memory");
	struct s3_location *location = &source->location;
	pthread_mutex_init(&source->lock, NULL);
	source->options = given;
	location->bucket = given->bucket;
	location->key = given->key;
	location->is_fips = given->use_fips_endpoint;
	location->is_dualstack = given->use_dualstack_endpoint;
	if (s3_location_set_endpoint(location, given->endpoint, err) < 0)
		return -1;
	s3_location_set_addressing(location, given->addressing);
	if (get_chain(given, &source->chain, err) < 0 ||
	    take_region(source, given->region, helper, err) < 0 || name_origin(source, err) < 0 ||
	    name_url(source, err) < 0)
		return -1;
	*ret_state = steal_ptr(&source);
	return 0;
}

void s3_source_free(void *state)
{
	struct s3_source *source = state;

	if (!source)
		return;
	aws_chain_put(source->chain);
	pthread_mutex_destroy(&source->lock);
	s3_location_release(&source->location);
	free(source->origin);
	free(source->url);
	free(source);
}

const char *s3_source_describe(void *state)
{
	return ((const struct s3_source *)state)->url;
}

const char *s3_source_origin(void *state)
{
	return ((const struct s3_source *)state)->origin;
}
