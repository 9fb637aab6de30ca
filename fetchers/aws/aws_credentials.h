/*
 * aws_credentials: the keys that sign requests to AWS and services like it.
 *
 * A chain is an ordered list of providers of keys. Sources with the same setup share one chain: it
 * searches once, keeps the keys in locked memory, renews them before they expire, and reads files
 * again when they have changed. The order is that of the AWS SDKs for Go v2 and Java v2:
 *
 *	1. AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
 *	2. AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN
 *	3. the profile, in the files ~/.aws/credentials and ~/.aws/config: a role, static keys, or
 *	   credential_process
 *	4. AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or AWS_CONTAINER_CREDENTIALS_FULL_URI
 *	5. the metadata service of the machine (IMDSv2)
 *
 * A source that names a profile or a credentials file gets its keys from there (3) or not at all.
 */
#ifndef FETCHERS_AWS_AWS_CREDENTIALS_H
#define FETCHERS_AWS_AWS_CREDENTIALS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "fetch/fetcher.h"
#include "fetchers/aws/aws_keys.h"

struct helper;
struct aws_chain;

/* The options of a source. Strings are borrowed for the call; NULL: not set. */
struct aws_chain_setup {
	const char *profile;
	/* Read instead of both files; may contain what either of them may contain. */
	const char *credentials_file;
	bool anonymous;
};

/* Returns a reference to the chain with that setup. aws_chain_put() accepts NULL. Neither touches
 * disk or network. Both may be called from any thread. */
int aws_chain_get(struct aws_chain **ret, const struct aws_chain_setup *setup, struct err *err);
void aws_chain_put(struct aws_chain *chain);

/* AWS_REGION, AWS_DEFAULT_REGION, or the profile's region. Reads the profile's files. Returns -1
 * and leaves ret alone if none is set. */
int aws_chain_region(struct aws_chain *chain, struct helper *helper, char *ret, size_t size);

/*
 * The keys to sign with now: a reference that aws_keys_free() drops, or NULL if the chain is
 * anonymous. Blocks on files, network or a program if the keys are unknown or about to expire. One
 * caller renews them; the others use the old ones as long as these last. ERR_DENIED (there are no
 * keys, or a provider refused them), ERR_UNREACHABLE, ERR_BUSY, ERR_INTERNAL or ERR_CANCELED.
 * Messages never contain keys.
 */
int aws_chain_keys(struct aws_chain *chain, struct fetch_ctx *ctx, struct aws_keys **ret,
		   struct err *err);

/* Reports that the service called these keys expired or unknown: the next aws_chain_keys() searches
 * again, but at most every few seconds. */
void aws_chain_expired(struct aws_chain *chain, const struct aws_keys *keys);

/*
 * For struct helper_uses: may keys come from this file? True for the files of a chain of this
 * process, for the web_identity_token_file of a profile in them, and for files that the environment
 * names. May read the profiles' files. From any thread.
 */
bool aws_names_file(const char *path);

/* For struct helper_uses: could a chain of this process run a credential_process? Reads the
 * profiles' files. From any thread. */
bool aws_has_credential_process(void);

/*
 * For struct helper_uses: the credential_process of a profile in credentials_file (NULL: in the
 * files that the environment names). The caller frees *ret. ERR_DENIED if no chain of this process
 * would run it, whoever asks, or if others could change the files and this is a process of root
 * (aws_profiles_load_trusted()).
 */
int aws_credential_process(const char *credentials_file, const char *profile, char **ret,
			   struct err *err);

#endif
