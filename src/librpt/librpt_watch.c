#include "librpt/librpt_watch.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "base/util.h"

static bool is_mount_root(const char *path)
{
	struct statx stx;
	int flags = AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC;

	return statx(AT_FDCWD, path, flags, 0, &stx) == 0 &&
	       (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

int librpt_watch_find(const char *path, char **ret)
{
	_cleanup_free_ char *root = realpath(path, NULL);
	char *slash;

	if (!root)
		return -errno;
	while (!is_mount_root(root) && (slash = strrchr(root, '/')))
		*slash = '\0';
	return asprintf(ret, "%s/.rpt/generations", root) < 0 ? -ENOMEM : 0;
}

static int map_page(int fd, off_t offset, size_t size, void **ret)
{
	void *page = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, offset);

	if (page == MAP_FAILED)
		return -errno;
	mlock(page, size); /* fails beyond RLIMIT_MEMLOCK, which is allowed */
	*ret = page;
	return 0;
}

/* Returns whether this word can be read. A mapping of a page that cannot be read would raise
 * SIGBUS. */
static bool can_read(int fd, off_t place)
{
	uint64_t word;

	return TEMP_FAILURE_RETRY(pread(fd, &word, sizeof(word), place)) == (ssize_t)sizeof(word);
}

static int map_words(struct librpt_watch *watch, int fd)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	off_t place = (off_t)watch->slot * (off_t)sizeof(uint64_t);
	off_t offset = place & ~((off_t)page - 1);

	if (!can_read(fd, 0) || !can_read(fd, place))
		return -EIO;
	int r = map_page(fd, 0, page, &watch->pages[0]);
	if (r == 0 && offset)
		r = map_page(fd, offset, page, &watch->pages[1]);
	if (r < 0)
		return r;
	char *at = watch->pages[offset ? 1 : 0];
	watch->first = watch->pages[0];
	watch->word = (const uint64_t *)(void *)(at + (place - offset));
	return 0;
}

int librpt_watch_begin(struct librpt_watch *ret, int fd, dev_t dev, uint32_t slot)
{
	_cleanup_(librpt_watch_end) struct librpt_watch watch = { .dev = dev, .slot = slot };

	int r = map_words(&watch, fd);
	if (r < 0)
		return r;
	if (librpt_watch_load(watch.first) == LIBRPT_OVER)
		return -ENOTCONN;
	*ret = watch;
	watch = (struct librpt_watch){ 0 };
	return 0;
}

void librpt_watch_end(struct librpt_watch *watch)
{
	for (size_t i = 0; i < ARRAY_SIZE(watch->pages); i++) {
		if (watch->pages[i])
			munmap(watch->pages[i], (size_t)sysconf(_SC_PAGESIZE));
	}
	*watch = (struct librpt_watch){ 0 };
}
