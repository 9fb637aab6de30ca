#include "mount/session.h"

#define FUSE_USE_VERSION 312
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#include "base/log.h"
#include "base/util.h"

#define THREADS_MAX    16
#define BACKGROUND_MAX 64
#define READ_AHEAD_MAX (1024 * 1024)
#define OPCODES_MAX    64

/* Interrupts the wait of libfuse's loop; its handler does nothing. */
#define WAKE_SIGNAL SIGUSR2

struct session {
	struct fuse_session *fuse; /* owned */
	pthread_t thread;
	bool started;
	int over_fd; /* owned; an eventfd */
	atomic_bool over;
	_Atomic uint64_t init_unique; /* of the INIT request that is not yet replied to; else 0 */
	uint32_t init_flags;	      /* what the kernel offers; written before any reply */
	_Atomic uint64_t counts[OPCODES_MAX]; /* the last one also takes what is unknown */
};

/* Opcodes by number, as the kernel's uapi names them. */
static const char *const opcode_names[OPCODES_MAX] = {
	[FUSE_LOOKUP] = "lookup",
	[FUSE_FORGET] = "forget",
	[FUSE_GETATTR] = "getattr",
	[FUSE_SETATTR] = "setattr",
	[FUSE_READLINK] = "readlink",
	[FUSE_SYMLINK] = "symlink",
	[FUSE_MKNOD] = "mknod",
	[FUSE_MKDIR] = "mkdir",
	[FUSE_UNLINK] = "unlink",
	[FUSE_RMDIR] = "rmdir",
	[FUSE_RENAME] = "rename",
	[FUSE_LINK] = "link",
	[FUSE_OPEN] = "open",
	[FUSE_READ] = "read",
	[FUSE_WRITE] = "write",
	[FUSE_STATFS] = "statfs",
	[FUSE_RELEASE] = "release",
	[FUSE_FSYNC] = "fsync",
	[FUSE_SETXATTR] = "setxattr",
	[FUSE_GETXATTR] = "getxattr",
	[FUSE_LISTXATTR] = "listxattr",
	[FUSE_REMOVEXATTR] = "removexattr",
	[FUSE_FLUSH] = "flush",
	[FUSE_INIT] = "init",
	[FUSE_OPENDIR] = "opendir",
	[FUSE_READDIR] = "readdir",
	[FUSE_RELEASEDIR] = "releasedir",
	[FUSE_FSYNCDIR] = "fsyncdir",
	[FUSE_GETLK] = "getlk",
	[FUSE_SETLK] = "setlk",
	[FUSE_SETLKW] = "setlkw",
	[FUSE_ACCESS] = "access",
	[FUSE_CREATE] = "create",
	[FUSE_INTERRUPT] = "interrupt",
	[FUSE_BMAP] = "bmap",
	[FUSE_DESTROY] = "destroy",
	[FUSE_IOCTL] = "ioctl",
	[FUSE_POLL] = "poll",
	[FUSE_NOTIFY_REPLY] = "notify_reply",
	[FUSE_BATCH_FORGET] = "batch_forget",
	[FUSE_FALLOCATE] = "fallocate",
	[FUSE_READDIRPLUS] = "readdirplus",
	[FUSE_RENAME2] = "rename2",
	[FUSE_LSEEK] = "lseek",
	[FUSE_COPY_FILE_RANGE] = "copy_file_range",
	[FUSE_SETUPMAPPING] = "setupmapping",
	[FUSE_REMOVEMAPPING] = "removemapping",
	[FUSE_SYNCFS] = "syncfs",
	[OPCODES_MAX - 1] = "other",
};

static ssize_t hook_read(int fd, void *buf, size_t len, void *userdata)
{
	struct session *session = *(struct session **)userdata;
	ssize_t got = read(fd, buf, len);
	const struct fuse_in_header *in = buf;

	if (got < (ssize_t)sizeof(*in))
		return got;
	uint32_t op = in->opcode < OPCODES_MAX && opcode_names[in->opcode] ? in->opcode
									   : OPCODES_MAX - 1;
	atomic_fetch_add_explicit(&session->counts[op], 1, memory_order_relaxed);
	if (op == FUSE_INIT && got >= (ssize_t)(sizeof(*in) + sizeof(struct fuse_init_in))) {
		const struct fuse_init_in *init = (const void *)(in + 1);
		session->init_flags = init->flags;
		atomic_store(&session->init_unique, in->unique);
	}
	return got;
}

/* libfuse up to 3.16 never tells the kernel that directories may be looked up in parallel; and it
 * answers the read-ahead that the kernel offered at the mount, which the keeper has raised since.
 */
static void complete_init_reply(struct session *session, struct iovec *iov, int count)
{
	const struct fuse_out_header *out = iov[0].iov_base;

	if (count < 2 || out->error || iov[1].iov_len < sizeof(struct fuse_init_out))
		return;
	struct fuse_init_out *init = iov[1].iov_base;
	init->flags |= session->init_flags & FUSE_PARALLEL_DIROPS;
	init->max_readahead = READ_AHEAD_MAX;
}

static ssize_t hook_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct session *session = *(struct session **)userdata;
	const struct fuse_out_header *out = iov[0].iov_base;
	uint64_t init_unique = atomic_load_explicit(&session->init_unique, memory_order_relaxed);

	if (init_unique && out->unique == init_unique) {
		atomic_store(&session->init_unique, 0);
		complete_init_reply(session, iov, count);
	}
	return writev(fd, iov, count);
}

void session_negotiate(struct fuse_conn_info *conn)
{
	const unsigned wanted = FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_ASYNC_READ |
				FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
				FUSE_CAP_PARALLEL_DIROPS;

	/* Content never changes under a node id: the kernel need not look for changed sizes and
	 * times, nor drop pages by itself. */
	conn->want &= ~(unsigned)FUSE_CAP_AUTO_INVAL_DATA;
	conn->want |= conn->capable & wanted;
	conn->max_background = BACKGROUND_MAX;
	conn->congestion_threshold = BACKGROUND_MAX * 3 / 4;
}

static void ignore_signal(int signal)
{
	(void)signal;
}

static void handle_wake_signal(void)
{
	struct sigaction action = { .sa_handler = ignore_signal };

	sigaction(WAKE_SIGNAL, &action, NULL);
}

__attribute__((format(printf, 2, 0))) static void forward_log(enum fuse_log_level level,
							      const char *fmt, va_list args)
{
	char text[512];

	vsnprintf(text, sizeof(text), fmt, args);
	text[strcspn(text, "\n")] = '\0';
	log_event(level <= FUSE_LOG_ERR ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG, "libfuse",
		  LOG_STR("message", text));
}

static void session_free_raw(struct session *session)
{
	if (session->fuse)
		fuse_session_destroy(session->fuse); /* closes the device's duplicate */
	close_cleanup(&session->over_fd);
	free(session);
}

DEFINE_CLEANUP(struct session, session_free_raw)

int session_new(struct session **ret, const struct fuse_lowlevel_ops *ops, size_t ops_size,
		void *userdata, int device, bool debug, struct err *err)
{
	static const struct fuse_custom_io io = { .read = hook_read, .writev = hook_writev };
	_cleanup_(session_free_raw_cleanup) struct session *session = calloc(1, sizeof(*session));
	char *argv[] = { (char *)"rptfs", (char *)"-d", NULL };
	struct fuse_args args = FUSE_ARGS_INIT(debug ? 2 : 1, argv);

	if (!session)
		return err_set(err, ERR_INTERNAL, "FUSE session: out of memory");
	session->over_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (session->over_fd < 0)
		return err_errno(err, "FUSE session: eventfd");
	fuse_set_log_func(forward_log);
	session->fuse = fuse_session_new(&args, ops, ops_size, userdata);
	fuse_opt_free_args(&args);
	if (!session->fuse)
		return err_set(err, ERR_INTERNAL, "FUSE session: libfuse could not make one");
	_cleanup_close_ int fd = fcntl(device, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return err_errno(err, "FUSE session: duplicate of the device");
	int result = fuse_session_custom_io(session->fuse, &io, fd);
	if (result < 0)
		return err_set(err, ERR_INTERNAL, "FUSE session: custom I/O: %s",
			       strerror(-result));
	steal_fd(&fd);
	*ret = steal_ptr(&session);
	return 0;
}

static void *serve(void *arg)
{
	struct session *session = arg;
	struct fuse_loop_config *config = fuse_loop_cfg_create();

	pthread_setname_np(pthread_self(), "fuse");
	if (config) {
		fuse_loop_cfg_set_clone_fd(config, 0);
		fuse_loop_cfg_set_max_threads(config, THREADS_MAX);
		int result = fuse_session_loop_mt(session->fuse, config);
		if (result < 0)
			log_event(LOG_LEVEL_ERROR, "serving_ended",
				  LOG_STR("error", strerror(-result)));
		fuse_loop_cfg_destroy(config);
	} else {
		log_event(LOG_LEVEL_ERROR, "serving_ended", LOG_STR("error", "out of memory"));
	}
	atomic_store(&session->over, true);
	eventfd_write(session->over_fd, 1);
	return NULL;
}

int session_start(struct session *session, struct err *err)
{
	handle_wake_signal();
	int failure = pthread_create(&session->thread, NULL, serve, session);
	if (failure)
		return err_set(err, ERR_INTERNAL, "FUSE session: thread: %s", strerror(failure));
	session->started = true;
	return 0;
}

int session_over_fd(const struct session *session)
{
	return session->over_fd;
}

void session_stop(struct session *session)
{
	if (!session->started)
		return;
	fuse_session_exit(session->fuse);
	/* libfuse's loop looks at the exit flag before it waits, not atomically with it: a signal
	 * that arrives in between is lost, so it is sent until the loop has ended. */
	while (!atomic_load(&session->over)) {
		pthread_kill(session->thread, WAKE_SIGNAL);
		usleep(2000);
	}
	pthread_join(session->thread, NULL);
	session->started = false;
}

void session_free(struct session *session)
{
	if (!session)
		return;
	session_stop(session);
	session_free_raw(session);
}

int session_notify_delete(struct session *session, uint64_t parent, uint64_t child,
			  const char *name)
{
	return fuse_lowlevel_notify_delete(session->fuse, parent, child, name, strlen(name));
}

int session_notify_inval_dir(struct session *session, uint64_t dir)
{
	return fuse_lowlevel_notify_inval_inode(session->fuse, dir, 0, 0);
}

bool session_kernel_holds(struct session *session, uint64_t id)
{
	char nothing = 0;
	struct fuse_bufvec empty = FUSE_BUFVEC_INIT(0);

	empty.buf[0].mem = &nothing;
	return fuse_lowlevel_notify_store(session->fuse, id, 0, &empty, 0) == 0;
}

void session_request_counts(struct session *session,
			    void (*each)(void *arg, const char *op, uint64_t count), void *arg)
{
	for (size_t op = 0; op < OPCODES_MAX; op++) {
		uint64_t count = atomic_load_explicit(&session->counts[op], memory_order_relaxed);
		if (count)
			each(arg, opcode_names[op], count);
	}
}
