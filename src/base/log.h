/*
 * log: one line per event, in logfmt.
 *
 *	time=2026-01-31T12:00:00.250Z level=info event=updated term=flags.json version=7 bytes=4096
 *
 * Lines go to standard error, or to syslog once the daemon has left its terminal. In systemd's
 * journal they have their priority. Each line is written with one call; any thread may log.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdint.h>
#include <stdbool.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };

/* One key and its value; a NULL text omits the field. */
struct log_field {
	const char *key;
	enum { LOG_TEXT, LOG_NUMBER } kind;
	const char *text;
	int64_t number;
};

#define LOG_STR(k, v)                                     \
	(struct log_field)                                \
	{                                                 \
		.key = (k), .kind = LOG_TEXT, .text = (v) \
	}
#define LOG_INT(k, v)                                         \
	(struct log_field)                                    \
	{                                                     \
		.key = (k), .kind = LOG_NUMBER, .number = (v) \
	}

/* Lines below this level are dropped. The default is LOG_LEVEL_INFO. */
void log_set_level(enum log_level level);

/* Sends lines to syslog(3) from now on, under this name (borrowed for ever). */
void log_to_syslog(const char *name);

/* log_event(LOG_LEVEL_INFO, "mounted", LOG_STR("mountpoint", path), LOG_INT("terms", n)); */
#define log_event(level, event, ...) \
	log_fields((level), (event), \
		   (const struct log_field[]){ __VA_ARGS__ __VA_OPT__(, ){ .key = NULL } })

/* fields ends with a NULL key. Values are quoted where logfmt needs it. */
void log_fields(enum log_level level, const char *event, const struct log_field *fields);

#endif
