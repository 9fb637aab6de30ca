/*
 * An epoll loop around curl_multi_socket_action(), so that the cost of a wake-up depends on how
 * many sockets are ready, not on how many are open. During long connects libcurl is called as well.
 *
 * Callers queue jobs, and write to an eventfd if the thread may be asleep. It blocks only in
 * epoll_wait(), and detects stalls by deadlines, which it checks when the earliest one has passed.
 * http_host.c decides which jobs may start.
 */
#include "http/http_engine.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/util.h"
#include "http/http_address.h"
#include "http/http_host.h"
#include "http/http_idle.h"
#include "http/http_public.h"
#include "http/http_resolver.h"
#include "http/http_setopt.h"
#include "http/http_setup.h"
#include "http/http_sockets.h"

#define JOBS_KEPT_MAX  64
#define EVENTS_MAX     64
#define STALL_BYTES    1024
#define CURL_READ_SIZE (256 * 1024)
#define CONNECTING_MS  100

/* A request from a caller to the thread. */
#define ASK_START  1u
#define ASK_RESUME 2u
#define ASK_STOP   4u

/* A transfer, and the engine's state of it. */
struct job {
	struct transfer transfer;
	struct http *http; /* borrowed; constant */

	/* For the engine's thread only. */
	struct http_ticket ticket;
	bool is_unstartable; /* curl has rejected it */
	bool is_connecting;  /* counted in http.n_connecting */
	/* Of its connection; libcurl tells the socket only when a transfer has ended. */
	int local_port, peer_port;
	struct http_tries tries;
	int socket; /* the last one that was announced for it; it may be another's by now */
	int64_t deadline_ms; /* of waiting, then of the stall window */
	uint64_t window_bytes;
	struct job *prev, *next; /* of those that have started; of those that are kept */

	unsigned asked;			     /* guarded by http.lock */
	bool is_finished;		     /* guarded by http.lock */
	struct job *asked_prev, *asked_next; /* guarded by http.lock */
};

struct http {
	struct helper *helper; /* borrowed; NULL: none */
	struct cancel *cancel; /* borrowed */
	CURLM *multi;	       /* owned */
	int epoll_fd, wake_fd; /* owned */
	pthread_t thread;
	bool has_thread;
	atomic_uint_fast64_t requests;
	atomic_bool has_news; /* idle connections may lead nowhere */
	struct http_cas cas;
	struct http_resolver resolver;

	/* For the engine's thread only. */
	struct http_hosts hosts;
	struct job *jobs;    /* started, not ended */
	int64_t timer_at_ms; /* when curl wants to be called; -1: not at all */
	int64_t check_at_ms; /* no deadline is earlier; -1: there is none */
	bool has_openings;   /* some host's limit has risen */
	bool has_started;    /* curl is about to look for a connection */
	size_t n_connecting; /* jobs */
	int64_t look_at_ms;  /* when to look after those */
	struct http_idle idle;
	struct http_addresses addresses;
	struct http_sockets sockets;
	bool is_canceled;

	pthread_mutex_t lock;
	struct job *asked; /* guarded by lock */
	bool is_awake;	   /* guarded by lock; false: it must be woken */
	bool is_stopping;  /* guarded by lock */
	struct job *kept;  /* guarded by lock; owned; for the next transfers */
	unsigned n_kept;   /* guarded by lock */
};

DEFINE_CLEANUP(struct http, http_free)

uint64_t http_requests_total(const struct http *http)
{
	return atomic_load_explicit(&http->requests, memory_order_relaxed);
}

struct http_resolver *engine_resolver(struct http *http)
{
	return &http->resolver;
}

struct helper *engine_helper(struct http *http)
{
	return http->helper;
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

void http_close_idle(struct http *http)
{
	if (!http)
		return;
	atomic_store(&http->has_news, true);
	wake(http);
}

/* Without effect once the job has ended. */
static void ask(struct job *job, unsigned what)
{
	struct http *http = job->http;
	bool must_wake = false;

	pthread_mutex_lock(&http->lock);
	if (!job->is_finished) {
		if (!job->asked)
			DL_APPEND2(http->asked, job, asked_prev, asked_next);
		job->asked |= what;
		must_wake = !http->is_awake;
		http->is_awake = true;
	}
	pthread_mutex_unlock(&http->lock);
	if (must_wake)
		wake(http);
}

/* ---- the thread: jobs ---- */

static void set_deadline(struct http *http, struct job *job, int64_t deadline_ms)
{
	job->deadline_ms = deadline_ms;
	if (http->check_at_ms < 0 || deadline_ms < http->check_at_ms)
		http->check_at_ms = deadline_ms;
}

static int64_t overdue_at(const struct job *job)
{
	return job->transfer.budget ? job->transfer.budget->deadline_ms : INT64_MAX;
}

/* The time of the transfer's next check, and not after that of its budget. */
static void check_in(struct http *http, struct job *job, int64_t delay_ms)
{
	int64_t at_ms = clock_boot_ms() + delay_ms;

	set_deadline(http, job, at_ms < overdue_at(job) ? at_ms : overdue_at(job));
}

static void open_window(struct http *http, struct job *job)
{
	job->window_bytes = job->transfer.received_bytes;
	check_in(http, job, job->transfer.stall_timeout_ms);
}

/* What a window has to bring once the response has begun. */
static uint64_t least_bytes(const struct transfer *transfer)
{
	const struct http_budget *budget = transfer->budget;
	uint64_t min_rate = budget && transfer->response.fields ? budget->min_rate : 0;
	uint64_t seconds = (uint64_t)transfer->stall_timeout_ms / MS_PER_S;
	uint64_t ms = (uint64_t)transfer->stall_timeout_ms % MS_PER_S;

	return min_rate * seconds + min_rate * ms / MS_PER_S;
}

static void set_connecting(struct http *http, struct job *job, bool is_connecting)
{
	if (job->is_connecting == is_connecting)
		return;
	job->is_connecting = is_connecting;
	if (is_connecting && !http->n_connecting++)
		http->look_at_ms = clock_boot_ms() + CONNECTING_MS;
	else if (!is_connecting)
		http->n_connecting--;
}

/* curl times connecting itself, and is earlier. */
static void start_connecting(struct http *http, struct job *job)
{
	job->transfer.is_requested = false;
	job->local_port = job->peer_port = -1;
	job->tries = (struct http_tries){ 0 };
	check_in(http, job, job->transfer.connect_timeout_ms + job->transfer.stall_timeout_ms);
	set_connecting(http, job, true);
}

static void start_waiting(struct http *http, struct http_host *host)
{
	struct http_ticket *ticket;

	while ((ticket = http_hosts_next(host, clock_boot_ms()))) {
		struct job *job = container_of(ticket, struct job, ticket);

		atomic_fetch_add_explicit(&http->requests, 1, memory_order_relaxed);
		start_connecting(http, job);
		if (http_setup_generation(job->transfer.easy, ticket->generation) == 0 &&
		    curl_multi_add_handle(http->multi, job->transfer.easy) == CURLM_OK) {
			http->has_started = true;
			continue;
		}
		job->is_unstartable = true;
		set_deadline(http, job, 0);
	}
}

/* Has the transfer failed before its first byte, on a connection of its own? */
static bool was_ignored(const struct job *job, enum transfer_end end)
{
	const struct transfer *transfer = &job->transfer;
	bool has_failed = end == END_STALLED || (end == END_CURL && transfer->code != CURLE_OK &&
						 transfer->code != CURLE_OUT_OF_MEMORY);
	long n_connects = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &n_connects);
	return has_failed && !transfer->received_bytes && n_connects > 0;
}

static void finish(struct http *http, struct job *job, enum transfer_end end)
{
	struct http_host *host;

	set_connecting(http, job, false);
	if (job->ticket.is_running && was_ignored(job, end))
		http_address_failed(&http->addresses, job->transfer.easy);
	if (job->ticket.is_running) {
		transfer_discard(&job->transfer);
		curl_multi_remove_handle(http->multi, job->transfer.easy);
	}
	if (job->ticket.host)
		DL_DELETE(http->jobs, job);
	http_sockets_disown(&http->sockets, job->socket, job);
	host = http_hosts_leave(&http->hosts, &job->ticket);

	pthread_mutex_lock(&http->lock);
	if (job->asked)
		DL_DELETE2(http->asked, job, asked_prev, asked_next);
	job->asked = 0;
	job->is_finished = true;
	pthread_mutex_unlock(&http->lock);

	transfer_finish(&job->transfer, end);
	if (host)
		start_waiting(http, host);
}

static void start(struct http *http, struct job *job)
{
	struct transfer *transfer = &job->transfer;

	if (http->is_canceled) {
		finish(http, job, END_CANCELED);
		return;
	}
	if (http_hosts_enter(&http->hosts, transfer->host_key, transfer->is_tls, &job->ticket) <
	    0) {
		finish(http, job, END_NO_MEMORY);
		return;
	}
	DL_APPEND(http->jobs, job);
	check_in(http, job, transfer->wait_timeout_ms);
	start_waiting(http, job->ticket.host);
}

static void resume(struct http *http, struct job *job)
{
	struct transfer *transfer = &job->transfer;

	open_window(http, job);
	transfer->code = transfer_resume(transfer);
	if (transfer->code != CURLE_OK)
		finish(http, job, transfer->failed != END_NONE ? transfer->failed : END_CURL);
}

/* Does what callers asked for. Returns false when the thread is to end. */
static bool serve_asked(struct http *http)
{
	for (;;) {
		pthread_mutex_lock(&http->lock);
		struct job *job = http->asked;
		bool is_stopping = http->is_stopping;
		unsigned asked = 0;
		if (job) {
			DL_DELETE2(http->asked, job, asked_prev, asked_next);
			asked = job->asked;
			job->asked = 0;
		} else {
			http->is_awake = false;
		}
		pthread_mutex_unlock(&http->lock);

		if (!job)
			return !is_stopping;
		if (asked & ASK_STOP)
			finish(http, job, END_STOPPED);
		else if (asked & ASK_START)
			start(http, job);
		else
			resume(http, job);
	}
}

/* From now on the connection, if it is kept, waits for its next request. */
static void note_idle(struct http *http, CURL *easy)
{
	curl_socket_t fd = CURL_SOCKET_BAD;
	long version = 0;

	curl_easy_getinfo(easy, CURLINFO_HTTP_VERSION, &version);
	if (curl_easy_getinfo(easy, CURLINFO_ACTIVESOCKET, &fd) == CURLE_OK &&
	    fd != CURL_SOCKET_BAD)
		http_idle_add(&http->idle, fd,
			      version == CURL_HTTP_VERSION_1_0 || version == CURL_HTTP_VERSION_1_1);
}

static void finish_completed(struct http *http)
{
	CURLMsg *message;
	int n_left;

	while ((message = curl_multi_info_read(http->multi, &n_left))) {
		struct job *job = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&job);
		job->transfer.code = message->data.result;
		note_idle(http, message->easy_handle);
		enum transfer_end failed = job->transfer.failed;
		finish(http, job, failed != END_NONE ? failed : END_CURL);
	}
}

static void serve_openings(struct http *http)
{
	struct job *job;

	http->has_openings = false;
	DL_FOREACH(http->jobs, job)
		start_waiting(http, job->ticket.host);
}

static void finish_all(struct http *http, enum transfer_end end)
{
	struct job *job, *next;

	/* Waiting transfers first: otherwise the end of a running one would start a waiting one. */
	DL_FOREACH_SAFE(http->jobs, job, next)
	if (!job->ticket.is_running)
		finish(http, job, end);
	DL_FOREACH_SAFE(http->jobs, job, next)
	finish(http, job, end);
}

/* ---- the thread: connections that lead nowhere ---- */

static bool is_used(void *arg, int fd)
{
	return http_sockets_is_watched(arg, fd);
}

static void close_idle(struct http *http)
{
	http_idle_cut_all(&http->idle, is_used, &http->sockets);
}

static void heed_news(struct http *http)
{
	if (atomic_exchange(&http->has_news, false))
		close_idle(http);
}

static bool has_heard_on_connection_of(const struct job *job, const struct job *other)
{
	return job->local_port == other->local_port && job->peer_port == other->peer_port &&
	       job->transfer.received_bytes != job->window_bytes;
}

/* The transfer has stalled without a byte. If nothing else has arrived on its connection, the
 * connection is dead: its other transfers fail now, and the next ones connect anew. What is kept
 * may be as dead. */
static void give_up_connection(struct http *http, const struct job *stalled)
{
	const struct job *job;

	DL_FOREACH(http->jobs, job) {
		if (has_heard_on_connection_of(job, stalled))
			return;
	}
	int fd = http_sockets_find(&http->sockets, stalled->local_port, stalled->peer_port);
	if (fd >= 0) {
		http_idle_cut(&http->idle, fd);
		http_sockets_watch_again(&http->sockets, fd);
	}
	close_idle(http);
}

/* ---- the thread: deadlines ---- */

static void judge_deadline(struct http *http, struct job *job)
{
	uint64_t bytes = job->transfer.received_bytes - job->window_bytes;

	job->transfer.stalled_bytes = bytes;
	if (job->is_unstartable) {
		finish(http, job, END_NO_MEMORY);
	} else if (clock_boot_ms() >= overdue_at(job)) {
		finish(http, job, END_OVERDUE);
	} else if (!job->ticket.is_running) {
		finish(http, job, END_CROWDED);
	} else if (!job->transfer.is_requested) {
		/* When it is out of memory, curl can forget a transfer that is connecting. */
		finish(http, job, END_NO_MEMORY);
	} else if (!job->transfer.is_paused && bytes < STALL_BYTES) {
		if (!bytes)
			give_up_connection(http, job);
		finish(http, job, END_STALLED);
	} else if (!job->transfer.is_paused && bytes < least_bytes(&job->transfer)) {
		finish(http, job, END_SLOW);
	} else {
		open_window(http, job);
	}
}

static void check_deadlines(struct http *http, int64_t now_ms)
{
	struct job *job, *next;

	if (http->check_at_ms < 0 || now_ms < http->check_at_ms)
		return;
	http->check_at_ms = -1;
	DL_FOREACH_SAFE(http->jobs, job, next)
	{
		if (now_ms >= job->deadline_ms)
			judge_deadline(http, job);
		else
			set_deadline(http, job, job->deadline_ms);
	}
}

static int sleep_ms(const struct http *http, int64_t now_ms)
{
	int64_t at_ms = http->timer_at_ms;

	if (at_ms < 0 || (http->check_at_ms >= 0 && http->check_at_ms < at_ms))
		at_ms = http->check_at_ms;
	if (http->n_connecting && (at_ms < 0 || http->look_at_ms < at_ms))
		at_ms = http->look_at_ms;
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
	struct job *job = NULL;
	uint32_t events = 0;

	(void)known;
	if (what == CURL_POLL_REMOVE) {
		http_sockets_unwatch(&http->sockets, fd);
		return 0;
	}
	http_idle_remove(&http->idle, fd);
	if (what & CURL_POLL_IN)
		events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		events |= EPOLLOUT;
	curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&job);
	if (job)
		job->socket = fd;
	return http_sockets_watch(&http->sockets, fd, events, job);
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
	/* The descriptor stays readable for ever. */
	epoll_ctl(http->epoll_fd, EPOLL_CTL_DEL, http->cancel->fd, NULL);
	http->is_canceled = true;
	finish_all(http, END_CANCELED);
}

/* With HTTP/1 a connection belongs to one transfer, and what it receives besides headers and
 * body is charged too, such as extensions of chunks. */
static void charge_besides(struct http *http, int fd)
{
	struct job *job = http_sockets_owner(&http->sockets, fd);

	if (!job || !job->transfer.response.fields || job->transfer.response.is_http2)
		return;
	int64_t besides = http_sockets_received(&http->sockets, fd) -
			  (int64_t)job->transfer.received_bytes;
	if (besides < 0)
		besides = 0;
	int64_t change = besides - job->transfer.besides;
	job->transfer.besides = besides;
	if (!transfer_charge(&job->transfer, change))
		finish(http, job, END_TOO_MUCH);
}

static void serve_event(struct http *http, const struct epoll_event *event)
{
	int fd = event->data.fd;
	int what = 0, n_running;
	eventfd_t count;

	if (fd == http->wake_fd) {
		if (eventfd_read(fd, &count) < 0) {
			/* EAGAIN: it was read already. */
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
	charge_besides(http, fd);
}

static void serve_timer(struct http *http)
{
	int n_running;

	if (http->timer_at_ms < 0 || clock_boot_ms() < http->timer_at_ms)
		return;
	http->timer_at_ms = -1;
	heed_news(http);
	if (http->has_started)
		http_idle_purge(&http->idle);
	http->has_started = false;
	curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &n_running);
}

/* libcurl 7.88 does not announce the sockets of the second and further addresses of a name. */
static void look_after_connecting(struct http *http)
{
	int n_running;

	if (!http->n_connecting || clock_boot_ms() < http->look_at_ms)
		return;
	http->look_at_ms = clock_boot_ms() + CONNECTING_MS;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
	/* Deprecated because it is slow for many transfers, and the only function that both looks
	 * at sockets that were not announced and announces them. */
	curl_multi_socket_all(http->multi, &n_running);
#pragma GCC diagnostic pop
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
		look_after_connecting(http);
		finish_completed(http);
		if (atomic_exchange(&http->has_news, false))
			close_idle(http);
		check_deadlines(http, clock_boot_ms());
		if (http->has_openings)
			serve_openings(http);
	}
	return NULL;
}

/* ---- callbacks of a transfer, with curl on the stack: they must not start another one ---- */

static size_t on_write(char *data, size_t size, size_t n, void *arg)
{
	struct job *job = arg;

	return transfer_put_body(&job->transfer, data, size * n);
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
	struct job *job = arg;
	bool had_begun = job->transfer.response.fields;
	size_t taken = transfer_put_header(&job->transfer, line, size * n);

	if (!had_begun && job->transfer.response.fields) {
		/* The time before the response does not count against its rate. */
		open_window(job->http, job);
		http_address_answered(&job->http->addresses, job->transfer.easy);
	}
	if (job->transfer.response.is_http2)
		job->http->has_openings |= http_hosts_multiplexed(&job->ticket);
	return taken;
}

static int on_request(void *arg, char *ip, char *local_ip, int port, int local_port)
{
	struct job *job = arg;

	(void)local_ip;
	job->local_port = local_port;
	job->peer_port = port;
	job->transfer.is_requested = true;
	set_connecting(job->http, job, false);
	open_window(job->http, job);
	job->http->has_openings |= http_hosts_connected(&job->ticket);
	if (job->transfer.is_public_only && !http_is_public_address(ip)) {
		job->transfer.failed = END_PRIVATE;
		return CURL_PREREQFUNC_ABORT;
	}
	return CURL_PREREQFUNC_OK;
}

/* As libcurl does it; without a socket it tries the next address. Also called to connect again. */
static curl_socket_t on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct job *job = arg;

	(void)purpose;
	if (job->transfer.is_requested)
		start_connecting(job->http, job);
	transfer_set_address(&job->transfer, address);
	if (!job->transfer.takes_any_address &&
	    http_address_is_bad(&job->http->addresses, &address->addr)) {
		job->transfer.has_avoided = true;
		return CURL_SOCKET_BAD;
	}
	http_address_tried(&job->http->addresses, &job->tries, &address->addr);
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static int on_close_socket(void *arg, curl_socket_t fd)
{
	struct http *http = arg;

	http_idle_remove(&http->idle, fd);
	http_sockets_unwatch(&http->sockets, fd);
	return close(fd);
}

/* ---- a transfer's life ---- */

static int set_callbacks(struct job *job, struct err *err)
{
	CURL *easy = job->transfer.easy;

	if (http_setopt(easy, CURLOPT_PRIVATE, job, err) < 0 ||
	    http_setopt(easy, CURLOPT_ERRORBUFFER, job->transfer.error, err) < 0 ||
	    http_setopt(easy, CURLOPT_WRITEFUNCTION, on_write, err) < 0 ||
	    http_setopt(easy, CURLOPT_WRITEDATA, job, err) < 0 ||
	    http_setopt(easy, CURLOPT_HEADERFUNCTION, on_header, err) < 0 ||
	    http_setopt(easy, CURLOPT_HEADERDATA, job, err) < 0 ||
	    http_setopt(easy, CURLOPT_PREREQFUNCTION, on_request, err) < 0 ||
	    http_setopt(easy, CURLOPT_PREREQDATA, job, err) < 0 ||
	    http_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket, err) < 0 ||
	    http_setopt(easy, CURLOPT_OPENSOCKETDATA, job, err) < 0 ||
	    http_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket, err) < 0 ||
	    http_setopt(easy, CURLOPT_CLOSESOCKETDATA, job->http, err) < 0 ||
	    http_setopt(easy, CURLOPT_NOSIGNAL, 1L, err) < 0 ||
	    http_setopt(easy, CURLOPT_QUICK_EXIT, 1L, err) < 0)
		return -1;
	/* The result is ignored, because this option only affects speed. A handle that still has a
	 * buffer rejects it: libcurl 7.88 does not always free the buffer between two transfers. */
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)CURL_READ_SIZE);
	return 0;
}

static int job_new(struct http *http, struct job **ret, struct err *err)
{
	_cleanup_free_ struct job *job = calloc(1, sizeof(*job));

	if (!job)
		return err_set(err, ERR_INTERNAL, "HTTP: out of memory");
	if (transfer_init(&job->transfer, err) < 0)
		return -1;
	job->http = http;
	*ret = steal_ptr(&job);
	return 0;
}

static void job_free(struct job *job)
{
	transfer_release(&job->transfer);
	free(job);
}

static struct job *take_kept(struct http *http)
{
	pthread_mutex_lock(&http->lock);
	struct job *job = http->kept;
	if (job) {
		http->kept = job->next;
		http->n_kept--;
	}
	pthread_mutex_unlock(&http->lock);
	return job;
}

static bool keep(struct http *http, struct job *job)
{
	transfer_clear(&job->transfer);
	pthread_mutex_lock(&http->lock);
	bool is_kept = http->n_kept < JOBS_KEPT_MAX;
	if (is_kept) {
		job->is_finished = false;
		job->next = http->kept;
		http->kept = job;
		http->n_kept++;
	}
	pthread_mutex_unlock(&http->lock);
	return is_kept;
}

int engine_open(struct http *http, struct transfer **ret, struct err *err)
{
	struct job *job = take_kept(http);

	if (!job && job_new(http, &job, err) < 0)
		return -1;
	if (set_callbacks(job, err) < 0) {
		job_free(job);
		return -1;
	}
	*ret = &job->transfer;
	return 0;
}

void engine_close(struct transfer *transfer)
{
	if (!transfer)
		return;
	struct job *job = container_of(transfer, struct job, transfer);

	if (!transfer_is_reusable(transfer) || !keep(job->http, job))
		job_free(job);
}

void engine_start(struct transfer *transfer)
{
	ask(container_of(transfer, struct job, transfer), ASK_START);
}

enum transfer_event engine_wait(struct transfer *transfer, const void **ret_data, size_t *ret_len)
{
	bool is_paused;
	enum transfer_event event = transfer_next(transfer, ret_data, ret_len, &is_paused);

	if (is_paused)
		ask(container_of(transfer, struct job, transfer), ASK_RESUME);
	return event;
}

void engine_stop(struct transfer *transfer)
{
	ask(container_of(transfer, struct job, transfer), ASK_STOP);
	transfer_join(transfer);
}

/* ---- the engine's life ---- */

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
	http->epoll_fd = http->sockets.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	http->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (http->epoll_fd < 0 || http->wake_fd < 0)
		return err_errno(err, "HTTP engine");
	if (http_idle_init(&http->idle, err) < 0)
		return -1;
	if (watch(http, http->wake_fd, err) < 0 || watch(http, http->cancel->fd, err) < 0)
		return -1;
	if (http_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, on_socket, err) < 0 ||
	    http_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http, err) < 0 ||
	    http_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_timer, err) < 0 ||
	    http_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http, err) < 0 ||
	    http_multi_setopt(http->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX, err) <
		    0 ||
	    http_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, (long)HTTP_IDLE_MAX, err) < 0)
		return -1;
	if ((errno = pthread_create(&http->thread, NULL, engine_main, http)) != 0)
		return err_errno(err, "HTTP engine: pthread_create");
	http->has_thread = true;
	return 0;
}

int http_new(struct http **ret, struct helper *helper, struct cancel *cancel, struct err *err)
{
	_cleanup_(http_free_cleanup) struct http *http = calloc(1, sizeof(*http));

	if (!http)
		return err_set(err, ERR_INTERNAL, "HTTP engine: out of memory");
	http->helper = helper;
	http->cancel = cancel;
	http->epoll_fd = http->wake_fd = http->idle.dead = -1;
	http->timer_at_ms = http->check_at_ms = -1;
	http->is_awake = true;
	pthread_mutex_init(&http->lock, NULL);
	http_cas_init(&http->cas);
	http_resolver_init(&http->resolver, helper);
	if (set_up(http, err) < 0)
		return -1;
	*ret = steal_ptr(&http);
	return 0;
}

void http_free(struct http *http)
{
	struct job *job;

	if (!http)
		return;
	if (http->has_thread) {
		pthread_mutex_lock(&http->lock);
		http->is_stopping = true;
		pthread_mutex_unlock(&http->lock);
		wake(http);
		pthread_join(http->thread, NULL);
	}
	while ((job = take_kept(http)))
		job_free(job);
	curl_multi_cleanup(http->multi);
	http_idle_release(&http->idle);
	http_sockets_release(&http->sockets);
	http_hosts_release(&http->hosts);
	close_cleanup(&http->epoll_fd);
	close_cleanup(&http->wake_fd);
	http_cas_release(&http->cas);
	http_resolver_release(&http->resolver);
	pthread_mutex_destroy(&http->lock);
	curl_global_cleanup();
	free(http);
}
