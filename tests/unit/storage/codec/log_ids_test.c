/* log_ids_test.c - no block that has an id is ruled out, hardly any other passes; foreign bytes are
 * refused. */
#include "storage/codec/log_ids.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "storage/base/prng.h"
#include "storage/codec/block.h"
#include "storage/codec/log_meta.h"

#define BLOCKS 64
#define IDS    400 // of each block

struct fixture {
    struct arena a;
    struct prng rng;
    struct log_ids table;
    struct buf pieces[LOG_IDS_PIECES_MAX];
    size_t n_pieces;
    str ids[BLOCKS][IDS];
    struct err err;
};

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof *f);
    arena_init(&f->a, SIZE_MAX, NULL);
    prng_init(&f->rng, 9);
    for (size_t i = 0; i < LOG_IDS_PIECES_MAX; i++)
        buf_init(&f->pieces[i], LOG_PART_RAW_MAX);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    log_ids_deinit(&f->table);
    for (size_t i = 0; i < LOG_IDS_PIECES_MAX; i++)
        buf_deinit(&f->pieces[i]);
    arena_deinit(&f->a);
    mem_free(f);
    return 0;
}

static str new_id(struct fixture *f)
{
    return arena_fmt(&f->a, "%016llx%015llxa", (unsigned long long)prng_next(&f->rng),
                     (unsigned long long)prng_next(&f->rng) >> 4);
}

/* Ids of their own for each block; every fourth stands in the block before, too, and twice. */
static void make(struct fixture *f, size_t n_blocks, size_t n_ids)
{
    uint64_t keys[2 * IDS + 1];
    for (size_t k = 0; k < n_blocks; k++) {
        struct log_block_ids block = {.keys = keys,
                                      .hex_lens = {UINT64_C(1) << (32 - LOG_HEX_MIN)}};
        for (size_t i = 0; i < n_ids; i++) {
            f->ids[k][i] = k > 0 && i % 4 == 0 ? f->ids[k - 1][i] : new_id(f);
            assert_true(log_key_of(f->ids[k][i], &keys[block.n++]));
            keys[block.n] = keys[block.n - 1];
            block.n += i % 4 == 0;
        }
        log_ids_add(&f->table, &block);
    }
    f->n_pieces = log_ids_finish(&f->table);
    for (size_t i = 0; i < f->n_pieces; i++)
        assert_true(log_ids_put(&f->table, i, &f->pieces[i], &f->err));
}

static uint64_t match(struct fixture *f, const struct log_wanted *wanted)
{
    struct log_id ids[LOG_IDS_KEYS];
    size_t n = log_ids_wanted(wanted, ids);
    uint64_t all = UINT64_MAX, may;
    assert_true(n > 0);
    for (size_t i = 0; i < n; i++) {
        str piece = buf_str(&f->pieces[log_ids_piece(ids[i].key, f->n_pieces)]);
        if (!log_ids_match(piece, f->n_pieces, &ids[i], &f->a, &may, &f->err))
            fail_msg("%s", f->err.text);
        all &= may;
    }
    return all;
}

static uint64_t match_line(struct fixture *f, str text)
{
    struct log_needle n;
    log_needle_init(&n, text);
    return match(f, &(struct log_wanted){.needles = &n, .n_needles = 1});
}

static uint64_t match_meta(struct fixture *f, str id)
{
    struct label pair = {STR("trace_id"), id};
    return match(f, &(struct log_wanted){.meta = &pair, .n_meta = 1});
}

static void check_size(struct fixture *f, size_t n_blocks, size_t n_ids, unsigned false_max)
{
    make(f, n_blocks, n_ids);
    for (size_t k = 0; k < n_blocks; k++) {
        for (size_t i = 0; i < n_ids; i++) {
            assert_true(match_line(f, f->ids[k][i]) >> k & 1);
            assert_true(match_meta(f, f->ids[k][i]) >> k & 1);
        }
    }
    unsigned passed = 0;
    for (int i = 0; i < 2000; i++)
        passed += (unsigned)__builtin_popcountll(match_line(f, new_id(f)));
    assert_in_range(passed, 0, false_max);
}

static void test_64_blocks(void **state)
{
    struct fixture *f = *state;
    check_size(f, BLOCKS, IDS, 2000 / 32 * 2);
    assert_true(f->n_pieces > 15);
}

static void test_8_blocks(void **state)
{
    check_size(*state, 8, IDS, 2000 / 64 * 2);
}

static void test_1_block(void **state)
{
    struct fixture *f = *state;
    check_size(f, 1, IDS, 2000 / 256 * 2);
    assert_int_equal(f->n_pieces, 1);
}

static void test_1_id(void **state)
{
    check_size(*state, 1, 1, 2000 / 256 * 2);
}

static void test_none(void **state)
{
    struct fixture *f = *state;
    make(f, 3, 0);
    assert_int_equal(f->n_pieces, 0);
}

/* What a table cannot tell of a block passes: ids of plain lines, parts of longer values. */
static void test_unknown(void **state)
{
    struct fixture *f = *state;
    uint64_t key = 77;
    struct log_block_ids plain = {.keys = &key, .n = 1, .is_plain = true};
    struct log_block_ids loose = {.keys = &key, .n = 1, .loose_hex = true};
    struct log_block_ids longer = {.keys = &key, .n = 1, .hex_lens = {0, 1}}; // 72 digits
    struct log_block_ids none = {.keys = &key, .n = 1};
    str id = STR("0123456789abcdef0123456789abcdef");
    log_ids_add(&f->table, &plain);
    log_ids_add(&f->table, &none);
    log_ids_add(&f->table, &loose);
    f->n_pieces = log_ids_finish(&f->table);
    assert_int_equal(f->n_pieces, 1);
    assert_true(log_ids_put(&f->table, 0, &f->pieces[0], &f->err));
    assert_int_equal(match_line(f, id), 1 | 4);
    assert_int_equal(match_line(f, STR("id=0123456789abcdef0123456789abcdef ")), 1);
    assert_int_equal(match_meta(f, id), 0);
    log_ids_clear(&f->table);
    log_ids_add(&f->table, &none);
    log_ids_add(&f->table, &longer);
    f->n_pieces = log_ids_finish(&f->table);
    buf_clear(&f->pieces[0]);
    assert_true(log_ids_put(&f->table, 0, &f->pieces[0], &f->err));
    assert_int_equal(match_line(f, id) & 3, 3);
    assert_int_equal(match_line(f, STR(" 0123456789abcdef0123456789abcdef ")), 0);
}

static void test_damage(void **state)
{
    struct fixture *f = *state;
    struct log_id id = {.key = UINT64_MAX, .in_meta = true};
    struct buf blob;
    uint64_t may;
    make(f, 2, 20);
    str piece = buf_str(&f->pieces[0]);
    for (size_t i = 0; i < piece.n; i++) { // the checksum sees each
        f->pieces[0].p[i] ^= 1;
        assert_false(log_ids_match(piece, 1, &id, &f->a, &may, &f->err));
        f->pieces[0].p[i] ^= 1;
    }
    buf_init(&blob, LOG_PART_RAW_MAX);
    for (int i = 0; i < 20000; i++) { // behind a right checksum: an answer or an error
        uint8_t version;
        str raw;
        assert_true(blob_unpack(piece, 1, MIB, &f->a, &version, &raw, &f->err));
        char *copy = arena_alloc(&f->a, raw.n);
        memcpy(copy, raw.p, raw.n);
        for (uint64_t n = prng_below(&f->rng, 4) + 1; n > 0; n--)
            copy[prng_below(&f->rng, raw.n)] = (char)prng_next(&f->rng);
        buf_clear(&blob);
        assert_true(blob_pack(1, 0, (str){copy, prng_below(&f->rng, raw.n + 1)}, &blob, &f->err));
        f->err = ERR_OK;
        if (!log_ids_match(buf_str(&blob), 1, &id, &f->a, &may, &f->err))
            assert_int_equal(f->err.code, ERR_CORRUPT);
        arena_reset(&f->a);
    }
    buf_deinit(&blob);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_64_blocks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_8_blocks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_1_block, setup, teardown),
        cmocka_unit_test_setup_teardown(test_1_id, setup, teardown),
        cmocka_unit_test_setup_teardown(test_none, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
