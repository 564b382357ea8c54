/* prom_write.c - Prometheus remote write 1.0 to a batch. A series is known by the hash of its raw
 * label bytes; labels are decoded only the first time. Series without a name or with broken labels
 * are refused with a reason, the rest is kept. */
#include "prom.pb-c.h"
#include "server/ingest/otlp.h"
#include "storage/base/rd.h"

struct write_walk {
    struct decode *d;
    struct arena *arena;
};

static bool read_label(struct rd r, struct label *out)
{
    *out = (struct label){STR(""), STR("")};
    while (rd_left(&r) > 0 && !r.bad) {
        uint64_t tag = rd_varint(&r);
        str bytes = rd_bytes(&r); // both fields are strings; there are no others
        if (tag == (1 << 3 | 2))
            out->name = bytes;
        else if (tag == (2 << 3 | 2))
            out->value = bytes;
        else
            r.bad = true;
    }
    return !r.bad;
}

static bool read_labels(struct arena *a, const ProtobufCBinaryData *list, size_t n,
                        struct labels *out)
{
    struct labels_builder b;
    labels_builder_init(&b, a);
    for (size_t i = 0; i < n; i++) {
        struct label l;
        if (!read_label(rd_of(pb_str(list[i])), &l))
            return false;
        labels_builder_add(&b, l.name, l.value);
    }
    *out = labels_builder_done(&b);
    return true;
}

static const char *label_fault(size_t n, struct labels l)
{
    if (labels_get(l, METRIC_NAME).n == 0)
        return "series without a metric name";
    return l.n < n ? "series with duplicate or empty labels" : NULL;
}

static bool find_series(struct write_walk *w, const Prom__TimeSeries *ts, uint32_t *out,
                        size_t records)
{
    struct hash128 h = {UINT64_C(0x70726f6d77726974), 1};
    bool is_new;
    for (size_t i = 0; i < ts->n_labels; i++)
        h = hash128_seed(pb_str(ts->labels[i]), h);
    *out = decode_series(w->d, h, &is_new);
    if (!is_new)
        return true;
    struct labels l;
    const char *fault = read_labels(w->arena, ts->labels, ts->n_labels, &l)
                            ? label_fault(ts->n_labels, l)
                            : "malformed label";
    if (fault) {
        w->d->batch->series.n--;
        batch_reject(w->d->batch, MAX(records, (size_t)1), "%s", fault);
        return false;
    }
    w->d->batch->series.v[*out].labels = l;
    return true;
}

static bool add_samples(struct write_walk *w, uint32_t series, const Prom__TimeSeries *ts,
                        struct err *err)
{
    for (size_t i = 0; i < ts->n_samples; i++) {
        struct batch_sample s = {.series = series};
        struct rd r = rd_of(pb_str(ts->samples[i]));
        while (rd_left(&r) > 0 && !r.bad) {
            uint64_t tag = rd_varint(&r);
            if (tag == (1 << 3 | 1))
                s.v = rd_f64(&r);
            else if (tag == (2 << 3 | 0))
                s.t_ms = (int64_t)rd_varint(&r);
            else
                r.bad = true;
        }
        if (r.bad)
            return otlp_malformed(w->arena, "Sample", err);
        vec_push(&w->d->batch->samples, w->arena, s);
    }
    return true;
}

static bool add_exemplars(struct write_walk *w, uint32_t series, const Prom__TimeSeries *ts,
                          struct err *err)
{
    ProtobufCAllocator alloc = arena_allocator(w->arena);
    for (size_t i = 0; i < ts->n_exemplars; i++) {
        Prom__Exemplar *e = PB_UNPACK(prom__exemplar, &alloc, pb_str(ts->exemplars[i]));
        struct labels l;
        if (!e || !read_labels(w->arena, e->labels, e->n_labels, &l))
            return otlp_malformed(w->arena, "Exemplar", err);
        vec_push(&w->d->batch->exemplars, w->arena,
                 (struct batch_exemplar){series, e->timestamp, e->value, l});
    }
    return true;
}

/* Integer histograms come as deltas between neighbours, float ones as absolute counts. */
static bool read_side(struct arena *a, size_t n_spans, Prom__BucketSpan **spans, size_t n_deltas,
                      const int64_t *deltas, size_t n_counts, const double *counts, bool is_float,
                      struct hist_side *out)
{
    struct hist_span *s = arena_array(a, struct hist_span, n_spans + 1);
    size_t n = is_float ? n_counts : n_deltas;
    double *c = arena_array(a, double, n + 1);
    int64_t sum = 0;
    for (size_t i = 0; i < n_spans; i++)
        s[i] = (struct hist_span){spans[i]->offset, spans[i]->length};
    for (size_t i = 0; i < n; i++) {
        if (!is_float && __builtin_add_overflow(sum, deltas[i], &sum))
            return false;
        c[i] = is_float ? counts[i] : (double)sum;
    }
    *out = (struct hist_side){s, n_spans, c, n};
    return true;
}

static bool add_histograms(struct write_walk *w, uint32_t series, const Prom__TimeSeries *ts,
                           struct err *err)
{
    static const enum hist_reset hints[] = {HIST_RESET_UNKNOWN, HIST_RESET_YES, HIST_RESET_NO,
                                            HIST_GAUGE};
    ProtobufCAllocator alloc = arena_allocator(w->arena);
    for (size_t i = 0; i < ts->n_histograms; i++) {
        Prom__Histogram *m = PB_UNPACK(prom__histogram, &alloc, pb_str(ts->histograms[i]));
        if (!m)
            return otlp_malformed(w->arena, "Histogram", err);
        struct hist *h = arena_new(w->arena, struct hist);
        bool is_float = m->count_case == PROM__HISTOGRAM__COUNT_COUNT_FLOAT;
        h->schema = m->schema;
        h->reset = m->reset_hint >= 0 && m->reset_hint < (int32_t)COUNTOF(hints)
                       ? hints[m->reset_hint]
                       : HIST_RESET_UNKNOWN;
        h->is_int = !is_float;
        h->zero_threshold = m->zero_threshold;
        h->count = is_float                                            ? m->count_float
                   : m->count_case == PROM__HISTOGRAM__COUNT_COUNT_INT ? (double)m->count_int
                                                                       : 0;
        h->zero_count = m->zero_count_case == PROM__HISTOGRAM__ZERO_COUNT_ZERO_COUNT_FLOAT
                            ? m->zero_count_float
                        : m->zero_count_case == PROM__HISTOGRAM__ZERO_COUNT_ZERO_COUNT_INT
                            ? (double)m->zero_count_int
                            : 0;
        h->sum = m->sum;
        h->custom = m->custom_values;
        h->n_custom = m->n_custom_values;
        if (!read_side(w->arena, m->n_positive_spans, m->positive_spans, m->n_positive_deltas,
                       m->positive_deltas, m->n_positive_counts, m->positive_counts, is_float,
                       &h->pos) ||
            !read_side(w->arena, m->n_negative_spans, m->negative_spans, m->n_negative_deltas,
                       m->negative_deltas, m->n_negative_counts, m->negative_counts, is_float,
                       &h->neg)) {
            batch_reject(w->d->batch, 1, "native histogram with overflowing bucket counts");
            continue;
        }
        vec_push(&w->d->batch->hists, w->arena,
                 (struct batch_hist){series, m->timestamp, h}); // checked by batch_validate
    }
    return true;
}

static bool add_metadata(struct write_walk *w, str bytes, struct err *err)
{
    static const enum metric_type types[] = {
        METRIC_UNKNOWN,        METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM,
        METRIC_GAUGEHISTOGRAM, METRIC_SUMMARY, METRIC_INFO,  METRIC_STATESET};
    ProtobufCAllocator alloc = arena_allocator(w->arena);
    Prom__Metadata *m = PB_UNPACK(prom__metadata, &alloc, bytes);
    if (!m)
        return otlp_malformed(w->arena, "MetricMetadata", err);
    enum metric_type type =
        m->type >= 0 && m->type < (int32_t)COUNTOF(types) ? types[m->type] : METRIC_UNKNOWN;
    if (m->family.len > 0)
        vec_push(&w->d->batch->metas, w->arena,
                 (struct metric_meta){pb_str(m->family), type, pb_str(m->unit), pb_str(m->help)});
    return true;
}

bool decode_prom_write(struct decode *d, str body, struct err *err)
{
    struct write_walk w = {d, d->batch->arena};
    ProtobufCAllocator alloc = arena_allocator(w.arena);
    Prom__WriteRequest *req = PB_UNPACK(prom__write_request, &alloc, body);
    if (!req)
        return otlp_malformed(w.arena, "WriteRequest", err);
    for (size_t i = 0; i < req->n_series; i++) {
        Prom__TimeSeries *ts = PB_UNPACK(prom__time_series, &alloc, pb_str(req->series[i]));
        uint32_t series;
        if (!ts)
            return otlp_malformed(w.arena, "TimeSeries", err);
        if (!find_series(&w, ts, &series, ts->n_samples + ts->n_histograms))
            continue;
        if (!add_samples(&w, series, ts, err) || !add_histograms(&w, series, ts, err) ||
            !add_exemplars(&w, series, ts, err))
            return false;
    }
    for (size_t i = 0; i < req->n_metadata; i++)
        if (!add_metadata(&w, pb_str(req->metadata[i]), err))
            return false;
    return !w.arena->over || otlp_malformed(w.arena, "", err);
}
