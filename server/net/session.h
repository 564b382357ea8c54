/* session.h - one connection's protocol as a machine without sockets: bytes go in by feed, bytes
 * come out by pull, requests go to dispatch. Two kinds: http1, http2.
 *
 * Loop thread. `wake` tells the connection that pull may have bytes now; it may be called inside
 * feed and pull (the caller looks again afterwards anyway). Time is the caller's: it asks for the
 * phase and watches `progress`. */
#pragma once

#include "server/net/dispatch.h"
#include "storage/model/limits.h"

enum session_phase {
    SESSION_IDLE,    // between requests
    SESSION_HEADERS, // the client owes the rest of the headers
    SESSION_BODY,    // the client owes the rest of a body
    SESSION_WAIT,    // we owe an answer
    SESSION_SEND,    // an answer is ready, the client must take it
    SESSION_STREAM,  // an open channel, which watches its client itself
};

struct session;

struct session_ops {
    /* Takes all bytes (what cannot be used yet is kept, bounded: see wants_input). */
    void (*feed)(struct session *s, str bytes);
    /* Where the next bytes are best read to, then fed from: the place in a body where they belong.
     * *n: how many at most; NULL: anywhere. Valid until the next call of anything. */
    char *(*room)(struct session *s, size_t *n);
    /* The client has ended its sending side. */
    void (*eof)(struct session *s);
    /* Appends up to about `max` bytes to out; nothing when there is nothing to send now. */
    void (*pull)(struct session *s, struct buf *out, size_t max);
    /* No new requests; finishes what runs. */
    void (*stop)(struct session *s);
    bool (*wants_input)(struct session *s);
    /* True once all is said: when pull gives nothing more, close. */
    bool (*is_closed)(struct session *s);
    enum session_phase (*phase)(struct session *s);
    void (*close)(struct session *s); // abandons what runs, frees
    void (*tick)(struct session *s);  // each tick_ms; NULL for those that never ask
};

struct session {
    const struct session_ops *ops;
    struct dispatch *dispatch;
    void (*wake)(struct session *s, void *ctx); // may be NULL
    void *wake_ctx;
    str peer;          // lives as long as the session
    str home;          // of its listener, see net_listen; empty: none
    uint64_t progress; // rises when the client sends or takes something that counts
    size_t body_n;     // bytes of bodies since progress last rose for them
    uint64_t requests; // begun on this connection
    uint32_t tick_ms;  // how often `tick` is wanted; 0 = never
    bool is_broken;    // an answer broke off: end the connection with a reset
};

struct session *http1_open(struct dispatch *d, str peer);
struct session *http2_open(struct dispatch *d, str peer);

#define HTTP2_PREFACE STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
enum sniff { SNIFF_MORE, SNIFF_HTTP1, SNIFF_HTTP2 };
/* Tells the protocols apart by the first bytes; MORE: not enough yet (then fewer than 3 came). */
enum sniff session_sniff(str first_bytes);

/* n bytes of a body came: counts as progress when they are enough (LIMIT_BODY_STEP). */
static inline void session_got_body(struct session *s, size_t n)
{
    s->body_n += n;
    if (s->body_n < LIMIT_BODY_STEP)
        return;
    s->body_n = 0;
    s->progress++;
}

static inline void session_wake(struct session *s)
{
    if (s->wake)
        s->wake(s, s->wake_ctx);
}
