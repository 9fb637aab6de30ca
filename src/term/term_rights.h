/*
 * term_rights: which terms a user may read, and so may know about.
 *
 * Mode, user and group of a term decide, as they do in the kernel. Terms in which all three are the
 * same are of one kind, and a mount has few kinds. So what a user may read is a set of kinds, which
 * can be compared, and which says what the user sees of .rpt/ and of the control socket. Root and
 * the owner of the mount may know about all terms.
 *
 * Immutable once built.
 */
#ifndef TERM_TERM_RIGHTS_H
#define TERM_TERM_RIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "term/term.h"

/* Terms of further kinds are for root and the owner only. */
#define TERM_KINDS_MAX 256

struct term_rights;

/* Who asks. */
struct term_reader {
	uid_t uid;
	gid_t gid;
	const gid_t *groups; /* borrowed, n_groups of them; supplementary groups */
	size_t n_groups;
};

/* What a reader may know about: one bit for each kind, and one for all further kinds. */
struct term_access {
	uint64_t words[TERM_KINDS_MAX / 64 + 1];
};

/* terms: borrowed. */
int term_rights_new(struct term_rights **ret, const struct term *terms, size_t n_terms, uid_t owner,
		    struct err *err);
/* Takes NULL. */
void term_rights_free(struct term_rights *rights);

/* The owner of the mount. */
uid_t term_rights_owner(const struct term_rights *rights);

/* Root and the owner of the mount. */
bool term_rights_is_owner(const struct term_rights *rights, uid_t uid);

struct term_access term_rights_of(const struct term_rights *rights,
				  const struct term_reader *reader);
bool term_rights_include(const struct term_rights *rights, const struct term_access *access,
			 const struct term *term);
/* Does it include every term? */
bool term_rights_are_full(const struct term_rights *rights, const struct term_access *access);

bool term_access_equals(const struct term_access *a, const struct term_access *b);

#endif
