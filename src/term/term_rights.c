#include "term/term_rights.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"

struct kind {
	mode_t mode;
	uid_t user;
	gid_t group;
};

struct term_rights {
	uid_t owner;
	bool has_further; /* terms of further kinds */
	size_t n_kinds;
	struct kind kinds[TERM_KINDS_MAX];
};

static struct kind kind_of(const struct term *term)
{
	const struct term_config *config = term->config;

	return (struct kind){ .mode = config->mode, .user = config->user, .group = config->group };
}

/* The index of a kind; TERM_KINDS_MAX: a further one. */
static size_t find_kind(const struct term_rights *rights, struct kind kind)
{
	for (size_t i = 0; i < rights->n_kinds; i++) {
		const struct kind *known = &rights->kinds[i];

		if (known->mode == kind.mode && known->user == kind.user &&
		    known->group == kind.group)
			return i;
	}
	return TERM_KINDS_MAX;
}

int term_rights_new(struct term_rights **ret, const struct term *terms, size_t n_terms, uid_t owner,
		    struct err *err)
{
	struct term_rights *rights = calloc(1, sizeof(*rights));

	if (!rights)
		return err_set(err, ERR_INTERNAL, "rights to terms: out of memory");
	rights->owner = owner;
	for (size_t i = 0; i < n_terms; i++) {
		struct kind kind = kind_of(&terms[i]);

		if (find_kind(rights, kind) < TERM_KINDS_MAX)
			continue;
		if (rights->n_kinds < TERM_KINDS_MAX)
			rights->kinds[rights->n_kinds++] = kind;
		else
			rights->has_further = true;
	}
	*ret = rights;
	return 0;
}

void term_rights_free(struct term_rights *rights)
{
	free(rights);
}

uid_t term_rights_owner(const struct term_rights *rights)
{
	return rights->owner;
}

bool term_rights_is_owner(const struct term_rights *rights, uid_t uid)
{
	return uid == 0 || uid == rights->owner;
}

static bool is_in_group(const struct term_reader *reader, gid_t group)
{
	if (reader->gid == group)
		return true;
	for (size_t i = 0; i < reader->n_groups; i++) {
		if (reader->groups[i] == group)
			return true;
	}
	return false;
}

/* As the kernel's acl_permission_check(): only the first class that applies counts. */
static bool may_read(const struct term_reader *reader, const struct kind *kind)
{
	if (reader->uid == kind->user)
		return kind->mode & S_IRUSR;
	if (is_in_group(reader, kind->group))
		return kind->mode & S_IRGRP;
	return kind->mode & S_IROTH;
}

static void set_bit(struct term_access *access, size_t index)
{
	access->words[index / 64] |= UINT64_C(1) << index % 64;
}

static bool has_bit(const struct term_access *access, size_t index)
{
	return access->words[index / 64] >> index % 64 & 1;
}

struct term_access term_rights_of(const struct term_rights *rights,
				  const struct term_reader *reader)
{
	bool is_owner = term_rights_is_owner(rights, reader->uid);
	struct term_access access = { 0 };

	for (size_t i = 0; i < rights->n_kinds; i++) {
		if (is_owner || may_read(reader, &rights->kinds[i]))
			set_bit(&access, i);
	}
	if (is_owner && rights->has_further)
		set_bit(&access, TERM_KINDS_MAX);
	return access;
}

bool term_rights_include(const struct term_rights *rights, const struct term_access *access,
			 const struct term *term)
{
	return has_bit(access, find_kind(rights, kind_of(term)));
}

bool term_rights_are_full(const struct term_rights *rights, const struct term_access *access)
{
	struct term_access full = term_rights_of(rights, &(struct term_reader){ .uid = 0 });

	return term_access_equals(access, &full);
}

bool term_access_equals(const struct term_access *a, const struct term_access *b)
{
	return memcmp(a->words, b->words, sizeof(a->words)) == 0;
}
