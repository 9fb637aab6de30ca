#include "mount/connection/session.h"

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
#include "mount/connection/inflight.h"
#include "mount/connection/notifier.h"

#define THREADS_MAX    16
#define BACKGROUND_MAX 64
#define READ_MAX       (1024 * 1024)
#define OPCODES_MAX    64

/* The smallest possible value, because there are no writes. It determines the buffer size that the
 * kernel requires for each request, and so the size of a record. */
#define WRITE_MAX 4096

/* Fixed, so that the negotiation does not depend on the version of libfuse or of its headers: the
 * flags that are requested below, and the first protocol version with all features in use. */
#define PROTOCOL_MINOR 31
#define FLAGS_USED                                                                  \
	(FUSE_ASYNC_READ | FUSE_ASYNC_DIO | FUSE_BIG_WRITES | FUSE_DO_READDIRPLUS | \
	 FUSE_READDIRPLUS_AUTO | FUSE_PARALLEL_DIROPS | FUSE_EXPLICIT_INVAL_DATA | FUSE_MAX_PAGES)

/* Interrupts libfuse's loop while it waits; the handler does nothing. */
#define WAKE_SIGNAL SIGUSR2

struct session {
	struct fuse_session *fuse; /* owned */
	struct inflight *inflight; /* borrowed */
	struct notifier *notifier; /* borrowed */
	pthread_t thread;
	bool started;
	int over_fd; /* owned; an eventfd */
	atomic_bool over;
	atomic_bool unmounted;
	_Atomic uint64_t init_unique; /* of the INIT request that is not yet replied to; else 0 */
	uint32_t init_flags;	      /* the kernel's offer; written before any reply */
	bool replayed;		      /* set before serving */
	struct err *replaying;	      /* during session_replay(): its error; else NULL */
	_Atomic uint64_t counts[OPCODES_MAX]; /* the last one is for unknown opcodes */
};

/* Opcodes by number, with the names of the kernel's uapi header. */
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

static void count_request(struct session *session, uint32_t opcode)
{
	uint32_t op = opcode < OPCODES_MAX && opcode_names[opcode] ? opcode : OPCODES_MAX - 1;

	atomic_fetch_add_explicit(&session->counts[op], 1, memory_order_relaxed);
}

/* ---- negotiation ---- */

static void notice_init(struct session *session, const struct fuse_in_header *in, size_t len)
{
	const struct fuse_init_in *init = (const void *)(in + 1);

	if (len < sizeof(*in) + sizeof(*init))
		return;
	session->init_flags = init->flags;
	atomic_store(&session->init_unique, in->unique);
}

/* libfuse up to 3.16 does not let the kernel look up names of a directory in parallel. It derives
 * the size of a READ from that of a WRITE. It replies with the read-ahead that the kernel offered
 * at the mount, but the keeper has raised the read-ahead since. */
static void complete_init_reply(const struct session *session, struct fuse_init_out *init)
{
	init->minor = PROTOCOL_MINOR;
	init->flags = (init->flags & FLAGS_USED) |
		      (session->init_flags & (FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES));
	init->flags2 = 0;
	init->max_readahead = READ_MAX;
	init->max_pages = (uint16_t)(READ_MAX / sysconf(_SC_PAGESIZE));
}

/* The whole reply to INIT, as it is written. */
struct init_reply {
	struct fuse_out_header out;
	struct fuse_init_out init;
};

#define FIELD(field)                                                  \
	{                                                             \
#		field, offsetof(struct fuse_init_out, field),        \
			sizeof(((struct fuse_init_out *)NULL)->field) \
	}

static const struct {
	const char *name;
	size_t offset, size;
} negotiated[] = {
	FIELD(major),	      FIELD(minor),	     FIELD(max_readahead),
	FIELD(flags),	      FIELD(max_background), FIELD(congestion_threshold),
	FIELD(max_write),     FIELD(time_gran),	     FIELD(max_pages),
	FIELD(map_alignment), FIELD(flags2),
};

static unsigned field_value(const struct fuse_init_out *init, size_t i)
{
	const char *at = (const char *)init + negotiated[i].offset;
	uint16_t half;
	uint32_t whole;

	if (negotiated[i].size == sizeof(half)) {
		memcpy(&half, at, sizeof(half));
		return half;
	}
	memcpy(&whole, at, sizeof(whole));
	return whole;
}

static int compare_init(const struct inflight *inflight, const struct init_reply *has,
			struct err *err)
{
	size_t len = 0;
	const void *saved = inflight_init_reply(inflight, &len);
	struct init_reply had;

	if (!saved || len != sizeof(had))
		return err_set(err, ERR_BAD_DATA, "the mount negotiated %zu bytes, not %zu", len,
			       sizeof(had));
	memcpy(&had, saved, sizeof(had));
	for (size_t i = 0; i < ARRAY_SIZE(negotiated); i++) {
		unsigned before = field_value(&had.init, i), now = field_value(&has->init, i);
		if (before != now)
			return err_set(err, ERR_BAD_DATA,
				       "the mount negotiated another %s: had %#x, has %#x",
				       negotiated[i].name, before, now);
	}
	return 0;
}

/* Returns what writev(2) would. */
static ssize_t reply_to_init(struct session *session, int fd, const struct iovec *iov, int count)
{
	struct init_reply reply = { .out = *(const struct fuse_out_header *)iov[0].iov_base };

	if (reply.out.error || count < 2 || iov[1].iov_len < sizeof(reply.init))
		return writev(fd, iov, count);
	memcpy(&reply.init, iov[1].iov_base, sizeof(reply.init));
	reply.out.len = sizeof(reply);
	complete_init_reply(session, &reply.init);
	/* Saved first: if this process dies in between, its successor writes it again. */
	inflight_save_init_reply(session->inflight, &reply, sizeof(reply));
	return write(fd, &reply, sizeof(reply));
}

/* The kernel has its reply already: this one is compared with it and dropped. */
static ssize_t swallow_init_reply(struct session *session, const struct iovec *iov, int count)
{
	struct init_reply reply = { .out = *(const struct fuse_out_header *)iov[0].iov_base };
	struct err *err = session->replaying;

	if (reply.out.error || count < 2 || iov[1].iov_len < sizeof(reply.init)) {
		err_set(err, ERR_BAD_DATA, "libfuse refuses the negotiation of the mount: %s",
			strerror(-reply.out.error));
		return reply.out.len;
	}
	memcpy(&reply.init, iov[1].iov_base, sizeof(reply.init));
	complete_init_reply(session, &reply.init);
	compare_init(session->inflight, &reply, err);
	return reply.out.len;
}

/* ---- requests and replies ---- */

/* Claims a record and reads the next request of the kernel into it; the result is that of read(2).
 * Nothing is kept in a record if the result is not a request. */
static ssize_t read_request(struct session *session, int fd, void *buf, size_t size,
			    int *ret_record)
{
	size_t room = size < INFLIGHT_RECORD_SIZE ? size : INFLIGHT_RECORD_SIZE;
	int record = inflight_claim(session->inflight);

	if (record < 0)
		return -1;
	ssize_t got = read(fd, inflight_buffer(session->inflight, record), room);
	if (got < (ssize_t)sizeof(struct fuse_in_header)) {
		int failure = errno;
		if (got < 0 && failure == ENODEV)
			atomic_store(&session->unmounted, true);
		inflight_clear(session->inflight, record);
		errno = failure;
		return got;
	}
	memcpy(buf, inflight_buffer(session->inflight, record), (size_t)got);
	*ret_record = record;
	return got;
}

/* libfuse cancels threads that wait here when it ends. */
static ssize_t hook_read(int fd, void *buf, size_t size, void *userdata)
{
	struct session *session = *(struct session **)userdata;
	const struct fuse_in_header *in = buf;
	size_t len = 0;
	int record = inflight_inherited(session->inflight, buf, size, &len);

	if (record < 0) {
		ssize_t got = read_request(session, fd, buf, size, &record);
		if (got < (ssize_t)sizeof(*in))
			return got;
		len = (size_t)got;
	}
	if (len < size)
		((char *)buf)[len] = '\0'; /* ends a name, even in a forged request */
	count_request(session, in->opcode);
	if (in->opcode == FUSE_INIT) {
		inflight_save_init_request(session->inflight, in, len);
		notice_init(session, in, len);
	}
	if (inflight_expects_reply(in->opcode))
		inflight_taken(session->inflight, record, in->unique, in->opcode);
	else
		inflight_clear(session->inflight, record);
	return (ssize_t)len;
}

static ssize_t hook_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct session *session = *(struct session **)userdata;
	const struct fuse_out_header *out = iov[0].iov_base;
	uint64_t unique = out->unique;
	ssize_t result;

	if (!unique)
		return notifier_writev(session->notifier, fd, iov, count);
	if (unique != atomic_load_explicit(&session->init_unique, memory_order_relaxed)) {
		result = writev(fd, iov, count);
	} else {
		atomic_store(&session->init_unique, 0);
		if (session->replaying)
			return swallow_init_reply(session, iov, count);
		result = reply_to_init(session, fd, iov, count);
	}
	/* Even if the write failed, no process waits for this reply any more. */
	int failure = errno;
	inflight_answered(session->inflight, unique);
	errno = failure;
	return result;
}

void session_negotiate(struct fuse_conn_info *conn)
{
	const unsigned wanted = FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_ASYNC_READ |
				FUSE_CAP_ASYNC_DIO | FUSE_CAP_READDIRPLUS |
				FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_PARALLEL_DIROPS;

	/* Drops the defaults of libfuse, above all AUTO_INVAL_DATA: content never changes under a
	 * node id, so the kernel need not check sizes and times, nor drop pages by itself. */
	conn->want = conn->capable & wanted;
	conn->max_write = WRITE_MAX;
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

int session_new(struct session **ret, const struct session_setup *setup, struct err *err)
{
	static const struct fuse_custom_io io = { .read = hook_read, .writev = hook_writev };
	_cleanup_(session_free_raw_cleanup) struct session *session = calloc(1, sizeof(*session));
	char *argv[] = { (char *)"rptfs", (char *)"-d", NULL };
	struct fuse_args args = FUSE_ARGS_INIT(setup->debug ? 2 : 1, argv);

	if (!session)
		return err_set(err, ERR_INTERNAL, "FUSE session: out of memory");
	session->inflight = setup->inflight;
	session->notifier = setup->notifier;
	session->over_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (session->over_fd < 0)
		return err_errno(err, "FUSE session: eventfd");
	fuse_set_log_func(forward_log);
	session->fuse = fuse_session_new(&args, setup->ops, setup->ops_size, setup->userdata);
	fuse_opt_free_args(&args);
	if (!session->fuse)
		return err_set(err, ERR_INTERNAL, "FUSE session: libfuse could not make one");
	/* A rehearsal reads and writes nothing, but libfuse needs a descriptor. */
	_cleanup_close_ int fd = fcntl(setup->device == SESSION_NO_DEVICE ? session->over_fd
									  : setup->device,
				       F_DUPFD_CLOEXEC, 3);
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

int session_replay(struct session *session, struct err *err)
{
	struct err said = ERR_INIT;
	uint8_t request[INFLIGHT_RECORD_SIZE] = { 0 };
	size_t len;

	if (session->replayed || !inflight_negotiated(session->inflight))
		return 0;
	const void *saved = inflight_init_request(session->inflight, &len);
	if (!saved || len > sizeof(request))
		return err_set(err, ERR_BAD_DATA, "the INIT request of the mount was not saved");
	memcpy(request, saved, len);
	notice_init(session, (const void *)request, len);
	struct fuse_buf buf = { .mem = request, .size = len };
	session->replaying = &said;
	fuse_session_process_buf(session->fuse, &buf);
	session->replaying = NULL;
	if (atomic_load(&session->init_unique))
		return err_set(err, ERR_BAD_DATA,
			       "the saved INIT request of the mount is not an INIT request");
	if (said.kind != ERR_NONE)
		return err_set(err, said.kind, "%s", said.msg);
	session->replayed = true;
	return 0;
}

/* The predecessor may have died after saving the reply to INIT and before writing it. */
static void repeat_init_reply(struct session *session)
{
	size_t len;
	const struct init_reply *reply = inflight_init_reply(session->inflight, &len);

	if (!reply)
		return;
	if (write(fuse_session_fd(session->fuse), reply, len) < 0) {
		/* ENOENT: it was written. */
	}
	inflight_answered(session->inflight, reply->out.unique);
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
	if (session_replay(session, err) < 0 ||
	    notifier_give_device(session->notifier, fuse_session_fd(session->fuse), err) < 0)
		return -1;
	inflight_inherit(session->inflight);
	repeat_init_reply(session);
	handle_wake_signal();
	int failure = pthread_create(&session->thread, NULL, serve, session);
	if (failure)
		return err_set(err, ERR_INTERNAL, "FUSE session: thread: %s", strerror(failure));
	session->started = true;
	return 0;
}

bool session_was_unmounted(const struct session *session)
{
	return atomic_load(&session->unmounted);
}

int session_over_fd(const struct session *session)
{
	return session->over_fd;
}

/* Ends the threads and waits for them. */
static void stop(struct session *session)
{
	if (!session->started)
		return;
	fuse_session_exit(session->fuse);
	/* libfuse's loop checks the exit flag before it waits, but not atomically: a signal that
	 * arrives in between is lost, so it is sent until the loop has ended. */
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
	stop(session);
	session_free_raw(session);
}

int session_notify_delete(struct session *session, uint64_t parent, uint64_t child,
			  const char *name)
{
	return fuse_lowlevel_notify_delete(session->fuse, parent, child, name, strlen(name));
}

int session_notify_inval_entry(struct session *session, uint64_t parent, const char *name)
{
	return fuse_lowlevel_notify_inval_entry(session->fuse, parent, name, strlen(name));
}

int session_notify_inval_dir(struct session *session, uint64_t dir)
{
	return fuse_lowlevel_notify_inval_inode(session->fuse, dir, 0, 0);
}

void session_wait_for_dir(struct session *session, uint64_t dir)
{
	/* A name that cannot exist. The kernel looks for it with the directory locked. */
	fuse_lowlevel_notify_delete(session->fuse, dir, 0, "/", 1);
}

int session_notify_inval_attributes(struct session *session, uint64_t id)
{
	return fuse_lowlevel_notify_inval_inode(session->fuse, id, -1, 0);
}

int session_notify_store(struct session *session, uint64_t id, uint64_t offset, const char *data,
			 size_t len)
{
	struct fuse_bufvec bytes = FUSE_BUFVEC_INIT(len);

	bytes.buf[0].mem = (void *)data;
	return fuse_lowlevel_notify_store(session->fuse, id, (off_t)offset, &bytes, 0);
}

char *session_store_data(struct session *session)
{
	return notifier_data(session->notifier);
}

bool session_kernel_holds(struct session *session, uint64_t id)
{
	return session_notify_store(session, id, 0, "", 0) == 0;
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
