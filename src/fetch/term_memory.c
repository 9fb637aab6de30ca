#include "fetch/term_memory.h"

#include "base/util.h"
#include "fetch/fetcher.h"

int term_memory_new(struct term_memory **ret, const struct term_config *config, const char *token,
		    uint64_t fingerprint, struct err *err)
{
	size_t n = config->n_sources;
	struct term_memory *memory = calloc(1, sizeof(*memory) + n * sizeof(memory->sources[0]));

	if (!memory)
		return err_set(err, ERR_INTERNAL, "term \"%s\": out of memory", config->name);
	memory->config = config;
	memory->is_stranger = true;
	for (size_t i = 0; i < n; i++) {
		bool is_its = memory->is_stranger && config->sources[i].fingerprint == fingerprint;

		if (is_its) {
			source_memory_set(&memory->sources[i], MEMORY_CURRENT, token, NULL);
			memory->is_stranger = false;
			memory->answering = (uint32_t)i;
		}
	}
	*ret = memory;
	return 0;
}

void term_memory_refuse(struct term_memory *memory, const struct store_refusal *refusal)
{
	for (size_t i = 0; i < memory->config->n_sources; i++) {
		if (source_memory_is_refusal_of(refusal, memory->config, i))
			source_memory_set(&memory->sources[i], MEMORY_REFUSED, refusal->token,
					  refusal->reason);
	}
}

void term_memory_free(struct term_memory *memory)
{
	if (!memory)
		return;
	for (size_t i = 0; i < memory->config->n_sources; i++)
		source_memory_release(&memory->sources[i]);
	snapshot_unref(memory->unpublished);
	free(memory->confirm);
	free(memory);
}

void term_memory_recognise(struct term_memory *memory, const struct snapshot *current)
{
	uint64_t id = current ? current->id : 0;

	if (memory->has_run ? id != memory->snapshot_id : !current)
		term_memory_void(memory);
	if (id != memory->snapshot_id || !memory->has_run)
		memory->order_key = current ? current->order_key : FETCHED_UNKNOWN;
	memory->snapshot_id = id;
	memory->has_run = true;
}

void term_memory_void(struct term_memory *memory)
{
	for (size_t i = 0; i < memory->config->n_sources; i++)
		source_memory_void(&memory->sources[i]);
	free(steal_ptr(&memory->confirm));
}
