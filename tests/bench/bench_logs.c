/* bench_logs.c - logs through a store on a real disk: size, ingest, sealing, reading, searching.
 *
 * bench_logs [MB of lines, default 640; 0 = query what the folder holds]
 *            [folder, default bench-logs.tmp] [seed] [needle: ten times only this search]
 * Prints one number a line: name, value, unit. Times are CPU seconds of this process. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "storage/base/log.h"
#include "storage/base/num.h"
#include "storage/engine/signal.h"
#include "storage/engine/store_internal.h"
#include "tests/bench/log_corpus.h"

#define BATCH_LINES 5000

struct bench {
    struct store_options o;
    struct clock clock;
    struct store *s;
    struct store_tenant *t;
    struct labels streams[LOG_CORPUS_STREAMS];
    struct arena names, arena;
    struct batch batch;
    uint64_t raw, lines;
    double write_s, seal_s;
    char needle_trace[33];
    struct err err;
};

static const struct signal_ops *const only_logs[SIGNAL_COUNT] = {[SIGNAL_LOGS] = &logs_ops};

static double cpu_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

NORETURN static void die(const struct bench *b)
{
    (void)fprintf(stderr, "%s\n", b->err.text);
    exit(1);
}

static void show(const char *name, double value, const char *unit)
{
    (void)printf("%-34s %12.2f %s\n", name, value, unit);
    (void)fflush(stdout);
}

static void new_batch(struct bench *b)
{
    arena_reset(&b->arena);
    batch_init(&b->batch, SIGNAL_LOGS, &b->arena);
    for (size_t i = 0; i < LOG_CORPUS_STREAMS; i++)
        vec_push(&b->batch.streams, &b->arena, (struct batch_stream){b->streams[i]});
}

static void add_line(struct bench *b, const struct log_corpus_line *l)
{
    struct labels meta = {0};
    if (l->trace_id[0]) {
        struct label *v = arena_array(&b->arena, struct label, 2);
        v[0] = (struct label){STR("span_id"), arena_dup(&b->arena, str_c(l->span_id))};
        v[1] = (struct label){STR("trace_id"), arena_dup(&b->arena, str_c(l->trace_id))};
        meta = (struct labels){v, 2};
    }
    vec_push(&b->batch.logs, &b->arena,
             (struct batch_log){l->stream, l->t_ns, arena_dup(&b->arena, l->line), meta, NULL});
    b->batch.raw_bytes += l->line.n;
    b->raw += l->line.n;
    b->lines++;
}

static void write_batch(struct bench *b)
{
    struct write_result res = {0};
    double start = cpu_s();
    if (!store_write(b->s, b->t, &b->batch, &res, &b->err))
        die(b);
    b->write_s += cpu_s() - start;
    start = cpu_s();
    if (!store_maintain(b->s, false, &b->err))
        die(b);
    b->seal_s += cpu_s() - start;
    new_batch(b);
}

static void ingest(struct bench *b, uint64_t bytes, uint64_t seed)
{
    struct log_corpus *c = mem_alloc(sizeof *c);
    struct log_corpus_line l;
    log_corpus_init(c, seed);
    clock_manual_set(&b->clock, c->now_ns);
    new_batch(b);
    while (b->raw < bytes) {
        log_corpus_next(c, &l);
        add_line(b, &l);
        if (l.trace_id[0] && b->raw > bytes / 2 && !b->needle_trace[0])
            memcpy(b->needle_trace, l.trace_id, 33);
        if (b->batch.logs.n == BATCH_LINES)
            write_batch(b);
    }
    write_batch(b);
    double start = cpu_s();
    if (!store_maintain(b->s, true, &b->err))
        die(b);
    b->seal_s += cpu_s() - start;
    mem_free(c);
}

static void show_size(struct bench *b, const char *name)
{
    struct store_stats st;
    store_stats(b->s, &st);
    char text[64];
    (void)snprintf(text, sizeof text, "%s stored", name);
    show(text, (double)st.signal[SIGNAL_LOGS].segment_bytes / 1e6, "MB");
    (void)snprintf(text, sizeof text, "%s ratio", name);
    show(text, (double)b->raw / (double)st.signal[SIGNAL_LOGS].segment_bytes, ": 1");
    (void)snprintf(text, sizeof text, "%s files", name);
    show(text, (double)st.signal[SIGNAL_LOGS].segments, "");
}

struct found {
    uint64_t rows, bytes;
};

/* Reads all; with needles checks the lines as a consumer would. */
static struct found query(struct bench *b, const char *name, struct log_select sel, uint64_t limit)
{
    struct found f = {0};
    struct snapshot *snap;
    struct log_iter *it;
    struct log_block block;
    enum step step;
    struct scan_stats stats = {0};
    struct budget budget;
    budget_init(&budget, "query", 64 * MIB, NULL);
    sel.start_ns = INT64_MIN;
    sel.end_ns = INT64_MAX;
    sel.stats = &stats;
    double start = cpu_s();
    if (!snapshot_open(b->s, b->t, SIGNAL_LOGS, (struct time_range){sel.start_ns, sel.end_ns},
                       &snap, &b->err) ||
        !log_iter_open(snap, &sel, &budget, &it, &b->err))
        die(b);
    while ((step = log_next(it, &block, &b->err)) == STEP_ITEM && (!limit || f.rows < limit)) {
        for (size_t i = 0; i < block.n; i++) {
            bool hit = true;
            for (size_t k = 0; block.line && k < sel.n_must; k++)
                hit &= str_find(block.line[i], sel.must[k]) != SIZE_MAX;
            f.rows += hit;
            f.bytes += block.line_len ? block.line_len[i] : 0;
        }
    }
    if (step == STEP_ERROR)
        die(b);
    log_iter_close(it);
    snapshot_close(snap);
    double s = cpu_s() - start;
    char text[96];
    (void)snprintf(text, sizeof text, "%s", name);
    (void)printf("%-34s %12.2f ms   (%llu rows, %.0f MB/s of the corpus, peak %.1f MB)\n", text,
                 s * 1e3, (unsigned long long)f.rows, (double)b->raw / s / 1e6,
                 (double)atomic_load(&budget.peak) / 1e6);
    (void)fflush(stdout);
    return f;
}

static void needle(struct bench *b, const char *text)
{
    str must = str_c(text);
    struct log_select sel = {.want_line = true, .must = &must, .n_must = 1};
    char name[64];
    (void)snprintf(name, sizeof name, "|= %s", text);
    (void)query(b, name, sel, 0);
}

static void queries(struct bench *b)
{
    struct found f =
        query(b, "read all lines", (struct log_select){.want_line = true, .want_meta = true}, 0);
    if (b->lines == 0) {
        b->lines = f.rows;
        b->raw = f.bytes;
    }
    if (f.rows != b->lines || f.bytes != b->raw) {
        (void)fprintf(stderr, "read %llu of %llu lines\n", (unsigned long long)f.rows,
                      (unsigned long long)b->lines);
        exit(1);
    }
    (void)query(b, "read all lines, no metadata", (struct log_select){.want_line = true}, 0);
    (void)query(b, "count all lines", (struct log_select){.no_len = true}, 0);
    (void)query(b, "count all bytes", (struct log_select){.no_len = false}, 0);
    (void)query(b, "newest 100 lines",
                (struct log_select){.want_line = true, .want_meta = true, .backward = true}, 100);
    needle(b, "OutOfMemoryError");
    needle(b, "error");
    needle(b, b->needle_trace);
    needle(b, "user_id\":807,");
    needle(b, "147.133.228.75");
    struct matcher m;
    if (!matcher_init(&m, MATCH_EQ, STR("stream"), STR("s05"), &b->err))
        die(b);
    (void)query(b, "one stream of 64",
                (struct log_select){.matchers = {&m, 1}, .want_line = true, .want_meta = true}, 0);
    matcher_deinit(&m);
}

static void bench_open(struct bench *b, const char *folder)
{
    log_set_level(LOG_LEVEL_NONE);
    arena_init(&b->names, SIZE_MAX, NULL);
    arena_init(&b->arena, SIZE_MAX, NULL);
    clock_manual_init(&b->clock, 0);
    for (uint32_t i = 0; i < LOG_CORPUS_STREAMS; i++) {
        struct label *v = arena_array(&b->names, struct label, 2);
        v[0] = (struct label){STR("kind"), str_c(log_corpus_kind(i))};
        v[1] = (struct label){STR("stream"), arena_fmt(&b->names, "s%02u", i)};
        b->streams[i] = (struct labels){v, 2};
    }
    store_options_default(&b->o);
    b->o.clock = &b->clock;
    b->o.dir = str_c(folder);
    b->o.free_bytes_min = 0;
    b->o.window_past_ns = b->o.window_future_ns = 0;
    b->o.retention_ns[SIGNAL_LOGS] = 0;
    b->o.no_background = true;
    if (!store_open_with(&b->o, only_logs, &b->s, &b->err) ||
        !store_tenant(b->s, STORE_TENANT_DEFAULT, true, &b->t, &b->err))
        die(b);
}

int main(int argc, char **argv)
{
    int64_t mb = 640, seed = 1;
    const char *folder = argc > 2 ? argv[2] : "bench-logs.tmp";
    if ((argc > 1 && !num_parse_i64(str_c(argv[1]), &mb)) ||
        (argc > 3 && !num_parse_i64(str_c(argv[3]), &seed)))
        return 2;
    struct bench *b = mem_zalloc(sizeof *b);
    bench_open(b, folder);
    struct store_stats st;
    store_stats(b->s, &st);
    if (mb != 0 && st.signal[SIGNAL_LOGS].segment_bytes > 0) {
        (void)fprintf(stderr,
                      "%s holds logs already: sizes would count them; name an empty folder\n",
                      folder);
        return 2;
    }
    if (mb == 0) {
        for (int i = 0; i < 10 && argc > 4; i++)
            needle(b, argv[4]);
        if (argc <= 4)
            queries(b);
        store_close(b->s);
        return 0;
    }
    ingest(b, (uint64_t)mb * 1000000, (uint64_t)seed);
    show("lines", (double)b->lines, "");
    show("raw", (double)b->raw / 1e6, "MB");
    show("encode, log, apply", (double)b->raw / b->write_s / 1e6, "MB/s");
    show("seal", (double)b->raw / b->seal_s / 1e6, "MB/s");
    show("ingest in all", (double)b->raw / (b->write_s + b->seal_s) / 1e6, "MB/s");
    show_size(b, "sealed");
    queries(b);
    clock_manual_advance(&b->clock, 3 * 86400 * NS_PER_S);
    double start = cpu_s();
    for (int i = 0; i < 10; i++) {
        if (!store_maintain(b->s, true, &b->err))
            die(b);
    }
    show("merge", (double)b->raw / (cpu_s() - start) / 1e6, "MB/s");
    show_size(b, "merged");
    queries(b);
    store_close(b->s);
    arena_deinit(&b->arena);
    arena_deinit(&b->names);
    mem_free(b);
    return 0;
}
