/* http_post.c - see http_post.h. HTTP/1.0, so that the answer ends where the connection does. */
#include "server/http_post.h"

#include <errno.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "storage/base/num.h"

#define TIMEOUT_S 60 // of a read or a write that does not move

bool http_url_parse(str text, struct http_url *out, struct err *err)
{
    struct http_url u = {.port = "80", .path = "/"};
    str scheme = STR("http://");
    if (!str_starts(text, scheme))
        return err_set(err, ERR_INVALID, "expected http://host[:port][/path]");
    str rest = str_sub(text, scheme.n, text.n);
    size_t slash = MIN(str_find_char(rest, '/'), rest.n);
    str host = str_sub(rest, 0, slash), path = str_sub(rest, slash, rest.n);
    size_t colon = str_rfind_char(host, ':');
    bool has_port =
        colon != SIZE_MAX && str_find_char(str_sub(host, colon, host.n), ']') == SIZE_MAX;
    if (has_port && !str_to_c(str_sub(host, colon + 1, host.n), u.port, sizeof u.port))
        return err_set(err, ERR_INVALID, "the port is no number");
    if (has_port)
        host = str_sub(host, 0, colon);
    if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        host = str_sub(host, 1, host.n - 1);
    u.has_path = path.n > 1;
    if (host.n == 0 || !str_to_c(host, u.host, sizeof u.host) ||
        (u.has_path && !str_to_c(path, u.path, sizeof u.path)))
        return err_set(err, ERR_INVALID, "no host, or too long");
    *out = u;
    return true;
}

static bool dial(const struct http_url *url, int *out, struct err *err)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list;
    int rc = getaddrinfo(url->host, url->port, &hints, &list);
    if (rc != 0)
        return err_set(err, ERR_UNAVAILABLE, "%s: %s", url->host, gai_strerror(rc));
    int fd = -1;
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            int code = errno;
            close(fd);
            fd = -1;
            errno = code;
        }
    }
    if (fd < 0)
        (void)err_set(err, ERR_UNAVAILABLE, "%s:%s: %s", url->host, url->port, strerror(errno));
    freeaddrinfo(list);
    if (fd < 0)
        return false;
    struct timeval limit = {.tv_sec = TIMEOUT_S};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    *out = fd;
    return true;
}

/* False: the peer does not take more; it may have answered already. */
static bool send_all(int fd, str bytes)
{
    while (bytes.n > 0) {
        ssize_t n = send(fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            return false;
        bytes = str_sub(bytes, n > 0 ? (size_t)n : 0, bytes.n);
    }
    return true;
}

static void receive(int fd, struct buf *out)
{
    char piece[4096];
    for (;;) {
        ssize_t n = recv(fd, piece, sizeof piece, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        buf_add(out, str_of(piece, (size_t)n)); // beyond its size: read, not kept
    }
}

static bool parse_answer(str text, struct http_answer *out, struct err *err)
{
    size_t head_n = str_find(text, STR("\r\n\r\n"));
    str head = str_sub(text, 0, MIN(head_n, text.n)), line, word;
    int64_t status = 0;
    str body = head_n == SIZE_MAX ? (str){0} : str_sub(text, head_n + 4, text.n);
    bool ok = str_split(&head, '\n', &line) && str_starts(line, STR("HTTP/1.")) &&
              str_split(&line, ' ', &word) && str_split(&line, ' ', &word) &&
              num_parse_i64(str_trim(word), &status) && status >= 100 && status <= 999;
    if (!ok)
        return err_set(err, ERR_UNAVAILABLE, "the connection ended without an answer");
    out->status = (int)status;
    out->retry_after_s = 0;
    while (str_split(&head, '\n', &line)) {
        str name;
        if (str_split(&line, ':', &name) && str_eq_nocase(name, STR("retry-after")))
            (void)!num_parse_i64(str_trim(line), &out->retry_after_s);
    }
    buf_clear(&out->text);
    buf_add(&out->text, str_sub(str_trim(body), 0, out->text.max));
    return true;
}

bool http_post(const struct http_url *url, str headers, str body, struct http_answer *out,
               struct err *err)
{
    struct buf b;
    int fd = -1;
    if (!dial(url, &fd, err))
        return false;
    bool is_v6 = str_find_char(str_c(url->host), ':') != SIZE_MAX;
    buf_init(&b, 64 * KIB);
    buf_fmt(&b,
            "POST %s HTTP/1.0\r\nHost: %s%s%s:%s\r\nUser-Agent: trivet\r\nContent-Length: %zu\r\n",
            url->path, is_v6 ? "[" : "", url->host, is_v6 ? "]" : "", url->port, body.n);
    buf_add(&b, headers);
    buf_add(&b, STR("\r\n"));
    if (send_all(fd, buf_str(&b)))
        (void)send_all(fd, body);
    buf_clear(&b);
    receive(fd, &b);
    close(fd);
    bool ok = parse_answer(buf_str(&b), out, err);
    buf_deinit(&b);
    return ok;
}
