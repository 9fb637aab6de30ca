/*
 * config: the configuration, loaded, checked and immutable.
 *
 * Loading reports every problem it finds, each with its place, before it gives up; a configuration
 * with a problem is not returned at all.
 */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/err.h"
#include "config/source.h"

#define CONFIG_NEVER (-1)

enum config_failover { FAILOVER_NEWER, FAILOVER_ANY };
enum config_backwards { BACKWARDS_ACCEPT, BACKWARDS_CONFIRM, BACKWARDS_REFUSE };
enum config_on_delete { ON_DELETE_KEEP, ON_DELETE_REMOVE };
enum config_publish_mode { PUBLISH_AUTO, PUBLISH_NOTIFY };
enum config_on_expire { ON_EXPIRE_KEEP, ON_EXPIRE_HIDE };

struct term_config {
	char *name;  /* "geo/cities.csv" */
	char *alias; /* the name in events and metrics; NULL: name */
	struct source *sources;
	size_t n_sources;	     /* at least 1 */
	int64_t refresh_interval_ms; /* or CONFIG_NEVER */
	uint64_t min_size_bytes;
	uint64_t max_size_bytes;
	uint64_t prewarm_limit_bytes; /* 0: nothing is put into memory before it is asked for */
	int64_t max_stale_ms;	      /* 0: nothing expires; else more than refresh_interval_ms */
	unsigned history;	      /* superseded snapshots that are kept */
	mode_t mode;
	uid_t user;
	gid_t group;
	bool lazy_init;
	enum config_failover failover;
	enum config_backwards backwards;
	enum config_on_delete on_delete;
	enum config_on_expire on_expire;
};

struct config {
	char *mountpoint; /* absolute; NULL if neither file nor command line names one */
	char *store;	  /* absolute directory, or "memory"; never NULL once mountpoint is known */
	int64_t start_timeout_ms;
	bool allow_other;
	char *user;   /* whom the worker of a root's mount runs as; NULL: not said */
	bool sandbox; /* the worker is confined */
	enum config_publish_mode publish_mode;
	uint64_t prewarm_total_bytes; /* of all terms */
	struct term_config *terms;    /* sorted by name */
	size_t n_terms;
};

/* What the command line says; each pointer may be NULL and wins over the file. */
struct helper;

struct config_request {
	const char *file; /* NULL: no file */
	const char *mountpoint;
	const char *const *options;		/* "key=value" or "flag" of -o, NULL-terminated */
	const char *const *terms;		/* NAME=URL, NULL-terminated */
	const struct source_type *const *types; /* NULL-terminated: the fetchers there are */
	struct helper *helper;			/* for source_type.init; borrowed; or NULL */
};

/*
 * Loads and checks. Each problem is written to `problems` as one line, "FILE:LINE: term "x": …" or,
 * of the command line, "rptfs: …". Returns 0, or -1 with at least one line written.
 * libconfuse's scanner is global: one thread at a time.
 */
int config_load(struct config **ret, const struct config_request *request, FILE *problems);
void config_free(struct config *config);

const char *config_publish_mode_name(enum config_publish_mode mode);

/* Writes the effective values as a configuration file that loads to the same: for people each of
 * them, with the secrets masked; for a worker no more than it takes. */
enum config_secrets { CONFIG_SECRETS_MASKED, CONFIG_SECRETS_SHOWN };
void config_show(const struct config *config, enum config_secrets secrets, FILE *out);

#endif
