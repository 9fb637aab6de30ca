#include "fetchers/s3/s3_sse.h"

#include <stdbool.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/secret.h"
#include "base/util.h"
#include "base/files.h"
#include "fetchers/check.h"

#define KEY_SIZE 32
#define MD5_SIZE 16

/* Of 32 bytes: 11 groups of 3, the last one with one byte of padding. */
#define KEY_BASE64_LEN 44

/* What is read of the file; one byte more than it may hold. */
struct text {
	unsigned char bytes[KEY_BASE64_LEN + 3];
	size_t len;
};

static void text_wipe(struct text *text)
{
	secret_wipe(text, sizeof(*text));
}

void s3_sse_wipe(struct s3_sse *sse)
{
	secret_wipe(sse, sizeof(*sse));
}

static bool decode_key(struct text *text, unsigned char ret[KEY_SIZE])
{
	unsigned char decoded[KEY_BASE64_LEN];

	if (text->len == KEY_SIZE) {
		memcpy(ret, text->bytes, KEY_SIZE);
		return true;
	}
	while (text->len && strchr("\r\n", text->bytes[text->len - 1]))
		text->len--;
	/* The padding counts as a byte of what is decoded. */
	bool fits = text->len == KEY_BASE64_LEN && text->bytes[KEY_BASE64_LEN - 1] == '=' &&
		    text->bytes[KEY_BASE64_LEN - 2] != '=' &&
		    EVP_DecodeBlock(decoded, text->bytes, KEY_BASE64_LEN) == KEY_SIZE + 1;
	if (fits)
		memcpy(ret, decoded, KEY_SIZE);
	secret_wipe(decoded, sizeof(decoded));
	return fits;
}

int s3_sse_read(const char *path, struct s3_sse *ret, struct err *err)
{
	_cleanup_(text_wipe) struct text text = { .len = 0 };
	unsigned char key[KEY_SIZE], md5[MD5_SIZE];

	ssize_t len = files_read(path, text.bytes, sizeof(text.bytes), err);
	if (len < 0)
		return check_file_failed("sse_c_key_file", err);
	text.len = (size_t)len;
	if (!decode_key(&text, key))
		return err_set(err, ERR_DENIED,
			       "sse_c_key_file %s holds neither 32 bytes nor 32 bytes in base64",
			       path);
	bool made = EVP_Digest(key, KEY_SIZE, md5, NULL, EVP_md5(), NULL) == 1;
	if (made) {
		EVP_EncodeBlock((unsigned char *)ret->key, key, KEY_SIZE);
		EVP_EncodeBlock((unsigned char *)ret->md5, md5, MD5_SIZE);
	}
	secret_wipe(key, sizeof(key));
	return made ? 0 : err_set(err, ERR_INTERNAL, "sse_c_key_file: OpenSSL failed (MD5)");
}
