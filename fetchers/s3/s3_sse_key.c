#include "fetchers/s3/s3_sse_key.h"

#include <stdbool.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/secret.h"
#include "base/util.h"
#include "fetchers/shared/base64.h"
#include "fetchers/shared/secret_file.h"

#define KEY_BYTES      32
#define KEY_BASE64_LEN 44
#define MD5_BYTES      16

/* Enough for both forms; a larger file is certainly not a key. */
#define FILE_MAX_BYTES 4096

/* In locked memory. */
struct decoded {
	uint8_t key[BASE64_DECODED_SIZE(KEY_BASE64_LEN)];
	uint8_t md5[MD5_BYTES];
};

static bool decode(const char *text, size_t len, struct decoded *ret)
{
	if (len == KEY_BYTES) {
		memcpy(ret->key, text, KEY_BYTES);
		return true;
	}
	while (len && strchr("\r\n", text[len - 1]))
		len--;
	return len == KEY_BASE64_LEN && base64_decode(text, len, ret->key) == KEY_BYTES;
}

int s3_sse_key_read(struct s3_sse_key **ret, struct helper *helper, const char *path,
		    struct err *err)
{
	static const char what[] = "sse_c_key_file";
	_cleanup_secret_ char *text = NULL;
	_cleanup_secret_ struct decoded *decoded = secret_new(sizeof(*decoded));
	_cleanup_secret_ struct s3_sse_key *key = secret_new(sizeof(*key));
	size_t len;

	if (!decoded || !key)
		return err_set(err, ERR_INTERNAL, "%s: out of memory", what);
	if (secret_file_read(helper, path, FILE_MAX_BYTES, &text, &len, err) < 0) {
		if (err->kind == ERR_NOT_FOUND)
			err->kind = ERR_DENIED;
		return err_prefix(err, "%s", what);
	}
	if (!decode(text, len, decoded))
		return err_set(err, ERR_DENIED,
			       "%s %s holds neither 32 bytes nor 32 bytes in base64", what, path);
	if (EVP_Digest(decoded->key, KEY_BYTES, decoded->md5, NULL, EVP_md5(), NULL) != 1)
		return err_set(err, ERR_INTERNAL, "%s: OpenSSL failed (MD5)", what);
	EVP_EncodeBlock((unsigned char *)key->key, decoded->key, KEY_BYTES);
	EVP_EncodeBlock((unsigned char *)key->md5, decoded->md5, MD5_BYTES);
	*ret = steal_ptr(&key);
	return 0;
}
