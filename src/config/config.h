/*
 * config: the configuration, loaded, checked and immutable.
 *
 * The command loads it from files and the command line (config/load.h). The worker and the helper
 * get it as an image in a sealed memfd (config/image.h).
 */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "config/option.h"
#include "config/pool.h"
#include "config/source.h"

#define CONFIG_NEVER OPTION_NEVER

/* In the order of the words in tables.c. */
enum config_failover { FAILOVER_NEWER, FAILOVER_ANY };
enum config_backwards { BACKWARDS_ACCEPT, BACKWARDS_CONFIRM, BACKWARDS_REFUSE };
enum config_on_delete { ON_DELETE_KEEP, ON_DELETE_REMOVE };
enum config_publish_mode { PUBLISH_AUTO, PUBLISH_NOTIFY };
enum config_mtime { MTIME_SOURCE, MTIME_PUBLISHED };
enum config_on_expire { ON_EXPIRE_KEEP, ON_EXPIRE_HIDE };

struct term_config {
	const char *name;  /* "geo/cities.csv" */
	const char *alias; /* the name in events and metrics; NULL: name */
	struct source *sources;
	size_t n_sources;	     /* at least 1 */
	int64_t refresh_interval_ms; /* or CONFIG_NEVER */
	uint64_t min_size_bytes;
	uint64_t max_size_bytes;
	int64_t attempt_timeout_ms;   /* of one source */
	uint64_t min_rate;	      /* bytes a second; 0: any */
	uint64_t max_received_bytes;  /* of one attempt, as sent; 0: see attempt.c */
	uint64_t prewarm_limit_bytes; /* 0: nothing is cached before the first read */
	int64_t max_stale_ms;	      /* 0: nothing expires; else more than refresh_interval_ms */
	int64_t revalidate_ms;	      /* sources are asked without condition this often; 0: never */
	unsigned history;	      /* superseded snapshots that are kept */
	mode_t mode;
	uid_t user;
	gid_t group;
	enum config_failover failover;
	enum config_backwards backwards;
	enum config_on_delete on_delete;
	enum config_on_expire on_expire;
	enum config_mtime mtime;
	bool lazy_init;
};

struct config {
	const char *mountpoint; /* absolute; NULL if neither file nor command line names one */
	const char *store;	/* absolute directory, or "memory"; set if mountpoint is */
	int64_t start_timeout_ms;
	bool allow_other;
	bool noexec;
	const char *user; /* the worker's user if root mounts; NULL: not configured */
	bool sandbox;	  /* the worker is confined */
	enum config_publish_mode publish_mode;
	uint64_t prewarm_total_bytes; /* of all terms */
	struct term_config *terms;    /* sorted by name */
	size_t n_terms;

	struct pool
		*pool; /* owned; terms, sources, options and strings, unless they are in image */
	void *image;   /* owned mapping that strings may point into; NULL: none */
	size_t image_size;
};

/* Is this the store in memory, which has no directory of its own? */
bool config_is_memory(const char *store);

void config_free(struct config *config);

/* Makes the states of all sources. helper: for source_type.init; borrowed; may be NULL. ERR_CONFIG.
 */
int config_init_sources(struct config *config, struct helper *helper, struct err *err);

/* The options of a term and of the root. Their values are struct term_config and struct config. */
extern const struct option_table config_term_table;
extern const struct option_table config_root_table;

const char *config_publish_mode_name(enum config_publish_mode mode);

#endif
