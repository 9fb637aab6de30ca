/*
 * loaded: configurations from text and back, for targets of libFuzzer.
 */
#ifndef TESTS_FUZZ_LOADED_H
#define TESTS_FUZZ_LOADED_H

#include "config/load.h"
#include "config/show.h"
#include "fetchers/registry.h"
#include "fuzz.h"

DEFINE_CLEANUP(struct config, config_free)

/* NULL if the text has problems, which are written. The caller frees the configuration. */
static inline struct config *load_text(const void *text, size_t len, FILE *problems)
{
	_cleanup_close_ int fd = fuzz_file(text, len);
	struct config *config = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	const struct config_request request = { .file = path, .types = fetcher_types };
	int result = config_load(&config, &request, problems);
	fuzz_check((result == 0) == (config != NULL));
	return config;
}

/* The caller frees it. */
__attribute__((unused)) static char *show(const struct config *config)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	fuzz_check(out);
	config_show(config, out);
	fuzz_check(fclose(out) == 0);
	return text;
}

#endif
