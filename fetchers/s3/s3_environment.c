/*
 * s3_environment: options that a block leaves out, from the environment and the files of the AWS
 * tools: endpoint, use_fips_endpoint, use_dualstack_endpoint and ca_file.
 *
 * The option endpoint decides alone: with it, neither another endpoint counts, nor what the
 * environment says about FIPS and dual-stack.
 */
#include <string.h>

#include "base/util.h"
#include "fetchers/aws/aws_endpoint.h"
#include "fetchers/aws/aws_files.h"
#include "fetchers/aws/aws_lookup.h"
#include "fetchers/aws/aws_profile.h"
#include "fetchers/s3/s3_address.h"
#include "fetchers/s3/s3_source.h"

struct found {
	struct aws_endpoint endpoint;
	struct aws_setting ca_bundle;
};

static bool is_given(const struct options *options, const char *name)
{
	return options_is_given(options, option_find(options->table, name));
}

/* ---- finding ---- */

/* Looks only for what the block does not set. profiles: NULL: only in the environment. */
static int find_in(const struct options *options, const struct aws_profiles *profiles,
		   const char *profile, struct found *ret, struct err *err)
{
	*ret = (struct found){ .ca_bundle.value = NULL };
	if (!is_given(options, "endpoint") &&
	    aws_endpoint_find(profiles, profile, "s3", &ret->endpoint, err) < 0)
		return -1;
	if (!is_given(options, "ca_file"))
		aws_endpoint_find_ca_bundle(profiles, profile, &ret->ca_bundle);
	return 0;
}

/* A broken file is an error of each request for keys, which ends when the file is mended. It is an
 * error here only if it may hold the endpoint. Otherwise *ret stays NULL. */
static int load(const struct options *options, const struct aws_paths *paths,
		struct aws_profiles **ret, struct err *err)
{
	struct err why = ERR_INIT;

	if (aws_profiles_load_settings(ret, paths, &why) == 0 ||
	    (why.kind == ERR_DENIED && is_given(options, "endpoint")))
		return 0;
	*err = why;
	return -1;
}

/* An endpoint or a CA file decides where requests go, or which file the helper opens. So both count
 * only in a file that no other user can change. */
static int load_trusted(const struct found *found, const struct aws_paths *paths,
			struct aws_profiles **ret, struct err *err)
{
	bool is_url = found->endpoint.url.is_from_file;

	if (aws_profiles_load_trusted(ret, paths, err) == 0)
		return 0;
	return err_prefix(err, "%s (the option %s would replace it)",
			  is_url ? found->endpoint.url.from : found->ca_bundle.from,
			  is_url ? "endpoint" : "ca_file");
}

/* *ret_profiles: owned by the caller; *ret points into it. */
static int find(const struct options *options, const struct aws_lookup *lookup,
		struct aws_profiles **ret_profiles, struct found *ret, struct err *err)
{
	_cleanup_(aws_profiles_free_cleanup) struct aws_profiles *profiles = NULL;
	const char *profile = aws_lookup_profile(lookup);

	if (load(options, lookup->paths, &profiles, err) < 0 ||
	    find_in(options, profiles, profile, ret, err) < 0)
		return -1;
	if (ret->endpoint.url.is_from_file || ret->ca_bundle.is_from_file) {
		struct aws_profiles *trusted = NULL;
		if (load_trusted(ret, lookup->paths, &trusted, err) < 0)
			return -1;
		aws_profiles_free(profiles);
		profiles = trusted;
		if (find_in(options, profiles, profile, ret, err) < 0)
			return -1;
	}
	*ret_profiles = steal_ptr(&profiles);
	return 0;
}

/* ---- taking ---- */

/* Sets the option, unless the block does. Problems name where the value comes from. */
static void take(struct options *options, const char *name, struct aws_setting *setting,
		 struct option_problems *problems)
{
	const struct option_spec *spec = option_find(options->table, name);
	struct err err = ERR_INIT;

	if (options_is_given(options, spec)) {
		snprintf(setting->from, sizeof(setting->from), "%s", name);
		return;
	}
	if (!setting->value)
		return;
	if (spec->check && spec->check(setting->value, &err) < 0)
		err_prefix(&err, "%s", setting->from);
	else if (options_set_texts(options, spec, &setting->value, 1, &err) == 0)
		return;
	option_problem(problems, name, NULL, "%s", err.msg);
}

static void take_endpoint(struct options *options, struct aws_endpoint *found,
			  struct option_problems *problems)
{
	const struct s3_options *given = options->values;
	struct err of_kind = ERR_INIT, of_bucket = ERR_INIT;

	take(options, "endpoint", &found->url, problems);
	take(options, "use_fips_endpoint", &found->fips, problems);
	take(options, "use_dualstack_endpoint", &found->dualstack, problems);
	found->url.value = given->endpoint;
	found->is_fips = given->use_fips_endpoint;
	found->is_dualstack = given->use_dualstack_endpoint;
	if (aws_endpoint_check(found, &of_kind) < 0)
		option_problem(problems,
			       found->is_fips ? "use_fips_endpoint" : "use_dualstack_endpoint",
			       "endpoint", "%s", of_kind.msg);
	if (given->endpoint && given->bucket &&
	    s3_endpoint_check_bucket(given->endpoint, given->bucket, &of_bucket) < 0)
		option_problem(problems, "endpoint", "bucket", "%s: %s", found->url.from,
			       of_bucket.msg);
}

void s3_environment_complete(struct options *options, struct option_problems *problems)
{
	_cleanup_(aws_profiles_free_cleanup) struct aws_profiles *profiles = NULL;
	_cleanup_(aws_paths_release) struct aws_paths paths = { .config = NULL };
	const struct s3_options *given = options->values;
	const struct aws_lookup lookup = {
		.profile = given->profile,
		.credentials_file = given->credentials_file,
		.paths = &paths,
	};
	struct err err = ERR_INIT;
	struct found found;

	if (aws_paths_init(&paths, given->credentials_file, &err) < 0 ||
	    find(options, &lookup, &profiles, &found, &err) < 0) {
		option_problem(problems, "endpoint", "profile", "%s", err.msg);
		return;
	}
	take_endpoint(options, &found.endpoint, problems);
	take(options, "ca_file", &found.ca_bundle, problems);
}
