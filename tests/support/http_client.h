/* http_client.h - a blocking HTTP/1 client of a few lines for tests against a real server on
 * 127.0.0.1. */
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "storage/base/buf.h"

/* A connected socket; reads give up after 20 s. -1 when it cannot. */
static inline int client_connect(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (const struct sockaddr *)(const void *)&addr, sizeof addr) == 0)
        return fd;
    close(fd);
    return -1;
}

static inline bool client_send(int fd, str bytes)
{
    while (bytes.n > 0) {
        ssize_t n = send(fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        bytes = str_sub(bytes, (size_t)n, bytes.n);
    }
    return true;
}

/* Reads until the server closes. */
static inline void client_read_all(int fd, struct buf *out)
{
    char chunk[65536];
    for (ssize_t n; (n = recv(fd, chunk, sizeof chunk, 0)) > 0;)
        buf_add(out, str_of(chunk, (size_t)n));
}

/* Reads until `mark` was seen. False: closed before. */
static inline bool client_read_until(int fd, struct buf *out, str mark)
{
    char chunk[4096];
    while (str_find(buf_str(out), mark) == SIZE_MAX) {
        ssize_t n = recv(fd, chunk, sizeof chunk, 0);
        if (n <= 0)
            return false;
        buf_add(out, str_of(chunk, (size_t)n));
    }
    return true;
}

/* One request on a connection of its own; the answer with its headers. False: no connection. */
static inline bool client_ask(uint16_t port, const char *method, const char *path, str body,
                              struct buf *out)
{
    int fd = client_connect(port);
    if (fd < 0)
        return false;
    struct buf head;
    buf_init(&head, 64 * KIB);
    buf_fmt(&head, "%s %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
            method, path, body.n);
    (void)(client_send(fd, buf_str(&head)) && client_send(fd, body));
    client_read_all(fd, out);
    buf_deinit(&head);
    close(fd);
    return true;
}
