/* conn.h - one connection: socket, session, timer. Internal to listener.c and conn.c.
 */
#pragma once

#include "server/net/listener.h"
#include "server/net/session.h"

#define NET_READ_BUF (64 * KIB)

struct conn;
struct uv_stream_s;
struct listener;

struct net {
    struct uv_loop_s *loop;
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
void conn_accept(struct net *net, struct uv_stream_s *server, str home);
void conn_stop(struct conn *c);   // finish what runs, then close
void conn_cancel(struct conn *c); // close now
struct conn *conn_next(struct conn *c);
/* listener.c: the last handle may have gone. */
void net_handle_closed(struct net *net);
