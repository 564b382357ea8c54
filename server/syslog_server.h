/* syslog_server.h - sockets of syslog senders, UDP and TCP: messages are gathered, and stored in
 * batches by the ingest lane.
 *
 * Nobody is answered, so what cannot be stored now is tried again, while at most
 * LIMIT_SYSLOG_WAITING bytes wait: then connections are not read, and datagrams are dropped and
 * counted. Loop thread, but for the statistics. */
#pragma once

#include "server/services.h"
#include "server/work.h"

#define SYSLOG_TENANTS_MAX 64 // that listeners may name, the default one included

struct syslog_server; // opaque
struct uv_loop_s;

struct syslog_stats {
    uint64_t udp, tcp;       // messages
    uint64_t malformed, cut; // of them: kept as text; longer than LIMIT_SYSLOG_MESSAGE
    uint64_t connections, refused_connections; // open now; above LIMIT_SYSLOG_CONNECTIONS
    uint64_t dropped_waiting;                  // messages: too many waited
    uint64_t dropped_kernel;                   // datagrams: the socket's buffer was full
    uint64_t dropped_store; // messages: could not be stored for good, or at the end
};

/* Loop, work and services outlive it. */
void syslog_server_open(struct uv_loop_s *loop, struct work *work, const struct services *svc,
                        struct syslog_server **out);
/* "udp://127.0.0.1:514", "tcp://[::1]:601", "udp://:514" (all addresses); port 0 picks one. A name
 * behind the port, "tcp://:601/acme", is the tenant of what comes there. At most
 * SYSLOG_TENANTS_MAX of them. */
MUST_USE bool syslog_server_listen(struct syslog_server *s, str address, uint16_t *port,
                                   struct err *err);
/* The store has opened. */
void syslog_server_ready(struct syslog_server *s);
/* Closes the sockets, stores what waits (one try), then calls `done` from the loop; needs the lanes
 * until then. */
void syslog_server_stop(struct syslog_server *s, void (*done)(void *ctx), void *ctx);
void syslog_server_close(struct syslog_server *s); // when the loop has ended. NULL is fine
void syslog_server_stats(const struct syslog_server *s, struct syslog_stats *out); // any thread
