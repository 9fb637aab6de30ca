/*
 * torture: the parts of the program that torture.c puts together.
 *
 * Each returns the program's exit code: 0 all well, 1 not, 2 nothing could be tried.
 */
#ifndef TESTS_TORTURE_H
#define TESTS_TORTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct torture_limits {
	unsigned processes;
	unsigned threads; /* of each process */
	double seconds;
	uint64_t iterations;   /* visits of each thread; 0: as many as the time allows */
	uint64_t at_least;     /* minimum of files opened, of files verified, and of new versions */
	unsigned looks;	       /* at most, at a file that is kept */
	unsigned cold_percent; /* of those */
	unsigned patience_s;   /* a reader whose visit takes longer hangs */
};

struct torture_pace {
	double per_second;
	double seconds;
	double over_us; /* each that takes longer is printed; 0: none */
	bool is_cold;	/* the pages of a file are dropped before it is read */
};

int torture_read(const char *dir, const struct torture_limits *limits);
int torture_make(const char *name, uint64_t version, uint64_t size_bytes, int fd);
int torture_pause(char *const *files, size_t n_files, const struct torture_pace *pace);
int torture_swap(const char *dir, double per_second, double seconds);

#endif
