/* labels_test.c - label sets: builder, order, hash, canonical bytes, text, subsets. */
#include "storage/model/labels.h"

#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/prng.h"

static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 64 * MIB, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_deinit(&arena);
    return 0;
}

/* "a=1,b=2" as a set. */
static struct labels parse(const char *text)
{
    struct labels_builder b;
    str rest = str_c(text), part;
    labels_builder_init(&b, &arena);
    while (rest.p != NULL && text[0] != '\0' && str_split(&rest, ',', &part)) {
        size_t eq = str_find_char(part, '=');
        labels_builder_add(&b, str_sub(part, 0, eq), str_sub(part, eq + 1, part.n));
    }
    return labels_builder_done(&b);
}

static void assert_text(struct labels l, bool name, const char *want)
{
    struct buf b;
    buf_init(&b, MIB);
    labels_print(&b, l, name);
    buf_u8(&b, 0);
    assert_string_equal(b.p, want);
    buf_deinit(&b);
}

static void test_builder(void **state)
{
    (void)state;
    static const struct {
        const char *in, *want;
    } cases[] = {
        {"", "{}"},
        {"a=1", "{a=\"1\"}"},
        {"b=2,a=1", "{a=\"1\", b=\"2\"}"},
        {"a=1,a=2", "{a=\"2\"}"},
        {"b=x,a=1,b=,c=3", "{a=\"1\", c=\"3\"}"},
        {"a=", "{}"},
        {"B=1,a=2,_=3", "{B=\"1\", _=\"3\", a=\"2\"}"},
        {"ab=1,a=2,abc=3", "{a=\"2\", ab=\"1\", abc=\"3\"}"},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++)
        assert_text(parse(cases[i].in), true, cases[i].want);
}

static void test_builder_reuse(void **state)
{
    (void)state;
    struct labels_builder b;
    labels_builder_init(&b, &arena);
    labels_builder_add(&b, STR("x"), STR("1"));
    labels_builder_set(&b, STR("x"), STR("2"));
    labels_builder_set(&b, STR("y"), STR("3"));
    struct labels first = labels_builder_done(&b);
    labels_builder_clear(&b);
    labels_builder_add(&b, STR("z"), STR("9"));
    struct labels second = labels_builder_done(&b);
    assert_text(first, true, "{x=\"2\", y=\"3\"}");
    assert_text(second, true, "{z=\"9\"}");
}

static void test_builder_large(void **state)
{
    (void)state;
    struct prng r;
    prng_init(&r, 7);
    for (size_t n = 1; n < 300; n += 13) {
        struct labels_builder b;
        labels_builder_init(&b, &arena);
        for (size_t i = 0; i < n; i++) {
            str name = arena_fmt(&arena, "n%03u", (unsigned)prng_below(&r, n));
            labels_builder_add(&b, name, arena_fmt(&arena, "%zu", i));
        }
        struct labels l = labels_builder_done(&b);
        for (size_t i = 1; i < l.n; i++)
            assert_true(str_cmp(l.v[i - 1].name, l.v[i].name) < 0);
        for (size_t i = 0; i < n; i++) { // the value is that of the last pair of the name
            str want = {0};
            for (size_t k = 0; k < n; k++)
                if (str_eq(b.pairs.v[k].name, b.pairs.v[i].name))
                    want = b.pairs.v[k].value;
            assert_true(str_eq(labels_get(l, b.pairs.v[i].name), want));
        }
        assert_null(labels_get(l, STR("absent")).p);
    }
}

static int sign(int v)
{
    return (v > 0) - (v < 0);
}

static void test_order(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        int cmp, series;
    } cases[] = {
        {"", "", 0, 0},
        {"", "a=1", -1, -1},
        {"a=1", "a=1", 0, 0},
        {"a=1", "a=2", -1, -1},
        {"a=1", "b=1", -1, -1},
        {"a=1", "a=1,b=1", -1, -1},
        {"__name__=x,a=1", "__name__=y", -1, -1},
        // the name decides first, even where another label sorts before __name__
        {"A=2,__name__=x", "A=1,__name__=y", 1, -1},
        {"A=1,__name__=x", "__name__=x", -1, 1},
        {"A=1,__name__=x", "A=1,__name__=x,b=1", -1, -1},
        {"a=1", "__name__=x", 1, -1},
        {"A=1,__name__=x,z=1", "A=1,__name__=x,z=1", 0, 0},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct labels a = parse(cases[i].a), b = parse(cases[i].b);
        assert_int_equal(sign(labels_cmp(a, b)), cases[i].cmp);
        assert_int_equal(sign(labels_cmp(b, a)), -cases[i].cmp);
        assert_int_equal(sign(labels_cmp_series(a, b)), cases[i].series);
        assert_int_equal(sign(labels_cmp_series(b, a)), -cases[i].series);
        assert_int_equal(labels_eq(a, b), cases[i].cmp == 0);
    }
}

static void test_canonical(void **state)
{
    (void)state;
    static const char *const sets[] = {"", "a=1", "a=11", "a1=1", "a=1,b=2", "ab=1", "a=b,c=d"};
    for (size_t i = 0; i < COUNTOF(sets); i++) {
        struct labels a = parse(sets[i]), back;
        struct buf x, y;
        struct err err = ERR_OK;
        buf_init(&x, MIB);
        buf_init(&y, MIB);
        labels_encode(&x, a);
        assert_true(labels_decode(buf_str(&x), &arena, &back, &err));
        assert_true(labels_eq(a, back));
        for (size_t k = 0; k < COUNTOF(sets); k++) {
            struct labels b = parse(sets[k]);
            buf_clear(&y);
            labels_encode(&y, b);
            assert_int_equal(str_eq(buf_str(&x), buf_str(&y)), i == k);
            assert_int_equal(hash128_eq(labels_hash128(a), labels_hash128(b)), i == k);
            assert_int_equal(labels_hash(a) == labels_hash(b), i == k);
        }
        for (size_t cut = 0; cut < x.n; cut++)
            assert_false(labels_decode(str_of(x.p, cut), &arena, &back, &err));
        buf_deinit(&x);
        buf_deinit(&y);
    }
}

static void test_hash_large(void **state)
{
    (void)state;
    struct labels_builder b;
    labels_builder_init(&b, &arena);
    char *big = arena_alloc(&arena, 5000);
    memset(big, 'x', 5000);
    labels_builder_add(&b, STR("a"), str_of(big, 5000));
    struct labels l = labels_builder_done(&b);
    struct buf canonical;
    buf_init(&canonical, MIB);
    labels_encode(&canonical, l); // the count is one byte
    struct hash128 want = hash128(str_of(canonical.p + 1, canonical.n - 1));
    assert_true(hash128_eq(labels_hash128(l), want));
    buf_deinit(&canonical);
}

static void test_decode_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
    } cases[] = {
        {"", 0},
        {"\x01", 1},
        {"\x7f", 1},
        {"\x02\x01"
         "b\x01"
         "1\x01"
         "a\x01"
         "1",
         9}, // order
        {"\x02\x01"
         "a\x01"
         "1\x01"
         "a\x01"
         "1",
         9},          // twice
        {"\x00x", 2}, // left over
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct labels l;
        struct err err = ERR_OK;
        assert_false(labels_decode(str_of(cases[i].bytes, cases[i].n), &arena, &l, &err));
        assert_int_equal(err.code, ERR_CORRUPT);
    }
}

static void test_print(void **state)
{
    (void)state;
    assert_text(parse("__name__=up,job=x"), true, "up{job=\"x\"}");
    assert_text(parse("__name__=up"), true, "up");
    assert_text(parse("__name__=up"), false, "{}");
    assert_text(parse("__name__=up,job=x"), false, "{job=\"x\"}");
    assert_text(parse("__name__=http.requests,k8s.pod=x"), true,
                "{\"http.requests\", \"k8s.pod\"=\"x\"}");
    assert_text(parse("a=x\ny\"z\\"), true, "{a=\"x\\ny\\\"z\\\\\"}");
}

static void test_quote(void **state)
{
    (void)state;
    static const struct {
        str in;
        const char *want;
    } cases[] = {
        {STR_INIT(""), "\"\""},
        {STR_INIT("plain"), "\"plain\""},
        {STR_INIT("\a\b\f\n\r\t\v"), "\"\\a\\b\\f\\n\\r\\t\\v\""},
        {STR_INIT("\x01\x7f"), "\"\\x01\\x7f\""},
        {STR_INIT("a\0b"), "\"a\\x00b\""},
        {STR_INIT("\xff\xc3"), "\"\\xff\\xc3\""},
        {STR_INIT("grün €"), "\"grün €\""},
        {STR_INIT("\xc2\xa0\xe2\x80\x8b"), "\"\\u00a0\\u200b\""},
        {STR_INIT("\xf3\xa0\x80\x81"), "\"\\U000e0001\""},
        {STR_INIT("\xef\xbf\xbd"), "\"\xef\xbf\xbd\""},
        {STR_INIT("😀"), "\"😀\""},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct buf b;
        buf_init(&b, MIB);
        label_quote(&b, cases[i].in);
        buf_u8(&b, 0);
        assert_string_equal(b.p, cases[i].want);
        buf_deinit(&b);
    }
}

static void test_subsets(void **state)
{
    (void)state;
    struct labels l = parse("__name__=up,a=1,b=2,c=3");
    str names[] = {STR("c"), STR("a"), STR("zz")};
    assert_text(labels_keep(&arena, l, names, 3), true, "{a=\"1\", c=\"3\"}");
    assert_text(labels_drop(&arena, l, names, 3), true, "up{b=\"2\"}");
    assert_text(labels_keep(&arena, l, NULL, 0), true, "{}");
    assert_ptr_equal(labels_drop(&arena, l, NULL, 0).v, l.v);
    assert_text(labels_without(&arena, l, METRIC_NAME), true, "{a=\"1\", b=\"2\", c=\"3\"}");
    assert_ptr_equal(labels_without(&arena, l, STR("q")).v, l.v);
    assert_text(labels_with(&arena, l, STR("aa"), STR("x")), true,
                "up{a=\"1\", aa=\"x\", b=\"2\", c=\"3\"}");
    assert_text(labels_with(&arena, l, STR("b"), STR("x")), true, "up{a=\"1\", b=\"x\", c=\"3\"}");
    assert_text(labels_with(&arena, l, STR("z"), STR("x")), true,
                "up{a=\"1\", b=\"2\", c=\"3\", z=\"x\"}");
    assert_text(labels_with(&arena, l, STR("c"), (str){0}), true, "up{a=\"1\", b=\"2\"}");
    assert_text(labels_with(&arena, parse("a=1"), STR("a"), (str){0}), true, "{}");
}

static void test_dup(void **state)
{
    (void)state;
    char name[] = "abc", value[] = "def";
    struct label pair = {str_of(name, 3), str_of(value, 3)};
    struct labels copy = labels_dup(&arena, (struct labels){&pair, 1});
    name[0] = value[0] = 'X';
    assert_text(copy, true, "{abc=\"def\"}");
    assert_int_equal(labels_dup(&arena, (struct labels){0}).n, 0);
}

static void test_names(void **state)
{
    (void)state;
    assert_true(label_name_valid(STR("_a9Z")));
    assert_false(label_name_valid(STR("9a")));
    assert_false(label_name_valid(STR("a:b")));
    assert_false(label_name_valid(STR("")));
    assert_false(label_name_valid(STR("a.b")));
    assert_true(metric_name_valid(STR(":a:b9")));
    assert_false(metric_name_valid(STR("a-b")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_builder, setup, teardown),
        cmocka_unit_test_setup_teardown(test_builder_reuse, setup, teardown),
        cmocka_unit_test_setup_teardown(test_builder_large, setup, teardown),
        cmocka_unit_test_setup_teardown(test_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_canonical, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hash_large, setup, teardown),
        cmocka_unit_test_setup_teardown(test_decode_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_print, setup, teardown),
        cmocka_unit_test_setup_teardown(test_quote, setup, teardown),
        cmocka_unit_test_setup_teardown(test_subsets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dup, setup, teardown),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
