// fuzz_http2.c - frames (and the gRPC messages in them) fed in any split call the same handlers;
// the input is what follows the preface and an empty SETTINGS frame. (The bytes of the answers may
// differ: nghttp2 explains some broken frames in its GOAWAY only when it sees them whole.)
//
// links: trivet_net
#include "tests/support/net_server.h"

static size_t serve(str in, size_t step, struct buf *out)
{
    struct fixture f;
    fixture_init(&f);
    struct session *s = http2_open(&f.dispatch, STR("fuzz"));
    s->ops->feed(s, HTTP2_PREFACE);
    s->ops->feed(s, STR("\0\0\0\4\0\0\0\0\0"));
    for (size_t i = 0; i < in.n; i += step)
        s->ops->feed(s, str_sub(in, i, i + step));
    session_drain(s, out);
    s->ops->close(s);
    fixture_deinit(&f);
    return f.calls;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 1 || n > 40000)
        return 0;
    str in = str_of((const char *)data + 1, n - 1);
    struct buf whole, parts;
    buf_init(&whole, 64 * MIB);
    buf_init(&parts, 64 * MIB);
    size_t calls = serve(in, MAX(in.n, (size_t)1), &whole);
    ASSERT(serve(in, 1 + (size_t)data[0] % 64, &parts) == calls);
    ASSERT(!whole.over && !parts.over);
    buf_deinit(&whole);
    buf_deinit(&parts);
    return 0;
}
