/* grpc.h - gRPC on top of HTTP/2: message framing, status codes, error details.
 *
 * A request carries one message (unary and server-streaming methods are all we serve). The reader
 * is sans-I/O: bytes of DATA frames in any split go in, the message's bytes come out in the
 * exchange's body. */
#pragma once

#include "server/net/exchange.h"

enum grpc_code { // google.rpc.Code
    GRPC_OK = 0,
    GRPC_CANCELLED = 1,
    GRPC_UNKNOWN = 2,
    GRPC_INVALID_ARGUMENT = 3,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_NOT_FOUND = 5,
    GRPC_PERMISSION_DENIED = 7,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_FAILED_PRECONDITION = 9,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
    GRPC_DATA_LOSS = 15,
    GRPC_UNAUTHENTICATED = 16,
};

#define GRPC_ACCEPT_ENCODING STR("identity,gzip,zstd,deflate,snappy,lz4")

struct grpc_reader {
    enum { GRPC_PREFIX, GRPC_BODY, GRPC_DONE } state;
    uint8_t prefix[5]; // compressed flag, big-endian length
    size_t have;       // bytes of the prefix
    size_t left;       // bytes of the message still to come
};

bool grpc_is_content_type(str content_type); // application/grpc, application/grpc+proto
/* Takes the next bytes into x->body. Errors: a message above max_body (ERR_TOO_LARGE), no memory
 * (ERR_BUSY), a bad flag or bytes after the message (ERR_INVALID). */
MUST_USE bool grpc_feed(struct grpc_reader *r, struct exchange *x, str in, struct err *err);
/* The stream has ended: is there one whole message? */
MUST_USE bool grpc_end(const struct grpc_reader *r, struct err *err);
/* Decompresses the message by grpc-encoding into x->req.body. Worker thread (or loop lane).
 * Unknown encoding: ERR_UNSUPPORTED. */
MUST_USE bool grpc_message_open(struct exchange *x, struct err *err);
/* Appends the grpc-message form of a text: percent-encoded where not printable ASCII. */
void grpc_message_escape(struct buf *out, str text);
/* Appends google.rpc.Status{code, message, [RetryInfo{retry_ms}]} in protobuf. */
void grpc_status_details(struct buf *out, int code, str message, int64_t retry_ms);
int grpc_code_of_http(int status);
int grpc_code_to_http(int code);
