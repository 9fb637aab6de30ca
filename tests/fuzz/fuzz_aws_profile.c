/*
 * The files of AWS profiles: the config file up to a form feed, then the credentials file.
 */
#include <fcntl.h>

#include "base/log.h"
#include "fetchers/aws/aws_profile.h"
#include "fuzz.h"

static char config[PATH_MAX + 16], credentials[PATH_MAX + 16];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char directory[PATH_MAX];

	(void)argc, (void)argv;
	log_set_level(LOG_LEVEL_ERROR);
	fuzz_directory(directory);
	snprintf(config, sizeof(config), "%s/config", directory);
	snprintf(credentials, sizeof(credentials), "%s/credentials", directory);
	return 0;
}

static void write_file(const char *path, const uint8_t *data, size_t size)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	fuzz_check(fd >= 0 && write(fd, data, size) == (ssize_t)size);
}

/* A value is one trimmed line, and its profile exists. */
static void check_setting(const struct aws_profiles *profiles, const char *profile,
			  const char *setting)
{
	const char *value = aws_profiles_get(profiles, profile, setting);

	if (!value)
		return;
	fuzz_check(*value && !strchr(value, '\n'));
	fuzz_check(!strchr(" \t", value[0]) && !strchr(" \t", value[strlen(value) - 1]));
	fuzz_check(aws_profiles_have(profiles, profile));
	fuzz_check(aws_profiles_name(profiles, setting, value));
}

/* The same, of a section of services. */
static void check_service(const struct aws_profiles *profiles, const char *services,
			  const char *setting)
{
	const char *value = aws_profiles_get_of_service(profiles, services, "s3", setting);
	char place[64] = "";

	if (!value)
		return;
	fuzz_check(*value && !strchr(value, '\n'));
	fuzz_check(aws_profiles_have_services(profiles, services));
	aws_profiles_place(profiles, value, place, sizeof(place));
	fuzz_check(*place);
}

static void check_profiles(const struct aws_paths *paths)
{
	static const char *const names[] = { "default", "a", "" };
	static const char *const settings[] = { "aws_access_key_id", "credential_process", "region",
						"source_profile", "a" };
	_cleanup_(aws_profiles_free_cleanup) struct aws_profiles *profiles = NULL;
	struct err err = ERR_INIT;

	if (aws_profiles_load(&profiles, NULL, paths, &err) < 0) {
		fuzz_check_error(&err, ERR_DENIED);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(settings); j++)
			check_setting(profiles, names[i], settings[j]);
		check_service(profiles, names[i], "endpoint_url");
	}
	fuzz_check(strlen(aws_profiles_problem(profiles)) < ERR_MSG_SIZE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *feed = size ? memchr(data, '\f', size) : NULL;
	size_t len = feed ? (size_t)(feed - data) : size, rest = feed ? size - len - 1 : 0;

	write_file(config, data, len);
	write_file(credentials, data + size - rest, rest);
	check_profiles(&(struct aws_paths){ .credentials = credentials, .config = config });
	/* An option can name one file for both. */
	check_profiles(&(struct aws_paths){ .credentials = config });
	return 0;
}
