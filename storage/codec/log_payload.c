/* log_payload.c - batch to log bytes and back; layout in log_payload.h.
 *
 * Runs in the lane's thread for every request, so it is one pass of short copies and the fastest
 * zstd level. */
#include "storage/codec/log_payload.h"

#include "storage/base/rd.h"
#include "storage/codec/block.h"

#define PAYLOAD_VERSION 2
#define PAYLOAD_ZSTD    (4 * KIB)
#define VARINT_MAX      10 // bytes of a 64-bit length
/* Largest decoded payload: a request body (64 MiB raw) and what columns add to it. */
#define PAYLOAD_RAW_MAX (512 * MIB)

static void put_streams(const struct batch *b, struct buf *raw)
{
    buf_varint(raw, b->streams.n);
    for (size_t i = 0; i < b->streams.n; i++)
        labels_encode(raw, b->streams.v[i].labels);
    buf_varint(raw, b->logs.n);
    for (size_t i = 0, end; i < b->logs.n; i = end) {
        end = i + 1;
        while (end < b->logs.n && b->logs.v[end].stream == b->logs.v[i].stream)
            end++;
        buf_varint(raw, b->logs.v[i].stream);
        buf_varint(raw, end - i);
    }
}

static bool same(str a, str b) // the same address, mostly
{
    return a.n == b.n && (a.p == b.p || str_eq(a, b));
}

static bool same_names(struct labels a, struct labels b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++) {
        if (!same(a.v[i].name, b.v[i].name))
            return false;
    }
    return true;
}

/* One value at p; returns the place behind it. */
static char *put_value(char *p, str value)
{
    size_t n = value.n;
    for (; n >= 0x80; n >>= 7)
        *p++ = (char)(n | 0x80);
    *p++ = (char)n;
    if (value.n > 0)
        memcpy(p, value.p, value.n);
    return p + value.n;
}

/* Values of one record, with room for all made once; before: those of the record before, which has
 * the same names, or NULL. */
static void put_values(struct labels l, const struct label *before, struct buf *raw)
{
    size_t bits = before ? (l.n + 7) / 8 : 0, room = bits;
    for (size_t i = 0; i < l.n; i++)
        room += VARINT_MAX + l.v[i].value.n;
    char *own = room ? buf_reserve(raw, room) : NULL;
    if (!own)
        return;
    char *p = own + bits;
    memset(own, 0, bits);
    for (size_t i = 0; i < l.n; i++) {
        if (before && same(l.v[i].value, before[i].value))
            continue;
        if (before)
            own[i / 8] = (char)(own[i / 8] | 1 << (i % 8));
        p = put_value(p, l.v[i].value);
    }
    raw->n += (size_t)(p - own);
}

static void put_meta(const struct batch *b, struct buf *raw)
{
    struct labels before = {0};
    for (size_t i = 0; i < b->logs.n; i++) {
        struct labels l = b->logs.v[i].meta;
        bool again = same_names(l, before);
        buf_varint(raw, again ? 0 : 1 + l.n);
        for (size_t j = 0; j < l.n && !again; j++)
            buf_bytes(raw, l.v[j].name);
        put_values(l, again ? before.v : NULL, raw);
        before = l;
    }
}

bool log_payload_write(const struct batch *b, struct buf *out, struct err *err)
{
    struct buf raw;
    buf_init(&raw, PAYLOAD_RAW_MAX);
    put_streams(b, &raw);
    int64_t before = 0;
    size_t text = 0;
    for (size_t i = 0; i < b->logs.n; i++) {
        buf_zigzag(&raw, (int64_t)((uint64_t)b->logs.v[i].t_ns - (uint64_t)before));
        before = b->logs.v[i].t_ns;
    }
    for (size_t i = 0; i < b->logs.n; i++) {
        buf_varint(&raw, b->logs.v[i].line.n);
        text += b->logs.v[i].line.n;
    }
    put_meta(b, &raw);
    char *p = text ? buf_reserve(&raw, text) : NULL;
    for (size_t i = 0; p && i < b->logs.n; i++) {
        str line = b->logs.v[i].line;
        if (line.n > 0)
            memcpy(p, line.p, line.n);
        p += line.n;
    }
    raw.n += p ? text : 0;
    bool ok = raw.over ? err_set(err, ERR_LIMIT, "batch needs more than %zu bytes", raw.max)
                       : blob_pack(PAYLOAD_VERSION, raw.n > PAYLOAD_ZSTD ? 1 : 0, buf_str(&raw),
                                   out, err);
    buf_deinit(&raw);
    return ok;
}

static bool corrupt(struct err *err, const char *what)
{
    return err_set(err, ERR_CORRUPT, "log batch: bad %s", what);
}

/* labels_encode's bytes: varint count, then pairs. */
static bool get_labels(struct rd *r, struct arena *a, struct labels *out, struct err *err)
{
    struct rd start = *r;
    size_t n = rd_count(r, SIZE_MAX);
    for (size_t i = 0; i < 2 * n && !r->bad; i++)
        (void)rd_bytes(r);
    if (r->bad)
        return corrupt(err, "labels");
    return labels_decode((str){(const char *)start.p, (size_t)(r->p - start.p)}, a, out, err);
}

static bool get_streams(struct rd *r, struct batch *out, struct err *err)
{
    size_t n = rd_count(r, SIZE_MAX);
    vec_reserve(&out->streams, out->arena, n);
    for (size_t i = 0; i < n; i++) {
        struct labels l;
        if (!get_labels(r, out->arena, &l, err))
            return false;
        vec_push(&out->streams, out->arena, (struct batch_stream){l});
    }
    size_t rows = rd_count(r, rd_left(r) / 3); // each has at least a time, a length and metadata
    if (out->arena->over || !arena_room(out->arena, rows * sizeof out->logs.v[0]))
        return err_set(err, ERR_LIMIT, "no memory for a batch of %zu log records", rows);
    vec_reserve(&out->logs, out->arena, rows);
    while (out->logs.n < rows) {
        uint64_t stream = rd_varint(r), run = rd_varint(r);
        if (r->bad || stream >= n || run == 0 || run > rows - out->logs.n)
            return corrupt(err, "run");
        for (uint64_t i = 0; i < run; i++)
            vec_push(&out->logs, out->arena, (struct batch_log){.stream = (uint32_t)stream});
    }
    return !r->bad || corrupt(err, "streams");
}

static bool any_bit(str bits)
{
    unsigned all = 0;
    for (size_t i = 0; i < bits.n; i++)
        all |= (uint8_t)bits.p[i];
    return all != 0;
}

/* Metadata of one record. `before`: that of the record before. */
static bool get_record_meta(struct rd *r, uint8_t version, struct arena *a, struct labels *before,
                            struct err *err)
{
    uint64_t head = rd_varint(r);
    size_t n = head ? (size_t)head - 1 : before->n;
    bool bits = !head && version >= 2;
    str own = bits ? rd_take(r, (n + 7) / 8) : (str){0};
    if (r->bad || (!bits && n > rd_left(r)))
        return corrupt(err, "metadata count");
    if (bits && !any_bit(own))
        return true;
    struct label *v = arena_array(a, struct label, n);
    for (size_t j = 0; j < n; j++)
        v[j].name = head ? rd_bytes(r) : before->v[j].name;
    for (size_t j = 0; j < n; j++) {
        bool again = bits && !(own.p[j / 8] >> (j % 8) & 1);
        v[j].value = again ? before->v[j].value : rd_bytes(r);
    }
    *before = (struct labels){v, n};
    return !a->over || err_set(err, ERR_LIMIT, "no memory for the metadata of a log batch");
}

static bool get_meta(struct rd *r, uint8_t version, struct batch *out, struct err *err)
{
    struct labels before = {0};
    for (size_t i = 0; i < out->logs.n; i++) {
        if (!get_record_meta(r, version, out->arena, &before, err))
            return false;
        out->logs.v[i].meta = before;
    }
    return !r->bad || corrupt(err, "metadata");
}

bool log_payload_read(str payload, struct batch *out, struct err *err)
{
    uint8_t version;
    str raw;
    if (!blob_unpack(payload, PAYLOAD_VERSION, PAYLOAD_RAW_MAX, out->arena, &version, &raw, err))
        return false;
    struct rd r = rd_of(raw);
    if (!get_streams(&r, out, err))
        return false;
    int64_t t = 0;
    for (size_t i = 0; i < out->logs.n; i++) {
        t = (int64_t)((uint64_t)t + (uint64_t)rd_zigzag(&r));
        out->logs.v[i].t_ns = t;
    }
    for (size_t i = 0; i < out->logs.n; i++)
        out->logs.v[i].line.n = rd_varint(&r);
    if (!get_meta(&r, version, out, err))
        return false;
    for (size_t i = 0; i < out->logs.n; i++)
        out->logs.v[i].line = rd_take(&r, out->logs.v[i].line.n);
    return (!r.bad && rd_left(&r) == 0) || corrupt(err, "lines");
}
