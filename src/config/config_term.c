/*
 * config_term: the options of a term, and how the blocks of a file become terms.
 */
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <string.h>

#include "base/clock.h"
#include "base/util.h"
#include "config/config_load.h"
#include "config/config_name.h"

#define INTERVAL_MIN_MS 10
#define HISTORY_MAX	1000
#define MODE_MASK	0555

static int parse_interval(const char *text, int64_t *ret, struct err *err)
{
	int64_t ms = 0;

	if (strcmp(text, "never") == 0) {
		*ret = CONFIG_NEVER;
		return 0;
	}
	if (option_parse_duration(text, &ms, err) < 0)
		return -1;
	if (ms < INTERVAL_MIN_MS)
		return err_set(err, ERR_CONFIG, "%s is too short, at least %dms are possible", text,
			       INTERVAL_MIN_MS);
	*ret = ms;
	return 0;
}

static int parse_mode(const char *text, int64_t *ret, struct err *err)
{
	size_t len = strlen(text);

	if (len < 3 || len > 5 || strspn(text, "01234567") != len)
		return err_set(err, ERR_CONFIG, "\"%.64s\" is not an octal mode such as 0444",
			       text);
	long mode = strtol(text, NULL, 8);
	if (mode & ~MODE_MASK)
		return err_set(err, ERR_CONFIG,
			       "%s has more than the bits 0555: terms are read-only", text);
	*ret = mode;
	return 0;
}

static int parse_history(const char *text, int64_t *ret, struct err *err)
{
	if (option_parse_int(text, ret, err) < 0)
		return -1;
	if (*ret < 0 || *ret > HISTORY_MAX)
		return err_set(err, ERR_CONFIG, "%s is not between 0 and %d", text, HISTORY_MAX);
	return 0;
}

static int parse_max_size(const char *text, int64_t *ret, struct err *err)
{
	uint64_t bytes = 0;

	if (option_parse_size(text, &bytes, err) < 0)
		return -1;
	if (bytes == 0)
		return err_set(err, ERR_CONFIG, "nothing fits into a size of 0");
	*ret = (int64_t)bytes;
	return 0;
}

static int parse_max_stale(const char *text, int64_t *ret, struct err *err)
{
	int64_t ms = 0;

	if (option_parse_duration(text, &ms, err) < 0)
		return -1;
	if (ms == 0)
		return err_set(err, ERR_CONFIG, "everything is older than 0");
	*ret = ms;
	return 0;
}

/* A number that may be an id. UINT32_MAX means "no change" to the kernel. */
static bool parse_id(const char *text, int64_t *ret)
{
	struct err ignored = ERR_INIT;
	int64_t id = 0;

	if (option_parse_int(text, &id, &ignored) < 0 || id < 0 || id >= UINT32_MAX)
		return false;
	*ret = id;
	return true;
}

static int parse_user(const char *text, int64_t *ret, struct err *err)
{
	char buffer[16384];
	struct passwd entry, *found = NULL;

	if (parse_id(text, ret))
		return 0;
	if (getpwnam_r(text, &entry, buffer, sizeof(buffer), &found) != 0 || !found)
		return err_set(err, ERR_CONFIG, "there is no user \"%.64s\"", text);
	*ret = found->pw_uid;
	return 0;
}

static int parse_group(const char *text, int64_t *ret, struct err *err)
{
	char buffer[65536];
	struct group entry, *found = NULL;

	if (parse_id(text, ret))
		return 0;
	if (getgrnam_r(text, &entry, buffer, sizeof(buffer), &found) != 0 || !found)
		return err_set(err, ERR_CONFIG, "there is no group \"%.64s\"", text);
	*ret = found->gr_gid;
	return 0;
}

static int parse_failover(const char *text, int64_t *ret, struct err *err)
{
	if (strcmp(text, "newer") == 0)
		*ret = FAILOVER_NEWER;
	else if (strcmp(text, "any") == 0)
		*ret = FAILOVER_ANY;
	else
		return err_set(err, ERR_CONFIG, "\"%.64s\" is neither newer nor any", text);
	return 0;
}

static int parse_backwards(const char *text, int64_t *ret, struct err *err)
{
	if (strcmp(text, "accept") == 0)
		*ret = BACKWARDS_ACCEPT;
	else if (strcmp(text, "confirm") == 0)
		*ret = BACKWARDS_CONFIRM;
	else if (strcmp(text, "refuse") == 0)
		*ret = BACKWARDS_REFUSE;
	else
		return err_set(err, ERR_CONFIG, "\"%.64s\" is none of accept, confirm, refuse",
			       text);
	return 0;
}

static int parse_on_delete(const char *text, int64_t *ret, struct err *err)
{
	if (strcmp(text, "keep") == 0)
		*ret = ON_DELETE_KEEP;
	else if (strcmp(text, "remove") == 0)
		*ret = ON_DELETE_REMOVE;
	else
		return err_set(err, ERR_CONFIG, "\"%.64s\" is neither keep nor remove", text);
	return 0;
}

static int parse_on_expire(const char *text, int64_t *ret, struct err *err)
{
	if (strcmp(text, "keep") == 0)
		*ret = ON_EXPIRE_KEEP;
	else if (strcmp(text, "hide") == 0)
		*ret = ON_EXPIRE_HIDE;
	else
		return err_set(err, ERR_CONFIG, "\"%.64s\" is neither keep nor hide", text);
	return 0;
}

const struct option_spec config_term_table[] = {
	{ .name = "refresh_interval",
	  .type = OPTION_CUSTOM,
	  .parse = parse_interval,
	  .default_text = "60s",
	  .help = "how often the source is asked; never: only on request" },
	{ .name = "lazy_init",
	  .type = OPTION_BOOL,
	  .default_text = "false",
	  .help = "the start does not wait for the first snapshot" },
	{ .name = "alias", .type = OPTION_STRING, .help = "the name in events and metrics" },
	{ .name = "min_size",
	  .type = OPTION_SIZE,
	  .default_text = "0",
	  .help = "a smaller download is refused" },
	{ .name = "max_size",
	  .type = OPTION_CUSTOM,
	  .parse = parse_max_size,
	  .default_text = "1GiB",
	  .help = "a larger download is refused" },
	{ .name = "prewarm_limit",
	  .type = OPTION_SIZE,
	  .default_text = "64MiB",
	  .help = "how much of a new version is put into memory before it is asked for" },
	{ .name = "mode",
	  .type = OPTION_CUSTOM,
	  .parse = parse_mode,
	  .default_text = "0444",
	  .help = "permissions of the file, bits of 0555" },
	{ .name = "user",
	  .type = OPTION_CUSTOM,
	  .parse = parse_user,
	  .help = "owner of the file, a name or a number; who rptfs runs as if left out" },
	{ .name = "group",
	  .type = OPTION_CUSTOM,
	  .parse = parse_group,
	  .help = "group of the file, a name or a number; that of rptfs if left out" },
	{ .name = "failover",
	  .type = OPTION_CUSTOM,
	  .parse = parse_failover,
	  .default_text = "newer",
	  .help = "what is taken from a later source: newer, or any" },
	{ .name = "backwards",
	  .type = OPTION_CUSTOM,
	  .parse = parse_backwards,
	  .default_text = "accept",
	  .help = "when the first source offers an older version: accept, confirm or refuse" },
	{ .name = "on_delete",
	  .type = OPTION_CUSTOM,
	  .parse = parse_on_delete,
	  .default_text = "keep",
	  .help = "when the source has no such thing any more: keep, or remove the name" },
	{ .name = "max_stale",
	  .type = OPTION_CUSTOM,
	  .parse = parse_max_stale,
	  .help = "the term expires when no source has confirmed it for so long" },
	{ .name = "on_expire",
	  .type = OPTION_CUSTOM,
	  .parse = parse_on_expire,
	  .default_text = "keep",
	  .help = "when it has expired: keep, or hide the name until the next success" },
	{ .name = "history",
	  .type = OPTION_CUSTOM,
	  .parse = parse_history,
	  .default_text = "3",
	  .help = "superseded snapshots that are kept" },
	{ .name = NULL },
};

void term_config_release(struct term_config *term)
{
	for (size_t i = 0; i < term->n_sources; i++) {
		struct source *source = &term->sources[i];
		if (source->type->free)
			source->type->free(source->state);
		options_free(source->options);
	}
	free(term->sources);
	free(term->alias);
	free(term->name);
}

void draft_release(struct draft *draft)
{
	term_config_release(&draft->term);
	options_free(draft->options);
}

struct draft *load_new_draft(struct loader *loader, const char *name, struct place place)
{
	char *copy = strdup(name);

	if (copy && loader->n_drafts == loader->n_allocated) {
		size_t n = loader->n_allocated ? 2 * loader->n_allocated : 64;
		struct draft *drafts = reallocarray(loader->drafts, n, sizeof(*drafts));
		if (!drafts) {
			free(copy);
			copy = NULL;
		} else {
			loader->drafts = drafts;
			loader->n_allocated = n;
		}
	}
	if (!copy) {
		problem_out_of_memory(&loader->problems);
		return NULL;
	}
	struct draft *draft = &loader->drafts[loader->n_drafts++];
	*draft = (struct draft){ .term.name = copy, .place = place };
	return draft;
}

/* Was the option given in the block before value i? Returns that value or NULL. */
static const struct raw_value *given_before(const struct raw_block *block, size_t i)
{
	for (size_t j = 0; j < i; j++) {
		if (block->values[j].spec == block->values[i].spec)
			return &block->values[j];
	}
	return NULL;
}

/* Options that need more than a look at their text by itself. */
static int check_value(const struct option_spec *spec, const char *text, struct err *err)
{
	const struct option_spec *alias = option_find(config_term_table, "alias");

	return spec == alias ? name_check_alias(text, err) : 0;
}

bool load_values(struct loader *loader, const struct raw_block *block, struct options *options,
		 const char *term, const char *block_name)
{
	const char *before = block_name ? block_name : "", *colon = block_name ? ": " : "";
	bool is_good = true;

	for (size_t i = 0; i < block->n_values; i++) {
		const struct raw_value *value = &block->values[i];
		const struct raw_value *first = value->is_first ? given_before(block, i) : NULL;
		struct place place = { loader->file, value->line };
		struct err err = ERR_INIT;

		if (first)
			problem_add(&loader->problems, place, term,
				    "%s%soption \"%s\" is given twice, first on line %u", before,
				    colon, value->spec->name, first->line);
		else if (value->is_first && options_is_set(options, value->spec->name))
			problem_add(&loader->problems, place, term,
				    "%s%soption \"%s\" is given twice", before, colon,
				    value->spec->name);
		else if (check_value(value->spec, value->text, &err) < 0 ||
			 options_set(options, value->spec->name, value->text, &err) < 0)
			problem_add(&loader->problems, place, term, "%s%s%s", before, colon,
				    err.msg);
		else
			continue;
		is_good = false;
	}
	return is_good;
}

DEFINE_CLEANUP(struct options, options_free)

int load_source(struct draft *draft, const struct source_type *type, struct options *options,
		struct helper *helper, struct err *err)
{
	_cleanup_(options_free_cleanup) struct options *owned = options;
	uint64_t fingerprint = 0;
	void *state = NULL;

	if (options_check(owned, err) < 0)
		return -1;
	if (options_fingerprint(owned, type->name, &fingerprint, err) < 0)
		return -1;
	struct source *sources = reallocarray(draft->term.sources, draft->term.n_sources + 1,
					      sizeof(*sources));
	if (!sources)
		return err_set(err, ERR_INTERNAL, "out of memory");
	draft->term.sources = sources;
	if (type->init && type->init(&state, owned, helper, err) < 0)
		return -1;
	sources[draft->term.n_sources++] = (struct source){
		.type = type,
		.options = steal_ptr(&owned),
		.state = state,
		.fingerprint = fingerprint,
	};
	return 0;
}

static void load_raw_source(struct loader *loader, struct draft *draft,
			    const struct raw_source *raw)
{
	_cleanup_(options_free_cleanup) struct options *options = NULL;
	const char *term = draft->term.name, *kind = raw->type->name;
	struct err err = ERR_INIT;

	if (options_new(&options, raw->type->options, &err) < 0) {
		problem_out_of_memory(&loader->problems);
		return;
	}
	/* What is wrong already would only be said again in other words. */
	if (!load_values(loader, &raw->block, options, term, kind) || raw->block.is_incomplete)
		return;
	if (load_source(draft, raw->type, steal_ptr(&options), loader->request->helper, &err) < 0)
		problem_add(&loader->problems, (struct place){ loader->file, raw->block.line },
			    term, "%s: %s", kind, err.msg);
}

void load_term(struct loader *loader, const char *name, const struct raw_block *block,
	       const struct raw_source *sources, size_t n_sources)
{
	struct place place = { loader->file, block->line };
	struct draft *draft = load_new_draft(loader, name, place);
	struct err err = ERR_INIT;

	if (!draft)
		return;
	if (name_check(name, &err) < 0)
		problem_add(&loader->problems, place, name, "%s", err.msg);
	if (block->n_values > 0) {
		if (options_new(&draft->options, config_term_table, &err) < 0) {
			problem_out_of_memory(&loader->problems);
			return;
		}
		load_values(loader, block, draft->options, name, NULL);
		if (options_is_set(draft->options, "alias"))
			draft->term.alias = strdup(options_string(draft->options, "alias"));
		if (options_is_set(draft->options, "alias") && !draft->term.alias)
			problem_out_of_memory(&loader->problems);
	}
	for (size_t i = 0; i < n_sources; i++)
		load_raw_source(loader, draft, &sources[i]);
	if (n_sources == 0 && !block->is_incomplete)
		problem_add(&loader->problems, place, name,
			    "it has no source: a block such as %s { … } is missing",
			    loader->schema.types[0] ? loader->schema.types[0]->name : "http");
}

/* Whose value of the option counts for this term. NULL: nobody sets it. */
static const struct options *giver(const struct loader *loader, const struct draft *draft,
				   const char *name)
{
	const struct options *const ranked[] = { draft->options, loader->command,
						 loader->defaults };

	for (size_t i = 0; i < ARRAY_SIZE(ranked); i++) {
		if (ranked[i] && options_is_set(ranked[i], name))
			return ranked[i];
	}
	return NULL;
}

/* An unset option has the default of the table, for which any options serve. */
static int64_t effective(const struct loader *loader, const struct draft *draft, const char *name)
{
	const struct options *from = giver(loader, draft, name);

	return options_int(from ? from : loader->defaults, name);
}

static void check_term(struct loader *loader, const struct draft *draft)
{
	const struct term_config *term = &draft->term;
	char stale[CLOCK_HUMAN_SIZE], interval[CLOCK_HUMAN_SIZE];

	if (term->min_size_bytes > term->max_size_bytes)
		problem_add(&loader->problems, draft->place, term->name,
			    "min_size (%" PRIu64 " bytes) is more than max_size (%" PRIu64 ")",
			    term->min_size_bytes, term->max_size_bytes);
	if (term->max_stale_ms && term->max_stale_ms <= term->refresh_interval_ms)
		problem_add(&loader->problems, draft->place, term->name,
			    "max_stale (%s) is not more than refresh_interval (%s): the term would "
			    "expire between two checks",
			    clock_human(term->max_stale_ms, stale),
			    clock_human(term->refresh_interval_ms, interval));
}

/* What the options say; of a draft that has none that is the same for all. */
static void settle(const struct loader *loader, const struct draft *draft, struct term_config *term)
{
	const struct options *lazy = giver(loader, draft, "lazy_init");
	const struct options *min = giver(loader, draft, "min_size");
	const struct options *warm = giver(loader, draft, "prewarm_limit");

	term->refresh_interval_ms = effective(loader, draft, "refresh_interval");
	term->max_size_bytes = (uint64_t)effective(loader, draft, "max_size");
	term->min_size_bytes = options_size_bytes(min ? min : loader->defaults, "min_size");
	term->prewarm_limit_bytes = options_size_bytes(warm ? warm : loader->defaults,
						       "prewarm_limit");
	term->max_stale_ms = effective(loader, draft, "max_stale");
	term->on_expire = (enum config_on_expire)effective(loader, draft, "on_expire");
	term->history = (unsigned)effective(loader, draft, "history");
	term->mode = (mode_t)effective(loader, draft, "mode");
	term->user = giver(loader, draft, "user") ? (uid_t)effective(loader, draft, "user")
						  : geteuid();
	term->group = giver(loader, draft, "group") ? (gid_t)effective(loader, draft, "group")
						    : getegid();
	term->lazy_init = options_bool(lazy ? lazy : loader->defaults, "lazy_init");
	term->failover = (enum config_failover)effective(loader, draft, "failover");
	term->backwards = (enum config_backwards)effective(loader, draft, "backwards");
	term->on_delete = (enum config_on_delete)effective(loader, draft, "on_delete");
}

static void settle_as_usual(const struct term_config *usual, struct term_config *term)
{
	struct term_config settled = *usual;

	settled.name = term->name;
	settled.alias = term->alias;
	settled.sources = term->sources;
	settled.n_sources = term->n_sources;
	*term = settled;
}

void load_finish_terms(struct loader *loader)
{
	const struct draft bare = { .options = NULL };
	struct term_config usual = { .name = NULL };

	settle(loader, &bare, &usual);
	for (size_t i = 0; i < loader->n_drafts; i++) {
		struct draft *draft = &loader->drafts[i];
		if (draft->options)
			settle(loader, draft, &draft->term);
		else
			settle_as_usual(&usual, &draft->term);
		check_term(loader, draft);
	}
}
