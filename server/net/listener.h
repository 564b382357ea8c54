/* listener.h - listeners and connections of one server: what app.c starts and stops.
 *
 * Everything here is the loop thread's. Every listener speaks every protocol; the first bytes of a
 * connection decide. */
#pragma once

#include "server/net/dispatch.h"

struct uv_loop_s;
struct net; // opaque

struct net_options {
    const struct exchange_host *host; // outlives the net
    struct router *router;            // outlives the net
    uint64_t max_connections;
    int64_t header_timeout_ns; // from the first byte of a request to the end of its headers
    int64_t body_timeout_ns;   // without LIMIT_BODY_STEP bytes of a body that is due
    int64_t idle_timeout_ns;   // between requests
    int64_t write_timeout_ns;  // without the client taking a byte of an answer
    /* Called on the loop when a connection or a request has ended: memory may have become free. */
    void (*released)(void *ctx); // may be NULL
    void *ctx;
};

struct net_stats {
    uint64_t connections, accepted, refused, timeouts; // open now; since start
    uint64_t http1, http2;                             // connections by protocol, since start
    uint64_t bytes_in, bytes_out;
    uint64_t requests;
};

MUST_USE bool net_open(struct uv_loop_s *loop, const struct net_options *o, struct net **out,
                       struct err *err);
/* "127.0.0.1:4318", "[::1]:0", ":4318" (all addresses), "localhost:80". *port is the real one. A
 * taken port is ERR_IO and names the address. What follows the port from a "/" on is the listener's
 * home ("127.0.0.1:16686/jaeger"): a request for /api/x is first looked for as /jaeger/api/x, then
 * as it is; so APIs that use one path for different things have a port each. The address must
 * outlive the net. */
MUST_USE bool net_listen(struct net *net, str address, uint16_t *port, struct err *err);
str net_address_home(str address); // "/jaeger" of such an address, or empty
/* Lanes are open from now on (the store has opened). */
void net_set_ready(struct net *net, bool is_ready);
/* Closes the listeners, answers "stopping" to new requests for lanes, ends idle connections and
 * lets the others finish. `drained` is called (once, from the loop) when the last one has gone. */
void net_stop(struct net *net, void (*drained)(void *ctx), void *ctx);
/* Cancels what still runs and closes all connections. */
void net_cancel(struct net *net);
/* After net_stop and net_cancel, once the loop has run its close callbacks. NULL is fine. */
void net_close(struct net *net);
void net_stats(const struct net *net, struct net_stats *out); // any thread; not a snapshot
