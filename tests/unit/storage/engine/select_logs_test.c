/* select_logs_test.c - log lines through a whole store: written, read both ways, sealed, merged,
 * read again; always against a plain list of what was written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <pthread.h>
#include <time.h>

#include "storage/base/crew.h"
#include "storage/base/log.h"
#include "storage/base/prng.h"
#include "storage/engine/signal.h"
#include "storage/engine/store_internal.h"
#include "tests/sim/fs_sim.h"

#define T0 INT64_C(1795132800000000000) // 2026-11-20T00:00:00Z

struct rec { // what the model knows of one record
    uint32_t stream;
    int64_t t_ns;
    str line;
    struct labels meta;
    uint32_t arrival;
    bool seen;
};

struct fixture {
    struct fs_sim *sim;
    struct clock clock;
    struct store_options o;
    struct store *s;
    struct store_tenant *t;
    struct err err;
    struct arena a;
    struct labels streams[64];
    size_t n_streams;
    VEC(struct rec) recs;
    struct crew *crew;
    unsigned n_queries; // every other one with helpers
    bool has_repeats;   // which of equal records stands for all depends on the direction
    // the batch under construction
    struct arena batch_arena;
    struct batch batch;
    struct write_result res;
};

static const struct signal_ops *const only_logs[SIGNAL_COUNT] = {[SIGNAL_LOGS] = &logs_ops};

static void reopen(struct fixture *f)
{
    store_close(f->s);
    f->s = NULL;
    if (!store_open_with(&f->o, only_logs, &f->s, &f->err))
        fail_msg("%s", f->err.text);
    assert_true(store_tenant(f->s, STORE_TENANT_DEFAULT, true, &f->t, &f->err));
}

static void new_batch(struct fixture *f)
{
    arena_reset(&f->batch_arena);
    batch_init(&f->batch, SIGNAL_LOGS, &f->batch_arena);
    for (size_t i = 0; i < f->n_streams; i++)
        vec_push(&f->batch.streams, &f->batch_arena, (struct batch_stream){f->streams[i]});
}

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof *f);
    f->sim = fs_sim_open(7);
    clock_manual_init(&f->clock, T0);
    store_options_default(&f->o);
    f->o.fs = fs_sim_fs(f->sim);
    f->o.clock = &f->clock;
    f->o.dir = STR("data");
    f->o.free_bytes_min = 0;
    f->o.window_past_ns = f->o.window_future_ns = 0;
    f->o.no_background = true;
    log_set_level(LOG_LEVEL_NONE);
    arena_init(&f->a, SIZE_MAX, NULL);
    arena_init(&f->batch_arena, SIZE_MAX, NULL);
    for (size_t i = 0; i < 12; i++) {
        struct label *v = arena_array(&f->a, struct label, 2);
        v[0] = (struct label){STR("app"), arena_fmt(&f->a, "app-%zu", (i * 5) % 12)};
        v[1] = (struct label){STR("env"), i % 3 ? STR("prod") : STR("dev")};
        f->streams[f->n_streams++] = (struct labels){v, 2};
    }
    assert_true(crew_open(3, &f->crew, &f->err));
    reopen(f);
    new_batch(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    store_close(f->s);
    crew_close(f->crew);
    fs_sim_close(f->sim);
    arena_deinit(&f->a);
    arena_deinit(&f->batch_arena);
    mem_free(f);
    return 0;
}

/* ---- the model ---- */

static bool same_rec(const struct rec *a, const struct rec *b)
{
    return a->stream == b->stream && a->t_ns == b->t_ns && str_eq(a->line, b->line) &&
           labels_eq(a->meta, b->meta);
}

static bool known(const struct fixture *f, const struct rec *r)
{
    for (size_t i = 0; i < f->recs.n; i++) {
        if (same_rec(&f->recs.v[i], r))
            return true;
    }
    return false;
}

static void put_meta(struct fixture *f, uint32_t stream, int64_t t_ns, str line, struct labels meta)
{
    struct rec r = {stream, t_ns, line, meta, (uint32_t)f->recs.n, false};
    vec_push(&f->batch.logs, &f->batch_arena, (struct batch_log){stream, t_ns, line, meta, NULL});
    f->batch.raw_bytes += line.n;
    if (!known(f, &r))
        vec_push(&f->recs, &f->a, r);
    else
        f->has_repeats = true;
}

static void put(struct fixture *f, uint32_t stream, int64_t t_ns, str line)
{
    put_meta(f, stream, t_ns, line, (struct labels){0});
}

static void flush(struct fixture *f)
{
    memset(&f->res, 0, sizeof f->res);
    if (!store_write(f->s, f->t, &f->batch, &f->res, &f->err))
        fail_msg("%s", f->err.text);
    new_batch(f);
}

static void maintain(struct fixture *f)
{
    if (!store_maintain(f->s, true, &f->err))
        fail_msg("%s", f->err.text);
}

static struct rec *find_rec(struct fixture *f, struct labels stream, int64_t t_ns, str line,
                            const struct labels *meta)
{
    for (size_t i = 0; i < f->recs.n; i++) {
        struct rec *r = &f->recs.v[i];
        if (!r->seen && r->t_ns == t_ns && str_eq(r->line, line) &&
            labels_eq(f->streams[r->stream], stream) && (!meta || labels_eq(r->meta, *meta)))
            return r;
    }
    return NULL;
}

struct query {
    struct log_select sel;
    struct budget *budget;
    size_t limit; // rows, 0 = all
    bool exact;   // no needles: nothing else may come
};

static void check_bound(const struct query *q, const struct log_block *b, int64_t before)
{
    for (size_t i = 0; i < b->n; i++) {
        assert_true(q->sel.backward ? b->t_ns[i] <= before : b->t_ns[i] >= before);
        if (i > 0)
            assert_true(q->sel.backward ? b->t_ns[i] <= b->t_ns[i - 1]
                                        : b->t_ns[i] >= b->t_ns[i - 1]);
    }
    assert_true(q->sel.backward ? b->bound_ns <= before : b->bound_ns >= before);
}

static bool wanted(const struct fixture *f, const struct query *q, const struct rec *r)
{
    bool hit;
    struct err err = ERR_OK;
    assert_true(matchers_test(q->sel.matchers, f->streams[r->stream], &hit, &err));
    for (size_t i = 0; i < q->sel.n_must; i++)
        hit &= str_find(r->line, q->sel.must[i]) != SIZE_MAX;
    for (size_t i = 0; i < q->sel.n_must_meta; i++)
        hit &= str_eq(labels_get(r->meta, q->sel.must_meta[i].name), q->sel.must_meta[i].value);
    return hit && r->t_ns >= q->sel.start_ns &&
           (r->t_ns < q->sel.end_ns || q->sel.end_ns == INT64_MAX);
}

/* Rows of equal stream and time come in order of arrival (reversed when backward). */
static void check_arrival(const struct query *q, const struct log_block *b, struct rec *const *rows)
{
    for (size_t i = 1; i < b->n; i++) {
        if (b->t_ns[i] == b->t_ns[i - 1] && rows[i] && rows[i - 1])
            assert_true(q->sel.backward ? rows[i]->arrival < rows[i - 1]->arrival
                                        : rows[i]->arrival > rows[i - 1]->arrival);
    }
}

/* Runs the query against the model; returns how many rows came. */
static size_t check_query(struct fixture *f, struct query q)
{
    struct snapshot *snap;
    struct log_iter *it;
    struct log_block b;
    enum step step;
    size_t got = 0;
    int64_t bound = q.sel.backward ? INT64_MAX : INT64_MIN;
    q.sel.crew = f->n_queries++ % 2 ? f->crew : NULL;
    assert_true(snapshot_open(f->s, f->t, SIGNAL_LOGS,
                              (struct time_range){q.sel.start_ns, q.sel.end_ns}, &snap, &f->err));
    for (size_t i = 0; i < f->recs.n; i++)
        f->recs.v[i].seen = false;
    if (!log_iter_open(snap, &q.sel, q.budget, &it, &f->err))
        fail_msg("%s", f->err.text);
    while ((step = log_next(it, &b, &f->err)) == STEP_ITEM) {
        struct rec **rows = mem_zalloc((b.n + 1) * sizeof rows[0]);
        assert_true(b.n > 0);
        assert_int_equal(b.stream_hash, labels_hash(b.stream));
        assert_int_equal(b.line != NULL, q.sel.want_line);
        check_bound(&q, &b, bound);
        bound = b.bound_ns;
        for (size_t i = 0; i < b.n && b.line; i++) {
            assert_int_equal(b.line_len[i], b.line[i].n);
            rows[i] = find_rec(f, b.stream, b.t_ns[i], b.line[i], b.meta ? &b.meta[i] : NULL);
            if (!rows[i])
                fail_msg("twice or never written: %.*s", (int)b.line[i].n, b.line[i].p);
            rows[i]->seen = true;
            assert_true(wanted(f, &q, rows[i]));
        }
        if (q.sel.n_must == 0 && q.sel.want_meta && !f->has_repeats)
            check_arrival(&q, &b, rows);
        mem_free(rows);
        got += b.n;
        if (q.limit && got >= q.limit)
            break;
    }
    if (step == STEP_ERROR)
        fail_msg("%s", f->err.text);
    log_iter_close(it);
    snapshot_close(snap);
    size_t expect = 0;
    for (size_t i = 0; i < f->recs.n; i++) {
        const struct rec *r = &f->recs.v[i];
        expect += wanted(f, &q, r);
        bool beyond = q.limit && (q.sel.backward ? r->t_ns <= bound : r->t_ns >= bound);
        if (q.sel.want_line && wanted(f, &q, r) && !r->seen && !beyond)
            fail_msg("lost: stream %u %.*s", r->stream, (int)r->line.n, r->line.p);
    }
    if (!q.limit)
        assert_int_equal(got, expect);
    return got;
}

static struct query all_rows(bool backward)
{
    return (struct query){.sel = {.start_ns = INT64_MIN,
                                  .end_ns = INT64_MAX,
                                  .backward = backward,
                                  .want_line = true,
                                  .want_meta = true}};
}

/* Lines and bytes per stream and piece of time, some of them told by directories only. Returns
 * lines that came as numbers. */
static size_t check_counts(struct fixture *f, const int64_t *cuts, size_t n_cuts, bool backward)
{
    struct snapshot *snap;
    struct log_iter *it;
    struct log_block b;
    enum step step;
    size_t counted = 0, n = n_cuts * COUNTOF(f->streams);
    uint64_t *rows = mem_zalloc(n * sizeof rows[0]), *bytes = mem_zalloc(n * sizeof bytes[0]);
    struct log_select sel = {.start_ns = cuts[0] + 1,
                             .end_ns = cuts[n_cuts - 1] + 1,
                             .backward = backward,
                             .cuts = cuts,
                             .n_cuts = n_cuts};
    assert_true(snapshot_open(f->s, f->t, SIGNAL_LOGS, (struct time_range){INT64_MIN, INT64_MAX},
                              &snap, &f->err));
    assert_true(log_iter_open(snap, &sel, NULL, &it, &f->err));
    while ((step = log_next(it, &b, &f->err)) == STEP_ITEM) {
        size_t stream = 0;
        while (!labels_eq(f->streams[stream], b.stream))
            stream++;
        for (size_t i = 0; i < b.n; i++) {
            size_t piece = 0;
            int64_t t_ns = b.t_ns ? b.t_ns[i] : i ? b.t0_ns : b.t1_ns;
            while (cuts[piece + 1] < t_ns)
                piece++;
            rows[piece * COUNTOF(f->streams) + stream]++;
            bytes[piece * COUNTOF(f->streams) + stream] += b.t_ns ? b.line_len[i]
                                                           : i    ? 0
                                                                  : b.n_bytes;
        }
        counted += b.t_ns ? 0 : b.n;
    }
    assert_int_equal(step, STEP_END);
    log_iter_close(it);
    snapshot_close(snap);
    for (size_t i = 0; i < f->recs.n; i++) {
        const struct rec *r = &f->recs.v[i];
        size_t piece = 0;
        if (r->t_ns <= cuts[0] || r->t_ns > cuts[n_cuts - 1])
            continue;
        while (cuts[piece + 1] < r->t_ns)
            piece++;
        rows[piece * COUNTOF(f->streams) + r->stream]--;
        bytes[piece * COUNTOF(f->streams) + r->stream] -= r->line.n;
    }
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(rows[i], 0);
        assert_int_equal(bytes[i], 0);
    }
    mem_free(rows);
    mem_free(bytes);
    return counted;
}

static void check_everything(struct fixture *f)
{
    static const int64_t cuts[] = {T0 - 86400 * NS_PER_S, T0 + 3 * NS_PER_S, T0 + 3 * NS_PER_S + 1,
                                   T0 + 9 * NS_PER_S, T0 + 10 * 86400 * NS_PER_S};
    for (int backward = 0; backward < 2; backward++) {
        (void)check_counts(f, cuts, COUNTOF(cuts), backward);
        (void)check_counts(f, cuts + 1, 3, backward);
        struct query q = all_rows(backward);
        (void)check_query(f, q);
        q.limit = 3;
        (void)check_query(f, q);
        q = all_rows(backward);
        q.sel.want_meta = q.sel.want_line = false;
        (void)check_query(f, q);
        q.sel.no_len = true;
        (void)check_query(f, q);
        q.sel.want_line = true;
        q.sel.no_len = false;
        q.sel.start_ns = T0 + 3 * NS_PER_S;
        q.sel.end_ns = T0 + 9 * NS_PER_S;
        (void)check_query(f, q);
        static const str must[] = {STR_INIT("line"), STR_INIT("7")};
        q = all_rows(backward);
        q.sel.must = must;
        q.sel.n_must = 2;
        (void)check_query(f, q);
        q.sel.want_line = q.sel.want_meta = false;
        q.sel.no_len = true;
        (void)check_query(f, q);
        for (size_t i = 0; i < f->recs.n; i += 1 + f->recs.n / 5) {
            q = all_rows(backward);
            q.sel.must_meta = f->recs.v[i].meta.v;
            q.sel.n_must_meta = MIN(f->recs.v[i].meta.n, (size_t)1);
            (void)check_query(f, q);
        }
        struct matcher m[2];
        assert_true(matcher_init(&m[0], MATCH_EQ, STR("env"), STR("prod"), &f->err));
        assert_true(matcher_init(&m[1], MATCH_RE, STR("app"), STR("app-[0-5]"), &f->err));
        q = all_rows(backward);
        q.sel.matchers = (struct matchers){m, 2};
        (void)check_query(f, q);
        matcher_deinit(&m[0]);
        matcher_deinit(&m[1]);
    }
}

/* In every state of a store: head, two generations, sealed, reopened, merged. */
static void check_life(struct fixture *f)
{
    check_everything(f);
    reopen(f);
    check_everything(f);
    maintain(f);
    check_everything(f);
    reopen(f);
    check_everything(f);
}

static void say(void *ctx, const char *line)
{
    (void)ctx;
    print_error("%s\n", line);
}

static void check_files(struct fixture *f)
{
    uint64_t faults = 0;
    store_close(f->s);
    f->s = NULL;
    assert_true(store_check_with(f->o.fs, f->o.dir, only_logs, say, NULL, &faults, &f->err));
    assert_int_equal(faults, 0);
    reopen(f);
}

/* ---- tests ---- */

static void test_empty(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(check_query(f, all_rows(true)), 0);
    maintain(f);
    assert_int_equal(check_query(f, all_rows(false)), 0);
}

static void test_life(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 600; i++) {
        put(f, (uint32_t)i % 12, T0 + i * INT64_C(20000000),
            arena_fmt(&f->a, "line %d of some words", i));
        if (i % 100 == 99)
            flush(f);
    }
    check_life(f);
    check_files(f);
}

static void test_odd_lines(void **state)
{
    struct fixture *f = *state;
    char *big = arena_alloc(&f->a, MIB);
    for (size_t i = 0; i < MIB; i++)
        big[i] = (char)(i * 31 + i / 251);
    struct label *many = arena_array(&f->a, struct label, 256);
    for (size_t i = 0; i < 256; i++)
        many[i] = (struct label){arena_fmt(&f->a, "key_%03zu", i), arena_fmt(&f->a, "%zu", i)};
    put(f, 0, T0, (str){0});
    put(f, 0, T0 + 1, STR("nul \0 and \377\376 bytes"));
    put(f, 1, T0 + 2, (str){big, MIB});
    put_meta(f, 1, T0 + 2, (str){0}, (struct labels){many, 256});
    put_meta(f, 2, -5, STR("before 1970"), (struct labels){many, 1});
    put(f, 2, INT64_MAX - 2 * 86400 * NS_PER_S, STR("the end of time"));
    put(f, 2, INT64_MIN + 2 * 86400 * NS_PER_S, STR("its beginning"));
    flush(f);
    struct query q = all_rows(true);
    (void)check_query(f, q);
    maintain(f);
    check_files(f);
    size_t rows = 0;
    for (int backward = 0; backward < 2; backward++) {
        q = all_rows(backward);
        q.sel.end_ns = INT64_MAX - 2 * 86400 * NS_PER_S;
        rows += check_query(f, q);
    }
    assert_int_equal(rows, 2 * (f->recs.n - 1));
}

static void test_equal_times(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 300; i++) // shuffled, so that arrival is not the order of texts
        put(f, (uint32_t)i % 2, T0 + (i / 100) * NS_PER_S,
            arena_fmt(&f->a, "line %d", (i * 101) % 300));
    flush(f);
    check_life(f);
}

static void test_duplicates(void **state)
{
    struct fixture *f = *state;
    struct label id = {STR("trace_id"), STR("0123456789abcdef0123456789abcdef")};
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 200; i++) {
            str line = arena_fmt(&f->a, "line %d of a repeated request", i);
            put(f, (uint32_t)i % 5, T0 + (i / 50) * NS_PER_S, line);
            put_meta(f, (uint32_t)i % 5, T0 + (i / 50) * NS_PER_S, line, (struct labels){&id, 1});
        }
        flush(f);
        check_everything(f);
        if (round >= 1) // across generations and segments, too
            maintain(f);
        check_everything(f);
    }
    check_files(f);
    assert_int_equal(check_query(f, all_rows(true)), 400);
}

static void test_out_of_order(void **state)
{
    struct fixture *f = *state;
    struct prng rng;
    prng_init(&rng, 11);
    for (int i = 0; i < 1500; i++) {
        int64_t t = T0 + (int64_t)prng_below(&rng, 12) * NS_PER_S + (int64_t)prng_below(&rng, 50);
        put(f, (uint32_t)prng_below(&rng, 12), t, arena_fmt(&f->a, "line %d level=info", i));
        if (i % 50 == 49)
            flush(f);
        if (i % 400 == 399)
            maintain(f);
    }
    flush(f);
    check_life(f);
    check_files(f);
}

static void test_days(void **state)
{
    struct fixture *f = *state;
    for (int day = 0; day < 5; day++) {
        for (int i = 0; i < 40; i++)
            put(f, (uint32_t)i % 3, T0 + (day * 24 + i / 2) * 3600 * NS_PER_S + i,
                arena_fmt(&f->a, "line %d of day %d", i, day));
        flush(f);
        if (day % 2)
            maintain(f);
    }
    check_life(f);
    check_files(f);
}

/* Many small generations, then compaction (days later) makes few files of them. */
static void test_compaction(void **state)
{
    struct fixture *f = *state;
    for (int gen = 0; gen < 12; gen++) {
        for (int i = 0; i < 60; i++)
            put(f, (uint32_t)i % 12, T0 + (gen * 60 + i) * NS_PER_S - (i % 7) * 2 * NS_PER_S,
                arena_fmt(&f->a, "line %d id=%08x", gen * 60 + i, (unsigned)i * 2654435761u));
        flush(f);
        maintain(f);
    }
    struct store_stats before, after;
    store_stats(f->s, &before);
    clock_manual_advance(&f->clock, 3 * 86400 * NS_PER_S);
    for (int i = 0; i < 20; i++)
        maintain(f);
    store_stats(f->s, &after);
    assert_true(after.signal[SIGNAL_LOGS].compacted > 0);
    assert_true(after.signal[SIGNAL_LOGS].segments < before.signal[SIGNAL_LOGS].segments);
    check_everything(f);
    static const int64_t day[] = {T0 - 1 - 60 * NS_PER_S, T0 + 86400 * NS_PER_S};
    assert_int_equal(check_counts(f, day, 2, false), f->recs.n); // not a row is read
    check_files(f);
}

static void fill_every(struct fixture *f, size_t lines, size_t first, size_t every)
{
    struct prng rng;
    prng_init(&rng, 4);
    for (size_t i = first; i < lines; i += every) {
        unsigned a = (unsigned)prng_below(&rng, 1000), b = (unsigned)prng_next(&rng);
        struct batch_log log = {
            .stream = (uint32_t)(i % 4 ? i % 12 : 0),
            .t_ns = T0 + (int64_t)i * NS_PER_MS,
            .line =
                arena_fmt(&f->batch_arena,
                          "GET /api/v1/items/%u?user=%u took %u ms trace=%08x%08x status=200 ok", a,
                          b % 5000, a % 77, b, b * 2654435761u),
        };
        vec_push(&f->batch.logs, &f->batch_arena, log);
        f->batch.raw_bytes += log.line.n;
        if (i / every % 5000 == 4999)
            flush(f);
    }
    flush(f);
}

static void fill_big(struct fixture *f, size_t lines)
{
    fill_every(f, lines, 0, 1);
}

struct counted {
    size_t rows, blocks;
    struct scan_stats stats;
};

static struct counted count_rows(struct fixture *f, struct query q)
{
    struct counted c = {0};
    struct snapshot *snap;
    struct log_iter *it;
    struct log_block b;
    enum step step;
    q.sel.stats = &c.stats;
    q.sel.crew = f->n_queries++ % 2 ? f->crew : NULL;
    assert_true(snapshot_open(f->s, f->t, SIGNAL_LOGS,
                              (struct time_range){q.sel.start_ns, q.sel.end_ns}, &snap, &f->err));
    assert_true(log_iter_open(snap, &q.sel, q.budget, &it, &f->err));
    while ((step = log_next(it, &b, &f->err)) == STEP_ITEM) {
        c.rows += b.n;
        c.blocks++;
        if (q.limit && c.rows >= q.limit)
            break;
    }
    if (step == STEP_ERROR)
        c.rows = SIZE_MAX;
    log_iter_close(it);
    snapshot_close(snap);
    return c;
}

/* All rows with their order. */
static uint64_t digest(struct fixture *f, struct query q, struct crew *crew)
{
    struct snapshot *snap;
    struct log_iter *it;
    struct log_block b;
    enum step step;
    struct buf text;
    uint64_t hash = 0;
    q.sel.crew = crew;
    buf_init(&text, GIB);
    assert_true(snapshot_open(f->s, f->t, SIGNAL_LOGS,
                              (struct time_range){q.sel.start_ns, q.sel.end_ns}, &snap, &f->err));
    assert_true(log_iter_open(snap, &q.sel, q.budget, &it, &f->err));
    while ((step = log_next(it, &b, &f->err)) == STEP_ITEM) {
        for (size_t i = 0; i < b.n; i++) {
            text.n = 0;
            buf_le64(&text, hash);
            buf_le64(&text, (uint64_t)b.t_ns[i]);
            buf_le64(&text, b.stream_hash);
            buf_add(&text, b.line[i]);
            hash = hash64(buf_str(&text));
        }
    }
    assert_int_equal(step, STEP_END);
    log_iter_close(it);
    snapshot_close(snap);
    buf_deinit(&text);
    return hash;
}

/* What helpers decode ahead comes as if one thread had read it. */
static void check_helpers(struct fixture *f)
{
    static const str must[] = {STR_INIT("status"), STR_INIT("took 17 ms"), STR_INIT("user=777 ")};
    for (size_t i = 0; i < 2 * COUNTOF(must); i++) {
        struct query q = all_rows(i % 2);
        q.sel.must = &must[i / 2];
        q.sel.n_must = 1;
        assert_int_equal(digest(f, q, NULL), digest(f, q, f->crew));
    }
}

static void test_big(void **state)
{
    struct fixture *f = *state;
    f->o.head_bytes[SIGNAL_LOGS] = GIB;
    f->o.head_age_ns[SIGNAL_LOGS] = INT64_MAX / 4;
    reopen(f);
    const size_t lines = 400000; // about 30 MB: two slices, own and mixed blocks
    fill_big(f, lines);
    for (int sealed = 0; sealed < 2; sealed++) {
        assert_int_equal(count_rows(f, all_rows(true)).rows, lines);
        assert_int_equal(count_rows(f, all_rows(false)).rows, lines);
        struct query q = all_rows(true);
        q.sel.want_line = q.sel.want_meta = false;
        struct counted c = count_rows(f, q);
        assert_int_equal(c.rows, lines);
        assert_int_equal(c.stats.lines, lines);
        maintain(f);
    }
    check_helpers(f);
    struct query q = all_rows(true);
    q.limit = 100;
    struct counted c = count_rows(f, q); // the newest lines: one slice at most
    assert_true(c.stats.lines < lines * 2 / 3);
    static const str absent[] = {STR_INIT("trace=0123456789abcdef")};
    q = all_rows(true);
    q.sel.must = absent;
    q.sel.n_must = 1;
    c = count_rows(f, q);
    assert_true(c.rows < 5);
    assert_true(c.stats.blocks_skipped > 3 * c.stats.blocks);

    struct budget budget;
    budget_init(&budget, "query memory", 96 * MIB, NULL);
    q = all_rows(true);
    q.budget = &budget;
    for (int i = 0; i < 2; i++) { // alone and with helpers
        assert_int_equal(count_rows(f, q).rows, lines);
        assert_int_equal(budget_used(&budget), 0);
    }
    budget_init(&budget, "query memory", 32 * MIB, NULL); // too little for helpers
    for (int i = 0; i < 2; i++) {
        c = count_rows(f, q);
        assert_int_equal(c.rows, lines);
        assert_int_equal(c.stats.lines, lines); // no block is decoded twice
        assert_int_equal(budget_used(&budget), 0);
    }
    budget_init(&budget, "query memory", 256 * KIB, NULL);
    assert_int_equal(count_rows(f, q).rows, SIZE_MAX);
    assert_int_equal(f->err.code, ERR_LIMIT);
    assert_true(str_find(str_c(f->err.text), STR("query memory")) != SIZE_MAX);
    assert_int_equal(budget_used(&budget), 0);
    check_files(f);
}

/* Two days between any two lines: each is a block, and there are several groups of them, whose
 * tables of ids leave searches hardly any other. */
static void test_groups(void **state)
{
    enum { LINES = 150 };
    struct fixture *f = *state;
    struct prng rng;
    str ids[LINES];
    prng_init(&rng, 3);
    for (int i = 0; i < LINES; i++) {
        struct label *id = arena_array(&f->a, struct label, 1);
        ids[i] = arena_fmt(&f->a, "%016llx%016llx", (unsigned long long)prng_next(&rng),
                           (unsigned long long)prng_next(&rng));
        *id = (struct label){STR("trace_id"), ids[i]};
        put_meta(f, (uint32_t)i % 12, T0 + (int64_t)i * 48 * 3600 * NS_PER_S,
                 arena_fmt(&f->a, "request %d of %d", i, LINES), (struct labels){id, 1});
    }
    flush(f);
    maintain(f);
    check_files(f);
    for (int i = 0; i < LINES; i++) {
        struct query q = all_rows(i % 2);
        struct label pair = {STR("trace_id"), ids[i]};
        q.sel.must_meta = &pair;
        q.sel.n_must_meta = 1;
        assert_int_equal(check_query(f, q), 1);
        struct counted c = count_rows(f, q);
        assert_int_equal(c.rows, 1);
        assert_int_equal(c.stats.blocks + c.stats.blocks_skipped, LINES);
        assert_in_range(c.stats.blocks, 1, 4);
    }
    check_life(f);
}

/* Many blocks, each of all streams, and less memory than all of them take decoded: streams take
 * turns with the blocks of a step, so a step that is too long decodes each block once a stream. */
static void test_turns(void **state)
{
    enum { BLOCKS = 16, LINES = 60 };
    struct fixture *f = *state;
    for (int day = 0; day < BLOCKS; day++) {
        for (int i = 0; i < LINES * (int)f->n_streams; i++) {
            str line = arena_fmt(&f->batch_arena, "day %d, %d: %0*d needle", day, i, 400, i);
            struct batch_log log = {.stream = (uint32_t)i % (uint32_t)f->n_streams,
                                    .t_ns = T0 + ((int64_t)day * 48 * 3600 + i) * NS_PER_S,
                                    .line = line};
            vec_push(&f->batch.logs, &f->batch_arena, log);
            f->batch.raw_bytes += line.n;
        }
        flush(f);
    }
    maintain(f);
    static const str needle[] = {STR_INIT("needle")};
    for (int i = 0; i < 4; i++) { // both ways, alone and with helpers
        struct budget budget;
        struct query q = all_rows(i % 2);
        budget_init(&budget, "query memory", 8 * MIB, NULL);
        q.budget = &budget;
        q.sel.must = needle;
        q.sel.n_must = 1;
        struct counted c = count_rows(f, q);
        assert_int_equal(c.rows, BLOCKS * LINES * f->n_streams);
        assert_in_range(c.stats.blocks, BLOCKS, BLOCKS + BLOCKS / 4); // decoded about once
    }
}

struct kept {
    size_t rows;
    uint64_t sum; // of hashes, whatever the order
};

/* All rows (limit 0), or the nearest `limit` ones as a log query finds them. */
static struct kept read_kept(struct fixture *f, struct query q, int64_t until)
{
    struct snapshot *snap;
    struct log_iter *it;
    struct log_block b;
    enum step step;
    struct kept k = {0};
    int64_t bound = q.sel.backward ? INT64_MAX : INT64_MIN;
    assert_true(snapshot_open(f->s, f->t, SIGNAL_LOGS,
                              (struct time_range){q.sel.start_ns, q.sel.end_ns}, &snap, &f->err));
    assert_true(log_iter_open(snap, &q.sel, q.budget, &it, &f->err));
    while ((step = log_next(it, &b, &f->err)) == STEP_ITEM) {
        check_bound(&q, &b, bound);
        bound = b.bound_ns;
        for (size_t i = 0; i < b.n; i++) {
            if (q.limit && (q.sel.backward ? b.t_ns[i] < until : b.t_ns[i] > until))
                continue;
            k.rows++;
            k.sum += hash64(b.line[i]) ^ (b.stream_hash + (uint64_t)b.t_ns[i]);
        }
        if (q.limit)
            log_iter_until(it, until);
    }
    k.rows = step == STEP_END ? k.rows : SIZE_MAX;
    log_iter_close(it);
    snapshot_close(snap);
    return k;
}

/* Two segments over the same hours, and memory for less than a block of each. */
static void test_tight(void **state)
{
    struct fixture *f = *state;
    const size_t lines = 120000;
    f->o.head_bytes[SIGNAL_LOGS] = GIB;
    f->o.head_age_ns[SIGNAL_LOGS] = INT64_MAX / 4;
    reopen(f);
    for (size_t half = 0; half < 2; half++) {
        fill_every(f, lines, half, 2);
        maintain(f);
    }
    for (int i = 0; i < 4; i++) {
        struct query q = all_rows(i % 2);
        q.limit = i < 2 ? 0 : 1000;
        int64_t row = (int64_t)(q.sel.backward ? lines - q.limit : q.limit - 1);
        int64_t until = T0 + row * NS_PER_MS;
        struct kept all = read_kept(f, q, until);
        assert_int_equal(all.rows, q.limit ? q.limit : lines);
        for (size_t mib = 5; mib <= 14; mib += 3) {
            struct budget budget;
            budget_init(&budget, "query memory", mib * MIB, NULL);
            q.budget = &budget;
            struct kept k = read_kept(f, q, until);
            if (k.rows == SIZE_MAX)
                fail_msg("%zu MiB: %s", mib, f->err.text);
            assert_int_equal(k.rows, all.rows);
            assert_int_equal(k.sum, all.sum);
            assert_true(atomic_load(&budget.peak) <= (mib + 5) * MIB); // one chunk too much
            assert_int_equal(budget_used(&budget), 0);
        }
    }
}

static void test_random_life(void **state)
{
    struct fixture *f = *state;
    struct prng rng;
    prng_init(&rng, 2026);
    for (int round = 0; round < 30; round++) {
        size_t n = prng_below(&rng, 60);
        int64_t base = T0 + (int64_t)prng_below(&rng, 10) * 600 * NS_PER_S;
        for (size_t i = 0; i < n; i++) {
            if (f->recs.n > 0 && prng_below(&rng, 4) == 0) { // something old again
                struct rec r = f->recs.v[prng_below(&rng, f->recs.n)];
                put_meta(f, r.stream, r.t_ns, r.line, r.meta);
            } else {
                put(f, (uint32_t)prng_below(&rng, 12),
                    base + (int64_t)prng_below(&rng, 20) * NS_PER_S,
                    arena_fmt(&f->a, "line %u", (unsigned)prng_below(&rng, 50)));
            }
        }
        flush(f);
        uint64_t what = prng_below(&rng, 6);
        if (what == 0)
            maintain(f);
        else if (what == 1)
            reopen(f);
        else if (what == 2)
            clock_manual_advance(&f->clock, 7200 * NS_PER_S);
        (void)check_query(f, all_rows(round % 2));
        struct query q = all_rows(round % 2);
        q.sel.want_line = q.sel.want_meta = false;
        (void)check_query(f, q);
    }
    check_life(f);
    check_files(f);
}

/* ---- memory that others have ---- */

struct others {
    struct budget *budget;
    size_t bytes;
};

static void *give_soon(void *arg)
{
    struct others *o = arg;
    const struct timespec pause = {.tv_nsec = 100 * NS_PER_MS};
    (void)nanosleep(&pause, NULL);
    budget_give(o->budget, o->bytes);
    return NULL;
}

/* A query that has little waits for what others are about to give back; one that has much, or whom
 * its own limit stops, does not. */
static void test_others(void **state)
{
    struct fixture *f = *state;
    struct budget all, own;
    pthread_t thread;
    struct query q = all_rows(true);
    fill_big(f, 20000);
    maintain(f);
    q.budget = &own;
    budget_init(&all, "all", 64 * MIB, NULL);
    for (int i = 0; i < 2; i++) {
        budget_init(&own, "own", 16 * MIB, &all);
        struct others o = {&all, 64 * MIB - 10 * KIB};
        budget_force(&all, o.bytes);
        assert_int_equal(pthread_create(&thread, NULL, give_soon, &o), 0);
        assert_int_equal(count_rows(f, q).rows, 20000);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(budget_used(&all), 0);
        q.sel.want_line = q.sel.want_meta = false;
    }
    q = all_rows(true);
    q.budget = &own;
    budget_init(&own, "own", 16 * MIB, &all);
    budget_force(&own, 15 * MIB); // its own
    assert_int_equal(count_rows(f, q).rows, SIZE_MAX);
    assert_int_equal(f->err.code, ERR_LIMIT);
    f->err = ERR_OK;
    budget_give(&own, 15 * MIB);
}

/* Somebody finds no memory, though the store has less than what seals by itself. */
static void test_make_room(void **state)
{
    struct fixture *f = *state;
    struct budget budget;
    struct store_stats st;
    budget_init(&budget, "store memory", 64 * MIB, NULL);
    f->o.budget = &budget;
    f->o.head_bytes[SIGNAL_LOGS] = GIB;
    reopen(f);
    fill_big(f, 50000);
    size_t before = budget_used(&budget);
    assert_true(before < 48 * MIB && before > MIB);
    assert_true(store_maintain(f->s, false, &f->err));
    store_stats(f->s, &st);
    assert_int_equal(st.signal[SIGNAL_LOGS].sealed, 0);
    store_make_room(f->s);
    assert_true(store_maintain(f->s, false, &f->err)); // a turn, and the seal
    assert_true(store_maintain(f->s, false, &f->err));
    store_stats(f->s, &st);
    assert_true(st.signal[SIGNAL_LOGS].sealed > 0);
    assert_true(budget_used(&budget) < before / 2);
    assert_int_equal(count_rows(f, all_rows(true)).rows, 50000);
    store_make_room(f->s); // nothing is left to seal
    assert_true(store_maintain(f->s, false, &f->err));
    store_close(f->s);
    f->s = NULL;
    f->o.budget = NULL;
    reopen(f);
}

int main(void)
{
#define LIFE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        LIFE(test_empty),       LIFE(test_life),       LIFE(test_odd_lines),
        LIFE(test_equal_times), LIFE(test_duplicates), LIFE(test_out_of_order),
        LIFE(test_days),        LIFE(test_compaction), LIFE(test_big),
        LIFE(test_groups),      LIFE(test_turns),      LIFE(test_tight),
        LIFE(test_random_life), LIFE(test_others),     LIFE(test_make_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
