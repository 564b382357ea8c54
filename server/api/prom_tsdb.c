/* prom_tsdb.c - the Prometheus API about where series come from (status/tsdb). In the query lane,
 * for it reads the index. Source of the shapes: the public HTTP API description. */
#include <stdlib.h>

#include "server/api/api.h"
#include "server/api/prom_priv.h"
#include "storage/base/num.h"

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
    {PROM_GET, "/api/v1/status/tsdb", LANE_QUERY, get_tsdb, prom_refuse},
    {0},
};
