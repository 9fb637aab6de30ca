/*
 * image_format: the layout of an image.
 *
 *	struct image_header
 *	strings		each with its NUL
 *	records		numbers of variable length:
 *		n_tables { name n_rows { name type } }		root, term, and the types of sources
 *		n_lists { n { string } }
 *		values						of the root
 *		n_terms { name values n_sources {
 *			table fingerprint refusal_fingerprint legacy_fingerprint values } }
 *	values: n { row value }, without those that are equal to the table's default
 *
 * A number is a LEB128: 7 bits a byte, the lowest first; bit 7: more bytes follow. The numeric
 * value n of an option is written as 2n, or as -2n-1 if it is negative. A string is written as its
 * offset plus 1, a list as its index plus 1; 0: none.
 */
#ifndef CONFIG_IMAGE_FORMAT_H
#define CONFIG_IMAGE_FORMAT_H

#include <stdint.h>

/* The magic never changes; the version is that of the layout. Integers are in the byte order of the
 * machine. */
#define IMAGE_MAGIC   "rptfs\x7f\x02"
#define IMAGE_VERSION 1

struct image_header {
	char magic[8];
	uint32_t version;
	uint32_t strings_len; /* behind the header; the last byte is a NUL */
	uint64_t records_len; /* behind the strings, up to the end of the file */
};

enum { IMAGE_ROOT, IMAGE_TERM, IMAGE_FIRST_TYPE };

#endif
