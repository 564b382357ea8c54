/* bench_query.c - what PromQL queries cost, in process: from text to result, without HTTP.
 * One number a line: "query_<where>_<what>_us value", microseconds of CPU time of the best of some
 * runs.
 *
 *   bench_query [hours] [names] [part of a name: only these] [2880|720] [helpers]
 *
 * Targets are scraped every 15 s with a jitter of some ms; 1,000 counters (100 targets of 10) and
 * 720 histogram buckets (20 targets of 36), 500 `up` and 500 gauges (20 targets of 50); with "2880"
 * as the last argument four times as many buckets and a step of 300 s instead of 60 s. With helpers
 * (threads) the time on the clock follows each number, and both with their help, which is asked for
 * whether a core is idle or not. "head": the last 30 minutes lie in memory,
 * the rest in spills of half an hour. "spill": everything is sealed. "day": a day's segments,
 * merged. Then `names` series (100,000) with one sample each, in the head and sealed, for the
 * endpoints about names. Everything goes through store_write on real files in $TMPDIR with a manual
 * clock. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "query/promql/promql.h"
#include "storage/base/crew.h"
#include "storage/base/hash.h"
#include "storage/base/log.h"
#include "storage/base/prng.h"

#define T0_MS    INT64_C(1795132800000) // a midnight
#define STEP_MS  INT64_C(15000)
#define COUNTERS 1000
#define BUCKETS  720
#define LARGE    4 // times the buckets when asked for
#define GAUGES   1000
#define LES      12
#define SPILL    120 // steps
#define DAY_MS   INT64_C(86400000)

struct bench {
    struct store *s;
    struct store_tenant *t;
    struct clock clock;
    struct prng r;
    struct arena arena, batch_arena;
    struct labels *labels;
    double *value;
    uint64_t *refs;
    size_t steps;
    size_t series;    // counters, then buckets, then gauges
    size_t gauges;    // the first of them
    int64_t step_ms;  // of range queries
    const char *only; // NULL = everything
    struct crew *crew;
    struct crew *helpers; // of the query that runs: the crew or NULL
};

static void die(const struct err *err)
{
    fprintf(stderr, "bench_query: %s\n", err->text);
    exit(1);
}

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double cpu_s(void)
{
    return seconds(CLOCK_PROCESS_CPUTIME_ID);
}

/* ---- data ---- */

/* Half of them are `up`, which is nearly always 1, half a share that wanders below 1. */
static struct labels gauge_labels(struct arena *a, size_t i)
{
    struct labels_builder b;
    labels_builder_init(&b, a);
    labels_builder_add(&b, STR("job"), STR("api"));
    labels_builder_add(&b, METRIC_NAME, i % 2 ? STR("app_load") : STR("up"));
    labels_builder_add(&b, STR("instance"),
                       arena_fmt(a, "10.0.%zu.%zu:9100", 2 + i / 400, i % 400 / 2));
    return labels_builder_done(&b);
}

static struct labels make_labels(struct arena *a, size_t i)
{
    static const char *const le[LES] = {"0.005", "0.01", "0.025", "0.05", "0.1", "0.25",
                                        "0.5",   "1",    "2.5",   "5",    "10",  "+Inf"};
    struct labels_builder b;
    labels_builder_init(&b, a);
    labels_builder_add(&b, STR("job"), STR("api"));
    if (i < COUNTERS) {
        labels_builder_add(&b, METRIC_NAME, STR("app_requests_total"));
        labels_builder_add(&b, STR("instance"), arena_fmt(a, "10.0.0.%zu:9100", i / 10));
        labels_builder_add(&b, STR("path"), arena_fmt(a, "/p%zu", i % 10));
        return labels_builder_done(&b);
    }
    i -= COUNTERS;
    labels_builder_add(&b, METRIC_NAME, STR("x_bucket"));
    labels_builder_add(&b, STR("instance"), arena_fmt(a, "10.0.1.%zu:9100", i / 36));
    labels_builder_add(&b, STR("path"), arena_fmt(a, "/p%zu", i % 36 / LES));
    labels_builder_add(&b, STR("le"), str_c(le[i % LES]));
    return labels_builder_done(&b);
}

static double gauge_value(struct bench *b, size_t i, double before)
{
    if (i % 2 == 0) // two of five hundred are down now and then
        return i % 500 == 0 && prng_below(&b->r, 400) == 0 ? 0 : 1;
    double most = i % 200 == 1 ? 1 : 0.95; // five of five hundred come near 1
    double x = before + ((double)prng_below(&b->r, 400) - 200) / 10000;
    return MIN(MAX(round(x * 10000) / 10000, 0), most);
}

static void put_target(struct bench *b, size_t from, size_t n, int64_t t_ms)
{
    struct batch batch;
    struct write_result res = {0};
    struct err err = ERR_OK;
    arena_reset(&b->batch_arena);
    batch_init(&batch, SIGNAL_METRICS, &b->batch_arena);
    vec_reserve(&batch.series, &b->batch_arena, n);
    vec_reserve(&batch.samples, &b->batch_arena, n);
    double add = 0;
    bool is_gauge = from >= b->gauges;
    for (size_t i = from; i < from + n; i++) {
        bool is_bucket = i >= COUNTERS;
        if (!is_bucket || (i - COUNTERS) % LES == 0)
            add = 0;
        if (is_gauge) {
            b->value[i] = gauge_value(b, i - b->gauges, b->value[i]);
        } else {
            add += (double)prng_below(&b->r, 8);
            b->value[i] += add;
        }
        struct batch_series bs = {.raw = labels_hash128(b->labels[i]), .ref = b->refs[i]};
        if (bs.ref == 0)
            bs.labels = b->labels[i];
        vec_push(&batch.samples, &b->batch_arena,
                 (struct batch_sample){(uint32_t)batch.series.n, t_ms, b->value[i]});
        vec_push(&batch.series, &b->batch_arena, bs);
    }
    if (!store_write(b->s, b->t, &batch, &res, &err))
        die(&err);
    for (size_t i = from; i < from + n && b->refs[i] == 0; i++)
        b->refs[i] = store_series_find(b->s, b->t, labels_hash128(b->labels[i]));
}

static void scrape(struct bench *b, size_t step)
{
    for (size_t from = 0, target = 0; from < b->series; target++) {
        size_t n = from < COUNTERS ? 10 : from < b->gauges ? 36 : 50;
        int64_t t_ms = T0_MS + (int64_t)(target * 7919 % 15000) + (int64_t)step * STEP_MS;
        put_target(b, from, n, t_ms + (int64_t)prng_below(&b->r, 4));
        from += n;
    }
}

static void maintain(struct bench *b, bool force)
{
    struct err err = ERR_OK;
    if (!store_maintain(b->s, force, &err))
        die(&err);
}

/* ---- queries ---- */

static double run(struct bench *b, const char *text, bool is_range, int64_t t_ms, struct grid grid)
{
    bool may_be_empty = strstr(text, " > ") != NULL || strstr(text, " == ") != NULL;
    struct query q;
    struct query_limits limits;
    struct promql_result r;
    const struct promql_expr *e;
    struct err err = ERR_OK;
    query_limits_default(&limits);
    limits.max_memory = GIB;
    double at = cpu_s();
    query_init(&q, &b->clock, b->s, b->t, &limits, NULL);
    q.crew = b->helpers;
    bool ok = promql_parse(&q, str_c(text), &e, &err) &&
              (is_range ? promql_range(&q, e, grid, grid_time(grid, grid.n - 1), &r, &err)
                        : promql_instant(&q, e, t_ms, &r, &err));
    if (!ok)
        die(&err);
    if (r.matrix.series.n == 0 && !may_be_empty)
        fprintf(stderr, "bench_query: %s finds nothing\n", text);
    query_deinit(&q);
    return cpu_s() - at;
}

struct cost {
    double cpu, wall; // seconds, the least of some runs
};

static struct cost best_of(struct bench *b, const char *text, bool is_range, int64_t t_ms,
                           struct grid grid)
{
    struct cost least = {1e9, 1e9};
    double spent = 0;
    for (int i = 0; i < 1000 && spent < 0.3; i++) {
        double at = seconds(CLOCK_MONOTONIC);
        double s = run(b, text, is_range, t_ms, grid);
        least.wall = MIN(least.wall, seconds(CLOCK_MONOTONIC) - at);
        least.cpu = MIN(least.cpu, s);
        spent += s;
    }
    return least;
}

static void best(struct bench *b, const char *where, const char *what, const char *text,
                 bool is_range, int64_t t_ms, struct grid grid)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%s_%s", where, what);
    if (b->only != NULL && strstr(name, b->only) == NULL)
        return;
    double first = run(b, text, is_range, t_ms, grid);
    struct cost alone = best_of(b, text, is_range, t_ms, grid);
    printf("query_%s_us %.4g\n", name, alone.cpu * 1e6);
    if (b->crew != NULL) {
        b->helpers = b->crew; // right after, so that both see the same machine
        struct cost helped = best_of(b, text, is_range, t_ms, grid);
        b->helpers = NULL;
        printf("query_%s_wall_us %.4g\n", name, alone.wall * 1e6);
        printf("query_%s_helped_us %.4g\n", name, helped.cpu * 1e6);
        printf("query_%s_helped_wall_us %.4g\n", name, helped.wall * 1e6);
    }
    printf("query_%s_first_us %.4g\n", name, first * 1e6);
}

static void queries(struct bench *b, const char *where)
{
    static const struct {
        const char *what, *text;
        bool is_range;
    } all[] = {
        {"instant_1", "app_requests_total{instance=\"10.0.0.7:9100\",path=\"/p3\"}", false},
        {"instant_1000", "app_requests_total", false},
        {"instant_sum_1000", "sum(app_requests_total)", false},
        {"instant_rate_1000", "sum(rate(app_requests_total[5m]))", false},
        {"instant_quantile", "histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m])))", false},
        {"hour_1", "rate(app_requests_total{instance=\"10.0.0.7:9100\",path=\"/p3\"}[5m])", true},
        {"day_1", "rate(app_requests_total{instance=\"10.0.0.7:9100\",path=\"/p3\"}[5m])", true},
        {"day_raw_1", "app_requests_total{instance=\"10.0.0.7:9100\",path=\"/p3\"}", true},
        {"day_rate_buckets", "sum(rate(x_bucket[5m])) by (le)", true},
        {"day_sum_1000", "sum(app_requests_total)", true},
        {"day_none_eq", "app_requests_total == -1", true},
        {"day_none_gt", "app_requests_total > 1e9", true},
        {"day_none_max", "max_over_time(app_requests_total[5m]) > 1e9", true},
        {"day_none_up", "up == 0", true},
        {"day_few_gt", "app_load > 0.99", true},
        {"day_none_load", "app_load > 1", true},
        {"instant_none_up", "up == 0", false},
        {"instant_none_load", "app_load > 1", false},
    };
    int64_t end = T0_MS + (int64_t)b->steps * STEP_MS;
    for (size_t i = 0; i < COUNTOF(all); i++) {
        bool is_hour = strncmp(all[i].what, "hour", 4) == 0;
        int64_t span = is_hour ? 3600000 : (int64_t)b->steps * STEP_MS;
        struct grid grid = {end - span, b->step_ms, (size_t)(span / b->step_ms) + 1};
        best(b, where, all[i].what, all[i].text, all[i].is_range, end, grid);
    }
}

/* ---- names ---- */

static void load_names(struct bench *b, size_t names)
{
    for (size_t from = 0; from < names;) {
        struct batch batch;
        struct write_result res = {0};
        struct err err = ERR_OK;
        size_t n = MIN(names - from, 1000);
        arena_reset(&b->batch_arena);
        batch_init(&batch, SIGNAL_METRICS, &b->batch_arena);
        for (size_t i = from; i < from + n; i++) {
            struct labels_builder lb;
            labels_builder_init(&lb, &b->batch_arena);
            labels_builder_add(&lb, METRIC_NAME,
                               arena_fmt(&b->batch_arena, "metric_%zu_total", i % 500));
            labels_builder_add(&lb, STR("job"), arena_fmt(&b->batch_arena, "job%zu", i % 20));
            labels_builder_add(&lb, STR("instance"), arena_fmt(&b->batch_arena, "i%zu", i / 500));
            vec_push(&batch.samples, &b->batch_arena,
                     (struct batch_sample){(uint32_t)batch.series.n,
                                           T0_MS + (int64_t)b->steps * STEP_MS, (double)i});
            vec_push(&batch.series, &b->batch_arena,
                     (struct batch_series){.labels = labels_builder_done(&lb)});
        }
        batch_validate(&batch);
        if (!store_write(b->s, b->t, &batch, &res, &err))
            die(&err);
        from += n;
    }
}

enum names_what {
    NAMES_SERIES,
    NAMES_SERIES_200,
    NAMES_SET, // a regex of alternatives
    NAMES_LABELS,
    NAMES_VALUES,
    NAMES_VALUES_OF
};

static double names_run(struct bench *b, enum names_what what)
{
    struct query q;
    struct query_limits limits;
    struct snapshot *snap;
    struct strs strs;
    struct labels_list sets;
    struct err err = ERR_OK;
    struct matcher m;
    bool cut;
    int64_t end = ms_to_ns(T0_MS + (int64_t)b->steps * STEP_MS);
    struct name_select sel = {.start_ns = end - 3600 * NS_PER_S, .end_ns = end};
    query_limits_default(&limits);
    limits.max_memory = GIB;
    double at = cpu_s();
    query_init(&q, &b->clock, b->s, b->t, &limits, NULL);
    bool ok = query_snapshot(&q, SIGNAL_METRICS, (struct time_range){sel.start_ns, end + 1}, &snap,
                             &err) &&
              (what == NAMES_SET
                   ? query_matcher(&q, &m, MATCH_RE, METRIC_NAME, STR("metric_(7|99)_total"), &err)
                   : query_matcher(&q, &m, MATCH_EQ, METRIC_NAME, STR("metric_7_total"), &err));
    if (what == NAMES_SERIES_200 || what == NAMES_VALUES_OF || what == NAMES_SET)
        sel.matchers = (struct matchers){&m, 1};
    if (what == NAMES_SERIES || what == NAMES_SERIES_200 || what == NAMES_SET)
        ok = ok && store_label_sets(snap, &sel, &q.arena, &sets, &cut, &err);
    else if (what == NAMES_LABELS)
        ok = ok && store_label_names(snap, &sel, &q.arena, &strs, &cut, &err);
    else
        ok = ok && store_label_values(snap, what == NAMES_VALUES ? METRIC_NAME : STR("instance"),
                                      &sel, &q.arena, &strs, &cut, &err);
    if (!ok)
        die(&err);
    query_deinit(&q);
    return cpu_s() - at;
}

static void names(struct bench *b, const char *where)
{
    static const char *const what[] = {"series", "series_200", "set_400",
                                       "labels", "values",     "values_of"};
    for (size_t k = 0; k < COUNTOF(what); k++) {
        double least = 1e9;
        for (int i = 0; i < 5; i++)
            least = MIN(least, names_run(b, (enum names_what)k));
        printf("names_%s_%s_us %.4g\n", where, what[k], least * 1e6);
    }
}

/* ---- everything ---- */

static size_t arg_number(int argc, char **argv, int i, size_t otherwise)
{
    char *end;
    if (i >= argc)
        return otherwise;
    unsigned long long v = strtoull(argv[i], &end, 10);
    if (*end != '\0') {
        fprintf(stderr, "bench_query: \"%s\" is no number\n", argv[i]);
        exit(2);
    }
    return (size_t)v;
}

static void bench_all(struct bench *b, size_t n_names)
{
    for (size_t step = 0; step < b->steps; step++) {
        scrape(b, step);
        if (step % SPILL == SPILL - 1 && step + 1 < b->steps)
            maintain(b, true);
    }
    queries(b, "head");
    maintain(b, true);
    queries(b, "spill");
    clock_manual_advance(&b->clock, (int64_t)b->steps * STEP_MS * NS_PER_MS + 30 * 3600 * NS_PER_S);
    for (int i = 0; i < 20; i++)
        maintain(b, false);
    queries(b, "day");
    if (n_names == 0)
        return;
    load_names(b, n_names);
    names(b, "head");
    maintain(b, true);
    names(b, "sealed");
}

int main(int argc, char **argv)
{
    const char *tmp = getenv("TMPDIR");
    char dir[256], rm[300];
    (void)snprintf(dir, sizeof dir, "%s/bench_query.XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(dir) == NULL) {
        perror(dir);
        return 1;
    }
    log_set_level(LOG_LEVEL_NONE);
    struct bench b = {.steps = arg_number(argc, argv, 1, 24) * 240,
                      .only = argc > 3 ? argv[3] : NULL};
    bool is_large = argc > 4 && strcmp(argv[4], "2880") == 0;
    b.gauges = COUNTERS + BUCKETS * (is_large ? (size_t)LARGE : 1);
    b.series = b.gauges + GAUGES;
    b.step_ms = is_large ? 300000 : 60000;
    struct store_options o;
    struct err err = ERR_OK;
    arena_init(&b.arena, SIZE_MAX, NULL);
    arena_init(&b.batch_arena, SIZE_MAX, NULL);
    prng_init(&b.r, 1);
    clock_manual_init(&b.clock, ms_to_ns(T0_MS));
    b.labels = arena_array(&b.arena, struct labels, b.series);
    b.value = arena_zalloc(&b.arena, b.series * sizeof b.value[0]);
    b.refs = arena_zalloc(&b.arena, b.series * sizeof b.refs[0]);
    for (size_t i = 0; i < b.series; i++)
        b.labels[i] =
            i < b.gauges ? make_labels(&b.arena, i) : gauge_labels(&b.arena, i - b.gauges);
    store_options_default(&o);
    o.clock = &b.clock;
    o.dir = str_c(dir);
    o.no_background = true;
    o.window_past_ns = o.window_future_ns = 0;
    o.retention_ns[SIGNAL_METRICS] = 0;
    o.head_bytes[SIGNAL_METRICS] = SIZE_MAX;
    if (!store_open(&o, &b.s, &err) || !store_tenant(b.s, STORE_TENANT_DEFAULT, true, &b.t, &err))
        die(&err);
    size_t helpers = arg_number(argc, argv, 5, 0);
    if (helpers > 0 && !crew_open((unsigned)helpers, &b.crew, &err))
        die(&err);
    if (b.crew != NULL)
        crew_set_eager(b.crew);
    bench_all(&b, arg_number(argc, argv, 2, 100000));
    crew_close(b.crew);
    store_close(b.s);
    arena_deinit(&b.arena);
    arena_deinit(&b.batch_arena);
    (void)snprintf(rm, sizeof rm, "rm -rf '%s'", dir);
    return system(rm) == 0 ? 0 : 1;
}
