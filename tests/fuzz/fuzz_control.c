/*
 * Requests to the control socket. The first byte says who asks; the rest is what arrives until the
 * peer closes its end.
 */
#include <sys/socket.h>

#include <jansson.h>

#define N_TERMS 8
#include "control/command.h"
#include "control/json_value.h"
#include "fuzz.h"
#include "unit/control_fixture.h"

#define GUEST	    65534
#define REQUEST_MAX 4096

static struct term_index *term_index;

/* Takes the connection. */
static int upgrade(void *arg, int connection, struct err *err)
{
	(void)arg, (void)err;
	close(connection);
	return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct err err = ERR_INIT;

	(void)argc, (void)argv;
	make_terms();
	view.upgrade = upgrade;
	view.keeper_version = "0.1.0";
	fuzz_check(cancel_init(&fake_cancel, &err) == 0);
	fuzz_check(term_index_new(&term_index, terms, N_TERMS, rights, &err) == 0);
	return 0;
}

/* Does what server.c does with a connection. Returns whether the request was carried out. */
static bool serve(int fd, uid_t peer)
{
	_cleanup_(conn_free_cleanup) struct conn *conn = NULL;
	_cleanup_free_ char *line = NULL;
	struct err err = ERR_INIT;
	size_t len;

	fuzz_check(conn_new(&conn, fd, &fake_cancel, &err) == 0);
	const struct exchange exchange = {
		.view = &view,
		.index = term_index,
		.conn = conn,
		.peer = peer,
		.access = access_of(peer),
	};
	if (conn_read_line(conn, REQUEST_MAX, &line, &len, &err) == 0 &&
	    command_run(&exchange, line, len, &err) == 0)
		return true;
	fuzz_check_error(&err, err.kind);
	command_write_error(conn->out, &err);
	return false;
}

/* A guest is not told about a term that it may not read. */
static void check_line(const json_t *object, uid_t peer)
{
	const json_t *listed = json_object_get(object, "terms");

	for (size_t i = 0; peer == GUEST && i < json_array_size(listed); i++) {
		const char *name = json_string_value(
			json_object_get(json_array_get(listed, i), "name"));
		fuzz_check(name && strcmp(name, names[SECRET]) != 0);
	}
}

/* Each line of the answer is one object; the last one has the error, if there is one. */
static void check_answer(int fd, uid_t peer, bool is_done)
{
	static char answer[1 << 18];
	ssize_t len = recv(fd, answer, sizeof(answer), MSG_WAITALL);
	bool has_error = false;

	fuzz_check(len >= 0 && len < (ssize_t)sizeof(answer));
	struct fuzz_input input = { (const uint8_t *)answer, (size_t)len };
	for (char *line; (line = fuzz_line(&input)); free(line)) {
		json_t *object = json_loads(line, 0, NULL);
		fuzz_check(json_is_object(object) && !has_error);
		has_error = json_object_get(object, "error");
		check_line(object, peer);
		json_decref(object);
	}
	fuzz_check(has_error == !is_done);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uid_t peers[] = { 0, OWNER, GUEST };
	struct fuzz_input input = { data, size };
	uid_t peer = peers[fuzz_below(&input, ARRAY_SIZE(peers))];
	int requests_before = atomic_load(&requests), ends[2];

	if (size > 2 * REQUEST_MAX)
		return 0;
	fuzz_check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
	_cleanup_close_ int client = ends[0];
	fuzz_check(send(client, input.next, input.left, MSG_NOSIGNAL) == (ssize_t)input.left);
	shutdown(client, SHUT_WR);
	check_answer(client, peer, serve(ends[1], peer));
	fuzz_check(peer != GUEST || atomic_load(&requests) == requests_before);
	return 0;
}
