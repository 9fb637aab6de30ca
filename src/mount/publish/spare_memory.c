#include "mount/publish/spare_memory.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* The share that must stay available: a tenth of the machine, a quarter of a control group. */
#define MACHINE_SHARE 10
#define GROUP_SHARE   4

/* Percent of the last ten seconds in which a process waited for memory. */
#define PRESSURE_MAX 5.0

#define TEXT_SIZE 8192

enum source { MEMINFO, PRESSURE, GROUP_MAX, GROUP_CURRENT, GROUP_STAT, N_SOURCES };

struct spare_memory {
	int fds[N_SOURCES]; /* owned; -1: the kernel does not have it */
};

/* The number after "NAME" at the start of a line, in the unit of the text. */
static bool find_number(const char *text, const char *name, uint64_t *ret)
{
	size_t len = strlen(name);

	for (; text && *text; text = strchr(text, '\n'), text = text ? text + 1 : NULL) {
		if (strncmp(text, name, len) == 0)
			return sscanf(text + len, "%" SCNu64, ret) == 1;
	}
	return false;
}

static bool machine_has(const char *meminfo, uint64_t bytes)
{
	uint64_t total_kib, available_kib;

	if (!find_number(meminfo, "MemTotal:", &total_kib) ||
	    !find_number(meminfo, "MemAvailable:", &available_kib))
		return true;
	return available_kib > total_kib / MACHINE_SHARE &&
	       available_kib - total_kib / MACHINE_SHARE > bytes / 1024;
}

static bool is_under_pressure(const char *pressure)
{
	double percent;

	return pressure && sscanf(pressure, "some avg10=%lf", &percent) == 1 &&
	       percent > PRESSURE_MAX;
}

/* Inactive pages of files can be reclaimed. */
static bool group_has(const struct spare_memory_texts *texts, uint64_t bytes)
{
	uint64_t max, current, idle = 0;

	if (!texts->max || sscanf(texts->max, "%" SCNu64, &max) != 1 || !texts->current ||
	    sscanf(texts->current, "%" SCNu64, &current) != 1)
		return true;
	find_number(texts->stat, "inactive_file ", &idle);
	uint64_t used = current > idle ? current - idle : 0;
	uint64_t usable = max - max / GROUP_SHARE;
	return used < usable && usable - used > bytes;
}

bool spare_memory_judge(const struct spare_memory_texts *texts, uint64_t bytes)
{
	return machine_has(texts->meminfo, bytes) && !is_under_pressure(texts->pressure) &&
	       group_has(texts, bytes);
}

/* The directory of our control group; false without a unified hierarchy. */
static bool find_group(char ret[PATH_MAX])
{
	_cleanup_fclose_ FILE *file = fopen("/proc/self/cgroup", "re");
	char line[PATH_MAX];

	while (file && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "0::", 3) == 0)
			return snprintf(ret, PATH_MAX, "/sys/fs/cgroup%s", line + 3) < PATH_MAX;
	}
	return false;
}

static int open_in_group(const char *group, const char *name)
{
	char path[PATH_MAX + 32];

	snprintf(path, sizeof(path), "%s/%s", group, name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

int spare_memory_new(struct spare_memory **ret, struct err *err)
{
	struct spare_memory *spare_memory = calloc(1, sizeof(*spare_memory));
	char group[PATH_MAX];

	if (!spare_memory)
		return err_set(err, ERR_INTERNAL, "spare memory: out of memory");
	spare_memory->fds[MEMINFO] = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
	spare_memory->fds[PRESSURE] = open("/proc/pressure/memory", O_RDONLY | O_CLOEXEC);
	bool has_group = find_group(group);
	spare_memory->fds[GROUP_MAX] = has_group ? open_in_group(group, "memory.max") : -1;
	spare_memory->fds[GROUP_CURRENT] = has_group ? open_in_group(group, "memory.current") : -1;
	spare_memory->fds[GROUP_STAT] = has_group ? open_in_group(group, "memory.stat") : -1;
	*ret = spare_memory;
	return 0;
}

void spare_memory_free(struct spare_memory *spare_memory)
{
	if (!spare_memory)
		return;
	for (size_t i = 0; i < N_SOURCES; i++)
		close_cleanup(&spare_memory->fds[i]);
	free(spare_memory);
}

/* NULL if it cannot be read. */
static const char *read_text(int fd, char ret[TEXT_SIZE])
{
	ssize_t len = fd < 0 ? -1 : pread(fd, ret, TEXT_SIZE - 1, 0);

	if (len < 0)
		return NULL;
	ret[len] = '\0';
	return ret;
}

bool spare_memory_has(const struct spare_memory *spare_memory, uint64_t bytes)
{
	char texts[N_SOURCES][TEXT_SIZE];

	if (!spare_memory)
		return true;
	const struct spare_memory_texts kernel = {
		.meminfo = read_text(spare_memory->fds[MEMINFO], texts[MEMINFO]),
		.pressure = read_text(spare_memory->fds[PRESSURE], texts[PRESSURE]),
		.max = read_text(spare_memory->fds[GROUP_MAX], texts[GROUP_MAX]),
		.current = read_text(spare_memory->fds[GROUP_CURRENT], texts[GROUP_CURRENT]),
		.stat = read_text(spare_memory->fds[GROUP_STAT], texts[GROUP_STAT]),
	};
	return spare_memory_judge(&kernel, bytes);
}
