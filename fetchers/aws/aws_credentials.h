/*
 * aws_credentials: the keys that requests to AWS-like services are signed with.
 *
 * A chain is the ordered list of places where keys are looked for. Sources with the same setup
 * share one chain: it asks once, keeps the keys in locked memory, renews them before they expire,
 * and reads files again when they have changed. The order, which is that of the AWS SDKs for Go v2
 * and Java v2:
 *
 *	1. AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
 *	2. AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN
 *	3. the profile, in the files ~/.aws/credentials and ~/.aws/config: a role, static keys, or
 *	   credential_process
 *	4. AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or AWS_CONTAINER_CREDENTIALS_FULL_URI
 *	5. the metadata service of the machine (IMDSv2)
 *
 * A source that names a profile or a credentials file gets keys from there (3) or none at all.
 */
#ifndef FETCHERS_AWS_AWS_CREDENTIALS_H
#define FETCHERS_AWS_AWS_CREDENTIALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "fetch/fetcher.h"

struct aws_chain;

/* What the options of a source say. Strings are borrowed for the call; NULL: not set. */
struct aws_chain_setup {
	const char *profile;
	/* Read instead of both files. May hold all that either of them may. */
	const char *credentials_file;
	bool anonymous;
};

/* The chain of that setup, one reference of it; put is given NULL too. Neither touches disk or
 * network. From any thread. */
int aws_chain_get(struct aws_chain **ret, const struct aws_chain_setup *setup, struct err *err);
void aws_chain_put(struct aws_chain *chain);

/* AWS_REGION, AWS_DEFAULT_REGION, or what the profile says. Reads the profile's files. Returns -1,
 * and ret is left alone, if there is none. */
int aws_chain_region(struct aws_chain *chain, char *ret, size_t size);

/* Immutable, in locked memory. Strings are printable ASCII without space. */
struct aws_keys {
	const char *access_key;
	const char *secret_key;
	const char *session_token; /* NULL: none */
	uint64_t serial;	   /* tells these keys of a chain from its earlier ones; from 1 */
};

/*
 * The keys to sign with now, a reference that aws_keys_free() gives back; NULL: the chain is
 * anonymous. Blocks on files, network or a program where the keys are not known or about to
 * expire; one caller renews, and the others go on with the old ones as long as these last.
 * ERR_DENIED (there are none, or they are not given to us), ERR_UNREACHABLE, ERR_BUSY,
 * ERR_INTERNAL or ERR_CANCELED. Keys are never part of a message.
 */
int aws_chain_keys(struct aws_chain *chain, struct fetch_ctx *ctx, struct aws_keys **ret,
		   struct err *err);
void aws_keys_free(struct aws_keys *keys);

/* The service said that these keys have expired or are not known (any more): the next call of
 * aws_chain_keys() looks for others, but not in a loop: at most every few seconds. */
void aws_chain_expired(struct aws_chain *chain, const struct aws_keys *keys);

/*
 * For the helper: is it a file that keys may come from? The files of a chain of this process, a
 * web_identity_token_file of a profile there, and what the environment names. From any thread; may
 * read the files of profiles.
 */
bool aws_names_file(const char *path);

/*
 * For the helper: the credential_process of a profile, in credentials_file (NULL: the files that
 * the environment names). *ret is the caller's. ERR_DENIED if no chain of this process uses these
 * files, or if there is none.
 */
int aws_credential_process(const char *credentials_file, const char *profile, char **ret,
			   struct err *err);

#endif
