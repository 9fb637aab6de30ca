/*
 * The engine's thread: an epoll loop around curl_multi_socket_action(), so that a wake-up costs
 * what is ready and not what is open.
 *
 * Callers put transfers into a queue and write to an eventfd if the thread may be asleep. The
 * thread blocks on epoll_wait() alone. Stalls are found by deadlines that are looked at when the
 * earliest of them is over; connecting is timed by curl. http_host.c decides who may start.
 */
#include "http/http_engine.h"

#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/util.h"
#include "http/http_idle.h"

#define TRANSFERS_KEPT_MAX 64
#define EVENTS_MAX	   64
#define STALL_BYTES	   1024

struct http {
	struct cancel *cancel; /* borrowed */
	CURLM *multi;
	int epoll_fd, wake_fd;
	pthread_t thread;
	bool has_thread;
	atomic_uint_fast64_t requests;
	struct http_cas cas; /* anybody's */

	/* The thread's. */
	struct http_hosts hosts;
	struct transfer *transfers; /* started, not ended */
	int64_t timer_at_ms;	    /* when curl wants to be called; -1: not at all */
	int64_t check_at_ms;	    /* no deadline is earlier; -1: there is none */
	bool has_openings;	    /* some host's limit has risen */
	bool has_started;	    /* curl is about to look for a connection */
	struct http_idle idle;
	bool is_canceled;

	pthread_mutex_t lock;
	struct transfer *asked; /* guarded by lock */
	bool is_awake;		/* guarded by lock; false: it must be woken */
	bool is_stopping;	/* guarded by lock */
	struct transfer *kept;	/* guarded by lock */
	unsigned n_kept;	/* guarded by lock */
};

DEFINE_CLEANUP(struct http, http_free)

uint64_t http_requests_total(const struct http *http)
{
	return atomic_load_explicit(&http->requests, memory_order_relaxed);
}

struct http_cas *engine_cas(struct http *http)
{
	return &http->cas;
}

/* ---- any thread ---- */

static void wake(struct http *http)
{
	if (eventfd_write(http->wake_fd, 1) < 0) {
		/* EAGAIN: the counter is full, so the thread wakes anyway. */
	}
}

void engine_ask(struct http *http, struct transfer *transfer, unsigned what)
{
	bool must_wake = false;

	pthread_mutex_lock(&http->lock);
	if (!transfer->is_finished) {
		if (!transfer->asked)
			DL_APPEND2(http->asked, transfer, asked_prev, asked_next);
		transfer->asked |= what;
		must_wake = !http->is_awake;
		http->is_awake = true;
	}
	pthread_mutex_unlock(&http->lock);
	if (must_wake)
		wake(http);
}

struct transfer *engine_take(struct http *http)
{
	pthread_mutex_lock(&http->lock);
	struct transfer *transfer = http->kept;
	if (transfer) {
		http->kept = transfer->next;
		http->n_kept--;
	}
	pthread_mutex_unlock(&http->lock);
	return transfer;
}

bool engine_keep(struct http *http, struct transfer *transfer)
{
	pthread_mutex_lock(&http->lock);
	bool is_kept = http->n_kept < TRANSFERS_KEPT_MAX;
	if (is_kept) {
		transfer->next = http->kept;
		http->kept = transfer;
		http->n_kept++;
	}
	pthread_mutex_unlock(&http->lock);
	return is_kept;
}

/* ---- the thread: transfers ---- */

static void set_deadline(struct http *http, struct transfer *transfer, int64_t deadline_ms)
{
	transfer->deadline_ms = deadline_ms;
	if (http->check_at_ms < 0 || deadline_ms < http->check_at_ms)
		http->check_at_ms = deadline_ms;
}

static void open_window(struct http *http, struct transfer *transfer)
{
	transfer->window_bytes = transfer->received_bytes;
	set_deadline(http, transfer, clock_boot_ms() + transfer->stall_timeout_ms);
}

/* In these two curl is on the stack: nothing may be started from here. */
void engine_requested(struct http *http, struct transfer *transfer)
{
	transfer->is_requested = true;
	open_window(http, transfer);
	http->has_openings |= http_hosts_connected(&transfer->ticket);
}

void engine_multiplexed(struct http *http, struct transfer *transfer)
{
	http->has_openings |= http_hosts_multiplexed(&transfer->ticket);
}

static void start_waiting(struct http *http, struct http_host *host)
{
	struct http_ticket *ticket;

	while ((ticket = http_hosts_next(host))) {
		struct transfer *transfer = container_of(ticket, struct transfer, ticket);

		atomic_fetch_add_explicit(&http->requests, 1, memory_order_relaxed);
		transfer->deadline_ms = INT64_MAX;
		if (curl_multi_add_handle(http->multi, transfer->easy) == CURLM_OK) {
			http->has_started = true;
			continue;
		}
		transfer->is_unstartable = true;
		set_deadline(http, transfer, 0);
	}
}

static void finish(struct http *http, struct transfer *transfer, enum transfer_end end)
{
	struct http_host *host;

	if (transfer->ticket.is_running) {
		transfer_discard(transfer);
		curl_multi_remove_handle(http->multi, transfer->easy);
	}
	if (transfer->ticket.host)
		DL_DELETE(http->transfers, transfer);
	host = http_hosts_leave(&http->hosts, &transfer->ticket);

	pthread_mutex_lock(&http->lock);
	if (transfer->asked)
		DL_DELETE2(http->asked, transfer, asked_prev, asked_next);
	transfer->asked = 0;
	transfer->is_finished = true;
	pthread_mutex_unlock(&http->lock);

	transfer_finish(transfer, end);
	if (host)
		start_waiting(http, host);
}

static void start(struct http *http, struct transfer *transfer)
{
	if (http->is_canceled) {
		finish(http, transfer, END_CANCELED);
		return;
	}
	if (http_hosts_enter(&http->hosts, transfer->host_key, transfer->is_tls,
			     &transfer->ticket) < 0) {
		finish(http, transfer, END_NO_MEMORY);
		return;
	}
	DL_APPEND(http->transfers, transfer);
	set_deadline(http, transfer, clock_boot_ms() + transfer->wait_timeout_ms);
	start_waiting(http, transfer->ticket.host);
}

/* Does what callers asked for. False when the thread is to end. */
static bool serve_asked(struct http *http)
{
	for (;;) {
		pthread_mutex_lock(&http->lock);
		struct transfer *transfer = http->asked;
		bool is_stopping = http->is_stopping;
		unsigned asked = 0;
		if (transfer) {
			DL_DELETE2(http->asked, transfer, asked_prev, asked_next);
			asked = transfer->asked;
			transfer->asked = 0;
		} else {
			http->is_awake = false;
		}
		pthread_mutex_unlock(&http->lock);

		if (!transfer)
			return !is_stopping;
		if (asked & ASK_STOP) {
			finish(http, transfer, END_STOPPED);
		} else if (asked & ASK_START) {
			start(http, transfer);
		} else {
			open_window(http, transfer);
			transfer_resume(transfer);
		}
	}
}

/* The connection, if it is kept, waits for its next request. */
static void note_idle(struct http *http, CURL *easy)
{
	curl_socket_t fd = CURL_SOCKET_BAD;
	long version = 0;

	curl_easy_getinfo(easy, CURLINFO_HTTP_VERSION, &version);
	if ((version == CURL_HTTP_VERSION_1_0 || version == CURL_HTTP_VERSION_1_1) &&
	    curl_easy_getinfo(easy, CURLINFO_ACTIVESOCKET, &fd) == CURLE_OK &&
	    fd != CURL_SOCKET_BAD)
		http_idle_add(&http->idle, fd);
}

int engine_close_socket(void *arg, curl_socket_t fd)
{
	struct http *http = arg;

	http_idle_remove(&http->idle, fd);
	return close(fd);
}

static void finish_completed(struct http *http)
{
	CURLMsg *message;
	int n_left;

	while ((message = curl_multi_info_read(http->multi, &n_left))) {
		struct transfer *transfer = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
		transfer->code = message->data.result;
		note_idle(http, message->easy_handle);
		finish(http, transfer, transfer->failed != END_NONE ? transfer->failed : END_CURL);
	}
}

static void serve_openings(struct http *http)
{
	struct transfer *transfer;

	http->has_openings = false;
	DL_FOREACH(http->transfers, transfer)
		start_waiting(http, transfer->ticket.host);
}

static void finish_all(struct http *http, enum transfer_end end)
{
	struct transfer *transfer, *next;

	/* Those that wait first, or each end would start another one. */
	DL_FOREACH_SAFE(http->transfers, transfer, next)
	if (!transfer->ticket.is_running)
		finish(http, transfer, end);
	DL_FOREACH_SAFE(http->transfers, transfer, next)
	finish(http, transfer, end);
}

/* ---- the thread: deadlines ---- */

/* The transfer's deadline is over. */
static void judge_deadline(struct http *http, struct transfer *transfer)
{
	uint64_t bytes = transfer->received_bytes - transfer->window_bytes;

	if (transfer->is_unstartable) {
		finish(http, transfer, END_NO_MEMORY);
	} else if (!transfer->ticket.is_running) {
		finish(http, transfer, END_CROWDED);
	} else if (transfer->is_paused || bytes >= STALL_BYTES) {
		open_window(http, transfer);
	} else {
		transfer->stalled_bytes = bytes;
		finish(http, transfer, END_STALLED);
	}
}

static void check_deadlines(struct http *http, int64_t now_ms)
{
	struct transfer *transfer, *next;

	if (http->check_at_ms < 0 || now_ms < http->check_at_ms)
		return;
	http->check_at_ms = -1;
	DL_FOREACH_SAFE(http->transfers, transfer, next)
	{
		if (now_ms >= transfer->deadline_ms)
			judge_deadline(http, transfer);
		else if (transfer->deadline_ms != INT64_MAX)
			set_deadline(http, transfer, transfer->deadline_ms);
	}
}

static int sleep_ms(const struct http *http, int64_t now_ms)
{
	int64_t at_ms = http->timer_at_ms;

	if (at_ms < 0 || (http->check_at_ms >= 0 && http->check_at_ms < at_ms))
		at_ms = http->check_at_ms;
	if (at_ms < 0)
		return -1;
	if (at_ms <= now_ms)
		return 0;
	return at_ms - now_ms > INT32_MAX ? INT32_MAX : (int)(at_ms - now_ms);
}

/* ---- the thread: the loop ---- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	struct http *http = arg;
	struct epoll_event event = { .data.fd = fd };

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		epoll_ctl(http->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
		return 0;
	}
	http_idle_remove(&http->idle, fd);
	if (what & CURL_POLL_IN)
		event.events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		event.events |= EPOLLOUT;
	if (epoll_ctl(http->epoll_fd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) < 0)
		return -1;
	curl_multi_assign(http->multi, fd, http);
	return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct http *http = arg;

	(void)multi;
	http->timer_at_ms = timeout_ms < 0 ? -1 : clock_boot_ms() + timeout_ms;
	return 0;
}

static void cancel_all(struct http *http)
{
	/* It stays readable for ever. */
	epoll_ctl(http->epoll_fd, EPOLL_CTL_DEL, http->cancel->fd, NULL);
	http->is_canceled = true;
	finish_all(http, END_CANCELED);
}

static void serve_event(struct http *http, const struct epoll_event *event)
{
	int fd = event->data.fd;
	int what = 0, n_running;
	eventfd_t count;

	if (fd == http->wake_fd) {
		if (eventfd_read(fd, &count) < 0) {
			/* Read already. */
		}
		return;
	}
	if (fd == http->cancel->fd) {
		cancel_all(http);
		return;
	}
	if (event->events & EPOLLIN)
		what |= CURL_CSELECT_IN;
	if (event->events & EPOLLOUT)
		what |= CURL_CSELECT_OUT;
	if (event->events & (EPOLLERR | EPOLLHUP))
		what |= CURL_CSELECT_ERR;
	curl_multi_socket_action(http->multi, fd, what, &n_running);
}

static void serve_timer(struct http *http)
{
	int n_running;

	if (http->timer_at_ms < 0 || clock_boot_ms() < http->timer_at_ms)
		return;
	http->timer_at_ms = -1;
	if (http->has_started)
		http_idle_purge(&http->idle);
	http->has_started = false;
	curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &n_running);
}

static void stay_awake(struct http *http)
{
	pthread_mutex_lock(&http->lock);
	http->is_awake = true;
	pthread_mutex_unlock(&http->lock);
}

static void *engine_main(void *arg)
{
	struct http *http = arg;
	struct epoll_event events[EVENTS_MAX];

	pthread_setname_np(pthread_self(), "rptfs-http");
	while (serve_asked(http)) {
		int n = epoll_wait(http->epoll_fd, events, EVENTS_MAX,
				   sleep_ms(http, clock_boot_ms()));
		stay_awake(http);
		for (int i = 0; i < n; i++)
			serve_event(http, &events[i]);
		serve_timer(http);
		finish_completed(http);
		check_deadlines(http, clock_boot_ms());
		if (http->has_openings)
			serve_openings(http);
	}
	return NULL;
}

/* ---- life ---- */

static int watch(struct http *http, int fd, struct err *err)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	if (epoll_ctl(http->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		return err_errno(err, "HTTP engine: epoll_ctl");
	return 0;
}

static int set_up(struct http *http, struct err *err)
{
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || !(http->multi = curl_multi_init()))
		return err_set(err, ERR_INTERNAL, "HTTP engine: libcurl could not be started");
	http->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	http->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (http->epoll_fd < 0 || http->wake_fd < 0)
		return err_errno(err, "HTTP engine");
	if (watch(http, http->wake_fd, err) < 0 || watch(http, http->cancel->fd, err) < 0)
		return -1;
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
	curl_multi_setopt(http->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
	curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, (long)HTTP_IDLE_MAX);
	if ((errno = pthread_create(&http->thread, NULL, engine_main, http)) != 0)
		return err_errno(err, "HTTP engine: pthread_create");
	http->has_thread = true;
	return 0;
}

int http_new(struct http **ret, struct cancel *cancel, struct err *err)
{
	_cleanup_(http_free_cleanup) struct http *http = calloc(1, sizeof(*http));

	if (!http)
		return err_set(err, ERR_INTERNAL, "HTTP engine: out of memory");
	http->cancel = cancel;
	http->epoll_fd = http->wake_fd = -1;
	http->timer_at_ms = http->check_at_ms = -1;
	http->is_awake = true;
	pthread_mutex_init(&http->lock, NULL);
	http_cas_init(&http->cas);
	if (set_up(http, err) < 0)
		return -1;
	*ret = steal_ptr(&http);
	return 0;
}

void http_free(struct http *http)
{
	struct transfer *transfer;

	if (!http)
		return;
	if (http->has_thread) {
		pthread_mutex_lock(&http->lock);
		http->is_stopping = true;
		pthread_mutex_unlock(&http->lock);
		wake(http);
		pthread_join(http->thread, NULL);
	}
	while ((transfer = engine_take(http)))
		transfer_destroy(transfer);
	curl_multi_cleanup(http->multi);
	http_hosts_release(&http->hosts);
	close_cleanup(&http->epoll_fd);
	close_cleanup(&http->wake_fd);
	http_cas_release(&http->cas);
	pthread_mutex_destroy(&http->lock);
	curl_global_cleanup();
	free(http);
}
