/*
 * The catalog's tables, and every statement on them.
 *
 * The row of a snapshot has all data about it, including the token, so that nothing else changes
 * when an older snapshot becomes current again. Times are wall clock.
 */
#include "store/catalog_columns.h"
#include "store/catalog_internal.h"

/* The first number of a mount. It is random, so that two catalogs do not share a number. */
#define FIRST_MOUNT "abs(random() / 4) + 1"

#define STRING_(text) #text
#define STRING(macro) STRING_(macro)

/* What tells the mtimes of deleted snapshots from new ones. */
#define NOTE_DROPPED                                                          \
	"CREATE TRIGGER note_dropped AFTER DELETE ON snapshot BEGIN"          \
	" UPDATE term SET dropped_s = OLD.mtime_s, dropped_ns = OLD.mtime_ns" \
	" WHERE term = OLD.term AND (dropped_s IS NULL OR"                    \
	" (dropped_s, dropped_ns) < (OLD.mtime_s, OLD.mtime_ns)); END;"

const char catalog_schema[] =
	"BEGIN;"
	"CREATE TABLE store ("
	"	one INTEGER PRIMARY KEY CHECK (one = 1),"
	"	next_id INTEGER NOT NULL CHECK (next_id > 1),"
	"	life INTEGER NOT NULL,"
	"	boot INTEGER NOT NULL," /* a number for boot_id */
	"	boot_id TEXT NOT NULL,"
	"	mount INTEGER NOT NULL"
	") STRICT;"
	"CREATE TABLE term ("
	"	term INTEGER PRIMARY KEY," /* also its slot, if below STORE_SLOTS */
	"	name TEXT NOT NULL UNIQUE CHECK (name <> ''),"
	"	current INTEGER," /* snapshot.id */
	"	history INTEGER NOT NULL DEFAULT 3,"
	"	published_at_ms INTEGER NOT NULL DEFAULT 0," /* of the last snapshot */
	"	missed_since_ms INTEGER," /* not configured since; NULL: configured */
	"	missed_in INTEGER,"	  /* store.mount at that time */
	"	confirmed_at_ms INTEGER NOT NULL DEFAULT 0,"
	"	dropped_s INTEGER," /* the latest mtime of a snapshot that was deleted */
	"	dropped_ns INTEGER"
	") STRICT;"
	"CREATE TABLE snapshot ("
	"	id INTEGER PRIMARY KEY CHECK (id > 1),"
	"	term INTEGER NOT NULL,"
	"	size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),"
	"	mtime_s INTEGER NOT NULL,"
	"	mtime_ns INTEGER NOT NULL,"
	"	mtime_bump_s INTEGER NOT NULL," /* how much later than the source's time */
	"	fetched_at_ms INTEGER NOT NULL,"
	"	published_at_ms INTEGER NOT NULL,"
	"	order_key INTEGER NOT NULL,"
	"	sha256 BLOB NOT NULL CHECK (length(sha256) = 32),"
	"	version TEXT NOT NULL,"
	"	source TEXT NOT NULL,"
	"	token TEXT,"			    /* that the source last gave for the bytes */
	"	fingerprint INTEGER NOT NULL,"	    /* of that source */
	"	verified_in INTEGER NOT NULL,"	    /* store.boot; 0: never; -1: corrupt */
	"	held_in INTEGER NOT NULL DEFAULT 0" /* store.mount */
	") STRICT;"
	"CREATE INDEX snapshot_term ON snapshot (term, id);"
	"CREATE TABLE refused ("
	"	term INTEGER NOT NULL,"
	"	fingerprint INTEGER NOT NULL,"
	"	token TEXT NOT NULL,"
	"	reason TEXT NOT NULL,"
	"	PRIMARY KEY (term, fingerprint)"
	") STRICT, WITHOUT ROWID;"
	"CREATE TABLE directory ("
	"	path TEXT PRIMARY KEY,"
	"	id INTEGER NOT NULL UNIQUE CHECK (id > 1)"
	") STRICT, WITHOUT ROWID;" NOTE_DROPPED
	"INSERT INTO store VALUES (1, 2, 0, 0, '', " FIRST_MOUNT ");"
	"PRAGMA application_id = " STRING(
		CATALOG_APPLICATION_ID) ";"
					"PRAGMA user_version = " STRING(
						CATALOG_SCHEMA_VERSION) ";"
									"COMMIT";

const char *const catalog_migration[CATALOG_SCHEMA_VERSION] = {
	/* Before mounts were counted, nothing was held after a restart. */
	[1] = "BEGIN;"
	      "ALTER TABLE store ADD COLUMN mount INTEGER NOT NULL DEFAULT 0;"
	      "ALTER TABLE term ADD COLUMN confirmed_at_ms INTEGER NOT NULL DEFAULT 0;"
	      "UPDATE store SET mount = " FIRST_MOUNT ";"
	      "UPDATE snapshot SET held_in = 0;"
	      "UPDATE term SET missed_in = 0 WHERE missed_since_ms IS NOT NULL;"
	      "UPDATE term SET confirmed_at_ms = coalesce("
	      " (SELECT fetched_at_ms FROM snapshot WHERE id = current), 0);"
	      "PRAGMA user_version = 2;"
	      "COMMIT",
	[2] = "BEGIN;"
	      "ALTER TABLE snapshot RENAME COLUMN mtime_ms TO mtime_s;"
	      "ALTER TABLE snapshot ADD COLUMN mtime_ns INTEGER NOT NULL DEFAULT 0;"
	      "ALTER TABLE snapshot ADD COLUMN mtime_bump_s INTEGER NOT NULL DEFAULT 0;"
	      "UPDATE snapshot SET mtime_s = mtime_s / 1000,"
	      " mtime_ns = mtime_s % 1000 * 1000000;"
	      "ALTER TABLE term ADD COLUMN dropped_s INTEGER;"
	      "ALTER TABLE term ADD COLUMN dropped_ns INTEGER;" NOTE_DROPPED
	      "PRAGMA user_version = 3;"
	      "COMMIT",
};

#define CORRUPT STRING(VERIFIED_CORRUPT)

const char *const catalog_sql[QUERY_COUNT] = {
	[QUERY_COMMIT] = "COMMIT",
	[QUERY_ROLLBACK] = "ROLLBACK",
	[QUERY_RECORD] = "UPDATE store SET next_id = ?1, life = ?2, boot = ?3, boot_id = ?4,"
			 " mount = ?5",
	[QUERY_LIST] = "SELECT " COLUMNS(FILE_COLUMNS) " FROM snapshot ORDER BY id",
	[QUERY_COUNT_ROWS] = "SELECT " COLUMNS(USAGE_COLUMNS) " FROM snapshot",
	[QUERY_ADD_TERM] = "INSERT INTO term (name, term) VALUES (?1, ?2)"
			   " ON CONFLICT (name) DO NOTHING",
	[QUERY_FIND_TERM] = "SELECT " COLUMNS(TERM_COLUMNS) " FROM term WHERE name = ?1",
	[QUERY_NEXT_BUMP] = "SELECT " COLUMNS(BUMP_COLUMNS) " FROM snapshot WHERE term = ?1"
							    " AND mtime_s - mtime_bump_s = ?2 AND "
							    "(mtime_ns = 0 OR ?3 IN (mtime_ns, 0))",
	[QUERY_HAS_MTIME] = "SELECT id FROM snapshot WHERE term = ?1"
			    " AND mtime_s = ?2 AND (mtime_ns = 0 OR ?3 IN (mtime_ns, 0)) LIMIT 1",
	[QUERY_INSERT] = "INSERT INTO snapshot (id, term, size_bytes, mtime_s, mtime_ns,"
			 " mtime_bump_s, fetched_at_ms, published_at_ms, order_key, sha256,"
			 " version, source, token, fingerprint, verified_in)"
			 " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14,"
			 " ?15)",
	[QUERY_HOLD_CURRENT] = "UPDATE snapshot SET held_in = ?2"
			       " WHERE id = (SELECT current FROM term WHERE term = ?1)",
	[QUERY_SET_CURRENT] = "UPDATE term SET current = ?2, published_at_ms = ?3, history = ?4,"
			      " confirmed_at_ms = coalesce(?5, confirmed_at_ms) WHERE term = ?1",
	[QUERY_CLEAR_CURRENT] = "UPDATE term SET current = NULL WHERE term = ?1",
	[QUERY_PRUNE] = "DELETE FROM snapshot WHERE held_in <> ?2 AND term = ?1"
			" AND id IS NOT (SELECT current FROM term WHERE term = ?1)"
			" AND id NOT IN"
			" (SELECT id FROM snapshot WHERE term = ?1 AND verified_in <> " CORRUPT
			"  AND id IS NOT (SELECT current FROM term WHERE term = ?1)"
			"  ORDER BY id DESC"
			"  LIMIT (SELECT history FROM term WHERE term = ?1))"
			" RETURNING " COLUMNS(FILE_COLUMNS),
	[QUERY_PRUNE_ALL] = "DELETE FROM snapshot WHERE id IN"
			    " (SELECT id FROM (SELECT id, history, verified_in, row_number()"
			    "   OVER (PARTITION BY snapshot.term, verified_in = " CORRUPT
			    "         ORDER BY id DESC) AS age"
			    "   FROM snapshot JOIN term ON snapshot.term = term.term"
			    "   WHERE id IS NOT current)"
			    "  WHERE age > history OR verified_in = " CORRUPT ")"
			    " RETURNING " COLUMNS(FILE_COLUMNS),
	[QUERY_DESCRIBE] = "SELECT " COLUMNS(
		TOKEN_COLUMNS) " FROM snapshot"
			       " WHERE id = ?1 AND term = (SELECT term FROM term WHERE name = ?2)",
	[QUERY_LOAD_ALL] = "SELECT " COLUMNS(
		SNAPSHOT_COLUMNS) " FROM term LEFT JOIN snapshot ON id = current ORDER BY name",
	[QUERY_LIST_HELD] = "SELECT " COLUMNS(
		SNAPSHOT_COLUMNS) " FROM snapshot JOIN term ON snapshot.term = term.term"
				  " WHERE held_in = ?1 AND id IS NOT current"
				  " UNION ALL SELECT " COLUMNS(
					  SNAPSHOT_COLUMNS) " FROM term JOIN snapshot ON id = "
							    "current WHERE missed_in = ?1",
	[QUERY_SET_TOKEN] = "UPDATE snapshot SET token = ?2, fingerprint = ?3"
			    " WHERE id = (SELECT current FROM term WHERE name = ?1)",
	[QUERY_SET_FINGERPRINT] = "UPDATE snapshot SET fingerprint = ?3 WHERE fingerprint = ?2 AND"
				  " id = (SELECT current FROM term WHERE name = ?1)",
	[QUERY_SET_CONFIRMED] = "UPDATE term SET confirmed_at_ms = ?2 WHERE name = ?1",
	[QUERY_SET_VERIFIED] = "UPDATE snapshot SET verified_in = ?2 WHERE id = ?1",
	[QUERY_RELEASE] = "UPDATE snapshot SET held_in = 0 WHERE id = ?1 RETURNING " COLUMNS(
		RELEASED_COLUMNS),
	[QUERY_CONDEMN] = "UPDATE snapshot SET verified_in = " CORRUPT ", held_in = ?2"
			  " WHERE id = ?1",
	[QUERY_UNSET_CURRENT] = "UPDATE term SET current = NULL WHERE current = ?1 AND"
				" term = (SELECT term FROM snapshot WHERE id = ?1)",
	[QUERY_FIND_OWNER] = "SELECT " COLUMNS(
		OWNER_COLUMNS) " FROM term"
			       " WHERE term = (SELECT term FROM snapshot WHERE id = ?1)",
	[QUERY_DELETE] = "DELETE FROM snapshot WHERE id = ?1 RETURNING " COLUMNS(FILE_COLUMNS),
	[QUERY_REFUSE] = "INSERT OR REPLACE INTO refused (term, fingerprint, token, reason)"
			 " VALUES (?1, ?2, ?3, ?4)",
	[QUERY_FORGET_REFUSED] = "DELETE FROM refused WHERE fingerprint = ?2 AND"
				 " term = (SELECT term FROM term WHERE name = ?1)",
	[QUERY_LIST_REFUSED] = "SELECT " COLUMNS(
		REFUSAL_COLUMNS) " FROM refused JOIN term ON refused.term = term.term",
	[QUERY_FIND_DIRECTORY] = "SELECT " COLUMNS(
		DIRECTORY_COLUMNS) " FROM directory WHERE path = ?1",
	[QUERY_INSERT_DIRECTORY] = "INSERT INTO directory (path, id) VALUES (?1, ?2)",
	[QUERY_LIST_TERMS] = "SELECT " COLUMNS(KNOWN_TERM_COLUMNS) " FROM term"
								   " ORDER BY name",
	[QUERY_SET_MISSED] = "UPDATE term SET missed_since_ms = ?2, missed_in = ?3"
			     " WHERE term = ?1",
	[QUERY_UNSET_MISSED] = "UPDATE term SET missed_since_ms = NULL, missed_in = NULL"
			       " WHERE term = ?1",
	[QUERY_LIST_MISSED] = "SELECT " COLUMNS(
		MISSED_TERM_COLUMNS) " FROM term"
				     " WHERE missed_since_ms <= ?1 AND missed_in <> ?2",
	[QUERY_DELETE_SNAPSHOTS] = "DELETE FROM snapshot WHERE term = ?1 RETURNING " COLUMNS(
		FILE_COLUMNS),
	[QUERY_DELETE_REFUSED] = "DELETE FROM refused WHERE term = ?1",
	[QUERY_DELETE_TERM] = "DELETE FROM term WHERE term = ?1",
};
