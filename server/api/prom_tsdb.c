/* prom_tsdb.c - the Prometheus API about what is stored: newest samples for a federating server,
 * and where series come from (status/tsdb). In the query lane, for both read the index.
 *
 * Source of the shapes: the public HTTP API description and the text exposition format 0.0.4. */
#include <stdlib.h>

#include "server/api/api.h"
#include "server/api/prom_priv.h"
#include "storage/base/num.h"
#include "storage/base/utf8.h"

/* ---- federation ---- */

#define TEXT_FORMAT STR("text/plain; version=0.0.4; charset=utf-8")

struct newest { // sample of a series
    struct labels labels;
    int64_t t_ms;
    double v;
    const struct hist *h; // NULL: a float
};
typedef VEC(struct newest) newest_vec;

static int newest_cmp(const void *a, const void *b)
{
    const struct newest *x = a, *y = b;
    int r = str_cmp(labels_get(x->labels, METRIC_NAME), labels_get(y->labels, METRIC_NAME));
    return r != 0 ? r : labels_cmp(x->labels, y->labels);
}

/* Stale series are left out; of native histograms those that classic buckets can say. */
static bool collect_newest(struct api_call *c, struct snapshot *snap,
                           const struct series_select *sel, newest_vec *out, struct err *err)
{
    struct arena *a = &c->q.arena;
    struct series_iter *it;
    struct series s;
    enum step step = STEP_ERROR;
    if (!series_iter_open(snap, sel, &c->q.budget, &it, err))
        return false;
    while (query_tick(&c->q, err) && (step = series_next(it, &s, err)) == STEP_ITEM) {
        size_t last = s.n - 1;
        const struct hist *h = s.h != NULL ? s.h[last] : NULL;
        if (h != NULL ? hist_is_stale(h) || h->schema != HIST_SCHEMA_CUSTOM : is_stale(s.v[last]))
            continue;
        struct newest n = {labels_dup(a, s.labels), s.t_ms[last], h != NULL ? 0 : s.v[last], NULL};
        if (h != NULL) {
            struct hist *copy = arena_new(a, struct hist);
            *copy = hist_dup(a, h);
            n.h = copy;
        }
        vec_push(out, a, n);
    }
    series_iter_close(it);
    return step == STEP_END;
}

static void put_quoted(struct buf *b, str s)
{
    buf_add_char(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\n')
            buf_add(b, STR("\\n"));
        else if (s.p[i] == '"' || s.p[i] == '\\')
            buf_add(b, str_of((const char[]){'\\', s.p[i]}, 2));
        else
            buf_add_char(b, s.p[i]);
    }
    buf_add_char(b, '"');
}

static void put_label(struct buf *b, str name, str value, bool *first)
{
    buf_add(b, *first ? STR("") : STR(","));
    *first = false;
    if (label_name_valid(name))
        buf_add(b, name);
    else
        put_quoted(b, name);
    buf_add_char(b, '=');
    put_quoted(b, value);
}

/* name{labels,le="..."} value time. A name that is no identifier stands in the braces. */
static void put_line(struct buf *b, const struct newest *n, const char *suffix, str le, double v)
{
    char text[NUM_TEXT_MAX];
    str name = labels_get(n->labels, METRIC_NAME);
    bool plain = metric_name_valid(name), first = true;
    if (plain) {
        buf_add(b, name);
        buf_add(b, str_c(suffix));
    }
    buf_add_char(b, '{');
    if (!plain) {
        struct buf whole;
        buf_init(&whole, MIB);
        buf_add(&whole, name);
        buf_add(&whole, str_c(suffix));
        put_quoted(b, buf_str(&whole));
        buf_deinit(&whole);
        first = false;
    }
    for (size_t i = 0; i < n->labels.n; i++)
        if (!str_eq(n->labels.v[i].name, METRIC_NAME))
            put_label(b, n->labels.v[i].name, n->labels.v[i].value, &first);
    if (labels_get(n->labels, STR("instance")).n == 0)
        put_label(b, STR("instance"), STR(""), &first); // else the scraper would set its own
    if (le.n > 0)
        put_label(b, STR("le"), le, &first);
    buf_add(b, STR("} "));
    buf_add(b, num_print_f64_go(text, v));
    buf_fmt(b, " %lld\n", (long long)n->t_ms);
}

static void put_hist(struct buf *b, struct arena *a, const struct newest *n)
{
    const struct hist *h = n->h;
    char text[NUM_TEXT_MAX];
    size_t max = hist_bucket_max(h), k = 0;
    struct hist_bucket *buckets = arena_array(a, struct hist_bucket, max + 1);
    size_t n_buckets = hist_buckets(h, buckets, max);
    double sum = 0;
    for (size_t i = 0; i < h->n_custom; i++) {
        for (; k < n_buckets && buckets[k].upper <= h->custom[i]; k++)
            sum += buckets[k].count;
        put_line(b, n, "_bucket", num_print_f64_go(text, h->custom[i]), sum);
    }
    put_line(b, n, "_bucket", STR("+Inf"), h->count);
    put_line(b, n, "_sum", (str){0}, h->sum);
    put_line(b, n, "_count", (str){0}, h->count);
}

static void put_type(struct buf *b, str name, bool is_hist)
{
    buf_add(b, STR("# TYPE "));
    if (metric_name_valid(name))
        buf_add(b, name);
    else
        put_quoted(b, name);
    buf_add(b, is_hist ? STR(" histogram\n") : STR(" untyped\n"));
}

static bool write_newest(struct api_call *c, const newest_vec *v, struct err *err)
{
    struct buf b;
    bool ok = true;
    if (v->n == 0) {
        reply_send(c->rep, 200, TEXT_FORMAT, STR(""));
        return true;
    }
    reply_header(c->rep, STR("content-type"), TEXT_FORMAT);
    buf_init(&b, MIB);
    for (size_t i = 0; i < v->n && ok; i++) {
        const struct newest *n = &v->v[i], *before = i > 0 ? n - 1 : NULL;
        str name = labels_get(n->labels, METRIC_NAME);
        if (before != NULL && labels_eq(before->labels, n->labels))
            continue; // by two selectors
        if (before == NULL || !str_eq(labels_get(before->labels, METRIC_NAME), name))
            put_type(&b, name, n->h != NULL);
        if (n->h != NULL)
            put_hist(&b, &c->q.arena, n);
        else
            put_line(&b, n, "", (str){0}, n->v);
        ok = !b.over && sink_write(reply_sink(c->rep), buf_str(&b));
        buf_clear(&b);
    }
    bool over = b.over;
    buf_deinit(&b);
    if (over)
        return err_set(err, ERR_LIMIT, "a series' labels are longer than 1 MiB");
    if (!ok)
        reply_abort(c->rep);
    return true;
}

static bool run_federate(struct api_call *c, struct err *err)
{
    struct matchers *selectors;
    struct snapshot *snap;
    newest_vec all = {0};
    size_t n;
    int64_t now = c->q.now_ns / NS_PER_MS, start = now - c->q.limits.lookback_ms + 1;
    struct time_range range = {ms_to_ns(start), ms_to_ns(now + 1)};
    if (!prom_param_selectors(c, false, &selectors, &n, err) ||
        !query_snapshot(&c->q, SIGNAL_METRICS, range, &snap, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        struct series_select sel = {.matchers = selectors[i],
                                    .start_ms = start,
                                    .end_ms = now,
                                    .ticker = &c->q.ticker,
                                    .stats = &c->q.scan};
        if (!collect_newest(c, snap, &sel, &all, err))
            return false;
    }
    if (all.n > 1)
        qsort(all.v, all.n, sizeof *all.v, newest_cmp);
    return write_newest(c, &all, err);
}

static void get_federate(void *ctx, struct http_request *req, struct http_reply *rep)
{
    prom_serve(run_federate, ctx, req, rep);
}

/* ---- where series come from ---- */

#define TOP_DEFAULT 10
#define TOP_MAX     10000
#define HEAD_MS     INT64_C(3600000) // "the head": what was written in the last hour

struct counted {
    str name, value; // value empty: of the name alone
    uint64_t n;
};
typedef VEC(struct counted) counted_vec;

static int pair_cmp(const void *a, const void *b)
{
    const struct label *x = a, *y = b;
    int r = str_cmp(x->name, y->name);
    return r != 0 ? r : str_cmp(x->value, y->value);
}

static int most_first(const void *a, const void *b)
{
    const struct counted *x = a, *y = b;
    if (x->n != y->n)
        return x->n < y->n ? 1 : -1;
    int r = str_cmp(x->name, y->name);
    return r != 0 ? r : str_cmp(x->value, y->value);
}

struct cardinality {
    counted_vec by_metric, by_pair, values_of, bytes_of;
};

/* One walk over all pairs, sorted. */
static void count_pairs(struct arena *a, const struct label *v, size_t n, struct cardinality *out)
{
    for (size_t i = 0; i < n;) {
        str name = v[i].name;
        uint64_t values = 0, bytes = 0;
        while (i < n && str_eq(v[i].name, name)) {
            size_t from = i;
            while (i < n && str_eq(v[i].name, name) && str_eq(v[i].value, v[from].value))
                i++;
            struct counted pair = {name, v[from].value, i - from};
            vec_push(&out->by_pair, a, pair);
            if (str_eq(name, METRIC_NAME))
                vec_push(&out->by_metric, a, ((struct counted){pair.value, {0}, pair.n}));
            values++;
            bytes += pair.value.n * pair.n;
        }
        vec_push(&out->values_of, a, ((struct counted){name, {0}, values}));
        vec_push(&out->bytes_of, a, ((struct counted){name, {0}, bytes}));
    }
}

static void write_top(struct json *j, const char *key, counted_vec *v, size_t top)
{
    if (v->n > 1)
        qsort(v->v, v->n, sizeof *v->v, most_first);
    json_key(j, str_c(key));
    json_array(j);
    for (size_t i = 0; i < v->n && i < top && j->ok; i++) {
        struct buf name;
        buf_init(&name, MIB);
        buf_add(&name, v->v[i].name);
        if (v->v[i].value.n > 0) {
            buf_add_char(&name, '=');
            buf_add(&name, v->v[i].value);
        }
        json_object(j);
        json_kv_str(j, "name", buf_str(&name));
        json_key(j, STR("value"));
        json_u64(j, v->v[i].n);
        json_object_end(j);
        buf_deinit(&name);
    }
    json_array_end(j);
}

static bool param_top(const struct api_call *c, size_t *out, struct err *err)
{
    str text;
    int64_t n = TOP_DEFAULT;
    if (api_param(c, STR("limit"), &text) && (!num_parse_i64(text, &n) || n < 1))
        return err_set(err, ERR_INVALID, "limit must be a positive number");
    if (n > TOP_MAX)
        return err_set(err, ERR_INVALID, "limit must not exceed %d", TOP_MAX);
    *out = (size_t)n;
    return true;
}

static void write_head(struct json *j, const struct index_stats *s, size_t pairs)
{
    json_key(j, STR("headStats"));
    json_object(j);
    json_key(j, STR("numSeries"));
    json_u64(j, s->series);
    json_key(j, STR("numLabelPairs"));
    json_u64(j, pairs);
    json_key(j, STR("chunkCount"));
    json_u64(j, s->chunks);
    json_kv_i64(j, "minTime", s->series > 0 ? s->min_ms : 0);
    json_kv_i64(j, "maxTime", s->series > 0 ? s->max_ms : 0);
    json_object_end(j);
}

static bool run_tsdb(struct api_call *c, struct err *err)
{
    struct arena *a = &c->q.arena;
    struct snapshot *snap;
    struct labels_list sets;
    struct index_stats stats;
    VEC(struct label) pairs = {0};
    struct cardinality card = {0};
    size_t top = TOP_DEFAULT;
    bool cut;
    int64_t now = c->q.now_ns;
    struct name_select sel = {
        .start_ns = now - ms_to_ns(HEAD_MS), .end_ns = TIME_MAX_NS, .ticker = &c->q.ticker};
    struct time_range range = {sel.start_ns, sel.end_ns};
    if (!param_top(c, &top, err) || !query_snapshot(&c->q, SIGNAL_METRICS, range, &snap, err) ||
        !store_label_sets(snap, &sel, a, &sets, &cut, err) ||
        !store_index_stats(snap, &sel, &stats, err))
        return false;
    for (size_t i = 0; i < sets.n; i++) {
        if (!query_tick(&c->q, err))
            return false;
        for (size_t k = 0; k < sets.v[i].n; k++)
            vec_push(&pairs, a, sets.v[i].v[k]);
    }
    if (pairs.n > 1)
        qsort(pairs.v, pairs.n, sizeof *pairs.v, pair_cmp);
    count_pairs(a, pairs.v, pairs.n, &card);
    struct json j;
    prom_begin_data(&j, c->rep);
    json_object(&j);
    write_head(&j, &stats, card.by_pair.n);
    write_top(&j, "seriesCountByMetricName", &card.by_metric, top);
    write_top(&j, "labelValueCountByLabelName", &card.values_of, top);
    write_top(&j, "memoryInBytesByLabelName", &card.bytes_of, top);
    write_top(&j, "seriesCountByLabelValuePair", &card.by_pair, top);
    json_object_end(&j);
    prom_end_data(&j, c);
    return true;
}

static void get_tsdb(void *ctx, struct http_request *req, struct http_reply *rep)
{
    prom_serve(run_tsdb, ctx, req, rep);
}

const struct route prom_tsdb_routes[] = {
    {HTTP_GET, "/federate", LANE_QUERY, get_federate, prom_refuse},
    {HTTP_GET, "/api/v1/status/tsdb", LANE_QUERY, get_tsdb, prom_refuse},
    {0},
};
