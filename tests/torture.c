/*
 * torture: readers and writers of self-proving files.
 *
 * Reads the self-proving files below a directory (see proof.h) through read, pread and mmap, from
 * many processes and threads, while another program replaces them. Counts
 *
 *	torn      damaged bytes, or bytes of two versions behind one descriptor
 *	failed    errors of open, stat, read or map (an existing file must not disappear)
 *	short     fewer bytes than the version has
 *	backward  a version older than one that any reader had seen before this open
 *	mismatch  user.rpt.version does not match the bytes of the same descriptor
 *	hung      readers that wait for an answer longer than a worker's death can explain
 *
 * Each thread keeps some descriptors and mappings for a while and checks them again, warm and cold:
 * they must still show the version that they were opened on. On a file system without
 * user.rpt.version that check is skipped. Nothing else depends on the file system.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "torture.h"

static const char usage[] =
	"usage: torture [-p PROCESSES] [-t THREADS] [-s SECONDS] [-n ITERATIONS] [-m COUNT]\n"
	"               [-c PERCENT] [-k LOOKS] [-w SECONDS] DIR\n"
	"       torture make NAME VERSION SIZE > FILE\n"
	"       torture swap [-r SWAPS_PER_SECOND] [-s SECONDS] DIR\n"
	"       torture pause [-c] [-r READS_PER_SECOND] [-s SECONDS] [-o US] FILE...\n"
	"\n"
	"The first form reads the self-proving files below DIR (names that start with a dot are\n"
	"skipped) with PROCESSES times THREADS readers (4 x 4) for SECONDS (10), or until each\n"
	"thread has made ITERATIONS visits; with -m, continues until it has opened and verified\n"
	"COUNT files and seen COUNT new versions. Prints one line of counts, and exits 0 only if "
	"torn,\n"
	"failed, short, backward, mismatch and hung are all 0. A file is kept open, perhaps "
	"mapped,\n"
	"for up to LOOKS (16) looks at it, of which PERCENT (0) are cold: its pages are dropped "
	"first.\n"
	"\"make\" writes a self-proving file: NAME is its path below DIR, VERSION a number that "
	"rises\n"
	"from version to version, SIZE in bytes, a multiple of 8 and at least 64.\n"
	"\"swap\" replaces the files of DIR by their next versions with rename(2), large files "
	"less\n"
	"often than small ones (200 a second, for 10 seconds), and prints how many it replaced.\n"
	"\"pause\" opens and reads one FILE after the other (1000 times a second), cold with -c, "
	"and\n"
	"prints the longest time that took; with -o, also each time above US microseconds, with "
	"the\n"
	"CLOCK_MONOTONIC time at which the read ended.\n";

static uint64_t number(const char *text)
{
	char *end;
	uint64_t value = strtoull(text, &end, 10);

	if (*text < '0' || *text > '9' || *end) {
		fprintf(stderr, "torture: not a number: %s\n%s", text, usage);
		exit(2);
	}
	return value;
}

int main(int argc, char **argv)
{
	struct torture_limits limits = {
		.processes = 4,
		.threads = 4,
		.seconds = 10,
		.looks = 16,
		.patience_s = 30,
	};
	struct torture_pace pace = { .per_second = 0 };
	bool swap = argc > 1 && strcmp(argv[1], "swap") == 0;
	bool pause = argc > 1 && strcmp(argv[1], "pause") == 0;
	int opt;

	if (argc == 5 && strcmp(argv[1], "make") == 0)
		return torture_make(argv[2], number(argv[3]), number(argv[4]), STDOUT_FILENO);
	optind = swap || pause ? 2 : 1;
	while ((opt = getopt(argc, argv,
			     swap    ? "r:s:h"
			     : pause ? "cr:s:o:h"
				     : "p:t:s:n:m:c:k:w:h")) != -1) {
		switch (opt) {
		case 'c':
			if (pause)
				pace.is_cold = true;
			else
				limits.cold_percent = (unsigned)number(optarg);
			break;
		case 'k':
			limits.looks = (unsigned)number(optarg);
			break;
		case 'w':
			limits.patience_s = (unsigned)number(optarg);
			break;
		case 'o':
			pace.over_us = (double)number(optarg);
			break;
		case 'p':
			limits.processes = (unsigned)number(optarg);
			break;
		case 't':
			limits.threads = (unsigned)number(optarg);
			break;
		case 's':
			limits.seconds = (double)number(optarg);
			break;
		case 'n':
			limits.iterations = number(optarg);
			break;
		case 'm':
			limits.at_least = number(optarg);
			break;
		case 'r':
			pace.per_second = (double)number(optarg);
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (pause ? optind >= argc : optind != argc - 1) {
		fputs(usage, stderr);
		return 2;
	}
	if (!pace.per_second)
		pace.per_second = swap ? 200 : 1000;
	pace.seconds = limits.seconds;
	if (pause)
		return torture_pause(argv + optind, (size_t)(argc - optind), &pace);
	return swap ? torture_swap(argv[optind], pace.per_second, pace.seconds)
		    : torture_read(argv[optind], &limits);
}
