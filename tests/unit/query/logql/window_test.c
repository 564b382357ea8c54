/* window_test.c - windows in one pass against windows one by one, on random samples in random
 * order. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "query/logql/window.h"
#include "storage/base/prng.h"

#define SAMPLES 200

static double naive(enum range_op op, const struct lq_sample *v, size_t n, int64_t begin,
                    int64_t end, double seconds, bool *any)
{
    double sum = 0, sum2 = 0, min = INFINITY, max = -INFINITY, count = 0, first = 0, last = 0;
    int64_t first_t = INT64_MAX, last_t = INT64_MIN;
    for (size_t i = 0; i < n; i++) {
        if (v[i].t_ns <= begin || v[i].t_ns > end)
            continue;
        count++;
        sum += v[i].v;
        sum2 += v[i].v * v[i].v;
        min = fmin(min, v[i].v);
        max = fmax(max, v[i].v);
        if (v[i].t_ns < first_t) {
            first_t = v[i].t_ns;
            first = v[i].v;
        }
        if (v[i].t_ns >= last_t) {
            last_t = v[i].t_ns;
            last = v[i].v;
        }
    }
    *any = count > 0;
    double var = sum2 / count - sum / count * (sum / count);
    switch (op) {
    case RANGE_RATE:
        return sum / seconds;
    case RANGE_AVG:
        return sum / count;
    case RANGE_MIN:
        return min;
    case RANGE_MAX:
        return max;
    case RANGE_STDVAR:
        return var;
    case RANGE_STDDEV:
        return sqrt(var);
    case RANGE_FIRST:
        return first;
    case RANGE_LAST:
        return last;
    default:
        return sum;
    }
}

static void check(struct prng *rng, enum range_op op, bool sorted)
{
    struct query q;
    struct query_limits limits;
    struct err err = ERR_OK;
    struct lq_window w = {0};
    struct lq_cuts cuts;
    struct lq_sample v[SAMPLES];
    struct logql_expr e = {.kind = EXPR_RANGE};
    query_limits_default(&limits);
    query_init(&q, clock_real(), NULL, NULL, &limits, NULL);
    struct grid grid = {(int64_t)prng_below(rng, 5000), 1 + (int64_t)prng_below(rng, 3000),
                        1 + prng_below(rng, 40)};
    e.range.op = op;
    e.range.range_ns = (1 + (int64_t)prng_below(rng, 9000)) * NS_PER_MS;
    e.range.offset_ns = ((int64_t)prng_below(rng, 3) - 1) * 700 * NS_PER_MS;
    assert_true(lq_cuts_init(&q, &cuts, grid, e.range.range_ns, e.range.offset_ns, &err));
    uint32_t hint = 0;
    int64_t t = -9000;
    for (size_t i = 0; i < SAMPLES; i++) { // distinct times, on borders now and then
        t += sorted ? 1 + (int64_t)prng_below(rng, 700) : 0;
        int64_t at = sorted ? t : (int64_t)((i * 7919) % (SAMPLES * 600)) - 9000;
        v[i] = (struct lq_sample){at * NS_PER_MS, (double)prng_below(rng, 1000) / 8};
        uint32_t piece = lq_cuts_find(&cuts, v[i].t_ns, hint);
        if (piece == UINT32_MAX || !lq_cuts_used(&cuts, piece))
            continue;
        hint = piece;
        lq_window_add(&q, &w, op, piece, v[i].t_ns, v[i].v);
    }
    double out[64];
    for (size_t i = 0; i < grid.n; i++)
        out[i] = CELL_ABSENT;
    assert_true(lq_window_values(&q, &w, &e, &cuts, out, &err));
    for (size_t i = 0; i < grid.n; i++) {
        int64_t end = grid_time(grid, i) * NS_PER_MS - e.range.offset_ns;
        bool any;
        double want = naive(op, v, SAMPLES, end - e.range.range_ns, end,
                            (double)e.range.range_ns / 1e9, &any);
        assert_int_equal(any, !is_stale(out[i]));
        if (any && !(fabs(out[i] - want) <= 1e-6 * fmax(1, fabs(want))))
            fail_msg("op %d step %zu: %g, not %g", (int)op, i, out[i], want);
    }
    query_deinit(&q);
}

static void windows(void **state)
{
    static const enum range_op ops[] = {RANGE_COUNT,  RANGE_RATE,  RANGE_SUM,   RANGE_AVG,
                                        RANGE_MIN,    RANGE_MAX,   RANGE_FIRST, RANGE_LAST,
                                        RANGE_STDDEV, RANGE_STDVAR};
    struct prng rng;
    (void)state;
    prng_init(&rng, 7);
    for (size_t round = 0; round < 300; round++)
        check(&rng, ops[round % COUNTOF(ops)], round % 3 != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(windows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
