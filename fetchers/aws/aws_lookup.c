/*
 * aws_credentials.h has the order of providers. The order within a profile is that of the AWS SDK
 * for Go v2: a role with web identity, a role with a source, static keys, credential_process. A
 * provider that exists but fails ends the search: with another provider, requests would be signed
 * with another identity.
 */
#include "fetchers/aws/aws_lookup.h"

#include <string.h>

#include "base/helper.h"
#include "base/secret.h"
#include "fetchers/aws/aws_endpoint.h"
#include "fetchers/aws/aws_env.h"
#include "fetchers/aws/aws_keys_json.h"
#include "fetchers/aws/aws_metadata.h"
#include "fetchers/aws/aws_profile.h"
#include "fetchers/aws/aws_sts.h"

#define ROLES_MAX  8 /* each is the source of the next */
#define WHERE_SIZE 160

/* One search. */
struct search {
	const struct aws_lookup *lookup;
	struct fetch_ctx *ctx;
	const struct aws_profiles *profiles; /* NULL: not read yet */
	const char *region;		     /* for STS; NULL: none */
	const char *visited[ROLES_MAX];	     /* profiles whose role needs its source first */
	size_t n_visited;
};

static enum aws_found find_in_profile(struct search *search, const char *profile,
				      struct aws_keys **ret, struct err *err);

static enum aws_found found_if(int rc)
{
	return rc < 0 ? AWS_FAILED : AWS_FOUND;
}

/* ---- the security token service ---- */

/* base: as for aws_role_keys(). */
static int role_keys(struct search *search, const struct aws_role *role,
		     const struct aws_keys *base, struct aws_keys **ret, struct err *err)
{
	const char *profile = aws_lookup_profile(search->lookup);
	struct aws_role asked = *role;
	struct aws_endpoint endpoint;
	struct aws_setting ca_bundle;

	if (aws_endpoint_find(search->profiles, profile, "sts", &endpoint, err) < 0 ||
	    aws_endpoint_check(&endpoint, err) < 0)
		return -1;
	aws_endpoint_find_ca_bundle(search->profiles, profile, &ca_bundle);
	asked.region = search->region;
	asked.ca_file = ca_bundle.value;
	asked.endpoint = &endpoint;
	return aws_role_keys(search->ctx, &asked, base, ret, err);
}

/* ---- environment ---- */

static enum aws_found find_in_environment(struct aws_keys **ret, struct err *err)
{
	struct aws_key_texts texts = {
		.access_key = aws_env("AWS_ACCESS_KEY_ID"),
		.secret_key = aws_env("AWS_SECRET_ACCESS_KEY"),
		.session_token = aws_env("AWS_SESSION_TOKEN"),
	};

	if (!texts.access_key && !texts.secret_key) {
		err_set(err, ERR_DENIED, "no AWS_ACCESS_KEY_ID");
		return AWS_ABSENT;
	}
	return found_if(aws_keys_new(ret, &texts, "AWS_ACCESS_KEY_ID in the environment", err));
}

static enum aws_found find_web_identity(struct search *search, struct aws_keys **ret,
					struct err *err)
{
	struct aws_role role = {
		.arn = aws_env("AWS_ROLE_ARN"),
		.session_name = aws_env("AWS_ROLE_SESSION_NAME"),
		.token_file = aws_env("AWS_WEB_IDENTITY_TOKEN_FILE"),
	};

	if (!role.token_file) {
		err_set(err, ERR_DENIED, "no AWS_WEB_IDENTITY_TOKEN_FILE");
		return AWS_ABSENT;
	}
	if (!role.arn) {
		err_set(err, ERR_DENIED, "AWS_WEB_IDENTITY_TOKEN_FILE without AWS_ROLE_ARN");
		return AWS_FAILED;
	}
	return found_if(role_keys(search, &role, NULL, ret, err));
}

static enum aws_found find_instance(struct search *search, const char *profile,
				    struct aws_keys **ret, struct err *err)
{
	struct aws_instance_setup setup = {
		.endpoint = aws_profiles_get(search->profiles, profile,
					     "ec2_metadata_service_endpoint"),
		.endpoint_mode = aws_profiles_get(search->profiles, profile,
						  "ec2_metadata_service_endpoint_mode"),
	};

	return aws_instance_keys(search->ctx, &setup, ret, err);
}

/* ---- profile ---- */

static const char *setting(const struct search *search, const char *profile, const char *name)
{
	return aws_profiles_get(search->profiles, profile, name);
}

static int find_static(struct search *search, const char *profile, struct aws_keys **ret,
		       struct err *err)
{
	char where[WHERE_SIZE];
	struct aws_key_texts texts = {
		.access_key = setting(search, profile, "aws_access_key_id"),
		.secret_key = setting(search, profile, "aws_secret_access_key"),
		.session_token = setting(search, profile, "aws_session_token"),
	};

	snprintf(where, sizeof(where), "profile \"%.128s\"", profile);
	return aws_keys_new(ret, &texts, where, err);
}

static bool has_static(const struct aws_profiles *profiles, const char *profile)
{
	return aws_profiles_get(profiles, profile, "aws_access_key_id") ||
	       aws_profiles_get(profiles, profile, "aws_secret_access_key");
}

static int run_process(struct search *search, const char *profile, struct aws_keys **ret,
		       struct err *err)
{
	struct helper *helper = search->ctx->helper;
	_cleanup_secret_ char *output = secret_new(HELPER_OUTPUT_MAX);
	char where[WHERE_SIZE];
	size_t len;

	snprintf(where, sizeof(where), "credential_process of profile \"%.100s\"", profile);
	if (!output)
		return err_set(err, ERR_INTERNAL, "%s: out of memory", where);
	if (!helper)
		return err_set(err, ERR_INTERNAL, "%s: no helper can run it", where);
	if (helper->run_program(helper, search->ctx->cancel, "credential_process",
				search->lookup->credentials_file, profile, output, &len, err) < 0)
		return err_prefix(err, "%s", where);
	return aws_keys_from_json(ret, AWS_JSON_PROCESS, output, len, where, err);
}

/* ---- roles ---- */

static int fail_profile(const char *profile, const char *what, struct err *err)
{
	return err_set(err, ERR_DENIED, "profile \"%.128s\": %s", profile, what);
}

static enum aws_found find_named_source(struct search *search, const char *profile,
					const char *source, struct aws_keys **ret, struct err *err)
{
	if (strcmp(source, "Environment") == 0)
		return find_in_environment(ret, err);
	if (strcmp(source, "EcsContainer") == 0)
		return aws_container_keys(search->ctx, ret, err);
	if (strcmp(source, "Ec2InstanceMetadata") == 0)
		return find_instance(search, profile, ret, err);
	fail_profile(profile,
		     "credential_source is not Environment, EcsContainer or Ec2InstanceMetadata",
		     err);
	return AWS_FAILED;
}

static bool is_visited(const struct search *search, const char *profile)
{
	for (size_t i = 0; i < search->n_visited; i++) {
		if (strcmp(search->visited[i], profile) == 0)
			return true;
	}
	return false;
}

/* A profile may be the source of its own role if it has static keys, which then come first. */
static enum aws_found find_source_profile(struct search *search, const char *profile,
					  const char *source, struct aws_keys **ret,
					  struct err *err)
{
	if (strcmp(source, profile) == 0) {
		if (has_static(search->profiles, source))
			return found_if(find_static(search, source, ret, err));
		fail_profile(profile, "it is its own source_profile but has no keys", err);
		return AWS_FAILED;
	}
	if (is_visited(search, source) || search->n_visited == ROLES_MAX) {
		fail_profile(profile, "source_profile forms a circle", err);
		return AWS_FAILED;
	}
	if (!aws_profiles_have(search->profiles, source)) {
		err_set(err, ERR_DENIED,
			"profile \"%.100s\": its source_profile \"%.100s\" does not exist", profile,
			source);
		return AWS_FAILED;
	}
	return find_in_profile(search, source, ret, err);
}

static int find_base(struct search *search, const char *profile, struct aws_keys **ret,
		     struct err *err)
{
	const char *source_profile = setting(search, profile, "source_profile");
	const char *credential_source = setting(search, profile, "credential_source");

	if (!source_profile == !credential_source)
		return fail_profile(
			profile, "role_arn needs one of source_profile and credential_source", err);
	if (setting(search, profile, "mfa_serial"))
		return fail_profile(profile, "mfa_serial: rptfs cannot enter a code", err);
	search->visited[search->n_visited++] = profile;
	enum aws_found found =
		source_profile ? find_source_profile(search, profile, source_profile, ret, err)
			       : find_named_source(search, profile, credential_source, ret, err);
	if (found != AWS_FOUND)
		return err_prefix(err, "role of profile \"%.100s\"", profile);
	return 0;
}

static int find_role(struct search *search, const char *profile, const char *arn,
		     struct aws_keys **ret, struct err *err)
{
	_cleanup_(aws_keys_free_cleanup) struct aws_keys *base = NULL;
	struct aws_role role = {
		.arn = arn,
		.session_name = setting(search, profile, "role_session_name"),
		.external_id = setting(search, profile, "external_id"),
		.duration_seconds = setting(search, profile, "duration_seconds"),
		.token_file = setting(search, profile, "web_identity_token_file"),
	};

	if (!role.token_file && find_base(search, profile, &base, err) < 0)
		return -1;
	return role_keys(search, &role, base, ret, err);
}

static enum aws_found find_in_profile(struct search *search, const char *profile,
				      struct aws_keys **ret, struct err *err)
{
	const char *role_arn = setting(search, profile, "role_arn");

	if (role_arn)
		return found_if(find_role(search, profile, role_arn, ret, err));
	if (has_static(search->profiles, profile))
		return found_if(find_static(search, profile, ret, err));
	if (setting(search, profile, "credential_process"))
		return found_if(run_process(search, profile, ret, err));
	if (setting(search, profile, "sso_start_url") || setting(search, profile, "sso_session") ||
	    setting(search, profile, "login_session")) {
		fail_profile(profile,
			     "needs an interactive login; use credential_process = aws configure "
			     "export-credentials --profile NAME instead",
			     err);
		return AWS_FAILED;
	}
	if (*aws_profiles_problem(search->profiles))
		err_set(err, ERR_DENIED, "%s", aws_profiles_problem(search->profiles));
	else
		err_set(err, ERR_DENIED,
			aws_profiles_have(search->profiles, profile)
				? "profile \"%.128s\" has no keys"
				: "there is no profile \"%.128s\"",
			profile);
	return AWS_ABSENT;
}

/* ---- the chain ---- */

static bool is_restricted(const struct aws_lookup *lookup)
{
	return lookup->profile || lookup->credentials_file;
}

const char *aws_lookup_profile(const struct aws_lookup *lookup)
{
	const char *name = lookup->profile;

	if (!name && !lookup->credentials_file)
		name = aws_env("AWS_PROFILE");
	if (!name && !lookup->credentials_file)
		name = aws_env("AWS_DEFAULT_PROFILE");
	return name ? name : "default";
}

static const char *region_of(const struct aws_lookup *lookup, const struct aws_profiles *profiles)
{
	const char *region = aws_env("AWS_REGION");

	if (!region)
		region = aws_env("AWS_DEFAULT_REGION");
	if (!region && profiles)
		region = aws_profiles_get(profiles, aws_lookup_profile(lookup), "region");
	return region;
}

/* No provider has keys: one error with the reasons of the profile and of the last provider. */
static int fail_chain(const struct err *profile, const struct err *last, struct err *err)
{
	return err_set(err, last->kind,
		       "no credentials: none in the environment; %.160s; no container endpoint; "
		       "%.160s",
		       profile->msg, last->msg);
}

static int find_in_files(struct search *search, struct aws_keys **ret, struct err *err)
{
	const char *profile = aws_lookup_profile(search->lookup);
	bool is_named = strcmp(profile, "default") != 0;
	struct err in_profile = ERR_INIT, last = ERR_INIT;

	enum aws_found found = find_in_profile(search, profile, ret, &in_profile);
	/* A profile that the environment names must exist, but may have no keys of its own. */
	bool goes_on = !is_restricted(search->lookup) &&
		       (!is_named || aws_profiles_have(search->profiles, profile));
	if (found == AWS_ABSENT && goes_on) {
		found = aws_container_keys(search->ctx, ret, &last);
		if (found == AWS_ABSENT)
			found = find_instance(search, profile, ret, &last);
		if (found == AWS_ABSENT)
			return fail_chain(&in_profile, &last, err);
		if (found == AWS_FAILED)
			*err = last;
	} else if (found != AWS_FOUND) {
		*err = in_profile;
	}
	return found == AWS_FOUND ? 0 : -1;
}

int aws_lookup_keys(const struct aws_lookup *lookup, struct fetch_ctx *ctx, struct aws_keys **ret,
		    bool *ret_from_files, struct err *err)
{
	_cleanup_(aws_profiles_free_cleanup) struct aws_profiles *profiles = NULL;
	struct search search = { .lookup = lookup, .ctx = ctx, .region = region_of(lookup, NULL) };

	if (!is_restricted(lookup)) {
		struct err in_environment = ERR_INIT;
		enum aws_found found = find_in_environment(ret, &in_environment);
		*ret_from_files = false;
		if (found == AWS_ABSENT)
			found = find_web_identity(&search, ret, &in_environment);
		if (found == AWS_FAILED)
			*err = in_environment;
		if (found != AWS_ABSENT)
			return found == AWS_FOUND ? 0 : -1;
	}
	*ret_from_files = true;
	if (aws_profiles_load(&profiles, ctx->helper, lookup->paths, err) < 0)
		return -1;
	search.profiles = profiles;
	search.region = region_of(lookup, profiles);
	return find_in_files(&search, ret, err);
}

int aws_lookup_region(const struct aws_lookup *lookup, struct helper *helper, char *ret,
		      size_t size)
{
	_cleanup_(aws_profiles_free_cleanup) struct aws_profiles *profiles = NULL;
	struct err ignored = ERR_INIT;
	const char *region = region_of(lookup, NULL);

	if (!region && aws_profiles_load(&profiles, helper, lookup->paths, &ignored) == 0)
		region = region_of(lookup, profiles);
	if (!region || strlen(region) >= size)
		return -1;
	snprintf(ret, size, "%s", region);
	return 0;
}

const char *aws_lookup_program(const struct aws_lookup *lookup, const struct aws_profiles *profiles,
			       const char **ret_profile)
{
	const char *profile = aws_lookup_profile(lookup);

	for (size_t i = 0; i <= ROLES_MAX && profile; i++) {
		if (!aws_profiles_get(profiles, profile, "role_arn")) {
			*ret_profile = profile;
			return has_static(profiles, profile)
				       ? NULL
				       : aws_profiles_get(profiles, profile, "credential_process");
		}
		profile = aws_profiles_get(profiles, profile, "web_identity_token_file")
				  ? NULL
				  : aws_profiles_get(profiles, profile, "source_profile");
	}
	return NULL;
}
