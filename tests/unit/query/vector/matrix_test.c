/* matrix_test.c - merging, name removal, ordering, relabelling. */
#include "tests/unit/query/vector/fixture.h"

#include "query/vector/relabel.h"

static void test_build(void **state)
{
    (void)state;
    struct matrix m = matrix_of("a 1 _ 3\nb{x=1} _ _ _\n");
    assert_matrix(&m, "a 1 _ 3\nb{x=\"1\"} _ _ _\n");
    matrix_compact(&m);
    assert_matrix(&m, "a 1 _ 3\n");
    struct hist h = {.count = 1};
    mseries_set_hist(&q, &m, &m.series.v[0], 1, &h);
    assert_matrix(&m, "a 1 {count:1, sum:0} 3\n");
    struct matrix s;
    assert_true(matrix_scalar(&q, (struct grid){0, 1, 2}, 7, &s, &err));
    assert_true(s.is_scalar);
    assert_matrix(&s, "{} 7 7\n");
}

static void test_finish_names(void **state)
{
    (void)state;
    struct matrix m = matrix_of("~a{x=1} 1 _ 3\n~b{x=1} _ 2 _\nc{x=1} 4 4 4\n~d{x=2} 5 _ _\n");
    const double *before = m.series.v[0].v;
    assert_true(matrix_finish_names(&q, &m, &err));
    assert_matrix(&m, "{x=\"1\"} 1 2 3\nc{x=\"1\"} 4 4 4\n{x=\"2\"} 5 _ _\n");
    assert_true(is_stale(before[1])); // shared cells were left alone
    m = matrix_of("~a{x=1} 1 2\n~b{x=1} _ 2\n");
    assert_false(matrix_finish_names(&q, &m, &err));
    assert_int_equal(err.code, ERR_EXEC);
    assert_string_equal(err.text, "vector cannot contain metrics with the same labelset");
}

static void test_sort(void **state)
{
    (void)state;
    struct matrix m = matrix_of("b 3\na{x=2} NaN\na{x=1} 1\nc 2\n");
    matrix_sort_labels(&m);
    assert_matrix(&m, "a{x=\"1\"} 1\na{x=\"2\"} NaN\nb 3\nc 2\n");
    matrix_sort_value(&m, false);
    assert_matrix(&m, "a{x=\"1\"} 1\nc 2\nb 3\na{x=\"2\"} NaN\n");
    matrix_sort_value(&m, true);
    assert_matrix(&m, "b 3\nc 2\na{x=\"1\"} 1\na{x=\"2\"} NaN\n");
}

static void test_sort_by_label(void **state)
{
    (void)state;
    struct matrix m = matrix_of("m{i=host10,z=1} 1\nm{i=host9} 2\nm 3\nm{i=host} 4\nm{i=host09} 5\n"
                                "m{i=7} 6\n");
    str names[] = {STR("i")};
    matrix_sort_by_label(&q, &m, names, 1, false);
    assert_matrix(&m, "m 3\nm{i=\"7\"} 6\nm{i=\"host\"} 4\nm{i=\"host09\"} 5\nm{i=\"host9\"} 2\n"
                      "m{i=\"host10\", z=\"1\"} 1\n");
    matrix_sort_by_label(&q, &m, names, 1, true);
    assert_matrix(&m, "m{i=\"host10\", z=\"1\"} 1\nm{i=\"host9\"} 2\nm{i=\"host09\"} 5\n"
                      "m{i=\"host\"} 4\nm{i=\"7\"} 6\nm 3\n");
}

static bool replace(const struct matrix *in, const char *dst, const char *replacement,
                    const char *src, const char *pattern, struct matrix *out)
{
    struct regex *re;
    assert_true(regex_open(str_c(pattern), REGEX_ANCHORED | REGEX_DOTALL, &re, &err));
    bool ok = relabel_replace(&q, in, str_c(dst), str_c(replacement), str_c(src), re, out, &err);
    regex_close(re);
    return ok;
}

static void test_replace(void **state)
{
    (void)state;
    struct matrix m = matrix_of("~up{src=source-value-10,dst=old} 1\nup{src=other} 2\n"), out;
    assert_true(replace(&m, "dst", "destination-value-$1", "src", "source-value-(.*)", &out));
    assert_matrix(&out, "~up{dst=\"destination-value-10\", src=\"source-value-10\"} 1\n"
                        "up{src=\"other\"} 2\n");
    assert_true(replace(&m, "dst", "", "src", ".*", &out)); // removes
    assert_matrix(&out, "~up{src=\"source-value-10\"} 1\nup{src=\"other\"} 2\n");
    assert_true(replace(&m, "new", "x${1}y", "none", "()", &out)); // absent is empty
    assert_matrix(&out, "~up{dst=\"old\", new=\"xy\", src=\"source-value-10\"} 1\n"
                        "up{new=\"xy\", src=\"other\"} 2\n");
    assert_true(replace(&m, "__name__", "rate_$1", "src", "source-value-(.*)", &out));
    assert_matrix(&out, "rate_10{dst=\"old\", src=\"source-value-10\"} 1\nup{src=\"other\"} 2\n");
    assert_true(replace(&m, "dst", "z", "src", "value", &out)); // anchored: no hit
    assert_matrix(&out, "~up{dst=\"old\", src=\"source-value-10\"} 1\nup{src=\"other\"} 2\n");
    m = matrix_of("up{a=1} 1\nup{a=2} 2\n");
    assert_false(replace(&m, "a", "", "a", ".*", &out));
    assert_int_equal(err.code, ERR_EXEC);
    m = matrix_of("up{a=1} 1 _\nup{a=2} _ 2\n");
    assert_true(replace(&m, "a", "", "a", ".*", &out));
    assert_matrix(&out, "up 1 2\n");
}

static void test_join(void **state)
{
    (void)state;
    struct matrix m = matrix_of("up{a=1,b=2} 1\nup{b=3} 2\n"), out;
    str src[] = {STR("a"), STR("none"), STR("b")};
    assert_true(relabel_join(&q, &m, STR("dst"), STR("-"), src, 3, &out, &err));
    assert_matrix(&out, "up{a=\"1\", b=\"2\", dst=\"1--2\"} 1\nup{b=\"3\", dst=\"--3\"} 2\n");
    assert_true(relabel_join(&q, &m, STR("b"), STR(""), NULL, 0, &out, &err));
    assert_matrix(&out, "up{a=\"1\"} 1\nup 2\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_build, setup, teardown),
        cmocka_unit_test_setup_teardown(test_finish_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sort, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sort_by_label, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replace, setup, teardown),
        cmocka_unit_test_setup_teardown(test_join, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
