/*
 * tap: the few lines that a C unit test needs to speak the Test Anything Protocol.
 *
 *	int main(void)
 *	{
 *		ok(2 + 2 == 4, "two and two are four");
 *		is_str(name, "flags.json", "the name");
 *		return tap_done();
 *	}
 */
#ifndef TESTS_UNIT_TAP_H
#define TESTS_UNIT_TAP_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static int tap_count;
static int tap_failed;

__attribute__((format(printf, 4, 5), unused)) static bool tap_ok(bool passed, const char *file,
								 int line, const char *fmt, ...)
{
	va_list args;

	printf("%sok %d - ", passed ? "" : "not ", ++tap_count);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
	if (!passed) {
		tap_failed++;
		printf("# at %s:%d\n", file, line);
	}
	fflush(stdout);
	return passed;
}

#define ok(condition, ...) tap_ok((condition), __FILE__, __LINE__, __VA_ARGS__)

#define is_str(got, expected, ...)                                                        \
	do {                                                                              \
		const char *got_ = (got), *expected_ = (expected);                        \
		if (!ok(got_ && expected_ && strcmp(got_, expected_) == 0, __VA_ARGS__))  \
			printf("# got \"%s\", expected \"%s\"\n", got_ ? got_ : "(null)", \
			       expected_ ? expected_ : "(null)");                         \
	} while (0)

#define is_int(got, expected, ...)                                                            \
	do {                                                                                  \
		int64_t got_ = (int64_t)(got), expected_ = (int64_t)(expected);               \
		if (!ok(got_ == expected_, __VA_ARGS__))                                      \
			printf("# got %" PRId64 ", expected %" PRId64 "\n", got_, expected_); \
	} while (0)

__attribute__((unused)) static int tap_done(void)
{
	printf("1..%d\n", tap_count);
	return tap_failed ? 1 : 0;
}

#endif
