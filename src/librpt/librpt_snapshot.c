#include "librpt/librpt_snapshot.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/xattr.h>

#define SLOT_ATTRIBUTE	  "user.rpt.slot"
#define VERSION_ATTRIBUTE "user.rpt.version"
#define VERSION_SIZE	  256		     /* bytes; a longer version takes a second call */
#define COPY_SIZE	  ((size_t)64 << 10) /* bytes; the capacity of a pipe */
#define LOCK_SIZE	  ((size_t)1 << 20)  /* bytes; larger mappings are locked, not copied */

int librpt_snapshot_open(const char *path, int *ret_fd, struct stat *ret_stat)
{
	/* O_NONBLOCK: opening a FIFO must not block. */
	_cleanup_close_ int fd = TEMP_FAILURE_RETRY(
		open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));

	if (fd < 0 || fstat(fd, ret_stat) < 0)
		return -errno;
	if (!S_ISREG(ret_stat->st_mode))
		return S_ISDIR(ret_stat->st_mode) ? -EISDIR : -EINVAL;
	*ret_fd = steal_fd(&fd);
	return 0;
}

int librpt_snapshot_slot(int fd, uint32_t *ret)
{
	char text[16], *end;
	ssize_t length = TEMP_FAILURE_RETRY(fgetxattr(fd, SLOT_ATTRIBUTE, text, sizeof(text) - 1));

	*ret = 0;
	if (length < 0)
		return librpt_is_dead(-errno) ? -errno : 0;
	text[length] = '\0';
	unsigned long slot = strtoul(text, &end, 10);
	if (length > 0 && !*end && slot <= UINT32_MAX)
		*ret = (uint32_t)slot;
	return 0;
}

static int version_of_stat(const struct stat *stat, char **ret)
{
	int length = asprintf(ret, "%" PRId64 "-%" PRId64 ".%09ld-%" PRIu64, (int64_t)stat->st_size,
			      (int64_t)stat->st_mtim.tv_sec, stat->st_mtim.tv_nsec,
			      (uint64_t)stat->st_ino);

	return length < 0 ? -ENOMEM : 0;
}

static int read_version(int fd, const struct stat *stat, char **ret)
{
	ssize_t length = VERSION_SIZE;

	do {
		_cleanup_free_ char *version = malloc((size_t)length + 1);
		if (!version)
			return -ENOMEM;
		length = TEMP_FAILURE_RETRY(
			fgetxattr(fd, VERSION_ATTRIBUTE, version, (size_t)length));
		if (length >= 0) {
			version[length] = '\0';
			*ret = steal_ptr(&version);
			return 0;
		}
		if (errno == ERANGE)
			length = fgetxattr(fd, VERSION_ATTRIBUTE, NULL, 0);
	} while (length > 0);
	return librpt_is_dead(-errno) ? -errno : version_of_stat(stat, ret);
}

int librpt_snapshot_map(struct librpt_snapshot *ret, int fd, const struct stat *stat, uint32_t slot)
{
	_cleanup_free_ char *version = NULL;
	size_t size = (size_t)stat->st_size;
	void *data = NULL;

	if ((uint64_t)stat->st_size > PTRDIFF_MAX)
		return -EFBIG;
	int r = read_version(fd, stat, &version);
	if (r < 0)
		return r;
	if (size) {
		data = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
		if (data == MAP_FAILED)
			return -errno;
	}
	*ret = (struct librpt_snapshot){
		.data = data,
		.size = size,
		.version = steal_ptr(&version),
		.stat = *stat,
		.slot = slot,
	};
	return 0;
}

/* Copies through a pipe: where a load would raise SIGBUS, write(2) fails with EFAULT. A temporary
 * file would do the same, but is subject to RLIMIT_FSIZE, whose signal kills. */
static int copy_bytes(char *to, const char *from, size_t size)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	_cleanup_close_ int out = ends[0];
	_cleanup_close_ int in = ends[1];
	while (size) {
		size_t part = size < COPY_SIZE ? size : COPY_SIZE;
		ssize_t n = TEMP_FAILURE_RETRY(write(in, from, part));
		for (ssize_t left = n, got; left > 0; left -= got, to += got) {
			got = TEMP_FAILURE_RETRY(read(out, to, (size_t)left));
			if (got <= 0)
				return got < 0 ? -errno : -EIO;
		}
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		from += n;
		size -= (size_t)n;
	}
	return 0;
}

/* Moves a copy to the address of the mapping. Other threads that read the bytes see one step. */
static int replace_by_copy(struct librpt_snapshot *snapshot)
{
	size_t size = snapshot->size;
	char *copy = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (copy == MAP_FAILED)
		return 0;
	int r = copy_bytes(copy, snapshot->data, size);
	if (r == 0 && mprotect(copy, size, PROT_READ) < 0)
		r = -errno;
	if (r < 0) {
		munmap(copy, size);
		return r == -EFAULT ? -ENOTCONN : 0;
	}
	if (mremap(copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, snapshot->data) != MAP_FAILED)
		return 0;
	munmap(copy, size);
	snapshot->data = NULL; /* mremap(2) may have unmapped it */
	return -ENOTCONN;
}

int librpt_snapshot_rescue(struct librpt_snapshot *snapshot)
{
	if (!snapshot->size)
		return 0;
	/* Several handles may map one large file: locked, it is in memory once. (Not mlock(),
	 * which sanitizers replace by a function that does nothing.) */
	if (snapshot->size > LOCK_SIZE && mlock2(snapshot->data, snapshot->size, 0) == 0)
		return 0;
	return replace_by_copy(snapshot);
}

void librpt_snapshot_release(struct librpt_snapshot *snapshot)
{
	if (snapshot->data)
		munmap(snapshot->data, snapshot->size);
	free(snapshot->version);
	*snapshot = (struct librpt_snapshot){ 0 };
}
