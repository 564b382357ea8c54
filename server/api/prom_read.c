/* prom_read.c - Prometheus remote read: POST /api/v1/read, as samples (one snappy block) or as a
 * stream of chunks.
 *
 * Series come in storage order, which is the order of their labels. A stream is written as it is
 * read, a frame per MiB; samples are collected, bounded by the query's memory. Source: the public
 * remote read description. */
#include <stdio.h>

#include "server/api/api.h"
#include "server/api/prom_priv.h"
#include "server/wire/hist_chunk.h"
#include "server/wire/pb_read.h"
#include "server/wire/pb_write.h"
#include "server/wire/xor_chunk.h"
#include "storage/base/hash.h"
#include "storage/model/limits.h"

#define FRAME_MAX     MIB // of a stream: Prometheus' default
#define ENCODING_XOR  1
#define TYPE_SAMPLES  0
#define TYPE_STREAMED 1

static bool malformed(const char *what, struct err *err)
{
    return err_set(err, ERR_INVALID, "malformed protobuf: %s", what);
}

static bool read_matcher(struct query *q, str bytes, struct matcher *out, struct err *err)
{
    struct rd r = rd_of(bytes);
    struct pb_field f;
    uint64_t type = 0;
    str name = STR(""), value = STR("");
    while (pb_next(&r, &f)) {
        if (f.tag == PB_TAG(1, PB_VARINT))
            type = f.value;
        else if (f.tag == PB_TAG(2, PB_BYTES))
            name = f.bytes;
        else if (f.tag == PB_TAG(3, PB_BYTES))
            value = f.bytes;
    }
    if (r.bad || type > MATCH_NRE) // both count from = in the same order
        return malformed("LabelMatcher", err);
    return query_matcher(q, out, (enum matcher_op)type, name, value, err);
}

static bool read_query(struct query *q, str bytes, struct prom_read_query *out, struct err *err)
{
    struct rd r = rd_of(bytes);
    struct pb_field f;
    VEC(struct matcher) matchers = {0};
    *out = (struct prom_read_query){0};
    while (pb_next(&r, &f)) {
        struct matcher m;
        if (f.tag == PB_TAG(1, PB_VARINT))
            out->start_ms = (int64_t)f.value;
        else if (f.tag == PB_TAG(2, PB_VARINT))
            out->end_ms = (int64_t)f.value;
        else if (f.tag == PB_TAG(3, PB_BYTES)) {
            if (!read_matcher(q, f.bytes, &m, err))
                return false;
            vec_push(&matchers, &q->arena, m);
        }
    }
    if (r.bad)
        return malformed("Query", err);
    out->start_ms = MIN(MAX(out->start_ms, TIME_MIN_MS), TIME_MAX_MS);
    out->end_ms = MIN(MAX(out->end_ms, TIME_MIN_MS), TIME_MAX_MS);
    out->matchers = (struct matchers){matchers.v, matchers.n};
    return true;
}

/* The first type that is known wins; none at all means samples. */
static void take_type(struct prom_read_request *q, uint64_t type)
{
    if (q->has_type || type > TYPE_STREAMED)
        return;
    q->has_type = true;
    q->streamed = type == TYPE_STREAMED;
}

bool prom_read_request(struct query *q, str message, struct prom_read_request *out, struct err *err)
{
    struct rd r = rd_of(message);
    struct pb_field f;
    while (!q->arena.over && pb_next(&r, &f)) {
        struct rd types = rd_of(f.bytes);
        if (f.tag == PB_TAG(1, PB_BYTES)) {
            struct prom_read_query one;
            if (!read_query(q, f.bytes, &one, err))
                return false;
            vec_push(&out->queries, &q->arena, one);
        } else if (f.tag == PB_TAG(2, PB_VARINT)) {
            take_type(out, f.value);
        } else if (f.tag == PB_TAG(2, PB_BYTES)) {
            while (rd_left(&types) > 0 && !types.bad)
                take_type(out, rd_varint(&types));
        }
    }
    return (!r.bad || malformed("ReadRequest", err)) && query_tick(q, err);
}

static void put_labels(struct buf *b, struct labels l)
{
    for (size_t i = 0; i < l.n; i++) {
        size_t mark = pb_begin(b, 1);
        pb_bytes(b, 1, l.v[i].name);
        pb_bytes(b, 2, l.v[i].value);
        pb_end(b, mark);
    }
}

/* ---- samples ---- */

static uint64_t zigzag(int64_t x)
{
    return (uint64_t)x << 1 ^ (uint64_t)(x >> 63);
}

static void put_side(struct buf *b, const struct hist_side *s, bool is_int, uint32_t field)
{
    int64_t before = 0;
    for (size_t i = 0; i < s->n_spans; i++) {
        size_t mark = pb_begin(b, field);
        pb_uint(b, 1, zigzag(s->spans[i].offset));
        pb_uint(b, 2, s->spans[i].length);
        pb_end(b, mark);
    }
    if (s->n == 0)
        return;
    size_t mark = pb_begin(b, is_int ? field + 1 : field + 2);
    for (size_t i = 0; i < s->n; i++) {
        if (!is_int) {
            buf_f64(b, s->counts[i]);
            continue;
        }
        buf_zigzag(b, (int64_t)s->counts[i] - before);
        before = (int64_t)s->counts[i];
    }
    pb_end(b, mark);
}

static void put_hist(struct buf *b, int64_t t_ms, const struct hist *h)
{
    static const uint8_t hints[] = {
        [HIST_RESET_UNKNOWN] = 0, [HIST_RESET_YES] = 1, [HIST_RESET_NO] = 2, [HIST_GAUGE] = 3};
    size_t mark = pb_begin(b, 4);
    if (h->is_int)
        pb_int_always(b, 1, (int64_t)h->count);
    else
        pb_double_always(b, 2, h->count);
    pb_double(b, 3, h->sum);
    pb_uint(b, 4, zigzag(h->schema));
    pb_double(b, 5, h->zero_threshold);
    if (h->is_int)
        pb_int_always(b, 6, (int64_t)h->zero_count);
    else
        pb_double_always(b, 7, h->zero_count);
    put_side(b, &h->neg, h->is_int, 8);
    put_side(b, &h->pos, h->is_int, 11);
    pb_uint(b, 14, hints[h->reset]);
    pb_int(b, 15, t_ms);
    if (h->n_custom > 0) {
        size_t custom = pb_begin(b, 16);
        for (size_t i = 0; i < h->n_custom; i++)
            buf_f64(b, h->custom[i]);
        pb_end(b, custom);
    }
    pb_end(b, mark);
}

static void put_series(struct buf *b, const struct series *s)
{
    size_t mark = pb_begin(b, 1);
    put_labels(b, s->labels);
    for (size_t i = 0; i < s->n; i++) {
        if (s->h != NULL && s->h[i] != NULL) {
            put_hist(b, s->t_ms[i], s->h[i]);
            continue;
        }
        size_t sample = pb_begin(b, 2);
        pb_double(b, 1, s->v[i]);
        pb_int(b, 2, s->t_ms[i]);
        pb_end(b, sample);
    }
    pb_end(b, mark);
}

/* ---- stream ---- */

/* ChunkedReadResponse: varint length, crc32c (big-endian), message. */
static bool send_frame(struct api_call *c, str message, struct err *err)
{
    struct buf head;
    buf_init(&head, 16);
    buf_varint(&head, message.n);
    uint32_t crc = crc32c(message);
    for (int shift = 24; shift >= 0; shift -= 8)
        buf_u8(&head, (uint8_t)(crc >> shift));
    struct sink *sink = reply_sink(c->rep);
    bool ok = sink_write(sink, buf_str(&head)) && sink_write(sink, message);
    buf_deinit(&head);
    return ok || err_set(err, ERR_CANCELED, "the client is gone");
}

/* The chunk that begins with sample i: as many of its kind as fit. Returns how many. */
static size_t put_chunk(struct api_call *c, const struct series *s, size_t i, struct buf *b,
                        struct buf *chunk)
{
    size_t n = 0, most = MIN(s->n - i, (size_t)XOR_CHUNK_MAX);
    uint64_t encoding = ENCODING_XOR;
    buf_clear(chunk);
    while (n < most && (s->h == NULL || s->h[i + n] == NULL))
        n++;
    if (n > 0) {
        xor_chunk_encode(s->t_ms + i, s->v + i, n, chunk);
    } else {
        n = hist_chunk_fit(s->h + i, most);
        encoding = hist_chunk_encode(&c->q.arena, s->t_ms + i, s->h + i, n, chunk);
    }
    size_t part = pb_begin(b, 2);
    pb_int(b, 1, s->t_ms[i]);
    pb_int(b, 2, s->t_ms[i + n - 1]);
    pb_uint(b, 3, encoding);
    pb_bytes(b, 4, buf_str(chunk));
    pb_end(b, part);
    return n;
}

/* One series: as many frames as it needs, each with its labels. */
static bool stream_series(struct api_call *c, const struct series *s, size_t query, struct buf *b,
                          struct buf *chunk, struct err *err)
{
    for (size_t i = 0; i < s->n;) {
        buf_clear(b);
        size_t mark = pb_begin(b, 1);
        put_labels(b, s->labels);
        while (i < s->n && b->n < FRAME_MAX - 16 * KIB)
            i += put_chunk(c, s, i, b, chunk);
        pb_end(b, mark);
        pb_uint(b, 2, query);
        if (b->over || chunk->over)
            return err_set(err, ERR_LIMIT, "a series does not fit a frame");
        if (!send_frame(c, buf_str(b), err))
            return false;
    }
    return true;
}

/* ---- the call ---- */

static bool run_query(struct api_call *c, const struct prom_read_query *q, size_t at, bool streamed,
                      struct buf *b, struct buf *chunk, struct err *err)
{
    struct time_range range = {ms_to_ns(q->start_ms), ms_to_ns(q->end_ms)};
    struct series_select sel = {.matchers = q->matchers,
                                .start_ms = q->start_ms,
                                .end_ms = q->end_ms,
                                .ticker = &c->q.ticker,
                                .stats = &c->q.scan};
    struct snapshot *snap;
    struct series_iter *it;
    struct series s;
    if (!query_snapshot(&c->q, SIGNAL_METRICS, range, &snap, err) ||
        !series_iter_open(snap, &sel, &c->q.budget, &it, err))
        return false;
    enum step step;
    size_t mark = streamed ? 0 : pb_begin(b, 1);
    while ((step = series_next(it, &s, err)) == STEP_ITEM) {
        bool ok = query_count_samples(&c->q, s.n, err);
        if (ok && streamed)
            ok = stream_series(c, &s, at, b, chunk, err);
        else if (ok)
            put_series(b, &s);
        if (ok && b->over)
            ok = err_set(err, ERR_LIMIT, "the answer is above %zu bytes (query.memory)", b->max);
        if (!ok) {
            step = STEP_ERROR;
            break;
        }
    }
    series_iter_close(it);
    if (step == STEP_ERROR)
        return false;
    if (!streamed)
        pb_end(b, mark);
    return true;
}

static bool run_queries(struct api_call *c, const struct prom_read_request *r, struct buf *b,
                        struct buf *other, struct err *err)
{
    if (r->streamed) {
        reply_no_gzip(c->rep);
        reply_header(c->rep, STR("content-type"),
                     STR("application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"));
    }
    for (size_t i = 0; i < r->queries.n; i++)
        if (!run_query(c, &r->queries.v[i], i, r->streamed, b, other, err))
            return false;
    if (r->streamed) {
        (void)reply_sink(c->rep); // also an answer without series is one
        return true;
    }
    if (!compress_to(CODEC_SNAPPY, 0, buf_str(b), other, err))
        return false;
    reply_no_gzip(c->rep);
    reply_header(c->rep, STR("content-encoding"), STR("snappy"));
    reply_send(c->rep, 200, STR("application/x-protobuf"), buf_str(other));
    return true;
}

static bool run_read(struct api_call *c, struct err *err)
{
    struct prom_read_request r = {0};
    struct buf b, other;
    str body;
    if (!http_inflate(c->req, CODEC_SNAPPY, (size_t)c->svc->config->max_body_raw, &body, err) ||
        !prom_read_request(&c->q, body, &r, err))
        return false;
    buf_init(&b, c->q.limits.max_memory);
    buf_init(&other, c->q.limits.max_memory);
    bool ok = run_queries(c, &r, &b, &other, err);
    buf_deinit(&b);
    buf_deinit(&other);
    return ok;
}

static void post_read(void *ctx, struct http_request *req, struct http_reply *rep)
{
    prom_serve(run_read, ctx, req, rep);
}

const struct route prom_read_routes[] = {
    {HTTP_POST, "/api/v1/read", LANE_QUERY, post_read, prom_refuse},
    {0},
};
