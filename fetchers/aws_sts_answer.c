#include "fetchers/aws_sts_answer.h"

#include <string.h>

#include <expat.h>

#include "base/secret.h"

/* The children of <Credentials>; in locked memory. */
struct answer {
	char access_key[256];
	char secret_key[1024];
	char session_token[16 * 1024];
	char expiration[64];
};

struct reader {
	struct answer *answer;
	unsigned depth;
	unsigned credentials_depth; /* of <Credentials>; 0: not in it */
	char *field;		    /* where the text goes; NULL: nowhere */
	size_t field_size;
	bool is_cut; /* a field was too long */
};

static void XMLCALL start_element(void *arg, const XML_Char *name, const XML_Char **attributes)
{
	struct reader *reader = XML_GetUserData(arg);
	struct answer *answer = reader->answer;
	const struct {
		const char *name;
		char *field;
		size_t size;
	} fields[] = {
		{ "AccessKeyId", answer->access_key, sizeof(answer->access_key) },
		{ "SecretAccessKey", answer->secret_key, sizeof(answer->secret_key) },
		{ "SessionToken", answer->session_token, sizeof(answer->session_token) },
		{ "Expiration", answer->expiration, sizeof(answer->expiration) },
	};

	(void)attributes;
	reader->depth++;
	reader->field = NULL;
	if (!reader->credentials_depth && strcmp(name, "Credentials") == 0)
		reader->credentials_depth = reader->depth;
	if (!reader->credentials_depth || reader->depth != reader->credentials_depth + 1)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		if (strcmp(name, fields[i].name) == 0 && !*fields[i].field) {
			reader->field = fields[i].field;
			reader->field_size = fields[i].size;
		}
	}
}

static void XMLCALL end_element(void *arg, const XML_Char *name)
{
	struct reader *reader = XML_GetUserData(arg);

	(void)name;
	reader->field = NULL;
	reader->depth--;
}

static void XMLCALL take_text(void *arg, const XML_Char *text, int len)
{
	struct reader *reader = XML_GetUserData(arg);

	if (!reader->field)
		return;
	size_t used = strlen(reader->field);
	if ((size_t)len >= reader->field_size - used) {
		reader->is_cut = true;
		return;
	}
	memcpy(reader->field + used, text, (size_t)len);
}

/* Services do not send one, and what it can do is not wanted. */
static void XMLCALL refuse_doctype(void *arg, const XML_Char *name, const XML_Char *system_id,
				   const XML_Char *public_id, int has_internal)
{
	(void)name, (void)system_id, (void)public_id, (void)has_internal;
	XML_StopParser(arg, XML_FALSE);
}

static void parser_cleanup(XML_Parser *parser)
{
	if (*parser)
		XML_ParserFree(*parser);
}

/* -1: out of memory. Not whole: it is not well-formed, or a field is too long. */
static int read_answer(const char *xml, size_t len, struct answer *ret, bool *ret_whole)
{
	static const XML_Memory_Handling_Suite heap = {
		.malloc_fcn = secret_heap_malloc,
		.realloc_fcn = secret_heap_realloc,
		.free_fcn = secret_heap_free,
	};
	struct reader reader = { .answer = ret };
	_cleanup_(parser_cleanup) XML_Parser parser = XML_ParserCreate_MM(NULL, &heap, NULL);

	if (!parser)
		return -1;
	XML_SetUserData(parser, &reader);
	XML_SetElementHandler(parser, start_element, end_element);
	XML_SetCharacterDataHandler(parser, take_text);
	XML_UseParserAsHandlerArg(parser); /* the handlers' arg */
	XML_SetStartDoctypeDeclHandler(parser, refuse_doctype);
	*ret_whole = XML_Parse(parser, xml, (int)len, XML_TRUE) == XML_STATUS_OK && !reader.is_cut;
	return 0;
}

int aws_sts_answer_keys(const char *xml, size_t len, const char *where, struct aws_keys **ret,
			struct err *err)
{
	_cleanup_secret_ struct answer *answer = secret_new(sizeof(*answer));
	bool is_whole = false;

	if (!answer || read_answer(xml, len, answer, &is_whole) < 0)
		return err_set(err, ERR_INTERNAL, "%s: out of memory", where);
	if (!is_whole)
		return err_set(err, ERR_DENIED, "%s: the answer is not what STS answers", where);
	struct aws_key_texts texts = {
		.access_key = answer->access_key,
		.secret_key = answer->secret_key,
		.session_token = answer->session_token,
		.expiration = answer->expiration,
	};
	return aws_keys_new(ret, &texts, where, err);
}
