/* head_logs_test.c - what the head of logs refuses and why, what a replay brings back, names and
 * counts of open and sealed streams, and readers beside the writer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

#include "storage/base/log.h"
#include "storage/codec/log_payload.h"
#include "storage/engine/head_logs.h"
#include "storage/engine/store_internal.h"
#include "storage/model/limits.h"
#include "tests/sim/fs_sim.h"

#define T0 INT64_C(1795132800000000000) // 2026-11-20T00:00:00Z

struct fixture {
    struct fs_sim *sim;
    struct clock clock;
    struct budget budget;
    struct store_options o;
    struct store *s;
    struct store_tenant *t;
    struct err err;
    struct arena a;
    struct batch b;
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
    batch_init(&f->b, SIGNAL_LOGS, &f->a);
}

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof *f);
    f->sim = fs_sim_open(3);
    clock_manual_init(&f->clock, T0);
    budget_init(&f->budget, "heads", GIB, NULL);
    store_options_default(&f->o);
    f->o.fs = fs_sim_fs(f->sim);
    f->o.clock = &f->clock;
    f->o.dir = STR("data");
    f->o.budget = &f->budget;
    f->o.free_bytes_min = 0;
    f->o.no_background = true;
    log_set_level(LOG_LEVEL_NONE);
    arena_init(&f->a, SIZE_MAX, NULL);
    reopen(f);
    new_batch(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    store_close(f->s);
    assert_int_equal(budget_used(&f->budget), 0); // heads gave everything back
    fs_sim_close(f->sim);
    arena_deinit(&f->a);
    mem_free(f);
    return 0;
}

static uint32_t stream(struct fixture *f, const char *app)
{
    struct label *v = arena_array(&f->a, struct label, 1);
    v[0] = (struct label){STR("app"), arena_dup(&f->a, str_c(app))};
    vec_push(&f->b.streams, &f->a, (struct batch_stream){{v, 1}});
    return (uint32_t)f->b.streams.n - 1;
}

static void put(struct fixture *f, uint32_t id, int64_t t_ns, const char *line)
{
    vec_push(&f->b.logs, &f->a,
             (struct batch_log){.stream = id, .t_ns = t_ns, .line = arena_dup(&f->a, str_c(line))});
}

static void flush(struct fixture *f)
{
    memset(&f->res, 0, sizeof f->res);
    if (!store_write(f->s, f->t, &f->b, &f->res, &f->err))
        fail_msg("%s", f->err.text);
    new_batch(f);
}

static size_t count_rows(struct fixture *f)
{
    struct snapshot *snap;
    struct log_iter *it;
    struct log_block b;
    struct log_select sel = {.start_ns = INT64_MIN, .end_ns = INT64_MAX, .want_line = true};
    struct err err = ERR_OK;
    size_t n = 0;
    assert_true(snapshot_open(f->s, f->t, SIGNAL_LOGS, (struct time_range){INT64_MIN, INT64_MAX},
                              &snap, &err));
    assert_true(log_iter_open(snap, &sel, NULL, &it, &err));
    while (log_next(it, &b, &err) == STEP_ITEM)
        n += b.n;
    log_iter_close(it);
    snapshot_close(snap);
    return n;
}

static void test_window(void **state)
{
    struct fixture *f = *state;
    f->o.window_past_ns = 3600 * NS_PER_S;
    f->o.window_future_ns = 60 * NS_PER_S;
    reopen(f);
    uint32_t a = stream(f, "a");
    put(f, a, T0, "now");
    put(f, a, T0 - 3600 * NS_PER_S, "just in time");
    put(f, a, T0 - 3601 * NS_PER_S, "too old");
    put(f, a, T0 + 60 * NS_PER_S, "just not yet");
    put(f, a, T0 + 61 * NS_PER_S, "too new");
    flush(f);
    assert_int_equal(f->res.accepted, 3);
    assert_int_equal(f->res.rejected, 2);
    assert_string_equal(
        f->res.reason, "entry for stream '{app=\"a\"}' has timestamp too old: 2026-11-19T22:59:59Z,"
                       " oldest acceptable timestamp is: 2026-11-19T23:00:00Z");
    assert_int_equal(count_rows(f), 3);
    put(f, stream(f, "a"), T0 + 61 * NS_PER_S, "too new");
    flush(f);
    assert_int_equal(f->res.accepted, 0);
    assert_string_equal(
        f->res.reason,
        "entry for stream '{app=\"a\"}' has timestamp too new: 2026-11-20T00:01:01Z");
    clock_manual_advance(&f->clock, 7200 * NS_PER_S); // a replay knows no window
    reopen(f);
    assert_int_equal(count_rows(f), 3);
}

static void test_times_without_window(void **state)
{
    struct fixture *f = *state;
    f->o.window_past_ns = f->o.window_future_ns = 0;
    reopen(f);
    uint32_t a = stream(f, "a");
    static const int64_t times[] = {0, 1, -1, T0, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < COUNTOF(times); i++)
        put(f, a, times[i], "line");
    flush(f);
    assert_int_equal(f->res.accepted, 4);
    assert_int_equal(f->res.rejected, 2);
    assert_true(store_maintain(f->s, true, &f->err));
    assert_int_equal(count_rows(f), 4);
}

static void test_stream_limit(void **state)
{
    struct fixture *f = *state;
    f->o.max_streams = 2;
    reopen(f);
    uint32_t a = stream(f, "a"), b = stream(f, "b"), c = stream(f, "c");
    for (int i = 0; i < 3; i++) {
        put(f, a, T0 + i, "line a");
        put(f, b, T0 + i, "line b");
        put(f, c, T0 + i, "line c");
    }
    flush(f);
    assert_int_equal(f->res.accepted, 6);
    assert_int_equal(f->res.rejected, 3);
    assert_string_equal(f->res.reason,
                        "maximum active stream limit exceeded when trying to create stream "
                        "{app=\"c\"}, reduce the number of active streams (reduce labels or reduce "
                        "label values), user: 'default'");
    put(f, stream(f, "b"), T0 + 9, "known streams go on");
    flush(f);
    assert_int_equal(f->res.accepted, 1);
    reopen(f);
    assert_int_equal(count_rows(f), 7);
    // streams that went quiet make room, once their rows are sealed
    assert_true(store_maintain(f->s, true, &f->err));
    clock_manual_advance(&f->clock, 2 * 3600 * NS_PER_S);
    put(f, stream(f, "b"), T0 + 3 * 3600 * NS_PER_S - 3600 * NS_PER_S, "b lives on");
    flush(f);
    assert_true(store_maintain(f->s, true, &f->err));
    put(f, stream(f, "d"), T0 + 2 * 3600 * NS_PER_S, "room for one more");
    flush(f);
    if (f->res.accepted == 0) { // expiry runs with the next turn of the writer
        put(f, stream(f, "d"), T0 + 2 * 3600 * NS_PER_S, "room for one more");
        flush(f);
    }
    assert_int_equal(f->res.accepted, 1);
    assert_int_equal(count_rows(f), 9);
}

static void test_empty_batches(void **state)
{
    struct fixture *f = *state;
    flush(f);
    assert_int_equal(f->res.accepted, 0);
    (void)stream(f, "never written to");
    flush(f);
    put(f, stream(f, "a"), T0 - 999 * 3600 * NS_PER_S, "old");
    flush(f);
    assert_int_equal(f->res.rejected, 1);
    struct store_stats st;
    store_stats(f->s, &st);
    assert_int_equal(st.signal[SIGNAL_LOGS].series, 0);
    assert_int_equal(count_rows(f), 0);
}

static void test_payload(void **state)
{
    struct fixture *f = *state;
    struct label *meta = arena_array(&f->a, struct label, 2);
    meta[0] = (struct label){STR("span_id"), STR("0123456789abcdef")};
    meta[1] = (struct label){STR("x"), STR("\0\377")};
    uint32_t s[3] = {stream(f, "a"), stream(f, "b"), stream(f, "\377c")};
    for (int i = 0; i < 3000; i++) {
        put(f, s[i * 7 % 3], i % 5 ? T0 + i : INT64_MIN + i, i % 4 ? "some line \t of text" : "");
        vec_last(&f->b.logs)->meta = (struct labels){meta + i % 2, (size_t)(i % 3)};
        if (i % 3 == 2 && i % 2)
            vec_last(&f->b.logs)->meta.n = 1;
        if (i > 1500) { // runs of the same names, with one value that changes
            struct label *own = arena_array(&f->a, struct label, 9);
            for (unsigned k = 0; k < 9; k++)
                own[k] =
                    (struct label){arena_fmt(&f->a, "name%u", k),
                                   k == (unsigned)i / 200 % 9 ? arena_fmt(&f->a, "value %d", i / 3)
                                                              : STR("a value of many rows")};
            vec_last(&f->b.logs)->meta = (struct labels){own, 9};
        }
    }
    struct buf out;
    buf_init(&out, 64 * MIB);
    assert_true(log_payload_write(&f->b, &out, &f->err));
    struct batch back;
    batch_init(&back, SIGNAL_LOGS, &f->a);
    if (!log_payload_read(buf_str(&out), &back, &f->err))
        fail_msg("%s", f->err.text);
    assert_int_equal(back.streams.n, 3);
    assert_int_equal(back.logs.n, f->b.logs.n);
    for (size_t i = 0; i < back.logs.n; i++) {
        const struct batch_log *x = &f->b.logs.v[i], *y = &back.logs.v[i];
        assert_int_equal(x->t_ns, y->t_ns);
        assert_true(str_eq(x->line, y->line) && labels_eq(x->meta, y->meta) &&
                    labels_eq(f->b.streams.v[x->stream].labels, back.streams.v[y->stream].labels));
    }
    for (size_t n = 0; n < out.n; n += 97) {
        struct batch bad;
        batch_init(&bad, SIGNAL_LOGS, &f->a);
        assert_false(log_payload_read((str){out.p, n}, &bad, &f->err));
        assert_int_equal(f->err.code, ERR_CORRUPT);
    }
    buf_deinit(&out);
    new_batch(f);
}

/* A line of shape i % 3, with numbers and ids; `id` is in some of them. */
static str parted_line(struct fixture *f, unsigned i, str *id)
{
    *id = arena_fmt(&f->a, "%08x%08x%016x", i * 2654435761U, i, i / 7);
    if (i % 3 == 0)
        return arena_fmt(&f->a, "level=info took %u.%03ums trace=" STR_FMT " from 10.0.0.%u:%u", i,
                         i % 1000, STR_ARG(*id), i % 256, 1000 + i);
    if (i % 3 == 1)
        return arena_fmt(&f->a, "pod-%x%ux%u is ready \x01 at %02u:%02u", i, i, i, i % 24, i % 60);
    return arena_fmt(&f->a, "0x%08x and %u, nothing else", 0xA0000000U + i, i);
}

/* Every row of every stream as it was put. */
static void check_parted(struct fixture *f, unsigned n)
{
    struct snapshot *snap;
    struct log_iter *it;
    struct log_block b;
    struct log_select sel = {
        .start_ns = INT64_MIN, .end_ns = INT64_MAX, .want_line = true, .want_meta = true};
    unsigned seen = 0;
    assert_true(snapshot_open(f->s, f->t, SIGNAL_LOGS, (struct time_range){INT64_MIN, INT64_MAX},
                              &snap, &f->err));
    assert_true(log_iter_open(snap, &sel, NULL, &it, &f->err));
    while (log_next(it, &b, &f->err) == STEP_ITEM) {
        for (size_t k = 0; k < b.n; k++, seen++) {
            str id;
            str line = parted_line(f, (unsigned)(b.t_ns[k] - T0), &id);
            assert_true(str_eq(line, b.line[k]));
            assert_true(str_eq(labels_get(b.meta[k], STR("trace_id")), id));
        }
    }
    log_iter_close(it);
    snapshot_close(snap);
    assert_int_equal(seen, n);
}

/* Lines that the log takes apart: from the head, from the log, sealed, merged; some refused. */
static void test_parted(void **state)
{
    struct fixture *f = *state;
    f->o.window_past_ns = 3600 * NS_PER_S;
    reopen(f);
    for (unsigned i = 0; i < 4000; i++) {
        if (i % 1000 == 0 && i > 0) {
            if (i == 2000)
                put(f, stream(f, "old"), T0 - 7200 * NS_PER_S, "an old one: all is made again");
            flush(f);
        }
        if (f->b.streams.n == 0) {
            (void)stream(f, "a");
            (void)stream(f, "b");
        }
        struct label *meta = arena_array(&f->a, struct label, 2);
        meta[0] = (struct label){STR("span_id"), arena_fmt(&f->a, "%016x", i)};
        meta[1].name = STR("trace_id");
        str line = parted_line(f, i, &meta[1].value);
        vec_push(&f->b.logs, &f->a, (struct batch_log){i % 2, T0 + i, line, {meta, 2}, NULL});
    }
    struct buf out;
    struct batch back;
    buf_init(&out, 64 * MIB);
    assert_true(log_payload_write(&f->b, &out, &f->err));
    assert_non_null(f->b.parted);
    for (size_t n = 0; n < out.n; n += 97) {
        batch_init(&back, SIGNAL_LOGS, &f->a);
        assert_false(log_payload_read((str){out.p, n}, &back, &f->err));
        assert_int_equal(f->err.code, ERR_CORRUPT);
    }
    buf_deinit(&out);
    flush(f);
    check_parted(f, 4000);
    reopen(f); // from the log
    check_parted(f, 4000);
    assert_true(store_maintain(f->s, true, &f->err));
    check_parted(f, 4000);
}

/* n lines in one batch, `same_time` of each time. */
static void put_counted(struct fixture *f, unsigned first, unsigned n, unsigned same_time)
{
    uint32_t id = stream(f, "a");
    for (unsigned i = first; i < first + n; i++)
        put(f, id, T0 + i / same_time,
            arena_fmt(&f->a, "GET /item/%u took %u.%03u ms id=%08xa0 of worker-%u", i, i % 900,
                      i % 1000, i, i % 7)
                .p);
    flush(f);
}

/* The same lines taken apart and as they are (in small batches) are the same lines. */
static void test_repeats(void **state)
{
    struct fixture *f = *state;
    for (unsigned same_time = 1; same_time <= 40; same_time += 13) {
        size_t before = count_rows(f);
        unsigned first = same_time * 100000;
        for (unsigned k = 0; k < 2; k++) {
            put_counted(f, first, 280, same_time);
            assert_int_equal(count_rows(f), before + 280 + 5 * k);
            put_counted(f, first + 80, 10, same_time);
            put_counted(f, first + 275, 10, same_time);
            assert_int_equal(count_rows(f), before + 285);
        }
    }
    size_t n = count_rows(f);
    assert_true(store_maintain(f->s, true, &f->err));
    assert_int_equal(count_rows(f), n);
}

/* A few lines with shapes that pay in the log but not in a block: it has the lines as text. */
static void test_plain_block(void **state)
{
    struct fixture *f = *state;
    uint32_t id = stream(f, "a");
    for (unsigned i = 0; i < 60; i++)
        put(f, id, T0 + i,
            arena_fmt(&f->a, "step %u of a longer text that %s the same words, kind %c", i,
                      i % 3 ? "has" : "needs", 'a' + (int)(i % 20))
                .p);
    flush(f);
    assert_int_equal(count_rows(f), 60);
    assert_true(store_maintain(f->s, true, &f->err));
    assert_int_equal(count_rows(f), 60);
    reopen(f);
    assert_int_equal(count_rows(f), 60);
}

/* ---- names and counts ---- */

struct volume_sum {
    uint64_t *bytes;
    size_t n;
};

static bool add_volume(void *ctx, struct labels stream, const uint64_t *bytes, struct err *err)
{
    const struct volume_sum *sum = ctx;
    (void)err;
    assert_int_equal(stream.n, 1);
    for (size_t i = 0; i < sum->n; i++)
        sum->bytes[i] += bytes[i];
    return true;
}

static bool volumes(struct fixture *f, struct snapshot *snap, const struct name_select *sel,
                    int64_t step_ns, size_t n, int64_t lead_ns, uint64_t *bytes)
{
    struct volume_steps steps = {step_ns, n, lead_ns};
    struct volume_sum sum = {bytes, n};
    return store_stream_volumes(snap, sel, steps, add_volume, &sum, &f->err);
}

static void check_names(struct fixture *f, size_t rows, int gen)
{
    struct snapshot *snap;
    struct strs out;
    struct labels_list sets;
    struct index_stats st;
    bool cut;
    struct name_select sel = {.start_ns = INT64_MIN, .end_ns = INT64_MAX};
    assert_true(snapshot_open(f->s, f->t, SIGNAL_LOGS, (struct time_range){INT64_MIN, INT64_MAX},
                              &snap, &f->err));
    assert_true(store_label_names(snap, &sel, &f->a, &out, &cut, &f->err));
    assert_int_equal(out.n, 1);
    assert_true(str_is(out.v[0], "app"));
    assert_true(store_label_values(snap, STR("app"), &sel, &f->a, &out, &cut, &f->err));
    assert_int_equal(out.n, 3);
    assert_true(store_label_sets(snap, &sel, &f->a, &sets, &cut, &f->err));
    assert_int_equal(sets.n, 3);
    assert_true(store_index_stats(snap, &sel, &st, &f->err));
    assert_int_equal(st.series, 3);
    assert_int_equal(st.samples, rows);
    assert_int_equal(st.bytes, rows * 10);
    assert_true(st.chunks >= 3);
    assert_int_equal(st.min_ms, T0 / NS_PER_MS);
    uint64_t bytes[2] = {0};
    assert_true(volumes(f, snap, &sel, INT64_MAX, 2, 0, bytes));
    assert_int_equal(bytes[0], 0); // before 1970
    assert_int_equal(bytes[1], rows * 10);
    // steps times streams: refused before any memory is taken
    assert_false(volumes(f, snap, &sel, 1, SIZE_MAX / 8, 0, bytes));
    assert_int_equal(f->err.code, ERR_LIMIT);
    f->err = ERR_OK;
    sel.start_ns = T0;
    sel.end_ns = T0 + 1000 * NS_PER_S;
    memset(bytes, 0, sizeof bytes);
    assert_true(volumes(f, snap, &sel, 10 * NS_PER_S, 2, 0, bytes));
    assert_in_range(bytes[0] + bytes[1], 1, rows * 10);
    // a first step of 1 s: the rest of what two of 10 s have is in the second
    uint64_t led[2] = {0};
    sel.end_ns = T0 + 11 * NS_PER_S - 1;
    memset(bytes, 0, sizeof bytes);
    assert_true(volumes(f, snap, &sel, 11 * NS_PER_S, 2, 0, bytes));
    assert_true(volumes(f, snap, &sel, 10 * NS_PER_S, 2, 9 * NS_PER_S, led));
    assert_true(led[0] <= led[1]);
    assert_int_equal(led[0] + led[1], bytes[0]);
    sel.start_ns = INT64_MIN;
    sel.end_ns = INT64_MAX;
    struct matcher m;
    assert_true(matcher_init(&m, MATCH_RE, STR("app"), STR("one|two"), &f->err));
    sel.matchers = (struct matchers){&m, 1};
    sel.start_ns = T0 + (gen * 100 + 10) * NS_PER_S;
    assert_true(store_label_sets(snap, &sel, &f->a, &sets, &cut, &f->err));
    assert_true(sets.n >= 1 && sets.n <= 2); // "two" may end before; a shared block hides it
    assert_true(str_is(sets.v[0].v[0].value, "one"));
    assert_true(store_index_stats(snap, &sel, &st, &f->err));
    assert_true(st.samples > 0 && st.samples < rows);
    matcher_deinit(&m);
    snapshot_close(snap);
}

static void test_names(void **state)
{
    struct fixture *f = *state;
    size_t rows = 0;
    for (int gen = 0; gen < 3; gen++) {
        uint32_t one = stream(f, "one"), two = stream(f, "two"), three = stream(f, "three");
        for (int i = 0; i < 50; i++, rows += 2) {
            put(f, one, T0 + (gen * 100 + i) * NS_PER_S, "ten bytes.");
            put(f, i % 2 ? two : three, T0 + i * NS_PER_S + gen, "ten bytes.");
        }
        clock_manual_advance(&f->clock, 100 * NS_PER_S);
        flush(f);
        check_names(f, rows, gen);
        if (gen < 2)
            assert_true(store_maintain(f->s, true, &f->err));
        check_names(f, rows, gen);
    }
}

/* ---- readers beside the writer ---- */

struct reader {
    struct fixture *f;
    pthread_t thread;
    atomic_bool *stop;
    size_t last;
    bool shrank;
};

static void *read_on(void *arg)
{
    struct reader *r = arg;
    while (!atomic_load(r->stop)) {
        size_t n = count_rows(r->f);
        r->shrank |= n < r->last;
        r->last = n;
    }
    return NULL;
}

static void test_readers(void **state)
{
    struct fixture *f = *state;
    struct reader readers[3];
    atomic_bool stop = false;
    for (size_t i = 0; i < COUNTOF(readers); i++) {
        readers[i] = (struct reader){.f = f, .stop = &stop};
        assert_int_equal(pthread_create(&readers[i].thread, NULL, read_on, &readers[i]), 0);
    }
    for (int i = 0; i < 60; i++) {
        uint32_t a = stream(f, "a"), b = stream(f, "b");
        for (int k = 0; k < 40; k++)
            put(f, k % 3 ? a : b, T0 + (k * 37 % 40) * NS_PER_S + i, "line");
        flush(f);
        if (i % 20 == 19)
            assert_true(store_maintain(f->s, true, &f->err));
    }
    atomic_store(&stop, true);
    for (size_t i = 0; i < COUNTOF(readers); i++) {
        assert_int_equal(pthread_join(readers[i].thread, NULL), 0);
        assert_false(readers[i].shrank);
    }
    assert_int_equal(count_rows(f), 60 * 40);
}

/* ---- the order of arrival ---- */

struct seen {
    struct fixture *f;
    struct buf lines; // "app/line " each
};

static bool see(void *ctx, const struct log_block *b, struct err *err)
{
    struct seen *s = ctx;
    (void)err;
    for (size_t i = 0; i < b->n; i++) {
        assert_true(i == 0 || b->t_ns[i - 1] <= b->t_ns[i]);
        buf_add(&s->lines, b->stream.v[0].value);
        buf_add_char(&s->lines, '/');
        buf_add(&s->lines, b->line[i]);
        if (b->meta[i].n > 0)
            buf_fmt(&s->lines, "{" STR_FMT "}", STR_ARG(b->meta[i].v[0].value));
        buf_add_char(&s->lines, ' ');
    }
    return true;
}

/* Reads up to `last` and compares. */
static bool expect_lines(struct fixture *f, struct log_tail *t, uint64_t last, struct matchers m,
                         const char *want)
{
    struct seen s = {.f = f};
    bool missed;
    buf_init(&s.lines, 1 * MIB);
    assert_true(log_tail_read(t, last, m, NULL, see, &s, &missed, &f->err));
    assert_int_equal(log_tail_place(t), last);
    if (!str_eq(buf_str(&s.lines), str_c(want)))
        fail_msg("wanted \"%s\", got \"%.*s\"", want, (int)s.lines.n, s.lines.p);
    buf_deinit(&s.lines);
    return missed;
}

static void test_tail(void **state)
{
    struct fixture *f = *state;
    struct log_tail *t, *all;
    const struct matchers any = {0};
    uint32_t a = stream(f, "a");
    put(f, a, T0, "before");
    flush(f);
    assert_true(log_tail_open(f->s, f->t, false, 2, &t, &f->err));
    assert_true(log_tail_open(f->s, f->t, true, 2, &all, &f->err));
    struct log_tail *third;
    assert_false(log_tail_open(f->s, f->t, false, 2, &third, &f->err));
    assert_string_equal(f->err.text,
                        "max concurrent tail requests limit exceeded, count > limit (3 > 2)");
    assert_false(expect_lines(f, t, log_tail_arrived(t), any, ""));

    // late, equal and repeated records, two streams, metadata
    struct label meta = {STR("trace_id"), STR("t7")};
    a = stream(f, "a");
    uint32_t b = stream(f, "b");
    put(f, a, T0 + 2, "two");
    put(f, a, T0 - 1, "late");
    put(f, b, T0, "x");
    vec_last(&f->b.logs)->meta = (struct labels){&meta, 1};
    put(f, a, T0 + 2, "two");
    flush(f);
    a = stream(f, "a");
    put(f, a, T0 - 2, "later");
    flush(f);
    // in two steps, the second one behind a seal
    expect_lines(f, t, log_tail_arrived(t) - 1, any, "a/late a/two b/x{t7} ");
    assert_true(store_maintain(f->s, true, &f->err));
    a = stream(f, "a");
    put(f, a, T0 + 3, "sealed, too");
    flush(f);
    assert_true(store_maintain(f->s, true, &f->err));
    b = stream(f, "b");
    put(f, b, T0 + 4, "y");
    flush(f);
    assert_false(expect_lines(f, t, log_tail_arrived(t), any, "a/later a/sealed, too b/y "));
    assert_false(expect_lines(f, t, log_tail_arrived(t), any, ""));
    assert_int_equal(count_rows(f), 7);

    // the other one has not read yet, and wants stream a only
    struct matcher is_a = {.op = MATCH_EQ, .name = STR("app"), .value = STR("a")};
    assert_false(expect_lines(f, all, log_tail_arrived(all), (struct matchers){&is_a, 1},
                              "a/later a/late a/before a/two a/sealed, too "));
    log_tail_close(all);
    log_tail_close(t);
}

/* A tail that nobody reads does not keep the memory of all that arrives. */
static void test_tail_unread(void **state)
{
    struct fixture *f = *state;
    struct log_tail *t;
    assert_true(log_tail_open(f->s, f->t, false, 10, &t, &f->err));
    for (int i = 0; i <= LIMIT_TAIL_PINS; i++) {
        uint32_t a = stream(f, "a");
        put(f, a, T0 + i, i == 0 ? "gone" : "kept");
        flush(f);
        assert_true(store_maintain(f->s, true, &f->err));
    }
    assert_true(
        expect_lines(f, t, log_tail_arrived(t), (struct matchers){0}, "a/kept a/kept a/kept "));
    assert_false(expect_lines(f, t, log_tail_arrived(t), (struct matchers){0}, ""));
    log_tail_close(t);
}

int main(void)
{
#define LIFE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        LIFE(test_window),       LIFE(test_times_without_window),
        LIFE(test_stream_limit), LIFE(test_empty_batches),
        LIFE(test_payload),      LIFE(test_parted),
        LIFE(test_repeats),      LIFE(test_plain_block),
        LIFE(test_names),        LIFE(test_readers),
        LIFE(test_tail),         LIFE(test_tail_unread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
