/* span_repeats_test.c - copies of spans among sources: which rows are recognized, what is
 * remembered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/engine/span_repeats.h"
#include "storage/model/limits.h"

#define ROWS_MAX 8

struct source {
    int segment; // 0: in memory, a chunk of its own
    int64_t t0, s1;
    int ids[ROWS_MAX]; // of its spans; 0: no more. They start at t0, but the last at s1
    const char *want;  // by row: r = repeat
};

static struct source of(int segment, int64_t t0, int64_t s1)
{
    return (struct source){.segment = segment, .t0 = t0, .s1 = s1};
}

/* Sources as a list; only what span_repeats looks at is there. */
static void make_list(struct span_sources *list, struct arena *a, const struct source *s, size_t n)
{
    static char owners[64];
    *list = (struct span_sources){.n = n};
    arena_init(&list->arena, SIZE_MAX, NULL);
    list->v = arena_zalloc(a, n * sizeof(list->v[0]));
    for (size_t i = 0; i < n; i++) {
        struct span_source *x = &list->v[i];
        x->head.t0_ns = s[i].t0;
        x->head.s1_ns = s[i].s1;
        if (s[i].segment > 0) // never looked into
            x->seg = (struct segment *)(void *)&owners[s[i].segment];
        else
            x->chunk = (struct span_chunk *)(void *)&owners[32 + i];
    }
}

static struct span_part make_part(struct arena *a, const struct source *s)
{
    struct span_part p = {0};
    while (p.n < ROWS_MAX && s->ids[p.n] != 0)
        p.n++;
    p.trace_id = arena_zalloc(a, (size_t)p.n * 16);
    p.span_id = arena_zalloc(a, (size_t)p.n * 8);
    p.start_ns = arena_array(a, int64_t, p.n);
    p.kind = arena_zalloc(a, p.n);
    for (uint32_t i = 0; i < p.n; i++) {
        p.span_id[i][7] = (uint8_t)s->ids[i];
        p.start_ns[i] = i + 1 == p.n ? s->s1 : s->t0;
    }
    return p;
}

static void check(const struct source *s, size_t n, size_t remembered)
{
    struct span_sources list;
    struct span_repeats r;
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    make_list(&list, &a, s, n);
    span_repeats_open(&r, &list);
    for (size_t i = 0; i < n; i++) {
        struct span_part p = make_part(&a, &s[i]);
        const bool *got = span_repeats_find(&r, i, &p, &a);
        for (uint32_t k = 0; k < p.n; k++)
            assert_int_equal(got && got[k], s[i].want && s[i].want[k] == 'r');
    }
    assert_int_equal(r.n, remembered);
    arena_deinit(&list.arena);
    arena_deinit(&a);
}

static void test_copies(void **state)
{
    (void)state;
    /* A chunk, another, a segment: all of one time. */
    static const struct source same[] = {{0, 10, 20, {1, 2, 3}, "..."},
                                         {0, 10, 20, {2, 4, 5}, "r.."},
                                         {1, 10, 20, {4, 1, 6}, "rr."}};
    check(same, COUNTOF(same), 5);
    /* One after the other: nothing to remember. */
    static const struct source apart[] = {
        {0, 30, 40, {1, 2}, NULL}, {1, 20, 29, {3, 4}, NULL}, {2, 10, 19, {5, 6}, NULL}};
    check(apart, COUNTOF(apart), 0);
    /* They touch: only what lies in the overlap is remembered, and known again. */
    static const struct source touch[] = {{0, 20, 40, {1, 2}, ".."}, {1, 10, 20, {3, 1}, ".r"}};
    check(touch, COUNTOF(touch), 1);
    /* Blocks of one segment have no copies of each other, but others have of them. */
    static const struct source blocks[] = {
        {1, 10, 20, {1, 2}, NULL}, {1, 10, 20, {3, 4}, NULL}, {2, 5, 15, {3, 9}, NULL}};
    check(blocks, COUNTOF(blocks), 2);
    static const struct source all_past[] = {
        {1, 10, 20, {1, 2}, NULL}, {1, 10, 20, {3, 4}, NULL}, {2, 10, 20, {3, 4}, "rr"}};
    check(all_past, COUNTOF(all_past), 4);
    /* Times at the ends. */
    static const struct source ends[] = {{0, INT64_MIN, INT64_MAX, {1, 2}, ".."},
                                         {1, INT64_MIN, INT64_MIN, {1}, "r"}};
    check(ends, COUNTOF(ends), 1);
}

/* Beyond the limit rows are given, but not remembered. */
static void test_limit(void **state)
{
    (void)state;
    struct source s[] = {of(0, 0, 1), of(1, 0, 1)};
    struct span_sources list;
    struct span_repeats r;
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    make_list(&list, &a, s, COUNTOF(s));
    span_repeats_open(&r, &list);
    uint32_t n = LIMIT_QUERY_REPEATS + 1000;
    struct span_part p = {.n = n,
                          .trace_id = arena_zalloc(&a, (size_t)n * 16),
                          .span_id = arena_zalloc(&a, (size_t)n * 8),
                          .start_ns = arena_zalloc(&a, n * sizeof(int64_t)),
                          .kind = arena_zalloc(&a, n)};
    for (uint32_t i = 0; i < n; i++)
        memcpy(p.span_id[i], &i, sizeof i);
    assert_null(span_repeats_find(&r, 0, &p, &a));
    assert_int_equal(r.n, LIMIT_QUERY_REPEATS);
    const bool *again = span_repeats_find(&r, 1, &p, &a);
    assert_non_null(again);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(again[i], i < LIMIT_QUERY_REPEATS);
    arena_deinit(&list.arena);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_copies), cmocka_unit_test(test_limit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
