/*
 * The options of a term and of the root.
 */
#include "base/util.h"
#include "config/config.h"
#include "config/config_name.h"

#define INTERVAL_MIN_MS 10
#define HISTORY_MAX	1000

static const char *const failovers[] = { "newer", "any", NULL };
static const char *const backwards[] = { "accept", "confirm", "refuse", NULL };
static const char *const on_deletes[] = { "keep", "remove", NULL };
static const char *const on_expires[] = { "keep", "hide", NULL };
static const char *const publish_modes[] = { "auto", "notify", NULL };

static const struct option_spec term_rows[] = {
	{ .name = "refresh_interval",
	  .type = OPTION_DURATION,
	  OPTION_FIELD(term_config, refresh_interval_ms),
	  .min = INTERVAL_MIN_MS,
	  .allows_never = true,
	  .default_text = "60s",
	  .help = "how often the source is checked; never: only on request" },
	{ .name = "lazy_init",
	  .type = OPTION_BOOL,
	  OPTION_FIELD(term_config, lazy_init),
	  .default_text = "false",
	  .help = "the start does not wait for the first snapshot" },
	{ .name = "alias",
	  .type = OPTION_STRING,
	  OPTION_FIELD(term_config, alias),
	  .one_term = true,
	  .check = name_check_alias,
	  .help = "the name in events and metrics" },
	{ .name = "min_size",
	  .type = OPTION_SIZE,
	  OPTION_FIELD(term_config, min_size_bytes),
	  .default_text = "0",
	  .help = "a smaller download is refused" },
	{ .name = "max_size",
	  .type = OPTION_SIZE,
	  OPTION_FIELD(term_config, max_size_bytes),
	  .min = 1,
	  .default_text = "1GiB",
	  .help = "a larger download is refused" },
	{ .name = "prewarm_limit",
	  .type = OPTION_SIZE,
	  OPTION_FIELD(term_config, prewarm_limit_bytes),
	  .default_text = "64MiB",
	  .help = "how much of a new version is cached in memory before the first read" },
	{ .name = "mode",
	  .type = OPTION_MODE,
	  OPTION_FIELD(term_config, mode),
	  .default_text = "0444",
	  .help = "permissions of the file, bits of 0555" },
	{ .name = "user",
	  .type = OPTION_USER,
	  OPTION_FIELD(term_config, user),
	  .help = "owner of the file, a name or a number; left out: the user of rptfs" },
	{ .name = "group",
	  .type = OPTION_GROUP,
	  OPTION_FIELD(term_config, group),
	  .help = "group of the file, a name or a number; left out: the group of rptfs" },
	{ .name = "failover",
	  .type = OPTION_WORD,
	  OPTION_FIELD(term_config, failover),
	  .words = failovers,
	  .default_text = "newer",
	  .help = "which versions a fallback source may provide: newer ones only, or any" },
	{ .name = "backwards",
	  .type = OPTION_WORD,
	  OPTION_FIELD(term_config, backwards),
	  .words = backwards,
	  .default_text = "accept",
	  .help = "when the first source offers an older version: accept, confirm or refuse" },
	{ .name = "on_delete",
	  .type = OPTION_WORD,
	  OPTION_FIELD(term_config, on_delete),
	  .words = on_deletes,
	  .default_text = "keep",
	  .help = "when the source no longer has the term: keep the file, or remove it" },
	{ .name = "max_stale",
	  .type = OPTION_DURATION,
	  OPTION_FIELD(term_config, max_stale_ms),
	  .min = 1,
	  .help = "the term expires if no source confirms it for so long" },
	{ .name = "on_expire",
	  .type = OPTION_WORD,
	  OPTION_FIELD(term_config, on_expire),
	  .words = on_expires,
	  .default_text = "keep",
	  .help = "when the term expires: keep the file, or hide it until the next success" },
	{ .name = "history",
	  .type = OPTION_NUMBER,
	  OPTION_FIELD(term_config, history),
	  .max = HISTORY_MAX,
	  .default_text = "3",
	  .help = "how many superseded snapshots are kept" },
	{ .name = NULL },
};

static const struct option_spec root_rows[] = {
	{ .name = "mountpoint",
	  .type = OPTION_STRING,
	  OPTION_FIELD(config, mountpoint),
	  .only_file = true, /* the command line has an argument for it */
	  .help = "the directory to mount on" },
	{ .name = "store",
	  .type = OPTION_STRING,
	  OPTION_FIELD(config, store),
	  .help = "the directory that keeps the snapshots, or memory" },
	{ .name = "start_timeout",
	  .type = OPTION_DURATION,
	  OPTION_FIELD(config, start_timeout_ms),
	  .default_text = "30s",
	  .help = "how long the start waits for the first updates" },
	{ .name = "allow_other",
	  .type = OPTION_BOOL,
	  OPTION_FIELD(config, allow_other),
	  .help = "other users may access the mount; left out: true for root only" },
	{ .name = "user",
	  .type = OPTION_STRING,
	  OPTION_FIELD(config, user),
	  .help = "the user that the worker runs as if root mounts; left out: rptfs" },
	{ .name = "sandbox",
	  .type = OPTION_BOOL,
	  OPTION_FIELD(config, sandbox),
	  .default_text = "true",
	  .help = "confine the worker to its store and the network" },
	{ .name = "publish_mode",
	  .type = OPTION_WORD,
	  OPTION_FIELD(config, publish_mode),
	  .words = publish_modes,
	  .default_text = "auto",
	  .help = "auto: publish new versions by rename where possible; notify: never by rename" },
	{ .name = "prewarm_total",
	  .type = OPTION_SIZE,
	  OPTION_FIELD(config, prewarm_total_bytes),
	  .default_text = "1GiB",
	  .help = "how much of all terms is cached in memory before the first read" },
	{ .name = NULL },
};

const struct option_table config_term_table = OPTION_TABLE(term_rows, term_config);
const struct option_table config_root_table = OPTION_TABLE(root_rows, config);

const char *config_publish_mode_name(enum config_publish_mode mode)
{
	return publish_modes[mode];
}
