/*
 * http_rows: the rows of options that are the same for every fetcher that speaks HTTP. The options
 * struct has a field of the name that the row uses. A row stands where its table puts it: the order
 * of rows decides the fingerprints of older stores (config/legacy_fingerprint.h).
 */
#ifndef FETCHERS_SHARED_HTTP_ROWS_H
#define FETCHERS_SHARED_HTTP_ROWS_H

#include "config/option.h"
#include "fetchers/shared/media_type.h"
#include "fetchers/shared/option_check.h"
#include "http/http.h"

#define HTTP_ROW_CONTENT_TYPE(structure)                                          \
	{                                                                         \
		.name = "content_type", .type = OPTION_STRINGS,                   \
		OPTION_FIELD(structure, content_types), .role = OPTION_JUDGE,     \
		.check = media_type_check,                                        \
		.help = "accepted media types, such as \"text/*\"; left out: any" \
	}

#define HTTP_ROW_CA_FILE(structure)                                                         \
	{                                                                                   \
		.name = "ca_file", .type = OPTION_STRING, OPTION_FIELD(structure, ca_file), \
		.role = OPTION_MANNER, .check = check_path, .names_file = true,             \
		.help = "a PEM file of CAs to trust instead of those of the system"         \
	}

#define HTTP_ROW_PROXY(structure)                                                           \
	{                                                                                   \
		.name = "proxy", .type = OPTION_STRING, OPTION_FIELD(structure, proxy),     \
		.role = OPTION_MANNER, .check = check_proxy, .secret = true,                \
		.mask = http_url_mask,                                                      \
		.help = "URL of a proxy; left out: from http_proxy and similar variables; " \
			"\"\": none"                                                        \
	}

#define HTTP_ROW_CONNECT_TIMEOUT(structure)                                                   \
	{                                                                                     \
		.name = "connect_timeout", .type = OPTION_DURATION,                           \
		OPTION_FIELD(structure, connect_timeout_ms), .role = OPTION_MANNER, .min = 1, \
		.default_text = "10s",                                                        \
		.help = "time limit for name resolution, connection and TLS"                  \
	}

#define HTTP_ROW_STALL_TIMEOUT(structure)                                                         \
	{                                                                                         \
		.name = "stall_timeout", .type = OPTION_DURATION,                                 \
		OPTION_FIELD(structure, stall_timeout_ms), .role = OPTION_MANNER, .min = 1,       \
		.default_text = "30s", .help = "a transfer of less than 1 KiB in this time fails" \
	}

#endif
