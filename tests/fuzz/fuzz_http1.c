// fuzz_http1.c - a request stream fed in any split gives the same answers, and the session never
// holds more than its limits.
//
// links: trivet_net
#include "tests/support/net_server.h"

static size_t serve(str in, size_t step, struct buf *out)
{
    struct fixture f;
    fixture_init(&f);
    struct session *s = http1_open(&f.dispatch, STR("fuzz"));
    for (size_t i = 0; i < in.n; i += step) {
        s->ops->feed(s, str_sub(in, i, i + step));
        session_drain(s, out);
        ASSERT(s->ops->wants_input(s)); // handlers run at once: nothing may wait
    }
    s->ops->eof(s);
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
    ASSERT(str_eq(buf_str(&whole), buf_str(&parts)) && !whole.over);
    buf_deinit(&whole);
    buf_deinit(&parts);
    return 0;
}
