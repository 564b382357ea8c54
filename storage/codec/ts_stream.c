/* ts_stream.c - timestamp streams; layout in ts_stream.h. */
#include "storage/codec/ts_stream.h"

#include "storage/base/rd.h"
#include "storage/codec/bits.h"

void ts_stream_encode(const int64_t *t, size_t n, struct buf *out)
{
    ASSERT(n >= 1 && n <= TS_STREAM_MAX);
    buf_varint(out, n);
    buf_zigzag(out, t[0]);
    int64_t first = n > 1 ? sub_wrap(t[1], t[0]) : 0;
    buf_zigzag(out, first);
    uint64_t all = 0;
    for (size_t i = 2; i < n; i++)
        all |= zz(sub_wrap(sub_wrap(t[i], t[i - 1]), sub_wrap(t[i - 1], t[i - 2])));
    unsigned width = (bit_width(all) + 7) / 8;
    buf_u8(out, (uint8_t)width);
    size_t m = n > 2 ? n - 2 : 0;
    uint8_t *o = (uint8_t *)buf_reserve(out, m * width + 1);
    if (o == NULL)
        return;
    for (size_t i = 0; i < m; i++) {
        uint64_t u = zz(sub_wrap(sub_wrap(t[i + 2], t[i + 1]), sub_wrap(t[i + 1], t[i])));
        for (unsigned b = 0; b < width; b++)
            o[b * m + i] = (uint8_t)(u >> (8 * b));
    }
    out->n += m * width;
}

bool ts_stream_decode(str raw, struct arena *a, const int64_t **t, size_t *n, struct err *err)
{
    struct rd r = rd_of(raw);
    uint64_t count = rd_varint(&r);
    int64_t at = rd_zigzag(&r);
    int64_t delta = rd_zigzag(&r);
    unsigned width = rd_u8(&r);
    if (r.bad || count == 0 || count > TS_STREAM_MAX || width > 8)
        return err_set(err, ERR_CORRUPT, "timestamp stream: bad header");
    size_t m = count > 2 ? (size_t)count - 2 : 0;
    if (rd_left(&r) != m * width)
        return err_set(err, ERR_CORRUPT, "timestamp stream: %zu bytes for %zu timestamps",
                       rd_left(&r), (size_t)count);
    if (!arena_room(a, (size_t)count * sizeof(int64_t)))
        return err_set(err, ERR_LIMIT, "no memory for %zu timestamps", (size_t)count);
    int64_t *v = arena_array(a, int64_t, (size_t)count);
    if (m > 0)
        planes_get(r.p, m, m, width, v + 2);
    v[0] = at;
    uint64_t now = (uint64_t)at, step = (uint64_t)delta;
    bool descends = false;
    for (size_t i = 1; i < count; i++) {
        step += i > 1 ? (uint64_t)v[i] : 0;
        int64_t next = (int64_t)(now + step);
        descends |= next <= (int64_t)now;
        v[i] = next;
        now = (uint64_t)next;
    }
    if (descends)
        return err_set(err, ERR_CORRUPT, "timestamp stream: not ascending");
    *t = v;
    *n = (size_t)count;
    return true;
}
