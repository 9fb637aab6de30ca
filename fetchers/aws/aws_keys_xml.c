#include "fetchers/aws/aws_keys_xml.h"

#include "base/secret.h"
#include "base/util.h"
#include "fetchers/aws/xml_fields.h"

/* The children of <Credentials>; in locked memory. */
struct answer {
	char access_key[256];
	char secret_key[1024];
	char session_token[16 * 1024];
	char expiration[64];
};

/* Returns -1 if out of memory. *ret_whole is false if the document is malformed or a field is too
 * long. */
static int read_answer(const char *xml, size_t len, struct answer *ret, bool *ret_whole)
{
	static const XML_Memory_Handling_Suite heap = {
		.malloc_fcn = secret_heap_malloc,
		.realloc_fcn = secret_heap_realloc,
		.free_fcn = secret_heap_free,
	};
	const struct xml_field texts[] = {
		{ "AccessKeyId", ret->access_key, sizeof(ret->access_key) },
		{ "SecretAccessKey", ret->secret_key, sizeof(ret->secret_key) },
		{ "SessionToken", ret->session_token, sizeof(ret->session_token) },
		{ "Expiration", ret->expiration, sizeof(ret->expiration) },
	};
	struct xml_fields fields = {
		.parent = "Credentials",
		.fields = texts,
		.n_fields = ARRAY_SIZE(texts),
		.heap = &heap,
	};

	if (xml_fields_read(&fields, xml, len) < 0)
		return -1;
	*ret_whole = fields.is_whole && !fields.is_cut;
	return 0;
}

int aws_keys_from_xml(struct aws_keys **ret, const char *xml, size_t len, const char *where,
		      struct err *err)
{
	_cleanup_secret_ struct answer *answer = secret_new(sizeof(*answer));
	bool is_whole = false;

	if (!answer || read_answer(xml, len, answer, &is_whole) < 0)
		return err_set(err, ERR_INTERNAL, "%s: out of memory", where);
	if (!is_whole)
		return err_set(err, ERR_DENIED, "%s: the answer is not a valid STS response",
			       where);
	struct aws_key_texts texts = {
		.access_key = answer->access_key,
		.secret_key = answer->secret_key,
		.session_token = answer->session_token,
		.expiration = answer->expiration,
	};
	return aws_keys_new(ret, &texts, where, err);
}
