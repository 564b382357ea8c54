/* deletions_test.c - what is deleted is hidden at once and for good, what comes later is not; bytes
 * go when it is due. Seeded lives of a store with writes, deletions, cancels, seals, merges,
 * restarts and crashes are compared with a list of records. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "storage/base/log.h"
#include "storage/base/prng.h"
#include "storage/base/vec.h"
#include "storage/engine/deletions.h"
#include "tests/sim/fs_sim.h"

#define T0    INT64_C(1795132800000000000) // 2026-11-20T00:00:00Z
#define T0_MS (T0 / NS_PER_MS)
#define HOUR  (3600 * NS_PER_S)
#define DAY   (24 * HOUR)
#define ALL   ((struct time_range){INT64_MIN, INT64_MAX})

enum { APPS = 3, KINDS = 4, RECORDS_MAX = 4000, DELETIONS_MAX = 400 };

struct record {
    int64_t t_ms;
    unsigned app, kind;
};
struct wish { // what the model knows of a deletion
    enum signal signal;
    unsigned app; // APPS: all but the first, by a regex
    int64_t t0_ms, t1_ms;
    int kind;      // logs: of this one only, negative: of all others, KINDS: no filter
    size_t before; // records that it concerns
    int64_t due_ns;
    uint32_t id;
    bool is_active;
};

struct fixture {
    struct fs_sim *sim;
    struct clock clock;
    struct store_options o;
    struct store *s;
    struct store_tenant *t;
    struct arena arena;
    struct err err;
    struct record records[RECORDS_MAX];
    size_t n;
    struct wish wishes[DELETIONS_MAX];
    size_t n_wishes;
};

static void up(struct fixture *f)
{
    if (!store_open(&f->o, &f->s, &f->err))
        fail_msg("%s", f->err.text);
    assert_true(store_tenant(f->s, STORE_TENANT_DEFAULT, true, &f->t, &f->err));
}

static void reopen(struct fixture *f)
{
    store_close(f->s);
    f->s = NULL;
    up(f);
}

static void crash(struct fixture *f)
{
    // Close finds a dead disk: nothing of what it does counts.
    fs_sim_crash_at(f->sim, fs_sim_ops(f->sim));
    store_close(f->s);
    f->s = NULL;
    fs_sim_crash(f->sim);
    up(f);
}

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));
    f->sim = fs_sim_open(7);
    clock_manual_init(&f->clock, T0);
    store_options_default(&f->o);
    f->o.fs = fs_sim_fs(f->sim);
    f->o.clock = &f->clock;
    f->o.dir = STR("data");
    f->o.sync = SYNC_ALWAYS;
    f->o.free_bytes_min = 0;
    f->o.window_past_ns = f->o.window_future_ns = 0;
    memset(f->o.retention_ns, 0, sizeof f->o.retention_ns);
    f->o.no_background = true;
    arena_init(&f->arena, SIZE_MAX, NULL);
    log_set_level(LOG_LEVEL_NONE);
    up(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    store_close(f->s);
    fs_sim_close(f->sim);
    arena_deinit(&f->arena);
    mem_free(f);
    return 0;
}

static void maintain(struct fixture *f, bool force)
{
    if (!store_maintain(f->s, force, &f->err))
        fail_msg("%s", f->err.text);
}

/* ---- writing ---- */

static const char *const apps[APPS] = {"a", "b", "c"};

static void put(struct fixture *f, int64_t t_ms, unsigned app, unsigned kind)
{
    struct batch b;
    struct write_result res;
    struct label l[] = {{METRIC_NAME, STR("m")}, {STR("app"), str_c(apps[app])}};
    struct label meta = {STR("kind"), STR("k")};
    ASSERT(f->n < RECORDS_MAX);
    f->records[f->n] = (struct record){t_ms, app, kind};
    batch_init(&b, SIGNAL_METRICS, &f->arena);
    vec_push(&b.series, b.arena, (struct batch_series){.labels = {l, 2}});
    vec_push(&b.samples, b.arena, (struct batch_sample){0, t_ms, (double)f->n});
    vec_push(&b.exemplars, b.arena,
             (struct batch_exemplar){.series = 0, .t_ms = t_ms, .v = (double)f->n});
    batch_validate(&b);
    assert_true(store_write(f->s, f->t, &b, &res, &f->err) && res.accepted > 0);
    batch_init(&b, SIGNAL_LOGS, &f->arena);
    vec_push(&b.streams, b.arena, (struct batch_stream){{l + 1, 1}});
    vec_push(&b.logs, b.arena,
             (struct batch_log){.t_ns = ms_to_ns(t_ms),
                                .line = arena_fmt(b.arena, "n=%zu kind=%u", f->n, kind),
                                .meta = {&meta, 1}});
    assert_true(store_write(f->s, f->t, &b, &res, &f->err) && res.accepted == 1);
    f->n++;
}

/* ---- deleting ---- */

static bool delete (struct fixture *f, struct wish *w)
{
    struct matcher m;
    char text[32];
    struct deletion_filter filter = {w->kind < 0 ? TEXT_NRE : TEXT_HAS, {0}};
    int n = snprintf(text, sizeof text, "kind=%d", w->kind < 0 ? -w->kind : w->kind);
    filter.text = str_of(text, (size_t)n);
    bool is_all = w->app == APPS;
    assert_true(matcher_init(&m, is_all ? MATCH_RE : MATCH_EQ, STR("app"),
                             is_all ? STR("b|c") : str_c(apps[w->app]), &f->err));
    struct deletion d = {.signal = w->signal,
                         .matchers = {&m, 1},
                         .t0_ns = ms_to_ns(w->t0_ms),
                         .t1_ns = ms_to_ns(w->t1_ms),
                         .filters = &filter,
                         .n_filters = w->signal == SIGNAL_LOGS && w->kind != KINDS,
                         .note = arena_fmt(&f->arena, "wish %zu", (size_t)(w - f->wishes)),
                         .due_ns = w->due_ns};
    bool ok = store_delete(f->s, f->t, &d, &w->id, &f->err);
    matcher_deinit(&m);
    w->before = f->n;
    return ok;
}

static bool is_hit(const struct wish *w, size_t i, const struct record *r, enum signal signal)
{
    bool app = w->app == APPS ? r->app > 0 : r->app == w->app;
    bool line = signal == SIGNAL_METRICS || w->kind == KINDS ||
                (w->kind < 0 ? (int)r->kind != -w->kind : (int)r->kind == w->kind);
    return w->is_active && w->signal == signal && i < w->before && app && line &&
           r->t_ms >= w->t0_ms && r->t_ms <= w->t1_ms;
}

static bool is_alive(const struct fixture *f, size_t i, enum signal signal)
{
    for (size_t k = 0; k < f->n_wishes; k++)
        if (is_hit(&f->wishes[k], i, &f->records[i], signal))
            return false;
    return true;
}

/* ---- looking ---- */

static struct snapshot *look(struct fixture *f, enum signal signal)
{
    struct snapshot *snap;
    assert_true(snapshot_open(f->s, f->t, signal, ALL, &snap, &f->err));
    return snap;
}

static void see_logs(struct fixture *f, int64_t t0_ms, int64_t t1_ms, bool backward, bool lines,
                     uint8_t *seen)
{
    struct snapshot *snap = look(f, SIGNAL_LOGS);
    struct log_select sel = {.start_ns = ms_to_ns(t0_ms),
                             .end_ns = ms_to_ns(t1_ms) + 1,
                             .backward = backward,
                             .want_line = lines,
                             .no_len = !lines};
    struct log_iter *it;
    struct log_block b;
    enum step step;
    assert_true(log_iter_open(snap, &sel, NULL, &it, &f->err));
    while ((step = log_next(it, &b, &f->err)) == STEP_ITEM)
        for (size_t i = 0; i < b.n; i++) { // times are unique
            size_t k = 0;
            while (k < f->n && ms_to_ns(f->records[k].t_ms) != b.t_ns[i])
                k++;
            assert_true(k < f->n);
            seen[k]++;
            if (lines) {
                str want = arena_fmt(&f->arena, "n=%zu kind=%u", k, f->records[k].kind);
                assert_true(str_eq(b.line[i], want));
            }
        }
    if (step != STEP_END)
        fail_msg("%s", f->err.text);
    log_iter_close(it);
    snapshot_close(snap);
}

static void see_metrics(struct fixture *f, int64_t t0_ms, int64_t t1_ms, uint8_t *seen,
                        uint8_t *exemplars)
{
    struct snapshot *snap = look(f, SIGNAL_METRICS);
    struct series_select sel = {.start_ms = t0_ms, .end_ms = t1_ms};
    struct series_iter *it;
    struct series x;
    enum step step;
    const struct exemplar *v;
    size_t n;
    assert_true(series_iter_open(snap, &sel, NULL, &it, &f->err));
    while ((step = series_next(it, &x, &f->err)) == STEP_ITEM)
        for (size_t i = 0; i < x.n; i++) {
            size_t k = (size_t)x.v[i];
            assert_true(k < f->n && f->records[k].t_ms == x.t_ms[i]);
            seen[k]++;
        }
    if (step != STEP_END)
        fail_msg("%s", f->err.text);
    series_iter_close(it);
    if (!store_exemplars(snap, &sel, 0, &f->arena, &v, &n, &f->err))
        fail_msg("%s", f->err.text);
    for (size_t i = 0; i < n; i++)
        exemplars[(size_t)v[i].v]++;
    snapshot_close(snap);
}

/* Number of records that are not seen as the model says. */
static size_t differences(struct fixture *f, int64_t t0_ms, int64_t t1_ms)
{
    size_t n = 0;
    uint8_t *seen = arena_zalloc(&f->arena, 4 * f->n + 1);
    see_logs(f, t0_ms, t1_ms, true, true, seen);
    see_logs(f, t0_ms, t1_ms, false, false, seen + f->n);
    see_metrics(f, t0_ms, t1_ms, seen + 2 * f->n, seen + 3 * f->n);
    for (size_t i = 0; i < f->n; i++) {
        bool inside = f->records[i].t_ms >= t0_ms && f->records[i].t_ms <= t1_ms;
        bool line = inside && is_alive(f, i, SIGNAL_LOGS);
        bool sample = inside && is_alive(f, i, SIGNAL_METRICS);
        n += seen[i] != line || seen[f->n + i] != line || seen[2 * f->n + i] != sample ||
             seen[3 * f->n + i] != sample;
    }
    arena_reset(&f->arena);
    return n;
}

static void check(struct fixture *f)
{
    size_t n = differences(f, TIME_MIN_MS, TIME_MAX_MS);
    if (n > 0)
        fail_msg("%zu records are not as they should be", n);
}

static uint64_t stored(struct fixture *f, enum signal signal)
{
    struct snapshot *snap = look(f, signal);
    struct name_select sel = {.start_ns = INT64_MIN, .end_ns = INT64_MAX};
    struct index_stats st;
    assert_true(store_index_stats(snap, &sel, &st, &f->err));
    snapshot_close(snap);
    return st.samples;
}

static const struct deletion *listed(struct fixture *f, size_t *n)
{
    const struct deletion *v;
    store_deletions(f->s, f->t, &f->arena, &v, n);
    return v;
}

static struct wish *new_wish(struct fixture *f, struct wish w)
{
    ASSERT(f->n_wishes < DELETIONS_MAX);
    f->wishes[f->n_wishes] = w;
    return &f->wishes[f->n_wishes++];
}

static void must_delete(struct fixture *f, struct wish w)
{
    struct wish *mine = new_wish(f, w);
    if (!delete (f, mine))
        fail_msg("%s", f->err.text);
    mine->is_active = true;
}

/* ---- tests ---- */

static void life(void **state)
{
    struct fixture *f = *state;
    size_t n;
    for (unsigned i = 0; i < 30; i++)
        put(f, T0_MS - 3600000 + (int64_t)i * 1000, i % APPS, i % KINDS);
    must_delete(f, (struct wish){SIGNAL_LOGS, 0, TIME_MIN_MS, TIME_MAX_MS, .kind = KINDS});
    must_delete(f,
                (struct wish){SIGNAL_METRICS, 1, T0_MS - 3600000, T0_MS - 3590000, .kind = KINDS});
    must_delete(f, (struct wish){SIGNAL_LOGS, APPS, TIME_MIN_MS, TIME_MAX_MS, .kind = 2});
    check(f);
    // The same times once more: they are newer than the deletion.
    put(f, T0_MS - 3599500, 0, 0);
    put(f, T0_MS - 3598500, 1, 2);
    check(f);
    crash(f);
    check(f);
    // A stream of which nothing is left is not listed, unless it has newer lines.
    struct snapshot *snap = look(f, SIGNAL_LOGS);
    struct name_select sel = {.start_ns = INT64_MIN, .end_ns = INT64_MAX};
    struct strs values;
    bool cut;
    must_delete(f, (struct wish){SIGNAL_LOGS, 2, TIME_MIN_MS, TIME_MAX_MS, .kind = KINDS});
    assert_true(store_label_values(snap, STR("app"), &sel, &f->arena, &values, &cut, &f->err));
    assert_int_equal(values.n, 3); // of before
    snapshot_close(snap);
    snap = look(f, SIGNAL_LOGS);
    assert_true(store_label_values(snap, STR("app"), &sel, &f->arena, &values, &cut, &f->err));
    assert_int_equal(values.n, 2);
    snapshot_close(snap);
    maintain(f, true);
    check(f);
    const struct deletion *v = listed(f, &n);
    assert_int_equal(n, 4);
    for (size_t i = 0; i < n; i++)
        assert_true(v[i].is_done && str_starts(v[i].note, STR("wish ")) && v[i].created_ns == T0);
    uint64_t lines = 0, samples = 0;
    for (size_t i = 0; i < f->n; i++) {
        lines += is_alive(f, i, SIGNAL_LOGS);
        samples += is_alive(f, i, SIGNAL_METRICS);
    }
    assert_int_equal(stored(f, SIGNAL_LOGS), lines);
    assert_int_equal(stored(f, SIGNAL_METRICS), samples);
    reopen(f);
    check(f);
    assert_true(store_delete_finish(f->s, &f->err));
    v = listed(f, &n);
    assert_true(n == 4 && v[0].matchers.n == 1 && str_is(v[2].matchers.v[0].value, "b|c"));
    assert_true(v[2].n_filters == 1 && str_is(v[2].filters[0].text, "kind=2"));
}

static void everything_goes(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 10; i++)
        put(f, T0_MS - (int64_t)i, 1, 0);
    must_delete(f, (struct wish){SIGNAL_LOGS, 1, TIME_MIN_MS, TIME_MAX_MS, .kind = KINDS});
    must_delete(f, (struct wish){SIGNAL_METRICS, 1, TIME_MIN_MS, TIME_MAX_MS, .kind = KINDS});
    maintain(f, false);
    check(f);
    struct store_stats st;
    store_stats(f->s, &st);
    assert_int_equal(st.signal[SIGNAL_LOGS].segments, 0);
    assert_int_equal(st.signal[SIGNAL_METRICS].segments, 0);
    reopen(f);
    put(f, T0_MS - 5, 1, 0);
    f->records[5].t_ms = 0; // its time belongs to another now
    check(f);
}

static void due_and_cancel(void **state)
{
    struct fixture *f = *state;
    size_t n;
    for (unsigned i = 0; i < 12; i++)
        put(f, T0_MS - 7200000 + (int64_t)i, i % APPS, 0);
    struct wish w = {SIGNAL_LOGS, 0, TIME_MIN_MS, TIME_MAX_MS, KINDS, .due_ns = T0 + HOUR};
    must_delete(f, w);
    w.app = 1;
    must_delete(f, w);
    maintain(f, true);
    check(f);
    assert_int_equal(stored(f, SIGNAL_LOGS), 12 - 8); // hidden whole
    assert_true(store_delete_cancel(f->s, f->t, f->wishes[0].id, false, &f->err));
    f->wishes[0].is_active = false;
    check(f);
    reopen(f);
    check(f);
    clock_manual_advance(&f->clock, HOUR);
    assert_false(store_delete_cancel(f->s, f->t, f->wishes[1].id, false, &f->err));
    assert_int_equal(f->err.code, ERR_INVALID);
    f->err = ERR_OK;
    maintain(f, false);
    check(f);
    const struct deletion *v = listed(f, &n);
    assert_true(n == 1 && v[0].is_done);
    assert_false(store_delete_cancel(f->s, f->t, f->wishes[1].id, true, &f->err));
    assert_int_equal(f->err.code, ERR_INVALID);
    f->err = ERR_OK;
    assert_false(store_delete_cancel(f->s, f->t, 77, true, &f->err));
    assert_int_equal(f->err.code, ERR_NOT_FOUND);
    f->err = ERR_OK;
}

static void refusals(void **state)
{
    struct fixture *f = *state;
    struct matcher m = {.op = MATCH_EQ, .name = STR("app"), .value = STR("a")};
    struct matcher re = {.op = MATCH_RE, .name = STR("app"), .value = STR("(")};
    struct deletion_filter filter = {TEXT_RE, STR("(")};
    const struct {
        struct deletion d;
        enum err_code code;
    } bad[] = {
        {{.signal = SIGNAL_TRACES, .matchers = {&m, 1}}, ERR_UNSUPPORTED},
        {{.signal = SIGNAL_LOGS}, ERR_INVALID},
        {{.signal = SIGNAL_LOGS, .matchers = {&re, 1}}, ERR_INVALID},
        {{.signal = SIGNAL_LOGS, .matchers = {&m, 1}, .t0_ns = 1}, ERR_INVALID},
        {{.signal = SIGNAL_LOGS, .matchers = {&m, 1}, .filters = &filter, .n_filters = 1},
         ERR_INVALID},
        {{.signal = SIGNAL_METRICS, .matchers = {&m, 1}, .filters = &filter, .n_filters = 1},
         ERR_INVALID},
    };
    uint32_t id;
    size_t n;
    for (size_t i = 0; i < COUNTOF(bad); i++) {
        assert_false(store_delete(f->s, f->t, &bad[i].d, &id, &f->err));
        assert_int_equal(f->err.code, bad[i].code);
        f->err = ERR_OK;
    }
    put(f, T0_MS, 0, 0);
    struct deletion d = {
        .signal = SIGNAL_LOGS, .matchers = {&m, 1}, .t1_ns = T0, .due_ns = INT64_MAX};
    for (size_t i = 0; i < LIMIT_DELETIONS; i++)
        assert_true(store_delete(f->s, f->t, &d, &id, &f->err));
    assert_false(store_delete(f->s, f->t, &d, &id, &f->err));
    assert_int_equal(f->err.code, ERR_LIMIT);
    f->err = ERR_OK;
    (void)listed(f, &n);
    assert_int_equal(n, LIMIT_DELETIONS);
}

/* The bytes: what is damaged is refused. */
static void damage(void **state)
{
    struct fixture *f = *state;
    struct deletion_set *set = deletion_set_new(), *got;
    struct matcher m = {.op = MATCH_NRE, .name = STR("app"), .value = STR("x.*")};
    struct deletion_filter filter = {TEXT_NRE, STR("a+")};
    struct deletion d = {.signal = SIGNAL_LOGS,
                         .matchers = {&m, 1},
                         .t0_ns = -5,
                         .t1_ns = 9,
                         .filters = &filter,
                         .n_filters = 1,
                         .note = STR("n"),
                         .id = 3};
    struct buf b, copy;
    buf_init(&b, MIB);
    buf_init(&copy, MIB);
    assert_true(deletion_set_add(set, &d, &f->err));
    deletion_set_write(set, &b);
    assert_true(deletion_set_read(buf_str(&b), &got, &f->err));
    assert_true(got->n == 1 && got->next_id == 4);
    deletion_set_write(got, &copy);
    assert_true(str_eq(buf_str(&b), buf_str(&copy)));
    deletion_set_unref(got);
    for (size_t i = 0; i < b.n; i++) {
        b.p[i] ^= 4;
        assert_false(deletion_set_read(buf_str(&b), &got, &f->err));
        assert_int_equal(f->err.code, ERR_CORRUPT);
        f->err = ERR_OK;
        b.p[i] ^= 4;
        assert_false(deletion_set_read(str_sub(buf_str(&b), 0, i), &got, &f->err));
        f->err = ERR_OK;
    }
    buf_deinit(&b);
    buf_deinit(&copy);
    deletion_set_unref(set);
}

/* The files: one of the two may rot, and the next start mends it; both: the store says so. */
static void twins(void **state)
{
    static const char *const names[] = {"data/default/d/0000000%u.del",
                                        "data/default/d/0000000%u.del2"};
    struct fixture *f = *state;
    unsigned file = 2; // the number was reserved, then used
    char path[64];
    for (unsigned i = 0; i < 9; i++)
        put(f, T0_MS - 3600000 + (int64_t)i * 1000, i % APPS, i % KINDS);
    must_delete(f, (struct wish){SIGNAL_LOGS, 0, TIME_MIN_MS, TIME_MAX_MS, .kind = KINDS,
                                 .due_ns = INT64_MAX});
    for (size_t i = 0; i < COUNTOF(names); i++, file++) {
        (void)snprintf(path, sizeof path, names[i], file);
        fs_sim_flip(f->sim, str_c(path), 20, 1);
        reopen(f);
        check(f);
    }
    (void)snprintf(path, sizeof path, names[0], file);
    assert_true(fs_unlink(f->o.fs, str_c(path), &f->err));
    assert_true(fs_sync_dir(f->o.fs, STR("data/default/d"), &f->err));
    crash(f);
    check(f);
    file++;
    store_close(f->s);
    f->s = NULL;
    for (size_t i = 0; i < COUNTOF(names); i++) {
        (void)snprintf(path, sizeof path, names[i], file);
        fs_sim_flip(f->sim, str_c(path), 20, 1);
    }
    assert_false(store_open(&f->o, &f->s, &f->err));
    assert_int_equal(f->err.code, ERR_CORRUPT);
    assert_true(str_find(str_c(f->err.text), STR("data/default/d")) != SIZE_MAX);
    f->err = ERR_OK;
    assert_true(fs_unlink(f->o.fs, str_c(path), &f->err));
    (void)snprintf(path, sizeof path, names[0], file);
    assert_true(fs_unlink(f->o.fs, str_c(path), &f->err));
    f->wishes[0].is_active = false;
    up(f);
    check(f);
}

/* ---- lives ---- */

static void random_delete(struct fixture *f, struct prng *r)
{
    int64_t a = T0_MS - 3 * 86400000 + (int64_t)prng_below(r, 3 * 86400000);
    int64_t b = prng_below(r, 3) == 0 ? TIME_MAX_MS : a + (int64_t)prng_below(r, 86400000);
    struct wish w = {.signal = prng_below(r, 2) ? SIGNAL_LOGS : SIGNAL_METRICS,
                     .app = (unsigned)prng_below(r, APPS + 1),
                     .t0_ms = prng_below(r, 4) == 0 ? TIME_MIN_MS : a,
                     .t1_ms = b,
                     .kind = KINDS};
    if (prng_below(r, 2))
        w.kind = (int)prng_below(r, 2 * KINDS) - (KINDS - 1);
    if (prng_below(r, 2))
        w.due_ns = clock_now_ns(&f->clock) + (int64_t)prng_below(r, 6) * HOUR;
    struct wish *mine = new_wish(f, w);
    if (prng_below(r, 3) > 0) {
        if (!delete (f, mine))
            fail_msg("%s", f->err.text);
        mine->is_active = true;
        return;
    }
    // It may have happened when the disk died, or not: the list tells.
    fs_sim_crash_at(f->sim, fs_sim_ops(f->sim) + prng_below(r, 60));
    bool ok = delete (f, mine);
    f->err = ERR_OK;
    crash(f);
    size_t n;
    const struct deletion *v = listed(f, &n);
    str note = arena_fmt(&f->arena, "wish %zu", (size_t)(mine - f->wishes));
    for (size_t i = 0; i < n; i++) {
        if (!str_eq(v[i].note, note))
            continue;
        mine->is_active = true;
        mine->id = v[i].id;
    }
    assert_true(mine->is_active || !ok);
}

static void random_cancel(struct fixture *f, struct prng *r)
{
    if (f->n_wishes == 0)
        return;
    struct wish *w = &f->wishes[prng_below(r, f->n_wishes)];
    if (!w->is_active || w->id == 0 || w->due_ns <= clock_now_ns(&f->clock))
        return;
    bool ok = store_delete_cancel(f->s, f->t, w->id, false, &f->err);
    // It may be done before its time when there was nothing to remove.
    if (ok)
        w->is_active = false;
    f->err = ERR_OK;
}

static void step(struct fixture *f, struct prng *r)
{
    switch (prng_below(r, 8)) {
    case 0:
    case 1:
        for (uint64_t n = prng_below(r, 20); n > 0; n--)
            put(f, T0_MS - 3 * 86400000 + (int64_t)(prng_below(r, 64) * 4000000) + (int64_t)f->n,
                (unsigned)prng_below(r, APPS), (unsigned)prng_below(r, KINDS));
        break;
    case 2:
        random_delete(f, r);
        break;
    case 3:
        random_cancel(f, r);
        break;
    case 4:
        maintain(f, prng_below(r, 2));
        break;
    case 5:
        clock_manual_advance(&f->clock, (int64_t)prng_below(r, 4) * HOUR);
        break;
    case 6:
        reopen(f);
        break;
    default: // a crash in the middle of sealing, merging, removing
        fs_sim_crash_at(f->sim, fs_sim_ops(f->sim) + prng_below(r, 200));
        (void)!store_maintain(f->s, prng_below(r, 2), &f->err);
        f->err = ERR_OK;
        crash(f);
    }
}

static void lives(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 15; seed++) {
        struct fixture *f;
        struct prng r;
        void *own;
        size_t n;
        (void)setup(&own);
        f = own;
        prng_init(&r, seed);
        for (int i = 0; i < 60; i++) {
            step(f, &r);
            size_t bad = differences(f, TIME_MIN_MS, TIME_MAX_MS);
            if (bad > 0)
                fail_msg("seed %llu step %d: %zu records", (unsigned long long)seed, i, bad);
        }
        int64_t some = T0_MS - (int64_t)prng_below(&r, 3 * 86400000);
        assert_int_equal(differences(f, some, some + 30000000), 0);
        clock_manual_advance(&f->clock, 10 * HOUR);
        maintain(f, true);
        maintain(f, true);
        check(f);
        const struct deletion *v = listed(f, &n);
        for (size_t i = 0; i < n; i++)
            assert_true(v[i].is_done);
        uint64_t lines = 0;
        for (size_t i = 0; i < f->n; i++)
            lines += is_alive(f, i, SIGNAL_LOGS);
        assert_int_equal(stored(f, SIGNAL_LOGS), lines);
        (void)teardown(&own);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(life, setup, teardown),
        cmocka_unit_test_setup_teardown(everything_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(due_and_cancel, setup, teardown),
        cmocka_unit_test_setup_teardown(refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(damage, setup, teardown),
        cmocka_unit_test_setup_teardown(twins, setup, teardown),
        cmocka_unit_test(lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
