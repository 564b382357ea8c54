/* bench_traces.c - spans through the whole store: CPU per span of each step, bytes per span on
 * disk, CPU of a filter over everything, and of a trace by its id.
 *
 *   bench_traces [TRACES] [DIR] [SEED] [SEAL]
 *
 * defaults: 110000 traces (2.1 M spans), "" = in memory, seed 1, a seal every 131072 spans
 *
 * Corpus: tests/support/span_corpus.h, 25 traces a batch, sealed as a busy head would be, then
 * merged into one day. One core; times are CPU of the process. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "storage/base/log.h"
#include "storage/base/num.h"
#include "storage/engine/signal.h"
#include "storage/engine/store_internal.h"
#include "tests/sim/fs_sim.h"
#include "tests/support/span_corpus.h"

#define T0          INT64_C(1795132800000000000)
#define BATCH       25
#define PROBES      200
#define FILTER_RUNS 20

static const struct signal_ops *const only_traces[SIGNAL_COUNT] = {[SIGNAL_TRACES] = &traces_ops};

struct bench {
    struct store *s;
    struct store_tenant *t;
    struct clock clock;
    struct corpus c;
    struct arena fixed; // resources
    struct resource *resources;
    struct scope *scopes;
    size_t spans, sealed, seal_spans;
    double prepare, write, seal;
    size_t payload;
    uint8_t (*probe)[16];
    size_t n_probes, traces;
};

static double cpu(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

NORETURN static void die(const struct err *err)
{
    fprintf(stderr, "bench_traces: %s\n", err->text);
    exit(1);
}

static void batch_write(struct bench *b, size_t traces)
{
    struct arena a;
    struct batch batch;
    struct write_result res;
    struct buf payload;
    struct err err = ERR_OK;
    struct span spans[BATCH * 30];
    size_t n = 0;
    arena_init(&a, SIZE_MAX, NULL);
    batch_init(&batch, SIGNAL_TRACES, &a);
    for (size_t i = 0; i < traces; i++) {
        n += corpus_trace(&b->c, &a, spans + n);
        b->traces++;
        if (b->traces % 499 == 0 && b->n_probes < PROBES)
            memcpy(b->probe[b->n_probes++], spans[n - 1].trace_id, 16);
    }
    for (size_t i = 0; i < CORPUS_PODS; i++)
        vec_push(&batch.resources, &a, b->resources[i]);
    vec_push(&batch.scopes, &a, b->scopes[0]);
    for (size_t i = 0; i < n; i++)
        vec_push(&batch.spans, &a, spans[i]);
    buf_init(&payload, 64 * MIB);
    double t = cpu();
    if (!traces_ops.prepare(&batch, &payload, &err))
        die(&err);
    b->prepare += cpu() - t;
    b->payload += payload.n;
    buf_deinit(&payload);
    t = cpu();
    if (!store_write(b->s, b->t, &batch, &res, &err))
        die(&err);
    b->write += cpu() - t;
    b->spans += n;
    arena_deinit(&a);
}

static uint64_t segment_bytes(struct bench *b, uint64_t *files)
{
    struct store_stats st;
    store_stats(b->s, &st);
    *files = st.signal[SIGNAL_TRACES].segments;
    return st.signal[SIGNAL_TRACES].segment_bytes;
}

static void maintain(struct bench *b)
{
    struct err err = ERR_OK;
    double t = cpu();
    if (!store_maintain(b->s, true, &err))
        die(&err);
    b->seal += cpu() - t;
    b->sealed = b->spans;
}

/* service.name = checkout, status 500, longer than 50 ms. */
static void filter(struct bench *b, bool whole, const char *label)
{
    struct err err = ERR_OK;
    struct span_cond conds[3] = {
        {.field = COND_COLUMN,
         .column = {FIELD_ATTR, ATTR_RESOURCE, STR("service.name")},
         .op = COND_EQ,
         .value = {.kind = VALUE_STR, .s = STR("checkout")}},
        {.field = COND_COLUMN,
         .column = {FIELD_ATTR, ATTR_SPAN, STR("http.response.status_code")},
         .op = COND_EQ,
         .value = {.kind = VALUE_INT, .i = 500}},
        {.field = COND_DURATION, .op = COND_GT, .value = {.kind = VALUE_INT, .i = 50000000}},
    };
    struct span_column_ref columns[] = {{FIELD_NAME, ATTR_SPAN, STR("")}};
    struct span_select sel = {.start_ns = INT64_MIN,
                              .end_ns = INT64_MAX,
                              .columns = columns,
                              .n_columns = 1,
                              .conds = conds,
                              .n_conds = 3,
                              .all_conds = true,
                              .whole_traces = whole};
    for (int run = 0; run < 2; run++) { // the first one loads directories
        size_t rows = 0, traces = 0;
        int runs = run == 0 ? 1 : FILTER_RUNS;
        double best = 0;
        for (int i = 0; i < runs; i++) {
            double t = cpu();
            struct snapshot *snap;
            struct span_iter *it;
            struct span_block block;
            enum step step;
            if (!snapshot_open(b->s, b->t, SIGNAL_TRACES, (struct time_range){INT64_MIN, INT64_MAX},
                               &snap, &err) ||
                !span_iter_open(snap, &sel, NULL, &it, &err))
                die(&err);
            while ((step = span_next(it, &block, &err)) == STEP_ITEM) {
                rows += block.n;
                traces += block.n_traces;
            }
            if (step == STEP_ERROR)
                die(&err);
            span_iter_close(it);
            snapshot_close(snap);
            best = i == 0 ? cpu() - t : MIN(best, cpu() - t);
        }
        printf("%-24s %8.2f ms  %zu spans, %zu traces%s\n", label, best * 1e3, rows / (size_t)runs,
               traces / (size_t)runs, run == 0 ? " (cold)" : " (best)");
    }
}

static void by_id(struct bench *b)
{
    struct err err = ERR_OK;
    size_t spans = 0;
    double t = cpu();
    for (size_t i = 0; i < b->n_probes; i++) {
        struct arena a;
        struct snapshot *snap;
        struct span_set set;
        bool partial;
        arena_init(&a, SIZE_MAX, NULL);
        if (!snapshot_open(b->s, b->t, SIGNAL_TRACES, (struct time_range){INT64_MIN, INT64_MAX},
                           &snap, &err) ||
            !store_trace(snap, b->probe[i], (struct time_range){INT64_MIN, INT64_MAX}, 0, &a, &set,
                         &partial, &err))
            die(&err);
        spans += set.n_spans;
        snapshot_close(snap);
        arena_deinit(&a);
    }
    printf("%-24s %8.0f us  (%.1f spans a trace)\n", "trace by id",
           (cpu() - t) * 1e6 / (double)b->n_probes, (double)spans / (double)b->n_probes);
}

static void tags(struct bench *b)
{
    struct err err = ERR_OK;
    struct arena a;
    struct snapshot *snap;
    const struct value *v;
    struct strs names;
    size_t n;
    struct time_range all = {INT64_MIN, INT64_MAX};
    arena_init(&a, SIZE_MAX, NULL);
    double t = cpu();
    if (!snapshot_open(b->s, b->t, SIGNAL_TRACES, all, &snap, &err) ||
        !store_tag_names(snap, ATTR_SPAN, all, 0, &a, &names, &err) ||
        !store_tag_values(snap, (struct span_column_ref){FIELD_ATTR, ATTR_SPAN, STR("http.route")},
                          all, 0, &a, &v, &n, &err))
        die(&err);
    printf("%-24s %8.2f ms  %zu names, %zu values of one\n", "tags", (cpu() - t) * 1e3, names.n, n);
    snapshot_close(snap);
    arena_deinit(&a);
}

static void report(struct bench *b, const char *label)
{
    uint64_t files, bytes = segment_bytes(b, &files);
    printf("%s: %.2f B/span in %llu files\n", label, (double)bytes / (double)b->spans,
           (unsigned long long)files);
    filter(b, false, "filter");
    filter(b, true, "filter, whole traces");
    by_id(b);
    tags(b);
}

static void run(struct bench *b, size_t traces)
{
    for (size_t done = 0; done < traces; done += BATCH) {
        batch_write(b, MIN((size_t)BATCH, traces - done));
        if (b->spans - b->sealed >= b->seal_spans)
            maintain(b);
    }
    maintain(b);
    double n = (double)b->spans;
    printf("spans                    %8zu in %zu traces\n", b->spans, traces);
    printf("prepare                  %8.0f ns/span (%.1f B/span of log)\n", b->prepare / n * 1e9,
           (double)b->payload / n);
    printf("write (with prepare)     %8.0f ns/span\n", b->write / n * 1e9);
    printf("seal                     %8.0f ns/span\n", b->seal / n * 1e9);
    report(b, "sealed");
    clock_manual_set(&b->clock, b->c.now_ns + 30 * 3600 * NS_PER_S);
    b->seal = 0;
    maintain(b);
    printf("merge                    %8.0f ns/span\n", b->seal / n * 1e9);
    report(b, "merged");
}

int main(int argc, char **argv)
{
    struct bench b = {0};
    uint64_t traces = 110000, seed = 1, seal = 128 * 1024;
    struct err err = ERR_OK;
    struct store_options o;
    struct fs_sim *sim = NULL;
    log_set_level(LOG_LEVEL_WARN);
    if ((argc > 1 && !num_parse_u64(str_c(argv[1]), &traces)) ||
        (argc > 3 && !num_parse_u64(str_c(argv[3]), &seed)) ||
        (argc > 4 && !num_parse_u64(str_c(argv[4]), &seal)) || traces == 0) {
        fprintf(stderr, "usage: bench_traces [TRACES] [DIR] [SEED] [SEAL]\n");
        return 2;
    }
    corpus_init(&b.c, seed, T0);
    clock_manual_init(&b.clock, T0);
    store_options_default(&o);
    b.seal_spans = (size_t)seal;
    if (argc > 2 && argv[2][0] != '\0') {
        o.dir = str_c(argv[2]);
    } else {
        sim = fs_sim_open(seed);
        o.fs = fs_sim_fs(sim);
        o.dir = STR("data");
    }
    o.clock = &b.clock;
    o.free_bytes_min = 0;
    o.window_past_ns = o.window_future_ns = 0;
    o.no_background = true;
    o.head_bytes[SIGNAL_TRACES] = GIB; // sealed by the benchmark
    o.retention_ns[SIGNAL_TRACES] = 0;
    arena_init(&b.fixed, SIZE_MAX, NULL);
    b.resources = corpus_resources(&b.fixed);
    b.scopes = corpus_scopes(&b.fixed);
    b.probe = arena_zalloc(&b.fixed, PROBES * 16);
    if (!store_open_with(&o, only_traces, &b.s, &err) ||
        !store_tenant(b.s, STORE_TENANT_DEFAULT, true, &b.t, &err))
        die(&err);
    run(&b, traces);
    store_close(b.s);
    fs_sim_close(sim);
    arena_deinit(&b.fixed);
    return 0;
}
