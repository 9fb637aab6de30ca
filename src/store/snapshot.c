#include "store/snapshot.h"

#include <stdlib.h>
#include <string.h>

struct snapshot *snapshot_new(const char *version, const char *source)
{
	size_t version_len = strlen(version), source_len = strlen(source);
	struct snapshot *snapshot = calloc(1, sizeof(*snapshot) + version_len + source_len + 2);

	if (!snapshot)
		return NULL;
	char *texts = (char *)(snapshot + 1);
	memcpy(texts, version, version_len + 1);
	memcpy(texts + version_len + 1, source, source_len + 1);
	snapshot->version = texts;
	snapshot->source = texts + version_len + 1;
	atomic_init(&snapshot->integrity, SNAPSHOT_UNVERIFIED);
	atomic_init(&snapshot->refs, 1);
	return snapshot;
}

struct snapshot *snapshot_copy(const struct snapshot *snapshot)
{
	struct snapshot *copy = snapshot_new(snapshot->version, snapshot->source);

	if (!copy)
		return NULL;
	copy->id = snapshot->id;
	copy->size_bytes = snapshot->size_bytes;
	copy->mtime = snapshot->mtime;
	copy->fetched_at_ms = snapshot->fetched_at_ms;
	copy->published_at_ms = snapshot->published_at_ms;
	copy->order_key = snapshot->order_key;
	memcpy(copy->sha256, snapshot->sha256, DIGEST_SIZE);
	atomic_store(&copy->integrity, atomic_load(&snapshot->integrity));
	return copy;
}

struct snapshot *snapshot_ref(struct snapshot *snapshot)
{
	atomic_fetch_add_explicit(&snapshot->refs, 1, memory_order_relaxed);
	return snapshot;
}

bool snapshot_doubt(struct snapshot *snapshot)
{
	enum snapshot_integrity expected = SNAPSHOT_VERIFIED;

	atomic_compare_exchange_strong(&snapshot->integrity, &expected, SNAPSHOT_UNVERIFIED);
	return expected != SNAPSHOT_CORRUPT;
}

void snapshot_unref(struct snapshot *snapshot)
{
	if (snapshot && atomic_fetch_sub_explicit(&snapshot->refs, 1, memory_order_acq_rel) == 1)
		free(snapshot);
}
