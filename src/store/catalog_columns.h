/*
 * catalog_columns: the columns that each query returns. One table makes the list of columns in the
 * SQL text and the numbers for sqlite3_column_*().
 */
#ifndef STORE_CATALOG_COLUMNS_H
#define STORE_CATALOG_COLUMNS_H

/* Each table is a list of FIRST(number, SQL) NEXT(number, SQL) … */

#define SNAPSHOT_COLUMNS(FIRST, NEXT)                        \
	FIRST(SNAPSHOT_ID, "id")                             \
	NEXT(SNAPSHOT_SIZE, "size_bytes")                    \
	NEXT(SNAPSHOT_MTIME_S, "mtime_s")                    \
	NEXT(SNAPSHOT_MTIME_NS, "mtime_ns")                  \
	NEXT(SNAPSHOT_FETCHED, "fetched_at_ms")              \
	NEXT(SNAPSHOT_PUBLISHED, "snapshot.published_at_ms") \
	NEXT(SNAPSHOT_ORDER_KEY, "order_key")                \
	NEXT(SNAPSHOT_SHA256, "sha256")                      \
	NEXT(SNAPSHOT_VERSION, "version")                    \
	NEXT(SNAPSHOT_SOURCE, "source")                      \
	NEXT(SNAPSHOT_TOKEN, "token")                        \
	NEXT(SNAPSHOT_FINGERPRINT, "fingerprint")            \
	NEXT(SNAPSHOT_VERIFIED_IN, "verified_in")            \
	NEXT(SNAPSHOT_TERM_NAME, "name")                     \
	NEXT(SNAPSHOT_TERM_CONFIRMED, "confirmed_at_ms")     \
	NEXT(SNAPSHOT_TERM_ROW, "term.term")

#define FILE_COLUMNS(FIRST, NEXT) FIRST(FILE_ID, "id") NEXT(FILE_SIZE, "size_bytes")

#define USAGE_COLUMNS(FIRST, NEXT)         \
	FIRST(USAGE_SNAPSHOTS, "count(*)") \
	NEXT(USAGE_BYTES, "coalesce(sum(size_bytes), 0)")

#define TERM_COLUMNS(FIRST, NEXT)               \
	FIRST(TERM_ROW, "term")                 \
	NEXT(TERM_PUBLISHED, "published_at_ms") \
	NEXT(TERM_DROPPED_S, "dropped_s")       \
	NEXT(TERM_DROPPED_NS, "coalesce(dropped_ns, -1)")

#define BUMP_COLUMNS(FIRST, NEXT) FIRST(BUMP_NEXT, "coalesce(max(mtime_bump_s) + 1, 0)")

#define KNOWN_TERM_COLUMNS(FIRST, NEXT) \
	FIRST(KNOWN_TERM_ROW, "term")   \
	NEXT(KNOWN_TERM_NAME, "name")   \
	NEXT(KNOWN_TERM_IS_MISSED, "missed_since_ms IS NOT NULL")

#define MISSED_TERM_COLUMNS(FIRST, NEXT) FIRST(MISSED_TERM_ROW, "term")

#define RELEASED_COLUMNS(FIRST, NEXT) FIRST(RELEASED_TERM, "term")

#define TOKEN_COLUMNS(FIRST, NEXT)             \
	FIRST(TOKEN_TEXT, "token")             \
	NEXT(TOKEN_FINGERPRINT, "fingerprint") \
	NEXT(TOKEN_VERIFIED_IN, "verified_in")

#define OWNER_COLUMNS(FIRST, NEXT) FIRST(OWNER_NAME, "name") NEXT(OWNER_IS_CURRENT, "current IS ?1")

#define REFUSAL_COLUMNS(FIRST, NEXT)             \
	FIRST(REFUSAL_TERM, "name")              \
	NEXT(REFUSAL_FINGERPRINT, "fingerprint") \
	NEXT(REFUSAL_TOKEN, "token")             \
	NEXT(REFUSAL_REASON, "reason")

#define DIRECTORY_COLUMNS(FIRST, NEXT) FIRST(DIRECTORY_ID, "id")

#define COLUMN_NUMBER(number, sql) number,
#define COLUMN_NUMBERS(TABLE)	   enum { TABLE(COLUMN_NUMBER, COLUMN_NUMBER) }
#define COLUMN_FIRST(number, sql)  sql
#define COLUMN_NEXT(number, sql)   ", " sql
/* The columns as a part of an SQL text. */
#define COLUMNS(TABLE) TABLE(COLUMN_FIRST, COLUMN_NEXT)

COLUMN_NUMBERS(SNAPSHOT_COLUMNS);
COLUMN_NUMBERS(FILE_COLUMNS);
COLUMN_NUMBERS(USAGE_COLUMNS);
COLUMN_NUMBERS(TERM_COLUMNS);
COLUMN_NUMBERS(BUMP_COLUMNS);
COLUMN_NUMBERS(KNOWN_TERM_COLUMNS);
COLUMN_NUMBERS(MISSED_TERM_COLUMNS);
COLUMN_NUMBERS(RELEASED_COLUMNS);
COLUMN_NUMBERS(TOKEN_COLUMNS);
COLUMN_NUMBERS(OWNER_COLUMNS);
COLUMN_NUMBERS(REFUSAL_COLUMNS);
COLUMN_NUMBERS(DIRECTORY_COLUMNS);

#endif
