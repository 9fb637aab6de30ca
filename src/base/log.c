#include "base/log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/process_id.h"
#include "base/utf8.h"

#define LINE_SIZE 2048

static _Atomic enum log_level minimum = LOG_LEVEL_INFO;
static atomic_bool to_syslog;

void log_set_level(enum log_level level)
{
	atomic_store(&minimum, level);
}

void log_to_syslog(const char *name)
{
	static char tag[64];

	/* LOG_PID would add the number of getpid(2). */
	snprintf(tag, sizeof(tag), "%s[%d]", name, (int)process_id());
	openlog(tag, 0, LOG_DAEMON);
	atomic_store(&to_syslog, true);
}

/* A line under construction; the end of a long one is cut off. */
struct line {
	char text[LINE_SIZE];
	size_t used;
};

static void put_char(struct line *line, char c)
{
	if (line->used < sizeof(line->text) - 1)
		line->text[line->used++] = c;
}

/* All of them, or none. */
static void put_bytes(struct line *line, const char *bytes, size_t len)
{
	if (len < sizeof(line->text) - line->used) {
		memcpy(line->text + line->used, bytes, len);
		line->used += len;
	}
}

static void put_text(struct line *line, const char *text)
{
	for (; *text; text++)
		put_char(line, *text);
}

static bool is_plain(const char *value)
{
	if (!*value)
		return false;
	for (size_t len; *value; value += len) {
		len = utf8_printable(value);
		if (!len || strchr(" \"=\\", *value))
			return false;
	}
	return true;
}

static void put_value(struct line *line, const char *value)
{
	if (is_plain(value)) {
		put_text(line, value);
		return;
	}
	put_char(line, '"');
	for (size_t len; *value; value += len) {
		len = utf8_printable(value);
		if (*value == '"' || *value == '\\')
			put_char(line, '\\');
		put_bytes(line, len ? value : "?", len ? len : 1);
		len += !len;
	}
	put_char(line, '"');
}

static void put_fields(struct line *line, const struct log_field *fields)
{
	char number[24];

	for (; fields->key; fields++) {
		if (fields->kind == LOG_TEXT && !fields->text)
			continue;
		put_char(line, ' ');
		put_text(line, fields->key);
		put_char(line, '=');
		if (fields->kind == LOG_TEXT) {
			put_value(line, fields->text);
		} else {
			snprintf(number, sizeof(number), "%" PRId64, fields->number);
			put_text(line, number);
		}
	}
}

static int syslog_priority(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_DEBUG:
		return LOG_DEBUG;
	case LOG_LEVEL_INFO:
		return LOG_INFO;
	case LOG_LEVEL_WARNING:
		return LOG_WARNING;
	case LOG_LEVEL_ERROR:
		return LOG_ERR;
	}
	return LOG_ERR;
}

static const char *level_name(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_DEBUG:
		return "debug";
	case LOG_LEVEL_INFO:
		return "info";
	case LOG_LEVEL_WARNING:
		return "warning";
	case LOG_LEVEL_ERROR:
		return "error";
	}
	return "error";
}

static pthread_once_t journal_once = PTHREAD_ONCE_INIT;
static bool is_journal; /* set once */

/* Is standard error the stream of systemd's journal? See JOURNAL_STREAM in systemd.exec(5). */
static void find_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	is_journal = stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
		     fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void log_fields(enum log_level level, const char *event, const struct log_field *fields)
{
	struct line line = { .used = 0 };
	char now[CLOCK_RFC3339_SIZE];

	if (level < atomic_load(&minimum))
		return;
	if (!atomic_load(&to_syslog)) {
		pthread_once(&journal_once, find_journal);
		/* The journal takes the priority from there: sd-daemon(3). */
		if (is_journal) {
			put_char(&line, '<');
			put_char(&line, (char)('0' + syslog_priority(level)));
			put_char(&line, '>');
		}
		put_text(&line, "time=");
		put_text(&line, clock_rfc3339(clock_wall_ms(), now));
		put_char(&line, ' ');
	}
	put_text(&line, "level=");
	put_text(&line, level_name(level));
	put_text(&line, " event=");
	put_text(&line, event);
	put_fields(&line, fields);
	if (atomic_load(&to_syslog)) {
		line.text[line.used] = '\0';
		syslog(syslog_priority(level), "%s", line.text);
		return;
	}
	line.text[line.used++] = '\n';
	ssize_t written = write(STDERR_FILENO, line.text, line.used);
	(void)written; /* a failure cannot be reported */
}
