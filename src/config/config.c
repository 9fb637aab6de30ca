#include "config/config.h"

#include <string.h>
#include <sys/mman.h>

#include "base/util.h"

bool config_is_memory(const char *store)
{
	return strcmp(store, "memory") == 0;
}

void config_free(struct config *config)
{
	if (!config)
		return;
	for (size_t i = 0; i < config->n_terms; i++) {
		const struct term_config *term = &config->terms[i];
		for (size_t j = 0; j < term->n_sources; j++) {
			const struct source *source = &term->sources[j];
			if (source->type->free && source->state)
				source->type->free(source->state);
		}
	}
	pool_free(config->pool);
	if (config->image)
		munmap(config->image, config->image_size);
	free(config);
}

int config_init_sources(struct config *config, struct helper *helper, struct err *err)
{
	for (size_t i = 0; i < config->n_terms; i++) {
		const struct term_config *term = &config->terms[i];
		for (size_t j = 0; j < term->n_sources; j++) {
			struct source *source = &term->sources[j];
			if (source->type->init && !source->state &&
			    source->type->init(&source->state, source->options, helper, err) < 0)
				return err_prefix(err, "term \"%s\": %s", term->name,
						  source->type->name);
		}
	}
	return 0;
}
