/* listener.c - listening sockets, and the start and stop of all connections. */
#include "server/net/listener.h"

#include <uv.h>

#include "server/net/conn.h"
#include "storage/base/log.h"
#include "storage/base/num.h"

#define NET_BACKLOG 1024

struct listener {
    uv_tcp_t tcp;
    struct net *net;
    str home;
    struct listener *next;
};

bool net_open(struct uv_loop_s *loop, const struct net_options *o, struct net **out,
              struct err *err)
{
    if (o->max_connections == 0)
        return err_set(err, ERR_INVALID, "max_connections must not be 0");
    struct net *net = mem_zalloc(sizeof *net);
    net->loop = loop;
    net->options = *o;
    net->dispatch = (struct dispatch){
        .host = o->host, .router = o->router, .released = o->released, .released_ctx = o->ctx};
    *out = net;
    return true;
}

static void on_connection(uv_stream_t *server, int status)
{
    struct listener *l = server->data;
    if (status < 0)
        LOG_WARN("accept_failed", "err=\"%s\"", uv_strerror(status));
    else
        conn_accept(l->net, server, l->home);
}

/* "host:port" into a socket address; host may be a number, in brackets, empty or localhost. */
static bool parse_address(str text, struct sockaddr_storage *out, struct err *err)
{
    size_t colon = str_rfind_char(text, ':');
    uint64_t port = 0;
    if (colon == SIZE_MAX || !num_parse_u64(str_sub(text, colon + 1, text.n), &port) ||
        port > 65535)
        return err_set(err, ERR_INVALID, "\"" STR_FMT "\" is not ADDRESS:PORT", STR_ARG(text));
    str host = str_sub(text, 0, colon);
    if (host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        host = str_sub(host, 1, host.n - 1);
    if (host.n == 0 || str_is(host, "*"))
        host = STR("0.0.0.0");
    else if (str_is(host, "localhost"))
        host = STR("127.0.0.1");
    char name[64];
    if (str_to_c(host, name, sizeof name) &&
        (uv_ip4_addr(name, (int)port, (struct sockaddr_in *)(void *)out) == 0 ||
         uv_ip6_addr(name, (int)port, (struct sockaddr_in6 *)(void *)out) == 0))
        return true;
    return err_set(err, ERR_INVALID, "\"" STR_FMT "\" is not an IP address", STR_ARG(host));
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct listener *l = handle->data;
    struct net *net = l->net;
    mem_free(l);
    net_handle_closed(net);
}

str net_address_home(str address)
{
    return str_sub(address, MIN(str_find_char(address, '/'), address.n), address.n);
}

bool net_listen(struct net *net, str address, uint16_t *port, struct err *err)
{
    struct sockaddr_storage addr = {0};
    str home = net_address_home(address);
    address = str_sub(address, 0, address.n - home.n);
    if (!parse_address(address, &addr, err))
        return err_in(err, "listen");
    while (str_ends(home, STR("/")))
        home = str_sub(home, 0, home.n - 1);
    struct listener *l = mem_zalloc(sizeof *l);
    l->net = net;
    l->home = home;
    uv_tcp_init(net->loop, &l->tcp);
    l->tcp.data = l;
    net->n_handles++;
    int rc = uv_tcp_bind(&l->tcp, (const struct sockaddr *)&addr, 0);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&l->tcp, NET_BACKLOG, on_connection);
    int n = sizeof addr;
    if (rc == 0)
        rc = uv_tcp_getsockname(&l->tcp, (struct sockaddr *)&addr, &n);
    if (rc < 0) {
        uv_close((uv_handle_t *)&l->tcp, on_listener_closed);
        return err_set(err, ERR_IO, "cannot listen on " STR_FMT ": %s", STR_ARG(address),
                       uv_strerror(rc));
    }
    *port = ntohs(addr.ss_family == AF_INET6
                      ? ((const struct sockaddr_in6 *)(const void *)&addr)->sin6_port
                      : ((const struct sockaddr_in *)(const void *)&addr)->sin_port);
    l->next = net->listeners;
    net->listeners = l;
    return true;
}

void net_set_ready(struct net *net, bool is_ready)
{
    net->dispatch.is_ready = is_ready;
}

void net_handle_closed(struct net *net)
{
    ASSERT(net->n_handles > 0);
    if (net->options.released)
        net->options.released(net->options.ctx);
    if (--net->n_handles == 0 && net->is_stopping && net->drained) {
        void (*drained)(void *) = net->drained;
        net->drained = NULL;
        drained(net->drained_ctx);
    }
}

void net_stop(struct net *net, void (*drained)(void *ctx), void *ctx)
{
    if (net->is_stopping)
        return;
    net->is_stopping = true;
    net->dispatch.is_stopping = true;
    net->drained = drained;
    net->drained_ctx = ctx;
    net->n_handles++; // so that the last step is taken below at the earliest
    for (struct listener *l = net->listeners, *next; l; l = next) {
        next = l->next;
        uv_close((uv_handle_t *)&l->tcp, on_listener_closed);
    }
    net->listeners = NULL;
    for (struct conn *c = net->conns, *next; c; c = next) {
        next = conn_next(c);
        conn_stop(c);
    }
    net_handle_closed(net);
}

void net_cancel(struct net *net)
{
    while (net->conns)
        conn_cancel(net->conns);
}

void net_close(struct net *net)
{
    if (!net)
        return;
    ASSERT(net->n_handles == 0);
    mem_free(net);
}

static uint64_t get(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void net_stats(const struct net *net, struct net_stats *out)
{
    *out = (struct net_stats){
        .connections = get(&net->connections),
        .accepted = get(&net->accepted),
        .refused = get(&net->refused),
        .timeouts = get(&net->timeouts),
        .http1 = get(&net->http1),
        .http2 = get(&net->http2),
        .bytes_in = get(&net->bytes_in),
        .bytes_out = get(&net->bytes_out),
        .requests = get(&net->dispatch.requests),
    };
}
