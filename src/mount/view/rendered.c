#include "mount/view/rendered.h"

#include <pthread.h>
#include <string.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/util.h"

/* Of the numbers that programs see; that of an id of the store is smaller. */
#define INO_BIT	       (UINT32_C(1) << 31)
#define INO_LIFE_SHIFT 20

/* Of one file: sets of terms whose last text is remembered, and the bytes of the texts that can be
 * used again. */
#define RECENT_MAX	 64
#define RECENT_BYTES_MAX ((size_t)64 << 20)

/* What a rendering costs besides its text. */
#define HELD_BYTES 512

/* The bytes of a file, immutable but for their users. */
struct text {
	size_t file; /* its index */
	struct term_access access;
	char *bytes; /* owned */
	size_t len;
	int64_t rendered_at_ms;	     /* wall clock */
	int64_t rendered_at_boot_ms; /* clock_boot_ms() */
	unsigned references;	     /* guarded by rendered.lock */
	struct held *holders;	     /* guarded by rendered.lock; a reference of each */
	struct text *next;	     /* in a list of texts to be freed */
};

/* A rendering of one user. */
struct held {
	struct rendering rendering;
	struct text *text; /* owns a reference */
	uid_t user;
	uint64_t charged_bytes; /* of the user's budget; 0: the owner's */
	uint64_t lookups;	/* guarded by rendered.lock; freed at 0 */
	struct held *prev, *next;
	UT_hash_handle hh; /* by rendering.id */
};

/* The last text of one set of terms. */
struct recent {
	bool is_used;
	struct term_access access;
	size_t len; /* of the text, also after it was dropped */
	int64_t rendered_at_boot_ms;
	struct text *text; /* owns a reference; NULL: dropped */
};

struct file_state {
	struct recent recent[RECENT_MAX]; /* guarded by rendered.lock */
};

struct rendered {
	struct rendered_setup setup;
	pthread_mutex_t lock;
	uint32_t serial;	  /* guarded by lock */
	struct held *by_id;	  /* guarded by lock */
	struct file_state *files; /* one for each file */
};

int rendered_new(struct rendered **ret, const struct rendered_setup *setup, struct err *err)
{
	struct rendered *rendered = calloc(1, sizeof(*rendered));

	if (!rendered ||
	    !(rendered->files = calloc(setup->n_files + 1, sizeof(*rendered->files)))) {
		free(rendered);
		return err_set(err, ERR_INTERNAL, ".rpt: out of memory");
	}
	rendered->setup = *setup;
	pthread_mutex_init(&rendered->lock, NULL);
	*ret = rendered;
	return 0;
}

bool rendered_list(const struct rendered *rendered, size_t index, const char **ret_name,
		   uint32_t *ret_ino)
{
	if (index >= rendered->setup.n_files)
		return false;
	*ret_name = rendered->setup.files[index].name;
	*ret_ino = INO_BIT | (uint32_t)(index + 1);
	return true;
}

/* ------------------------------------------------------------------ texts */

static void text_free(struct text *text)
{
	if (!text)
		return;
	free(text->bytes);
	free(text);
}

DEFINE_CLEANUP(struct text, text_free)

static bool is_reusable(const struct text *text)
{
	return clock_boot_ms() - text->rendered_at_boot_ms < RENDERED_REUSE_MS;
}

/* With the lock held. Returns the text to be freed if this was the last reference. */
static struct text *text_put(struct text *text)
{
	return --text->references ? NULL : text;
}

static void texts_free(struct text *texts)
{
	struct text *text, *next;

	LL_FOREACH_SAFE(texts, text, next)
	{
		text_free(text);
	}
}

/* With the lock held: what was rendered last for this access, or NULL. */
static struct recent *find_recent(struct rendered *rendered, size_t file,
				  const struct term_access *access)
{
	struct recent *recent = rendered->files[file].recent;

	for (size_t i = 0; i < RECENT_MAX; i++) {
		if (recent[i].is_used && term_access_equals(&recent[i].access, access))
			return &recent[i];
	}
	return NULL;
}

/* With the lock held: a text that is young enough, with a reference for the caller, or NULL. */
static struct text *find_text(struct rendered *rendered, size_t file,
			      const struct term_access *access)
{
	const struct recent *recent = find_recent(rendered, file, access);

	if (!recent || !recent->text || !is_reusable(recent->text))
		return NULL;
	recent->text->references++;
	return recent->text;
}

/* With the lock held: drops the text, and adds it to the list if nobody has it any more. */
static void drop_text(struct recent *recent, struct text **unused)
{
	struct text *text = recent->text ? text_put(steal_ptr(&recent->text)) : NULL;

	if (text)
		LL_PREPEND(*unused, text);
}

/* With the lock held: the place of a new access is a free one, or that of the oldest rendering. */
static struct recent *find_place(struct recent recent[RECENT_MAX])
{
	struct recent *place = &recent[0];

	for (size_t i = 1; i < RECENT_MAX && place->is_used; i++) {
		if (!recent[i].is_used ||
		    recent[i].rendered_at_boot_ms < place->rendered_at_boot_ms)
			place = &recent[i];
	}
	return place;
}

/* With the lock held: the oldest text but the newest, or NULL. */
static struct recent *find_oldest_text(struct recent recent[RECENT_MAX],
				       const struct recent *newest)
{
	struct recent *oldest = NULL;

	for (size_t i = 0; i < RECENT_MAX; i++) {
		if (recent[i].text && &recent[i] != newest &&
		    (!oldest || recent[i].rendered_at_boot_ms < oldest->rendered_at_boot_ms))
			oldest = &recent[i];
	}
	return oldest;
}

/* With the lock held: drops texts that are too old to be used again, and while they are too large
 * together, the oldest. */
static void drop_old(struct recent recent[RECENT_MAX], const struct recent *newest,
		     struct text **unused)
{
	struct recent *oldest;
	size_t bytes = 0;

	for (size_t i = 0; i < RECENT_MAX; i++) {
		if (recent[i].text && !is_reusable(recent[i].text))
			drop_text(&recent[i], unused);
		bytes += recent[i].text ? recent[i].text->len : 0;
	}
	while (bytes > RECENT_BYTES_MAX && (oldest = find_oldest_text(recent, newest))) {
		bytes -= oldest->text->len;
		drop_text(oldest, unused);
	}
}

/* With the lock held: keeps the text, which gets a reference, for the next look-ups. Returns a list
 * of texts to be freed. */
static struct text *set_recent(struct rendered *rendered, struct text *text)
{
	struct recent *place = find_recent(rendered, text->file, &text->access);
	struct recent *recent = rendered->files[text->file].recent;
	struct text *unused = NULL;

	if (!place)
		place = find_place(recent);
	drop_text(place, &unused);
	*place = (struct recent){
		.is_used = true,
		.access = text->access,
		.len = text->len,
		.rendered_at_boot_ms = text->rendered_at_boot_ms,
		.text = text,
	};
	text->references++;
	drop_old(recent, place, &unused);
	return unused;
}

/* With the lock held: returns the text to be freed if nobody holds it and it is too old to be used
 * again. Some have dozens of megabytes. */
static struct text *drop_unused(struct rendered *rendered, struct text *text)
{
	struct recent *recent = find_recent(rendered, text->file, &text->access);
	struct text *unused = NULL;

	if (recent && recent->text == text && text->references == 1 && !is_reusable(text))
		drop_text(recent, &unused);
	return unused;
}

static int render(const struct rendered *rendered, size_t file, const struct term_access *access,
		  struct text **ret, struct err *err)
{
	const struct rendered_file *source = &rendered->setup.files[file];
	_cleanup_(text_free_cleanup) struct text *text = calloc(1, sizeof(*text));

	if (!text)
		return err_set(err, ERR_INTERNAL, "%s: out of memory", source->name);
	text->file = file;
	text->access = *access;
	text->references = 1;
	text->rendered_at_ms = clock_wall_ms();
	if (source->render(source->arg, access, &text->bytes, &text->len, err) < 0)
		return -1;
	text->rendered_at_boot_ms = clock_boot_ms();
	*ret = steal_ptr(&text);
	return 0;
}

/* ------------------------------------------------------------------ renderings */

static void give(struct rendered *rendered, uid_t user, uint64_t bytes)
{
	if (bytes)
		budget_give(rendered->setup.budget, user, bytes);
}

/* Makes *charged the number of bytes that the user has taken. */
static int charge(struct rendered *rendered, uid_t user, uint64_t bytes, uint64_t *charged,
		  struct err *err)
{
	if (bytes < *charged)
		give(rendered, user, *charged - bytes);
	else if (!budget_take(rendered->setup.budget, user, bytes - *charged))
		return err_set(err, ERR_BUSY, ".rpt: uid %u holds too many files open", user);
	*charged = bytes;
	return 0;
}

/* With the lock held: gives the rendering an id of its own. False: out of memory. */
static bool enter(struct rendered *rendered, struct held *held)
{
	uint32_t n = UINT32_C(0x100) + rendered->serial++;
	uint32_t life = rendered->setup.life;
	const struct text *text = held->text;

	held->rendering = (struct rendering){
		.id = RENDERED_ID_BIT | (uint64_t)(life & INT32_MAX) << 32 | n,
		.ino = INO_BIT | (life << INO_LIFE_SHIFT & ~INO_BIT) |
		       (n & ((UINT32_C(1) << INO_LIFE_SHIFT) - 1)),
		.text = text->bytes,
		.len = text->len,
		.rendered_at_ms = text->rendered_at_ms,
	};
	HASH_ADD(hh, rendered->by_id, rendering.id, sizeof(held->rendering.id), held);
	if (!hash_has(held, hh))
		return false;
	DL_APPEND(held->text->holders, held);
	return true;
}

/* With the lock held: takes the rendering out of the table. */
static void leave(struct rendered *rendered, struct held *held)
{
	HASH_DEL(rendered->by_id, held);
	DL_DELETE(held->text->holders, held);
}

void rendered_free(struct rendered *rendered)
{
	struct held *held, *next;

	if (!rendered)
		return;
	HASH_ITER(hh, rendered->by_id, held, next) {
		leave(rendered, held);
		give(rendered, held->user, held->charged_bytes);
		text_free(text_put(held->text));
		free(held);
	}
	for (size_t i = 0; i < rendered->setup.n_files * RECENT_MAX; i++) {
		struct text *text = rendered->files[i / RECENT_MAX].recent[i % RECENT_MAX].text;
		if (text)
			text_free(text_put(text));
	}
	pthread_mutex_destroy(&rendered->lock);
	free(rendered->files);
	free(rendered);
}

void rendered_forget(struct rendered *rendered, uint64_t id, uint64_t count)
{
	_cleanup_(text_free_cleanup) struct text *unused = NULL;
	_cleanup_free_ struct held *gone = NULL;
	struct held *held = NULL;

	pthread_mutex_lock(&rendered->lock);
	HASH_FIND(hh, rendered->by_id, &id, sizeof(id), held);
	if (held) {
		held->lookups -= count < held->lookups ? count : held->lookups;
		if (!held->lookups) {
			leave(rendered, held);
			unused = text_put(held->text);
			if (!unused)
				unused = drop_unused(rendered, held->text);
			gone = held;
		}
	}
	pthread_mutex_unlock(&rendered->lock);
	if (gone)
		give(rendered, gone->user, gone->charged_bytes);
}

const struct rendering *rendered_get(struct rendered *rendered, uint64_t id)
{
	struct held *held = NULL;

	pthread_mutex_lock(&rendered->lock);
	HASH_FIND(hh, rendered->by_id, &id, sizeof(id), held);
	if (held)
		held->lookups++;
	pthread_mutex_unlock(&rendered->lock);
	return held ? &held->rendering : NULL;
}

/* ------------------------------------------------------------------ look-ups */

/* One look-up under construction. */
struct lookup {
	struct rendered *rendered; /* borrowed */
	uid_t user;
	uint64_t charged_bytes; /* to be given back */
	struct text *text;	/* a reference to be put; NULL: none */
	bool is_new;		/* text is not among the recent ones */
};

static void lookup_release(struct lookup *lookup)
{
	struct rendered *rendered = lookup->rendered;
	struct text *unused = NULL;

	if (lookup->text) {
		pthread_mutex_lock(&rendered->lock);
		unused = text_put(lookup->text);
		pthread_mutex_unlock(&rendered->lock);
	}
	text_free(unused);
	give(rendered, lookup->user, lookup->charged_bytes);
}

/* Finds a rendering that this user has already, or the text for a new one, or neither. Returns
 * whether there is a rendering. */
static bool find_young(struct lookup *lookup, size_t file, const struct term_access *access,
		       struct rendering *ret)
{
	struct rendered *rendered = lookup->rendered;
	struct held *held = NULL;

	pthread_mutex_lock(&rendered->lock);
	struct text *text = find_text(rendered, file, access);
	if (text)
		DL_SEARCH_SCALAR(text->holders, held, user, lookup->user);
	if (held) {
		held->lookups++;
		*ret = held->rendering;
		text->references--; /* others are left */
	} else {
		lookup->text = text;
	}
	pthread_mutex_unlock(&rendered->lock);
	return held != NULL;
}

/* Charges the user, and renders unless there is a text. The size of the last text for the same
 * terms is charged first, so that many look-ups at a time do not exceed the budget. */
static int get_text(struct lookup *lookup, size_t file, const struct term_access *access,
		    struct err *err)
{
	struct rendered *rendered = lookup->rendered;
	bool is_charged = !term_rights_is_owner(rendered->setup.rights, lookup->user);

	pthread_mutex_lock(&rendered->lock);
	const struct recent *last = find_recent(rendered, file, access);
	size_t expected = lookup->text ? lookup->text->len : last ? last->len : 0;
	pthread_mutex_unlock(&rendered->lock);
	if (is_charged &&
	    charge(rendered, lookup->user, expected + HELD_BYTES, &lookup->charged_bytes, err) < 0)
		return -1;
	if (lookup->text)
		return 0;
	if (render(rendered, file, access, &lookup->text, err) < 0)
		return -1;
	lookup->is_new = true;
	return is_charged ? charge(rendered, lookup->user, lookup->text->len + HELD_BYTES,
				   &lookup->charged_bytes, err)
			  : 0;
}

static int make_rendering(struct lookup *lookup, struct rendering *ret, struct err *err)
{
	struct rendered *rendered = lookup->rendered;
	struct text *unused = NULL;
	_cleanup_free_ struct held *held = calloc(1, sizeof(*held));

	if (!held)
		return err_set(err, ERR_INTERNAL, ".rpt: out of memory");
	held->user = lookup->user;
	held->lookups = 1;
	held->text = lookup->text;
	held->charged_bytes = lookup->charged_bytes;
	pthread_mutex_lock(&rendered->lock);
	bool is_entered = enter(rendered, held);
	if (is_entered)
		*ret = held->rendering;
	if (is_entered && lookup->is_new)
		unused = set_recent(rendered, held->text);
	pthread_mutex_unlock(&rendered->lock);
	texts_free(unused);
	if (!is_entered)
		return err_set(err, ERR_INTERNAL, ".rpt: out of memory");
	lookup->text = NULL;
	lookup->charged_bytes = 0;
	steal_ptr(&held);
	return 0;
}

int rendered_lookup(struct rendered *rendered, const char *name, const struct term_reader *caller,
		    struct rendering *ret, struct err *err)
{
	_cleanup_(lookup_release) struct lookup lookup = { .rendered = rendered,
							   .user = caller->uid };
	struct term_access access = term_rights_of(rendered->setup.rights, caller);
	size_t file = 0;

	while (file < rendered->setup.n_files &&
	       strcmp(rendered->setup.files[file].name, name) != 0)
		file++;
	if (file == rendered->setup.n_files)
		return err_set(err, ERR_NOT_FOUND, "no file .rpt/%s", name);
	if (find_young(&lookup, file, &access, ret))
		return 0;
	if (get_text(&lookup, file, &access, err) < 0 || make_rendering(&lookup, ret, err) < 0)
		return -1;
	return 0;
}
