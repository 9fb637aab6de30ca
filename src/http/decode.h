/*
 * decode: content codings, decoded piece by piece, and known to be whole.
 *
 * A coded body counts only when its coding says that it is complete and its checksums (where it
 * has some) are right: that is what decoder_finish() tells.
 */
#ifndef HTTP_DECODE_H
#define HTTP_DECODE_H

#include <stddef.h>

#include "base/err.h"

struct decoder;

/* Where decoded bytes go: 0, or -1 with *err set, which ends the decoding. */
typedef int decoder_output(void *arg, const void *data, size_t len, struct err *err);

/* coding: as in Content-Encoding, one of gzip, x-gzip, br, zstd without case. ERR_BAD_DATA for
 * others. */
int decoder_new(struct decoder **ret, const char *coding, decoder_output *output, void *arg,
		struct err *err);
void decoder_free(struct decoder *decoder);

/* ERR_BAD_DATA when the bytes are not of this coding or go on behind its end. */
int decoder_feed(struct decoder *decoder, const void *data, size_t len, struct err *err);

/* No bytes follow: ERR_BAD_DATA if they should. */
int decoder_finish(const struct decoder *decoder, struct err *err);

#endif
