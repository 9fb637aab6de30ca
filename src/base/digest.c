#include "base/digest.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>

#include "base/hex.h"
#include "base/util.h"

static EVP_MD *fetched;

static void look_up(void)
{
	fetched = EVP_MD_fetch(NULL, "SHA256", NULL);
}

/* Looked up once, because OpenSSL takes longer to look it up than to hash a short text. NULL:
 * OpenSSL has no SHA-256. */
static const EVP_MD *sha256(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, look_up);
	return fetched;
}

struct digest {
	EVP_MD_CTX *ctx; /* owned */
};

DEFINE_CLEANUP(struct digest, digest_free)

void digest_free(struct digest *digest)
{
	if (!digest)
		return;
	EVP_MD_CTX_free(digest->ctx);
	free(digest);
}

int digest_new(struct digest **ret, struct err *err)
{
	_cleanup_(digest_free_cleanup) struct digest *digest = calloc(1, sizeof(*digest));

	if (!digest || !(digest->ctx = EVP_MD_CTX_new()))
		return err_set(err, ERR_INTERNAL, "SHA-256: out of memory");
	if (digest_reset(digest, err) < 0)
		return -1;
	*ret = steal_ptr(&digest);
	return 0;
}

int digest_reset(struct digest *digest, struct err *err)
{
	if (EVP_DigestInit_ex(digest->ctx, sha256(), NULL) != 1)
		return err_set(err, ERR_INTERNAL, "SHA-256: OpenSSL could not start it");
	return 0;
}

int digest_update(struct digest *digest, const void *data, size_t len, struct err *err)
{
	if (EVP_DigestUpdate(digest->ctx, data, len) != 1)
		return err_set(err, ERR_INTERNAL, "SHA-256: OpenSSL failed");
	return 0;
}

int digest_final(struct digest *digest, uint8_t ret[DIGEST_SIZE], struct err *err)
{
	if (EVP_DigestFinal_ex(digest->ctx, ret, NULL) != 1)
		return err_set(err, ERR_INTERNAL, "SHA-256: OpenSSL failed");
	return 0;
}

int digest_of(const void *data, size_t len, uint8_t ret[DIGEST_SIZE], struct err *err)
{
	if (EVP_Digest(data, len, ret, NULL, sha256(), NULL) != 1)
		return err_set(err, ERR_INTERNAL, "SHA-256: OpenSSL failed");
	return 0;
}

const char *digest_hex(const uint8_t digest[DIGEST_SIZE], char ret[DIGEST_HEX_SIZE])
{
	hex_encode(digest, DIGEST_SIZE, ret);
	return ret;
}
