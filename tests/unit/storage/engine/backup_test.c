/* backup_test.c - copies of a store's directory on the simulated disk: while it is written, sealed
 * and compacted, cut off at every operation, on a full disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sched.h>

#include "storage/base/log.h"
#include "tests/sim/fs_sim.h"
#include "tests/sim/tiny_signal.h"

#define T0 INT64_C(1795132800000000000)

struct fixture {
    struct fs_sim *sim;
    struct clock clock;
    struct store_options o;
    struct store *s;
    struct store_tenant *t;
    struct err err;
};

static void open_source(struct fixture *f)
{
    assert_true(store_open_with(&f->o, tiny_ops, &f->s, &f->err));
    assert_true(store_tenant(f->s, STORE_TENANT_DEFAULT, true, &f->t, &f->err));
}

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));
    f->sim = fs_sim_open(3);
    clock_manual_init(&f->clock, T0);
    store_options_default(&f->o);
    f->o.fs = fs_sim_fs(f->sim);
    f->o.clock = &f->clock;
    f->o.dir = STR("/data");
    f->o.sync = SYNC_ALWAYS;
    f->o.free_bytes_min = 0;
    f->o.window_past_ns = f->o.window_future_ns = 0;
    f->o.no_background = true;
    for (int k = 0; k < SIGNAL_COUNT; k++)
        f->o.retention_ns[k] = 0;
    log_set_level(LOG_LEVEL_NONE);
    open_source(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    store_close(f->s);
    fs_sim_close(f->sim);
    mem_free(f);
    return 0;
}

static bool backup(struct fixture *f, struct store_backup_stats *st, struct err *err)
{
    struct store_backup_options o = {
        .fs = f->o.fs, .from = STR("/data"), .to = STR("/copy"), .name = STR("/data")};
    return store_backup(&o, st, err);
}

static void put(struct fixture *f, uint64_t first, size_t n)
{
    for (int k = 0; k < SIGNAL_COUNT; k++)
        assert_true(
            tiny_put(f->s, f->t, (enum signal)k, first, n, clock_now_ns(&f->clock), &f->err));
}

static void maintain(struct fixture *f)
{
    assert_true(store_maintain(f->s, true, &f->err));
}

/* Ids 0..n-1 are in the copy, each once; returns n. */
static size_t copy_count(struct fixture *f, enum signal sig)
{
    struct store_options o = f->o;
    struct store *s;
    struct store_tenant *t;
    struct tiny_recs recs = {0};
    struct err err = ERR_OK;
    o.dir = STR("/copy");
    if (!store_open_with(&o, tiny_ops, &s, &err))
        fail_msg("%s", err.text);
    assert_true(store_tenant(s, STORE_TENANT_DEFAULT, true, &t, &err));
    if (!tiny_read_all(s, t, sig, &recs, &err))
        fail_msg("%s", err.text);
    size_t n = recs.n;
    bool *seen = mem_zalloc(n + 1);
    for (size_t i = 0; i < n; i++) {
        assert_true(recs.v[i].id < n);
        assert_false(seen[recs.v[i].id]);
        seen[recs.v[i].id] = true;
    }
    mem_free(seen);
    vec_free(&recs);
    store_close(s);
    return n;
}

static void print_line(void *ctx, const char *line)
{
    (void)ctx;
    print_message("%s\n", line);
}

static void expect_good(struct fixture *f)
{
    uint64_t faults;
    bool ok = store_check_with(f->o.fs, STR("/copy"), tiny_ops, print_line, NULL, &faults, &f->err);
    assert_true(ok);
}

static void test_incremental(void **state)
{
    struct fixture *f = *state;
    struct store_backup_stats st;
    put(f, 0, 10);
    maintain(f);
    put(f, 10, 10);
    assert_true(backup(f, &st, &f->err)); // segments and logs of a store that is open
    assert_int_equal(st.copied_files, 6);
    assert_int_equal(st.rounds, 1);
    expect_good(f);
    assert_true(backup(f, &st, &f->err)); // only the logs, which may have grown
    assert_int_equal(st.copied_files, 3);
    assert_int_equal(st.removed_files, 0);
    maintain(f);
    assert_true(backup(f, &st, &f->err));
    assert_int_equal(st.copied_files, 3);
    assert_int_equal(st.removed_files, 3); // the logs
    expect_good(f);
    for (int k = 0; k < SIGNAL_COUNT; k++)
        assert_int_equal(copy_count(f, (enum signal)k), 20);
    assert_false(fs_exists(f->o.fs, STR("/copy/.incoming")));
}

static void reopen(struct fixture *f)
{
    store_close(f->s);
    open_source(f);
}

/* After a restart logs have the numbers, and may have the sizes, of logs that are sealed. */
static void test_logs_of_the_same_name(void **state)
{
    struct fixture *f = *state;
    struct store_backup_stats st;
    for (int k = 0; k < SIGNAL_COUNT; k++)
        f->o.head_bytes[k] = 2 * TINY_BYTES; // each write fills a generation
    for (uint64_t id = 0; id < 4 * 3 * 4; id += 4) {
        if (id % (3 * 4) == 0) {
            maintain(f);
            reopen(f);
        }
        put(f, id, 4);
        assert_true(backup(f, &st, &f->err));
    }
    for (int k = 0; k < SIGNAL_COUNT; k++)
        assert_int_equal(copy_count(f, (enum signal)k), 48);
}

/* Somebody tries the copy, and the store seals there what the source seals otherwise. */
static void test_opened_copy(void **state)
{
    struct fixture *f = *state;
    struct store_backup_stats st;
    struct store_options o = f->o;
    struct store *copy;
    put(f, 0, 4);
    assert_true(backup(f, &st, &f->err));
    o.dir = STR("/copy");
    assert_true(store_open_with(&o, tiny_ops, &copy, &f->err));
    assert_true(store_maintain(copy, true, &f->err));
    store_close(copy);
    put(f, 4, 4); // at the same time: the segment gets the same name
    maintain(f);
    assert_true(backup(f, &st, &f->err));
    assert_int_equal(st.copied_files, st.files);
    expect_good(f);
    assert_true(backup(f, &st, &f->err));
    assert_int_equal(st.copied_files, 0);
    for (int k = 0; k < SIGNAL_COUNT; k++)
        assert_int_equal(copy_count(f, (enum signal)k), 8);
}

static void test_refusals(void **state)
{
    struct fixture *f = *state;
    struct store_backup_stats st;
    struct store_backup_options o = {
        .fs = f->o.fs, .from = STR("/data"), .to = STR("/data/copy"), .name = STR("/data")};
    assert_false(store_backup(&o, &st, &f->err));
    assert_int_equal(f->err.code, ERR_INVALID);
    assert_false(fs_exists(f->o.fs, o.to));
    f->err = ERR_OK;
    o.to = STR("/data");
    assert_false(store_backup(&o, &st, &f->err));
    f->err = ERR_OK;
    o.from = STR("/nothing");
    o.to = STR("/copy");
    assert_false(store_backup(&o, &st, &f->err));
    assert_int_equal(f->err.code, ERR_NOT_FOUND);
    f->err = ERR_OK;
    assert_true(backup(f, &st, &f->err));
    o.from = STR("/data");
    o.name = STR("/elsewhere");
    assert_false(store_backup(&o, &st, &f->err));
    assert_int_equal(f->err.code, ERR_INVALID);
    assert_true(str_find(str_c(f->err.text), STR("another store")) != SIZE_MAX);
    f->err = ERR_OK;
    assert_true(fs_mkdir(f->o.fs, STR("/mine/photos"), &f->err));
    o.to = STR("/mine");
    assert_false(store_backup(&o, &st, &f->err));
    assert_true(str_find(str_c(f->err.text), STR("no backup")) != SIZE_MAX);
    f->err = ERR_OK;
    struct file *lock; // a server runs on the copy
    assert_true(fs_lock(f->o.fs, STR("/copy/LOCK"), &lock, &f->err));
    assert_false(backup(f, &st, &f->err));
    assert_int_equal(f->err.code, ERR_BUSY);
    fs_close(f->o.fs, lock);
}

/* Days of records, compacted: the second copy has other files than the first one. */
static void make_history(struct fixture *f, uint64_t *next, int rounds)
{
    for (int i = 0; i < rounds; i++) {
        put(f, *next, 5);
        *next += 5;
        if (i % 2 == 0)
            maintain(f);
        clock_manual_advance(&f->clock, 4 * TINY_HOUR);
    }
}

static void test_cut_off(void **state)
{
    struct fixture *f = *state;
    struct store_backup_stats st;
    uint64_t next = 0;
    make_history(f, &next, 6);
    assert_true(backup(f, &st, &f->err));
    uint64_t before = next;
    for (uint64_t at = 0;; at += 1 + at / 5) { // the history grows with each: few of them
        make_history(f, &next, 9);
        store_close(f->s); // a power cut must not touch the source
        f->s = NULL;
        struct err err = ERR_OK;
        fs_sim_crash_at(f->sim, fs_sim_ops(f->sim) + at);
        bool ok = backup(f, &st, &err);
        fs_sim_crash(f->sim);
        size_t have = copy_count(f, SIGNAL_LOGS);
        if (have != before && have != next)
            fail_msg("cut at %llu: %zu records, neither %llu nor %llu", (unsigned long long)at,
                     have, (unsigned long long)before, (unsigned long long)next);
        assert_true(!ok || have == next);
        for (int k = 0; k < SIGNAL_COUNT; k++)
            assert_int_equal(copy_count(f, (enum signal)k), have);
        open_source(f);
        assert_true(backup(f, &st, &f->err));
        assert_int_equal(copy_count(f, SIGNAL_LOGS), next);
        expect_good(f);
        before = next;
        if (ok)
            break;
    }
}

static void test_full_disk(void **state)
{
    struct fixture *f = *state;
    struct store_backup_stats st;
    uint64_t next = 0;
    make_history(f, &next, 4);
    assert_true(backup(f, &st, &f->err));
    uint64_t before = next;
    make_history(f, &next, 9);
    uint64_t free_bytes, total;
    fs_sim_set_capacity(f->sim, (uint64_t)1 << 40);
    assert_true(fs_space(f->o.fs, STR("/"), &free_bytes, &total, &f->err));
    for (uint64_t room = 0;; room = room * 2 + 5000) {
        struct err err = ERR_OK;
        fs_sim_set_capacity(f->sim, total - free_bytes + room);
        bool ok = backup(f, &st, &err);
        fs_sim_set_capacity(f->sim, 0);
        if (ok)
            break;
        assert_int_equal(err.code, ERR_UNAVAILABLE);
        assert_false(fs_exists(f->o.fs, STR("/copy/.incoming/default")));
        assert_int_equal(copy_count(f, SIGNAL_LOGS), before);
    }
    assert_int_equal(copy_count(f, SIGNAL_LOGS), next);
}

/* ---- with a busy store ---- */

#define WRITES_A_ROUND 30

struct busy {
    struct fixture *f;
    atomic_bool stop;
    atomic_int rounds; // of the backup, begun
    _Atomic uint64_t acknowledged;
};

static void *write_all_the_time(void *arg)
{
    struct busy *b = arg;
    uint64_t next = 0;
    for (int i = 0; !atomic_load(&b->stop); i++) {
        while (i > WRITES_A_ROUND * (atomic_load(&b->rounds) + 1) && !atomic_load(&b->stop))
            (void)sched_yield(); // or the copies would never be through with its files
        put(b->f, next, 3);
        next += 3;
        atomic_store(&b->acknowledged, next);
        if (i % 3 == 0)
            maintain(b->f);
        clock_manual_advance(&b->f->clock, 2 * TINY_HOUR);
    }
    return NULL;
}

static void test_busy_store(void **state)
{
    struct fixture *f = *state;
    struct busy b = {.f = f};
    pthread_t thread;
    unsigned good = 0;
    assert_int_equal(pthread_create(&thread, NULL, write_all_the_time, &b), 0);
    for (int i = 0; i < 30; i++) {
        struct store_backup_stats st;
        struct err err = ERR_OK;
        uint64_t before = atomic_load(&b.acknowledged);
        atomic_store(&b.rounds, i);
        if (!backup(f, &st, &err)) { // names change every millisecond here
            assert_int_equal(err.code, ERR_BUSY);
            continue;
        }
        good++;
        uint64_t after = atomic_load(&b.acknowledged) + 3;
        for (int k = 0; k < SIGNAL_COUNT; k++) {
            size_t n = copy_count(f, (enum signal)k);
            assert_true(n >= before && n <= after);
        }
        expect_good(f);
    }
    atomic_store(&b.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(good > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_incremental, setup, teardown),
        cmocka_unit_test_setup_teardown(test_logs_of_the_same_name, setup, teardown),
        cmocka_unit_test_setup_teardown(test_opened_copy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cut_off, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_busy_store, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
