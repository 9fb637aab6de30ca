/*
 * The text of a configuration. A configuration that loads is the same after it was shown and
 * loaded again, and after it went through an image.
 */
#include "base/log.h"
#include "config/image.h"
#include "config/load.h"
#include "config/show.h"
#include "fetchers/registry.h"
#include "fuzz.h"

DEFINE_CLEANUP(struct config, config_free)

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	log_set_level(LOG_LEVEL_ERROR);
	return 0;
}

/* The caller frees *ret_problems. */
static struct config *load(const void *text, size_t len, char **ret_problems)
{
	_cleanup_close_ int fd = fuzz_file(text, len);
	struct config *config = NULL;
	size_t problems_len = 0;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	const struct config_request request = { .file = path, .types = fetcher_types };
	FILE *problems = open_memstream(ret_problems, &problems_len);
	fuzz_check(problems);
	int result = config_load(&config, &request, problems);
	fuzz_check(fclose(problems) == 0);
	fuzz_check((result == 0) == (problems_len == 0));
	return config;
}

/* The caller frees it. */
static char *show(const struct config *config)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	fuzz_check(out);
	config_show(config, out);
	fuzz_check(fclose(out) == 0);
	return text;
}

static void check_image(const struct config *config, const char *shown)
{
	_cleanup_close_ int fd = fuzz_file("", 0);
	_cleanup_(config_free_cleanup) struct config *again = NULL;
	struct err err = ERR_INIT;

	fuzz_check(config_image_write(config, fd, &err) == 0 && config_image_is(fd));
	fuzz_check(config_image_read(&again, fd, fetcher_types, &err) == 0);
	fuzz_check(config_init_sources(again, NULL, &err) == 0);
	_cleanup_free_ char *shown_again = show(again);
	fuzz_check(strcmp(shown, shown_again) == 0);
}

/* Each problem is one printable line. */
static void check_problems(const char *problems)
{
	fuzz_check(problems[strlen(problems) - 1] == '\n');
	for (size_t len; *problems; problems += len) {
		len = *problems == '\n' ? 1 : utf8_printable(problems);
		fuzz_check(len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *problems = NULL;
	_cleanup_free_ char *problems_again = NULL;

	/* Other files of this machine are not part of the input. */
	if (memmem(data, size, "include", 7))
		return 0;
	_cleanup_(config_free_cleanup) struct config *config = load(data, size, &problems);
	if (!config) {
		check_problems(problems);
		return 0;
	}
	_cleanup_free_ char *shown = show(config);
	check_image(config, shown);
	_cleanup_(config_free_cleanup) struct config *again = load(shown, strlen(shown),
								   &problems_again);
	if (!again)
		fputs(problems_again, stderr);
	fuzz_check(again);
	_cleanup_free_ char *shown_again = show(again);
	fuzz_check(strcmp(shown, shown_again) == 0);
	return 0;
}
