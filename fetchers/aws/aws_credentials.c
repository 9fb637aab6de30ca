/*
 * The chains of the process and their state.
 *
 *	          ┌── an error ───────────────────────────────┐
 *	none ─► renewing ─► known ─► about to expire ─► renewing (others use the known keys)
 *	          ▲            │
 *	          └────────────┴── expired, a file changed, the service refused them (others wait)
 *
 * At most one caller of a chain renews, and holds no lock meanwhile. When our clock says that keys
 * have expired we renew them, but we never refuse to use them: the service decides.
 */
#include "fetchers/aws/aws_credentials.h"

#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "fetchers/aws/aws_env.h"
#include "fetchers/aws/aws_files.h"
#include "fetchers/aws/aws_keys_json.h"
#include "fetchers/aws/aws_lookup.h"
#include "fetchers/aws/aws_profile.h"

/* How long before they expire keys are renewed; at most a quarter of their lifetime. */
#define RENEW_BEFORE_MS (INT64_C(10) * 60 * MS_PER_S)

/* The pause between two attempts to renew keys that are still valid. */
#define RENEW_PAUSE_MIN_MS (INT64_C(1) * MS_PER_S)
#define RENEW_PAUSE_MAX_MS (INT64_C(60) * MS_PER_S)

/* How long an error answers further calls: thousands of terms may share a chain. */
#define FAILURE_LASTS_MS (INT64_C(2) * MS_PER_S)

/* The pause between two renewals because the service refused the keys. */
#define EXPIRED_PAUSE_MS (INT64_C(5) * MS_PER_S)

struct aws_chain {
	struct aws_chain *next; /* guarded by registry */
	size_t refs;		/* guarded by registry */
	char *profile, *credentials_file;
	bool is_anonymous;
	struct aws_paths paths;

	pthread_mutex_t lock; /* a leaf */
	pthread_cond_t renewed;
	/* All below guarded by lock. */
	struct aws_keys *keys; /* a reference; NULL: none */
	uint64_t serial;
	bool from_files;	/* a change of the files may change the keys */
	struct aws_stamp stamp; /* of the files, before the last search */
	bool is_renewing;
	uint64_t round;		  /* counts finished searches */
	bool is_refused;	  /* by the service */
	int64_t may_refuse_at_ms; /* boot clock, as the next three; 0: at any time */
	int64_t expire_at_ms, renew_at_ms, retry_at_ms;
	struct err failure; /* of the last search; ERR_NONE: it succeeded */
	int64_t failure_until_ms;
};

static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER; /* a leaf */
static struct aws_chain *chains;			     /* guarded by registry */

/* ---- the chains of the process ---- */

static bool is_same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool is_chain_of(const struct aws_chain *chain, const struct aws_chain_setup *setup)
{
	return chain->is_anonymous == setup->anonymous &&
	       is_same_text(chain->profile, setup->profile) &&
	       is_same_text(chain->credentials_file, setup->credentials_file);
}

static void chain_free(struct aws_chain *chain)
{
	aws_keys_free(chain->keys);
	aws_paths_release(&chain->paths);
	pthread_cond_destroy(&chain->renewed);
	pthread_mutex_destroy(&chain->lock);
	free(chain->credentials_file);
	free(chain->profile);
	free(chain);
}

DEFINE_CLEANUP(struct aws_chain, chain_free)

static int chain_new(struct aws_chain **ret, const struct aws_chain_setup *setup, struct err *err)
{
	_cleanup_(chain_free_cleanup) struct aws_chain *chain = calloc(1, sizeof(*chain));

	if (!chain)
		return err_set(err, ERR_INTERNAL, "credentials: out of memory");
	pthread_mutex_init(&chain->lock, NULL);
	pthread_cond_init(&chain->renewed, NULL);
	chain->refs = 1;
	chain->is_anonymous = setup->anonymous;
	chain->profile = setup->profile ? strdup(setup->profile) : NULL;
	chain->credentials_file = setup->credentials_file ? strdup(setup->credentials_file) : NULL;
	if ((setup->profile && !chain->profile) ||
	    (setup->credentials_file && !chain->credentials_file))
		return err_set(err, ERR_INTERNAL, "credentials: out of memory");
	if (aws_paths_init(&chain->paths, setup->credentials_file, err) < 0)
		return -1;
	*ret = steal_ptr(&chain);
	return 0;
}

int aws_chain_get(struct aws_chain **ret, const struct aws_chain_setup *setup, struct err *err)
{
	struct aws_chain *chain = NULL;
	int rc = 0;

	aws_keys_json_prepare();
	pthread_mutex_lock(&registry);
	for (chain = chains; chain && !is_chain_of(chain, setup); chain = chain->next)
		;
	if (chain) {
		chain->refs++;
	} else if ((rc = chain_new(&chain, setup, err)) == 0) {
		chain->next = chains;
		chains = chain;
	}
	pthread_mutex_unlock(&registry);
	if (rc < 0)
		return -1;
	*ret = chain;
	return 0;
}

void aws_chain_put(struct aws_chain *chain)
{
	struct aws_chain **place = &chains;
	bool is_last = false;

	if (!chain)
		return;
	pthread_mutex_lock(&registry);
	if (--chain->refs == 0) {
		while (*place != chain)
			place = &(*place)->next;
		*place = chain->next;
		is_last = true;
	}
	pthread_mutex_unlock(&registry);
	if (is_last)
		chain_free(chain);
}

static struct aws_lookup lookup_of(const struct aws_chain *chain)
{
	return (struct aws_lookup){
		.profile = chain->profile,
		.credentials_file = chain->credentials_file,
		.paths = &chain->paths,
	};
}

int aws_chain_region(struct aws_chain *chain, struct helper *helper, char *ret, size_t size)
{
	struct aws_lookup lookup = lookup_of(chain);

	return aws_lookup_region(&lookup, helper, ret, size);
}

/* ---- keys ---- */

enum need { NEED_NONE, NEED_SOON, NEED_NOW };

static enum need judge(const struct aws_chain *chain, const struct aws_stamp *stamp, int64_t now_ms)
{
	if (!chain->keys || chain->is_refused)
		return NEED_NOW;
	if (chain->from_files && !aws_stamp_is_same(&chain->stamp, stamp))
		return NEED_NOW;
	if (now_ms < chain->renew_at_ms || now_ms < chain->retry_at_ms)
		return NEED_NONE;
	return now_ms < chain->expire_at_ms ? NEED_SOON : NEED_NOW;
}

static bool failure_lasts(const struct aws_chain *chain, const struct aws_stamp *stamp,
			  int64_t now_ms)
{
	return chain->failure.kind != ERR_NONE && now_ms < chain->failure_until_ms &&
	       aws_stamp_is_same(&chain->stamp, stamp);
}

static int64_t clamp(int64_t value, int64_t min, int64_t max)
{
	return value < min ? min : value > max ? max : value;
}

/* Sets the times of renewal, on the boot clock. */
static void plan(struct aws_chain *chain, int64_t now_ms)
{
	int64_t expire_ms = aws_keys_expire_ms(chain->keys);

	if (expire_ms == AWS_NEVER) {
		chain->expire_at_ms = chain->renew_at_ms = AWS_NEVER;
		return;
	}
	int64_t life_ms = expire_ms - clock_wall_ms();
	int64_t before_ms = life_ms / 4 < RENEW_BEFORE_MS ? life_ms / 4 : RENEW_BEFORE_MS;
	chain->expire_at_ms = now_ms + life_ms;
	chain->renew_at_ms = now_ms + life_ms - before_ms;
	chain->retry_at_ms = now_ms + clamp(life_ms / 4, RENEW_PAUSE_MIN_MS, RENEW_PAUSE_MAX_MS);
}

/* The result of one search: keys (owned), or NULL and failure. */
struct found {
	struct aws_keys *keys;
	bool from_files;
	struct err failure;
};

static void search(struct aws_chain *chain, struct fetch_ctx *ctx, struct found *ret)
{
	struct aws_lookup lookup = lookup_of(chain);

	*ret = (struct found){ .keys = NULL };
	if (aws_lookup_keys(&lookup, ctx, &ret->keys, &ret->from_files, &ret->failure) < 0)
		log_event(LOG_LEVEL_DEBUG, "credentials_failed",
			  LOG_STR("kind", err_kind_name(ret->failure.kind)),
			  LOG_STR("error", ret->failure.msg));
	else
		log_event(LOG_LEVEL_DEBUG, "credentials_renewed",
			  LOG_STR("profile", chain->profile));
}

/* Stores the result of a search. may_fail: the old keys are still valid, so a failure keeps them.
 * Returns the keys that were replaced; the caller frees them. The caller holds the lock. */
static struct aws_keys *take_over(struct aws_chain *chain, struct found *found,
				  const struct aws_stamp *stamp, bool may_fail)
{
	int64_t now_ms = clock_boot_ms();

	chain->is_renewing = false;
	chain->round++;
	chain->failure = found->failure;
	pthread_cond_broadcast(&chain->renewed);
	if (found->failure.kind == ERR_CANCELED)
		return NULL;
	chain->from_files = found->from_files;
	chain->stamp = *stamp;
	if (!found->keys) {
		chain->failure_until_ms = now_ms + FAILURE_LASTS_MS;
		chain->retry_at_ms = now_ms + clamp((chain->expire_at_ms - now_ms) / 4,
						    RENEW_PAUSE_MIN_MS, RENEW_PAUSE_MAX_MS);
		return may_fail ? NULL : steal_ptr(&chain->keys);
	}
	struct aws_keys *old = chain->keys;
	aws_keys_number(found->keys, ++chain->serial);
	chain->keys = steal_ptr(&found->keys);
	chain->is_refused = false;
	plan(chain, now_ms);
	return old;
}

static int renew(struct aws_chain *chain, struct fetch_ctx *ctx, const struct aws_stamp *stamp,
		 bool may_fail, struct aws_keys **ret, struct err *err)
{
	_cleanup_(aws_keys_free_cleanup) struct aws_keys *old = NULL;
	struct aws_keys *keys = NULL;
	struct found found;

	search(chain, ctx, &found);
	pthread_mutex_lock(&chain->lock);
	old = take_over(chain, &found, stamp, may_fail);
	if (chain->failure.kind == ERR_NONE || may_fail)
		keys = aws_keys_ref(chain->keys);
	pthread_mutex_unlock(&chain->lock);
	if (!keys) {
		*err = found.failure;
		return -1;
	}
	*ret = keys;
	return 0;
}

/* Waits for the search that is under way and returns its failure. The caller holds the lock. */
static bool wait_for_renewal(struct aws_chain *chain, struct err *err)
{
	uint64_t round = chain->round;

	while (chain->round == round)
		pthread_cond_wait(&chain->renewed, &chain->lock);
	if (chain->failure.kind == ERR_NONE)
		return true;
	*err = chain->failure;
	return false;
}

enum way { WAY_READY, WAY_RENEW, WAY_RENEW_SOON, WAY_FAILED };

/* Decides what this caller does. WAY_READY sets *ret, WAY_FAILED sets *err. The caller holds the
 * lock. */
static enum way choose(struct aws_chain *chain, const struct aws_stamp *stamp,
		       struct aws_keys **ret, struct err *err)
{
	for (;;) {
		int64_t now_ms = clock_boot_ms();
		enum need need = judge(chain, stamp, now_ms);
		if (need == NEED_NONE || (need == NEED_SOON && chain->is_renewing)) {
			*ret = aws_keys_ref(chain->keys);
			return WAY_READY;
		}
		if (!chain->is_renewing && need == NEED_NOW &&
		    failure_lasts(chain, stamp, now_ms)) {
			*err = chain->failure;
			return WAY_FAILED;
		}
		if (!chain->is_renewing) {
			chain->is_renewing = true;
			return need == NEED_SOON ? WAY_RENEW_SOON : WAY_RENEW;
		}
		if (!wait_for_renewal(chain, err))
			return WAY_FAILED;
	}
}

int aws_chain_keys(struct aws_chain *chain, struct fetch_ctx *ctx, struct aws_keys **ret,
		   struct err *err)
{
	struct aws_stamp stamp;

	if (chain->is_anonymous) {
		*ret = NULL;
		return 0;
	}
	aws_stamp_take(ctx->helper, &chain->paths, &stamp);
	pthread_mutex_lock(&chain->lock);
	enum way way = choose(chain, &stamp, ret, err);
	pthread_mutex_unlock(&chain->lock);
	switch (way) {
	case WAY_READY:
		return 0;
	case WAY_RENEW:
	case WAY_RENEW_SOON:
		return renew(chain, ctx, &stamp, way == WAY_RENEW_SOON, ret, err);
	case WAY_FAILED:
		break;
	}
	return -1;
}

void aws_chain_expired(struct aws_chain *chain, const struct aws_keys *keys)
{
	int64_t now_ms = clock_boot_ms();

	pthread_mutex_lock(&chain->lock);
	if (chain->keys && chain->keys->serial == keys->serial &&
	    now_ms >= chain->may_refuse_at_ms) {
		chain->is_refused = true;
		chain->may_refuse_at_ms = now_ms + EXPIRED_PAUSE_MS;
	}
	pthread_mutex_unlock(&chain->lock);
}

/* ---- struct helper_uses ---- */

/* Walks over the chains. Drops the reference that it is given (NULL: start) and returns a reference
 * to the next chain, or NULL. */
static struct aws_chain *next_chain(struct aws_chain *chain)
{
	pthread_mutex_lock(&registry);
	struct aws_chain *next = chain ? chain->next : chains;
	if (next)
		next->refs++;
	pthread_mutex_unlock(&registry);
	aws_chain_put(chain);
	return next;
}

/* Whether matches() is true for any chain. Those after the first match are not asked. */
static bool any_chain(bool (*matches)(const struct aws_chain *chain, void *arg), void *arg)
{
	struct aws_chain *chain = next_chain(NULL);
	bool is_found = false;

	while (chain && !is_found) {
		is_found = matches(chain, arg);
		chain = next_chain(chain);
	}
	aws_chain_put(chain);
	return is_found;
}

static bool environment_names_file(const char *path)
{
	static const char *const variables[] = {
		"AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
		"AWS_CA_BUNDLE",
	};

	for (size_t i = 0; i < ARRAY_SIZE(variables); i++) {
		if (is_same_text(aws_env(variables[i]), path))
			return true;
	}
	return false;
}

/* arg: const char **, the path */
static bool names_file(const struct aws_chain *chain, void *arg)
{
	_cleanup_(aws_profiles_free_cleanup) struct aws_profiles *profiles = NULL;
	const char *path = *(const char **)arg;
	struct err ignored = ERR_INIT;

	if (environment_names_file(path))
		return true;
	if (chain->is_anonymous)
		return false;
	return is_same_text(chain->paths.credentials, path) ||
	       is_same_text(chain->paths.config, path) ||
	       (aws_profiles_load_trusted(&profiles, &chain->paths, &ignored) == 0 &&
		(aws_profiles_name(profiles, "web_identity_token_file", path) ||
		 aws_profiles_name(profiles, "ca_bundle", path)));
}

bool aws_names_file(const char *path)
{
	return any_chain(names_file, &path);
}

static bool has_program(const struct aws_chain *chain, void *arg)
{
	_cleanup_(aws_profiles_free_cleanup) struct aws_profiles *profiles = NULL;
	struct aws_lookup lookup = lookup_of(chain);
	struct err ignored = ERR_INIT;
	const char *profile;

	(void)arg;
	return !chain->is_anonymous &&
	       aws_profiles_load(&profiles, NULL, &chain->paths, &ignored) == 0 &&
	       aws_lookup_program(&lookup, profiles, &profile);
}

bool aws_has_credential_process(void)
{
	return any_chain(has_program, NULL);
}

struct program_search {
	const char *credentials_file, *profile;
	char *command; /* owned; NULL: not found */
	struct err err;
};

/* Also ends the search with an error. */
static bool find_program(const struct aws_chain *chain, void *arg)
{
	_cleanup_(aws_profiles_free_cleanup) struct aws_profiles *profiles = NULL;
	struct program_search *search = arg;
	struct aws_lookup lookup = lookup_of(chain);
	const char *used;

	if (chain->is_anonymous || !is_same_text(chain->credentials_file, search->credentials_file))
		return false;
	if (aws_profiles_load_trusted(&profiles, &chain->paths, &search->err) < 0)
		return true;
	const char *command = aws_lookup_program(&lookup, profiles, &used);
	if (!command || strcmp(used, search->profile) != 0)
		return false;
	search->command = strdup(command);
	if (!search->command)
		err_set(&search->err, ERR_INTERNAL, "credential_process: out of memory");
	return true;
}

int aws_credential_process(const char *credentials_file, const char *profile, char **ret,
			   struct err *err)
{
	struct program_search search = {
		.credentials_file = credentials_file,
		.profile = profile,
		.err = ERR_INIT,
	};

	if (!any_chain(find_program, &search))
		return err_set(err, ERR_DENIED,
			       "no source of the configuration uses a credential_process of "
			       "profile \"%.128s\"",
			       profile);
	if (!search.command) {
		*err = search.err;
		return -1;
	}
	*ret = search.command;
	return 0;
}
