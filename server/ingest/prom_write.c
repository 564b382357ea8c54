/* prom_write.c - Prometheus remote write 1.0 to a batch. A series is known by the hash of its raw
 * label bytes; labels are decoded only the first time. Series without a name or with broken labels
 * are left out, as Prometheus does: BATCH_SKIPS_LABELS. */
#include "server/ingest/prom_write.h"

#include "prom.pb-c.h"
#include "server/wire/pb_read.h"
#include "storage/model/limits.h"

struct write_walk {
    struct decode *d;
    struct arena *arena;
};

static bool read_label(str bytes, struct label *out)
{
    struct rd r = rd_of(bytes);
    struct pb_field f;
    *out = (struct label){STR(""), STR("")};
    while (pb_next(&r, &f)) {
        if (f.tag == PB_TAG(1, PB_BYTES))
            out->name = f.bytes;
        else if (f.tag == PB_TAG(2, PB_BYTES))
            out->value = f.bytes;
    }
    return !r.bad;
}

/* The labels (field 1) of a TimeSeries or Exemplar as they were sent: batch_validate sorts them,
 * drops empty values, and refuses duplicates and what has no name. */
static bool read_labels(struct arena *a, str message, struct labels *out)
{
    VEC(struct label) v = {0};
    struct rd r = rd_of(message);
    struct pb_field f;
    while (!a->over && pb_next(&r, &f)) {
        struct label l;
        if (f.tag != PB_TAG(1, PB_BYTES))
            continue;
        if (!read_label(f.bytes, &l))
            return false;
        vec_push(&v, a, l);
    }
    *out = (struct labels){v.v, v.n};
    return !r.bad;
}

/* What a TimeSeries holds, looked at before its series is known. */
struct series_scan {
    struct hash128 raw; // over the bytes of the label fields, run by run: usually they are one
    size_t labels, records;
    str rest; // behind the labels that it begins with
};

static void add_run(struct series_scan *s, const uint8_t *from, const uint8_t *to)
{
    if (from != NULL && from < to)
        s->raw = hash128_seed(str_of((const char *)from, (size_t)(to - from)), s->raw);
}

static bool scan_series(str message, struct series_scan *out)
{
    struct series_scan s = {.raw = {UINT64_C(0x70726f6d77726974), 1}};
    struct rd r = rd_of(message);
    struct pb_field f;
    const uint8_t *at = r.p, *run = at;
    for (; pb_next(&r, &f); at = r.p) {
        if (f.tag == PB_TAG(1, PB_BYTES)) {
            run = run != NULL ? run : at;
            s.labels++;
            continue;
        }
        s.records += f.tag == PB_TAG(2, PB_BYTES) || f.tag == PB_TAG(4, PB_BYTES);
        add_run(&s, run, at);
        if (s.rest.p == NULL)
            s.rest = str_of((const char *)at, (size_t)(r.end - at));
        run = NULL;
    }
    add_run(&s, run, at);
    *out = s;
    return !r.bad;
}

static bool find_series(struct write_walk *w, str message, const struct series_scan *scan,
                        uint32_t *out)
{
    bool is_new;
    *out = decode_series(w->d, scan->raw, &is_new);
    if (!is_new)
        return true;
    struct labels l = {0};
    const char *fault = scan->labels > LIMIT_LABELS           ? LIMIT_LABELS_TEXT
                        : !read_labels(w->arena, message, &l) ? "malformed label"
                                                              : NULL;
    if (fault) {
        w->d->batch->series.n--;
        batch_reject(w->d->batch, MAX(scan->records, (size_t)1), "%s", fault);
        return false;
    }
    w->d->batch->series.v[*out].labels = l;
    return true;
}

bool prom_sample(struct decode *d, uint32_t series, str bytes, struct err *err)
{
    struct batch_sample s = {.series = series};
    int64_t start_ms = 0;
    struct rd r = rd_of(bytes);
    struct pb_field f;
    while (pb_next(&r, &f)) {
        if (f.tag == PB_TAG(1, PB_64))
            s.v = f64_from_bits(f.value);
        else if (f.tag == PB_TAG(2, PB_VARINT))
            s.t_ms = (int64_t)f.value;
        else if (f.tag == PB_TAG(3, PB_VARINT))
            start_ms = (int64_t)f.value;
    }
    if (r.bad)
        return otlp_malformed(d->batch->arena, "Sample", err);
    vec_push(&d->batch->samples, d->batch->arena, s);
    batch_set_start(d->batch, start_ms);
    return true;
}

static bool add_exemplar(struct write_walk *w, uint32_t series, str bytes, struct err *err)
{
    ProtobufCAllocator alloc = arena_allocator(w->arena);
    Prom__Exemplar *e = PB_UNPACK(prom__exemplar, &alloc, bytes);
    struct labels l;
    if (!e || !read_labels(w->arena, bytes, &l))
        return otlp_malformed(w->arena, "Exemplar", err);
    vec_push(&w->d->batch->exemplars, w->arena,
             (struct batch_exemplar){series, e->timestamp, e->value, l});
    return true;
}

/* Integer histograms come as deltas between neighbours, float ones as absolute counts. */
static bool read_side(struct arena *a, size_t n_spans, Prom__BucketSpan **spans, size_t n_deltas,
                      const int64_t *deltas, size_t n_counts, const double *counts, bool is_float,
                      struct hist_side *out)
{
    size_t n = is_float ? n_counts : n_deltas;
    if (!otlp_room(a, n_spans * sizeof(struct hist_span) + n * sizeof(double)))
        return false;
    struct hist_span *s = arena_array(a, struct hist_span, n_spans + 1);
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

/* The set member of a oneof: an integer, a float, or none. */
static double count_of(bool is_float, bool is_int, double as_float, uint64_t as_int)
{
    return is_float ? as_float : is_int ? (double)as_int : 0;
}

bool prom_histogram(struct decode *d, uint32_t series, str bytes, struct err *err)
{
    struct arena *arena = d->batch->arena;
    static const enum hist_reset hints[] = {HIST_RESET_UNKNOWN, HIST_RESET_YES, HIST_RESET_NO,
                                            HIST_GAUGE};
    ProtobufCAllocator alloc = arena_allocator(arena);
    Prom__Histogram *m = PB_UNPACK(prom__histogram, &alloc, bytes);
    if (!m)
        return otlp_malformed(arena, "Histogram", err);
    struct hist *h = arena_new(arena, struct hist);
    bool is_float = m->count_case == PROM__HISTOGRAM__COUNT_COUNT_FLOAT;
    bool has_hint = m->reset_hint >= 0 && m->reset_hint < (int32_t)COUNTOF(hints);
    h->schema = m->schema;
    h->reset = has_hint ? hints[m->reset_hint] : HIST_RESET_UNKNOWN;
    h->is_int = !is_float;
    h->zero_threshold = m->zero_threshold;
    h->count = count_of(is_float, m->count_case == PROM__HISTOGRAM__COUNT_COUNT_INT, m->count_float,
                        m->count_int);
    h->zero_count = count_of(m->zero_count_case == PROM__HISTOGRAM__ZERO_COUNT_ZERO_COUNT_FLOAT,
                             m->zero_count_case == PROM__HISTOGRAM__ZERO_COUNT_ZERO_COUNT_INT,
                             m->zero_count_float, m->zero_count_int);
    h->sum = m->sum;
    h->custom = m->custom_values;
    h->n_custom = m->n_custom_values;
    if (!read_side(arena, m->n_positive_spans, m->positive_spans, m->n_positive_deltas,
                   m->positive_deltas, m->n_positive_counts, m->positive_counts, is_float,
                   &h->pos) ||
        !read_side(arena, m->n_negative_spans, m->negative_spans, m->n_negative_deltas,
                   m->negative_deltas, m->n_negative_counts, m->negative_counts, is_float,
                   &h->neg)) {
        batch_reject(d->batch, 1, "native histogram with overflowing bucket counts");
        return true;
    }
    vec_push(
        &d->batch->hists, arena,
        (struct batch_hist){series, m->timestamp, h, m->start_ms}); // checked by batch_validate
    return true;
}

static bool add_series(struct write_walk *w, str message, struct err *err)
{
    struct series_scan scan;
    uint32_t series;
    if (!scan_series(message, &scan))
        return otlp_malformed(w->arena, "TimeSeries", err);
    if (!find_series(w, message, &scan, &series))
        return true;
    struct rd r = rd_of(scan.rest);
    struct pb_field f;
    bool ok = true;
    while (ok && !w->arena->over && pb_next(&r, &f)) {
        if (f.tag == PB_TAG(2, PB_BYTES))
            ok = prom_sample(w->d, series, f.bytes, err);
        else if (f.tag == PB_TAG(3, PB_BYTES))
            ok = add_exemplar(w, series, f.bytes, err);
        else if (f.tag == PB_TAG(4, PB_BYTES))
            ok = prom_histogram(w->d, series, f.bytes, err);
    }
    return ok;
}

enum metric_type prom_metric_type(int64_t number)
{
    static const enum metric_type types[] = {
        METRIC_UNKNOWN,        METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM,
        METRIC_GAUGEHISTOGRAM, METRIC_SUMMARY, METRIC_INFO,  METRIC_STATESET};
    return number >= 0 && number < (int64_t)COUNTOF(types) ? types[number] : METRIC_UNKNOWN;
}

static bool add_metadata(struct write_walk *w, str bytes, struct err *err)
{
    ProtobufCAllocator alloc = arena_allocator(w->arena);
    Prom__Metadata *m = PB_UNPACK(prom__metadata, &alloc, bytes);
    if (!m)
        return otlp_malformed(w->arena, "MetricMetadata", err);
    enum metric_type type = prom_metric_type(m->type);
    if (m->family.len > 0)
        vec_push(&w->d->batch->metas, w->arena,
                 (struct metric_meta){pb_str(m->family), type, pb_str(m->unit), pb_str(m->help)});
    return true;
}

bool decode_prom_write(struct decode *d, str body, struct err *err)
{
    struct write_walk w = {d, d->batch->arena};
    struct rd r = rd_of(body);
    d->batch->manner = BATCH_SKIPS_LABELS;
    struct pb_field f;
    bool ok = true;
    while (ok && !w.arena->over && pb_next(&r, &f)) {
        if (f.tag == PB_TAG(1, PB_BYTES))
            ok = add_series(&w, f.bytes, err);
        else if (f.tag == PB_TAG(3, PB_BYTES))
            ok = add_metadata(&w, f.bytes, err);
    }
    if (!ok)
        return false;
    return !(r.bad || w.arena->over) || otlp_malformed(w.arena, "WriteRequest", err);
}
