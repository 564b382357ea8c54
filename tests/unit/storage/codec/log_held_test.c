/* log_held_test.c - a block made of ids that were found when their batch came is the block that
 * their texts make. */
#include "storage/codec/log_held.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "storage/base/prng.h"
#include "storage/codec/log_block.h"
#include "storage/codec/log_payload.h"

#define ROWS  3000
#define PAIRS 6

static str hex_text(struct arena *a, struct prng *rng, size_t digits)
{
    char *p = arena_alloc(a, digits + 1);
    for (size_t i = 0; i < digits; i++)
        p[i] = "0123456789abcdef"[prng_below(rng, 16)];
    p[digits / 2] = '7'; // no word
    p[digits] = 0;
    return (str){p, digits};
}

/* Of each row: an id of the line, one that mostly is (now and then it comes second in its column),
 * one that is not, one that at times is no id or has more digits, a word, a repeated id. */
static void make_row(struct batch *b, struct prng *rng, size_t i, struct label *v)
{
    struct arena *a = b->arena;
    str first = hex_text(a, rng, 32), second = hex_text(a, rng, 17), other = hex_text(a, rng, 32);
    str line = arena_fmt(a, "request trace=%s took %zu ms, span=%s trace=%s from cache", first.p,
                         i * 7919 % 1000, second.p, other.p);
    bool odd = i > 20 && prng_below(rng, 40) == 0;
    for (size_t k = 0; k < PAIRS; k++)
        v[k].name = (str){&"abcdef"[k], 1};
    v[0].value = prng_below(rng, 3) ? second : hex_text(a, rng, 17);
    v[1].value = odd ? other : first;
    v[2].value = hex_text(a, rng, 16);
    v[3].value =
        odd ? prng_below(rng, 2) ? STR("none") : hex_text(a, rng, 18) : hex_text(a, rng, 8);
    v[4].value = prng_below(rng, 2) ? STR("word") : STR("other");
    if (i == 0 || prng_below(rng, 3) == 0)
        v[5].value = hex_text(a, rng, 128);
    struct label *pairs = arena_array(a, struct label, PAIRS);
    memcpy(pairs, v, PAIRS * sizeof v[0]);
    vec_push(&b->logs, a, (struct batch_log){0, (int64_t)i * 1000, line, {pairs, PAIRS}, NULL});
}

/* As a head holds it: ids as they are known, others as text. */
static const uint8_t *hold(struct arena *a, struct labels l, struct log_held_ids ids)
{
    uint8_t *start = arena_alloc(a, PAIRS * (LOG_HELD_ID_MAX + 128)), *p = start;
    for (size_t k = 0; k < l.n; k++) {
        str text = l.v[k].value;
        if (ids.mask >> k & 1) {
            const uint8_t *end = log_held_end(ids.p);
            assert_int_equal(ids.p[0], k);
            memcpy(p, ids.p, (size_t)(end - ids.p));
            p += end - ids.p;
            ids.n -= (size_t)(end - ids.p);
            ids.p = end;
            continue;
        }
        assert_true(text.n < 128);
        *p++ = (uint8_t)k;
        *p++ = 0;
        *p++ = (uint8_t)text.n;
        memcpy(p, text.p, text.n);
        p += text.n;
    }
    assert_int_equal(ids.n, 0);
    return start;
}

static void parts_init(struct buf *parts)
{
    for (size_t i = 0; i < LOG_PART_COUNT; i++)
        buf_init(&parts[i], LOG_PART_RAW_MAX);
}

static void compare(const struct batch *b, const struct log_row *held,
                    const struct log_known *known, bool plain)
{
    struct log_writer *w = log_writer_open();
    struct buf texts[LOG_PART_COUNT], ids[LOG_PART_COUNT];
    struct log_run run = {.stream = 1, .rows = (uint32_t)b->logs.n};
    struct log_row *rows = arena_array(b->arena, struct log_row, b->logs.n);
    struct err err = ERR_OK;
    parts_init(texts);
    parts_init(ids);
    for (size_t i = 0; i < b->logs.n; i++) {
        const struct batch_log *log = &b->logs.v[i];
        rows[i] = (struct log_row){.t_ns = log->t_ns, .line = log->line, .meta = log->meta};
    }
    assert_true(plain ? log_block_write_plain(w, rows, &run, 1, 3, texts, &err)
                      : log_block_write(w, rows, &run, 1, 3, texts, &err));
    assert_true(log_block_write_known(w, held, &b->parted->shapes, known, &run, 1, 3, ids, &err));
    for (size_t i = 0; i < LOG_PART_COUNT; i++) {
        assert_int_equal(texts[i].n, ids[i].n);
        assert_memory_equal(texts[i].p, ids[i].p, texts[i].n);
        buf_deinit(&texts[i]);
        buf_deinit(&ids[i]);
    }
    log_writer_close(w);
}

static void test_blocks_are_equal(void **state)
{
    struct arena a;
    struct batch b;
    struct prng rng;
    struct buf payload;
    struct err err = ERR_OK;
    struct label v[PAIRS] = {0};
    (void)state;
    arena_init(&a, SIZE_MAX, NULL);
    prng_init(&rng, 3);
    batch_init(&b, SIGNAL_LOGS, &a);
    buf_init(&payload, 64 * MIB);
    vec_push(&b.streams, &a, (struct batch_stream){{0}});
    for (size_t i = 0; i < ROWS; i++)
        make_row(&b, &rng, i, v);
    assert_true(log_payload_write(&b, &payload, &err));
    assert_non_null(b.parted);
    struct log_row *held = arena_array(&a, struct log_row, ROWS);
    struct log_known *known = arena_array(&a, struct log_known, ROWS);
    struct labels base = b.logs.v[0].meta;
    size_t n_ids = 0;
    for (size_t i = 0; i < ROWS; i++) {
        const struct batch_log *log = &b.logs.v[i];
        const struct log_parted_row *row = &b.parted->rows[i];
        known[i] =
            (struct log_known){(const uint8_t *)b.parted->values.p + row->values, row->shape};
        held[i] = (struct log_row){
            .t_ns = log->t_ns,
            .line = {NULL, log->line.n},
            .base = &base,
            .own = (1U << PAIRS) - 1,
            .held = hold(&a, log->meta, row->ids),
        };
        n_ids += (size_t)__builtin_popcountll(row->ids.mask);
    }
    assert_true(n_ids > ROWS * (PAIRS - 1) * 9 / 10); // repeated ones, too
    compare(&b, held, known, false);
    buf_deinit(&payload);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_blocks_are_equal)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
