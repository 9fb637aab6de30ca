/*
 * aws_profile: parses and merges the shared config and credentials files of the AWS tools.
 *
 *	~/.aws/config                        ~/.aws/credentials
 *	[default]                            [default]
 *	region = eu-west-1                   aws_access_key_id = AKIA…
 *	[profile prod]                       aws_secret_access_key = …
 *	role_arn = arn:aws:iam::1:role/r
 *	source_profile = default
 *	services = local
 *	[services local]
 *	s3 =
 *	  endpoint_url = http://127.0.0.1:9000
 *
 * As in the AWS tools, a setting in the credentials file wins over the same one in the config file,
 * names of settings are case-insensitive, and the last of several equal settings counts.
 * "[profile x]" is a profile in both files; other sections of the config file are not. "[services
 * x]" is a section of services in the config file, and in a file that replaces both. Nested
 * settings (indented below a setting) count only there. Immutable; the texts are in locked memory.
 *
 * libinih does not fit: Debian builds it for lines of at most 200 bytes, and a session token is
 * longer.
 */
#ifndef FETCHERS_AWS_AWS_PROFILE_H
#define FETCHERS_AWS_AWS_PROFILE_H

#include <stdbool.h>

#include "base/err.h"
#include "base/util.h"
#include "fetchers/aws/aws_files.h"

struct helper;
struct aws_profiles;

/* A missing or unreadable file counts as empty (see aws_profiles_problem()), except when it is the
 * only one (paths->config is NULL): then it is ERR_DENIED. So is a malformed line, which the
 * message names as "FILE:LINE: …". paths must outlive *ret. */
int aws_profiles_load(struct aws_profiles **ret, struct helper *helper,
		      const struct aws_paths *paths, struct err *err);
/* For settings that are not keys: the only file may be missing, too. */
int aws_profiles_load_settings(struct aws_profiles **ret, const struct aws_paths *paths,
			       struct err *err);
/* For what root does because a profile says so: in a process of root, the files must belong to
 * root, and nobody else may be able to change them (SAFE_PATH_OURS). ERR_DENIED otherwise. */
int aws_profiles_load_trusted(struct aws_profiles **ret, const struct aws_paths *paths,
			      struct err *err);
void aws_profiles_free(struct aws_profiles *profiles);

DEFINE_CLEANUP(struct aws_profiles, aws_profiles_free)

/* Is there such a profile? */
bool aws_profiles_have(const struct aws_profiles *profiles, const char *profile);

/* The setting's value, or NULL if it is missing or empty. Lives as long as profiles. */
const char *aws_profiles_get(const struct aws_profiles *profiles, const char *profile,
			     const char *setting);

/* Is there such a section of services? */
bool aws_profiles_have_services(const struct aws_profiles *profiles, const char *services);

/* The setting of a service ("s3") in a section of services, as aws_profiles_get(). */
const char *aws_profiles_get_of_service(const struct aws_profiles *profiles, const char *services,
					const char *service, const char *setting);

/* Writes "FILE:LINE: SETTING" for a value that one of the functions above returned. */
void aws_profiles_place(const struct aws_profiles *profiles, const char *value, char *ret,
			size_t size);

/* Does any profile have this value for this setting? */
bool aws_profiles_name(const struct aws_profiles *profiles, const char *setting, const char *value);

/* Why a file that exists could not be read; "" if all could be read. */
const char *aws_profiles_problem(const struct aws_profiles *profiles);

#endif
