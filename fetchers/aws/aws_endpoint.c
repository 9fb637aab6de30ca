#include "fetchers/aws/aws_endpoint.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/util.h"
#include "fetchers/aws/aws_env.h"
#include "fetchers/aws/aws_profile.h"

struct search {
	const struct aws_profiles *profiles; /* NULL: none */
	const char *profile;
};

static bool take_variable(const char *name, struct aws_setting *ret)
{
	ret->value = aws_env(name);
	snprintf(ret->from, sizeof(ret->from), "%s", name);
	return ret->value;
}

static bool take_value(const struct search *search, const char *value, struct aws_setting *ret)
{
	ret->value = value;
	ret->is_from_file = value;
	if (value)
		aws_profiles_place(search->profiles, value, ret->from, sizeof(ret->from));
	return value;
}

static bool take_setting(const struct search *search, const char *name, struct aws_setting *ret)
{
	return search->profiles &&
	       take_value(search, aws_profiles_get(search->profiles, search->profile, name), ret);
}

static void find(const struct search *search, const char *variable, const char *name,
		 struct aws_setting *ret)
{
	if (!take_variable(variable, ret))
		take_setting(search, name, ret);
}

/* Sets *ret to false if there is no such setting. */
static int find_bool(const struct search *search, const char *variable, const char *name,
		     struct aws_setting *setting, bool *ret, struct err *err)
{
	find(search, variable, name, setting);
	*ret = setting->value && strcasecmp(setting->value, "true") == 0;
	if (!setting->value || *ret || strcasecmp(setting->value, "false") == 0)
		return 0;
	return err_set(err, ERR_CONFIG, "%s: \"%.64s\" is neither true nor false", setting->from,
		       setting->value);
}

static int take_service(const struct search *search, const char *service, struct aws_setting *ret,
			struct err *err)
{
	struct aws_setting services = { .value = NULL };

	if (!take_setting(search, "services", &services))
		return 0;
	if (!aws_profiles_have_services(search->profiles, services.value))
		return err_set(err, ERR_CONFIG, "%s: there is no section [services %.64s]",
			       services.from, services.value);
	take_value(search,
		   aws_profiles_get_of_service(search->profiles, services.value, service,
					       "endpoint_url"),
		   ret);
	return 0;
}

static int find_url(const struct search *search, const char *service, struct aws_setting *ret,
		    struct err *err)
{
	char variable[32];
	struct aws_setting ignores = { .value = NULL };
	bool is_ignored;

	if (find_bool(search, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
		      "ignore_configured_endpoint_urls", &ignores, &is_ignored, err) < 0)
		return -1;
	if (is_ignored)
		return 0;
	snprintf(variable, sizeof(variable), "AWS_ENDPOINT_URL_%s", service);
	for (char *c = variable; *c; c++)
		*c = (char)toupper((unsigned char)*c);
	if (take_variable(variable, ret) || take_variable("AWS_ENDPOINT_URL", ret))
		return 0;
	if (take_service(search, service, ret, err) < 0)
		return -1;
	if (!ret->value)
		take_setting(search, "endpoint_url", ret);
	return 0;
}

int aws_endpoint_find(const struct aws_profiles *profiles, const char *profile, const char *service,
		      struct aws_endpoint *ret, struct err *err)
{
	const struct search search = { profiles, profile };
	struct aws_endpoint found = { .is_fips = false };

	if (find_url(&search, service, &found.url, err) < 0 ||
	    find_bool(&search, "AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint", &found.fips,
		      &found.is_fips, err) < 0 ||
	    find_bool(&search, "AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint",
		      &found.dualstack, &found.is_dualstack, err) < 0)
		return -1;
	*ret = found;
	return 0;
}

void aws_endpoint_find_ca_bundle(const struct aws_profiles *profiles, const char *profile,
				 struct aws_setting *ret)
{
	const struct search search = { profiles, profile };

	*ret = (struct aws_setting){ .value = NULL };
	find(&search, "AWS_CA_BUNDLE", "ca_bundle", ret);
}

int aws_endpoint_check(const struct aws_endpoint *endpoint, struct err *err)
{
	const struct aws_setting *kind = endpoint->is_fips ? &endpoint->fips : &endpoint->dualstack;

	if (!endpoint->url.value || !(endpoint->is_fips || endpoint->is_dualstack))
		return 0;
	return err_set(err, ERR_CONFIG,
		       "%s and %s exclude each other: an endpoint names its host itself",
		       kind->from, endpoint->url.from);
}
