/* num_test.c - numbers from text and back: tables of spellings, then round trips of random bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/base/num.h"
#include "storage/base/prng.h"

static void test_parse_i64(void **state)
{
    static const struct {
        const char *in;
        bool ok;
        int64_t v;
    } cases[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"+7", true, 7},
        {"-7", true, -7},
        {"007", true, 7},
        {"9223372036854775807", true, INT64_MAX},
        {"9223372036854775808", false, 0},
        {"-9223372036854775808", true, INT64_MIN},
        {"-9223372036854775809", false, 0},
        {"99999999999999999999999", false, 0},
        {"", false, 0},
        {"-", false, 0},
        {"+", false, 0},
        {"+-1", false, 0},
        {"-+1", false, 0},
        {"--1", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"1.0", false, 0},
        {"0x10", false, 0},
        {"1_000", false, 0},
    };
    (void)state;
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        int64_t v = 42;
        bool ok = num_parse_i64(str_c(cases[i].in), &v);
        if (ok != cases[i].ok || v != (ok ? cases[i].v : 42))
            fail_msg("\"%s\": %d %lld", cases[i].in, ok, (long long)v);
    }
}

static void test_parse_u64(void **state)
{
    uint64_t v = 42;
    (void)state;
    assert_true(num_parse_u64(STR("18446744073709551615"), &v));
    assert_true(v == UINT64_MAX);
    assert_false(num_parse_u64(STR("18446744073709551616"), &v));
    assert_false(num_parse_u64(STR("-1"), &v));
    assert_false(num_parse_u64(STR(""), &v));
    assert_true(v == UINT64_MAX);
}

static void test_parse_f64(void **state)
{
    static const struct {
        const char *in;
        bool ok;
        double v;
    } cases[] = {
        {"0", true, 0},
        {"1", true, 1},
        {"-1.5", true, -1.5},
        {"+.5", true, .5},
        {"5.", true, 5},
        {".", false, 0},
        {"-", false, 0},
        {"", false, 0},
        {"e5", false, 0},
        {"1e", false, 0},
        {"1e+", false, 0},
        {"1E5", true, 1e5},
        {"1e-5", true, 1e-5},
        {"1e+05", true, 1e5},
        {"0.1", true, 0.1},
        {"0.3", true, 0.3},
        {"00012.50", true, 12.5},
        {"0.000000000000000000000000000001", true, 1e-30},
        {"123456789012345678901234567890", true, 123456789012345678901234567890.},
        {"9007199254740993", true, 9007199254740992.},
        {"9007199254740993.0000000000000000000000000000001", true, 9007199254740994.},
        {"1.7976931348623157e308", true, DBL_MAX},
        {"1.7976931348623159e308", false, 0},
        {"1e309", false, 0},
        {"-1e999999999999", false, 0},
        {"1e-999999999999", true, 0},
        {"0e999999999999", true, 0},
        {"4.9e-324", true, 4.9406564584124654e-324},
        {"2.2250738585072011e-308", true, 2.2250738585072011e-308},
        {"0x1p-2", true, .25},
        {"0X1.8P3", true, 12},
        {"0x.8p0", true, .5},
        {"0x1", false, 0},
        {"0x", false, 0},
        {"0xp1", false, 0},
        {"0x1p", false, 0},
        {"0x1p99999", false, 0},
        {"1_000", true, 1000},
        {"0x1_0p0", true, 16},
        {"1__0", false, 0},
        {"_1", false, 0},
        {"1_", false, 0},
        {"1._5", false, 0},
        {"1,5", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"1f", false, 0},
        {"0b1", false, 0},
        {"1.2.3", false, 0},
        {"1e5.5", false, 0},
        {"inf", true, INFINITY},
        {"+Inf", true, INFINITY},
        {"-INFINITY", true, -INFINITY},
        {"infinit", false, 0},
        {"+nan", false, 0},
        {"nano", false, 0},
    };
    (void)state;
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        double v = 42;
        bool ok = num_parse_f64(str_c(cases[i].in), &v);
        if (ok != cases[i].ok || v != (ok ? cases[i].v : 42))
            fail_msg("\"%s\": %d %.17g", cases[i].in, ok, v);
    }
    double v;
    assert_true(num_parse_f64(STR("NaN"), &v));
    assert_true(isnan(v));
    assert_true(num_parse_f64(STR("-0"), &v));
    assert_true(signbit(v));
    assert_false(num_parse_f64(STR("1\0002"), &v));
}

static void test_parse_long(void **state)
{
    char text[4096];
    double v;
    (void)state;
    memset(text, '0', sizeof text);
    assert_true(num_parse_f64(str_of(text, sizeof text), &v));
    assert_true(v == 0);
    text[sizeof text - 1] = '7';
    assert_true(num_parse_f64(str_of(text, sizeof text), &v));
    assert_true(v == 7);
    memset(text, '9', sizeof text);
    assert_false(num_parse_f64(str_of(text, sizeof text), &v));
    text[1] = '.';
    assert_true(num_parse_f64(str_of(text, sizeof text), &v));
    assert_true(v == 10);
}

struct printed {
    double v;
    const char *prom, *plain, *go, *json;
};

static const struct printed printed[] = {
    {0, "0", "0", "0", "0"},
    {-0.0, "-0", "-0", "-0", "-0"},
    {1, "1", "1", "1", "1"},
    {-17, "-17", "-17", "-17", "-17"},
    {0.1, "0.1", "0.1", "0.1", "0.1"},
    {0.3, "0.3", "0.3", "0.3", "0.3"},
    {-2.5, "-2.5", "-2.5", "-2.5", "-2.5"},
    {1.0 / 3, "0.3333333333333333", "0.3333333333333333", "0.3333333333333333",
     "0.3333333333333333"},
    {2.0 / 3, "0.6666666666666666", "0.6666666666666666", "0.6666666666666666",
     "0.6666666666666666"},
    {0.1 + 0.2, "0.30000000000000004", "0.30000000000000004", "0.30000000000000004",
     "0.30000000000000004"},
    {100000, "100000", "100000", "100000", "100000"},
    {999999, "999999", "999999", "999999", "999999"},
    {999999.5, "999999.5", "999999.5", "999999.5", "999999.5"},
    {1e6, "1000000", "1000000", "1e+06", "1000000"},
    {1234567, "1234567", "1234567", "1.234567e+06", "1234567"},
    {123456789.125, "123456789.125", "123456789.125", "1.23456789125e+08", "123456789.125"},
    {1e15, "1000000000000000", "1000000000000000", "1e+15", "1000000000000000"},
    {9007199254740992, "9007199254740992", "9007199254740992", "9.007199254740992e+15",
     "9007199254740992"},
    {1e20, "100000000000000000000", "100000000000000000000", "1e+20", "100000000000000000000"},
    {1e21, "1e+21", "1000000000000000000000", "1e+21", "1e+21"},
    {1.5e300, "1.5e+300", NULL, "1.5e+300", "1.5e+300"},
    {0.0001, "0.0001", "0.0001", "0.0001", "0.0001"},
    {0.00001, "0.00001", "0.00001", "1e-05", "0.00001"},
    {0.000001, "0.000001", "0.000001", "1e-06", "0.000001"},
    {0.0000012345, "0.0000012345", "0.0000012345", "1.2345e-06", "0.0000012345"},
    {0.0000001, "1e-07", "0.0000001", "1e-07", "1e-7"},
    {1.5e-10, "1.5e-10", "0.00000000015", "1.5e-10", "1.5e-10"},
    {5e-324, "5e-324", NULL, "5e-324", "5e-324"},
    {1e-310, "1e-310", NULL, "1e-310", "1e-310"},
    {2.2250738585072014e-308, "2.2250738585072014e-308", NULL, "2.2250738585072014e-308",
     "2.2250738585072014e-308"},
    {1.7976931348623157e308, "1.7976931348623157e+308", NULL, "1.7976931348623157e+308",
     "1.7976931348623157e+308"},
    {5.684341886080802e-14, "5.684341886080802e-14", NULL, "5.684341886080802e-14",
     "5.684341886080802e-14"}, // 2^-44: the nearest 16 digits do not read back
    {9.5367431640625e-07, "9.5367431640625e-07", "0.00000095367431640625", "9.5367431640625e-07",
     "9.5367431640625e-7"},
    {1700000000.123, "1700000000.123", "1700000000.123", "1.700000000123e+09", "1700000000.123"},
    {INFINITY, "+Inf", "+Inf", "+Inf", NULL},
    {-INFINITY, "-Inf", "-Inf", "-Inf", NULL},
    {NAN, "NaN", "NaN", "NaN", NULL},
};

static void check_text(str got, const char *want)
{
    if (want && !str_eq(got, str_c(want)))
        fail_msg("got %.*s, want %s", (int)got.n, got.p, want);
}

static void test_print_f64(void **state)
{
    char dst[NUM_TEXT_MAX];
    (void)state;
    for (size_t i = 0; i < COUNTOF(printed); i++) {
        const struct printed *c = &printed[i];
        check_text(num_print_f64(dst, c->v), c->prom);
        check_text(num_print_f64_plain(dst, c->v), c->plain);
        check_text(num_print_f64_go(dst, c->v), c->go);
        if (c->json)
            check_text(num_print_f64_json(dst, c->v), c->json);
    }
}

static void test_print_integers(void **state)
{
    char dst[NUM_TEXT_MAX];
    (void)state;
    check_text(num_print_i64(dst, 0), "0");
    check_text(num_print_i64(dst, -1), "-1");
    check_text(num_print_i64(dst, INT64_MAX), "9223372036854775807");
    check_text(num_print_i64(dst, INT64_MIN), "-9223372036854775808");
    check_text(num_print_u64(dst, UINT64_MAX), "18446744073709551615");
    check_text(num_print_u64(dst, 100), "100");
}

/* Reads back, in every notation, and no shorter decimal does. */
static void check_round_trip(double v)
{
    str (*const printers[])(char *, double) = {num_print_f64, num_print_f64_plain, num_print_f64_go,
                                               num_print_f64_json};
    char dst[NUM_TEXT_MAX], shorter[40];
    int digits = 0;
    for (size_t i = 0; i < COUNTOF(printers); i++) {
        double back = 0;
        str text = printers[i](dst, v);
        assert_true(text.n <= NUM_TEXT_MAX);
        if (!num_parse_f64(text, &back) || back != v)
            fail_msg("%.17g printed %.*s reads %.17g", v, (int)text.n, text.p, back);
    }
    str text = num_print_f64_go(dst, v);
    bool leading = true;
    int zeros = 0;
    for (size_t i = 0; i < text.n && text.p[i] != 'e'; i++) {
        leading = leading && (text.p[i] < '1' || text.p[i] > '9');
        if (!leading && text.p[i] >= '0' && text.p[i] <= '9') {
            digits++;
            zeros = text.p[i] == '0' ? zeros + 1 : 0;
        }
    }
    digits -= zeros;
    if (digits > 1) {
        snprintf(shorter, sizeof shorter, "%.*e", digits - 2, v);
        if (strtod(shorter, NULL) == v)
            fail_msg("%.*s is not the shortest: %s", (int)text.n, text.p, shorter);
    }
}

static void test_round_trip(void **state)
{
    struct prng r;
    (void)state;
    prng_init(&r, 1);
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = prng_next(&r);
        double v;
        memcpy(&v, &bits, sizeof v);
        if (isfinite(v))
            check_round_trip(v);
        check_round_trip(prng_unit(&r));
        check_round_trip((double)prng_below(&r, 1000000) / 1000);
        check_round_trip((double)(int64_t)(prng_next(&r) >> prng_below(&r, 64)));
    }
    for (int e = -1074; e < 1024; e++) {
        check_round_trip(ldexp(1, e));
        check_round_trip(nextafter(ldexp(1, e), INFINITY));
        check_round_trip(nextafter(ldexp(1, e), 0) > 0 ? nextafter(ldexp(1, e), 0) : 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_i64),  cmocka_unit_test(test_parse_u64),
        cmocka_unit_test(test_parse_f64),  cmocka_unit_test(test_parse_long),
        cmocka_unit_test(test_print_f64),  cmocka_unit_test(test_print_integers),
        cmocka_unit_test(test_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
