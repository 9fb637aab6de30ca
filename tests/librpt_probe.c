/*
 * librpt_probe: calls librpt as directed by standard input.
 *
 *	librpt_probe PATH
 *
 * Answers each line of standard input with one line:
 *
 *	get		value SERIAL DETACHED VERSION BODY, or error NUMBER. BODY is "-" if the
 *			file is empty
 *	get N		N gets; prints the last one
 *	check		check NUMBER
 *	held		prints the value of the last successful get again
 *	chase MS	gets for MS milliseconds; prints chased GETS CHANGES WRONG: the number of
 *			gets, of new snapshots, and of those that were torn, older than the one
 *			before, or an error. Bodies must be a number of eight digits, repeated.
 */
#include <errno.h>
#include <inttypes.h>
#include <rpt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The number that the body repeats; -1 if it is torn. */
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

static void chase(struct rpt_term *term, long ms)
{
	unsigned long gets = 0, changes = 0, wrong = 0;
	uint64_t serial = held.serial;
	long last = 0;

	for (int64_t end = now_ms() + ms; now_ms() < end; gets++) {
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
			chase(term, (long)n);
		fflush(stdout);
	}
	rpt_term_close(term);
	return 0;
}
