/* segment_test.c - a segment written, read back, damaged, shared; on the simulated disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "storage/engine/segment_file.h"
#include "tests/sim/fs_sim.h"

#define T0 INT64_C(1795132800000000000) // 2026-11-20T00:00:00Z

static const char name_t0[] = "m0-20261120T000000Z-20261120T003001Z-00000007-9c38.db";

struct fixture {
    struct fs_sim *sim;
    struct fs *fs;
    struct segment_cache *cache;
    struct arena arena;
    struct err err;
};

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));
    f->sim = fs_sim_open(1);
    f->fs = fs_sim_fs(f->sim);
    arena_init(&f->arena, SIZE_MAX, NULL);
    assert_true(fs_mkdir(f->fs, STR("data"), &f->err));
    struct segment_cache_options o = {.fs = f->fs, .max_handles = 4, .max_aux_bytes = 100};
    assert_true(segment_cache_open(&o, &f->cache, &f->err));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    segment_cache_close(f->cache);
    arena_deinit(&f->arena);
    fs_sim_close(f->sim);
    mem_free(f);
    return 0;
}

/* Blob of row i: i bytes of one letter times 1000, so that large ones need overflow pages. */
static str pattern(struct arena *a, int64_t i)
{
    size_t n = (size_t)i * 1000;
    char *p = arena_alloc(a, n);
    memset(p, 'a' + (int)(i % 26), n);
    return (str){p, n};
}

static str write_segment(struct fixture *f, const char *name, uint64_t *bytes)
{
    static const char insert[] = "INSERT INTO kv(k, n, x) VALUES(?1, ?2, ?3)";
    struct segment_writer *w;
    assert_true(
        segment_writer_open(f->cache, STR("data/x.tmp"), SIGNAL_METRICS, 0, NULL, &w, &f->err));
    assert_true(segment_schema(w, "CREATE TABLE pack(id INTEGER PRIMARY KEY, b BLOB)", &f->err));
    assert_true(
        segment_schema(w, "CREATE TABLE kv(k TEXT PRIMARY KEY, n INTEGER, x REAL)", &f->err));
    for (int64_t i = 0; i < 100; i++)
        assert_true(segment_put(w, "pack", i, pattern(&f->arena, i), &f->err));
    for (int64_t i = 0; i < 50; i++) {
        str key = arena_fmt(&f->arena, "k%02d", (int)i);
        struct seg_val vals[] = {seg_text(key), seg_int(i), {.type = SEG_REAL, .d = 0.5}};
        assert_true(segment_insert(w, insert, vals, 3, &f->err));
    }
    assert_true(segment_writer_bytes(w) > 4950 * 1000);
    struct segment_info info = {.t0_ns = T0,
                                .t1_ns = T0 + 1800 * NS_PER_S,
                                .rows = 77,
                                .raw_bytes = 1234,
                                .gen = 3,
                                .part = 1,
                                .parts = 2};
    uint32_t replaces[] = {4, 4000000000};
    assert_true(segment_writer_finish(w, &info, replaces, 2, bytes, &f->err));
    str path = arena_fmt(&f->arena, "data/%s", name);
    assert_true(fs_rename(f->fs, STR("data/x.tmp"), path, &f->err));
    return path;
}

static void test_names(void **state)
{
    (void)state;
    static const struct {
        int64_t t0, t1;
        const char *name;
    } cases[] = {
        {T0, T0 + 1800 * NS_PER_S, "m0-20261120T000000Z-20261120T003001Z-00000007-9c38.db"},
        {T0 + 1, T0 + 1, "m0-20261120T000000Z-20261120T000001Z-00000007-63f2.db"},
        {0, 0, "m0-19700101T000000Z-19700101T000001Z-00000007-85e8.db"},
        {-1, -1, "m0-19691231T235959Z-19700101T000000Z-00000007-6a87.db"},
        {INT64_C(951782400) * NS_PER_S, INT64_C(951782400) * NS_PER_S,
         "m0-20000229T000000Z-20000229T000001Z-00000007-aacc.db"},
        {INT64_MIN / 4, INT64_MAX / 4, "m0-18961206T000310Z-20430125T235650Z-00000007-d83f.db"},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        char name[SEGMENT_NAME_MAX];
        segment_name_print(name, 'm', 0, cases[i].t0, cases[i].t1, 7);
        assert_string_equal(name, cases[i].name);
        struct segment_name n;
        assert_true(segment_name_parse(str_c(name), &n));
        assert_true(n.start_ns <= cases[i].t0 && cases[i].t0 - n.start_ns < NS_PER_S);
        assert_true(n.end_ns > cases[i].t1 && n.end_ns - cases[i].t1 <= NS_PER_S);
        assert_int_equal(n.seq, 7);
        assert_int_equal(n.letter, 'm');
    }
    static const char *const bad[] = {
        "",
        "m0",
        "x0-20261120T000000Z-20261120T003001Z-00000007-218a.db",
        "m3-20261120T000000Z-20261120T003001Z-00000007-f079.db",
        "m0-20261120T000000Z-20261120T000000Z-00000007-9433.db",
        "m0-20261320T000000Z-20261420T000000Z-00000007-28cf.db",
        "m0-20261120T000000Z-20261120T003001Z-0000000g-46eb.db",
        "m0-20261120T000000Z-20261120T003001Z-00000007-9c38.db.bad",
        "m0-20261120T000000Z-20261120T003001Z-00000007-9c39.db",
        "m0-20261120T000000Z-20261120T003002Z-00000007-9c38.db",
        "m0-20261120T000000Z-20261120T003001Z-00000007.db",
        "m0-99990101T000000Z-99990102T000000Z-00000007-6047.db",
    };
    for (size_t i = 0; i < COUNTOF(bad); i++) {
        struct segment_name n;
        assert_false(segment_name_parse(str_c(bad[i]), &n));
    }
    char day[SEGMENT_DAY_MAX];
    segment_day_print(day, T0 + 86399 * NS_PER_S);
    assert_string_equal(day, "20261120");
}

static void test_round_trip(void **state)
{
    struct fixture *f = *state;
    uint64_t bytes = 0, size = 0;
    str path = write_segment(f, name_t0, &bytes);
    struct file *file;
    assert_true(fs_open(f->fs, path, FS_READ, &file, &f->err));
    assert_true(fs_size(f->fs, file, &size, &f->err));
    fs_close(f->fs, file);
    assert_true(bytes == size && bytes > 4950 * 1000);

    struct segment *seg;
    assert_true(segment_open(f->cache, path, &seg, &f->err));
    const struct segment_info *info = segment_info(seg);
    assert_int_equal(info->signal, SIGNAL_METRICS);
    assert_int_equal(info->rows, 77);
    assert_int_equal(info->raw_bytes, 1234);
    assert_int_equal(info->gen, 3);
    assert_int_equal(info->part, 1);
    assert_int_equal(info->parts, 2);
    assert_int_equal(info->seq, 7);
    assert_true(info->t0_ns == T0 && info->t1_ns == T0 + 1800 * NS_PER_S);
    assert_int_equal(info->file_bytes, bytes);
    assert_string_equal(segment_name(seg), name_t0);
    struct seq_list seqs = {0};
    assert_true(segment_replaces(seg, &seqs, &f->err));
    assert_int_equal(seqs.n, 2);
    assert_int_equal(seqs.v[1], 4000000000);
    vec_free(&seqs);

    for (int64_t i = 99; i >= 0; i--) {
        str got;
        assert_true(segment_get(seg, "pack", i, &f->arena, &got, &f->err));
        assert_true(str_eq(got, pattern(&f->arena, i)));
    }
    str part;
    assert_true(segment_get_part(seg, "pack", 90, 50000, 7, &f->arena, &part, &f->err));
    assert_true(str_eq(part, STR("mmmmmmm")));
    assert_false(segment_get_part(seg, "pack", 1, 999, 2, &f->arena, &part, &f->err));
    assert_int_equal(f->err.code, ERR_CORRUPT);
    f->err = ERR_OK;
    assert_false(segment_get(seg, "pack", 1000, &f->arena, &part, &f->err));
    assert_int_equal(f->err.code, ERR_NOT_FOUND);
    f->err = ERR_OK;
    assert_true(segment_get(seg, "pack", 3, &f->arena, &part, &f->err));
    assert_int_equal(part.n, 3000);
    segment_unref(seg);
    assert_int_equal(segment_cache_handles(f->cache), 0);
}

static void test_query(void **state)
{
    struct fixture *f = *state;
    uint64_t bytes;
    str path = write_segment(f, name_t0, &bytes);
    struct segment *seg;
    assert_true(segment_open(f->cache, path, &seg, &f->err));
    static const char sql[] = "SELECT k, n, x, NULL FROM kv WHERE k >= ?1 AND n < ?2 ORDER BY k";
    struct seg_val params[] = {seg_text(STR("k10")), seg_int(13)};
    for (int round = 0; round < 3; round++) {
        struct segment_query *q, *inner;
        bool row;
        assert_true(segment_query_open(seg, sql, params, 2, &q, &f->err));
        for (int64_t i = 10; i < 13; i++) {
            assert_true(segment_query_next(q, &row, &f->err));
            assert_true(row);
            assert_int_equal(segment_query_val(q, 0).s.n, 3);
            assert_int_equal(segment_query_val(q, 1).i, i);
            assert_true(segment_query_val(q, 2).d == 0.5);
            assert_int_equal(segment_query_val(q, 3).type, SEG_NULL);
            // a second cursor and a blob while the first is open
            assert_true(segment_query_open(seg, sql, params, 2, &inner, &f->err));
            assert_true(segment_query_next(inner, &row, &f->err));
            assert_int_equal(segment_query_val(inner, 1).i, 10);
            segment_query_close(inner);
        }
        assert_true(segment_query_next(q, &row, &f->err));
        assert_false(row);
        segment_query_close(q);
    }
    struct segment_query *q;
    assert_false(segment_query_open(seg, "SELECT nothing FROM nowhere", NULL, 0, &q, &f->err));
    assert_int_equal(f->err.code, ERR_CORRUPT);
    assert_true(segment_is_damaged(seg));
    segment_unref(seg);
}

static void test_handles_are_bounded(void **state)
{
    struct fixture *f = *state;
    uint64_t bytes;
    str first = write_segment(f, name_t0, &bytes);
    struct segment *segs[10];
    struct buf copy;
    buf_init(&copy, GIB);
    assert_true(fs_read_all(f->fs, first, &copy, &f->err));
    for (uint32_t i = 0; i < COUNTOF(segs); i++) {
        char name[SEGMENT_NAME_MAX];
        segment_name_print(name, 'm', 0, T0, T0 + 1800 * NS_PER_S, 100 + i);
        str path = arena_fmt(&f->arena, "data/%s", name);
        struct file *file;
        assert_true(fs_open(f->fs, path, FS_WRITE | FS_CREATE, &file, &f->err));
        assert_true(fs_pwrite(f->fs, file, buf_str(&copy), 0, &f->err));
        fs_close(f->fs, file);
        assert_true(segment_open(f->cache, path, &segs[i], &f->err));
        assert_true(segment_cache_handles(f->cache) <= 4);
    }
    for (size_t i = 0; i < 50; i++) {
        str got;
        assert_true(segment_get(segs[i % 10], "pack", 5, &f->arena, &got, &f->err));
        assert_true(segment_cache_handles(f->cache) <= 4);
    }
    segment_cache_tick(f->cache);
    assert_int_equal(segment_cache_handles(f->cache), 4);
    segment_cache_tick(f->cache);
    assert_int_equal(segment_cache_handles(f->cache), 0);
    for (size_t i = 0; i < COUNTOF(segs); i++)
        segment_unref(segs[i]);
    buf_deinit(&copy);
}

struct aux_of_test {
    struct segment_aux base;
    uint32_t seq;
};
static int loads, unloads;

static bool aux_load(struct segment *seg, struct segment_aux **out, struct err *err)
{
    if (segment_info(seg)->seq == 13)
        return err_set(err, ERR_CORRUPT, "unlucky");
    struct aux_of_test *x = mem_zalloc(sizeof(*x));
    x->base.bytes = 60;
    x->seq = segment_info(seg)->seq;
    *out = &x->base;
    loads++;
    return true;
}

static void aux_unload(struct segment_aux *aux)
{
    mem_free(CONTAINER_OF(aux, struct aux_of_test, base));
    unloads++;
}

static void test_aux(void **state)
{
    struct fixture *f = *state;
    struct segment *segs[3];
    struct segment_aux *aux[3];
    loads = unloads = 0;
    for (uint32_t i = 0; i < 3; i++) {
        char name[SEGMENT_NAME_MAX];
        segment_name_print(name, 'm', 0, T0, T0 + NS_PER_S, 11 + i);
        struct segment_name n;
        assert_true(segment_name_parse(str_c(name), &n));
        segs[i] = segment_new(f->cache, str_c(name), SIGNAL_METRICS, &n, 1);
    }
    for (int round = 0; round < 2; round++) { // 60 + 60 > 100: pinned ones stay all the same
        assert_true(segment_aux_get(segs[0], aux_load, aux_unload, &aux[0], &f->err));
        assert_true(segment_aux_get(segs[1], aux_load, aux_unload, &aux[1], &f->err));
        assert_int_equal(CONTAINER_OF(aux[1], struct aux_of_test, base)->seq, 12);
        segment_aux_release(segs[0], aux[0]);
        segment_aux_release(segs[1], aux[1]);
        assert_int_equal(segment_cache_aux_bytes(f->cache), 60); // the older one went
    }
    assert_int_equal(loads, 4); // each round evicts one, and needs it again
    assert_true(segment_aux_get(segs[1], aux_load, aux_unload, &aux[1], &f->err));
    segment_aux_grown(segs[1], 30);
    assert_int_equal(segment_cache_aux_bytes(f->cache), 90);
    segment_aux_grown(segs[1], 30);
    segment_aux_release(segs[1], aux[1]);
    assert_int_equal(segment_cache_aux_bytes(f->cache), 0); // too much for the cache
    assert_true(segment_aux_get(segs[1], aux_load, aux_unload, &aux[1], &f->err));
    segment_aux_release(segs[1], aux[1]);
    for (int i = 0; i < 9; i++)
        segment_cache_tick(f->cache);
    assert_int_equal(segment_cache_aux_bytes(f->cache), 60);
    segment_cache_tick(f->cache);
    assert_int_equal(segment_cache_aux_bytes(f->cache), 0);
    assert_false(segment_aux_get(segs[2], aux_load, aux_unload, &aux[2], &f->err));
    assert_int_equal(f->err.code, ERR_CORRUPT);
    assert_true(segment_is_damaged(segs[2]));
    for (size_t i = 0; i < 3; i++)
        segment_unref(segs[i]);
    assert_int_equal(loads, unloads);
}

/* Whatever bytes change, reading answers with content or an error. */
static void test_damage(void **state)
{
    struct fixture *f = *state;
    uint64_t bytes;
    str path = write_segment(f, name_t0, &bytes);
    unsigned refused = 0;
    for (uint64_t at = 0; at < 4096 * 3; at += at < 128 ? 1 : 61) {
        fs_sim_flip(f->sim, path, at, 0xFF);
        struct err err = ERR_OK;
        struct segment *seg;
        if (segment_open(f->cache, path, &seg, &err)) {
            str got;
            struct arena a;
            arena_init(&a, SIZE_MAX, NULL);
            for (int64_t i = 0; i < 100; i++) {
                err = ERR_OK;
                if (!segment_get(seg, "pack", i, &a, &got, &err))
                    refused++;
            }
            arena_deinit(&a);
            segment_unref(seg);
        } else {
            refused++;
            assert_true(err.code == ERR_CORRUPT || err.code == ERR_UNSUPPORTED);
        }
        fs_sim_flip(f->sim, path, at, 0xFF);
    }
    assert_true(refused > 0);
    struct segment *seg;
    assert_true(segment_open(f->cache, path, &seg, &f->err));
    segment_unref(seg);
}

static void no_line(void *ctx, const char *line)
{
    (void)ctx, (void)line;
}

/* One changed bit anywhere is found, at the latest when all pages are looked at. */
static void test_one_bit(void **state)
{
    struct fixture *f = *state;
    uint64_t bytes;
    str path = write_segment(f, name_t0, &bytes);
    for (uint64_t at = 0; at < bytes; at += at < 128 ? 3 : bytes / 200 | 1) {
        uint8_t mask = (uint8_t)(1u << (at % 8));
        struct segment *seg;
        struct err err = ERR_OK;
        uint64_t faults = 0;
        fs_sim_flip(f->sim, path, at, mask);
        if (segment_open(f->cache, path, &seg, &err)) {
            bool ok = segment_check_pages(seg, no_line, NULL, &faults, &err);
            faults += !ok && err.code == ERR_CORRUPT;
            segment_unref(seg);
        } else {
            faults += err.code == ERR_CORRUPT;
        }
        if (faults == 0)
            print_message("byte %llu\n", (unsigned long long)at);
        assert_true(faults > 0);
        fs_sim_flip(f->sim, path, at, mask);
    }
}

/* A file of so many tables, with a row in each; path is read into the arena. */
static str build(struct fixture *f, struct segment_cache *c, size_t n_tables)
{
    static const char *const schema[] = {"CREATE TABLE a(id INTEGER PRIMARY KEY, b BLOB)",
                                         "CREATE TABLE b(id INTEGER PRIMARY KEY, b BLOB)",
                                         "CREATE TABLE c(id INTEGER PRIMARY KEY, b BLOB)"};
    static const char *const table[] = {"a", "b", "c"};
    struct segment_writer *w;
    struct buf bytes;
    struct segment_info info = {.t0_ns = T0, .t1_ns = T0};
    uint64_t size;
    str path = STR("data/z.tmp");
    assert_true(segment_writer_open(c, path, SIGNAL_METRICS, 0, NULL, &w, &f->err));
    for (size_t i = 0; i < n_tables; i++)
        assert_true(segment_schema(w, schema[i], &f->err));
    for (size_t i = 0; i < n_tables; i++)
        assert_true(segment_put(w, table[i], 1, pattern(&f->arena, 9), &f->err));
    assert_true(segment_writer_finish(w, &info, NULL, 0, &size, &f->err));
    buf_init(&bytes, MIB);
    assert_true(fs_read_all(f->fs, path, &bytes, &f->err));
    assert_int_equal(bytes.n, size);
    str copy = arena_dup(&f->arena, buf_str(&bytes));
    buf_deinit(&bytes);
    return copy;
}

/* One connection builds many files; whatever it made before, a file is what a new one makes. */
static void test_builders_are_kept(void **state)
{
    struct fixture *f = *state;
    static const size_t tables[] = {2, 2, 2, 3, 3, 1, 1, 2};
    for (size_t i = 0; i < COUNTOF(tables); i++) {
        struct segment_cache *fresh;
        struct segment_cache_options o = {.fs = f->fs};
        assert_true(segment_cache_open(&o, &fresh, &f->err));
        str want = build(f, fresh, tables[i]), got = build(f, f->cache, tables[i]);
        segment_cache_close(fresh);
        assert_true(str_eq(want, got));
        if (i == 1) { // what is given up half-way leaves nothing behind
            struct segment_writer *w;
            assert_true(segment_writer_open(f->cache, STR("data/w.tmp"), SIGNAL_METRICS, 0, NULL,
                                            &w, &f->err));
            segment_writer_abort(w);
            assert_false(fs_exists(f->fs, STR("data/w.tmp")));
        }
        if (i == 5)
            for (int minute = 0; minute < 100; minute++)
                segment_cache_tick(f->cache);
    }
}

static void test_writer_errors(void **state)
{
    struct fixture *f = *state;
    struct segment_writer *w;
    atomic_bool cancel = false;
    str path = STR("data/y.tmp");
    assert_true(segment_writer_open(f->cache, path, SIGNAL_LOGS, 2, &cancel, &w, &f->err));
    assert_true(segment_schema(w, "CREATE TABLE pack(id INTEGER PRIMARY KEY, b BLOB)", &f->err));
    atomic_store(&cancel, true);
    assert_false(segment_put(w, "pack", 1, STR("x"), &f->err));
    assert_int_equal(f->err.code, ERR_CANCELED);
    segment_writer_abort(w);
    assert_false(fs_exists(f->fs, path));

    f->err = ERR_OK;
    fs_sim_set_capacity(f->sim, MIB);
    assert_true(segment_writer_open(f->cache, path, SIGNAL_LOGS, 2, NULL, &w, &f->err));
    assert_true(segment_schema(w, "CREATE TABLE pack(id INTEGER PRIMARY KEY, b BLOB)", &f->err));
    bool ok = true;
    for (int64_t i = 0; i < 200 && ok; i++)
        ok = segment_put(w, "pack", i, pattern(&f->arena, 60), &f->err);
    if (ok) {
        struct segment_info info = {.t0_ns = T0, .t1_ns = T0};
        uint64_t bytes;
        assert_false(segment_writer_finish(w, &info, NULL, 0, &bytes, &f->err));
    } else {
        segment_writer_abort(w);
    }
    assert_int_equal(f->err.code, ERR_UNAVAILABLE);
    assert_false(fs_exists(f->fs, path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_query, setup, teardown),
        cmocka_unit_test_setup_teardown(test_handles_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_aux, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_bit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_builders_are_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_writer_errors, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
