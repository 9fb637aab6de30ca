/*
 * The text of a configuration. A configuration that loads is the same after it was shown and
 * loaded again, and after it went through an image.
 */
#include "base/log.h"
#include "config/image.h"
#include "fuzz.h"
#include "loaded.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	log_set_level(LOG_LEVEL_ERROR);
	return 0;
}

/* The caller frees *ret_problems. */
static struct config *load(const void *text, size_t len, char **ret_problems)
{
	size_t problems_len = 0;
	FILE *problems = open_memstream(ret_problems, &problems_len);

	fuzz_check(problems);
	struct config *config = load_text(text, len, problems);
	fuzz_check(fclose(problems) == 0);
	fuzz_check((config != NULL) == (problems_len == 0));
	return config;
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
