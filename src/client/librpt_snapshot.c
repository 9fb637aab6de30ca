#include "client/librpt.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/xattr.h>

#define VERSION_ATTRIBUTE "user.rpt.version"
#define VERSION_SIZE	  256 /* bytes; longer ones are asked for once more */

int librpt_snapshot_open(const char *path, int *ret_fd, struct stat *ret_stat)
{
	/* What is no file must not make the caller wait. */
	_cleanup_close_ int fd = TEMP_FAILURE_RETRY(
		open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));

	if (fd < 0 || fstat(fd, ret_stat) < 0)
		return -errno;
	if (!S_ISREG(ret_stat->st_mode))
		return S_ISDIR(ret_stat->st_mode) ? -EISDIR : -EINVAL;
	*ret_fd = steal_fd(&fd);
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

int librpt_snapshot_map(struct librpt_snapshot *ret, int fd, const struct stat *stat)
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
	};
	return 0;
}

/* Where reading the bytes would raise SIGBUS, write(2) says EFAULT. */
static int copy_to(int fd, const char *data, size_t size)
{
	while (size) {
		ssize_t written = TEMP_FAILURE_RETRY(write(fd, data, size));
		if (written <= 0)
			return written < 0 ? -errno : -EIO;
		data += written;
		size -= (size_t)written;
	}
	return 0;
}

int librpt_snapshot_rescue(struct librpt_snapshot *snapshot)
{
	if (!snapshot->size)
		return 0;
	_cleanup_close_ int fd = memfd_create("rpt-snapshot", MFD_CLOEXEC);
	if (fd < 0)
		return 0;
	int r = copy_to(fd, snapshot->data, snapshot->size);
	if (r < 0)
		return r == -EFAULT ? -ENOTCONN : 0;
	void *data = mmap(snapshot->data, snapshot->size, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
	return data == MAP_FAILED ? -ENOTCONN : 0;
}

void librpt_snapshot_release(struct librpt_snapshot *snapshot)
{
	if (snapshot->data)
		munmap(snapshot->data, snapshot->size);
	free(snapshot->version);
	*snapshot = (struct librpt_snapshot){ 0 };
}
