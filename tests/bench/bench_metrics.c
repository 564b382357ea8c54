/* bench_metrics.c - what metrics cost: bytes on disk per sample, CPU per sample of every step,
 * bytes of memory per series. One number a line: "name value".
 *
 *   bench_metrics [sim|node] [targets] [hours] [seed]
 *   bench_metrics FILE
 *
 * sim is the deliberately noisy corpus of the storage measurements: 306 series per target (22 %
 * constants, 12 % zero counters, 10 % slow integer gauges, 8 % memory, 8 % decimals, 4 % full
 * precision, 10 % byte counters, 8 % request counters, 5 % CPU seconds, 14 % histograms), 15 s with
 * jitter in ms. node has the same kinds in the proportions of a node_exporter: mostly constants and
 * values that seldom move. FILE is a recording by scrape.py of real exporters ("real"), a scrape a
 * second taken as one every 15 s. Everything goes through store_write on real files in $TMPDIR;
 * half an hour per generation, then seal, then a day's merge, then a read of all of it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/scraped.h"
#include "storage/base/log.h"
#include "storage/base/num.h"
#include "storage/base/prng.h"
#include "storage/engine/head_metrics.h"
#include "storage/engine/store_internal.h"

#define T0_MS   INT64_C(1795132800000)
#define STEP_MS INT64_C(15000)
#define BUCKETS 12

enum kind {
    CONSTANT,
    ZERO_COUNTER,
    SLOW_GAUGE,
    MEMORY,
    DECIMALS,
    PRECISE,
    BYTE_COUNTER,
    REQUESTS,
    CPU_SECONDS,
    HISTOGRAM, // BUCKETS + sum + count
    KINDS
};

static const struct {
    const char *name;
    size_t series[KINDS]; // of one target; histograms: how many
} corpora[] = {
    {"sim", {66, 36, 30, 24, 24, 12, 30, 26, 16, 3}},
    {"node", {180, 40, 24, 16, 6, 2, 14, 10, 18, 1}},
};

struct series_gen {
    enum kind kind;
    size_t k;
    double x, base, p;
    double sum, bucket[BUCKETS];
};

struct corpus {
    struct prng r;
    struct series_gen *gens;
    size_t n_gens; // of all targets
    size_t per_target;
    size_t n_targets;
    double *load; // per target, this step
    struct labels *labels;
    size_t n_series;
    const struct scraped *real; // else everything above but labels is made up
};

static double unit(struct prng *r)
{
    return prng_unit(r) + 1e-18;
}

static double normal(struct prng *r)
{
    return sqrt(-2 * log(unit(r))) * cos(6.283185307179586 * unit(r));
}

static double poisson(struct prng *r, double l)
{
    if (l > 50) {
        double x = l + sqrt(l) * normal(r);
        return x < 0 ? 0 : floor(x + 0.5);
    }
    double limit = exp(-l), p = 1;
    int k = -1;
    do {
        k++;
        p *= unit(r);
    } while (p > limit && k < 1000);
    return k;
}

static void gen_init(struct corpus *c, struct series_gen *g, enum kind kind, size_t k)
{
    struct prng *r = &c->r;
    *g = (struct series_gen){.kind = kind, .k = k};
    switch (kind) {
    case CONSTANT:
        g->x = k % 4 == 0   ? 1
               : k % 4 == 1 ? (double)prng_below(r, 100000)
               : k % 4 == 2
                   ? (double)prng_below(r, 1 << 22) * 4096
                   : 1763000000.0 + (double)prng_below(r, 1000000) / (k % 8 == 3 ? 1000 : 1);
        break;
    case SLOW_GAUGE:
        g->x = g->base = 5 + (double)prng_below(r, 200);
        g->p = 0.02 + unit(r) * 0.5;
        break;
    case MEMORY:
        g->x = g->base = 16384 + (double)prng_below(r, 1 << 20);
        break;
    case DECIMALS:
        g->x = g->base = 1 + unit(r) * 60;
        break;
    case PRECISE:
        g->x = 0.01 * unit(r);
        break;
    case BYTE_COUNTER:
        g->x = (double)prng_below(r, 100000000000);
        g->p = pow(10, 2 + unit(r) * 6);
        break;
    case REQUESTS:
        g->x = (double)prng_below(r, 10000000);
        g->p = pow(10, -2 + unit(r) * 3.5);
        break;
    case CPU_SECONDS:
        g->x = (double)prng_below(r, 100000000);
        g->p = k % 8 == 0 ? 1300 * unit(r) : pow(10, unit(r) * 2.5) - 1;
        break;
    case HISTOGRAM:
        g->base = log(0.03) + 0.7 * normal(r);
        g->x = 0.6 + 0.4 * unit(r);
        g->p = pow(10, -1.5 + unit(r) * 3);
        break;
    default:
        break;
    }
}

static void gen_histogram(struct corpus *c, struct series_gen *g, double load)
{
    static const double le[BUCKETS] = {.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, INFINITY};
    struct prng *r = &c->r;
    double n = poisson(r, g->p * 15 * load);
    double draws = fmin(n, 60);
    for (double i = 0; i < draws; i++) {
        double d = floor(exp(g->base + g->x * normal(r)) * 1e9) / 1e9;
        double weight = floor(n / draws);
        g->sum += d * weight;
        for (int k = BUCKETS - 1; k >= 0 && d <= le[k]; k--)
            g->bucket[k] += weight;
    }
}

static double gen_value(struct corpus *c, struct series_gen *g, double load)
{
    struct prng *r = &c->r;
    switch (g->kind) {
    case ZERO_COUNTER:
        if (g->k % 6 == 0 && unit(r) < 0.0006)
            g->x += 1 + poisson(r, 2);
        break;
    case SLOW_GAUGE:
        if (unit(r) < g->p)
            g->x = fmax(0, g->x + round(normal(r) * 2 - (g->x - g->base) * 0.05));
        break;
    case MEMORY:
        if (unit(r) < 0.7)
            g->x = fmax(1, g->x + round(normal(r) * 40 - (g->x - g->base) * 0.01));
        return g->k % 3 ? g->x * 4096 : g->x + (double)prng_below(r, 64) * 16;
    case DECIMALS: {
        double scale = pow(10, 1 + (double)(g->k % 4));
        g->x = fmax(0, g->x + normal(r) * 0.01 * g->base - (g->x - g->base) * 0.03);
        return round(g->x * scale) / scale;
    }
    case PRECISE:
        if (g->k % 3 == 0)
            return (1000 + poisson(r, 3000 * load)) / (3000 + poisson(r, 6000));
        if (unit(r) < 0.6)
            g->x = exp(log(0.002) + 0.5 * normal(r));
        return g->k % 3 == 1 ? g->x : round(g->x * 1e9) / 1e9;
    case BYTE_COUNTER:
        g->x += round(g->p * 15 * load * exp(0.3 * normal(r)));
        break;
    case REQUESTS:
        g->x += poisson(r, g->p * 15 * load);
        break;
    case CPU_SECONDS:
        g->x += poisson(r, g->p * load);
        return round(g->x) / 100;
    default:
        break;
    }
    return g->x;
}

static struct labels make_labels(struct arena *a, size_t target, enum kind kind, size_t k,
                                 int bucket)
{
    static const char *const names[KINDS] = {
        "app_info_limit",          "app_errors_total",
        "app_goroutines",          "app_memory_bytes",
        "app_temp_celsius",        "app_quantile_seconds",
        "app_network_bytes_total", "app_requests_total",
        "app_cpu_seconds_total",   "http_request_duration_seconds"};
    static const char *const jobs[] = {"node",  "api",      "cart",  "checkout", "payments",
                                       "redis", "postgres", "nginx", "kubelet",  "cadvisor"};
    static const char *const le[BUCKETS] = {"0.005", "0.01", "0.025", "0.05", "0.1", "0.25",
                                            "0.5",   "1",    "2.5",   "5",    "10",  "+Inf"};
    struct labels_builder b;
    labels_builder_init(&b, a);
    str name = str_c(names[kind]);
    if (kind == HISTOGRAM)
        name = arena_fmt(a, "%s_%s", names[kind],
                         bucket < BUCKETS    ? "bucket"
                         : bucket == BUCKETS ? "sum"
                                             : "count");
    labels_builder_add(&b, METRIC_NAME, name);
    labels_builder_add(&b, STR("instance"),
                       arena_fmt(a, "10.0.%zu.%zu:9100", target / 200, 10 + target % 200));
    labels_builder_add(&b, STR("job"), str_c(jobs[target % 10]));
    labels_builder_add(&b, STR("device"), arena_fmt(a, "d%zu", k / 3));
    labels_builder_add(&b, STR("kind"), arena_fmt(a, "k%zu", k % 3));
    if (kind == HISTOGRAM && bucket < BUCKETS)
        labels_builder_add(&b, STR("le"), str_c(le[bucket]));
    return labels_builder_done(&b);
}

static void corpus_init(struct corpus *c, size_t which, size_t targets, uint64_t seed,
                        struct arena *a)
{
    *c = (struct corpus){.n_targets = targets};
    prng_init(&c->r, seed);
    size_t gens = 0, series = 0;
    for (int k = 0; k < KINDS; k++) {
        gens += corpora[which].series[k];
        series += corpora[which].series[k] * (k == HISTOGRAM ? BUCKETS + 2 : 1);
    }
    c->per_target = gens;
    c->n_gens = gens * targets;
    c->n_series = series * targets;
    c->gens = arena_array(a, struct series_gen, c->n_gens);
    c->labels = arena_array(a, struct labels, c->n_series);
    c->load = arena_array(a, double, targets);
    size_t g = 0, s = 0;
    for (size_t t = 0; t < targets; t++)
        for (int kind = 0; kind < KINDS; kind++)
            for (size_t k = 0; k < corpora[which].series[kind]; k++) {
                gen_init(c, &c->gens[g++], (enum kind)kind, k);
                for (int i = 0; i < (kind == HISTOGRAM ? BUCKETS + 2 : 1); i++)
                    c->labels[s++] = make_labels(a, t, (enum kind)kind, k, i);
            }
}

/* ---- measuring ---- */

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Without the kernel's part: what our code costs, whatever the disk does. */
static double user_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_utime.tv_sec + (double)u.ru_utime.tv_usec * 1e-6;
}

static void report(const char *corpus, const char *name, double value)
{
    printf("metrics_%s_%s %.4g\n", corpus, name, value);
}

static void die(const struct err *err)
{
    fprintf(stderr, "bench_metrics: %s\n", err->text);
    exit(1);
}

struct bench {
    struct corpus c;
    struct clock clock;
    struct budget budget;
    struct store *s;
    struct store_tenant *t;
    uint64_t *refs;
    struct arena batch_arena;
    size_t samples;
    size_t round; // step of the batch that is being made
    double write_s, seal_s, seal_user_s;
};

static void push(struct bench *b, struct batch *batch, size_t id, int64_t t_ms, double v)
{
    struct batch_series bs = {.raw = {id + 1, id * 7919 + 1}, .ref = b->refs[id]};
    bs.raw.lo *= UINT64_C(0x9E3779B97F4A7C15);
    if (bs.ref == 0)
        bs.labels = b->c.labels[id];
    vec_push(&batch->samples, &b->batch_arena,
             (struct batch_sample){(uint32_t)batch->series.n, t_ms, v});
    vec_push(&batch->series, &b->batch_arena, bs);
}

/* The scrape of one target as a batch. */
static void make_batch(struct bench *b, struct batch *batch, size_t target, int64_t t_ms,
                       size_t *gen, size_t *series)
{
    struct corpus *c = &b->c;
    arena_reset(&b->batch_arena);
    batch_init(batch, SIGNAL_METRICS, &b->batch_arena);
    if (c->real != NULL) {
        for (size_t i = 0; i < c->real->of_target[target]; i++, ++*series)
            push(b, batch, *series, t_ms, scraped_value(c->real, b->round, *series));
        return;
    }
    double load = c->load[target];
    for (size_t i = 0; i < c->per_target; i++) {
        struct series_gen *g = &c->gens[(*gen)++];
        size_t parts = g->kind == HISTOGRAM ? BUCKETS + 2 : 1;
        if (g->kind == HISTOGRAM)
            gen_histogram(c, g, load);
        for (size_t k = 0; k < parts; k++) {
            double v = g->kind != HISTOGRAM ? gen_value(c, g, load)
                       : k < BUCKETS        ? g->bucket[k]
                       : k == BUCKETS       ? g->sum
                                            : g->bucket[BUCKETS - 1];
            push(b, batch, (*series)++, t_ms, v);
        }
    }
}

static void remember_refs(struct bench *b)
{
    for (size_t i = 0; i < b->c.n_series; i++) {
        struct hash128 raw = {(i + 1) * UINT64_C(0x9E3779B97F4A7C15), i * 7919 + 1};
        b->refs[i] = store_series_find(b->s, b->t, raw);
    }
}

static int64_t scrape_time(struct bench *b, size_t target, size_t step)
{
    int64_t at = T0_MS + (int64_t)(target * 7919 % 15000) + (int64_t)step * STEP_MS;
    b->round = step;
    if (b->c.real != NULL)
        return at + (int64_t)scraped_late_ms(b->c.real, step, target);
    double jitter = fabs(normal(&b->c.r)) * 1.2;
    if (prng_below(&b->c.r, 33) == 0)
        jitter += unit(&b->c.r) * 40;
    return at + (int64_t)jitter;
}

static void scrape_all(struct bench *b, size_t step)
{
    struct corpus *c = &b->c;
    size_t gen = 0, series = 0;
    for (size_t t = 0; t < c->n_targets; t++) {
        c->load[t] =
            (1 + 0.6 * sin(6.283185 * (double)step / 5760 + (double)t)) * exp(0.1 * normal(&c->r));
        struct batch batch;
        struct write_result res = {0};
        struct err err = ERR_OK;
        make_batch(b, &batch, t, scrape_time(b, t, step), &gen, &series);
        double at = cpu_s();
        if (!store_write(b->s, b->t, &batch, &res, &err))
            die(&err);
        b->write_s += cpu_s() - at;
        b->samples += res.accepted;
    }
}

/* encode + apply of known series, without log and locks of the store: a head by itself. */
static void bench_head(struct bench *b, const char *corpus, const struct store_options *o)
{
    struct head_env env = {.options = o, .clock = &b->clock, .budget = &b->budget};
    size_t base = budget_used(&b->budget);
    struct head *head = metrics_ops.head_open(&env);
    struct gen *gen = metrics_ops.gen_open(head);
    struct buf payload;
    buf_init(&payload, 64 * MIB);
    memset(b->refs, 0, b->c.n_series * sizeof b->refs[0]);
    double spent = 0, first = 0;
    size_t n = 0, wal = 0, steps = 120;
    for (size_t step = 0; step < steps; step++) {
        size_t g = 0, s = 0;
        for (size_t t = 0; t < b->c.n_targets; t++) {
            struct batch batch;
            struct write_result res = {0};
            struct err err = ERR_OK;
            size_t from = s;
            make_batch(b, &batch, t, scrape_time(b, t, step), &g, &s);
            buf_clear(&payload);
            double at = cpu_s();
            if (!metrics_ops.encode(head, gen, &batch, &payload, &res, &err))
                die(&err);
            metrics_ops.apply(head, gen, &batch);
            *(step == 0 ? &first : &spent) += cpu_s() - at;
            wal += payload.n;
            n += res.accepted;
            for (size_t i = from; i < s; i++)
                b->refs[i] = head_metrics_find(
                    head, (struct hash128){(i + 1) * UINT64_C(0x9E3779B97F4A7C15), i * 7919 + 1});
        }
    }
    size_t known = n - b->c.n_series;
    report(corpus, "series", (double)b->c.n_series);
    report(corpus, "head_bytes_per_series",
           (double)(budget_used(&b->budget) - base) / (double)b->c.n_series);
    report(corpus, "append_ns_per_sample", spent / (double)known * 1e9);
    report(corpus, "new_series_ns", first / (double)b->c.n_series * 1e9);
    report(corpus, "log_bytes_per_sample", (double)wal / (double)n);
    metrics_ops.gen_close(gen);
    metrics_ops.head_close(head);
    buf_deinit(&payload);
    memset(b->refs, 0, b->c.n_series * sizeof b->refs[0]);
}

static uint64_t disk_bytes(struct bench *b)
{
    struct store_stats st;
    store_stats(b->s, &st);
    return st.signal[SIGNAL_METRICS].segment_bytes;
}

static void bench_read(struct bench *b, const char *corpus, const char *name)
{
    struct snapshot *snap;
    struct err err = ERR_OK;
    struct time_range all = {INT64_MIN, INT64_MAX};
    struct series_select sel = {.start_ms = TIME_MIN_MS, .end_ms = TIME_MAX_MS};
    struct series_iter *it;
    struct series x;
    size_t n = 0;
    if (!snapshot_open(b->s, b->t, SIGNAL_METRICS, all, &snap, &err))
        die(&err);
    double at = cpu_s();
    if (!series_iter_open(snap, &sel, NULL, &it, &err))
        die(&err);
    while (series_next(it, &x, &err) == STEP_ITEM)
        n += x.n;
    report(corpus, name, (cpu_s() - at) / (double)n * 1e9);
    if (n != b->samples)
        fprintf(stderr, "bench_metrics: %zu samples read, %zu written\n", n, b->samples);
    series_iter_close(it);
    snapshot_close(snap);
}

static void maintain(struct bench *b, bool force)
{
    struct err err = ERR_OK;
    if (!store_maintain(b->s, force, &err))
        die(&err);
}

static void bench_store(struct bench *b, const char *corpus, size_t steps)
{
    double write_first = 0;
    for (size_t step = 0; step < steps; step++) {
        scrape_all(b, step);
        if (step == 0) {
            remember_refs(b);
            write_first = b->write_s;
        }
        if (step % 120 == 119 || step + 1 == steps) {
            double at = cpu_s(), at_user = user_s();
            maintain(b, true); // the clock stands still: seals only, no merges
            b->seal_s += cpu_s() - at;
            b->seal_user_s += user_s() - at_user;
        }
    }
    double n = (double)b->samples;
    report(corpus, "samples", n);
    report(corpus, "write_ns_per_sample", (b->write_s - write_first) / n * 1e9);
    report(corpus, "seal_ns_per_sample", b->seal_s / n * 1e9);
    report(corpus, "seal_user_ns_per_sample", b->seal_user_s / n * 1e9);
    report(corpus, "spill_bytes_per_sample", (double)disk_bytes(b) / n);
    bench_read(b, corpus, "read_spill_ns_per_sample");
    clock_manual_advance(&b->clock, (int64_t)(steps / 240 + 30) * 3600 * NS_PER_S);
    double at = cpu_s(), at_user = user_s();
    for (int i = 0; i < 20; i++)
        maintain(b, false);
    report(corpus, "day_merge_ns_per_sample", (cpu_s() - at) / n * 1e9);
    report(corpus, "day_merge_user_ns_per_sample", (user_s() - at_user) / n * 1e9);
    report(corpus, "day_bytes_per_sample", (double)disk_bytes(b) / n);
    bench_read(b, corpus, "read_first_ns_per_sample");
    bench_read(b, corpus, "read_ns_per_sample");
}

static void corpus_read(struct corpus *c, struct scraped *real, const char *path, struct arena *a)
{
    scraped_read(real, path, a);
    *c = (struct corpus){.real = real,
                         .n_targets = real->n_targets,
                         .n_series = real->n_series,
                         .labels = real->labels};
    c->load = arena_array(a, double, c->n_targets);
    prng_init(&c->r, 1);
}

static size_t arg_number(int argc, char **argv, int i, size_t otherwise)
{
    char *end;
    if (i >= argc)
        return otherwise;
    unsigned long long v = strtoull(argv[i], &end, 10);
    if (*end != '\0' || v == 0) {
        fprintf(stderr, "bench_metrics: \"%s\" is no number\n", argv[i]);
        exit(2);
    }
    return (size_t)v;
}

int main(int argc, char **argv)
{
    size_t which = 0;
    while (argc > 1 && which < 2 && !str_eq(str_c(argv[1]), str_c(corpora[which].name)))
        which++;
    const char *name = which < 2 ? corpora[which].name : "real";
    size_t targets = arg_number(argc, argv, 2, 5), steps = arg_number(argc, argv, 3, 24) * 240;
    const char *tmp = getenv("TMPDIR");
    char dir[256];
    (void)snprintf(dir, sizeof dir, "%s/bench_metrics.XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(dir) == NULL) {
        perror(dir);
        return 1;
    }
    log_set_level(LOG_LEVEL_NONE);
    struct arena a;
    struct bench b = {0};
    struct store_options o;
    struct err err = ERR_OK;
    arena_init(&a, SIZE_MAX, NULL);
    arena_init(&b.batch_arena, SIZE_MAX, NULL);
    budget_init(&b.budget, "bench", SIZE_MAX, NULL);
    clock_manual_init(&b.clock, ms_to_ns(T0_MS));
    struct scraped real;
    if (which < 2) {
        corpus_init(&b.c, which, targets, arg_number(argc, argv, 4, 1), &a);
    } else {
        corpus_read(&b.c, &real, argv[1], &a);
        steps = real.rounds;
    }
    b.refs = arena_zalloc(&a, b.c.n_series * sizeof b.refs[0]);
    store_options_default(&o);
    o.clock = &b.clock;
    o.dir = str_c(dir);
    o.budget = &b.budget;
    o.no_background = true;
    o.window_past_ns = o.window_future_ns = 0;
    o.retention_ns[SIGNAL_METRICS] = 0;
    o.head_bytes[SIGNAL_METRICS] = SIZE_MAX;
    bench_head(&b, name, &o);
    if (!store_open(&o, &b.s, &err) || !store_tenant(b.s, STORE_TENANT_DEFAULT, true, &b.t, &err))
        die(&err);
    bench_store(&b, name, steps);
    store_close(b.s);
    arena_deinit(&a);
    arena_deinit(&b.batch_arena);
    char rm[300];
    (void)snprintf(rm, sizeof rm, "rm -rf '%s'", dir);
    return system(rm) == 0 ? 0 : 1;
}
