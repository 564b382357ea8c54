/* agg.c - see agg.h. The path of a known entry, once per span: one hash of some 60 bytes, one
 * probe, one comparison, a search in 15 bounds. Labels are built only when the store does not know
 * a series. */
#include "server/derive/agg.h"

#include <math.h>

#include "storage/base/enc.h"
#include "storage/base/rd.h"
#include "storage/model/limits.h"

/* Native histograms: eight buckets for each power of two of seconds; below about a microsecond is
 * zero, above 4096 s the last bucket. */
#define NATIVE_SCHEMA 3
#define NATIVE_LOW    (-20 * 8)    // index of the bucket that ends where zero does
#define NATIVE_ROOM   (32 * 8 + 1) // that one counts zeros

struct family_names {
    struct {
        str name, help, unit;
    } counters[AGG_COUNTERS];
    size_t n_counters;
    bool is_gauge; // the only "counter" is a gauge of 1
    struct {
        str name, help; // the suffixes are added
    } hists[AGG_HISTS];
    size_t n_hists;
};

static const struct family_names families[FAMILIES] = {
    [FAMILY_SPANS] =
        {.counters = {{STR_INIT("traces_spanmetrics_calls_total"), STR_INIT("Spans."), {0}},
                      {STR_INIT("traces_spanmetrics_size_total"),
                       STR_INIT("Encoded size of the spans."), STR_INIT("bytes")}},
         .n_counters = 2,
         .hists = {{STR_INIT("traces_spanmetrics_latency"), STR_INIT("Duration of spans.")}},
         .n_hists = 1},
    [FAMILY_EDGES] = {.counters = {{STR_INIT("traces_service_graph_request_total"),
                                    STR_INIT("Requests between two services."),
                                    {0}},
                                   {STR_INIT("traces_service_graph_request_failed_total"),
                                    STR_INIT("Failed requests between two services."),
                                    {0}}},
                      .n_counters = 2,
                      .hists = {{STR_INIT("traces_service_graph_request_server_seconds"),
                                 STR_INIT("Duration of a request as the server saw it.")},
                                {STR_INIT("traces_service_graph_request_client_seconds"),
                                 STR_INIT("Duration of a request as the client saw it.")}},
                      .n_hists = 2},
    [FAMILY_MESSAGES] =
        {.hists = {{STR_INIT("traces_service_graph_request_messaging_system_seconds"),
                    STR_INIT("Time between the sending of a message and its processing.")}},
         .n_hists = 1},
    [FAMILY_TARGETS] = {.counters = {{STR_INIT("traces_target_info"),
                                      STR_INIT("Attributes of what sends spans."),
                                      {0}}},
                        .n_counters = 1,
                        .is_gauge = true},
    [FAMILY_CONNECTIONS] = {.counters = {{STR_INIT("traces_service_graph_connection_info"),
                                          STR_INIT("Pairs of services that speak to each other."),
                                          {0}}},
                            .n_counters = 1,
                            .is_gauge = true},
    [FAMILY_HOSTS] =
        {.counters = {{STR_INIT("traces_host_info"), STR_INIT("Hosts that send spans."), {0}}},
         .n_counters = 1,
         .is_gauge = true},
};

#define OVERFLOW_LABEL STR("metric_overflow")

size_t agg_entry_series(const struct agg_shared *s, enum family f)
{
    size_t n = 0, of_hist = (s->has_classic ? s->shapes[f].n_edges + 3 : 0) + s->has_native;
    for (size_t i = 0; i < families[f].n_counters; i++)
        n += s->no_counter[f][i] ? 0 : 1;
    for (size_t i = 0; i < families[f].n_hists; i++)
        n += s->no_hist[f][i] ? 0 : of_hist;
    return n;
}

static size_t hist_room(const struct agg_shared *s, enum family f)
{
    return s->shapes[f].n_edges + 1 + (s->has_native ? NATIVE_ROOM : 0);
}

/* Of an entry in memory, without its place in the tables. */
static size_t entry_size(const struct agg_shared *s, enum family f, size_t n_key)
{
    size_t buckets = families[f].n_hists * hist_room(s, f);
    return sizeof(struct agg_entry) + buckets * sizeof(double) + n_key;
}

/* What the budget is charged: tables double, so an entry may have two places in them. */
static size_t entry_bytes(const struct agg_shared *s, enum family f, size_t n_key)
{
    size_t place = sizeof(struct agg_entry *) + sizeof(uint32_t) + // entries, spare
                   sizeof(uint64_t) + sizeof(uint32_t);            // map
    return entry_size(s, f, n_key) + 2 * place;
}

void agg_init(struct agg *a, struct agg_shared *shared)
{
    *a = (struct agg){.shared = shared};
}

/* ---- entries ---- */

struct entry_want { // of hmap_find: a key, or (by hmap_del) an index
    const struct agg *agg;
    str key;
    enum family family;
};

static bool entry_is(const void *ctx, uint32_t index)
{
    const struct entry_want *w = ctx;
    const struct agg_entry *e = w->agg->entries.v[index];
    return e->family == w->family && str_eq(str_of(e->key, e->n_key), w->key);
}

static bool index_is(const void *ctx, uint32_t index)
{
    return *(const uint32_t *)ctx == index;
}

static void entry_close(struct agg *a, struct agg_entry *e)
{
    if (a->shared->budget)
        budget_give(a->shared->budget, entry_bytes(a->shared, e->family, e->n_key));
    a->shared->n_series -= agg_entry_series(a->shared, e->family);
    a->n--;
    mem_free(e);
}

void agg_remove(struct agg *a, uint32_t index)
{
    struct agg_entry *e = a->entries.v[index];
    (void)hmap_del(&a->map, e->hash, index_is, &index);
    entry_close(a, e);
    a->entries.v[index] = NULL;
    vec_push(&a->spare, NULL, index);
}

void agg_deinit(struct agg *a)
{
    for (size_t i = 0; i < a->entries.n; i++)
        if (a->entries.v[i])
            entry_close(a, a->entries.v[i]);
    vec_free(&a->entries);
    vec_free(&a->spare);
    hmap_deinit(&a->map);
}

/* Room for the series and their memory; an overflow entry is one for each family and always has it.
 */
static bool has_room(struct agg_shared *s, enum family f, size_t bytes, bool is_overflow)
{
    if (is_overflow) {
        if (s->budget)
            budget_force(s->budget, bytes);
        return true;
    }
    return s->n_series + agg_entry_series(s, f) <= s->max_series && budget_take(s->budget, bytes);
}

/* NULL: no room. */
static struct agg_entry *entry_open(struct agg *a, enum family f, str key, uint64_t hash,
                                    bool is_overflow)
{
    struct agg_shared *s = a->shared;
    if (!has_room(s, f, entry_bytes(s, f, key.n), is_overflow))
        return NULL;
    size_t size = entry_size(s, f, key.n);
    struct agg_entry *e = mem_zalloc(size);
    e->hash = hash;
    e->family = (uint8_t)f;
    e->is_overflow = is_overflow;
    e->raw = hash128_seed(key, s->seed);
    e->raw.hi ^= (uint64_t)f;
    e->key = (char *)e + (size - key.n);
    e->n_key = (uint32_t)key.n;
    if (key.n > 0)
        memcpy(e->key, key.p, key.n);
    uint32_t index;
    if (a->spare.n > 0) {
        index = a->spare.v[--a->spare.n];
        a->entries.v[index] = e;
    } else {
        index = (uint32_t)a->entries.n;
        vec_push(&a->entries, NULL, e);
    }
    hmap_put(&a->map, hash, index);
    s->n_series += agg_entry_series(s, f);
    a->n++;
    return e;
}

struct agg_entry *agg_entry_get(struct agg *a, enum family f, str key)
{
    uint64_t hash = hash64_seed(key, (uint64_t)f);
    struct entry_want want = {a, key, f};
    uint32_t index = hmap_find(&a->map, hash, entry_is, &want);
    if (LIKELY(index != HMAP_NONE))
        return a->entries.v[index];
    bool is_overflow = key.n == 0; // real keys have at least one length in them
    struct agg_entry *e = entry_open(a, f, key, hash, is_overflow);
    return e ? e
             : agg_entry_get(a, f, STR("")); // NOLINT(misc-no-recursion): once, that key has room
}

/* ---- counting ---- */

void agg_key_value(struct buf *key, str value)
{
    size_t n = value.n;
    if (n > LIMIT_DERIVE_VALUE)
        for (n = LIMIT_DERIVE_VALUE; n > 0 && ((uint8_t)value.p[n] & 0xC0) == 0x80;)
            n--;
    buf_bytes(key, str_sub(value, 0, n));
}

/* Index of the first bound that is not below v; the number of bounds: +Inf. */
static size_t bucket_of(const struct agg_shape *shape, double v)
{
    size_t from = 0, to = shape->n_edges;
    while (from < to) {
        size_t mid = (from + to) / 2;
        if (shape->edges[mid] < v)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

/* The native buckets of an entry's histogram. */
static double *native_of(const struct agg_shared *s, struct agg_entry *e, size_t i)
{
    enum family f = (enum family)e->family;
    return e->buckets + families[f].n_hists * (s->shapes[f].n_edges + 1) + i * NATIVE_ROOM;
}

static size_t native_bucket(double v)
{
    if (v <= ldexp(1, NATIVE_LOW / 8))
        return 0;
    double at = ceil(log2(v) * 8) - NATIVE_LOW;
    return at < NATIVE_ROOM - 1 ? (size_t)MAX(at, 1) : NATIVE_ROOM - 1;
}

void agg_entry_add(struct agg_shared *shared, struct agg_entry *e, const struct agg_point *p,
                   int64_t mono_ns)
{
    const struct agg_shape *shape = &shared->shapes[p->family];
    shared->overflowed += e->is_overflow;
    e->used_ns = mono_ns;
    e->counters[0] += p->counters[0];
    e->counters[1] += p->counters[1];
    if (families[p->family].is_gauge)
        e->counters[0] = 1;
    for (size_t i = 0; i < families[p->family].n_hists; i++) {
        double v = p->seconds[i];
        e->sums[i] += v * p->weight;
        e->buckets[i * (shape->n_edges + 1) + bucket_of(shape, v)] += p->weight;
        if (shared->has_native)
            native_of(shared, e, i)[native_bucket(v)] += p->weight;
        struct agg_exemplar *ex = &e->exemplars[i];
        if (v > 0 && (ex->t_ms == 0 || v > ex->v)) {
            memcpy(ex->trace_id, p->trace_id, sizeof ex->trace_id);
            ex->v = v;
            ex->t_ms = p->t_ms;
        }
    }
}

void agg_add(struct agg *a, const struct agg_point *p, int64_t mono_ns)
{
    agg_entry_add(a->shared, agg_entry_get(a, p->family, p->key), p, mono_ns);
}

struct agg_entry *agg_copy(struct agg *a, uint32_t index, struct arena *arena)
{
    struct agg_entry *e = a->entries.v[index];
    if (!e)
        return NULL;
    size_t size = entry_size(a->shared, e->family, e->n_key);
    struct agg_entry *copy = arena_alloc(arena, size);
    memcpy(copy, e, size);
    copy->key = (char *)copy + (size - e->n_key);
    for (size_t i = 0; i < AGG_HISTS; i++)
        e->exemplars[i].t_ms = 0;
    return copy;
}

/* ---- samples ---- */

struct putter {
    const struct agg_shared *shared;
    const struct agg_shape *shape;
    struct agg_entry *e;
    const struct agg_when *when;
    struct batch *b;
    uint64_t n; // series so far: tells them apart in their raw keys
};

static struct labels make_labels(const struct putter *p, str name, str le)
{
    struct labels_builder lb;
    labels_builder_init(&lb, p->b->arena);
    for (size_t i = 0; i < p->shared->external.n; i++) // of equal names the later one stays
        labels_builder_add(&lb, p->shared->external.v[i].name, p->shared->external.v[i].value);
    labels_builder_add(&lb, METRIC_NAME, name);
    if (le.n > 0)
        labels_builder_add(&lb, STR("le"), le);
    if (p->e->is_overflow)
        labels_builder_add(&lb, OVERFLOW_LABEL, STR("true"));
    struct rd rd = rd_of(str_of(p->e->key, p->e->n_key));
    for (size_t i = 0; i < p->shape->n_labels && !p->e->is_overflow; i++)
        labels_builder_add(&lb, p->shape->labels[i], arena_dup(p->b->arena, rd_bytes(&rd)));
    while (p->shape->n_labels == 0 && rd_left(&rd) > 0) {
        str key = arena_dup(p->b->arena, rd_bytes(&rd));
        labels_builder_add(&lb, key, arena_dup(p->b->arena, rd_bytes(&rd)));
    }
    return labels_builder_done(&lb);
}

static void put_sample(struct putter *p, struct batch_sample s)
{
    vec_push(&p->b->samples, p->b->arena, s);
    batch_set_start(p->b, p->e->is_written ? p->e->start_ms : p->when->zero_ms);
}

/* The next series of the entry. */
static uint32_t new_series(struct putter *p, str name, str suffix, str le)
{
    struct arena *a = p->b->arena;
    struct batch_series s = {.raw = p->e->raw};
    s.raw.lo += p->n++;
    if (p->when->find)
        s.ref = p->when->find(p->when->ctx, s.raw);
    if (s.ref == 0)
        s.labels = make_labels(
            p, suffix.n > 0 ? arena_fmt(a, STR_FMT STR_FMT, STR_ARG(name), STR_ARG(suffix)) : name,
            le);
    vec_push(&p->b->series, a, s);
    return (uint32_t)p->b->series.n - 1;
}

static uint32_t put_series(struct putter *p, str name, str suffix, str le, double v)
{
    uint32_t index = new_series(p, name, suffix, le);
    if (!p->e->is_written)
        put_sample(p, (struct batch_sample){index, p->when->zero_ms, 0});
    if (p->when->is_stale)
        v = f64_from_bits(STALE_NAN_BITS);
    put_sample(p, (struct batch_sample){index, p->when->t_ms, v});
    return index;
}

static void put_exemplar(struct putter *p, uint32_t series, const struct agg_exemplar *ex)
{
    struct label *l = arena_array(p->b->arena, struct label, 1);
    str id = str_of((const char *)ex->trace_id, sizeof ex->trace_id);
    *l = (struct label){p->shared->exemplar_label, hex_str(p->b->arena, id)};
    vec_push(&p->b->exemplars, p->b->arena,
             (struct batch_exemplar){series, ex->t_ms, ex->v, {l, 1}});
}

static void put_gauge(struct putter *p, str name)
{
    double v = p->when->is_stale ? f64_from_bits(STALE_NAN_BITS) : 1;
    uint32_t index = new_series(p, name, STR(""), STR(""));
    vec_push(&p->b->samples, p->b->arena, (struct batch_sample){index, p->when->t_ms, v});
}

static void put_native_sample(struct putter *p, uint32_t series, int64_t t_ms, struct hist h)
{
    struct hist *copy = arena_new(p->b->arena, struct hist);
    *copy = h;
    vec_push(&p->b->hists, p->b->arena,
             (struct batch_hist){series, t_ms, copy,
                                 p->e->is_written ? p->e->start_ms : p->when->zero_ms});
}

static void put_native(struct putter *p, size_t i)
{
    const double *buckets = native_of(p->shared, p->e, i);
    str name = families[p->e->family].hists[i].name;
    const struct agg_exemplar *ex = &p->e->exemplars[i];
    struct hist h = {.schema = NATIVE_SCHEMA,
                     .is_int = !p->shared->has_weights,
                     .zero_threshold = ldexp(1, NATIVE_LOW / 8)};
    int64_t idx[NATIVE_ROOM];
    double counts[NATIVE_ROOM];
    size_t n = 0;
    uint32_t series = new_series(p, name, STR(""), STR(""));
    if (!p->e->is_written)
        put_native_sample(p, series, p->when->zero_ms, h);
    for (size_t k = 1; k < NATIVE_ROOM; k++) {
        if (buckets[k] == 0)
            continue;
        idx[n] = (int64_t)k + NATIVE_LOW;
        counts[n++] = buckets[k];
        h.count += buckets[k];
    }
    h.zero_count = buckets[0];
    h.count += h.zero_count;
    h.sum = p->when->is_stale ? f64_from_bits(STALE_NAN_BITS) : p->e->sums[i];
    put_native_sample(p, series, p->when->t_ms,
                      hist_from_buckets(p->b->arena, &h, idx, counts, 0, n));
    if (!p->shared->has_classic && ex->t_ms != 0 && !p->when->is_stale)
        put_exemplar(p, series, ex);
}

static void put_hist(struct putter *p, size_t i)
{
    const struct agg_shape *shape = p->shape;
    const double *buckets = p->e->buckets + i * (shape->n_edges + 1);
    str name = families[p->e->family].hists[i].name;
    const struct agg_exemplar *ex = &p->e->exemplars[i];
    size_t ex_bucket = ex->t_ms != 0 ? bucket_of(shape, ex->v) : SIZE_MAX;
    double sum = 0;
    for (size_t k = 0; k <= shape->n_edges; k++) {
        sum += buckets[k];
        uint32_t series = put_series(p, name, STR("_bucket"), shape->le[k], sum);
        if (k == ex_bucket && !p->when->is_stale)
            put_exemplar(p, series, ex);
    }
    (void)put_series(p, name, STR("_sum"), STR(""), p->e->sums[i]);
    (void)put_series(p, name, STR("_count"), STR(""), sum);
}

static void put_meta(struct batch *b, str name, enum metric_type type, str unit, str help)
{
    vec_push(&b->metas, b->arena, (struct metric_meta){name, type, unit, help});
}

void agg_put(const struct agg_shared *shared, struct agg_entry *e, const struct agg_when *when,
             struct batch *b)
{
    const struct family_names *f = &families[e->family];
    struct putter p = {shared, &shared->shapes[e->family], e, when, b, 0};
    const bool *no_counter = shared->no_counter[e->family], *no_hist = shared->no_hist[e->family];
    for (size_t i = 0; i < f->n_counters; i++) {
        if (f->is_gauge)
            put_gauge(&p, f->counters[i].name);
        else if (!no_counter[i])
            (void)put_series(&p, f->counters[i].name, STR(""), STR(""), e->counters[i]);
    }
    for (size_t i = 0; i < f->n_hists && shared->has_classic; i++)
        if (!no_hist[i])
            put_hist(&p, i);
    for (size_t i = 0; i < f->n_hists && shared->has_native; i++)
        if (!no_hist[i])
            put_native(&p, i);
    if (e->is_written)
        return;
    for (size_t i = 0; i < f->n_counters; i++)
        if (!no_counter[i])
            put_meta(b, f->counters[i].name, f->is_gauge ? METRIC_GAUGE : METRIC_COUNTER,
                     f->counters[i].unit, f->counters[i].help);
    for (size_t i = 0; i < f->n_hists; i++)
        if (!no_hist[i])
            put_meta(b, f->hists[i].name, METRIC_HISTOGRAM, STR("seconds"), f->hists[i].help);
}
