#include "fetchers/s3/s3_source.h"

#include <string.h>

#include "base/utf8.h"
#include "base/util.h"
#include "fetchers/shared/media_type.h"
#include "fetchers/shared/option_check.h"
#include "http/http.h"
#include "fetchers/s3/s3_bucket.h"

#define PART_SIZE_MIN	   (UINT64_C(64) << 10)
#define PART_SIZE_MAX	   (UINT64_C(5) << 30)
#define PARALLEL_PARTS_MAX 16

/* The default region of services other than AWS. */
#define REGION_ELSEWHERE "us-east-1"

/* ---- the options ---- */

/* The place of text among the words; they are in the order of the enum. */
static int parse_word(const char *text, const char *const *words, int64_t *ret, struct err *err)
{
	for (int64_t i = 0; words[i]; i++) {
		if (strcmp(text, words[i]) == 0) {
			*ret = i;
			return 0;
		}
	}
	return err_set(err, ERR_CONFIG, "\"%.64s\" is not one of %s, %s, %s", text, words[0],
		       words[1], words[2]);
}

static int parse_addressing(const char *text, int64_t *ret, struct err *err)
{
	static const char *const words[] = { "auto", "path", "virtual", NULL };

	return parse_word(text, words, ret, err);
}

static int parse_checksum(const char *text, int64_t *ret, struct err *err)
{
	static const char *const words[] = { "auto", "require", "off", NULL };

	return parse_word(text, words, ret, err);
}

const struct option_spec s3_source_options[] = {
	{ .name = "bucket", .type = OPTION_STRING, .required = true, .help = "its name" },
	{ .name = "key", .type = OPTION_STRING, .required = true, .help = "of the object" },
	{ .name = "region",
	  .type = OPTION_STRING,
	  .help = "of the bucket; left out: AWS_REGION, AWS_DEFAULT_REGION or the profile's" },
	{ .name = "endpoint",
	  .type = OPTION_STRING,
	  .help = "URL of another service than AWS: MinIO, Ceph, R2, …" },
	{ .name = "addressing",
	  .type = OPTION_CUSTOM,
	  .default_text = "auto",
	  .parse = parse_addressing,
	  .help = "the bucket stands in the path or in the host's name (virtual)" },
	{ .name = "version_id",
	  .type = OPTION_STRING,
	  .help = "a fixed version of the object; left out: the latest" },
	{ .name = "version_header",
	  .type = OPTION_STRING,
	  .help = "a response header whose value is shown as the version" },
	{ .name = "content_type",
	  .type = OPTION_STRINGS,
	  .help = "media types that are taken, such as \"text/*\"; left out: any" },
	{ .name = "profile",
	  .type = OPTION_STRING,
	  .help = "of the AWS files; left out: AWS_PROFILE or \"default\"" },
	{ .name = "credentials_file",
	  .type = OPTION_STRING,
	  .names_file = true,
	  .help = "read instead of ~/.aws/credentials and ~/.aws/config" },
	{ .name = "anonymous",
	  .type = OPTION_BOOL,
	  .default_text = "false",
	  .help = "do not sign: for buckets that everybody may read" },
	{ .name = "requester_pays",
	  .type = OPTION_BOOL,
	  .default_text = "false",
	  .help = "agree to pay for the requests" },
	{ .name = "sse_c_key_file",
	  .type = OPTION_STRING,
	  .names_file = true,
	  .help = "a file with the key that the object is encrypted with" },
	{ .name = "checksum",
	  .type = OPTION_CUSTOM,
	  .default_text = "auto",
	  .parse = parse_checksum,
	  .help = "x-amz-checksum-…: checked if there is one, required, or not asked for" },
	{ .name = "part_size",
	  .type = OPTION_SIZE,
	  .default_text = "16MiB",
	  .help = "larger objects are fetched in ranges, side by side" },
	{ .name = "parallel_parts",
	  .type = OPTION_INT,
	  .default_text = "4",
	  .help = "how many at once; left out: as many, where one transfer is slow" },
	{ .name = "ca_file",
	  .type = OPTION_STRING,
	  .names_file = true,
	  .help = "a PEM file of CAs that are trusted instead of the system's" },
	{ .name = "proxy",
	  .type = OPTION_STRING,
	  .secret = true,
	  .help = "URL of a proxy; left out: from http_proxy and the like; \"\": none" },
	{ .name = "connect_timeout",
	  .type = OPTION_DURATION,
	  .default_text = "10s",
	  .help = "for name, connection and TLS" },
	{ .name = "stall_timeout",
	  .type = OPTION_DURATION,
	  .default_text = "30s",
	  .help = "less than 1 KiB in this time: given up" },
	{ .name = NULL },
};

/* ---- checks ---- */

static int check_text(const char *option, const char *text, struct err *err)
{
	if (text && !*text)
		return err_set(err, ERR_CONFIG, "%s: must not be empty", option);
	return check_line(option, text, err);
}

static int check_header_name(const char *name, struct err *err)
{
	if (name && (!*name || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_"
					    "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != strlen(name)))
		return err_set(err, ERR_CONFIG, "version_header: \"%.64s\" is not a header name",
			       name);
	return 0;
}

static int check_sse(const struct s3_source *source, struct err *err)
{
	if (source->sse_c_key_file && !source->location.is_tls &&
	    !http_is_loopback(source->location.host))
		return err_set(
			err, ERR_CONFIG,
			"sse_c_key_file: the key would be sent unencrypted: endpoint must begin "
			"with https://");
	return check_path("sse_c_key_file", source->sse_c_key_file, err);
}

static int check_credentials(const struct options *options, struct err *err)
{
	const char *profile = options_string(options, "profile");
	const char *file = options_string(options, "credentials_file");

	if (options_bool(options, "anonymous") && (profile || file))
		return err_set(err, ERR_CONFIG, "anonymous and %s exclude each other",
			       profile ? "profile" : "credentials_file");
	if (options_bool(options, "anonymous") && options_bool(options, "requester_pays"))
		return err_set(err, ERR_CONFIG,
			       "anonymous and requester_pays exclude each other: an anonymous "
			       "requester cannot pay");
	if (check_text("profile", profile, err) < 0)
		return -1;
	return check_path("credentials_file", file, err);
}

static int check_numbers(const struct s3_source *source, int64_t parallel_parts, struct err *err)
{
	if (source->part_size_bytes < PART_SIZE_MIN || source->part_size_bytes > PART_SIZE_MAX)
		return err_set(err, ERR_CONFIG, "part_size: 64KiB to 5GiB");
	if (parallel_parts < 1 || parallel_parts > PARALLEL_PARTS_MAX)
		return err_set(err, ERR_CONFIG, "parallel_parts: 1 to %d", PARALLEL_PARTS_MAX);
	return check_timeouts(source->connect_timeout_ms, source->stall_timeout_ms, err);
}

static int check(const struct s3_source *source, const struct options *options, struct err *err)
{
	if (s3_bucket_check(source->location.bucket, source->location.host, err) < 0 ||
	    s3_key_check(source->location.key, err) < 0 ||
	    check_text("version_id", source->version_id, err) < 0 ||
	    media_type_check(source->content_types, err) < 0 ||
	    check_header_name(source->version_header, err) < 0 ||
	    check_credentials(options, err) < 0 || check_sse(source, err) < 0 ||
	    check_path("ca_file", source->ca_file, err) < 0 ||
	    check_line("proxy", source->proxy, err) < 0)
		return -1;
	return check_numbers(source, options_int(options, "parallel_parts"), err);
}

/* ---- address and names ---- */

static int find_region(const struct s3_source *source, struct helper *helper,
		       char ret[AWS_REGION_SIZE], struct err *err)
{
	const char *host = source->location.host;

	if (host && s3_host_region(host, source->location.bucket, ret))
		return 0;
	if (aws_chain_region(source->chain, helper, ret, AWS_REGION_SIZE) == 0) {
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
	if (region && !aws_is_region(region))
		return err_set(err, ERR_CONFIG,
			       "region: \"%.64s\" is not a valid name, such as eu-west-1", region);
	if (region)
		strcpy(source->location.region, region);
	else if (find_region(source, helper, source->location.region, err) < 0)
		return -1;
	strcpy(source->region, source->location.region);
	return 0;
}

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

/* ---- life ---- */

static void source_cleanup(struct s3_source **source)
{
	s3_source_free(*source);
}

static void take_options(struct s3_source *source, const struct options *options)
{
	source->location.bucket = options_string(options, "bucket");
	source->location.key = options_string(options, "key");
	source->version_id = options_string(options, "version_id");
	source->version_header = options_string(options, "version_header");
	source->content_types = options_strings(options, "content_type", NULL);
	source->sse_c_key_file = options_string(options, "sse_c_key_file");
	source->ca_file = options_string(options, "ca_file");
	source->proxy = options_string(options, "proxy");
	source->requester_pays = options_bool(options, "requester_pays");
	source->anonymous = options_bool(options, "anonymous");
	source->checksum = (enum s3_checksum_mode)options_int(options, "checksum");
	source->part_size_bytes = options_size_bytes(options, "part_size");
	source->parallel_parts = (uint32_t)options_int(options, "parallel_parts");
	source->is_parallel = options_is_set(options, "parallel_parts");
	source->connect_timeout_ms = options_duration_ms(options, "connect_timeout");
	source->stall_timeout_ms = options_duration_ms(options, "stall_timeout");
}

int s3_source_init(void **ret_state, const struct options *options, struct helper *helper,
		   struct err *err)
{
	_cleanup_(source_cleanup) struct s3_source *source = calloc(1, sizeof(*source));
	const struct aws_chain_setup setup = {
		.profile = options_string(options, "profile"),
		.credentials_file = options_string(options, "credentials_file"),
		.anonymous = options_bool(options, "anonymous"),
	};
	enum s3_addressing addressing = (enum s3_addressing)options_int(options, "addressing");

	if (!source)
		return err_set(err, ERR_INTERNAL, "s3: out of memory");
	struct s3_location *location = &source->location;
	pthread_mutex_init(&source->lock, NULL);
	take_options(source, options);
	if (s3_location_set_endpoint(location, options_string(options, "endpoint"), err) < 0 ||
	    check(source, options, err) < 0 ||
	    s3_location_set_addressing(location, addressing, err) < 0 ||
	    aws_chain_get(&source->chain, &setup, err) < 0 ||
	    take_region(source, options_string(options, "region"), helper, err) < 0 ||
	    name_origin(source, err) < 0 || name_url(source, err) < 0)
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
