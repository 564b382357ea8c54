/* reply.h - the net layer's side of struct http_reply: a bounded pipe from the handler's thread to
 * the loop, with the answer's head in front.
 *
 * The handler writes; its bytes pass the optional gzip stage and become pieces. While the reply is
 * HELD nobody else looks at them, so it may still be dropped; it becomes COMPLETE (with a known
 * length) when the handler returns, or FLOWING when it exceeds LIMIT_REPLY, when memory is short,
 * or when a gRPC stream has something to say. From FLOWING on at most LIMIT_REPLY_PIECES pieces
 * wait, and the writer waits for room, until the client is gone or the write timeout has passed.
 *
 * Threads: the writer side (http.h) is the handler's thread; reply_state, reply_peek,
 * reply_advance, reply_gone are the loop's. `mutex` guards what both touch. Head fields are frozen
 * once the state has left HELD. */
#pragma once

#include <pthread.h>

#include "server/net/http.h"
#include "storage/base/vec.h"

struct exchange;
struct piece;

enum reply_state {
    REPLY_HELD,     // nothing to send yet
    REPLY_FLOWING,  // head is final, pieces come
    REPLY_COMPLETE, // everything is there
    REPLY_CUT,      // failed after the first byte: reset or close
};

struct http_reply {
    struct exchange *x;
    struct sink front;   // what the handler writes to
    struct sink encoded; // behind gzip
    struct sink_gzip *gzip;
    struct buf small; // the first bytes, until they are enough to be worth gzip

    // the head; the handler's until the state leaves HELD, then frozen
    int status;                      // 0 = not set
    VEC(struct http_header) headers; // in the exchange's arena
    bool no_gzip, is_gzip;
    bool may_flow;     // false on the loop thread, which must not wait
    bool has_messages; // gRPC
    bool stopped;      // writer: no use in writing on
    int grpc_code;
    str grpc_message;
    int64_t grpc_retry_ms;
    const struct ws_events *ws_events; // status 101: the channel's, until a session takes it over
    void *ws_app;

    struct piece *fill; // writer's newest, not yet in the pipe
    pthread_mutex_t mutex;
    pthread_cond_t room;
    struct piece *head, **tail; // guarded by mutex, as are the next five
    size_t n_pieces;
    uint64_t total; // bytes put into the pipe
    enum reply_state state;
    bool is_gone;
    bool is_noted; // a wake-up is under way

    struct piece *current; // loop's: being sent
    size_t offset;
};

void reply_init(struct http_reply *rep, struct exchange *x, bool may_flow);
void reply_deinit(struct http_reply *rep);
/* The handler has returned: flush, COMPLETE (or CUT). Handler's thread. */
void reply_finish(struct http_reply *rep);

enum reply_state reply_state(struct http_reply *rep);
uint64_t reply_total(const struct http_reply *rep); // of a COMPLETE reply: bytes in all
enum reply_step { REPLY_BYTES, REPLY_WAIT, REPLY_END, REPLY_FAILED };
/* The next bytes, borrowed until reply_advance. */
enum reply_step reply_peek(struct http_reply *rep, str *out);
void reply_advance(struct http_reply *rep, size_t n);
/* The client is gone: the writer stops. */
void reply_gone(struct http_reply *rep);
str reply_header_get(const struct http_reply *rep, str lower_name); // empty when absent
/* Would it be gzip for a client that takes that, given enough bytes? Then caches have to know
 * ("Vary") also where it is not. */
bool reply_may_gzip(const struct http_reply *rep);
/* Standard reason phrase, "" for unknown codes. */
const char *http_reason(int status);
