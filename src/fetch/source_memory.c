#include "fetch/source_memory.h"

#include <string.h>

#include "base/log.h"

/* Identifies refusals: by the source, and by the limits that its bodies were checked against. */
static uint64_t mix_limits(const struct term_config *config, uint64_t fingerprint)
{
	return fingerprint ^ config->max_size_bytes * UINT64_C(0x9e3779b97f4a7c15) ^
	       config->min_size_bytes * UINT64_C(0xc2b2ae3d27d4eb4f) ^
	       config->max_received_bytes * UINT64_C(0x165667b19e3779f9);
}

static uint64_t refusal_key(const struct term_config *config, size_t source)
{
	return mix_limits(config, config->sources[source].refusal_fingerprint);
}

bool source_memory_is_refusal_of(const struct store_refusal *refusal,
				 const struct term_config *config, size_t source)
{
	return refusal->fingerprint == refusal_key(config, source) ||
	       refusal->fingerprint ==
		       mix_limits(config, config->sources[source].legacy_fingerprint);
}

void source_memory_release(struct source_memory *memory)
{
	free(memory->version);
	free(memory->reason);
	sink_free(memory->kept);
}

void source_memory_set(struct source_memory *memory, enum memory_meaning meaning,
		       const char *version, const char *reason)
{
	/* Copied first: they may be the texts that are remembered. */
	char *new_version = version && *version ? strdup(version) : NULL;
	char *new_reason = new_version && reason ? strdup(reason) : NULL;

	free(memory->version);
	free(memory->reason);
	memory->version = new_version;
	memory->reason = new_reason;
	memory->meaning = new_version ? meaning : MEMORY_NOTHING;
}

void source_memory_record(struct source_memory *memory, struct store *store,
			  const struct term_config *config, size_t source,
			  enum memory_meaning meaning, const char *version, const char *reason)
{
	bool was_refused = memory->meaning == MEMORY_REFUSED;
	struct err err = ERR_INIT;
	int result = 0;

	source_memory_set(memory, meaning, version, reason);
	if (memory->meaning == MEMORY_REFUSED)
		result = store_refuse(store, config->name, refusal_key(config, source), version,
				      reason, &err);
	else if (was_refused)
		result = store_refuse(store, config->name, refusal_key(config, source), NULL, NULL,
				      &err);
	if (result < 0)
		log_event(LOG_LEVEL_DEBUG, "not_remembered", LOG_STR("term", config->name),
			  LOG_STR("error", err.msg));
}

void source_memory_void(struct source_memory *memory)
{
	if (memory->meaning == MEMORY_CURRENT || memory->meaning == MEMORY_OLDER)
		source_memory_set(memory, MEMORY_NOTHING, NULL, NULL);
}
