/* grpc.c - gRPC framing; see grpc.h.
 *
 *   message   := flag (1 byte: 0 plain, 1 compressed by grpc-encoding), length (4 bytes, big
 *                endian), that many bytes
 *   trailers  := grpc-status, grpc-message (percent-encoded), grpc-status-details-bin (base64 of
 *                google.rpc.Status)
 *
 * google.rpc.Status { 1 code int32; 2 message string; 3 details repeated Any }, Any { 1 type_url;
 * 2 value }, google.rpc.RetryInfo { 1 retry_delay Duration { 1 seconds; 2 nanos } }: a few bytes
 * that are written by hand, so that the network layer needs no protobuf library. */
#include "server/net/grpc.h"

#define RETRY_INFO_URL STR("type.googleapis.com/google.rpc.RetryInfo")

bool grpc_is_content_type(str content_type)
{
    str base = STR("application/grpc");
    if (!str_starts(content_type, base))
        return false;
    return content_type.n == base.n || content_type.p[base.n] == '+' ||
           content_type.p[base.n] == ';';
}

static bool grpc_prefix_done(struct grpc_reader *r, struct exchange *x, struct err *err)
{
    const uint8_t *p = r->prefix;
    size_t n = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
    if (p[0] > 1)
        return err_set(err, ERR_INVALID, "gRPC message with unknown flags 0x%02x", p[0]);
    if (n > x->host->max_body)
        return err_set(err, ERR_TOO_LARGE, "gRPC message of %zu bytes is larger than %zu", n,
                       (size_t)x->host->max_body);
    x->grpc_compressed = p[0] == 1;
    r->left = n;
    r->state = n > 0 ? GRPC_BODY : GRPC_DONE;
    return true;
}

bool grpc_feed(struct grpc_reader *r, struct exchange *x, str in, struct err *err)
{
    while (in.n > 0) {
        switch (r->state) {
        case GRPC_PREFIX:
            if (str_move(&in, r->prefix, &r->have, sizeof r->prefix) &&
                !grpc_prefix_done(r, x, err))
                return false;
            break;
        case GRPC_BODY: {
            str part = str_sub(in, 0, r->left);
            if (!exchange_body(x, part, err))
                return false;
            r->left -= part.n;
            in = str_sub(in, part.n, in.n);
            if (r->left == 0)
                r->state = GRPC_DONE;
            break;
        }
        case GRPC_DONE:
            return err_set(err, ERR_INVALID, "bytes after the gRPC message");
        }
    }
    return true;
}

bool grpc_end(const struct grpc_reader *r, struct err *err)
{
    return r->state == GRPC_DONE || err_set(err, ERR_INVALID, "gRPC message is cut short");
}

bool grpc_message_open(struct exchange *x, struct err *err)
{
    struct http_request *req = &x->req;
    req->body = buf_str(&x->body);
    if (!x->grpc_compressed)
        return true;
    str name = http_header_get(req, STR("grpc-encoding"));
    enum codec_kind kind;
    if (!codec_by_name(name, &kind) || kind == CODEC_NONE)
        return err_set(err, ERR_UNSUPPORTED, "unsupported grpc-encoding \"" STR_FMT "\"",
                       STR_ARG(str_sub(name, 0, 64)));
    return exchange_inflate(x, kind, x->host->max_body_raw, &req->body, err);
}

void grpc_message_escape(struct buf *out, str text)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c >= 0x20 && c <= 0x7e && c != '%') {
            buf_add_char(out, (char)c);
        } else {
            char escaped[3] = {'%', hex[c >> 4], hex[c & 15]};
            buf_add(out, str_of(escaped, 3));
        }
    }
}

static void put_bytes(struct buf *out, uint8_t tag, str bytes)
{
    buf_u8(out, tag);
    buf_bytes(out, bytes);
}

void grpc_status_details(struct buf *out, int code, str message, int64_t retry_ms)
{
    buf_u8(out, 0x08);
    buf_varint(out, (uint64_t)code);
    put_bytes(out, 0x12, message);
    if (retry_ms <= 0)
        return;
    struct buf delay, info, any;
    buf_init(&delay, 32);
    buf_init(&info, 64);
    buf_init(&any, 256);
    buf_u8(&delay, 0x08);
    buf_varint(&delay, (uint64_t)(retry_ms / 1000));
    buf_u8(&delay, 0x10);
    buf_varint(&delay, (uint64_t)(retry_ms % 1000 * NS_PER_MS));
    put_bytes(&info, 0x0a, buf_str(&delay));
    put_bytes(&any, 0x0a, RETRY_INFO_URL);
    put_bytes(&any, 0x12, buf_str(&info));
    put_bytes(out, 0x1a, buf_str(&any));
    buf_deinit(&delay);
    buf_deinit(&info);
    buf_deinit(&any);
}

/* The table that gRPC gives for answers of proxies, with the codes that we send ourselves. */
int grpc_code_of_http(int status)
{
    switch (status) {
    case 200:
        return GRPC_OK;
    case 400:
    case 405:
    case 415:
        return GRPC_INVALID_ARGUMENT;
    case 401:
        return GRPC_UNAUTHENTICATED;
    case 403:
        return GRPC_PERMISSION_DENIED;
    case 404:
        return GRPC_UNIMPLEMENTED;
    case 413:
    case 429:
    case 431:
        return GRPC_RESOURCE_EXHAUSTED;
    case 422:
        return GRPC_FAILED_PRECONDITION;
    case 499:
        return GRPC_CANCELLED;
    case 500:
        return GRPC_INTERNAL;
    case 501:
        return GRPC_UNIMPLEMENTED;
    case 502:
    case 503:
    case 504:
        return GRPC_UNAVAILABLE;
    default:
        return GRPC_UNKNOWN;
    }
}

int grpc_code_to_http(int code)
{
    switch (code) {
    case GRPC_OK:
        return 200;
    case GRPC_CANCELLED:
        return 499;
    case GRPC_INVALID_ARGUMENT:
    case GRPC_FAILED_PRECONDITION:
        return 400;
    case GRPC_NOT_FOUND:
    case GRPC_UNIMPLEMENTED:
        return 404;
    case GRPC_PERMISSION_DENIED:
        return 403;
    case GRPC_UNAUTHENTICATED:
        return 401;
    case GRPC_RESOURCE_EXHAUSTED:
        return 429;
    case GRPC_UNAVAILABLE:
    case GRPC_DEADLINE_EXCEEDED:
        return 503;
    default:
        return 500;
    }
}
