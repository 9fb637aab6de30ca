/*
 * librpt_probe: a program that uses librpt and takes commands from standard input.
 *
 *	librpt_probe PATH
 *
 * Prints one line for each command:
 *
 *	get N		gets N times (default 1) and prints the last result: "value SERIAL DETACHED
 *			VERSION BODY", with "-" for an empty body, or "error NUMBER"
 *	check		checks and prints "check NUMBER"
 *	held		prints the value of the last get that succeeded again
 *	chase N		gets until N of them found a new snapshot, and prints "chased GETS
 *			CHANGES WRONG". WRONG counts snapshots that are torn or older than the one
 *			before, and errors. A body is one number of eight digits, repeated.
 */
#include <errno.h>
#include <inttypes.h>
#include <rpt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS 8

static struct rpt_value held;

static void print_held(void)
{
	printf("value %" PRIu64 " %d %s %.*s\n", held.serial, held.detached, held.version,
	       (int)(held.size ? held.size : 1), held.size ? (const char *)held.data : "-");
}

static void get(struct rpt_term *term, unsigned long n)
{
	int r = 0;

	for (unsigned long i = 0; i < n; i++)
		r = rpt_term_get(term, &held);
	if (r < 0)
		printf("error %d\n", -r);
	else
		print_held();
}

/* Returns the number that the body repeats; -1 if the body is torn. */
static long number_of(const struct rpt_value *value)
{
	const char *data = value->data;
	char digits[DIGITS + 1] = "";

	if (value->size < DIGITS || value->size % DIGITS)
		return -1;
	memcpy(digits, data, DIGITS);
	for (size_t at = 0; at < value->size; at += DIGITS) {
		if (memcmp(data + at, digits, DIGITS) != 0)
			return -1;
	}
	return strtol(digits, NULL, 10);
}

static void chase(struct rpt_term *term, unsigned long n)
{
	unsigned long gets = 0, changes = 0, wrong = 0;
	uint64_t serial = held.serial;
	long last = 0;

	for (; changes < n; gets++) {
		if (rpt_term_get(term, &held) < 0) {
			wrong++;
		} else if (held.serial != serial) {
			long number = number_of(&held);
			wrong += number < last;
			last = number;
			serial = held.serial;
			changes++;
		}
	}
	printf("chased %lu %lu %lu\n", gets, changes, wrong);
}

int main(int argc, char **argv)
{
	char line[100];
	struct rpt_term *term;

	int r = argc == 2 ? rpt_term_open(&term, argv[1]) : -EINVAL;
	if (r < 0) {
		printf("error %d\n", -r);
		return 1;
	}
	get(term, 1);
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		char *number = strchr(line, ' ');
		unsigned long n = number ? strtoul(number, NULL, 10) : 1;
		if (strncmp(line, "get", 3) == 0)
			get(term, n);
		else if (strncmp(line, "check", 5) == 0)
			printf("check %d\n", rpt_term_check(term));
		else if (strncmp(line, "held", 4) == 0)
			print_held();
		else
			chase(term, n);
		fflush(stdout);
	}
	rpt_term_close(term);
	return 0;
}
