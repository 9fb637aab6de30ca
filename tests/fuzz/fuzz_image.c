/*
 * The image of a configuration, as the worker reads it. The input edits a good one, or is one.
 * What is accepted holds valid values only, and is the same after it was written and read again.
 */
#include "base/log.h"
#include "config/image.h"
#include "fuzz.h"
#include "loaded.h"

static const char text[] =
	"mountpoint = /mnt\nuser = nobody\nallow_other = true\n"
	"term a { file { path = /etc/a } http { url = \"https://example.com/a?b\"\n"
	"headers = { \"A: b\", \"C: d\" } password_file = /p user = u max_redirects = 3 } }\n"
	"term b/c { alias = bc mode = 0400 history = 2 refresh_interval = never\n"
	"s3 { bucket = bucket key = \"k/l\" region = eu-west-1 } }\n"
	"term d { static { data = \"text\" } }\n";

static uint8_t *good; /* the image of this text */
static size_t good_len;

static int write_image(const struct config *config)
{
	struct err err = ERR_INIT;
	int fd = fuzz_file("", 0);

	fuzz_check(config_image_write(config, fd, &err) == 0);
	return fd;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	log_set_level(LOG_LEVEL_ERROR);
	_cleanup_(config_free_cleanup) struct config *config = load_text(text, sizeof(text) - 1,
									 stderr);
	fuzz_check(config);
	_cleanup_close_ int image = write_image(config);
	good_len = (size_t)lseek(image, 0, SEEK_END);
	good = malloc(good_len);
	fuzz_check(good && pread(image, good, good_len, 0) == (ssize_t)good_len);
	return 0;
}

static void check_values(const struct option_table *table, const void *values)
{
	for (const struct option_spec *spec = table->rows; spec->name; spec++) {
		struct err err = ERR_INIT;

		fuzz_check(!spec->required || option_is_set(spec, values));
		if (!option_is_set(spec, values))
			continue;
		if (spec->type != OPTION_STRING && spec->type != OPTION_STRINGS)
			fuzz_check(option_is_valid_number(spec, option_number(spec, values)));
		else if (spec->type == OPTION_STRING && spec->check)
			fuzz_check(spec->check(option_string(spec, values), &err) == 0);
	}
}

static void check_config(const struct config *config)
{
	check_values(&config_root_table, config);
	for (size_t i = 0; i < config->n_terms; i++) {
		const struct term_config *term = &config->terms[i];
		fuzz_check(term->n_sources && (!i || strcmp(term[-1].name, term->name) < 0));
		check_values(&config_term_table, term);
		for (size_t j = 0; j < term->n_sources; j++)
			check_values(term->sources[j].type->options, term->sources[j].options);
	}
}

static void check_again(const struct config *config)
{
	_cleanup_close_ int fd = write_image(config);
	_cleanup_(config_free_cleanup) struct config *again = NULL;
	struct err err = ERR_INIT;

	fuzz_check(config_image_read(&again, fd, fetcher_types, &err) == 0);
	_cleanup_free_ char *shown = show(config);
	_cleanup_free_ char *shown_again = show(again);
	fuzz_check(strcmp(shown, shown_again) == 0);
}

static void check_image(const void *data, size_t size)
{
	_cleanup_close_ int fd = fuzz_file(data, size);
	_cleanup_(config_free_cleanup) struct config *config = NULL;
	struct err err = ERR_INIT;

	if (config_image_read(&config, fd, fetcher_types, &err) < 0) {
		fuzz_check_error(&err, ERR_BAD_DATA);
		return;
	}
	check_config(config);
	check_again(config);
	if (config_init_sources(config, NULL, &err) < 0)
		fuzz_check_error(&err, ERR_CONFIG);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	_cleanup_free_ uint8_t *edited = malloc(good_len);

	fuzz_check(edited);
	memcpy(edited, good, good_len);
	fuzz_edit(&input, edited, good_len);
	check_image(edited, good_len);
	check_image(data, size);
	return 0;
}
