/* ws_accept.c - the handshake of a WebSocket: what a client must send (RFC 6455, 4.2.1), and SHA-1
 * for the proof that its key was understood (FIPS 180-4; no secret depends on it). */
#include "server/net/exchange.h"
#include "server/net/ws_session.h"
#include "storage/base/enc.h"

#define SHA1_BYTES 20
#define SHA1_BLOCK 64

static uint32_t rotl(uint32_t v, unsigned n)
{
    return v << n | v >> (32 - n);
}

static uint32_t load_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void store_be32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void sha1_block(uint32_t h[5], const uint8_t *p)
{
    uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (int i = 0; i < 16; i++)
        w[i] = load_be32(p + 4 * i);
    for (int i = 16; i < 80; i++)
        w[i] = rotl(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        static const uint32_t k[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
        uint32_t f = i < 20   ? (b & c) | (~b & d)
                     : i < 40 ? b ^ c ^ d
                     : i < 60 ? (b & c) | (b & d) | (c & d)
                              : b ^ c ^ d;
        uint32_t next = rotl(a, 5) + f + e + k[i / 20] + w[i];
        e = d, d = c, c = rotl(b, 30), b = a, a = next;
    }
    h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
}

/* Of at most two blocks' worth of bytes: a key and the protocol's own id. */
static void sha1_short(str text, uint8_t out[SHA1_BYTES])
{
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    uint8_t blocks[2 * SHA1_BLOCK] = {0};
    size_t n = text.n + 9 <= SHA1_BLOCK ? 1 : 2;
    ASSERT(text.n + 9 <= sizeof blocks);
    memcpy(blocks, text.p, text.n);
    blocks[text.n] = 0x80;
    store_be32(blocks + n * SHA1_BLOCK - 4, (uint32_t)text.n * 8);
    for (size_t i = 0; i < n; i++)
        sha1_block(h, blocks + i * SHA1_BLOCK);
    for (int i = 0; i < 5; i++)
        store_be32(out + 4 * i, h[i]);
}

void ws_accept_key(str key, char out[WS_ACCEPT_LEN + 1])
{
    uint8_t digest[SHA1_BYTES];
    struct buf text;
    buf_init(&text, 2 * SHA1_BLOCK);
    buf_add(&text, str_sub(key, 0, 24));
    buf_add(&text, STR("258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    sha1_short(buf_str(&text), digest);
    buf_clear(&text);
    base64_add(&text, str_of((const char *)digest, sizeof digest));
    ASSERT(text.n == WS_ACCEPT_LEN);
    memcpy(out, text.p, text.n);
    out[text.n] = 0;
    buf_deinit(&text);
}

/* Is the token in a comma list, in any of the headers of this name? */
static bool has_token(const struct http_request *req, str name, str token)
{
    for (size_t i = 0; i < req->n_headers; i++) {
        str rest = req->headers[i].value, part;
        if (!str_eq(req->headers[i].name, name))
            continue;
        while (str_split(&rest, ',', &part))
            if (str_eq_nocase(str_trim(part), token))
                return true;
    }
    return false;
}

bool ws_check(const struct http_request *req, struct err *err)
{
    const struct exchange *x = req->impl;
    if (!has_token(req, STR("connection"), STR("upgrade")))
        return err_set(err, ERR_INVALID,
                       "websocket: the client is not using the websocket protocol: 'upgrade' "
                       "token not found in 'Connection' header");
    if (!has_token(req, STR("upgrade"), STR("websocket")))
        return err_set(err, ERR_INVALID,
                       "websocket: the client is not using the websocket protocol: 'websocket' "
                       "token not found in 'Upgrade' header");
    if (req->method != HTTP_GET || x->is_head || req->is_http2)
        return err_set(err, ERR_INVALID,
                       "websocket: the client is not using the websocket protocol: request "
                       "method is not GET");
    if (!str_is(http_header_get(req, STR("sec-websocket-version")), "13"))
        return err_set(err, ERR_INVALID,
                       "websocket: unsupported version: 13 not found in 'Sec-Websocket-Version' "
                       "header");
    str key = http_header_get(req, STR("sec-websocket-key")), nonce;
    if (key.n != 24 || !base64_decode(req->arena, key, &nonce) || nonce.n != 16)
        return err_set(err, ERR_INVALID,
                       "websocket: not a websocket handshake: 'Sec-WebSocket-Key' header must be "
                       "Base64 encoded value of 16-byte in length");
    return true;
}

void ws_accept(struct http_request *req, struct http_reply *rep, const struct ws_events *events,
               void *app)
{
    char accept[WS_ACCEPT_LEN + 1];
    ws_accept_key(http_header_get(req, STR("sec-websocket-key")), accept);
    reply_status(rep, 101);
    reply_header(rep, STR("upgrade"), STR("websocket"));
    reply_header(rep, STR("connection"), STR("Upgrade"));
    reply_header(rep, STR("sec-websocket-accept"), str_c(accept));
    rep->ws_events = events;
    rep->ws_app = app;
}
