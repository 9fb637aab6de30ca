/*
 * decode: decodes content codings piece by piece, and knows whether the body was complete.
 *
 * A coded body may be used only after decoder_finish(): its coding has marked the end, and its
 * checksums, if any, are right.
 */
#ifndef HTTP_DECODE_H
#define HTTP_DECODE_H

#include <stddef.h>

#include "base/err.h"

struct decoder;

/* Takes decoded bytes: 0, or -1 with *err set, which ends the decoding. */
typedef int decoder_output(void *arg, const void *data, size_t len, struct err *err);

/* The codings of a response, without those that leave the bytes as they are. */
struct codings {
	unsigned n;
	char name[64]; /* of the last; a longer name is cut off */
};

/* Adds the elements of one Content-Encoding line. Left out are identity, an empty element, and what
 * services send for bodies that are not coded: none, aws-chunked, utf8, utf-8, binary. */
void codings_add(struct codings *codings, const char *line);

/* The one coding must be gzip, x-gzip, br or zstd, in any case: ERR_BAD_DATA for others, and for
 * several. */
int decoder_new(struct decoder **ret, const struct codings *codings, decoder_output *output,
		void *arg, struct err *err);
void decoder_free(struct decoder *decoder);

/* ERR_BAD_DATA if the bytes are not in this coding, or continue after its end; gzip may continue
 * with zero bytes. */
int decoder_feed(struct decoder *decoder, const void *data, size_t len, struct err *err);

/* The body has ended: ERR_BAD_DATA if it is incomplete. */
int decoder_finish(const struct decoder *decoder, struct err *err);

#endif
