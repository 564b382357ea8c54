/* log_words_test.c - no block that holds a needle is ruled out; what no block has rules out all. */
#include "storage/codec/log_words.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "storage/base/prng.h"

#define BLOCKS 12
#define LINES  1500

struct fixture {
    struct arena a;
    struct log_words words;
    struct buf table;
    str lines[BLOCKS][LINES];
    struct err err;
};

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof *f);
    arena_init(&f->a, SIZE_MAX, NULL);
    log_words_init(&f->words);
    buf_init(&f->table, LOG_PART_RAW_MAX);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    log_words_deinit(&f->words);
    buf_deinit(&f->table);
    arena_deinit(&f->a);
    mem_free(f);
    return 0;
}

/* Blocks of lines with words of their own, text variables in every other one. */
static void make(struct fixture *f)
{
    struct prng rng;
    prng_init(&rng, 5);
    struct log_writer *w = log_writer_open();
    struct buf parts[LOG_PART_COUNT];
    for (size_t i = 0; i < LOG_PART_COUNT; i++)
        buf_init(&parts[i], LOG_PART_RAW_MAX);
    for (unsigned k = 0; k < BLOCKS; k++) {
        static struct log_row rows[LINES];
        struct log_run run = {.rows = COUNTOF(rows)};
        for (size_t i = 0; i < COUNTOF(rows); i++) {
            unsigned v = (unsigned)prng_next(&rng);
            str id = k % 2 ? arena_fmt(&f->a, "%x7Zq%uXk3Y", v % 99, v % 9) : STR("none");
            f->lines[k][i] =
                arena_fmt(&f->a, "GET /items/%u by user%c word%c%c \303\244hm id=%s trace=%08x",
                          v % 777, 'a' + (int)k, 'a' + (int)(k + i % 3), 'z' - (int)k, id.p, v);
            rows[i] = (struct log_row){.t_ns = (int64_t)i, .line = f->lines[k][i]};
        }
        if (!log_block_write(w, rows, &run, 1, 3, parts, &f->err))
            fail_msg("%s", f->err.text);
        struct log_block_text text = log_writer_text(w);
        assert_true(text.is_known);
        log_words_add(&f->words, &text);
    }
    for (size_t i = 0; i < LOG_PART_COUNT; i++)
        buf_deinit(&parts[i]);
    log_writer_close(w);
    assert_true(log_words_put(&f->words, 3, &f->table, &f->err));
    assert_true(f->table.n > 0);
}

static uint64_t match(struct fixture *f, str text)
{
    struct log_needle n;
    uint64_t may = 0;
    log_needle_init(&n, text);
    if (!log_words_match(buf_str(&f->table), &(struct log_wanted){.needles = &n, .n_needles = 1},
                         &f->a, &may, &f->err))
        fail_msg("%s", f->err.text);
    return may & ((UINT64_C(1) << BLOCKS) - 1);
}

static void test_needles(void **state)
{
    struct fixture *f = *state;
    struct prng rng;
    make(f);
    prng_init(&rng, 6);
    for (int i = 0; i < 3000; i++) { // pieces of lines
        size_t block = prng_below(&rng, BLOCKS);
        str line = f->lines[block][prng_below(&rng, LINES)];
        size_t from = prng_below(&rng, line.n);
        str piece = str_sub(line, from, from + 1 + prng_below(&rng, 30));
        if (!(match(f, piece) >> block & 1))
            fail_msg("block %zu loses '%.*s'", block, STR_ARG(piece));
    }
    assert_int_equal(match(f, STR("OutOfMemoryError")), 0);
    assert_int_equal(match(f, STR(" absent items ")), 0);
    assert_int_equal(match(f, STR("by userc word")), 1 << 2);
    assert_int_equal(match(f, STR("147")), (1 << BLOCKS) - 1);
    assert_int_equal(match(f, (str){0}), (1 << BLOCKS) - 1);
}

/* Too few blocks, or too many words: no table. */
static void test_none(void **state)
{
    struct fixture *f = *state;
    struct log_block_text text = {.is_known = true, .text = STR("some words")};
    for (size_t i = 0; i + 1 < LOG_WORDS_BLOCKS_MIN; i++)
        log_words_add(&f->words, &text);
    assert_true(log_words_put(&f->words, 3, &f->table, &f->err));
    assert_int_equal(f->table.n, 0);
    struct buf many;
    buf_init(&many, 4 * MIB);
    for (int i = 0; i < 26 * 26 * 26 * 4; i++) {
        for (int k = 0, v = i; k < 4; k++, v /= 26)
            buf_add_char(&many, (char)('a' + v % 26));
        buf_add_char(&many, ' ');
    }
    text.text = buf_str(&many);
    log_words_add(&f->words, &text);
    assert_true(log_words_put(&f->words, 3, &f->table, &f->err));
    assert_int_equal(f->table.n, 0);
    log_words_clear(&f->words);
    make(f);
    buf_deinit(&many);
}

static void test_damage(void **state)
{
    struct fixture *f = *state;
    struct log_needle n;
    uint64_t may;
    make(f);
    log_needle_init(&n, STR("items"));
    struct log_wanted wanted = {.needles = &n, .n_needles = 1};
    for (size_t i = 0; i < f->table.n; i += 7) { // the checksum sees each
        f->table.p[i] ^= 1;
        assert_false(log_words_match(buf_str(&f->table), &wanted, &f->a, &may, &f->err));
        f->table.p[i] ^= 1;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_needles, setup, teardown),
        cmocka_unit_test_setup_teardown(test_none, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
