/*
 * xml_fields: extracts a few texts from an XML document, with expat.
 *
 * It takes the texts of the children of the first element with a given name. Of several children
 * with the same name the first counts. Parsing stops at a document type declaration, so that no
 * entity is ever expanded.
 */
#ifndef FETCHERS_AWS_XML_FIELDS_H
#define FETCHERS_AWS_XML_FIELDS_H

#include <expat.h>
#include <stdbool.h>
#include <stddef.h>

struct xml_field {
	const char *name;
	char *text;  /* empty at first; NUL-terminated */
	size_t size; /* of text; a longer one is cut between two characters of UTF-8 */
};

struct xml_fields {
	const char *parent;
	const struct xml_field *fields;
	size_t n_fields;
	const XML_Memory_Handling_Suite *heap; /* NULL: malloc's */

	bool has_parent; /* it was found */
	bool is_cut;	 /* a text was too long */
	bool is_whole;	 /* the document is well-formed from beginning to end */
};

/* Sets the members below heap, and the fields as far as the document can be parsed. Returns -1 if
 * out of memory. */
int xml_fields_read(struct xml_fields *fields, const char *xml, size_t len);

#endif
