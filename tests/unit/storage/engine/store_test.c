/* store_test.c - a store's life with a tiny signal, on the simulated disk and a manual clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/log.h"
#include "tests/sim/fs_sim.h"
#include "tests/sim/tiny_signal.h"

#define T0 INT64_C(1795132800000000000) // 2026-11-20T00:00:00Z

struct fixture {
    struct fs_sim *sim;
    struct clock clock;
    struct store_options o;
    struct store *s;
    struct store_tenant *t;
    struct err err;
};

static void reopen(struct fixture *f)
{
    store_close(f->s);
    f->s = NULL;
    assert_true(store_open_with(&f->o, tiny_ops, &f->s, &f->err));
    assert_true(store_tenant(f->s, STORE_TENANT_DEFAULT, true, &f->t, &f->err));
}

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));
    f->sim = fs_sim_open(7);
    clock_manual_init(&f->clock, T0);
    store_options_default(&f->o);
    f->o.fs = fs_sim_fs(f->sim);
    f->o.clock = &f->clock;
    f->o.dir = STR("top/data/");
    f->o.sync = SYNC_ALWAYS;
    f->o.free_bytes_min = 0;
    f->o.no_background = true;
    log_set_level(LOG_LEVEL_NONE);
    reopen(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    fs_sim_hold_syncs(f->sim, false); // of a test that failed
    store_close(f->s);
    fs_sim_close(f->sim);
    mem_free(f);
    return 0;
}

/* Ids [first, first + n) are there, each once, and nothing else. */
static void expect_ids(struct fixture *f, enum signal sig, uint64_t first, size_t n)
{
    struct tiny_recs recs = {0};
    bool seen[5000] = {0};
    assert_true(tiny_read_all(f->s, f->t, sig, &recs, &f->err));
    assert_int_equal(recs.n, n);
    for (size_t i = 0; i < recs.n; i++) {
        assert_true(recs.v[i].id >= first && recs.v[i].id < first + n);
        assert_false(seen[recs.v[i].id - first]);
        seen[recs.v[i].id - first] = true;
    }
    vec_free(&recs);
}

static struct store_signal_stats stats_of(struct fixture *f, enum signal sig)
{
    struct store_stats st;
    store_stats(f->s, &st);
    return st.signal[sig];
}

static void put(struct fixture *f, enum signal sig, uint64_t first, size_t n, int64_t t)
{
    if (!tiny_put(f->s, f->t, sig, first, n, t, &f->err))
        fail_msg("%s", f->err.text);
}

static void maintain(struct fixture *f, bool force)
{
    if (!store_maintain(f->s, force, &f->err))
        fail_msg("%s", f->err.text);
}

static void test_visible_at_once_and_after_restart(void **state)
{
    struct fixture *f = *state;
    for (int sig = 0; sig < SIGNAL_COUNT; sig++) {
        put(f, (enum signal)sig, 0, 10, T0);
        put(f, (enum signal)sig, 10, 10, T0);
        expect_ids(f, (enum signal)sig, 0, 20);
    }
    reopen(f);
    for (int sig = 0; sig < SIGNAL_COUNT; sig++) {
        expect_ids(f, (enum signal)sig, 0, 20);
        put(f, (enum signal)sig, 20, 5, T0); // the same generation goes on, in a new part
        expect_ids(f, (enum signal)sig, 0, 25);
    }
    struct store_stats st;
    store_stats(f->s, &st);
    assert_int_equal(st.replayed_records, 6);
    assert_int_equal(st.signal[SIGNAL_LOGS].head_records, 25);
    assert_int_equal(st.signal[SIGNAL_LOGS].segments, 0);
    assert_true(st.signal[SIGNAL_LOGS].oldest_ns == T0);
    reopen(f);
    for (int sig = 0; sig < SIGNAL_COUNT; sig++)
        expect_ids(f, (enum signal)sig, 0, 25);
}

static void test_seal(void **state)
{
    struct fixture *f = *state;
    put(f, SIGNAL_LOGS, 0, 100, T0 + TINY_HOUR - 50 * NS_PER_S); // two hours: two files
    put(f, SIGNAL_METRICS, 0, 3, T0);
    struct snapshot *before;
    struct time_range all = {INT64_MIN, INT64_MAX};
    assert_true(snapshot_open(f->s, f->t, SIGNAL_LOGS, all, &before, &f->err));
    maintain(f, true);
    assert_int_equal(stats_of(f, SIGNAL_LOGS).segments, 2);
    assert_int_equal(stats_of(f, SIGNAL_LOGS).sealed, 2);
    assert_int_equal(stats_of(f, SIGNAL_LOGS).head_records, 0);
    assert_int_equal(stats_of(f, SIGNAL_LOGS).wal_bytes, 0);
    assert_int_equal(stats_of(f, SIGNAL_METRICS).segments, 1);
    expect_ids(f, SIGNAL_LOGS, 0, 100);
    struct tiny_recs recs = {0};
    assert_true(tiny_read(before, &recs, &f->err)); // a snapshot keeps what it saw
    assert_int_equal(recs.n, 100);
    vec_free(&recs);
    snapshot_close(before);
    put(f, SIGNAL_LOGS, 100, 10, T0 + 2 * TINY_HOUR);
    expect_ids(f, SIGNAL_LOGS, 0, 110);
    reopen(f);
    expect_ids(f, SIGNAL_LOGS, 0, 110);
    expect_ids(f, SIGNAL_METRICS, 0, 3);
}

static void test_snapshot_range(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 0; i < 10; i++)
        put(f, SIGNAL_TRACES, i, 1, T0 + (int64_t)i * TINY_HOUR);
    maintain(f, true);
    static const struct {
        int64_t start, end;
        size_t n;
    } cases[] = {
        {INT64_MIN, INT64_MAX, 10},
        {T0, T0, 0},
        {T0, T0 + 1, 1},
        {T0 + 1, T0 + TINY_HOUR, 0}, // the name covers a whole second, meta knows better
        {T0 + 1, T0 + TINY_HOUR + 1, 1},
        {T0 + 9 * TINY_HOUR, INT64_MAX, 1},
        {T0 + 9 * TINY_HOUR + 1, INT64_MAX, 0},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct snapshot *snap;
        struct time_range range = {cases[i].start, cases[i].end};
        assert_true(snapshot_open(f->s, f->t, SIGNAL_TRACES, range, &snap, &f->err));
        assert_int_equal(snap->n_segs, cases[i].n);
        for (size_t k = 1; k < snap->n_segs; k++)
            assert_true(segment_info(snap->segs[k - 1])->t0_ns <
                        segment_info(snap->segs[k])->t0_ns);
        snapshot_close(snap);
    }
}

static void test_freeze_by_size_and_age(void **state)
{
    struct fixture *f = *state;
    f->o.head_bytes[SIGNAL_LOGS] = 100 * TINY_BYTES;
    f->o.head_age_ns[SIGNAL_METRICS] = 60 * NS_PER_S;
    reopen(f);
    put(f, SIGNAL_LOGS, 0, 99, T0);
    maintain(f, false);
    assert_int_equal(stats_of(f, SIGNAL_LOGS).segments, 0);
    put(f, SIGNAL_LOGS, 99, 1, T0);
    maintain(f, false);
    assert_int_equal(stats_of(f, SIGNAL_LOGS).segments, 1);
    put(f, SIGNAL_METRICS, 0, 1, T0);
    clock_manual_advance(&f->clock, 59 * NS_PER_S);
    maintain(f, false);
    assert_int_equal(stats_of(f, SIGNAL_METRICS).segments, 0);
    reopen(f); // the age goes on over a restart
    clock_manual_advance(&f->clock, 2 * NS_PER_S);
    maintain(f, false);
    assert_int_equal(stats_of(f, SIGNAL_METRICS).segments, 1);
    expect_ids(f, SIGNAL_METRICS, 0, 1);
}

static void test_tenants(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {
        "",    ".",
        "..",  ".x",
        "a/b", "wal",
        "tmp", "LOCK",
        "a b", "0123456789012345678901234567890123456789012345678901234567890123x"};
    struct store_tenant *t;
    for (size_t i = 0; i < COUNTOF(bad); i++) {
        f->err = ERR_OK;
        assert_false(store_tenant(f->s, str_c(bad[i]), true, &t, &f->err));
        assert_int_equal(f->err.code, ERR_INVALID);
    }
    f->err = ERR_OK;
    assert_false(store_tenant(f->s, STR("team-a"), false, &t, &f->err));
    assert_int_equal(f->err.code, ERR_NOT_FOUND);
    f->err = ERR_OK;
    assert_true(store_tenant(f->s, STR("team-a"), true, &t, &f->err));
    assert_true(tiny_put(f->s, t, SIGNAL_LOGS, 500, 5, T0, &f->err));
    put(f, SIGNAL_LOGS, 0, 7, T0);
    expect_ids(f, SIGNAL_LOGS, 0, 7);
    maintain(f, true);
    put(f, SIGNAL_LOGS, 7, 1, T0);
    reopen(f);
    expect_ids(f, SIGNAL_LOGS, 0, 8);
    assert_true(store_tenant(f->s, STR("team-a"), false, &f->t, &f->err));
    expect_ids(f, SIGNAL_LOGS, 500, 5);
    f->t = store_tenant_empty(f->s);
    expect_ids(f, SIGNAL_LOGS, 0, 0);
    maintain(f, true);
    expect_ids(f, SIGNAL_LOGS, 0, 0);
}

/* As many as the limit says; those without data are forgotten with the process. */
static void test_many_tenants(void **state)
{
    struct fixture *f = *state;
    struct store_tenant *t, *last = NULL;
    for (size_t i = 1; i < LIMIT_TENANTS; i++) { // the default one is there
        char name[32];
        int n = snprintf(name, sizeof name, "t%zu", i);
        assert_true(store_tenant(f->s, (str){name, (size_t)n}, true, &last, &f->err));
    }
    assert_true(tiny_put(f->s, last, SIGNAL_LOGS, 7, 1, T0, &f->err));
    assert_false(store_tenant(f->s, STR("more"), true, &t, &f->err));
    assert_int_equal(f->err.code, ERR_LIMIT);
    f->err = ERR_OK;
    maintain(f, true);
    reopen(f);
    assert_true(store_tenant(f->s, STR("more"), true, &t, &f->err));
    assert_false(store_tenant(f->s, STR("t1"), false, &t, &f->err));
    f->err = ERR_OK;
    assert_true(store_tenant(f->s, STR("t4095"), false, &f->t, &f->err));
    expect_ids(f, SIGNAL_LOGS, 7, 1);
}

/* Days whose files have expired leave no folder for ever. */
static void test_empty_days(void **state)
{
    struct fixture *f = *state;
    struct arena a;
    struct fs_entry *days;
    size_t n;
    f->o.retention_ns[SIGNAL_LOGS] = 3600 * NS_PER_S;
    reopen(f);
    put(f, SIGNAL_LOGS, 0, 1, T0);
    maintain(f, true);
    clock_manual_advance(&f->clock, 48 * 3600 * NS_PER_S);
    put(f, SIGNAL_LOGS, 1, 1, T0 + 48 * 3600 * NS_PER_S);
    maintain(f, true);
    expect_ids(f, SIGNAL_LOGS, 1, 1);
    reopen(f);
    arena_init(&a, SIZE_MAX, NULL);
    assert_true(fs_list(f->o.fs, STR("top/data/default/l"), &a, &days, &n, &f->err));
    assert_int_equal(n, 1);
    arena_deinit(&a);
    expect_ids(f, SIGNAL_LOGS, 1, 1);
}

static void test_encode_refuses(void **state)
{
    struct fixture *f = *state;
    assert_false(tiny_put(f->s, f->t, SIGNAL_LOGS, TINY_FORBIDDEN, 1, T0, &f->err));
    assert_int_equal(f->err.code, ERR_INVALID);
    expect_ids(f, SIGNAL_LOGS, 0, 0);
    reopen(f);
    expect_ids(f, SIGNAL_LOGS, 0, 0);
}

/* A write or a sync fails: refused, and never replayed after the retry was acknowledged. */
static void test_log_errors(void **state)
{
    struct fixture *f = *state;
    static const int errnos[] = {5 /* EIO */, 28 /* ENOSPC */};
    uint64_t id = 0;
    for (size_t e = 0; e < COUNTOF(errnos); e++) {
        for (uint64_t at = 0; at < 12; at++) {
            for (uint64_t count = 1; count < 5; count++) {
                fs_sim_fail_at(f->sim, fs_sim_ops(f->sim) + at, errnos[e], count);
                for (int tries = 0;; tries++) {
                    struct err err = ERR_OK;
                    if (tiny_put(f->s, f->t, SIGNAL_LOGS, id, 3, T0, &err))
                        break;
                    assert_true(err.code == ERR_UNAVAILABLE || err.code == ERR_BUSY);
                    assert_true(tries < 20);
                    if (err.code == ERR_BUSY) {
                        err = ERR_OK;
                        (void)!store_maintain(f->s, false, &err);
                    }
                }
                id += 3;
            }
        }
        fs_sim_fail_at(f->sim, UINT64_MAX, 0, 0);
        expect_ids(f, SIGNAL_LOGS, 0, id);
        reopen(f);
        expect_ids(f, SIGNAL_LOGS, 0, id);
    }
    maintain(f, true);
    expect_ids(f, SIGNAL_LOGS, 0, id);
}

static void test_disk_full_recovers(void **state)
{
    struct fixture *f = *state;
    put(f, SIGNAL_LOGS, 0, 10, T0);
    fs_sim_set_capacity(f->sim, 2000);
    uint64_t id = 10;
    while (tiny_put(f->s, f->t, SIGNAL_LOGS, id, 10, T0, &f->err))
        id += 10;
    assert_int_equal(f->err.code, ERR_UNAVAILABLE);
    assert_true(str_starts(str_c(f->err.text), STR("disk full")));
    f->err = ERR_OK;
    assert_false(tiny_put(f->s, f->t, SIGNAL_LOGS, id, 10, T0, &f->err));
    struct store_stats st;
    store_stats(f->s, &st);
    assert_int_equal(st.disk_full, 1);
    expect_ids(f, SIGNAL_LOGS, 0, id);
    fs_sim_set_capacity(f->sim, 0);
    f->err = ERR_OK;
    put(f, SIGNAL_LOGS, id, 10, T0);
    store_stats(f->s, &st);
    assert_int_equal(st.disk_full, 0);
    maintain(f, true);
    expect_ids(f, SIGNAL_LOGS, 0, id + 10);
    reopen(f);
    expect_ids(f, SIGNAL_LOGS, 0, id + 10);
}

static void test_compaction(void **state)
{
    struct fixture *f = *state;
    uint64_t id = 0;
    // A day, six files an hour: more than 8 an hour make a level-1 file, the rest wait for the day.
    for (int hour = 0; hour < 24; hour++) {
        int files = hour < 2 ? 10 : 2;
        for (int i = 0; i < files; i++, id += 2) {
            put(f, SIGNAL_LOGS, id, 2, clock_now_ns(&f->clock));
            maintain(f, true);
            clock_manual_advance(&f->clock, TINY_HOUR / files);
        }
        expect_ids(f, SIGNAL_LOGS, 0, id);
    }
    assert_int_equal(stats_of(f, SIGNAL_LOGS).compacted, 20);
    assert_int_equal(stats_of(f, SIGNAL_LOGS).segments, 2 + 22 * 2);
    reopen(f);
    expect_ids(f, SIGNAL_LOGS, 0, id);
    struct snapshot *pin;
    struct time_range all = {INT64_MIN, INT64_MAX};
    assert_true(snapshot_open(f->s, f->t, SIGNAL_LOGS, all, &pin, &f->err));
    clock_manual_advance(&f->clock, 2 * TINY_HOUR);
    maintain(f, false);
    assert_int_equal(stats_of(f, SIGNAL_LOGS).segments, (id + TINY_SPLIT - 1) / TINY_SPLIT);
    expect_ids(f, SIGNAL_LOGS, 0, id);
    struct tiny_recs recs = {0};
    assert_true(tiny_read(pin, &recs, &f->err)); // the inputs wait for their last reader
    assert_int_equal(recs.n, id);
    vec_free(&recs);
    snapshot_close(pin);
    maintain(f, false);
    reopen(f);
    expect_ids(f, SIGNAL_LOGS, 0, id);
    assert_int_equal(stats_of(f, SIGNAL_LOGS).segments, (id + TINY_SPLIT - 1) / TINY_SPLIT);
    // late data joins the day again
    put(f, SIGNAL_LOGS, id, 2, T0 + TINY_HOUR);
    maintain(f, true);
    expect_ids(f, SIGNAL_LOGS, 0, id + 2);
    reopen(f);
    expect_ids(f, SIGNAL_LOGS, 0, id + 2);
}

static void test_retention(void **state)
{
    struct fixture *f = *state;
    f->o.retention_ns[SIGNAL_LOGS] = 48 * TINY_HOUR;
    reopen(f);
    for (uint64_t day = 0; day < 6; day++) {
        put(f, SIGNAL_LOGS, day, 1, clock_now_ns(&f->clock));
        put(f, SIGNAL_METRICS, day, 1, clock_now_ns(&f->clock));
        maintain(f, true);
        clock_manual_advance(&f->clock, 24 * TINY_HOUR);
    }
    maintain(f, false);
    expect_ids(f, SIGNAL_LOGS, 4, 2); // the second ends a second inside the 48 hours
    expect_ids(f, SIGNAL_METRICS, 0, 6);
    f->o.max_bytes[SIGNAL_METRICS] = stats_of(f, SIGNAL_METRICS).segment_bytes * 2 / 3;
    reopen(f);
    maintain(f, false);
    expect_ids(f, SIGNAL_METRICS, 3, 3);
    assert_int_equal(stats_of(f, SIGNAL_METRICS).expired, 3);
}

/* The clock says 2100 for a minute, also over a restart: nothing goes. When it stays, it does. */
static void test_retention_after_jump(void **state)
{
    struct fixture *f = *state;
    const int64_t year_2100 = INT64_C(4102444800) * NS_PER_S;
    f->o.retention_ns[SIGNAL_LOGS] = 48 * TINY_HOUR;
    reopen(f);
    put(f, SIGNAL_LOGS, 0, 10, T0);
    maintain(f, true);
    clock_manual_set(&f->clock, year_2100);
    maintain(f, false);
    reopen(f);
    maintain(f, false);
    expect_ids(f, SIGNAL_LOGS, 0, 10);
    clock_manual_set(&f->clock, T0 - 24 * TINY_HOUR);
    maintain(f, false);
    clock_manual_set(&f->clock, T0);
    maintain(f, false);
    expect_ids(f, SIGNAL_LOGS, 0, 10);
    clock_manual_set(&f->clock, year_2100);
    maintain(f, false);
    clock_manual_advance(&f->clock, TIME_GUARD_SETTLE_NS - NS_PER_S);
    maintain(f, false);
    expect_ids(f, SIGNAL_LOGS, 0, 10);
    clock_manual_advance(&f->clock, NS_PER_S);
    maintain(f, false);
    expect_ids(f, SIGNAL_LOGS, 0, 0);
}

/* The reserve: oldest first over all signals; nothing else than what is needed. */
static void test_free_space(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 0; i < 20; i++) {
        put(f, i % 2 ? SIGNAL_LOGS : SIGNAL_TRACES, i, 1, T0 + (int64_t)i * TINY_HOUR);
        maintain(f, true);
    }
    uint64_t free_bytes, total;
    uint64_t size = stats_of(f, SIGNAL_LOGS).segment_bytes / 10; // all files are of one size
    fs_sim_set_capacity(f->sim, 100 * size);
    assert_true(fs_space(f->o.fs, f->o.dir, &free_bytes, &total, &f->err));
    assert_true(free_bytes < 81 * size);
    f->o.free_bytes_min = 1000 * size; // more than a tenth of the disk: then a tenth is meant
    reopen(f);
    maintain(f, false);
    expect_ids(f, SIGNAL_METRICS, 0, 0);
    assert_int_equal(stats_of(f, SIGNAL_LOGS).segments + stats_of(f, SIGNAL_TRACES).segments, 20);
    fs_sim_set_capacity(f->sim, 22 * size); // a tenth = 2.2 files; 2 or less are free
    maintain(f, false);
    assert_int_equal(stats_of(f, SIGNAL_LOGS).segments + stats_of(f, SIGNAL_TRACES).segments, 19);
    assert_int_equal(stats_of(f, SIGNAL_TRACES).expired, 1);
}

/* Nothing but the log is left, the disk is full, and sealing cannot work: nothing is lost, and it
 * ends by itself. */
static void test_full_disk_with_log_only(void **state)
{
    struct fixture *f = *state;
    f->o.free_bytes_min = GIB;
    reopen(f);
    fs_sim_set_capacity(f->sim, 6000);
    uint64_t id = 0;
    while (tiny_put(f->s, f->t, SIGNAL_LOGS, id, 10, T0, &f->err))
        id += 10;
    assert_int_equal(f->err.code, ERR_UNAVAILABLE);
    for (int i = 0; i < 8; i++) {
        f->err = ERR_OK;
        clock_manual_advance(&f->clock, 100 * NS_PER_S);
        (void)!store_maintain(f->s, false, &f->err);
    }
    assert_true(id > 0 && stats_of(f, SIGNAL_LOGS).wal_bytes > 0);
    expect_ids(f, SIGNAL_LOGS, 0, id);
    struct store_stats st;
    store_stats(f->s, &st);
    assert_int_equal(st.disk_full, 1);
    reopen(f); // a start on a full disk
    expect_ids(f, SIGNAL_LOGS, 0, id);
    f->err = ERR_OK;
    fs_sim_set_capacity(f->sim, 0);
    maintain(f, false);
    store_stats(f->s, &st);
    assert_int_equal(st.disk_full, 0);
    put(f, SIGNAL_LOGS, id, 10, T0);
    maintain(f, true);
    assert_int_equal(stats_of(f, SIGNAL_LOGS).wal_bytes, 0);
    reopen(f);
    expect_ids(f, SIGNAL_LOGS, 0, id + 10);
}

static void test_removed_segment(void **state)
{
    struct fixture *f = *state;
    put(f, SIGNAL_LOGS, 0, 5, T0);
    maintain(f, true);
    put(f, SIGNAL_LOGS, 5, 5, T0 + TINY_HOUR);
    maintain(f, true);
    reopen(f);
    assert_true(fs_unlink(f->o.fs,
                          STR("top/data/default/l/20261120/"
                              "l0-20261120T000000Z-20261120T000005Z-00000001-924d.db"),
                          &f->err));
    expect_ids(f, SIGNAL_LOGS, 5, 5);
}

static void test_damaged_segment_is_set_aside(void **state)
{
    struct fixture *f = *state;
    put(f, SIGNAL_LOGS, 0, 5, T0);
    maintain(f, true);
    put(f, SIGNAL_LOGS, 5, 5, T0 + TINY_HOUR);
    maintain(f, true);
    struct snapshot *snap;
    struct time_range all = {INT64_MIN, INT64_MAX};
    assert_true(snapshot_open(f->s, f->t, SIGNAL_LOGS, all, &snap, &f->err));
    assert_int_equal(snap->n_segs, 2);
    char path[300];
    assert_true(str_to_c(segment_path(snap->segs[0]), path, sizeof(path)));
    snapshot_close(snap);
    for (uint64_t at = 4096; at < 3 * 4096; at++)
        fs_sim_flip(f->sim, str_c(path), at, 0x55);
    reopen(f);
    struct tiny_recs recs = {0};
    bool ok = tiny_read_all(f->s, f->t, SIGNAL_LOGS, &recs, &f->err);
    vec_free(&recs);
    if (!ok)
        assert_int_equal(f->err.code, ERR_CORRUPT);
    f->err = ERR_OK;
    expect_ids(f, SIGNAL_LOGS, 5, 5); // one failed query at most, then without it
    struct store_stats st;
    store_stats(f->s, &st);
    assert_int_equal(st.corrupt_segments, 1);
    assert_false(fs_exists(f->o.fs, str_c(path)));
    reopen(f);
    expect_ids(f, SIGNAL_LOGS, 5, 5);
}

/* A disk that refuses some calls on paths that contain a text. */
static struct {
    const struct fs_ops *real;
    struct fs_ops ops;
    const char *path;
    int refused;
} stuck;

static bool is_stuck(str path, struct err *err)
{
    if (str_find(path, str_c(stuck.path)) == SIZE_MAX)
        return false;
    stuck.refused++;
    return !err_set(err, ERR_IO, "bad sector");
}

static bool stuck_unlink(struct fs *fs, str path, struct err *err)
{
    return !is_stuck(path, err) && stuck.real->unlink(fs, path, err);
}

static bool stuck_open(struct fs *fs, str path, int flags, struct file **out, struct err *err)
{
    return !is_stuck(path, err) && stuck.real->open(fs, path, flags, out, err);
}

static void stick(struct fixture *f, const char *path)
{
    stuck.real = f->o.fs->ops;
    stuck.ops = *stuck.real;
    stuck.path = path;
    stuck.refused = 0;
    f->o.fs->ops = &stuck.ops;
}

static void unstick(struct fixture *f)
{
    f->o.fs->ops = stuck.real;
}

/* An expired file that cannot be removed: all others go, merges go on, queries do not ask again. */
static void test_stuck_removal(void **state)
{
    struct fixture *f = *state;
    uint64_t id = 0;
    f->o.retention_ns[SIGNAL_LOGS] = 3 * 24 * TINY_HOUR;
    f->o.window_past_ns = 0;
    reopen(f);
    for (int day = 0; day < 5; day++)
        for (int i = 0; i < 3; i++, id += 2) {
            put(f, SIGNAL_LOGS, id, 2, clock_now_ns(&f->clock));
            maintain(f, true);
            clock_manual_advance(&f->clock, 8 * TINY_HOUR);
        }
    stick(f, "/20261122/");
    stuck.ops.unlink = stuck_unlink;
    clock_manual_advance(&f->clock, 2 * 24 * TINY_HOUR);
    assert_false(store_maintain(f->s, false, &f->err));
    assert_int_equal(f->err.code, ERR_IO);
    f->err = ERR_OK;
    assert_true(stuck.refused > 0);
    struct arena a;
    struct fs_entry *entries;
    size_t n = 1;
    arena_init(&a, SIZE_MAX, NULL);
    assert_true(fs_list(f->o.fs, STR("top/data/default/l/20261120"), &a, &entries, &n, &f->err));
    assert_int_equal(n, 0);
    assert_true(fs_list(f->o.fs, STR("top/data/default/l/20261122"), &a, &entries, &n, &f->err));
    assert_true(n > 0);
    assert_true(stats_of(f, SIGNAL_LOGS).compacted > 0);
    unstick(f);
    maintain(f, false);
    assert_true(fs_list(f->o.fs, STR("top/data/default/l/20261122"), &a, &entries, &n, &f->err));
    assert_int_equal(n, 0);
    arena_deinit(&a);
}

/* A tenant with a file that cannot be read: the merges of the others are made all the same. */
static void test_stuck_merge(void **state)
{
    struct fixture *f = *state;
    struct store_tenant *bad;
    assert_true(store_tenant(f->s, STR("bad"), true, &bad, &f->err));
    for (uint64_t i = 0; i < 12; i++) {
        assert_true(tiny_put(f->s, bad, SIGNAL_LOGS, i * 2, 2, T0 + (int64_t)i, &f->err));
        put(f, SIGNAL_LOGS, i * 2, 2, T0 + (int64_t)i);
        maintain(f, true);
    }
    reopen(f); // nothing is open
    stick(f, "/bad/");
    stuck.ops.open = stuck_open;
    clock_manual_advance(&f->clock, 30 * TINY_HOUR);
    assert_false(store_maintain(f->s, false, &f->err));
    assert_int_equal(f->err.code, ERR_IO);
    f->err = ERR_OK;
    assert_int_equal(stuck.refused, 1);
    assert_int_equal(stats_of(f, SIGNAL_LOGS).compacted, 12);
    expect_ids(f, SIGNAL_LOGS, 0, 24);
    unstick(f);
    clock_manual_advance(&f->clock, TINY_HOUR);
    maintain(f, false);
    assert_int_equal(stats_of(f, SIGNAL_LOGS).compacted, 24);
    assert_true(store_tenant(f->s, STR("bad"), false, &f->t, &f->err));
    expect_ids(f, SIGNAL_LOGS, 0, 24);
}

/* One tenant's share cannot be sealed: the others are, and nothing is lost. */
static void test_unsealable_tenant(void **state)
{
    struct fixture *f = *state;
    struct store_tenant *bad;
    assert_true(store_tenant(f->s, STR("bad"), true, &bad, &f->err));
    assert_true(tiny_put(f->s, bad, SIGNAL_LOGS, TINY_POISON, 1, T0, &f->err));
    put(f, SIGNAL_LOGS, 0, 5, T0);
    assert_false(store_maintain(f->s, true, &f->err));
    f->err = ERR_OK;
    assert_int_equal(stats_of(f, SIGNAL_LOGS).segments, 1);
    expect_ids(f, SIGNAL_LOGS, 0, 5);
    put(f, SIGNAL_LOGS, 5, 5, T0);
    reopen(f);
    expect_ids(f, SIGNAL_LOGS, 0, 10); // the sealed tenant's records are not replayed again
    assert_true(store_tenant(f->s, STR("bad"), false, &f->t, &f->err));
    expect_ids(f, SIGNAL_LOGS, TINY_POISON, 1);
}

static void test_lock(void **state)
{
    struct fixture *f = *state;
    struct store *second;
    assert_false(store_open_with(&f->o, tiny_ops, &second, &f->err));
    assert_int_equal(f->err.code, ERR_BUSY);
}

static void count_line(void *ctx, const char *line)
{
    (void)line;
    (*(int *)ctx)++;
}

static void test_check(void **state)
{
    struct fixture *f = *state;
    int lines = 0;
    uint64_t faults = 0;
    for (uint64_t i = 0; i < 10; i++) {
        put(f, SIGNAL_LOGS, i * 10, 10, T0 + (int64_t)i * TINY_HOUR);
        if (i % 3 != 0)
            maintain(f, true);
    }
    struct snapshot *snap;
    struct time_range all = {INT64_MIN, INT64_MAX};
    assert_true(snapshot_open(f->s, f->t, SIGNAL_LOGS, all, &snap, &f->err));
    char path[300];
    assert_true(str_to_c(segment_path(snap->segs[0]), path, sizeof(path)));
    snapshot_close(snap);
    assert_false(
        store_check_with(f->o.fs, f->o.dir, tiny_ops, count_line, &lines, &faults, &f->err));
    assert_int_equal(f->err.code, ERR_BUSY); // a running store
    f->err = ERR_OK;
    store_close(f->s);
    f->s = NULL;
    assert_true(
        store_check_with(f->o.fs, f->o.dir, tiny_ops, count_line, &lines, &faults, &f->err));
    assert_int_equal(faults, 0);
    assert_int_equal(lines, 0);
    fs_sim_flip(f->sim, str_c(path), 3 * 4096 - 100, 1);
    assert_false(
        store_check_with(f->o.fs, f->o.dir, tiny_ops, count_line, &lines, &faults, &f->err));
    assert_true(faults > 0 && lines > 0);
}

/* Interval mode: one sync an interval, not one a batch. */
static void test_interval_sync(void **state)
{
    struct fixture *f = *state;
    f->o.sync = SYNC_INTERVAL;
    reopen(f);
    struct store_stats a, b;
    put(f, SIGNAL_LOGS, 0, 1, T0); // makes the file
    store_stats(f->s, &a);
    for (uint64_t i = 1; i < 100; i++)
        put(f, SIGNAL_LOGS, i, 1, T0);
    store_stats(f->s, &b);
    assert_int_equal(b.syncs, a.syncs);
    clock_manual_advance(&f->clock, NS_PER_S);
    put(f, SIGNAL_LOGS, 100, 1, T0);
    store_stats(f->s, &b);
    assert_int_equal(b.syncs, a.syncs + 1);
    fs_sim_crash(f->sim); // power cut
    reopen(f);
    expect_ids(f, SIGNAL_LOGS, 0, 101);
}

/* A day of a batch every ten seconds; what was written for it. */
static uint64_t write_a_day(struct fixture *f, uint64_t *id)
{
    struct store_stats st;
    for (int i = 0; i < 8640; i++) {
        put(f, SIGNAL_LOGS, (*id)++, 1, clock_now_ns(&f->clock));
        clock_manual_advance(&f->clock, 10 * NS_PER_S);
        if (i % 6 == 0)
            maintain(f, false);
    }
    store_stats(f->s, &st);
    uint64_t sum = 0;
    for (int k = 0; k < SIGNAL_COUNT; k++)
        for (int p = 0; p < WRITE_PURPOSE_COUNT; p++)
            sum += st.signal[k].written_day[p];
    return sum;
}

/* Without a budget a day costs what it costs; with one, near it; the sync stays within its bound.
 */
static void test_write_budget(void **state)
{
    struct fixture *f = *state;
    uint64_t id = 0, budget = 9 * MIB;
    f->o.sync = SYNC_INTERVAL;
    for (int k = 0; k < SIGNAL_COUNT; k++)
        f->o.retention_ns[k] = 2 * TINY_HOUR;
    reopen(f);
    uint64_t plain = write_a_day(f, &id);
    assert_true(plain > budget * 3 / 2);
    f->o.write_budget = budget;
    reopen(f);
    uint64_t first = write_a_day(f, &id), second = write_a_day(f, &id);
    print_message("a day: %llu bytes; with a budget of %llu: %llu, %llu\n",
                  (unsigned long long)plain, (unsigned long long)budget, (unsigned long long)first,
                  (unsigned long long)second);
    assert_true(first < budget * 5 / 4 && second < budget * 11 / 10);
    assert_true(second > budget * 3 / 4); // not more is traded than has to be
    struct store_stats a, b;
    store_stats(f->s, &a);
    assert_true(a.write_stretch > METER_NORMAL && a.write_stretch <= METER_MAX);
    put(f, SIGNAL_LOGS, id++, 1, clock_now_ns(&f->clock));
    store_stats(f->s, &a);
    for (int i = 0; i < 2; i++) { // the first may begin an interval
        clock_manual_advance(&f->clock, LIMIT_STRETCH_SYNC_NS);
        put(f, SIGNAL_LOGS, id++, 1, clock_now_ns(&f->clock));
    }
    store_stats(f->s, &b);
    assert_true(b.syncs > a.syncs);
}

/* ---- with threads ---- */

struct hammer {
    struct fixture *f;
    enum signal signal;
    uint64_t first;
    atomic_bool stop;
    bool failed;
};

static void *hammer_write(void *arg)
{
    struct hammer *h = arg;
    for (uint64_t i = 0; i < 200 && !h->failed;) {
        struct err err = ERR_OK;
        if (tiny_put(h->f->s, h->f->t, h->signal, h->first + i * 3, 3, T0, &err))
            i++;
        else if (err.code == ERR_BUSY) // sealing is behind: send again
            (void)sched_yield();
        else
            h->failed = true;
    }
    return NULL;
}

static void *hammer_read(void *arg)
{
    struct hammer *h = arg;
    size_t before = 0;
    while (!atomic_load(&h->stop)) {
        struct tiny_recs recs = {0};
        struct err err = ERR_OK;
        if (!tiny_read_all(h->f->s, h->f->t, h->signal, &recs, &err) || recs.n < before)
            h->failed = true;
        before = recs.n;
        vec_free(&recs);
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct fixture *f = *state;
    f->o.no_background = false;
    f->o.clock = clock_real();
    f->o.head_bytes[SIGNAL_LOGS] = 100 * TINY_BYTES;
    f->o.retention_ns[SIGNAL_LOGS] = 0; // T0 recedes from the real clock
    reopen(f);
    struct hammer writers[3], reader = {.f = f, .signal = SIGNAL_LOGS};
    pthread_t threads[3], reading;
    // No assertion while threads run: it would jump to the teardown, which closes the store below
    // a reader's snapshot. A machine short of threads is told apart from that.
    bool is_reading = pthread_create(&reading, NULL, hammer_read, &reader) == 0;
    size_t n = 0;
    for (; n < 3; n++) {
        writers[n] = (struct hammer){.f = f, .signal = SIGNAL_LOGS, .first = n * 600};
        if (pthread_create(&threads[n], NULL, hammer_write, &writers[n]) != 0)
            break;
    }
    for (int i = 0; i < 5; i++)
        (void)!store_maintain(f->s, true, &f->err);
    for (size_t i = 0; i < n; i++)
        ASSERT(pthread_join(threads[i], NULL) == 0);
    atomic_store(&reader.stop, true);
    if (is_reading)
        ASSERT(pthread_join(reading, NULL) == 0);
    assert_true(is_reading && n == 3);
    for (size_t i = 0; i < 3; i++)
        assert_false(writers[i].failed);
    assert_false(reader.failed);
    f->err = ERR_OK;
    expect_ids(f, SIGNAL_LOGS, 0, 1800);
    maintain(f, true);
    expect_ids(f, SIGNAL_LOGS, 0, 1800);
    assert_true(stats_of(f, SIGNAL_LOGS).sealed > 0);
    reopen(f);
    expect_ids(f, SIGNAL_LOGS, 0, 1800);
}

/* A card that does not answer: writes go on while a sync hangs, until the named limits. */
static void test_slow_sync(void **state)
{
    struct fixture *f = *state;
    f->o.no_background = false;
    f->o.sync = SYNC_INTERVAL;
    reopen(f);
    put(f, SIGNAL_LOGS, 0, 10, T0);
    fs_sim_hold_syncs(f->sim, true);
    clock_manual_advance(&f->clock, NS_PER_S); // the sync is due: the next write's turn starts it
    put(f, SIGNAL_METRICS, 0, 1, T0);
    while (fs_sim_held_syncs(f->sim) == 0)
        (void)sched_yield();
    uint64_t id = 10;
    for (; id < 1000; id += 10) {
        put(f, SIGNAL_LOGS, id, 10, T0);
        put(f, SIGNAL_TRACES, id, 10, T0);
    }
    expect_ids(f, SIGNAL_LOGS, 0, id);
    clock_manual_advance(&f->clock, LIMIT_SYNC_NS + 1);
    assert_false(tiny_put(f->s, f->t, SIGNAL_LOGS, id, 10, T0, &f->err));
    assert_int_equal(f->err.code, ERR_BUSY); // come again
    fs_sim_hold_syncs(f->sim, false);
    do
        f->err = ERR_OK;
    while (!tiny_put(f->s, f->t, SIGNAL_LOGS, id, 10, T0, &f->err) && f->err.code == ERR_BUSY);
    assert_int_equal(f->err.code, ERR_NONE);
    reopen(f); // closing syncs
    fs_sim_crash(f->sim);
    reopen(f);
    expect_ids(f, SIGNAL_LOGS, 0, id + 10);
    expect_ids(f, SIGNAL_TRACES, 10, id - 10);
}

/* A sync that fails after later writes were acknowledged: all of them are sealed from memory. */
static void test_late_sync_error(void **state)
{
    struct fixture *f = *state;
    f->o.no_background = false;
    f->o.sync = SYNC_INTERVAL;
    reopen(f);
    put(f, SIGNAL_LOGS, 0, 10, T0);
    fs_sim_hold_syncs(f->sim, true);
    clock_manual_advance(&f->clock, NS_PER_S);
    put(f, SIGNAL_LOGS, 10, 10, T0); // its turn starts the sync
    while (fs_sim_held_syncs(f->sim) == 0)
        (void)sched_yield();
    put(f, SIGNAL_LOGS, 20, 10, T0);
    struct store_stats before, now;
    store_stats(f->s, &before);
    fs_sim_fail_at(f->sim, fs_sim_ops(f->sim), 5 /* EIO */, 1); // the sync, when it is let go
    fs_sim_hold_syncs(f->sim, false);
    do {
        (void)sched_yield();
        store_stats(f->s, &now);
    } while (now.syncs == before.syncs || now.signal[SIGNAL_LOGS].sealed == 0);
    put(f, SIGNAL_LOGS, 30, 10, T0);
    expect_ids(f, SIGNAL_LOGS, 0, 40);
    reopen(f);
    fs_sim_crash(f->sim);
    reopen(f);
    expect_ids(f, SIGNAL_LOGS, 0, 40);
}

/* Making a log file fails at its sync, and so does removing it: the next process replays what only
 * the page cache still has, and goes on. What it acknowledges does not rest on that. */
static void test_failed_sync_before_restart(void **state)
{
    struct fixture *f = *state;
    uint64_t id = 0;
    for (uint64_t i = 0; i < 8 * 6; i++) {
        struct err err = ERR_OK;
        maintain(f, true); // the next write makes a log file
        fs_sim_fail_at(f->sim, fs_sim_ops(f->sim) + i / 6, 5 /* EIO */, 1 + i % 6);
        bool ok = tiny_put(f->s, f->t, SIGNAL_LOGS, id, 3, T0, &err);
        fs_sim_fail_at(f->sim, UINT64_MAX, 0, 0);
        reopen(f);
        struct tiny_recs recs = {0};
        assert_true(tiny_read_all(f->s, f->t, SIGNAL_LOGS, &recs, &f->err));
        assert_true(recs.n == id + 3 || (!ok && recs.n == id)); // refused: once, or not at all
        if (recs.n == id)
            put(f, SIGNAL_LOGS, id, 3, T0);
        vec_free(&recs);
        put(f, SIGNAL_LOGS, id + 3, 3, T0); // the same keys
        id += 6;
        fs_sim_crash(f->sim);
        reopen(f);
        expect_ids(f, SIGNAL_LOGS, 0, id);
    }
}

/* Interval mode: a sync fails, a part of the segments is there, the power goes. The log says that
 * the set is not whole, so it must be on the disk, whatever a second sync claims. */
static void test_failed_sync_before_seal(void **state)
{
    struct fixture *f = *state;
    f->o.sync = SYNC_INTERVAL;
    reopen(f);
    uint64_t id = 0;
    for (uint64_t at = 0; at < 60; at++) {
        struct err err = ERR_OK;
        put(f, SIGNAL_LOGS, id, 10, T0 + TINY_HOUR - 5 * NS_PER_S); // two hours: two files
        clock_manual_advance(&f->clock, NS_PER_S);
        fs_sim_fail_at(f->sim, fs_sim_ops(f->sim) + 1, 5 /* EIO */, 1); // write, sync
        put(f, SIGNAL_LOGS, id + 10, 10, T0 + TINY_HOUR - 5 * NS_PER_S);
        fs_sim_crash_at(f->sim, fs_sim_ops(f->sim) + at);
        (void)!store_maintain(f->s, true, &err);
        store_close(f->s);
        f->s = NULL;
        fs_sim_crash(f->sim);
        reopen(f);
        struct tiny_recs recs = {0};
        assert_true(tiny_read_all(f->s, f->t, SIGNAL_LOGS, &recs, &f->err));
        assert_int_equal((recs.n - id) % 10, 0); // whole batches
        for (size_t i = 0; i < recs.n; i++)      // the next round begins with what is there
            assert_true(recs.v[i].id < id + 20);
        bool has_first = false, has_second = false;
        for (size_t i = 0; i < recs.n; i++) {
            has_first = has_first || recs.v[i].id == id;
            has_second = has_second || recs.v[i].id == id + 10;
        }
        vec_free(&recs);
        if (!has_first)
            put(f, SIGNAL_LOGS, id, 10, T0);
        if (!has_second)
            put(f, SIGNAL_LOGS, id + 10, 10, T0);
        id += 20;
        maintain(f, true);
        expect_ids(f, SIGNAL_LOGS, 0, id);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_visible_at_once_and_after_restart),
        T(test_seal),
        T(test_snapshot_range),
        T(test_freeze_by_size_and_age),
        T(test_tenants),
        T(test_many_tenants),
        T(test_empty_days),
        T(test_encode_refuses),
        T(test_log_errors),
        T(test_disk_full_recovers),
        T(test_compaction),
        T(test_retention),
        T(test_retention_after_jump),
        T(test_free_space),
        T(test_full_disk_with_log_only),
        T(test_removed_segment),
        T(test_damaged_segment_is_set_aside),
        T(test_stuck_removal),
        T(test_stuck_merge),
        T(test_unsealable_tenant),
        T(test_lock),
        T(test_check),
        T(test_interval_sync),
        T(test_write_budget),
        T(test_slow_sync),
        T(test_late_sync_error),
        T(test_failed_sync_before_restart),
        T(test_failed_sync_before_seal),
        T(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
