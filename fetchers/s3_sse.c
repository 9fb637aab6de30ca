#include "fetchers/s3_sse.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/secret.h"
#include "base/util.h"

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

/* A file may be a pipe that somebody fills, so it is not waited for. */
static int read_text(const char *path, struct text *ret, struct err *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ssize_t n = fd < 0 ? -1 : 1;
	char reason[128];

	while (n > 0 && ret->len < sizeof(ret->bytes)) {
		n = read(fd, ret->bytes + ret->len, sizeof(ret->bytes) - ret->len);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n > 0)
			ret->len += (size_t)n;
	}
	if (n < 0)
		return err_set(err, ERR_DENIED, "sse_c_key_file %s: %s", path,
			       strerror_r(errno, reason, sizeof(reason)));
	return 0;
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

	if (read_text(path, &text, err) < 0)
		return -1;
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
