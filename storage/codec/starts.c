/* starts.c - start times as runs; layout in starts.h. */
#include "storage/codec/starts.h"

#include "storage/base/rd.h"
#include "storage/codec/bits.h"
#include "storage/model/timerange.h"

static bool fits(enum start_kind kind, const int64_t *t, const int64_t *st, size_t first, size_t i)
{
    switch (kind) {
    case START_MOMENT:
        return st[i] == st[first];
    case START_DISTANCE:
        return st[i] != 0 && sub_wrap(t[i], st[i]) == sub_wrap(t[first], st[first]);
    case START_PREVIOUS:
        return i > 0 && st[i] != 0 && st[i] == t[i - 1];
    case START_UNKNOWN:
        break;
    }
    return st[i] == 0;
}

/* The kind that says most at once. Every scan is at most one longer than the run that is taken. */
static size_t longest(const int64_t *t, const int64_t *st, size_t first, size_t n,
                      enum start_kind *kind)
{
    size_t best = 0;
    for (enum start_kind k = START_MOMENT; k <= START_UNKNOWN; k++) {
        size_t end = first;
        if ((st[first] == 0) != (k == START_UNKNOWN))
            continue;
        while (end < n && fits(k, t, st, first, end))
            end++;
        if (end - first > best) {
            best = end - first;
            *kind = k;
        }
    }
    return best;
}

void starts_encode(const int64_t *t_ms, const int64_t *start_ms, size_t n, struct buf *out)
{
    int64_t moment = 0, distance = 0;
    size_t known = 0;
    while (known < n && start_ms[known] == 0)
        known++;
    if (known == n)
        return;
    for (size_t i = 0; i < n;) {
        enum start_kind kind = START_UNKNOWN;
        size_t run = longest(t_ms, start_ms, i, n, &kind);
        buf_varint(out, (uint64_t)run << 2 | kind);
        if (kind == START_MOMENT) {
            buf_zigzag(out, sub_wrap(start_ms[i], moment));
            moment = start_ms[i];
        } else if (kind == START_DISTANCE) {
            int64_t now = sub_wrap(t_ms[i], start_ms[i]);
            buf_zigzag(out, sub_wrap(now, distance));
            distance = now;
        }
        i += run;
    }
}

bool starts_decode(str bytes, const int64_t *t_ms, size_t n, int64_t *start_ms, struct err *err)
{
    struct rd r = rd_of(bytes);
    int64_t moment = 0, distance = 0;
    size_t i = 0;
    if (bytes.n == 0) {
        memset(start_ms, 0, n * sizeof start_ms[0]);
        return true;
    }
    while (i < n && !r.bad) {
        uint64_t head = rd_varint(&r);
        enum start_kind kind = (enum start_kind)(head & 3);
        uint64_t run = head >> 2;
        if (r.bad || run == 0 || run > n - i || (kind == START_PREVIOUS && i == 0))
            break;
        if (kind == START_MOMENT)
            moment = add_wrap(moment, rd_zigzag(&r));
        else if (kind == START_DISTANCE)
            distance = add_wrap(distance, rd_zigzag(&r));
        for (size_t end = i + (size_t)run; i < end; i++)
            start_ms[i] = kind == START_MOMENT     ? moment
                          : kind == START_DISTANCE ? sub_wrap(t_ms[i], distance)
                          : kind == START_PREVIOUS ? t_ms[i - 1]
                                                   : 0;
    }
    bool in_range = true;
    for (size_t k = 0; k < i; k++)
        in_range &= start_ms[k] >= TIME_MIN_MS && start_ms[k] <= TIME_MAX_MS;
    if (r.bad || !in_range || i < n || rd_left(&r) > 0)
        return err_set(err, ERR_CORRUPT, "start times do not add up");
    return true;
}
