/* conn.h - one connection: socket, session, timer. Internal to net.c and conn.c; see net.h. */
#pragma once

#include <uv.h>
#undef MIN // of sys/param.h; base.h has its own
#undef MAX

#include "server/net/net.h"
#include "server/net/session.h"

#define NET_READ_BUF (64 * KIB)

struct conn;
struct listener;

struct net {
    uv_loop_t *loop;
    struct net_options options;
    struct dispatch dispatch;
    struct listener *listeners;
    struct conn *conns; // all open ones
    bool is_stopping;
    void (*drained)(void *ctx);
    void *drained_ctx;
    size_t n_handles; // open listeners and connections: net_close waits for 0
    atomic_uint_fast64_t connections, accepted, refused, timeouts, http1, http2, bytes_in,
        bytes_out;
    char read_buf[NET_READ_BUF]; // shared: reading and feeding is one step
};

/* Takes a connection from a listening socket. */
void conn_accept(struct net *net, uv_stream_t *server);
void conn_stop(struct conn *c);   // finish what runs, then close
void conn_cancel(struct conn *c); // close now
struct conn *conn_next(struct conn *c);
/* net.c: the last handle may have gone. */
void net_handle_closed(struct net *net);
