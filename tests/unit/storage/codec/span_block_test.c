/* span_block_test.c - spans to columns and back: nothing is lost, order and duplicates are as
 * promised, and damaged bytes give an error. */
#include "storage/codec/span_block.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "storage/codec/span_build.h"
#include "storage/codec/span_merge.h"
#include "storage/codec/span_rows.h"
#include "tests/support/span_corpus.h"

static struct arena arena, scratch;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, SIZE_MAX, NULL);
    arena_init(&scratch, SIZE_MAX, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_deinit(&arena);
    arena_deinit(&scratch);
    return 0;
}

static str encode(const struct span_set *set)
{
    struct err err = ERR_OK;
    str s;
    assert_true(span_chunks_encode(set, &scratch, 256 * MIB, &arena, &s, &err));
    return s;
}

static bool next_chunk(struct rd *r, str *chunk)
{
    struct err err = ERR_OK;
    assert_true(span_chunks_next(r, chunk, &err));
    return chunk->n > 0;
}

/* All chunks, decoded one after the other. */
static size_t decode(str bytes, struct span_set *sets, size_t cap)
{
    struct rd r = rd_of(bytes);
    struct err err = ERR_OK;
    size_t n = 0;
    for (str chunk; next_chunk(&r, &chunk); n++) {
        struct span_columns b;
        assert_true(n < cap);
        assert_true(span_chunk_open(chunk, &arena, &b, &err));
        if (!span_block_check(&b, &err))
            fail_msg("%s", err.text);
        if (!span_rows_decode(&b, 0, b.head.rows[TABLE_SPAN], &scratch, &arena, &sets[n], &err))
            fail_msg("%s", err.text);
    }
    return n;
}

static int span_order(const struct span *a, const struct span *b)
{
    int c = memcmp(a->trace_id, b->trace_id, 16);
    return c ? c : (a->start_ns > b->start_ns) - (a->start_ns < b->start_ns);
}

/* Every span of `set` is in `got` once, got is sorted. */
static void assert_same_spans(const struct span_set *set, const struct span_set *got)
{
    assert_int_equal(set->n_spans, got->n_spans);
    for (size_t i = 1; i < got->n_spans; i++)
        assert_true(span_order(&got->spans[i - 1], &got->spans[i]) <= 0);
    bool *used = arena_zalloc(&arena, got->n_spans);
    for (size_t i = 0; i < set->n_spans; i++) {
        size_t j = 0;
        while (j < got->n_spans &&
               (used[j] || !span_same(set, &set->spans[i], got, &got->spans[j])))
            j++;
        if (j == got->n_spans)
            fail_msg("span %zu is lost", i);
        used[j] = true;
    }
}

static void test_round_trip_wild(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct corpus c;
        struct span_set got;
        corpus_init(&c, seed, 1700000000000000000);
        struct span_set set = wild_set(&c, &arena, 1 + seed * 2, true);
        assert_int_equal(1, decode(encode(&set), &got, 1));
        assert_same_spans(&set, &got);
        arena_reset(&arena);
    }
}

static bool keys_same(struct attrs a, struct attrs b)
{
    bool same = a.n == b.n;
    for (size_t i = 0; same && i < a.n; i++)
        same = str_eq(a.v[i].key, b.v[i].key) && a.v[i].value.kind == b.v[i].value.kind;
    return same;
}

/* Numbers of lists of keys make the same bytes in less time. */
static void test_shapes_change_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct corpus c;
        corpus_init(&c, seed, 1700000000000000000);
        struct span_set set = wild_set(&c, &arena, 1 + seed * 5, false);
        str without = encode(&set);
        struct span *spans = arena_array(&arena, struct span, set.n_spans);
        memcpy(spans, set.spans, set.n_spans * sizeof *spans);
        uint32_t shapes = 0;
        for (size_t i = 0; i < set.n_spans; i++) {
            for (size_t j = 0; j < i && spans[i].shape == 0; j++)
                spans[i].shape = keys_same(spans[i].attrs, spans[j].attrs) ? spans[j].shape : 0;
            if (spans[i].shape == 0)
                spans[i].shape = ++shapes;
        }
        set.spans = spans;
        assert_true(str_eq(encode(&set), without));
        arena_reset(&arena);
    }
}

static void test_extreme_times(void **state)
{
    (void)state;
    static const int64_t times[] = {0, 1, -1, INT64_MIN, INT64_MAX, 1700000000000000000};
    struct resource res = {0};
    struct scope scope = {0};
    struct span *spans = arena_zalloc(&arena, sizeof(*spans) * 36);
    for (size_t i = 0; i < 36; i++) {
        spans[i].start_ns = times[i / 6];
        spans[i].end_ns = times[i % 6];
        spans[i].trace_id[0] = (uint8_t)(i % 3);
        spans[i].span_id[0] = (uint8_t)(i + 1);
        spans[i].parent_id[0] = (uint8_t)(i % 7); // some are their own parents' parents
        spans[i].kind = spans[i].status = 255;
    }
    struct span_set set = {&res, &scope, spans, 1, 1, 36}, got;
    assert_int_equal(1, decode(encode(&set), &got, 1));
    assert_same_spans(&set, &got);
}

static void test_corpus_and_columns(void **state)
{
    (void)state;
    struct corpus c;
    corpus_init(&c, 7, 1700000000000000000);
    struct span *spans = arena_array(&arena, struct span, 40 * 30);
    size_t n = 0;
    for (int i = 0; i < 40; i++)
        n += corpus_trace(&c, &arena, spans + n);
    struct span_set got,
        set = {corpus_resources(&arena), corpus_scopes(&arena), spans, CORPUS_PODS, 1, n};
    str bytes = encode(&set);
    assert_int_equal(1, decode(bytes, &got, 1));
    assert_same_spans(&set, &got);
    assert_true(bytes.n < n * 220); // the log's form before zstd

    struct rd r = rd_of(bytes);
    struct err err = ERR_OK;
    struct span_columns b;
    str chunk;
    assert_true(span_chunks_next(&r, &chunk, &err));
    assert_true(span_chunk_open(chunk, &arena, &b, &err));
    assert_int_equal(b.head.n_traces, 40);
    int64_t key = span_block_key(&b, TABLE_SPAN, VALUE_INT, STR("http.response.status_code"));
    assert_true(key >= 0);
    assert_int_equal(-1,
                     span_block_key(&b, TABLE_SPAN, VALUE_STR, STR("http.response.status_code")));
    struct span_shapes shapes;
    struct span_values v;
    assert_true(span_block_shapes(&b, TABLE_SPAN, &arena, &shapes, &err));
    assert_true(span_block_values(&b, &shapes, (uint32_t)key, &arena, &v, &err));
    size_t have = 0;
    for (size_t i = 0; i < got.n_spans; i++) {
        const struct value *x = attrs_get(got.spans[i].attrs, STR("http.response.status_code"));
        if (!x)
            continue;
        assert_int_equal(v.row[have], i);
        assert_int_equal(v.ints[have], x->i);
        have++;
    }
    assert_int_equal(have, v.n);
    struct span_values bare;
    const uint8_t *has;
    assert_true(span_block_values_bare(&b, &shapes, (uint32_t)key, &arena, &bare, &has, &err));
    assert_int_equal(bare.n, v.n);
    assert_null(bare.row);
    assert_memory_equal(bare.ints, v.ints, v.n * sizeof(v.ints[0]));
    for (size_t i = 0, at = 0; i < got.n_spans; i++) {
        bool is_row = at < v.n && v.row[at] == i;
        assert_int_equal(has[shapes.code[i]], is_row);
        at += is_row;
    }
    const uint8_t(*ids)[16];
    assert_true(span_block_trace_ids(&b, &arena, &ids, &err));
    for (uint32_t i = 0; i < 40; i++)
        assert_int_equal(i, span_traces_find(ids, 40, ids[i]));
    uint8_t none[16] = {0};
    assert_int_equal(40, span_traces_find(ids, 40, none));
}

static void test_duplicates(void **state)
{
    (void)state;
    struct resource res = {0};
    struct scope scope = {0};
    struct attr twice[3] = {{STR("k"), {.kind = VALUE_INT, .i = 1}},
                            {STR("x"), {.kind = VALUE_INT, .i = 2}},
                            {STR("k"), {.kind = VALUE_STR, .s = STR("second")}}};
    for (size_t n = 2; n < 200; n += 60) { // below and above the size where a table is used
        struct span *spans = arena_zalloc(&arena, sizeof(*spans) * n * 2);
        for (size_t i = 0; i < n * 2; i++) {
            memcpy(spans[i].span_id, &(uint64_t){i % n + 1}, 8);
            spans[i].kind = i % n == 0 && i >= n ? SPAN_CLIENT : SPAN_SERVER; // differs: is kept
            spans[i].start_ns = (int64_t)i;
            spans[i].attrs = (struct attrs){twice, 3};
        }
        struct span_set set = {&res, &scope, spans, 1, 1, n * 2}, got;
        assert_int_equal(1, decode(encode(&set), &got, 1));
        assert_int_equal(n + 1, got.n_spans);
        assert_int_equal(2, got.spans[0].attrs.n);
        assert_int_equal(1, got.spans[0].dropped_attrs);
        assert_int_equal(1, got.spans[0].attrs.v[0].value.i);
    }
}

static void test_many_rows_make_chunks(void **state)
{
    (void)state;
    struct resource res = {0};
    struct scope scope = {0};
    size_t n = SPAN_BLOCK_SPANS_MAX + 10;
    struct span *spans = arena_zalloc(&arena, sizeof(*spans) * n);
    for (size_t i = 0; i < n; i++) {
        memcpy(spans[i].span_id, &(uint64_t){i + 1}, 8);
        spans[i].start_ns = (int64_t)i;
    }
    struct span_set set = {&res, &scope, spans, 1, 1, n}, got[3];
    assert_int_equal(2, decode(encode(&set), got, 3));
    assert_int_equal(SPAN_BLOCK_SPANS_MAX, got[0].n_spans);
    assert_int_equal(10, got[1].n_spans);

    size_t keys = SPAN_BLOCK_KEYS_MAX + 2000, per = 1000; // too many keys for one block
    struct attr *attrs = arena_array(&arena, struct attr, keys);
    for (size_t i = 0; i < keys; i++)
        attrs[i] = (struct attr){arena_fmt(&arena, "k%zu", i), {.kind = VALUE_BOOL, .b = true}};
    set.n_spans = keys / per;
    for (size_t i = 0; i < set.n_spans; i++)
        spans[i].attrs = (struct attrs){attrs + i * per, per};
    struct rd r = rd_of(encode(&set));
    struct err err = ERR_OK;
    size_t chunks = 0, total = 0;
    for (str chunk; next_chunk(&r, &chunk); chunks++) {
        struct span_columns b;
        assert_true(span_chunk_open(chunk, &arena, &b, &err));
        total += b.head.rows[TABLE_SPAN];
    }
    assert_true(chunks >= 2);
    assert_int_equal(set.n_spans, total);
}

static void test_empty_and_damaged(void **state)
{
    (void)state;
    struct span_set none = {0};
    assert_int_equal(0, encode(&none).n);
    struct corpus c;
    corpus_init(&c, 3, 1700000000000000000);
    struct span_set set = wild_set(&c, &arena, 40, true);
    str bytes = encode(&set);
    struct err err = ERR_OK;
    for (size_t cut = 0; cut < bytes.n; cut++) { // every prefix is refused
        struct arena_mark mark = arena_mark(&arena);
        struct rd r = rd_of(str_sub(bytes, 0, cut));
        str chunk = {0};
        struct span_columns b;
        assert_false(cut > 0 && span_chunks_next(&r, &chunk, &err) &&
                     span_chunk_open(chunk, &arena, &b, &err));
        arena_release(&arena, mark);
    }
    char *p = arena_alloc(&arena, bytes.n);
    for (size_t i = 0; i < bytes.n * 2; i++) { // flipped bytes: an error or other spans, no crash
        struct arena_mark mark = arena_mark(&arena);
        memcpy(p, bytes.p, bytes.n);
        p[i % bytes.n] ^= (char)(i < bytes.n ? 0xFF : 1 << (i % 8));
        struct rd r = rd_of((str){p, bytes.n});
        str chunk;
        struct span_columns b;
        struct span_set got;
        if (span_chunks_next(&r, &chunk, &err) && span_chunk_open(chunk, &arena, &b, &err)) {
            (void)!span_block_check(&b, &err);
            (void)!span_rows_decode(&b, 0, b.head.rows[TABLE_SPAN], &scratch, &arena, &got, &err);
        }
        arena_release(&arena, mark);
    }
}

/* ---- merging ---- */

struct merge_test {
    struct span_merge_io io;
    str in[32];
    size_t n_in, at;
    struct buf body;
    struct span_set out[512];
    size_t n_out;
};

static bool merge_next(struct span_merge_io *io, struct arena *a, struct span_columns *out,
                       bool *have, struct err *err)
{
    struct merge_test *t = (struct merge_test *)io;
    *have = t->at < t->n_in;
    return !*have || span_chunk_open(t->in[t->at++], a, out, err);
}

static bool merge_column(struct span_merge_io *io, const struct span_merge_column *c,
                         struct err *err)
{
    (void)err;
    struct merge_test *t = (struct merge_test *)io;
    assert_int_equal(c->key != NULL, c->id >= SPAN_COL_ATTR);
    buf_add(&t->body, c->raw);
    return true;
}

static bool merge_block(struct span_merge_io *io, const struct span_block_head *head,
                        const struct span_key *keys, uint32_t n_keys, str dir, struct err *err)
{
    (void)head;
    (void)keys;
    (void)n_keys;
    struct merge_test *t = (struct merge_test *)io;
    struct buf chunk;
    struct span_columns b;
    buf_init(&chunk, 64 * MIB);
    buf_u8(&chunk, SPAN_BLOCK_VERSION);
    buf_bytes(&chunk, dir);
    buf_add(&chunk, buf_str(&t->body));
    buf_clear(&t->body);
    str bytes = arena_dup(&arena, buf_str(&chunk));
    buf_deinit(&chunk);
    assert_true(t->n_out < COUNTOF(t->out));
    if (!span_chunk_open(bytes, &arena, &b, err) || !span_block_check(&b, err) ||
        !span_rows_decode(&b, 0, b.head.rows[TABLE_SPAN], &scratch, &arena, &t->out[t->n_out++],
                          err))
        fail_msg("%s", err->text);
    return true;
}

static void merge_run(struct merge_test *t, uint32_t spans_max)
{
    struct err err = ERR_OK;
    t->io = (struct span_merge_io){merge_next, merge_column, merge_block, spans_max, NULL, NULL};
    buf_init(&t->body, 64 * MIB);
    if (!span_merge(&t->io, &err))
        fail_msg("%s", err.text);
    buf_deinit(&t->body);
}

static str first_chunk(const struct span_set *set)
{
    struct rd r = rd_of(encode(set));
    str chunk;
    assert_true(next_chunk(&r, &chunk));
    return chunk;
}

/* Everything of the sets is in the output once, whatever the size of its blocks. */
static void test_merge_keeps_everything(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {0, 300, 40, 7, 1};
    for (size_t k = 0; k < COUNTOF(sizes); k++) {
        struct merge_test *t = arena_zalloc(&arena, sizeof(*t));
        struct corpus c;
        corpus_init(&c, 5 + k, 1700000000000000000);
        struct span_set set = wild_set(&c, &arena, 300, true);
        for (size_t i = 0; i < 6; i++) { // six overlapping slices
            struct span_set part = set;
            part.spans = set.spans + i * 45;
            part.n_spans = MIN((size_t)75, 300 - i * 45);
            t->in[t->n_in++] = first_chunk(&part);
        }
        merge_run(t, sizes[k]);
        struct span *all = arena_array(&arena, struct span, 2000);
        struct span_set got = {.spans = all};
        bool *seen = arena_zalloc(&arena, 300);
        for (size_t b = 0; b < t->n_out; b++) {
            assert_true(sizes[k] == 0 || t->out[b].n_spans <= sizes[k]);
            for (size_t i = 0; i < t->out[b].n_spans; i++) {
                const struct span *s = &t->out[b].spans[i];
                uint64_t id;
                memcpy(&id, s->span_id, 8);
                assert_in_range(id, 1, 300);
                assert_true(span_same(&set, &set.spans[id - 1], &t->out[b], s));
                assert_true(sizes[k] != 0 || !seen[id - 1]); // in one window no duplicate is left
                got.n_spans += !seen[id - 1];
                seen[id - 1] = true;
            }
        }
        assert_int_equal(300, got.n_spans);
        if (sizes[k] == 0)
            assert_int_equal(1, t->n_out);
        arena_reset(&arena);
    }
}

static void test_merge_cuts_by_start(void **state)
{
    (void)state;
    struct merge_test *t = arena_zalloc(&arena, sizeof(*t));
    struct corpus c;
    corpus_init(&c, 9, 1700000000000000000);
    const struct resource *res = corpus_resources(&arena);
    size_t total = 0;
    for (size_t i = 0; i < 20; i++) {
        struct span *spans = arena_array(&arena, struct span, 10 * 30);
        size_t n = 0;
        for (size_t k = 0; k < 10; k++)
            n += corpus_trace(&c, &arena, spans + n);
        struct span_set set = {res, corpus_scopes(&arena), spans, CORPUS_PODS, 1, n};
        t->in[t->n_in++] = first_chunk(&set);
        total += n;
    }
    merge_run(t, 500);
    int64_t last = INT64_MIN;
    size_t got = 0;
    for (size_t b = 0; b < t->n_out;
         b++) { // roots of a block start after those of the block before
        int64_t lo = INT64_MAX, hi = INT64_MIN;
        for (size_t i = 0; i < t->out[b].n_spans; i++) {
            const struct span *s = &t->out[b].spans[i];
            static const uint8_t none[8];
            if (memcmp(s->parent_id, none, 8) != 0)
                continue;
            lo = MIN(lo, s->start_ns);
            hi = MAX(hi, s->start_ns);
        }
        assert_true(lo > last);
        last = hi;
        got += t->out[b].n_spans;
    }
    assert_int_equal(total, got);
    assert_in_range(t->n_out, total / 500, total / 400 + 2);
}

static void test_merge_refuses_damage(void **state)
{
    (void)state;
    struct corpus c;
    corpus_init(&c, 11, 1700000000000000000);
    struct span_set set = wild_set(&c, &arena, 30, true);
    str good = first_chunk(&set);
    char *p = arena_alloc(&arena, good.n);
    for (size_t i = 0; i < good.n; i++) {
        struct merge_test *t = arena_zalloc(&arena, sizeof(*t));
        struct err err = ERR_OK;
        memcpy(p, good.p, good.n);
        p[i] ^= 0x55;
        t->in[t->n_in++] = good;
        t->in[t->n_in++] = (str){p, good.n};
        t->io = (struct span_merge_io){merge_next, merge_column, merge_block, 0, NULL, NULL};
        buf_init(&t->body, 64 * MIB);
        if (!span_merge(&t->io, &err))
            assert_int_equal(ERR_CORRUPT, err.code);
        buf_deinit(&t->body);
    }
}

static void test_column_forms(void **state)
{
    (void)state;
    static const int64_t ints[][6] = {
        {0, 0, 0, 0, 0, 0},
        {7, 7, 7, 7, 7, 7},
        {INT64_MIN, INT64_MAX, 0, -1, 1, 5},
        {1000, 2000, 3000, 4000, -5000, 0},
        {1700000000000000000, 1700000001000000000, 1700000002000000000, 1700000003000000000,
         1700000004000000000, 1700000005000000000},
        {-1, -2, -3, -4, -5, -600},
    };
    struct buf out;
    struct err err = ERR_OK;
    for (size_t i = 0; i < COUNTOF(ints); i++) {
        for (size_t n = 0; n <= 6; n++) {
            int64_t got[6];
            buf_init(&out, MIB);
            column_put_ints(&out, ints[i], n);
            struct rd r = rd_of(buf_str(&out));
            assert_true(column_get_ints(&r, got, n, &err));
            assert_int_equal(0, rd_left(&r));
            assert_memory_equal(got, ints[i], n * 8);
            buf_deinit(&out);
        }
    }
    static const double doubles[][3] = {
        {0, 1, 2},         {0.1, 0.2, -7.25},   {-0.0, 1, 2},   {1e300, 1, 2},
        {0.1234567, 1, 2}, {(double)NAN, 1, 2}, {1e15, 1, 0.5}, {9007199254740991.0, 0.1, 3}};
    for (size_t i = 0; i < COUNTOF(doubles); i++) {
        double got[3];
        buf_init(&out, MIB);
        column_put_doubles(&out, doubles[i], 3);
        struct rd r = rd_of(buf_str(&out));
        assert_true(column_get_doubles(&r, got, 3, &err));
        assert_int_equal(0, rd_left(&r));
        assert_memory_equal(got, doubles[i], sizeof(got));
        buf_deinit(&out);
    }
    static const uint32_t sizes[] = {1, 2, 256, 257, 1000, 70000};
    for (size_t i = 0; i < COUNTOF(sizes); i++) {
        uint32_t n = sizes[i] * 2, *v = arena_array(&arena, uint32_t, n),
                 *got = arena_array(&arena, uint32_t, n);
        for (uint32_t k = 0; k < n; k++) // first appearance, then repeats: the "new" form
            v[k] = k < sizes[i] ? k : (k * 7919) % sizes[i];
        buf_init(&out, 16 * MIB);
        column_put_codes(&out, v, n, sizes[i]);
        struct rd r = rd_of(buf_str(&out));
        assert_true(column_get_codes(&r, got, n, sizes[i], &err));
        assert_int_equal(0, rd_left(&r));
        assert_memory_equal(got, v, n * 4);
        struct rd again = rd_of(buf_str(&out));
        assert_false(sizes[i] > 1 && column_get_codes(&again, got, n, sizes[i] - 1, &err));
        buf_deinit(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_column_forms, setup, teardown),
        cmocka_unit_test_setup_teardown(test_round_trip_wild, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shapes_change_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_extreme_times, setup, teardown),
        cmocka_unit_test_setup_teardown(test_corpus_and_columns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_duplicates, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_rows_make_chunks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_empty_and_damaged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_merge_keeps_everything, setup, teardown),
        cmocka_unit_test_setup_teardown(test_merge_cuts_by_start, setup, teardown),
        cmocka_unit_test_setup_teardown(test_merge_refuses_damage, setup, teardown),
    };
    return cmocka_run_group_tests_name("span_block", tests, NULL, NULL);
}
