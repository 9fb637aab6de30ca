/*
 * Uses the newest version of a file, and parses each version once.
 *
 *	cc example.c $(pkg-config --cflags --libs rpt) && ./a.out /mnt/rpt/flags.json
 */
#include <rpt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct rpt_term *term;
	struct rpt_value value;
	uint64_t parsed = 0; /* serial of the version that was parsed last */

	int r = argc == 2 ? rpt_term_open(&term, argv[1]) : -1;
	if (r < 0) {
		fprintf(stderr, "example: %s\n", argc == 2 ? strerror(-r) : "usage: example FILE");
		return 1;
	}
	for (int request = 0; request < 60; request++) {
		r = rpt_term_get(term, &value);
		if (r < 0)
			fprintf(stderr, "%s: %s\n", argv[1], strerror(-r));
		else if (value.serial != parsed)
			printf("version %s, %zu bytes\n", value.version, value.size);
		if (r == 0)
			parsed = value.serial;
		fflush(stdout);
		sleep(1); /* a real program would answer a request here */
	}
	rpt_term_close(term);
	return 0;
}
