/*
 * get: the cost of checking that nothing has changed.
 *
 *	get ROUNDS TERM GENERATIONS
 *
 * TERM is a file of an rptfs mount, GENERATIONS the .rpt/generations of it. Prints for each round a
 * line "GET_NS WORD_NS POINTER_NS", nanoseconds for one of each: rpt_term_get() of librpt; loading
 * and comparing the term's word of the mapped generations; loading a pointer that another thread
 * might change, and a byte behind it.
 */
#include <errno.h>
#include <fcntl.h>
#include <rpt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <time.h>

#define ITERATIONS 10000000

static volatile uint64_t seen;

struct measured {
	struct rpt_term *term;
	const uint64_t *word;
	uint64_t known;
	const char *pointer;
};

static void die(const char *what, int error)
{
	fprintf(stderr, "get: %s: %s\n", what, strerror(error));
	exit(1);
}

static void do_get(struct measured *m)
{
	struct rpt_value value;

	for (int i = 0; i < ITERATIONS; i++) {
		int r = rpt_term_get(m->term, &value);
		if (r < 0)
			die("rpt_term_get", -r);
		seen = value.serial;
	}
}

static void do_word(struct measured *m)
{
	for (int i = 0; i < ITERATIONS; i++) {
		if (__atomic_load_n(m->word, __ATOMIC_ACQUIRE) != m->known)
			die("the word has changed", 0);
	}
}

static void do_pointer(struct measured *m)
{
	for (int i = 0; i < ITERATIONS; i++)
		seen = (uint64_t)*__atomic_load_n(&m->pointer, __ATOMIC_ACQUIRE);
}

static double measure(void (*run)(struct measured *), struct measured *m)
{
	struct timespec start, end;

	clock_gettime(CLOCK_MONOTONIC, &start);
	run(m);
	clock_gettime(CLOCK_MONOTONIC, &end);
	return ((double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec)) /
	       ITERATIONS;
}

static const uint64_t *map_word(const char *term, const char *generations)
{
	char slot[16] = "";
	int fd = open(generations, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die(generations, errno);
	if (getxattr(term, "user.rpt.slot", slot, sizeof(slot) - 1) <= 0)
		die("user.rpt.slot", errno);
	const uint64_t *words = mmap(NULL, (size_t)8 << 20, PROT_READ, MAP_SHARED, fd, 0);
	if (words == MAP_FAILED)
		die("mmap", errno);
	return words + strtoul(slot, NULL, 10);
}

int main(int argc, char **argv)
{
	struct measured m = { .pointer = "x" };

	if (argc != 4) {
		fputs("usage: get ROUNDS TERM GENERATIONS\n", stderr);
		return 2;
	}
	m.word = map_word(argv[2], argv[3]);
	m.known = *m.word;
	int r = rpt_term_open(&m.term, argv[2]);
	if (r < 0)
		die(argv[2], -r);
	for (int round = 0; round < atoi(argv[1]); round++) {
		double get = measure(do_get, &m);
		double word = measure(do_word, &m);
		printf("%.2f %.2f %.2f\n", get, word, measure(do_pointer, &m));
	}
	rpt_term_close(m.term);
	return 0;
}
