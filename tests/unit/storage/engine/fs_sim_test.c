/* fs_sim_test.c - the simulated disk keeps its promises: what was synced survives every crash, what
 * was not may be lost or torn but never invented, and faults come where they were ordered. */
#include "tests/sim/fs_sim.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/prng.h"

static struct err err;

#define must(call)                               \
    do {                                         \
        if (!(call))                             \
            fail_msg("%s: %s", #call, err.text); \
    } while (0)

static void put(struct fs *fs, str path, str text, bool is_synced)
{
    struct file *f;
    must(fs_open(fs, path, FS_WRITE | FS_CREATE | FS_TRUNCATE, &f, &err));
    must(fs_pwrite(fs, f, text, 0, &err));
    if (is_synced)
        must(fs_sync(fs, f, &err));
    fs_close(fs, f);
}

static bool get(struct fs *fs, str path, struct buf *b)
{
    buf_clear(b);
    return fs_read_all(fs, path, b, &err);
}

static void test_is_a_file_system(void **state)
{
    (void)state;
    struct fs_sim *sim = fs_sim_open(1);
    struct fs *fs = fs_sim_fs(sim);
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    struct buf b;
    buf_init(&b, MIB);
    struct file *f;
    must(fs_mkdir(fs, STR("/d/e/f"), &err));
    must(fs_mkdir(fs, STR("/d//e/./f/"), &err));
    assert_false(fs_open(fs, STR("/d/none"), FS_READ, &f, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_false(fs_open(fs, STR("/no/folder"), FS_WRITE | FS_CREATE, &f, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_false(fs_open(fs, STR("/d/e"), FS_READ, &f, &err));
    put(fs, STR("/d/b"), STR("hello"), false);
    put(fs, STR("/d/a"), STR("x"), true);
    assert_false(fs_open(fs, STR("/d/a"), FS_WRITE | FS_CREATE | FS_EXCL, &f, &err));
    assert_false(fs_mkdir(fs, STR("/d/a/z"), &err));

    struct fs_entry *list;
    size_t n;
    must(fs_list(fs, STR("/d"), &a, &list, &n, &err));
    assert_int_equal(n, 3);
    assert_true(str_is(list[0].name, "a") && list[0].size == 1 && !list[0].is_dir);
    assert_true(str_is(list[1].name, "b") && list[1].size == 5);
    assert_true(str_is(list[2].name, "e") && list[2].is_dir);
    must(fs_list(fs, STR("/"), &a, &list, &n, &err));
    assert_int_equal(n, 1);
    assert_false(fs_list(fs, STR("/q"), &a, &list, &n, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);

    must(fs_open(fs, STR("/d/b"), FS_READ | FS_WRITE, &f, &err));
    must(fs_pwrite(fs, f, STR("!"), 8, &err)); // leaves a hole of zeros
    char tmp[16];
    size_t got;
    must(fs_pread(fs, f, tmp, sizeof(tmp), 3, &got, &err));
    assert_int_equal(got, 6);
    assert_memory_equal(tmp, "lo\0\0\0!", 6);
    must(fs_truncate(fs, f, 2, &err));
    must(fs_rename(fs, STR("/d/b"), STR("/d/e/c"), &err)); // an open file keeps its content
    must(fs_unlink(fs, STR("/d/e/c"), &err));
    must(fs_pread(fs, f, tmp, sizeof(tmp), 0, &got, &err));
    assert_int_equal(got, 2);
    fs_close(fs, f);
    assert_false(fs_unlink(fs, STR("/d/e/c"), &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_false(fs_rmdir(fs, STR("/d"), &err));
    must(fs_rmdir(fs, STR("/d/e/f"), &err));
    assert_true(fs_exists(fs, STR("/d/e")) && !fs_exists(fs, STR("/d/e/f")));

    struct file *g;
    must(fs_lock(fs, STR("/d/lock"), &f, &err));
    assert_false(fs_lock(fs, STR("/d/lock"), &g, &err));
    assert_int_equal(err.code, ERR_BUSY);
    fs_close(fs, f);
    must(fs_lock(fs, STR("/d/lock"), &g, &err));
    fs_close(fs, g);
    must(fs_open(fs, STR("rel"), FS_WRITE | FS_CREATE, &f, &err));
    fs_close(fs, f);
    must(fs_sync_dir(fs, STR("."), &err));
    buf_deinit(&b);
    arena_deinit(&a);
    fs_sim_close(sim);
}

static void test_synced_survives(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, MIB);
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct fs_sim *sim = fs_sim_open(seed);
        struct fs *fs = fs_sim_fs(sim);
        must(fs_mkdir(fs, STR("/data/seg"), &err));
        put(fs, STR("/data/seg/1"), STR("first"), true);
        put(fs, STR("/data/tmp"), STR("second"), true);
        must(fs_rename(fs, STR("/data/tmp"), STR("/data/seg/2"), &err));
        must(fs_sync_dir(fs, STR("/data/seg"), &err));
        put(fs, STR("/data/seg/3"), STR("third"), true); // name not synced
        must(fs_unlink(fs, STR("/data/seg/1"), &err));   // may come back
        fs_sim_crash(sim);
        must(get(fs, STR("/data/seg/2"), &b));
        assert_true(str_is(buf_str(&b), "second"));
        assert_false(fs_exists(fs, STR("/data/tmp")));
        if (get(fs, STR("/data/seg/1"), &b))
            assert_true(str_is(buf_str(&b), "first"));
        if (get(fs, STR("/data/seg/3"), &b))
            assert_true(str_is(buf_str(&b), "third"));
        else
            assert_true(fs_exists(fs, STR("/data/seg/1"))); // folder changes are lost in order
        fs_sim_close(sim);
    }
    buf_deinit(&b);
}

/* A synced prefix stays; of the rest, each sector is old, new, zero or (garbled) anything; the
 * ways of losing it all occur. */
static void test_unsynced_is_lost_in_many_ways(void **state)
{
    (void)state;
    enum { PART = 2000, SEEDS = 400 };
    unsigned lost = 0, whole = 0, torn = 0, odd = 0;
    struct buf b;
    buf_init(&b, MIB);
    char text[PART];
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct fs_sim *sim = fs_sim_open(seed);
        struct fs *fs = fs_sim_fs(sim);
        struct file *f;
        must(fs_open(fs, STR("f"), FS_WRITE | FS_CREATE, &f, &err));
        must(fs_sync_dir(fs, STR("."), &err));
        memset(text, 'A', PART);
        must(fs_pwrite(fs, f, str_of(text, PART), 0, &err));
        must(fs_sync(fs, f, &err));
        memset(text, 'B', PART);
        must(fs_pwrite(fs, f, str_of(text, PART), PART, &err));
        fs_sim_crash(sim);
        assert_false(fs_pwrite(fs, f, STR("dead"), 0, &err));
        assert_int_equal(err.code, ERR_IO);
        assert_false(fs_sync(fs, f, &err));
        fs_close(fs, f);
        must(get(fs, STR("f"), &b));
        assert_true(b.n >= PART && b.n <= 2 * PART);
        size_t new_bytes = 0, other = 0;
        for (size_t i = 0; i < b.n; i++) {
            if (i < PART)
                assert_int_equal(b.p[i], 'A');
            else if (b.p[i] == 'B')
                new_bytes++;
            else
                other++;
        }
        lost += new_bytes == 0 && other == 0;
        whole += new_bytes == PART;
        torn += other == 0 && new_bytes > 0 && new_bytes < PART;
        odd += other > 0;
        fs_sim_close(sim);
    }
    assert_true(lost > 40 && whole > 40 && torn > 20 && odd > 10);
    buf_deinit(&b);
}

/* An append-only file under every crash point: what a reader finds of synced records is complete.
 */
static void test_crash_at_every_operation(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, MIB);
    for (uint64_t at = 0; at < 60; at++) {
        struct fs_sim *sim = fs_sim_open(at * 7 + 1);
        struct fs *fs = fs_sim_fs(sim);
        fs_sim_crash_at(sim, at);
        struct file *f = NULL;
        uint64_t durable = 0, tried = 0;
        bool ok = fs_mkdir(fs, STR("/d"), &err) &&
                  fs_open(fs, STR("/d/log"), FS_WRITE | FS_CREATE, &f, &err) &&
                  fs_sync_dir(fs, STR("/d"), &err);
        while (ok && tried < 20) {
            char rec[100];
            memset(rec, (int)('a' + tried % 26), sizeof(rec));
            ok = fs_pwrite(fs, f, str_of(rec, sizeof(rec)), tried * sizeof(rec), &err);
            tried++;
            ok = ok && fs_sync(fs, f, &err);
            if (ok)
                durable = tried;
        }
        if (!ok) {
            assert_int_equal(err.code, ERR_IO);
            assert_non_null(strstr(err.text, "simulated crash"));
            assert_false(fs_exists(fs, STR("/d")));
            assert_false(get(fs, STR("/d/log"), &b));
        }
        fs_close(fs, f);
        fs_sim_crash(sim);
        if (durable > 0) {
            must(get(fs, STR("/d/log"), &b));
            assert_true(b.n >= durable * 100 && b.n <= tried * 100);
            for (size_t i = 0; i < durable * 100; i++)
                assert_int_equal(b.p[i], 'a' + (int)(i / 100 % 26));
        }
        put(fs, STR("again"), STR("usable"), true);
        fs_sim_close(sim);
    }
    buf_deinit(&b);
}

static void test_faults(void **state)
{
    (void)state;
    struct fs_sim *sim = fs_sim_open(5);
    struct fs *fs = fs_sim_fs(sim);
    struct file *f;
    must(fs_open(fs, STR("f"), FS_READ | FS_WRITE | FS_CREATE, &f, &err));
    uint64_t ops = fs_sim_ops(sim);
    fs_sim_fail_at(sim, ops + 1, ENOSPC, 2);
    must(fs_pwrite(fs, f, STR("one"), 0, &err));
    assert_false(fs_pwrite(fs, f, STR("two"), 3, &err));
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_false(fs_sync(fs, f, &err));
    must(fs_pwrite(fs, f, STR("two"), 3, &err));
    must(fs_sync(fs, f, &err));
    assert_int_equal(fs_sim_ops(sim), ops + 5);
    fs_sim_fail_at(sim, fs_sim_ops(sim), EIO, 1);
    assert_false(fs_rename(fs, STR("f"), STR("g"), &err));
    assert_int_equal(err.code, ERR_IO);
    must(fs_rename(fs, STR("f"), STR("g"), &err));
    fs_close(fs, f);
    fs_sim_close(sim);
}

/* After a failed sync, one that succeeds proves nothing about the older writes. */
static void test_failed_sync_forgets(void **state)
{
    (void)state;
    unsigned lost = 0;
    struct buf b;
    buf_init(&b, MIB);
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct fs_sim *sim = fs_sim_open(seed);
        struct fs *fs = fs_sim_fs(sim);
        struct file *f;
        must(fs_open(fs, STR("f"), FS_READ | FS_WRITE | FS_CREATE, &f, &err));
        must(fs_sync_dir(fs, STR("."), &err));
        must(fs_pwrite(fs, f, STR("payload"), 0, &err));
        fs_sim_fail_at(sim, fs_sim_ops(sim), EIO, 1);
        assert_false(fs_sync(fs, f, &err));
        must(fs_sync(fs, f, &err));
        fs_close(fs, f);
        must(get(fs, STR("f"), &b));
        assert_true(str_is(buf_str(&b), "payload")); // still there to be seen
        fs_sim_crash(sim);
        must(get(fs, STR("f"), &b));
        lost += !str_is(buf_str(&b), "payload");
        fs_sim_close(sim);
    }
    assert_true(lost > 20 && lost < 90);
    buf_deinit(&b);
}

static void test_capacity_and_rot(void **state)
{
    (void)state;
    struct fs_sim *sim = fs_sim_open(5);
    struct fs *fs = fs_sim_fs(sim);
    struct file *f;
    uint64_t free_bytes, total;
    must(fs_space(fs, STR("/"), &free_bytes, &total, &err));
    assert_true(free_bytes > GIB);
    fs_sim_set_capacity(sim, 1000);
    must(fs_open(fs, STR("f"), FS_READ | FS_WRITE | FS_CREATE, &f, &err));
    char text[600];
    memset(text, 'x', sizeof(text));
    must(fs_pwrite(fs, f, str_of(text, 600), 0, &err));
    assert_false(fs_pwrite(fs, f, str_of(text, 600), 600, &err));
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    must(fs_pwrite(fs, f, str_of(text, 600), 100, &err)); // overwrites, mostly
    must(fs_space(fs, STR("f"), &free_bytes, &total, &err));
    assert_int_equal(total, 1000);
    assert_int_equal(free_bytes, 300);
    must(fs_unlink(fs, STR("f"), &err));
    must(fs_sync_dir(fs, STR("."), &err));
    fs_close(fs, f);
    must(fs_space(fs, STR("/"), &free_bytes, &total, &err));
    assert_int_equal(free_bytes, 1000);

    struct buf b;
    buf_init(&b, 100);
    put(fs, STR("r"), STR("abc"), true);
    fs_sim_flip(sim, STR("r"), 1, 0x01);
    must(get(fs, STR("r"), &b));
    assert_true(str_is(buf_str(&b), "acc"));
    buf_deinit(&b);
    must(fs_open(fs, STR("left-open"), FS_WRITE | FS_CREATE, &f, &err));
    fs_sim_close(sim); // frees it
}

/* Random life: never a crash of the simulator, counts balance, the same seed gives the same end. */
static uint64_t random_life(uint64_t seed)
{
    struct fs_sim *sim = fs_sim_open(seed);
    struct fs *fs = fs_sim_fs(sim);
    struct prng r;
    prng_init(&r, seed);
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    struct file *open[3] = {0};
    uint64_t sum = 0;
    char text[1500];
    memset(text, 'q', sizeof(text));
    for (int step = 0; step < 400; step++) {
        str p = arena_fmt(&a, "d%d/f%d", (int)prng_below(&r, 3), (int)prng_below(&r, 4));
        str q = arena_fmt(&a, "d%d/f%d", (int)prng_below(&r, 3), (int)prng_below(&r, 4));
        str dir = str_sub(p, 0, 2);
        size_t slot = (size_t)prng_below(&r, 3), n = 0;
        uint64_t off = prng_below(&r, 3000);
        struct fs_entry *list;
        bool ok = true;
        switch (prng_below(&r, 13)) {
        case 0:
            ok = fs_mkdir(fs, dir, &err);
            break;
        case 1:
        case 2:
            fs_close(fs, open[slot]);
            open[slot] = NULL;
            ok = fs_open(fs, p, FS_READ | FS_WRITE | FS_CREATE, &open[slot], &err);
            break;
        case 3:
        case 4:
        case 5:
            ok = open[slot] &&
                 fs_pwrite(fs, open[slot], str_of(text, (size_t)prng_below(&r, sizeof(text))), off,
                           &err);
            break;
        case 6:
            ok = open[slot] && fs_sync(fs, open[slot], &err);
            break;
        case 7:
            ok = open[slot] && fs_truncate(fs, open[slot], off, &err);
            break;
        case 8:
            ok = fs_rename(fs, p, q, &err);
            break;
        case 9:
            ok = fs_unlink(fs, p, &err);
            break;
        case 10:
            ok = fs_sync_dir(fs, prng_below(&r, 2) ? dir : STR("."), &err);
            break;
        case 11:
            ok = fs_list(fs, dir, &a, &list, &n, &err);
            break;
        default:
            if (prng_below(&r, 4) == 0)
                fs_sim_crash(sim);
            else
                fs_sim_fail_at(sim, fs_sim_ops(sim) + 2, EIO, 1);
        }
        sum = sum * 31 + ok + n;
    }
    for (size_t i = 0; i < COUNTOF(open); i++)
        fs_close(fs, open[i]);
    sum = sum * 31 + fs_sim_ops(sim);
    arena_deinit(&a);
    fs_sim_close(sim);
    return sum;
}

static void test_random_life(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 150; seed++)
        assert_true(random_life(seed) == random_life(seed));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_is_a_file_system),
        cmocka_unit_test(test_synced_survives),
        cmocka_unit_test(test_unsynced_is_lost_in_many_ways),
        cmocka_unit_test(test_crash_at_every_operation),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_failed_sync_forgets),
        cmocka_unit_test(test_capacity_and_rot),
        cmocka_unit_test(test_random_life),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
