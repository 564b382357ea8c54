/* http.h - request, reply, handler: all that server/api and server/ingest see of the network. The
 * same for HTTP/1.1, HTTP/2 and gRPC.
 *
 * A request reaches its handler whole (headers and body in memory, bounded). The route says where
 * the handler runs: on the loop (must not block), or as a job in the ingest or query lane (a worker
 * thread; may block). The handler writes its answer to `reply` and returns; the reply is then
 * complete. Returning without a status is a 500. Ownership: request and reply belong to the net
 * layer and die after the handler returned and the last byte left. */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/compress.h"
#include "storage/base/err.h"
#include "storage/base/json_write.h"
#include "storage/base/sink.h"

enum http_method {
    HTTP_GET = 1,
    HTTP_POST = 2,
    HTTP_PUT = 4,
    HTTP_DELETE = 8,
    HTTP_HEAD = 16,
    HTTP_OPTIONS = 32,
    HTTP_PATCH = 64,
    HTTP_ANY = 127,
    /* No method: the body may have no end. Its handler is called again and again with what came
     * since, see http_request.part_err. Lanes only. */
    HTTP_PARTS = 1024,
    /* No method either: as Prometheus serves its API. HEAD is not GET, 405 has its text, and pages
     * of the origins of net.cors_origin may read below /api/. */
    HTTP_AS_PROMETHEUS = 2048,
};

struct http_header {
    str name; // lower case
    str value;
};

struct http_param { // decoded
    str name, value;
};

struct http_request {
    enum http_method method;
    str path;  // as received, not decoded, without query
    str query; // raw, without '?'
    const struct http_header *headers;
    size_t n_headers;
    str body;     // as received (content-encoded); gRPC: the one message, already inflated
    bool is_grpc; // path is the method: /package.Service/Method
    bool is_http2;
    struct arena *arena;  // the request's; memory lives until the reply is done
    str peer;             // address:port text
    const str *path_args; // values of the pattern's {names}, decoded, in order
    size_t n_path_args;
    int64_t waited_ns; // for a thread of its lane
    /* Routes with HTTP_PARTS (HTTP/1; elsewhere a body comes whole): while not NULL, `body` is only
     * what came since the last call, and the handler leaves the reply alone. It sets the error when
     * something is wrong: ERR_BUSY and ERR_UNAVAILABLE mean that the bytes are taken, but it wants
     * to be called again later, perhaps with nothing new; others end the request. The last call,
     * with NULL and an empty body, answers. Parts come one after another, never side by side;
     * `state` goes with them and state_close frees it. */
    struct err *part_err;
    void *state;
    void (*state_close)(void *state);
    void *impl; // the net layer's
};

str http_header_get(const struct http_request *req, str lower_name); // empty when absent
/* Content-Type without parameters, lower case. */
str http_content_type(const struct http_request *req);
/* Accept-Encoding allows gzip? */
bool http_accepts_gzip(const struct http_request *req);
/* True once the client has gone or the server stops: give up. Any thread. */
bool http_is_canceled(const struct http_request *req);
/* The body with its Content-Encoding removed, at most max bytes (ERR_TOO_LARGE); unknown coding:
 * ERR_MEDIA. In the request's arena, or the body itself. */
MUST_USE bool http_body(struct http_request *req, size_t max, str *out, struct err *err);
/* The body decompressed by `kind`, whatever the headers say; otherwise as http_body. */
MUST_USE bool http_inflate(struct http_request *req, enum codec_kind kind, size_t max, str *out,
                           struct err *err);
/* Nobody reads the body as received again: its memory goes, while what http_body and http_inflate
 * gave stays. For handlers that work long on what they inflated. */
void http_body_spent(struct http_request *req);
/* What http_body inflated becomes the body as received: for a coding inside another. */
void http_body_peel(struct http_request *req);
/* For application/x-www-form-urlencoded bodies the form's fields, then those of the URL's query,
 * decoded. Parsed once. A bad escape: ERR_INVALID. */
MUST_USE bool http_params(struct http_request *req, const struct http_param **out, size_t *n,
                          struct err *err);
/* First value of a name among n params; false when absent. */
bool http_param_get(const struct http_param *p, size_t n, str name, str *out);

struct http_reply;

/* Before the first body byte. Status defaults to 200. */
void reply_status(struct http_reply *rep, int status);
void reply_header(struct http_reply *rep, str name, str value); // copied
/* The body sink: bytes go to the client in pieces of 64 KiB, gzip when the client asked and it pays
 * (unless reply_no_gzip), waiting when the client is slow; write returns false once the client is
 * gone. Answers below LIMIT_REPLY are collected and sent with Content-Length. */
struct sink *reply_sink(struct http_reply *rep);
void reply_no_gzip(struct http_reply *rep);
/* Status, content type and whole body at once. */
void reply_send(struct http_reply *rep, int status, str content_type, str body);
/* After the first byte went out: cut the answer so that the client sees the failure (reset, close).
 * Before: drops what was collected so that another status can be sent; returns true in that case.
 */
bool reply_abort(struct http_reply *rep);

/* gRPC: messages (one for unary), then status. Without a status call it is OK. `retry_ms` > 0 adds
 * google.rpc.RetryInfo to grpc-status-details-bin. */
void reply_message(struct http_reply *rep, str message);
void reply_grpc_status(struct http_reply *rep, int code, str message, int64_t retry_ms);

enum lane { LANE_LOOP, LANE_INGEST, LANE_QUERY };
#define LANE_COUNT 3

typedef void http_handler(void *ctx, struct http_request *req, struct http_reply *rep);

/* pattern: literal segments, {name} for one segment, {name+} for any number of segments followed by
 * the literal rest (matched to the LAST occurrence of the rest):
 * "/api/v2/search/tag/{tag+}/values". A literal path wins over a pattern. Route tables are arrays
 * ended by pattern NULL; several are registered with router_add. */
struct route {
    unsigned
        methods; // of enum http_method; another method: 405 with Allow (see fallback in router.h)
    const char *pattern;
    enum lane lane;
    http_handler *handle;
    /* Answer when the lane is full or the server is not ready; NULL = text/plain of err's status
     * with Retry-After. */
    void (*refuse)(void *ctx, struct http_request *req, struct http_reply *rep,
                   const struct err *err);
};
