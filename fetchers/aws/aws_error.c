#include "fetchers/aws/aws_error.h"

#include "base/util.h"
#include "fetchers/aws/xml_fields.h"

void aws_error_read(const char *body, size_t len, struct aws_error *ret)
{
	const struct xml_field texts[] = {
		{ "Code", ret->code, sizeof(ret->code) },
		{ "Message", ret->message, sizeof(ret->message) },
		{ "Region", ret->region, sizeof(ret->region) },
		{ "Endpoint", ret->endpoint, sizeof(ret->endpoint) },
	};
	struct xml_fields fields = {
		.parent = "Error",
		.fields = texts,
		.n_fields = ARRAY_SIZE(texts),
	};

	*ret = (struct aws_error){ .is_found = false };
	/* A document that is cut or malformed counts up to that point. */
	if (xml_fields_read(&fields, body, len < AWS_ERROR_BODY_MAX ? len : AWS_ERROR_BODY_MAX) ==
	    0)
		ret->is_found = fields.has_parent;
}
