/* tempo_proto.c - see tempo_proto.h. Field numbers: Tempo's public definitions of its service. */
#include "server/api/tempo_proto.h"

#include "server/api/tempo_json.h"
#include "server/wire/encode_trace.h"
#include "server/wire/pb_write.h"
#include "storage/base/enc.h"
#include "storage/model/sample.h"

static void put_attrs(struct buf *b, uint32_t field, struct arena *a,
                      const struct traceql_attr *attrs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct attr attr = {attrs[i].key, tempo_attr_value(a, &attrs[i].value)};
        encode_attrs(b, field, (struct attrs){&attr, 1});
    }
}

static void put_span(struct buf *b, struct arena *a, const struct traceql_span *s)
{
    size_t span = pb_begin(b, 1);
    pb_bytes(b, 1, hex_str(a, str_of((const char *)s->span_id, 8)));
    pb_bytes(b, 2, s->name);
    pb_uint(b, 3, (uint64_t)s->start_ns);
    pb_uint(b, 4, (uint64_t)s->duration_ns);
    put_attrs(b, 5, a, s->attrs, s->n_attrs);
    pb_end(b, span);
}

static void put_spanset(struct buf *b, uint32_t field, struct arena *a,
                        const struct traceql_spanset *set)
{
    size_t mark = pb_begin(b, field);
    for (size_t i = 0; i < set->n_spans; i++)
        put_span(b, a, &set->spans[i]);
    pb_uint(b, 2, set->matched);
    put_attrs(b, 3, a, set->attrs, set->n_attrs);
    pb_end(b, mark);
}

static void put_services(struct buf *b, const struct traceql_trace *t)
{
    for (size_t i = 0; i < t->n_services; i++) {
        size_t entry = pb_begin(b, 8);
        pb_bytes(b, 1, t->services[i].name);
        size_t stats = pb_begin(b, 2);
        pb_uint(b, 1, t->services[i].spans);
        pb_uint(b, 2, t->services[i].errors);
        pb_end(b, stats);
        pb_end(b, entry);
    }
}

void tempo_proto_trace(struct buf *b, struct arena *a, const struct traceql_trace *t,
                       bool with_spansets)
{
    bool has_root = t->root_service.n > 0 || t->root_name.n > 0;
    size_t trace = pb_begin(b, 1);
    pb_bytes(b, 1, hex_str(a, str_of((const char *)t->trace_id, 16)));
    pb_bytes(b, 2, has_root ? t->root_service : TEMPO_NO_ROOT);
    pb_bytes(b, 3, t->root_name);
    pb_uint(b, 4, (uint64_t)t->start_ns);
    pb_uint(b, 5, (uint64_t)MIN(t->duration_ns / NS_PER_MS, (int64_t)UINT32_MAX));
    if (t->n_sets > 0 && with_spansets) {
        put_spanset(b, 6, a, &t->sets[0]);
        for (size_t i = 0; i < t->n_sets; i++)
            put_spanset(b, 7, a, &t->sets[i]);
    }
    put_services(b, t);
    pb_end(b, trace);
}

void tempo_proto_scan(struct buf *b, uint64_t traces, uint64_t spans, uint64_t bytes, bool is_done)
{
    size_t metrics = pb_begin(b, 2);
    pb_uint(b, 1, MIN(traces, UINT32_MAX));
    pb_uint(b, 2, bytes);
    pb_uint(b, 4, is_done ? 1 : 0);
    pb_uint(b, 5, 1);
    pb_uint(b, 7, spans);
    pb_end(b, metrics);
}

static void put_exemplar(struct buf *b, struct arena *a, const struct traceql_exemplar *e)
{
    size_t mark = pb_begin(b, 4);
    put_attrs(b, 1, a, e->labels, e->n_labels);
    pb_double(b, 2, is_stale(e->value) ? 0 : e->value);
    pb_int(b, 3, e->t_ms);
    pb_end(b, mark);
}

void tempo_proto_series(struct buf *b, struct arena *a, const struct traceql_matrix *m,
                        const struct traceql_series *s, bool is_instant)
{
    size_t series = pb_begin(b, 1);
    put_attrs(b, 1, a, s->labels, s->n_labels);
    if (is_instant)
        pb_double(b, 2, s->v[0]);
    for (size_t i = 0; i < m->n_steps && !is_instant; i++) {
        if (is_stale(s->v[i]))
            continue;
        size_t sample = pb_begin(b, 2);
        pb_double(b, 1, s->v[i]);
        pb_int(b, 2, ns_to_ms_floor(m->start_ns + (int64_t)i * m->step_ns));
        pb_end(b, sample);
    }
    for (size_t i = 0; i < s->n_exemplars && !is_instant; i++)
        put_exemplar(b, a, &s->exemplars[i]);
    pb_end(b, series);
}
