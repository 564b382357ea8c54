/* binop_test.c - operators: scalars, matching, fill, sets, histograms, errors, and "all steps at
 * once is the same as step by step". */
#include "tests/unit/query/vector/fixture.h"

#include <math.h>

#include "query/vector/binop.h"
#include "storage/base/prng.h"

static struct matrix run(const struct binary *b, const struct matrix *l, const struct matrix *r)
{
    struct matrix out;
    if (!binop_eval(&q, b, l, r, &out, &err))
        fail_msg("%s", err.text);
    return out;
}

static void test_scalar(void **state)
{
    (void)state;
    static const struct {
        enum binop op;
        double x, y, want;
    } cases[] = {
        {BIN_ADD, 1, 2, 3},     {BIN_SUB, 1, 2, -1},       {BIN_MUL, 3, 2, 6},
        {BIN_DIV, 1, 4, 0.25},  {BIN_DIV, 1, 0, INFINITY}, {BIN_MOD, -7, 3, -1},
        {BIN_POW, 2, 10, 1024}, {BIN_ATAN2, 0, 1, 0},      {BIN_EQ, 1, 1, 1},
        {BIN_NE, 1, 1, 0},      {BIN_GT, 2, 1, 1},         {BIN_LT, 2, 1, 0},
        {BIN_GE, 2, 2, 1},      {BIN_LE, 3, 2, 0},         {BIN_EQ, NAN, NAN, 0},
        {BIN_NE, NAN, NAN, 1},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct binary b = {.op = cases[i].op};
        assert_true(binop_scalar(&b, cases[i].x, cases[i].y) == cases[i].want);
    }
    struct binary div = {.op = BIN_DIV, .dialect = DIALECT_LOGQL};
    assert_true(isnan(binop_scalar(&div, 1, 0)));
    div.dialect = DIALECT_TRACEQL;
    assert_true(is_stale(binop_scalar(&div, 1, 0)));
}

static void test_with_scalar(void **state)
{
    (void)state;
    struct matrix v = matrix_of("a 1 2 _\nb 5 NaN 0\n"), s, out;
    assert_true(matrix_scalar(&q, v.grid, 2, &s, &err));
    struct binary b = {.op = BIN_MUL};
    out = run(&b, &v, &s);
    assert_matrix(&out, "~a 2 4 _\n~b 10 NaN 0\n");
    b.op = BIN_SUB;
    out = run(&b, &s, &v);
    assert_matrix(&out, "~a 1 0 _\n~b -3 NaN 2\n");
    b.op = BIN_GE;
    out = run(&b, &v, &s);
    assert_matrix(&out, "a _ 2 _\nb 5 _ _\n");
    out = run(&b, &s, &v); // keeps the vector's value
    assert_matrix(&out, "a 1 2 _\nb _ _ 0\n");
    b.return_bool = true;
    out = run(&b, &v, &s);
    assert_matrix(&out, "~a 0 1 _\n~b 1 0 0\n");
    b = (struct binary){.op = BIN_POW};
    out = run(&b, &s, &s);
    assert_true(out.is_scalar);
    assert_matrix(&out, "{} 4 4 4\n");
    b = (struct binary){.op = BIN_GT};
    assert_true(matrix_scalar(&q, v.grid, 99, &s, &err));
    out = run(&b, &v, &s);
    assert_int_equal(out.series.n, 0);
}

#define LEFT  "l{a=1,b=x} 1 2\nl{a=2,b=x} 3 _\nl{a=3,b=y} 5 6\n"
#define RIGHT "r{a=1,b=x} 10 20\nr{a=2,b=x} 30 40\nr{a=4,b=y} 50 60\n"

static void test_one_to_one(void **state)
{
    (void)state;
    struct matrix l = matrix_of(LEFT), r = matrix_of(RIGHT), out;
    struct binary b = {.op = BIN_ADD};
    out = run(&b, &l, &r);
    assert_matrix(&out, "{a=\"1\", b=\"x\"} 11 22\n{a=\"2\", b=\"x\"} 33 _\n");
    str a[] = {STR("a")}, bx[] = {STR("b")}, name[] = {STR("a"), METRIC_NAME};
    b.match = (struct match){.on = true, .names = a, .n_names = 1};
    out = run(&b, &l, &r);
    assert_matrix(&out, "{a=\"1\"} 11 22\n{a=\"2\"} 33 _\n");
    b.match = (struct match){.names = bx, .n_names = 1};
    out = run(&b, &l, &r);
    assert_matrix(&out, "{a=\"1\"} 11 22\n{a=\"2\"} 33 _\n");
    b.op = BIN_LT;
    out = run(&b, &l, &r);
    assert_matrix(&out, "l{a=\"1\"} 1 2\nl{a=\"2\"} 3 _\n");
    b.match = (struct match){.on = true, .names = name, .n_names = 2};
    out = run(&b, &l, &r);
    assert_int_equal(out.series.n, 0);
    out = run(&b, &l, &l);
    assert_int_equal(out.series.n, 0);
    b.op = BIN_LE;
    out = run(&b, &l, &l);
    assert_matrix(&out, "l{a=\"1\"} 1 2\nl{a=\"2\"} 3 _\nl{a=\"3\"} 5 6\n");
}

static void test_grouped(void **state)
{
    (void)state;
    struct matrix l = matrix_of("l{a=1,b=x} 1 2\nl{a=2,b=x} 3 4\nl{a=3,b=z} 5 6\n");
    struct matrix r = matrix_of("r{b=x,c=one} 10 _\nr{b=x,c=two} _ 20\nr{b=y,c=three} 7 7\n");
    str bx[] = {STR("b")}, c[] = {STR("c")};
    struct binary b = {.op = BIN_MUL,
                       .match = {.card = CARD_MANY_TO_ONE, .on = true, .names = bx, .n_names = 1}};
    struct matrix out = run(&b, &l, &r);
    assert_matrix(&out, "{a=\"1\", b=\"x\"} 10 40\n{a=\"2\", b=\"x\"} 30 80\n");
    b.match.include = c;
    b.match.n_include = 1;
    out = run(&b, &l, &r);
    assert_matrix(&out, "{a=\"1\", b=\"x\", c=\"one\"} 10 _\n{a=\"1\", b=\"x\", c=\"two\"} _ 40\n"
                        "{a=\"2\", b=\"x\", c=\"one\"} 30 _\n{a=\"2\", b=\"x\", c=\"two\"} _ 80\n");
    b.op = BIN_GT; // group_right, comparison: the value of the left, the labels of the right
    b.match.card = CARD_ONE_TO_MANY;
    b.match.n_include = 0;
    out = run(&b, &r, &l);
    assert_matrix(&out, "l{a=\"1\", b=\"x\"} 10 20\nl{a=\"2\", b=\"x\"} 10 20\n");
}

static void test_errors(void **state)
{
    (void)state;
    struct matrix l = matrix_of("l{a=1,b=x} 1 2\nl{a=2,b=x} 3 4\n"), out;
    struct matrix r = matrix_of("r{b=x} 10 _\n"), empty = matrix_of("r{b=x} _ _\n");
    str bx[] = {STR("b")}, a[] = {STR("a")};
    struct binary b = {.op = BIN_EQ, .match = {.on = true, .names = bx, .n_names = 1}};
    assert_false(binop_eval(&q, &b, &l, &r, &out, &err)); // also when the filter drops both
    assert_string_equal(err.text, "multiple matches for labels: many-to-one matching must be "
                                  "explicit (group_left/group_right)");
    assert_int_equal(err.code, ERR_EXEC);
    assert_false(binop_eval(&q, &b, &r, &l, &out, &err));
    assert_string_equal(
        err.text,
        "found duplicate series for the match group {b=\"x\"} on the right hand-side of the "
        "operation: [{__name__=\"l\", a=\"1\", b=\"x\"}, {__name__=\"l\", a=\"2\", b=\"x\"}];"
        "many-to-many matching not allowed: matching labels must be unique on one side");
    assert_true(binop_eval(&q, &b, &empty, &l, &out, &err)); // nothing on one side: no error
    b.dialect = DIALECT_LOGQL;
    b.match.card = CARD_ONE_TO_MANY;
    assert_false(binop_eval(&q, &b, &l, &r, &out, &err));
    assert_string_equal(err.text, "found duplicate series on the left hand-side;many-to-many "
                                  "matching not allowed: matching labels must be unique on one "
                                  "side");
    struct matrix r2 = matrix_of("r{a=9,b=x} 10 10\n");
    b = (struct binary){.op = BIN_EQ,
                        .match = {.card = CARD_MANY_TO_ONE,
                                  .on = true,
                                  .names = bx,
                                  .n_names = 1,
                                  .include = a,
                                  .n_include = 1}};
    assert_false(binop_eval(&q, &b, &l, &r2, &out, &err));
    assert_string_equal(err.text,
                        "multiple matches for labels: grouping labels must ensure unique matches");
    // duplicates in a group without partner count, too
    struct matrix dup = matrix_of("r{b=x} 1 1\nr{b=q,k=1} 1 1\nr{b=q,k=2} 1 1\n");
    b = (struct binary){.op = BIN_ADD,
                        .match = {.card = CARD_MANY_TO_ONE, .on = true, .names = bx, .n_names = 1}};
    assert_false(binop_eval(&q, &b, &l, &dup, &out, &err));
}

static void test_fill(void **state)
{
    (void)state;
    struct matrix l = matrix_of("l{a=1} 10 _\nl{a=2} 20 20\n");
    struct matrix r = matrix_of("r{a=1} 100 100\nr{a=3} 300 _\n");
    struct binary b = {.op = BIN_ADD, .match = {.has_fill_left = true, .has_fill_right = true}};
    struct matrix out = run(&b, &l, &r);
    assert_matrix(&out, "{a=\"1\"} 110 100\n{a=\"2\"} 20 20\n{a=\"3\"} 300 _\n");
    b.match.has_fill_left = false;
    b.match.fill_right = 7;
    out = run(&b, &l, &r);
    assert_matrix(&out, "{a=\"1\"} 110 _\n{a=\"2\"} 27 27\n");
    struct matrix one = matrix_of("n{i=a} 100\nn{i=c} 300\n");
    struct matrix many = matrix_of("c{i=a,k=0} 1\nc{i=a,k=1} 1\nc{i=b,k=0} 1\n");
    str i[] = {STR("i")};
    b = (struct binary){.op = BIN_MUL,
                        .match = {.card = CARD_ONE_TO_MANY,
                                  .on = true,
                                  .names = i,
                                  .n_names = 1,
                                  .has_fill_left = true,
                                  .has_fill_right = true,
                                  .fill_left = 1,
                                  .fill_right = 1}};
    out = run(&b, &one, &many);
    assert_matrix(&out, "{i=\"a\", k=\"0\"} 100\n{i=\"a\", k=\"1\"} 100\n{i=\"c\"} 300\n"
                        "{i=\"b\", k=\"0\"} 1\n");
}

static void test_sets(void **state)
{
    (void)state;
    struct matrix l = matrix_of("l{a=1} 1 _ 3\nl{a=2} 4 5 6\n");
    struct matrix r = matrix_of("r{a=1} 7 8 _\nr{a=3} 9 _ _\n");
    static const struct {
        enum binop op;
        const char *want;
    } cases[] = {
        {BIN_AND, "l{a=\"1\"} 1 _ _\n"},
        {BIN_UNLESS, "l{a=\"1\"} _ _ 3\nl{a=\"2\"} 4 5 6\n"},
        {BIN_OR, "l{a=\"1\"} 1 _ 3\nl{a=\"2\"} 4 5 6\nr{a=\"1\"} _ 8 _\nr{a=\"3\"} 9 _ _\n"},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct binary b = {.op = cases[i].op, .match = {.card = CARD_MANY_TO_MANY}};
        struct matrix out = run(&b, &l, &r);
        assert_matrix(&out, cases[i].want);
    }
    struct binary b = {.op = BIN_OR, .match = {.card = CARD_MANY_TO_MANY, .on = true}};
    struct matrix out = run(&b, &l, &r); // one group: the right only where the left has nothing
    assert_matrix(&out, "l{a=\"1\"} 1 _ 3\nl{a=\"2\"} 4 5 6\n");
    struct matrix early = matrix_of("x 1 _\n"), late = matrix_of("x _ 2\n");
    out = run(&b, &early, &late); // the same series from both sides
    assert_matrix(&out, "x 1 2\n");
}

static void put_hist(struct matrix *m, size_t series, double count)
{
    struct hist *h = arena_new(&q.arena, struct hist);
    *h = (struct hist){.count = count, .sum = count};
    mseries_set_hist(&q, m, &m->series.v[series], 0, h);
}

static void test_histograms(void **state)
{
    (void)state;
    struct matrix h = matrix_of("h _\n"), f = matrix_of("f 2\n"), s, out;
    put_hist(&h, 0, 4);
    assert_true(matrix_scalar(&q, h.grid, 2, &s, &err));
    struct binary b = {.op = BIN_ADD};
    out = run(&b, &h, &h);
    assert_matrix(&out, "{} {count:8, sum:8}\n");
    b.op = BIN_MUL;
    out = run(&b, &s, &h);
    assert_matrix(&out, "~h {count:8, sum:8}\n");
    b.op = BIN_DIV;
    out = run(&b, &h, &f);
    assert_matrix(&out, "{} {count:2, sum:2}\n");
    b.op = BIN_EQ;
    out = run(&b, &h, &h);
    assert_matrix(&out, "h {count:4, sum:4}\n");
    b.op = BIN_NE;
    b.return_bool = true;
    out = run(&b, &h, &h);
    assert_matrix(&out, "~h 0\n");
    assert_int_equal(q.notes.n, 0);
    b = (struct binary){.op = BIN_DIV};
    out = run(&b, &s, &h);
    assert_int_equal(out.series.n, 0);
    assert_note(0, true,
                "PromQL info: incompatible sample types encountered for binary operator \"/\": "
                "float / histogram");
    b.op = BIN_MUL;
    out = run(&b, &h, &h);
    assert_int_equal(out.series.n, 0);
    assert_int_equal(q.notes.n, 2);
}

static struct matrix random_matrix(struct prng *r, const char *name, size_t steps)
{
    struct matrix m;
    matrix_init(&m, (struct grid){0, 1000, steps});
    for (size_t k = 0, n = prng_below(r, 7); k < n; k++) {
        struct mseries *s;
        str text = arena_fmt(&q.arena, "%s%u{a=%u,b=%u}", name, (unsigned)prng_below(r, 2),
                             (unsigned)prng_below(r, 3), (unsigned)prng_below(r, 2));
        struct labels l = read_labels(text);
        bool there = false;
        for (size_t i = 0; i < m.series.n; i++)
            there |= labels_eq(m.series.v[i].labels, l);
        if (there)
            continue;
        assert_true(matrix_add(&q, &m, l, &s, &err));
        for (size_t i = 0; i < steps; i++)
            if (prng_below(r, 4) == 0)
                s->v[i] = (double)prng_below(r, 4);
    }
    return m;
}

/* Random vectors: the whole range equals one step after the other, errors included. */
static void test_steps(void **state)
{
    (void)state;
    struct prng r;
    size_t failed = 0, fine = 0;
    prng_init(&r, 5);
    for (size_t round = 0; round < 1500; round++) {
        size_t steps = 1 + prng_below(&r, 5);
        struct matrix x = random_matrix(&r, "m", steps), y = random_matrix(&r, "m", steps), all;
        str names[] = {STR("a")}, include[] = {STR("b")};
        struct binary b = {.op = (enum binop)prng_below(&r, BIN_UNLESS + 1),
                           .return_bool = prng_below(&r, 3) == 0,
                           .match = {.card = (enum match_card)prng_below(&r, 3),
                                     .on = prng_below(&r, 2) == 0,
                                     .names = names,
                                     .n_names = prng_below(&r, 2),
                                     .include = include,
                                     .n_include = prng_below(&r, 2),
                                     .has_fill_left = prng_below(&r, 4) == 0,
                                     .has_fill_right = prng_below(&r, 4) == 0}};
        bool ok = binop_eval(&q, &b, &x, &y, &all, &err), all_ok = true;
        for (size_t i = 0; i < steps; i++) {
            struct matrix cx = column(&x, i), cy = column(&y, i), one;
            bool one_ok = binop_eval(&q, &b, &cx, &cy, &one, &err);
            all_ok = all_ok && one_ok;
            if (!ok || !one_ok)
                continue;
            struct matrix got = column(&all, i);
            matrix_sort_labels(&one);
            matrix_sort_labels(&got);
            if (!str_eq(text_of(&one), text_of(&got)))
                fail_msg("round %zu, %s: got\n" STR_FMT "want\n" STR_FMT, round, binop_text(b.op),
                         STR_ARG(text_of(&got)), STR_ARG(text_of(&one)));
        }
        assert_int_equal(ok, all_ok);
        failed += !ok;
        fine += ok && all.series.n > 0;
        teardown(state);
        setup(state);
    }
    assert_true(failed > 50 && fine > 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalar),
        cmocka_unit_test_setup_teardown(test_with_scalar, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_to_one, setup, teardown),
        cmocka_unit_test_setup_teardown(test_grouped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fill, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_histograms, setup, teardown),
        cmocka_unit_test_setup_teardown(test_steps, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
