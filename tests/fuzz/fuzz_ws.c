// fuzz_ws.c - frames fed in any split give the same answers and the same end, and a channel that
// goes on has read all there was.
//
// links: trivet_net
#include "tests/support/net_server.h"

#define HANDSHAKE                                                           \
    STR("GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")

static bool serve(str in, size_t step, struct buf *out)
{
    struct fixture f;
    fixture_init(&f);
    struct session *s = http1_open(&f.dispatch, STR("fuzz"));
    s->ops->feed(s, HANDSHAKE);
    session_drain(s, out);
    for (size_t i = 0; i < in.n && !s->ops->is_closed(s); i += step) {
        s->ops->feed(s, str_sub(in, i, MIN(i + step, in.n)));
        session_drain(s, out);
    }
    bool is_closed = s->ops->is_closed(s);
    s->ops->close(s);
    ASSERT(f.ws_closed == 1);
    fixture_deinit(&f);
    return is_closed;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 1 || n > 40000)
        return 0;
    str in = str_of((const char *)data + 1, n - 1);
    struct buf whole, parts;
    buf_init(&whole, 1 * MIB);
    buf_init(&parts, 1 * MIB);
    bool is_closed = serve(in, MAX(in.n, (size_t)1), &whole);
    ASSERT(serve(in, 1 + (size_t)data[0] % 64, &parts) == is_closed);
    ASSERT(str_eq(buf_str(&whole), buf_str(&parts)) && !whole.over);
    buf_deinit(&whole);
    buf_deinit(&parts);
    return 0;
}
