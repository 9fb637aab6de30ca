/*
 * aws_profile: the shared config and credentials files of the AWS tools, read and merged.
 *
 *	~/.aws/config                        ~/.aws/credentials
 *	[default]                            [default]
 *	region = eu-west-1                   aws_access_key_id = AKIA…
 *	[profile prod]                       aws_secret_access_key = …
 *	role_arn = arn:aws:iam::1:role/r
 *	source_profile = default
 *
 * As the tools do it, a setting of the credentials file wins over the same one of the config file,
 * the names of settings are without case, and of a setting given twice the last one counts.
 * "[profile x]" is taken in both files; other sections of the config file are no profiles. Nested
 * settings (indented, below a setting) are left out. The texts stay in locked memory; immutable.
 *
 * Not read with libinih, whose build in Debian takes lines of up to 200 bytes: a session token is
 * longer.
 */
#ifndef FETCHERS_AWS_AWS_PROFILE_H
#define FETCHERS_AWS_AWS_PROFILE_H

#include <stdbool.h>

#include "base/err.h"
#include "base/util.h"
#include "fetchers/aws/aws_file.h"

struct aws_profiles;

/* A missing file is an empty one, and so is one that may not be read (see below); but where there
 * is only one (paths->config is NULL) both are ERR_DENIED. So is "FILE:LINE: …", a line that cannot
 * be understood. */
int aws_profiles_load(struct aws_profiles **ret, const struct aws_paths *paths, struct err *err);
void aws_profiles_free(struct aws_profiles *profiles);

DEFINE_CLEANUP(struct aws_profiles, aws_profiles_free)

/* Is there a section of that name? */
bool aws_profiles_have(const struct aws_profiles *profiles, const char *profile);

/* The setting's value, never empty, or NULL. Lives as long as profiles. */
const char *aws_profiles_get(const struct aws_profiles *profiles, const char *profile,
			     const char *setting);

/* Does any profile have this setting with this value? */
bool aws_profiles_name(const struct aws_profiles *profiles, const char *setting, const char *value);

/* Why a file that is there could not be read; "": all could. */
const char *aws_profiles_problem(const struct aws_profiles *profiles);

#endif
