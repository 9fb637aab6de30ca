#include "torture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proof.h"

#define FILES_MAX   1024
#define WRITE_BYTES (1U << 20)
/* Files of this size are replaced half as often as small ones, files of twice the size a third. */
#define LARGE_BYTES (256U << 10)

static int complain(const char *what)
{
	fprintf(stderr, "torture: %s: %s\n", what, strerror(errno));
	return -1;
}

static int write_proof(int fd, const struct proof *proof)
{
	static _Alignas(8) unsigned char buf[WRITE_BYTES];

	for (uint64_t offset = 0; offset < proof->size_bytes; offset += WRITE_BYTES) {
		uint64_t left = proof->size_bytes - offset;
		size_t len = left < WRITE_BYTES ? (size_t)left : WRITE_BYTES;
		proof_fill(proof, offset, buf, len);
		for (size_t done = 0; done < len;) {
			ssize_t put = write(fd, buf + done, len - done);
			if (put < 0)
				return complain("write");
			done += (size_t)put;
		}
	}
	return 0;
}

int torture_make(const char *name, uint64_t version, uint64_t size_bytes, int fd)
{
	const struct proof proof = { proof_name_hash(name), version, size_bytes };

	if (size_bytes < PROOF_MIN_BYTES || size_bytes % 8) {
		fprintf(stderr, "torture: a size is a multiple of 8, and at least %d\n",
			PROOF_MIN_BYTES);
		return 2;
	}
	return write_proof(fd, &proof) < 0 ? 1 : 0;
}

struct target {
	char *name;
	struct proof proof; /* the current version */
	uint64_t base_bytes;
};

static int look_at(int dir, const char *name, struct target *ret)
{
	unsigned char block[PROOF_BLOCK];
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, block, sizeof(block));
	struct proof proof;

	if (fd >= 0)
		close(fd);
	if (got < 0 || !proof_identify(block, (size_t)got, &proof))
		return -1;
	*ret = (struct target){ strdup(name), proof, proof.size_bytes };
	return ret->name ? 0 : -1;
}

static size_t look_around(int dir, struct target *targets)
{
	DIR *stream = fdopendir(dup(dir));
	struct dirent *entry;
	size_t n = 0;

	if (!stream)
		return 0;
	while (n < FILES_MAX && (entry = readdir(stream)))
		if (entry->d_name[0] != '.' && look_at(dir, entry->d_name, &targets[n]) == 0)
			n++;
	closedir(stream);
	return n;
}

/* Replaces the file by its next version, whose size differs a little. */
static int replace(int dir, struct target *target)
{
	struct proof next = target->proof;
	int fd = openat(dir, ".swap", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		return complain("open");
	next.version++;
	next.size_bytes = target->base_bytes - (uint64_t)rand() % (target->base_bytes / 2) / 8 * 8;
	if (next.size_bytes < PROOF_MIN_BYTES)
		next.size_bytes = PROOF_MIN_BYTES;
	if (write_proof(fd, &next) < 0) {
		close(fd);
		return -1;
	}
	close(fd);
	if (renameat(dir, ".swap", dir, target->name) < 0)
		return complain("rename");
	target->proof = next;
	return 0;
}

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void sleep_until(double when_s)
{
	double left = when_s - now_s();
	struct timespec pause = { (time_t)left, (long)((left - (double)(time_t)left) * 1e9) };

	if (left > 0)
		nanosleep(&pause, NULL);
}

int torture_swap(const char *path, double per_second, double seconds)
{
	static struct target targets[FILES_MAX];
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), failed = 0;
	size_t n_targets = dir < 0 ? 0 : look_around(dir, targets);
	double start = now_s(), end = start + seconds;
	uint64_t swaps = 0;

	if (!n_targets) {
		fprintf(stderr, "torture: no self-proving files in %s\n", path);
		return 2;
	}
	while (!failed && now_s() < end) {
		struct target *target = &targets[(size_t)rand() % n_targets];
		if ((uint64_t)rand() % (1 + target->base_bytes / LARGE_BYTES) != 0)
			continue;
		failed = replace(dir, target);
		swaps++;
		sleep_until(start + (double)swaps / per_second);
	}
	printf("swaps=%" PRIu64 " seconds=%.2f files=%zu\n", swaps, now_s() - start, n_targets);
	for (size_t i = 0; i < n_targets; i++)
		free(targets[i].name);
	close(dir);
	return failed ? 1 : 0;
}
