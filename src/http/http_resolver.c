#include "http/http_resolver.h"

#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/helper.h"
#include "base/log.h"
#include "base/private_root.h"
#include "base/read_full.h"
#include "base/util.h"

#define COMPARE_MS 1000
#define FILE_MAX   (64 * 1024)

/* The machine's file. The helper, which may not be running yet, opens only what a link leads to. */
static int open_original(const struct http_resolver *resolver, struct err *err)
{
	static const char path[] = PRIVATE_ROOT_ETC "/resolv.conf";
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd >= 0)
		return fd;
	if (lstat(path, &st) < 0)
		return err_set(err, ERR_NOT_FOUND, "there is no /etc/resolv.conf");
	return files_open(resolver->helper, HELPER_RESOLV_CONF, err);
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       memcmp(&a->st_mtim, &b->st_mtim, sizeof(a->st_mtim)) == 0 &&
	       memcmp(&a->st_ctim, &b->st_ctim, sizeof(a->st_ctim)) == 0;
}

static int write_copy(const struct http_resolver *resolver, const char *text, size_t len,
		      struct err *err)
{
	_cleanup_close_ int fd = openat(resolver->directory, "new",
					O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, text, len) != (ssize_t)len ||
	    renameat(resolver->directory, "new", resolver->directory, "resolv.conf") < 0)
		return err_errno(err, "copying /etc/resolv.conf");
	return 0;
}

static int copy(struct http_resolver *resolver, struct err *err)
{
	_cleanup_close_ int fd = open_original(resolver, err);
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0)
		return err_errno(err, "looking at /etc/resolv.conf");
	if (is_same(&st, &resolver->copied))
		return 0;
	_cleanup_free_ char *text = malloc(FILE_MAX);
	if (!text)
		return err_set(err, ERR_INTERNAL, "/etc/resolv.conf: out of memory");
	ssize_t len = read_full(fd, text, FILE_MAX);
	if (len < 0)
		return err_errno(err, "reading /etc/resolv.conf");
	if (write_copy(resolver, text, (size_t)len, err) < 0)
		return -1;
	resolver->copied = st;
	return 0;
}

/* While there is no file, the last copy stays. */
static void compare(struct http_resolver *resolver)
{
	struct err err = ERR_INIT;
	bool fails = copy(resolver, &err) < 0 && err.kind != ERR_NOT_FOUND &&
		     err.kind != ERR_CANCELED;

	if (fails && !resolver->has_failed)
		log_event(LOG_LEVEL_WARNING, "resolver_not_followed", LOG_STR("error", err.msg));
	resolver->has_failed = fails;
}

void http_resolver_init(struct http_resolver *resolver, struct helper *helper)
{
	*resolver = (struct http_resolver){
		.helper = helper,
		.directory = open(PRIVATE_ROOT_RESOLVER, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
		.compared_at_ms = -COMPARE_MS,
	};
	pthread_mutex_init(&resolver->lock, NULL);
	http_resolver_update(resolver);
}

void http_resolver_release(struct http_resolver *resolver)
{
	close_cleanup(&resolver->directory);
	pthread_mutex_destroy(&resolver->lock);
}

void http_resolver_update(struct http_resolver *resolver)
{
	int64_t now_ms = clock_boot_ms();

	if (resolver->directory < 0)
		return;
	pthread_mutex_lock(&resolver->lock);
	bool is_due = !resolver->is_comparing && now_ms - resolver->compared_at_ms >= COMPARE_MS;
	if (is_due)
		resolver->is_comparing = true;
	pthread_mutex_unlock(&resolver->lock);
	if (!is_due)
		return;
	compare(resolver);
	pthread_mutex_lock(&resolver->lock);
	resolver->is_comparing = false;
	resolver->compared_at_ms = now_ms;
	pthread_mutex_unlock(&resolver->lock);
}
