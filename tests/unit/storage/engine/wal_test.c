/* wal_test.c - the log alone: parts, torn tails, damage, failed writes, dropping. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "storage/base/log.h"
#include "storage/engine/wal.h"
#include "tests/sim/fs_sim.h"

struct fixture {
    struct fs_sim *sim;
    struct fs *fs;
    struct wal *wal;
    bool is_lazy;
    uint64_t damaged;
    struct err err;
    // what a replay gave
    struct buf got;
    struct wal_replay_stats stats;
};

static void open_wal(struct fixture *f, uint64_t part_bytes)
{
    struct wal_options o = {.fs = f->fs,
                            .dir = STR("wal"),
                            .letter = 'l',
                            .part_bytes = part_bytes,
                            .is_lazy = f->is_lazy};
    wal_close(f->wal);
    f->wal = NULL;
    assert_true(wal_open(&o, &f->wal, &f->damaged, &f->err));
}

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));
    log_set_level(LOG_LEVEL_NONE);
    f->sim = fs_sim_open(3);
    f->fs = fs_sim_fs(f->sim);
    buf_init(&f->got, GIB);
    assert_true(fs_mkdir(f->fs, STR("wal"), &f->err));
    open_wal(f, 0);
    assert_true(wal_start(f->wal, 1, &f->err));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    wal_close(f->wal);
    buf_deinit(&f->got);
    fs_sim_close(f->sim);
    mem_free(f);
    return 0;
}

static bool write_record(struct fixture *f, const char *text, struct err *err)
{
    wal_put(f->wal, STR("t"), str_c(text), 7, 1000 * NS_PER_S);
    return wal_write(f->wal, err);
}

static void put(struct fixture *f, const char *text)
{
    if (!write_record(f, text, &f->err))
        fail_msg("%s", f->err.text);
}

static bool on_record(void *ctx, str tenant, str payload, struct err *err)
{
    struct fixture *f = ctx;
    assert_true(str_is(tenant, "t"));
    if (str_is(payload, "BAD"))
        return err_set(err, ERR_CORRUPT, "bad");
    buf_add(&f->got, payload);
    buf_add_char(&f->got, ' ');
    return true;
}

/* Reopens and replays all generations. */
static void replay(struct fixture *f)
{
    struct arena a;
    struct wal_gen *gens;
    size_t n;
    open_wal(f, 0);
    arena_init(&a, SIZE_MAX, NULL);
    buf_clear(&f->got);
    f->stats = (struct wal_replay_stats){0};
    wal_gens(f->wal, &a, &gens, &n);
    uint32_t gen = 1;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(gens[i].first_seq, 7);
        assert_true(gens[i].created_ns == 1000 * NS_PER_S);
        gen = gens[i].gen;
        assert_true(wal_replay(f->wal, gen, on_record, f, &f->stats, &f->err));
    }
    arena_deinit(&a);
    assert_true(wal_start(f->wal, gen, &f->err));
}

static void expect_replay(struct fixture *f, const char *want)
{
    replay(f);
    assert_int_equal(f->got.n, strlen(want));
    assert_memory_equal(f->got.p ? f->got.p : "", want, f->got.n);
}

static void test_append_and_replay(void **state)
{
    struct fixture *f = *state;
    expect_replay(f, "");
    put(f, "a");
    put(f, "bb");
    wal_put(f->wal, STR("t"), STR("c1"), 7, 1000 * NS_PER_S);
    wal_put(f->wal, STR("t"), STR("c2"), 7, 1000 * NS_PER_S);
    assert_true(wal_write(f->wal, &f->err));
    assert_true(wal_sync(f->wal, &f->err));
    assert_false(wal_is_dirty(f->wal));
    expect_replay(f, "a bb c1 c2 ");
    put(f, "d"); // a second part of the same generation
    assert_true(fs_exists(f->fs, STR("wal/l-00000001-0001.wal")));
    expect_replay(f, "a bb c1 c2 d ");
    assert_int_equal(f->stats.damaged, 0);
}

static void test_parts_and_generations(void **state)
{
    struct fixture *f = *state;
    open_wal(f, 100);
    assert_true(wal_start(f->wal, 1, &f->err));
    for (int i = 0; i < 6; i++)
        put(f, "0123456789012345678901234567890123456789");
    assert_true(fs_exists(f->fs, STR("wal/l-00000001-0002.wal")));
    uint64_t one = wal_bytes(f->wal);
    assert_true(wal_start(f->wal, 2, &f->err));
    put(f, "x");
    assert_int_equal(wal_gen_bytes(f->wal, 1), one);
    assert_int_equal(wal_bytes(f->wal), one + wal_gen_bytes(f->wal, 2));
    assert_true(wal_drop(f->wal, 1, &f->err));
    assert_int_equal(wal_gen_bytes(f->wal, 1), 0);
    expect_replay(f, "x ");
}

/* A removal is done when it is durable, also when the first try failed half-way. */
static void test_drop_again(void **state)
{
    struct fixture *f = *state;
    put(f, "a");
    assert_true(wal_start(f->wal, 2, &f->err));
    put(f, "x");
    uint64_t at = fs_sim_ops(f->sim);
    fs_sim_fail_at(f->sim, at + 1, 5 /* EIO */, 1); // the unlink works, the folder's sync does not
    assert_false(wal_drop(f->wal, 1, &f->err));
    assert_int_equal(fs_sim_ops(f->sim), at + 2);
    f->err = ERR_OK;
    assert_true(wal_drop(f->wal, 1, &f->err));
    assert_int_equal(fs_sim_ops(f->sim), at + 3);
    fs_sim_crash(f->sim);
    expect_replay(f, "x ");
    assert_true(wal_drop(f->wal, 1, &f->err));
}

static void test_torn_tail(void **state)
{
    struct fixture *f = *state;
    put(f, "a");
    put(f, "b");
    struct buf whole;
    buf_init(&whole, MIB);
    str path = STR("wal/l-00000001-0000.wal");
    assert_true(fs_read_all(f->fs, path, &whole, &f->err));
    for (size_t n = 0; n <= whole.n; n++) {
        struct file *file;
        assert_true(fs_open(f->fs, path, FS_WRITE | FS_CREATE | FS_TRUNCATE, &file, &f->err));
        assert_true(fs_pwrite(f->fs, file, str_sub(buf_str(&whole), 0, n), 0, &f->err));
        fs_close(f->fs, file);
        // the padding (24 bytes body and head: 40 + 24 = 64) does not need to be whole
        expect_replay(f, n < 40 + 14 ? "" : n < 40 + 16 + 14 ? "a " : "a b ");
        assert_int_equal(f->stats.damaged, 0);
    }
    buf_deinit(&whole);
    put(f, "c");
    expect_replay(f, "a b c ");
}

static void test_damage_before_the_last_part(void **state)
{
    struct fixture *f = *state;
    put(f, "a");
    put(f, "b");
    put(f, "c");
    assert_true(wal_start(f->wal, 1, &f->err));
    put(f, "d");
    fs_sim_flip(f->sim, STR("wal/l-00000001-0000.wal"), 40 + 16 + 13, 1);
    expect_replay(f, "a d ");
    assert_int_equal(f->stats.damaged, 1);
}

static void test_unreadable_payload_is_counted(void **state)
{
    struct fixture *f = *state;
    put(f, "a");
    put(f, "BAD");
    put(f, "c");
    expect_replay(f, "a c ");
    assert_int_equal(f->stats.damaged, 1);
}

static void test_unreadable_header(void **state)
{
    struct fixture *f = *state;
    put(f, "a");
    assert_true(wal_start(f->wal, 1, &f->err));
    put(f, "b");
    fs_sim_flip(f->sim, STR("wal/l-00000001-0000.wal"), 9, 1);
    expect_replay(f, "b ");
    assert_int_equal(f->damaged, 1);
    assert_true(fs_exists(f->fs, STR("wal/l-00000001-0000.wal.bad")));
    expect_replay(f, "b ");
    assert_int_equal(f->damaged, 1);
}

/* Records of another file with the same offsets never fit. */
static void test_foreign_records(void **state)
{
    struct fixture *f = *state;
    put(f, "a");
    put(f, "b");
    assert_true(wal_start(f->wal, 1, &f->err));
    put(f, "c");
    struct buf first;
    struct file *file;
    buf_init(&first, MIB);
    assert_true(fs_read_all(f->fs, STR("wal/l-00000001-0000.wal"), &first, &f->err));
    assert_true(fs_open(f->fs, STR("wal/l-00000001-0001.wal"), FS_WRITE, &file, &f->err));
    assert_true(fs_pwrite(f->fs, file, str_sub(buf_str(&first), 56, first.n), 56, &f->err));
    fs_close(f->fs, file);
    buf_deinit(&first);
    expect_replay(f, "a b c ");
}

/* A write fails at any operation: the record is not replayed after a later one was written. */
static void test_failed_writes(void **state)
{
    struct fixture *f = *state;
    struct buf want;
    buf_init(&want, MIB);
    uint32_t gen = 1;
    for (uint64_t at = 0; at < 6; at++) {
        for (uint64_t count = 1; count < 6; count++) {
            struct err err = ERR_OK;
            char text[32];
            fs_sim_fail_at(f->sim, fs_sim_ops(f->sim) + at, 5, count);
            for (int i = 0; i < 40; i++) {
                (void)snprintf(text, sizeof(text), "%u-%u-%d", (unsigned)at, (unsigned)count, i);
                err = ERR_OK;
                bool ok = write_record(f, text, &err);
                if (ok && !wal_sync(f->wal, &err)) {
                    wal_take_back(f->wal);
                    ok = false;
                }
                if (ok)
                    buf_fmt(&want, "%s ", text);
                else
                    (void)!wal_start(f->wal, ++gen, &err);
            }
            fs_sim_fail_at(f->sim, UINT64_MAX, 0, 0);
        }
    }
    buf_u8(&want, 0);
    expect_replay(f, want.p);
    assert_int_equal(f->stats.damaged, 0);
    buf_deinit(&want);
}

static void fresh_disk(struct fixture *f, uint64_t seed)
{
    wal_close(f->wal);
    f->wal = NULL;
    fs_sim_close(f->sim);
    f->sim = fs_sim_open(seed);
    f->fs = fs_sim_fs(f->sim);
    assert_true(fs_mkdir(f->fs, STR("wal"), &f->err));
    assert_true(fs_sync_dir(f->fs, STR("."), &f->err));
    open_wal(f, 0);
    assert_true(wal_start(f->wal, 1, &f->err));
}

/* A write fails at any operation and the process is started anew: what a replay gave once is there
 * after a power cut, too, although a failed sync made the kernel forget it, with what followed. */
static void test_replayed_is_durable(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 0; i < 10 * 6 * 8; i++) {
        uint64_t seed = i / 48, at = i / 8 % 6, count = 1 + i % 8;
        fresh_disk(f, seed);
        struct err err = ERR_OK;
        fs_sim_fail_at(f->sim, fs_sim_ops(f->sim) + at, 5 /* EIO */, count);
        if (write_record(f, "a", &err) && write_record(f, "b", &err))
            (void)!wal_sync(f->wal, &err);
        fs_sim_fail_at(f->sim, UINT64_MAX, 0, 0);
        replay(f);
        put(f, "z");
        assert_true(wal_sync(f->wal, &f->err));
        char want[64];
        (void)snprintf(want, sizeof(want), "%.*sz ", (int)f->got.n, f->got.n > 0 ? f->got.p : "");
        fs_sim_crash(f->sim);
        expect_replay(f, want);
        assert_int_equal(f->stats.damaged, 0);
    }
}

/* Interval mode: a sync fails, the next generation begins, and the process is killed before the
 * first is sealed. Whoever reads them has both, whenever the power goes. */
static void test_failed_sync_of_an_older_generation(void **state)
{
    struct fixture *f = *state;
    f->is_lazy = true;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct err err = ERR_OK;
        fresh_disk(f, seed);
        put(f, "a");
        assert_true(wal_sync(f->wal, &f->err));
        put(f, "b");
        fs_sim_fail_at(f->sim, fs_sim_ops(f->sim), 5 /* EIO */, 1);
        assert_false(wal_sync(f->wal, &err));
        assert_true(wal_start(f->wal, 2, &f->err));
        put(f, "c");
        expect_replay(f, "a b c ");
        fs_sim_crash(f->sim);
        expect_replay(f, "a b c ");
    }
}

/* No room for a copy of the log: that is told, and nothing is lost. */
static void test_replay_without_room(void **state)
{
    struct fixture *f = *state;
    put(f, "a");
    fs_sim_set_capacity(f->sim, 1);
    expect_replay(f, "a ");
    assert_int_equal(f->stats.unsure, 1);
    fs_sim_set_capacity(f->sim, 0);
    expect_replay(f, "a ");
    assert_int_equal(f->stats.unsure, 0);
    assert_false(fs_exists(f->fs, STR("wal/.l-00000001-0000.new")));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_append_and_replay),
        T(test_parts_and_generations),
        T(test_drop_again),
        T(test_torn_tail),
        T(test_damage_before_the_last_part),
        T(test_unreadable_payload_is_counted),
        T(test_unreadable_header),
        T(test_foreign_records),
        T(test_failed_writes),
        T(test_replayed_is_durable),
        T(test_failed_sync_of_an_older_generation),
        T(test_replay_without_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
