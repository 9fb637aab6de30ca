/*
 * xml_fields: a few texts out of an XML answer, with expat.
 *
 * Takes the texts of the children of the first element of a name, of several children of one name
 * the first. A document type declaration, with which entities that grow begin, ends the reading.
 */
#ifndef FETCHERS_AWS_XML_FIELDS_H
#define FETCHERS_AWS_XML_FIELDS_H

#include <expat.h>
#include <stdbool.h>
#include <stddef.h>

struct xml_field {
	const char *name;
	char *text;  /* empty at first; NUL-terminated */
	size_t size; /* of text; what does not fit is cut, not through a character of UTF-8 */
};

struct xml_fields {
	const char *parent;
	const struct xml_field *fields;
	size_t n_fields;
	const XML_Memory_Handling_Suite *heap; /* NULL: the usual one */

	bool has_parent; /* it was found */
	bool is_cut;	 /* a text was too long */
	bool is_whole;	 /* well-formed from beginning to end */
};

/* Sets what follows `heap`, and the fields as far as the document can be read. -1: out of memory.
 */
int xml_fields_read(struct xml_fields *fields, const char *xml, size_t len);

#endif
