/*
 * err: one error, owned by the caller, without allocation.
 *
 * kind is what code may branch on; msg is for people: what was attempted, on what, and what came
 * back, never with a secret in it. An error is set once, where it happens, may be prefixed on the
 * way up, and is logged once, at the top.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

enum err_kind {
	ERR_NONE,
	ERR_CONFIG,	 /* bad option, unreadable CA file: next attempt after a reload */
	ERR_UNREACHABLE, /* DNS, TCP, TLS, timeout, stall: back-off */
	ERR_BUSY,	 /* 429, 5xx: back-off, Retry-After is obeyed */
	ERR_DENIED,	 /* 401, 403, EACCES: full interval */
	ERR_NOT_FOUND,	 /* 404, ENOENT: full interval */
	ERR_BAD_DATA, /* truncated, too large, corrupt: full interval, not the same token again */
	ERR_INTERNAL, /* disk full, out of memory, failed system call: back-off */
	ERR_CANCELED, /* told to stop: neither logged nor counted */
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

/* Sets kind and message. Returns -1, so that "return err_set(…);" is one expression. Control
 * characters in the result are replaced by '?', since parts of it come from outside. */
int err_set(struct err *err, enum err_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* As err_set() with ERR_INTERNAL; appends ": " and the text of the current errno. Returns -1. */
int err_errno(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts "PREFIX: " before the message. Returns -1. */
int err_prefix(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The kind as one lower-case word, as it stands in logs and status: "unreachable", "bad_data". */
const char *err_kind_name(enum err_kind kind);

#endif
