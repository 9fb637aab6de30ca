/* aws_server: a small HTTP server in this process; a function of the test writes the answers. */
#ifndef TESTS_UNIT_AWS_SERVER_H
#define TESTS_UNIT_AWS_SERVER_H

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tap.h"

#define AWS_SERVER_SIZE 65536

struct aws_server {
	/* Gets the head and body of a request; writes status line, headers and body. An empty
	 * answer closes the connection. */
	void (*answer)(const char *request, char *ret, size_t size);
	int listener;
	uint16_t port;
	pthread_t thread;
	atomic_bool is_over;
	atomic_int requests;
};

static void aws_server_read(int fd, char *request)
{
	size_t used = 0;
	const char *head_end = NULL;

	while (used < AWS_SERVER_SIZE - 1) {
		ssize_t n = recv(fd, request + used, AWS_SERVER_SIZE - 1 - used, 0);
		if (n <= 0)
			break;
		used += (size_t)n;
		request[used] = '\0';
		head_end = strstr(request, "\r\n\r\n");
		const char *length = strstr(request, "Content-Length: ");
		size_t body = length && head_end && length < head_end
				      ? strtoul(length + 16, NULL, 10)
				      : 0;
		if (head_end && used >= (size_t)(head_end - request) + 4 + body)
			break;
	}
	request[used] = '\0';
}

static void *aws_server_run(void *arg)
{
	struct aws_server *server = arg;
	char *request = malloc(AWS_SERVER_SIZE), *answer = malloc(AWS_SERVER_SIZE);
	int fd;

	while ((fd = accept(server->listener, NULL, NULL)) >= 0 && !server->is_over) {
		aws_server_read(fd, request);
		server->requests++;
		server->answer(request, answer, AWS_SERVER_SIZE);
		if (*answer && send(fd, answer, strlen(answer), MSG_NOSIGNAL) < 0)
			perror("send");
		close(fd);
	}
	close(fd);
	free(answer);
	free(request);
	return NULL;
}

__attribute__((unused)) static void aws_server_start(struct aws_server *server)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);

	server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(server->listener, (struct sockaddr *)&address, size) < 0 ||
	    listen(server->listener, 64) < 0 ||
	    getsockname(server->listener, (struct sockaddr *)&address, &size) < 0 ||
	    pthread_create(&server->thread, NULL, aws_server_run, server) != 0)
		abort();
	server->port = ntohs(address.sin_port);
}

__attribute__((unused)) static void aws_server_stop(struct aws_server *server)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons(server->port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	server->is_over = true;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		abort();
	pthread_join(server->thread, NULL);
	close(fd);
	close(server->listener);
}

/* Writes a complete answer. */
__attribute__((unused, format(printf, 4, 5))) static void aws_server_put(char *ret, size_t size,
									 const char *status,
									 const char *fmt, ...)
{
	char *body = malloc(AWS_SERVER_SIZE);
	va_list args;

	va_start(args, fmt);
	vsnprintf(body, AWS_SERVER_SIZE, fmt, args);
	va_end(args);
	snprintf(ret, size, "HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
		 status, strlen(body), body);
	free(body);
}

#endif
