/*
 * err: one error, in the caller's memory, without allocation.
 *
 * Code may branch on kind. msg is for people: it names the operation, its object and the cause, and
 * contains no secret. An error is set once, where it happens. Callers may prefix it. The outermost
 * caller logs it once.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

enum err_kind {
	ERR_NONE,
	ERR_CONFIG,	 /* bad option, unreadable CA file: next attempt after a reload */
	ERR_UNREACHABLE, /* DNS, TCP, TLS, timeout, stall: back-off */
	ERR_BUSY,	 /* 429, 5xx: back-off, at least Retry-After */
	ERR_DENIED,	 /* 401, 403, EACCES: full interval */
	ERR_NOT_FOUND,	 /* 404, ENOENT: full interval */
	ERR_BAD_DATA,	 /* truncated, too large, corrupt: full interval; the token is refused */
	ERR_INTERNAL,	 /* disk full, out of memory, failed system call: back-off */
	ERR_CANCELED,	 /* cancellation was requested: neither logged nor counted */
};

#define ERR_MSG_SIZE 512

struct err {
	enum err_kind kind;
	char msg[ERR_MSG_SIZE];
};

#define ERR_INIT                 \
	{                        \
		.kind = ERR_NONE \
	}

/*
 * err_set(err, kind, format, …) sets kind and message; err_errno(err, format, …) sets ERR_INTERNAL
 * and appends ": " and the text of the current errno; err_prefix(err, format, …) puts "PREFIX: "
 * before the message. Each evaluates to -1, so that "return err_set(…);" is one expression. Control
 * characters become '?', because parts of messages come from outside.
 */
#define err_set(...)	(err_set_(__VA_ARGS__), err_result_())
#define err_errno(...)	(err_errno_(__VA_ARGS__), err_result_())
#define err_prefix(...) (err_prefix_(__VA_ARGS__), err_result_())

void err_set_(struct err *err, enum err_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void err_errno_(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void err_prefix_(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static inline int err_result_(void)
{
	return -1;
}

/* The kind as one lower-case word for logs and status: "unreachable", "bad_data". */
const char *err_kind_name(enum err_kind kind);

#endif
