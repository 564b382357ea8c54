/* encode_push.c - see encode_push.h. Field numbers are those of the public definitions. */
#include "server/wire/encode_push.h"

#include <assert.h>

#include "server/wire/pb_write.h"

static void put_labels(struct buf *out, uint32_t field, struct labels l)
{
    for (size_t i = 0; i < l.n; i++) {
        size_t mark = pb_begin(out, field);
        pb_bytes(out, 1, l.v[i].name);
        pb_bytes(out, 2, l.v[i].value);
        pb_end(out, mark);
    }
}

/* Records by their owner (series, stream), each owner's in their order. */
struct by_owner {
    uint32_t *start; // of each owner, and the end
    uint32_t *record;
};

static struct by_owner group(struct arena *a, size_t n_owners, size_t n, const uint32_t *owner)
{
    struct by_owner g = {arena_array(a, uint32_t, n_owners + 2), arena_array(a, uint32_t, n + 1)};
    memset(g.start, 0, (n_owners + 2) * sizeof *g.start);
    for (size_t i = 0; i < n; i++)
        g.start[owner[i] + 2]++;
    for (size_t i = 2; i < n_owners + 2; i++)
        g.start[i] += g.start[i - 1];
    for (size_t i = 0; i < n; i++)
        g.record[g.start[owner[i] + 1]++] = (uint32_t)i;
    return g;
}

#define OWNERS(a, vec, member, out)                          \
    uint32_t *out = arena_array((a), uint32_t, (vec).n + 1); \
    for (size_t owner_i = 0; owner_i < (vec).n; owner_i++)   \
    (out)[owner_i] = (vec).v[owner_i].member

static void put_sample(struct buf *out, const struct batch *b, size_t i)
{
    size_t mark = pb_begin(out, 2);
    pb_double_always(out, 1, b->samples.v[i].v);
    pb_int_always(out, 2, b->samples.v[i].t_ms);
    pb_int(out, 3, batch_start(b, i));
    pb_end(out, mark);
}

static void put_exemplar(struct buf *out, const struct batch_exemplar *e)
{
    size_t mark = pb_begin(out, 3);
    put_labels(out, 1, e->labels);
    pb_double_always(out, 2, e->v);
    pb_int_always(out, 3, e->t_ms);
    pb_end(out, mark);
}

static void put_meta(struct buf *out, const struct metric_meta *m)
{
    static_assert(METRIC_STATESET == 7, "types are numbered as MetricMetadata numbers them");
    size_t mark = pb_begin(out, 3);
    pb_int(out, 1, (int64_t)m->type);
    pb_bytes(out, 2, m->name);
    pb_bytes(out, 4, m->help);
    pb_bytes(out, 5, m->unit);
    pb_end(out, mark);
}

void encode_prom_write(const struct batch *b, struct buf *out)
{
    ASSERT(b->hists.n == 0);
    OWNERS(b->arena, b->samples, series, of_sample);
    OWNERS(b->arena, b->exemplars, series, of_exemplar);
    struct by_owner samples = group(b->arena, b->series.n, b->samples.n, of_sample);
    struct by_owner exemplars = group(b->arena, b->series.n, b->exemplars.n, of_exemplar);
    for (size_t i = 0; i < b->series.n; i++) {
        ASSERT(b->series.v[i].labels.n > 0);
        size_t mark = pb_begin(out, 1);
        put_labels(out, 1, b->series.v[i].labels);
        for (uint32_t k = samples.start[i]; k < samples.start[i + 1]; k++)
            put_sample(out, b, samples.record[k]);
        for (uint32_t k = exemplars.start[i]; k < exemplars.start[i + 1]; k++)
            put_exemplar(out, &b->exemplars.v[exemplars.record[k]]);
        pb_end(out, mark);
    }
    for (size_t i = 0; i < b->metas.n; i++)
        put_meta(out, &b->metas.v[i]);
}

static void put_entry(struct buf *out, const struct batch_log *log)
{
    int64_t nanos = log->t_ns % NS_PER_S, seconds = log->t_ns / NS_PER_S;
    size_t mark = pb_begin(out, 2), time = pb_begin(out, 1);
    pb_int(out, 1, nanos < 0 ? seconds - 1 : seconds);
    pb_int(out, 2, nanos < 0 ? nanos + NS_PER_S : nanos);
    pb_end(out, time);
    pb_bytes(out, 2, log->line);
    put_labels(out, 3, log->meta);
    pb_end(out, mark);
}

void encode_loki_push(const struct batch *b, struct buf *out)
{
    struct buf text;
    buf_init(&text, out->max);
    OWNERS(b->arena, b->logs, stream, of_log);
    struct by_owner logs = group(b->arena, b->streams.n, b->logs.n, of_log);
    for (size_t i = 0; i < b->streams.n; i++) {
        size_t mark = pb_begin(out, 1);
        buf_clear(&text);
        labels_print(&text, b->streams.v[i].labels, false);
        pb_bytes(out, 1, buf_str(&text));
        for (uint32_t k = logs.start[i]; k < logs.start[i + 1]; k++)
            put_entry(out, &b->logs.v[logs.record[k]]);
        pb_end(out, mark);
    }
    out->over = out->over || text.over;
    buf_deinit(&text);
}
