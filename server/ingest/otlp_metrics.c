/* otlp_metrics.c - OTLP metrics to Prometheus series, as Prometheus' OTLP receiver maps them.
 *
 * Gauges and sums become floats; explicit histograms _bucket{le}, _sum, _count; exponential
 * histograms native histograms; summaries quantiles, _sum, _count. Delta points are noted for
 * delta.h, which adds them up, or kept as they are (metadata type unknown), for nothing may be
 * lost; what they mean is left to the query then. job and instance come from the resource; the rest
 * of it is in target_info.
 *
 * The fast way: a series is known by a hash chain over raw bytes - resource, metric head,
 * attributes, part (bucket bound, quantile) - so attributes and labels are decoded only the first
 * time that a series is seen. */
#include <math.h>
#include <stdlib.h>

#include "otlp.pb-c.h"
#include "server/ingest/delta.h"
#include "server/ingest/otlp.h"
#include "server/ingest/otlp_names.h"
#include "storage/base/enc.h"
#include "storage/base/num.h"
#include "storage/base/utf8.h"
#include "storage/model/limits.h"
#include "storage/model/timerange.h"

#define FLAG_NO_RECORDED_VALUE 1u
#define TARGET_INFO_STEP_MS    INT64_C(150000) // half of the default lookback, as Prometheus writes it
#define TARGET_INFO_MAX        1000            // samples of target_info in one request
#define INFO_ATTRS_MAX         (LIMIT_LABELS + 3) // three are left out: more do not fit a series
#define EXEMPLAR_EXTRA_MAX     128                // characters of filtered attributes that are kept
#define EXP_SCALE_MIN          (-4)
#define EXP_SCALE_MAX          8
#define EXP_ZERO_THRESHOLD     1e-128
#define TEMPORALITY_DELTA      1

enum part {
    PART_VALUE,
    PART_SUM,
    PART_COUNT,
    PART_BUCKET,
    PART_QUANTILE,
    PART_NATIVE,
    PART_TARGET_INFO
};

/* What delta.h wants to know of the point at hand. */
struct point_times {
    uint64_t shape;
    int64_t start_ns, time_ns;
    bool is_stale, counts;
};

struct metrics_walk {
    struct otlp_walk walk;
    struct decode *d;
    struct hash128 options_hash; // other options make other labels of the same bytes
    // resource
    struct hash128 resource_hash;
    struct resource resource;
    struct labels target; // job, instance and promoted attributes
    struct labels scope;  // labels of the scope, when they are wanted
    struct hash128 scope_hash;
    struct hash128 target_key; // of the labels above
    int64_t t_min_ms, t_max_ms;
    bool has_points;
    // metric
    struct hash128 metric_hash;
    str family;        // Prometheus' name
    bool is_converted; // delta points that delta.h makes cumulative
    bool is_monotonic;
    str type_label, unit_label; // empty: none
    struct hash128 metric_key;  // of all labels but the point's
    // point: decoded at the first miss
    struct hash128 point_hash;
    const ProtobufCBinaryData *attributes;
    size_t n_attributes;
    int64_t start_ms; // when its counting began; 0: unknown, or nothing that counts
    struct labels point_labels;
    bool has_point_labels;
    struct point_times times;
};

/* ---- labels ---- */

static int compare_attrs(const void *a, const void *b)
{
    return str_cmp(((const struct attr *)a)->key, ((const struct attr *)b)->key);
}

static str label_name(const struct metrics_walk *t, str key)
{
    const struct decode_options *o = t->d->options;
    return otlp_naming_escapes(o->naming)
               ? otlp_label_name(t->walk.arena, key, o->key_underscore, o->join_underscores)
               : key;
}

/* Attributes in key order; two that end in one name are joined with ';'. Every name is compared
 * with those before it: callers keep their number small. */
static void add_attrs(const struct metrics_walk *t, struct labels_builder *b, struct attrs attrs,
                      bool skip_identity)
{
    struct arena *a = t->walk.arena;
    ASSERT(attrs.n <= INFO_ATTRS_MAX);
    struct attr *v = arena_array(a, struct attr, attrs.n + 1);
    if (attrs.n > 0)
        memcpy(v, attrs.v, attrs.n * sizeof *v);
    qsort(v, attrs.n, sizeof *v, compare_attrs);
    size_t first = b->pairs.n;
    for (size_t i = 0; i < attrs.n; i++) {
        if (str_is(v[i].key, "__name__") ||
            (skip_identity &&
             (str_is(v[i].key, "service.name") || str_is(v[i].key, "service.namespace") ||
              str_is(v[i].key, "service.instance.id"))))
            continue;
        str name = label_name(t, v[i].key), text = value_text(a, &v[i].value);
        if (name.n == 0)
            continue;
        size_t k = first;
        while (k < b->pairs.n && !str_eq(b->pairs.v[k].name, name))
            k++;
        if (k < b->pairs.n)
            b->pairs.v[k].value =
                arena_fmt(a, STR_FMT ";" STR_FMT, STR_ARG(b->pairs.v[k].value), STR_ARG(text));
        else
            labels_builder_add(b, name, text);
    }
}

static str resource_text(struct metrics_walk *t, str key)
{
    const struct value *v = attrs_get(t->resource.attrs, key);
    return v ? value_text(t->walk.arena, v) : (str){0};
}

static void add_target(struct metrics_walk *t, struct labels_builder *b)
{
    str name = resource_text(t, STR("service.name")),
        space = resource_text(t, STR("service.namespace"));
    str instance = resource_text(t, STR("service.instance.id"));
    if (name.n > 0 && space.n > 0)
        name = arena_fmt(t->walk.arena, STR_FMT "/" STR_FMT, STR_ARG(space), STR_ARG(name));
    if (name.n > 0)
        labels_builder_add(b, STR("job"), name);
    if (instance.n > 0)
        labels_builder_add(b, STR("instance"), instance);
}

static bool is_ignored(const struct decode_options *o, str key)
{
    for (size_t i = 0; i < o->n_promote_ignore; i++)
        if (str_eq(o->promote_ignore[i], key))
            return true;
    return false;
}

/* More than a series can have: the points are refused for it, whichever these are. */
static void promote_all(struct metrics_walk *t, struct labels_builder *b)
{
    struct attr *v = arena_array(t->walk.arena, struct attr, t->resource.attrs.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < t->resource.attrs.n && n < INFO_ATTRS_MAX; i++)
        if (!is_ignored(t->d->options, t->resource.attrs.v[i].key))
            v[n++] = t->resource.attrs.v[i];
    add_attrs(t, b, (struct attrs){v, n}, false);
}

static struct hash128 labels_key(struct labels l, struct hash128 seed)
{
    for (size_t i = 0; i < l.n; i++)
        seed = hash128_seed(l.v[i].value, hash128_seed(l.v[i].name, seed));
    return seed;
}

static bool load_target(struct metrics_walk *t)
{
    struct labels_builder b;
    labels_builder_init(&b, t->walk.arena);
    if (t->d->options->promote_all)
        promote_all(t, &b);
    for (size_t i = 0; i < t->d->options->n_promote; i++) {
        str text = resource_text(t, t->d->options->promote[i]);
        str name = label_name(t, t->d->options->promote[i]);
        if (text.n > 0 && name.n > 0)
            labels_builder_set(&b, name, text);
    }
    add_target(t, &b);
    t->target = labels_builder_done(&b);
    t->target_key = labels_key(t->target, (struct hash128){0, 0});
    return true;
}

/* As Prometheus: what is named so already gives way. */
static void set_all(struct labels_builder *b, struct labels l)
{
    for (size_t i = 0; i < l.n; i++)
        labels_builder_set(b, l.v[i].name, l.v[i].value);
}

/* Labels of the point at hand without name and part. A malformed attribute refuses the point (*ok
 * false). */
static bool point_labels(struct metrics_walk *t, struct err *err)
{
    struct labels_builder b;
    struct attrs attrs;
    if (t->has_point_labels)
        return true;
    if (t->n_attributes > LIMIT_LABELS) // names are compared pair by pair
        return err_set(err, ERR_INVALID, LIMIT_LABELS_TEXT);
    if (!otlp_attrs(t->walk.arena, t->attributes, t->n_attributes, &attrs, NULL, err))
        return false;
    labels_builder_init(&b, t->walk.arena);
    add_attrs(t, &b, attrs, false);
    for (size_t i = 0; i < t->target.n;
         i++) { // promoted ones only where absent; job and instance always
        str name = t->target.v[i].name;
        bool is_identity = str_is(name, "job") || str_is(name, "instance"), present = false;
        for (size_t k = 0; k < b.pairs.n && !is_identity; k++)
            present = present || str_eq(b.pairs.v[k].name, name);
        if (!present)
            labels_builder_add(&b, name, t->target.v[i].value);
    }
    set_all(&b, t->scope);
    if (t->type_label.n > 0)
        labels_builder_set(&b, STR("__type__"), t->type_label);
    if (t->unit_label.n > 0)
        labels_builder_set(&b, STR("__unit__"), t->unit_label);
    t->point_labels = labels_builder_done(&b);
    if (t->point_labels.n > LIMIT_LABELS) // each part of the point copies them
        return err_set(err, ERR_INVALID, LIMIT_LABELS_TEXT);
    t->has_point_labels = true;
    return true;
}

static str part_suffix(enum part part)
{
    switch (part) {
    case PART_SUM:
        return STR("_sum");
    case PART_COUNT:
        return STR("_count");
    case PART_BUCKET:
        return STR("_bucket");
    default:
        return STR("");
    }
}

/* Series of one part of the point; bound is le or quantile. false: the point's attributes are
 * malformed. */
static bool part_series(struct metrics_walk *t, enum part part, double bound, uint32_t *out,
                        struct err *err)
{
    struct arena *a = t->walk.arena;
    struct {
        double bound;
        uint64_t part;
    } key = {bound, part};
    struct hash128 raw = hash128_seed(str_of((const char *)&key, sizeof key), t->point_hash);
    bool is_new;
    if (a->over) // small points can have many parts
        return otlp_malformed(a, "", err);
    *out = decode_series(t->d, raw, &is_new);
    t->d->batch->series.v[*out].is_derived = part == PART_SUM || part == PART_BUCKET ||
                                             part == PART_QUANTILE; // the count stands for all
    if (!is_new)
        return true;
    if (!point_labels(t, err)) {
        t->d->batch->series.n--; // nobody refers to it yet
        return false;
    }
    str suffix = part_suffix(part);
    str name = suffix.n > 0 ? arena_fmt(a, STR_FMT STR_FMT, STR_ARG(t->family), STR_ARG(suffix))
                            : t->family;
    struct labels l = labels_with(a, t->point_labels, METRIC_NAME, name);
    if (part == PART_BUCKET || part == PART_QUANTILE) {
        char text[NUM_TEXT_MAX];
        str value = arena_dup(a, num_print_f64_plain(text, bound));
        l = labels_with(a, l, part == PART_BUCKET ? STR("le") : STR("quantile"), value);
    }
    t->d->batch->series.v[*out].labels = l;
    return true;
}

/* ---- points ---- */

static void begin_point(struct metrics_walk *t, const ProtobufCBinaryData *attributes, size_t n,
                        int64_t t_ms)
{
    struct hash128 h = t->metric_hash;
    for (size_t i = 0; i < n; i++)
        h = hash128_seed(pb_str(attributes[i]), h);
    t->point_hash = h;
    t->attributes = attributes;
    t->n_attributes = n;
    t->has_point_labels = false;
    t->times = (struct point_times){.time_ns = t_ms * NS_PER_MS};
    if (!t->has_points || t_ms < t->t_min_ms)
        t->t_min_ms = t_ms;
    if (!t->has_points || t_ms > t->t_max_ms)
        t->t_max_ms = t_ms;
    t->has_points = true;
}

/* Start time of the samples that are pushed from here on. */
static void set_start(struct metrics_walk *t, uint64_t ns)
{
    t->start_ms = otlp_time(ns) / NS_PER_MS;
}

/* Times for delta.h; a start that is not before the point is none. */
static void set_times(struct metrics_walk *t, uint64_t start, uint64_t time, uint32_t flags,
                      uint64_t shape)
{
    struct point_times *p = &t->times;
    if (time != 0)
        p->time_ns = otlp_time(time);
    p->start_ns = otlp_time(start) < p->time_ns ? otlp_time(start) : 0;
    p->is_stale = flags & FLAG_NO_RECORDED_VALUE;
    p->shape = shape;
    p->counts = true;
}

static int64_t point_time(struct metrics_walk *t, uint64_t ns)
{
    return (ns == 0 ? t->d->now_ns : otlp_time(ns)) / NS_PER_MS;
}

static void push_sample(struct metrics_walk *t, uint32_t series, int64_t t_ms, double v)
{
    vec_push(&t->d->batch->samples, t->walk.arena, (struct batch_sample){series, t_ms, v});
    batch_set_start(t->d->batch, t->start_ms);
}

/* trace_id, span_id, and the filtered attributes when all of them are short. */
static struct labels exemplar_labels(const struct metrics_walk *t, const Otlp__Exemplar *e,
                                     struct attrs attrs)
{
    struct arena *a = t->walk.arena;
    struct labels_builder b;
    size_t n = 0;
    labels_builder_init(&b, a);
    if (e->trace_id.len > 0)
        labels_builder_add(&b, STR("trace_id"), hex_str(a, pb_str(e->trace_id)));
    if (e->span_id.len > 0)
        labels_builder_add(&b, STR("span_id"), hex_str(a, pb_str(e->span_id)));
    for (size_t i = 0; i < b.pairs.n; i++)
        n += b.pairs.v[i].name.n + b.pairs.v[i].value.n;
    size_t before = b.pairs.n;
    if (attrs.n <= EXEMPLAR_EXTRA_MAX) // else they cannot be short
        add_attrs(t, &b, attrs, false);
    for (size_t i = before; i < b.pairs.n; i++)
        n += b.pairs.v[i].name.n + b.pairs.v[i].value.n;
    if (n > EXEMPLAR_EXTRA_MAX)
        b.pairs.n = before;
    return labels_builder_done(&b);
}

/* Adds the exemplars of a point to the series that `pick` names for each value. */
static bool add_exemplars(struct metrics_walk *t, const ProtobufCBinaryData *list, size_t n,
                          bool (*pick)(struct metrics_walk *t, const void *point, double v,
                                       uint32_t *series, struct err *err),
                          const void *point, struct err *err)
{
    ProtobufCAllocator alloc = arena_allocator(t->walk.arena);
    for (size_t i = 0; i < n; i++) {
        Otlp__Exemplar *e = PB_UNPACK(otlp__exemplar, &alloc, pb_str(list[i]));
        struct attrs attrs;
        uint32_t series, dropped = 0;
        if (!e)
            return otlp_malformed(t->walk.arena, "Exemplar", err);
        if (!otlp_attrs(t->walk.arena, e->attributes, e->n_attributes, &attrs, &dropped, err))
            return false;
        double v = e->value_case == OTLP__EXEMPLAR__VALUE_AS_INT      ? (double)e->as_int
                   : e->value_case == OTLP__EXEMPLAR__VALUE_AS_DOUBLE ? e->as_double
                                                                      : 0;
        if (!pick(t, point, v, &series, err))
            return false;
        struct labels l = exemplar_labels(t, e, attrs);
        vec_push(&t->d->batch->exemplars, t->walk.arena,
                 (struct batch_exemplar){series, point_time(t, e->time), v, l});
    }
    return true;
}

static bool pick_value(struct metrics_walk *t, const void *point, double v, uint32_t *series,
                       struct err *err)
{
    (void)point, (void)v;
    return part_series(t, PART_VALUE, 0, series, err);
}

static bool pick_bucket(struct metrics_walk *t, const void *point, double v, uint32_t *series,
                        struct err *err)
{
    const Otlp__HistogramPoint *p = point;
    size_t i = 0;
    while (i < p->n_bounds && v > p->bounds[i])
        i++;
    return part_series(t, PART_BUCKET, i < p->n_bounds ? p->bounds[i] : (double)INFINITY, series,
                       err);
}

static bool pick_native(struct metrics_walk *t, const void *point, double v, uint32_t *series,
                        struct err *err)
{
    (void)point, (void)v;
    return part_series(t, PART_NATIVE, 0, series, err);
}

/* counts: a sum that only grows, or deltas of any sum. */
static bool add_number_point(struct metrics_walk *t, str bytes, bool counts, struct err *err)
{
    ProtobufCAllocator alloc = arena_allocator(t->walk.arena);
    Otlp__NumberPoint *p = PB_UNPACK(otlp__number_point, &alloc, bytes);
    uint32_t series;
    if (!p)
        return otlp_malformed(t->walk.arena, "NumberDataPoint", err);
    if (p->value_case == OTLP__NUMBER_POINT__VALUE__NOT_SET && !(p->flags & FLAG_NO_RECORDED_VALUE))
        return err_set(err, ERR_INVALID, "data point without a value");
    int64_t t_ms = point_time(t, p->time);
    begin_point(t, p->attributes, p->n_attributes, t_ms);
    if (!part_series(t, PART_VALUE, 0, &series, err))
        return false;
    double v = p->value_case == OTLP__NUMBER_POINT__VALUE_AS_INT      ? (double)p->as_int
               : p->value_case == OTLP__NUMBER_POINT__VALUE_AS_DOUBLE ? p->as_double
                                                                      : 0;
    if (p->flags & FLAG_NO_RECORDED_VALUE)
        v = f64_from_bits(STALE_NAN_BITS);
    set_start(t, counts ? p->start : 0);
    set_times(t, p->start, p->time, p->flags, 0);
    t->times.counts = counts;
    if (t->is_converted && !t->times.is_stale && (!isfinite(v) || (v < 0 && t->is_monotonic)))
        return err_set(err, ERR_INVALID, "delta that no counter can have"); // nor get rid of
    push_sample(t, series, t_ms, v);
    return add_exemplars(t, p->exemplars, p->n_exemplars, pick_value, NULL, err);
}

/* Bounds that do not rise have no buckets; counts that wrap would make small ones of huge ones. */
static bool histogram_ok(const Otlp__HistogramPoint *p, struct err *err)
{
    uint64_t all = 0;
    if (p->n_bucket_counts != 0 && p->n_bucket_counts != p->n_bounds + 1)
        return err_set(err, ERR_INVALID, "histogram with %zu bucket counts and %zu bounds",
                       p->n_bucket_counts, p->n_bounds);
    for (size_t i = 0; i < p->n_bounds; i++)
        if (isnan(p->bounds[i]) || (i > 0 && p->bounds[i] <= p->bounds[i - 1]))
            return err_set(err, ERR_INVALID, "histogram with bounds that do not rise");
    for (size_t i = 0; i < p->n_bucket_counts; i++)
        if (__builtin_add_overflow(all, p->bucket_counts[i], &all))
            return err_set(err, ERR_INVALID, "histogram with overflowing bucket counts");
    return true;
}

static uint64_t histogram_shape(const Otlp__HistogramPoint *p)
{
    uint64_t h = p->n_bounds > 0
                     ? hash64(str_of((const char *)p->bounds, p->n_bounds * sizeof p->bounds[0]))
                     : 0;
    return hash_mix(h, (uint64_t)p->n_bucket_counts * 2 +
                           (p->has_sum_case == OTLP__HISTOGRAM_POINT__HAS_SUM_SUM));
}

/* Explicit buckets as one native histogram with these custom bounds. */
static bool add_custom_histogram(struct metrics_walk *t, const Otlp__HistogramPoint *p,
                                 int64_t t_ms, bool is_delta, struct err *err)
{
    struct arena *a = t->walk.arena;
    uint32_t series;
    struct hist *h = arena_new(a, struct hist);
    struct hist_span *span = arena_new(a, struct hist_span);
    double *counts = arena_array(a, double, p->n_bucket_counts + 1);
    memset(counts, 0, (p->n_bucket_counts + 1) * sizeof counts[0]);
    size_t n = p->n_bounds;
    if (n > 0 && p->bounds[n - 1] == (double)INFINITY)
        n--; // the last bucket has no bound
    for (size_t i = 0; i < p->n_bucket_counts; i++)
        counts[MIN(i, n)] += (double)p->bucket_counts[i];
    if (p->n_bucket_counts == 0)
        counts[n = 0] = (double)p->count; // nothing is known but how many
    *span = (struct hist_span){0, (uint32_t)n + 1};
    *h = (struct hist){.schema = HIST_SCHEMA_CUSTOM,
                       .reset = is_delta ? HIST_GAUGE : HIST_RESET_UNKNOWN,
                       .is_int = true,
                       .count = (double)p->count,
                       .sum = p->has_sum_case == OTLP__HISTOGRAM_POINT__HAS_SUM_SUM ? p->sum : 0,
                       .pos = {span, 1, counts, n + 1},
                       .custom = p->bounds,
                       .n_custom = n};
    if (p->flags & FLAG_NO_RECORDED_VALUE)
        h->sum = f64_from_bits(STALE_NAN_BITS);
    if (!part_series(t, PART_NATIVE, 0, &series, err))
        return false;
    vec_push(&t->d->batch->hists, a, (struct batch_hist){series, t_ms, h, t->start_ms});
    return add_exemplars(t, p->exemplars, p->n_exemplars, pick_native, NULL, err);
}

static bool add_histogram_point(struct metrics_walk *t, str bytes, bool is_delta, struct err *err)
{
    ProtobufCAllocator alloc = arena_allocator(t->walk.arena);
    Otlp__HistogramPoint *p = PB_UNPACK(otlp__histogram_point, &alloc, bytes);
    uint32_t series;
    if (!p)
        return otlp_malformed(t->walk.arena, "HistogramDataPoint", err);
    if (!histogram_ok(p, err))
        return false;
    int64_t t_ms = point_time(t, p->time);
    bool is_stale_point = p->flags & FLAG_NO_RECORDED_VALUE;
    double stale = f64_from_bits(STALE_NAN_BITS);
    begin_point(t, p->attributes, p->n_attributes, t_ms);
    set_start(t, p->start);
    set_times(t, p->start, p->time, p->flags, histogram_shape(p));
    if (t->d->options->native_histograms)
        return add_custom_histogram(t, p, t_ms, is_delta, err);
    if (p->has_sum_case == OTLP__HISTOGRAM_POINT__HAS_SUM_SUM) {
        if (!part_series(t, PART_SUM, 0, &series, err))
            return false;
        push_sample(t, series, t_ms, is_stale_point ? stale : p->sum);
    }
    if (!part_series(t, PART_COUNT, 0, &series, err))
        return false;
    push_sample(t, series, t_ms, is_stale_point ? stale : (double)p->count);
    uint64_t cumulative = 0;
    for (size_t i = 0; i < p->n_bounds && p->n_bucket_counts > 0; i++) {
        if (p->bounds[i] == (double)INFINITY)
            break; // the bucket of all, below
        cumulative += p->bucket_counts[i];
        if (!part_series(t, PART_BUCKET, p->bounds[i], &series, err))
            return false;
        push_sample(t, series, t_ms, is_stale_point ? stale : (double)cumulative);
    }
    if (!part_series(t, PART_BUCKET, (double)INFINITY, &series, err))
        return false;
    push_sample(t, series, t_ms, is_stale_point ? stale : (double)p->count);
    return add_exemplars(t, p->exemplars, p->n_exemplars, pick_bucket, p, err);
}

/* OTLP bucket i covers (b^i, b^(i+1)]; ours is named by its upper edge. Scales above 8 are merged
 * down by `shift`. */
static bool read_side(struct metrics_walk *t, ProtobufCBinaryData bytes, int shift,
                      struct hist_side *out, struct err *err)
{
    struct arena *a = t->walk.arena;
    ProtobufCAllocator alloc = arena_allocator(a);
    *out = (struct hist_side){0};
    if (bytes.len == 0)
        return true;
    Otlp__Buckets *b = PB_UNPACK(otlp__buckets, &alloc, pb_str(bytes));
    if (!b)
        return otlp_malformed(a, "Buckets", err);
    if (b->n_counts > HIST_BUCKETS_MAX)
        return err_set(err, ERR_INVALID,
                       "exponential histogram with %zu buckets: at most %d are kept", b->n_counts,
                       HIST_BUCKETS_MAX);
    VEC(struct hist_span) spans = {0};
    VEC(double) counts = {0};
    int64_t next = 0; // bucket index behind the last one written
    for (size_t i = 0; i < b->n_counts; i++) {
        if (b->counts[i] == 0)
            continue;
        int64_t index = ((b->offset + (int64_t)i) >> shift) + 1;
        if (index > INT32_MAX || index < INT32_MIN)
            return err_set(err, ERR_INVALID,
                           "exponential histogram with a bucket offset out of range");
        if (counts.n > 0 && index == next - 1) {
            counts.v[counts.n - 1] += (double)b->counts[i];
            continue;
        }
        if (counts.n == 0 || index - next > 2) {
            vec_push(&spans, a,
                     (struct hist_span){(int32_t)(index - (counts.n == 0 ? 0 : next)), 0});
        } else {
            for (; next < index; next++) { // short gaps are cheaper as empty buckets
                vec_push(&counts, a, 0.0);
                vec_last(&spans)->length++;
            }
        }
        vec_push(&counts, a, (double)b->counts[i]);
        vec_last(&spans)->length++;
        next = index + 1;
    }
    *out = (struct hist_side){spans.v, spans.n, counts.v, counts.n};
    return true;
}

static bool add_exponential_point(struct metrics_walk *t, str bytes, bool is_delta, struct err *err)
{
    struct arena *a = t->walk.arena;
    ProtobufCAllocator alloc = arena_allocator(a);
    Otlp__ExponentialPoint *p = PB_UNPACK(otlp__exponential_point, &alloc, bytes);
    struct hist *h = arena_new(a, struct hist);
    uint32_t series;
    if (!p)
        return otlp_malformed(a, "ExponentialHistogramDataPoint", err);
    if (p->scale < EXP_SCALE_MIN)
        return err_set(err, ERR_INVALID,
                       "exponential histogram with scale %d: at least %d is needed", p->scale,
                       EXP_SCALE_MIN);
    int shift = p->scale > EXP_SCALE_MAX ? MIN(p->scale - EXP_SCALE_MAX, 62) : 0;
    int64_t t_ms = point_time(t, p->time);
    begin_point(t, p->attributes, p->n_attributes, t_ms);
    if (!read_side(t, p->positive, shift, &h->pos, err) ||
        !read_side(t, p->negative, shift, &h->neg, err))
        return false;
    h->schema = MIN(p->scale, EXP_SCALE_MAX);
    h->reset = is_delta ? HIST_GAUGE : HIST_RESET_UNKNOWN;
    h->is_int = true;
    h->zero_threshold = EXP_ZERO_THRESHOLD;
    h->zero_count = (double)p->zero_count;
    h->count = (double)p->count;
    h->sum = p->has_sum_case == OTLP__EXPONENTIAL_POINT__HAS_SUM_SUM ? p->sum : 0;
    if (p->flags & FLAG_NO_RECORDED_VALUE)
        h->sum = f64_from_bits(STALE_NAN_BITS);
    if (!part_series(t, PART_NATIVE, 0, &series, err))
        return false;
    set_start(t, p->start);
    set_times(t, p->start, p->time, p->flags, 0);
    vec_push(&t->d->batch->hists, a, (struct batch_hist){series, t_ms, h, t->start_ms});
    return add_exemplars(t, p->exemplars, p->n_exemplars, pick_native, NULL, err);
}

static bool add_summary_point(struct metrics_walk *t, str bytes, struct err *err)
{
    ProtobufCAllocator alloc = arena_allocator(t->walk.arena);
    Otlp__SummaryPoint *p = PB_UNPACK(otlp__summary_point, &alloc, bytes);
    uint32_t series;
    if (!p)
        return otlp_malformed(t->walk.arena, "SummaryDataPoint", err);
    int64_t t_ms = point_time(t, p->time);
    bool is_stale_point = p->flags & FLAG_NO_RECORDED_VALUE;
    double stale = f64_from_bits(STALE_NAN_BITS);
    begin_point(t, p->attributes, p->n_attributes, t_ms);
    set_start(t, p->start);
    if (!part_series(t, PART_SUM, 0, &series, err))
        return false;
    push_sample(t, series, t_ms, is_stale_point ? stale : p->sum);
    if (!part_series(t, PART_COUNT, 0, &series, err))
        return false;
    push_sample(t, series, t_ms, is_stale_point ? stale : (double)p->count);
    set_start(t, 0); // quantiles do not count
    for (size_t i = 0; i < p->n_quantiles; i++) {
        Otlp__Quantile *q = PB_UNPACK(otlp__quantile, &alloc, pb_str(p->quantiles[i]));
        if (!q)
            return otlp_malformed(t->walk.arena, "ValueAtQuantile", err);
        if (!part_series(t, PART_QUANTILE, q->quantile, &series, err))
            return false;
        push_sample(t, series, t_ms, is_stale_point ? stale : q->value);
    }
    return true;
}

/* ---- metrics ---- */

static enum metric_type type_of(const struct metrics_walk *t, const Otlp__Metric *m,
                                const Otlp__Points *points)
{
    bool is_delta = points->temporality == TEMPORALITY_DELTA && !t->is_converted;
    switch (m->data_case) {
    case OTLP__METRIC__DATA_GAUGE:
        return METRIC_GAUGE;
    case OTLP__METRIC__DATA_SUM:
        return is_delta ? METRIC_UNKNOWN : points->is_monotonic ? METRIC_COUNTER : METRIC_GAUGE;
    case OTLP__METRIC__DATA_HISTOGRAM:
    case OTLP__METRIC__DATA_EXPONENTIAL:
        return is_delta ? METRIC_UNKNOWN : METRIC_HISTOGRAM;
    case OTLP__METRIC__DATA_SUMMARY:
        return METRIC_SUMMARY;
    default:
        return METRIC_UNKNOWN;
    }
}

static bool add_point(struct metrics_walk *t, const Otlp__Metric *m, const Otlp__Points *points,
                      str bytes, struct err *err)
{
    bool is_delta = points->temporality == TEMPORALITY_DELTA && !t->is_converted;
    switch (m->data_case) {
    case OTLP__METRIC__DATA_GAUGE:
        return add_number_point(t, bytes, false, err);
    case OTLP__METRIC__DATA_SUM:
        return add_number_point(t, bytes, points->is_monotonic || is_delta, err);
    case OTLP__METRIC__DATA_HISTOGRAM:
        return add_histogram_point(t, bytes, is_delta, err);
    case OTLP__METRIC__DATA_EXPONENTIAL:
        return add_exponential_point(t, bytes, is_delta, err);
    case OTLP__METRIC__DATA_SUMMARY:
        return add_summary_point(t, bytes, err);
    default:
        return err_set(err, ERR_INVALID, "metric without data");
    }
}

static str data_bytes(const Otlp__Metric *m)
{
    switch (m->data_case) { // one member of the union is set; they are alike
    case OTLP__METRIC__DATA_GAUGE:
        return pb_str(m->gauge);
    case OTLP__METRIC__DATA_SUM:
        return pb_str(m->sum);
    case OTLP__METRIC__DATA_HISTOGRAM:
        return pb_str(m->histogram);
    case OTLP__METRIC__DATA_EXPONENTIAL:
        return pb_str(m->exponential);
    case OTLP__METRIC__DATA_SUMMARY:
        return pb_str(m->summary);
    default:
        return STR("");
    }
}

static void begin_metric(struct metrics_walk *t, const Otlp__Metric *m, const Otlp__Points *points)
{
    struct {
        int32_t kind, temporality;
        uint64_t is_monotonic;
    } head = {(int32_t)m->data_case, points->temporality, (uint64_t)points->is_monotonic};
    struct hash128 h = hash128_seed(pb_str(m->name), t->scope_hash);
    h = hash128_seed(pb_str(m->unit), h);
    t->metric_hash = hash128_seed(str_of((const char *)&head, sizeof head), h);
    t->is_monotonic = m->data_case == OTLP__METRIC__DATA_SUM && points->is_monotonic;
    t->family =
        otlp_metric_name(t->walk.arena, t->d->options->naming, pb_str(m->name), pb_str(m->unit),
                         t->is_monotonic, m->data_case == OTLP__METRIC__DATA_GAUGE);
    t->is_converted =
        t->d->delta && points->temporality == TEMPORALITY_DELTA &&
        (m->data_case == OTLP__METRIC__DATA_SUM || m->data_case == OTLP__METRIC__DATA_HISTOGRAM ||
         m->data_case == OTLP__METRIC__DATA_EXPONENTIAL);
    t->type_label = t->unit_label = (str){0};
    if (t->d->options->type_unit_labels) {
        enum metric_type type = type_of(t, m, points);
        t->type_label = type == METRIC_UNKNOWN ? (str){0} : str_c(metric_type_name(type));
        t->unit_label = otlp_unit_words(t->walk.arena, pb_str(m->unit));
    }
    if (t->is_converted) {
        h = hash128_seed(t->family, labels_key(t->scope, t->target_key));
        h = hash128_seed(t->unit_label, hash128_seed(t->type_label, h));
        t->metric_key =
            hash128_seed(m->data_case == OTLP__METRIC__DATA_SUM ? STR("s") : STR("h"), h);
    }
}

/* A point that is refused takes its half-added samples with it. */
struct rollback {
    size_t samples, hists, exemplars;
};

/* The samples since `before` are one delta point. Its key does not depend on the order of the
 * attributes, nor on what of the resource is in no label. */
static void note_delta(struct metrics_walk *t, const struct rollback *before)
{
    const struct batch *b = t->d->batch;
    const struct point_times *p = &t->times;
    struct hash128 key = t->metric_key;
    if (!t->is_converted || p->is_stale)
        return;
    for (size_t i = 0; i < t->n_attributes; i++) {
        struct hash128 h = hash128(pb_str(t->attributes[i]));
        key.lo += h.lo;
        key.hi += h.hi;
    }
    vec_push(&t->d->delta->points, t->walk.arena,
             (struct delta_point){.key = key,
                                  .shard = (uint32_t)t->target_key.lo,
                                  .shape = p->shape,
                                  .start_ns = p->start_ns,
                                  .time_ns = p->time_ns,
                                  .has_start = p->counts,
                                  .sample = before->samples,
                                  .n_samples = b->samples.n - before->samples,
                                  .hist = before->hists,
                                  .exemplar = before->exemplars,
                                  .n_exemplars = b->exemplars.n - before->exemplars});
}

static bool on_metric(struct otlp_walk *w, str bytes, struct err *err)
{
    struct metrics_walk *t = CONTAINER_OF(w, struct metrics_walk, walk);
    struct batch *b = t->d->batch;
    ProtobufCAllocator alloc = arena_allocator(w->arena);
    Otlp__Metric *m = PB_UNPACK(otlp__metric, &alloc, bytes);
    if (!m)
        return otlp_malformed(w->arena, "Metric", err);
    Otlp__Points *points = PB_UNPACK(otlp__points, &alloc, data_bytes(m));
    if (!points)
        return otlp_malformed(w->arena, "metric data", err);
    begin_metric(t, m, points);
    if (t->family.n == 0) {
        batch_reject(b, MAX(points->n_points, (size_t)1),
                     "metric without a usable name: \"" STR_FMT "\"", STR_ARG(pb_str(m->name)));
        return true;
    }
    for (size_t i = 0; i < points->n_points; i++) {
        struct rollback before = {b->samples.n, b->hists.n, b->exemplars.n};
        struct err inner = ERR_OK;
        if (add_point(t, m, points, pb_str(points->points[i]), &inner)) {
            note_delta(t, &before);
            continue;
        }
        if (w->arena->over)
            return otlp_malformed(w->arena, "", err);
        b->samples.n = before.samples;
        b->starts.n = MIN(b->starts.n, before.samples);
        b->hists.n = before.hists;
        b->exemplars.n = before.exemplars;
        batch_reject(b, 1, "metric \"" STR_FMT "\": %s", STR_ARG(pb_str(m->name)), inner.text);
    }
    if (points->n_points > 0)
        vec_push(&b->metas, w->arena,
                 (struct metric_meta){t->family, type_of(t, m, points),
                                      otlp_unit_words(w->arena, pb_str(m->unit)),
                                      pb_str(m->description)});
    return true;
}

/* ---- resources ---- */

static bool on_resource(struct otlp_walk *w, str bytes, str schema_url, struct err *err)
{
    struct metrics_walk *t = CONTAINER_OF(w, struct metrics_walk, walk);
    if (!otlp_resource(w->arena, bytes, schema_url, &t->resource, err))
        return false;
    t->resource_hash = hash128_seed(bytes, t->options_hash);
    t->has_points = false;
    return load_target(t);
}

/* otel_scope_* of all series of the scope; without them scopes do not tell series apart. */
static bool on_scope(struct otlp_walk *w, str bytes, str schema_url, struct err *err)
{
    struct metrics_walk *t = CONTAINER_OF(w, struct metrics_walk, walk);
    struct arena *a = w->arena;
    struct scope s;
    struct labels_builder b, named;
    t->scope = (struct labels){0};
    t->scope_hash = t->resource_hash;
    if (!t->d->options->scope_labels)
        return true;
    if (!otlp_scope(a, bytes, schema_url, &s, err))
        return false;
    labels_builder_init(&b, a);
    labels_builder_init(&named, a);
    s.attrs.n = MIN(s.attrs.n, (size_t)INFO_ATTRS_MAX); // more: the points are refused for it
    add_attrs(t, &b, s.attrs, false);
    for (size_t i = 0; i < b.pairs.n; i++)
        labels_builder_add(&named, arena_fmt(a, "otel_scope_" STR_FMT, STR_ARG(b.pairs.v[i].name)),
                           b.pairs.v[i].value);
    labels_builder_add(&named, STR("otel_scope_name"), s.name);
    labels_builder_add(&named, STR("otel_scope_version"), s.version);
    labels_builder_add(&named, STR("otel_scope_schema_url"), s.schema_url);
    t->scope = labels_builder_done(&named);
    t->scope_hash = hash128_seed(schema_url, hash128_seed(bytes, t->resource_hash));
    return true;
}

/* What no label can hold is left out: points must not be refused because of what is added here. */
static size_t drop_unfit(struct labels_builder *b)
{
    size_t kept = 0;
    for (size_t i = 0; i < b->pairs.n; i++) {
        struct label l = b->pairs.v[i];
        if (l.name.n <= LIMIT_LABEL_NAME && l.value.n <= LIMIT_LABEL_VALUE && utf8_valid(l.name) &&
            utf8_valid(l.value))
            b->pairs.v[kept++] = l;
    }
    return b->pairs.n = kept;
}

/* target_info: the resource's attributes, when there are any beyond those that identify it (and no
 * more than a series can have). */
static bool on_resource_end(struct otlp_walk *w, struct err *err)
{
    struct metrics_walk *t = CONTAINER_OF(w, struct metrics_walk, walk);
    struct labels_builder b;
    bool is_new;
    (void)err;
    if (!t->has_points || t->resource.attrs.n > INFO_ATTRS_MAX)
        return true;
    labels_builder_init(&b, w->arena);
    add_attrs(t, &b, t->resource.attrs, !t->d->options->keep_identity);
    size_t n_info = drop_unfit(&b);
    add_target(t, &b);
    size_t n_all = drop_unfit(&b);
    if (n_info == 0 || n_all == n_info || n_all >= LIMIT_LABELS)
        return true;
    struct hash128 raw = hash128_seed(STR("target_info"), t->resource_hash);
    uint32_t series = decode_series(t->d, raw, &is_new);
    t->d->batch->series.v[series].is_derived = true;
    if (is_new) {
        labels_builder_add(&b, METRIC_NAME, STR("target_info"));
        t->d->batch->series.v[series].labels = labels_builder_done(&b);
    }
    set_start(t, 0);
    int64_t at = t->t_min_ms;
    for (size_t n = 0; n < TARGET_INFO_MAX && at < t->t_max_ms;
         n++, at = time_add(at, TARGET_INFO_STEP_MS))
        push_sample(t, series, at, 1);
    push_sample(t, series, t->t_max_ms, 1);
    vec_push(
        &t->d->batch->metas, w->arena,
        (struct metric_meta){STR("target_info"), METRIC_GAUGE, STR(""), STR("Target metadata")});
    return true;
}

static struct hash128 options_key(const struct decode_options *o)
{
    uint8_t flags[] = {(uint8_t)o->naming,  o->promote_all,    o->keep_identity,   o->scope_labels,
                       o->type_unit_labels, o->key_underscore, o->join_underscores};
    struct hash128 h = hash128(str_of((const char *)flags, sizeof flags));
    for (size_t i = 0; i < o->n_promote; i++)
        h = hash128_seed(o->promote[i], h);
    h = hash128_seed(STR("but"), h);
    for (size_t i = 0; i < o->n_promote_ignore; i++)
        h = hash128_seed(o->promote_ignore[i], h);
    return h;
}

bool decode_otlp_metrics(struct decode *d, str body, struct err *err)
{
    struct metrics_walk t = {.walk = {.arena = d->batch->arena,
                                      .resource = on_resource,
                                      .scope = on_scope,
                                      .item = on_metric,
                                      .resource_end = on_resource_end},
                             .d = d,
                             .options_hash = options_key(d->options)};
    return otlp_walk(&t.walk, body, err);
}
