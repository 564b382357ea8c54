/* log_groups_test.c - tables of groups leave the blocks that hold what is looked for and hardly any
 * other; files of before are read by their tables of words. On the simulated disk. */
#include "storage/engine/log_groups.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "storage/base/prng.h"
#include "storage/engine/segment_file.h"
#include "tests/sim/fs_sim.h"

#define T0     INT64_C(1795132800000000000) // 2026-11-20T00:00:00Z
#define BLOCKS 70                           // one group and a piece of the next
#define LINES  80

struct fixture {
    struct fs_sim *sim;
    struct segment_cache *cache;
    struct segment *seg;
    struct arena a;
    struct prng rng;
    struct logs_block blocks[BLOCKS];
    str words[BLOCKS], ids[BLOCKS];
    struct err err;
};

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof *f);
    f->sim = fs_sim_open(1);
    arena_init(&f->a, SIZE_MAX, NULL);
    prng_init(&f->rng, 8);
    assert_true(fs_mkdir(fs_sim_fs(f->sim), STR("data"), &f->err));
    struct segment_cache_options o = {.fs = fs_sim_fs(f->sim), .max_handles = 4};
    assert_true(segment_cache_open(&o, &f->cache, &f->err));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    segment_unref(f->seg);
    segment_cache_close(f->cache);
    arena_deinit(&f->a);
    fs_sim_close(f->sim);
    mem_free(f);
    return 0;
}

/* ---- writing ---- */

/* Lines with a word and an id of the block's own. */
static void write_block(struct fixture *f, struct log_writer *w, size_t k, struct buf *parts)
{
    struct log_row rows[LINES];
    struct log_run run = {.rows = LINES};
    f->words[k] = arena_fmt(&f->a, "word%c%c", 'g' + (int)k / 10, 'g' + (int)k % 10);
    for (size_t i = 0; i < LINES; i++) {
        f->ids[k] = arena_fmt(&f->a, "%016llx%015llxa", (unsigned long long)prng_next(&f->rng),
                              (unsigned long long)prng_next(&f->rng) >> 4);
        str line = arena_fmt(&f->a, "request of " STR_FMT " took %zu ms, trace_id=" STR_FMT,
                             STR_ARG(f->words[k]), i, STR_ARG(f->ids[k]));
        rows[i] = (struct log_row){.t_ns = T0 + (int64_t)i, .line = line};
    }
    assert_true(log_block_write(w, rows, &run, 1, 3, parts, &f->err));
    assert_true(log_writer_text(w).is_known);
}

static void put_parts(struct fixture *f, struct segment_writer *w, const struct buf *parts,
                      struct logs_block *b)
{
    b->t0_ns = T0;
    b->t1_ns = T0 + LINES;
    b->rows = LINES;
    b->dir = arena_dup(&f->a, buf_str(&parts[LOG_PART_DIR]));
    for (int i = LOG_PART_DICT; i < LOG_PART_COUNT; i++) {
        if (parts[i].n == 0)
            continue;
        b->parts |= 1U << i;
        assert_true(segment_put(w, "part", b->id * 8 + i, buf_str(&parts[i]), &f->err));
    }
}

/* As versions before tables of ids did it. */
static void put_old_words(struct fixture *f, struct segment_writer *w, struct log_words *words,
                          int64_t group)
{
    struct buf table;
    buf_init(&table, LOG_PART_RAW_MAX);
    assert_true(log_words_put(words, 3, &table, &f->err));
    if (table.n > 0)
        assert_true(segment_put(w, "part", group * 64 * 8 + 7, buf_str(&table), &f->err));
    log_words_clear(words);
    buf_deinit(&table);
}

static void finish(struct fixture *f, struct segment_writer *w)
{
    char name[SEGMENT_NAME_MAX];
    uint64_t bytes;
    struct segment_info info = {.t0_ns = T0, .t1_ns = T0 + LINES, .rows = BLOCKS * LINES};
    segment_name_print(name, 'l', 0, info.t0_ns, info.t1_ns, 7);
    str path = arena_fmt(&f->a, "data/%s", name);
    assert_true(segment_writer_finish(w, &info, NULL, 0, &bytes, &f->err));
    assert_true(fs_rename(fs_sim_fs(f->sim), STR("data/x.tmp"), path, &f->err));
    if (!segment_open(f->cache, path, &f->seg, &f->err))
        fail_msg("%s", f->err.text);
}

static void make(struct fixture *f, bool old)
{
    struct segment_writer *w;
    struct log_writer *lines = log_writer_open();
    struct log_group group;
    struct log_words words; // old
    struct buf parts[LOG_PART_COUNT];
    log_words_init(&words);
    log_group_init(&group);
    log_group_begin(&group);
    for (size_t i = 0; i < LOG_PART_COUNT; i++)
        buf_init(&parts[i], LOG_PART_RAW_MAX);
    assert_true(
        segment_writer_open(f->cache, STR("data/x.tmp"), SIGNAL_LOGS, 0, NULL, &w, &f->err));
    assert_true(segment_schema(w, LOG_BLK_SCHEMA, &f->err));
    for (size_t k = 0; k < BLOCKS; k++) {
        struct logs_block *b = &f->blocks[k];
        write_block(f, lines, k, parts);
        b->id = (int64_t)k;
        if (!old)
            assert_true(log_group_number(&group, w, log_writer_ids(lines).n, &b->id, &f->err));
        put_parts(f, w, parts, b);
        struct log_block_text text = log_writer_text(lines);
        if (old)
            log_words_add(&words, &text);
        else
            log_group_add(&group, b, lines);
        if (old && (k % 64 == 63 || k + 1 == BLOCKS))
            put_old_words(f, w, &words, (int64_t)k / 64);
    }
    if (!old)
        assert_true(log_group_end(&group, w, &f->err));
    finish(f, w);
    log_group_deinit(&group);
    log_words_deinit(&words);
    log_writer_close(lines);
    for (size_t i = 0; i < LOG_PART_COUNT; i++)
        buf_deinit(&parts[i]);
}

/* What the directory says, in place of what was known before the group's end. */
static void read_blocks(struct fixture *f)
{
    static const char sql[] = "SELECT id, parts FROM blk ORDER BY id";
    struct segment_query *q;
    bool row;
    size_t n = 0;
    assert_true(segment_query_open(f->seg, sql, NULL, 0, &q, &f->err));
    while (segment_query_next(q, &row, &f->err) && row) {
        assert_int_equal(segment_query_val(q, 0).i, f->blocks[n].id);
        f->blocks[n++].parts = (uint32_t)segment_query_val(q, 1).i;
    }
    segment_query_close(q);
    assert_int_equal(n, BLOCKS);
}

/* ---- searching ---- */

/* Blocks that may hold the text; the block `has` must be one of them. */
static size_t count_may(struct fixture *f, str text, size_t has)
{
    struct log_group_search s = {0};
    struct log_needle needle;
    struct log_wanted wanted = {.needles = &needle, .n_needles = 1};
    size_t n = 0;
    log_needle_init(&needle, text);
    for (size_t k = 0; k < BLOCKS; k++) {
        bool may;
        if (!log_group_may(&s, f->seg, &f->blocks[k], &wanted, &f->a, &may, &f->err))
            fail_msg("%s", f->err.text);
        assert_true(may || k != has);
        n += may;
    }
    return n;
}

static void test_groups(void **state)
{
    struct fixture *f = *state;
    size_t n = 0;
    make(f, false);
    read_blocks(f);
    assert_int_equal(f->blocks[63].id, 63);
    assert_int_equal(f->blocks[64].id, 128);
    for (size_t k = 0; k < BLOCKS; k++) {
        n += count_may(f, f->ids[k], k);
        assert_true(count_may(f, f->words[k], k) <= 1 + BLOCKS - 64); // few blocks: no words
        assert_true(log_group_check(f->seg, &f->blocks[k], &f->a, &f->err));
    }
    assert_in_range(n, BLOCKS, BLOCKS * 2);
}

static void test_old_groups(void **state)
{
    struct fixture *f = *state;
    make(f, true);
    for (size_t k = 0; k < BLOCKS; k++) {
        assert_int_equal(count_may(f, f->ids[k], k), BLOCKS);
        assert_int_equal(count_may(f, f->words[k], k), (k < 64) + BLOCKS - 64);
        assert_true(log_group_check(f->seg, &f->blocks[k], &f->a, &f->err));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_groups, setup, teardown),
        cmocka_unit_test_setup_teardown(test_old_groups, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
