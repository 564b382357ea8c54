/* fuzz_ts_stream.c - timestamp streams: bytes that decode give ascending times, and those come back
 * the same after encoding. */
// links: trivet_codec
#include <stdlib.h>

#include "storage/codec/ts_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct buf b;
    struct err err;
    const int64_t *t, *again;
    size_t n, n_again;
    arena_init(&a, 64 * MIB, NULL);
    buf_init(&b, 64 * MIB);
    if (ts_stream_decode((str){(const char *)data, size}, &a, &t, &n, &err)) {
        for (size_t i = 1; i < n; i++)
            if (t[i] <= t[i - 1])
                abort();
        ts_stream_encode(t, n, &b);
        if (!ts_stream_decode(buf_str(&b), &a, &again, &n_again, &err) || n_again != n ||
            memcmp(t, again, n * sizeof *t) != 0)
            abort();
    }
    buf_deinit(&b);
    arena_deinit(&a);
    return 0;
}
