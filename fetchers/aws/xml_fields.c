#include "fetchers/aws/xml_fields.h"

#include <string.h>

#include "base/utf8.h"
#include "base/util.h"

struct reader {
	XML_Parser parser; /* owned */
	struct xml_fields *fields;
	unsigned depth;
	unsigned parent_depth;	       /* 0: outside the parent */
	const struct xml_field *field; /* that takes the text; NULL: none */
};

static void XMLCALL start_element(void *arg, const XML_Char *name, const XML_Char **attributes)
{
	struct reader *reader = arg;
	struct xml_fields *fields = reader->fields;

	(void)attributes;
	reader->depth++;
	reader->field = NULL;
	if (!fields->has_parent && strcmp(name, fields->parent) == 0) {
		reader->parent_depth = reader->depth;
		fields->has_parent = true;
		return;
	}
	if (!reader->parent_depth || reader->depth != reader->parent_depth + 1)
		return;
	for (size_t i = 0; i < fields->n_fields; i++) {
		if (strcmp(name, fields->fields[i].name) == 0 && !*fields->fields[i].text)
			reader->field = &fields->fields[i];
	}
}

static void XMLCALL end_element(void *arg, const XML_Char *name)
{
	struct reader *reader = arg;

	(void)name;
	reader->field = NULL;
	if (reader->depth == reader->parent_depth)
		reader->parent_depth = 0;
	reader->depth--;
}

static void XMLCALL take_text(void *arg, const XML_Char *text, int len)
{
	struct reader *reader = arg;

	if (!reader->field)
		return;
	size_t used = strlen(reader->field->text), room = reader->field->size - 1 - used;
	size_t n = (size_t)len < room ? (size_t)len : room;
	if (n < (size_t)len)
		n = utf8_cut(text, n);
	memcpy(reader->field->text + used, text, n);
	reader->field->text[used + n] = '\0';
	if (n < (size_t)len) {
		reader->fields->is_cut = true;
		reader->field = NULL;
	}
}

static void XMLCALL refuse_doctype(void *arg, const XML_Char *name, const XML_Char *system_id,
				   const XML_Char *public_id, int has_internal)
{
	struct reader *reader = arg;

	(void)name, (void)system_id, (void)public_id, (void)has_internal;
	XML_StopParser(reader->parser, XML_FALSE);
}

int xml_fields_read(struct xml_fields *fields, const char *xml, size_t len)
{
	struct reader reader = {
		.parser = XML_ParserCreate_MM(NULL, fields->heap, NULL),
		.fields = fields,
	};

	fields->has_parent = fields->is_cut = fields->is_whole = false;
	if (!reader.parser)
		return -1;
	XML_SetUserData(reader.parser, &reader);
	XML_SetElementHandler(reader.parser, start_element, end_element);
	XML_SetCharacterDataHandler(reader.parser, take_text);
	XML_SetStartDoctypeDeclHandler(reader.parser, refuse_doctype);
	fields->is_whole = XML_Parse(reader.parser, xml, (int)len, XML_TRUE) == XML_STATUS_OK;
	XML_ParserFree(reader.parser);
	return 0;
}
