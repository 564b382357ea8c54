/* dur_test.c - durations and sizes: every dialect's spellings, refusals and prints. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/dur.h"

struct dur_case {
    const char *in;
    int64_t v;
    const char *err; // NULL: fine
};

static void check(const struct dur_case *c, bool (*parse)(str, int64_t *, struct err *))
{
    struct err err = ERR_OK;
    int64_t v = -99;
    bool ok = parse(str_c(c->in), &v, &err);
    if (ok != !c->err || v != (ok ? c->v : -99))
        fail_msg("\"%s\": %d %lld %s", c->in, ok, (long long)v, err.text);
    if (c->err) {
        assert_int_equal(err.code, ERR_INVALID);
        assert_string_equal(err.text, c->err);
    }
}

static void test_prom(void **state)
{
    static const struct dur_case cases[] = {
        {"0", 0, NULL},
        {"0s", 0, NULL},
        {"1ms", 1, NULL},
        {"15s", 15000, NULL},
        {"5m", 300000, NULL},
        {"1h30m", 5400000, NULL},
        {"1d", 86400000, NULL},
        {"1w", 604800000, NULL},
        {"1y", 31536000000, NULL},
        {"1y2w3d4h5m6s7ms",
         31536000000 + 2 * 604800000LL + 3 * 86400000LL + 4 * 3600000 + 5 * 60000 + 6007, NULL},
        {"292y", 292 * 31536000000, NULL},
        {"", 0, "empty duration string"},
        {"5", 0, "not a valid duration string: \"5\""},
        {"m", 0, "not a valid duration string: \"m\""},
        {"-5m", 0, "not a valid duration string: \"-5m\""},
        {"1.5h", 0, "unknown unit \".\" in duration \"1.5h\""},
        {"5x", 0, "unknown unit \"x\" in duration \"5x\""},
        {"1m1h", 0, "not a valid duration string: \"1m1h\""},
        {"1m1m", 0, "not a valid duration string: \"1m1m\""},
        {"5m ", 0, "unknown unit \"m \" in duration \"5m \""},
        {"293y", 0, "duration out of range"},
        {"99999999999y", 0, "duration out of range"},
        {"99999999999999999999s", 0, "not a valid duration string: \"99999999999999999999s\""},
    };
    (void)state;
    for (size_t i = 0; i < COUNTOF(cases); i++)
        check(&cases[i], dur_parse_prom);
}

static void test_go(void **state)
{
    static const struct dur_case cases[] = {
        {"0", 0, NULL},
        {"-0", 0, NULL},
        {"+0", 0, NULL},
        {"5s", 5 * NS_PER_S, NULL},
        {"1.5h", 5400 * NS_PER_S, NULL},
        {"-2ms", -2 * NS_PER_MS, NULL},
        {"+2ms", 2 * NS_PER_MS, NULL},
        {"1h2m3s4ms5us6ns", 3723004005006, NULL},
        {"1m1h", 3660 * NS_PER_S, NULL},
        {".5s", NS_PER_S / 2, NULL},
        {"5.s", 5 * NS_PER_S, NULL},
        {"12\xC2\xB5s", 12000, NULL},
        {"12\xCE\xBCs", 12000, NULL},
        {"0.100000000000000000000h", 360 * NS_PER_S, NULL},
        {"0.3333333333333333333h", 1200 * NS_PER_S, NULL},
        {"9223372036854775807ns", INT64_MAX, NULL},
        {"-9223372036854775808ns", INT64_MIN, NULL},
        {"9223372036854775808ns", 0, "time: invalid duration \"9223372036854775808ns\""},
        {"3000000h", 0, "time: invalid duration \"3000000h\""},
        {"99999999999999999999s", 0, "time: invalid duration \"99999999999999999999s\""},
        {"", 0, "time: invalid duration \"\""},
        {"-", 0, "time: invalid duration \"-\""},
        {"3", 0, "time: missing unit in duration \"3\""},
        {"3.", 0, "time: missing unit in duration \"3.\""},
        {".s", 0, "time: invalid duration \".s\""},
        {"s", 0, "time: invalid duration \"s\""},
        {"1d", 0, "time: unknown unit \"d\" in duration \"1d\""},
        {"1h-2m", 0, "time: unknown unit \"h-\" in duration \"1h-2m\""},
    };
    (void)state;
    for (size_t i = 0; i < COUNTOF(cases); i++)
        check(&cases[i], dur_parse_go);
}

static void test_any(void **state)
{
    static const struct dur_case cases[] = {
        {"1d12h", 129600 * NS_PER_S, NULL},
        {"1.5h", 5400 * NS_PER_S, NULL},
        {"250us", 250000, NULL},
        {"soon", 0, "\"soon\" is no duration (like 30s, 1h30m or 1.5h)"},
    };
    (void)state;
    for (size_t i = 0; i < COUNTOF(cases); i++)
        check(&cases[i], dur_parse_any);
}

struct size_case {
    const char *in;
    bool ok;
    uint64_t v;
};

static void check_size(const struct size_case *c, bool (*parse)(str, uint64_t *, struct err *))
{
    struct err err = ERR_OK;
    uint64_t v = 99;
    bool ok = parse(str_c(c->in), &v, &err);
    if (ok != c->ok || v != (ok ? c->v : 99) || (!ok && err.code != ERR_INVALID))
        fail_msg("\"%s\": %d %llu %s", c->in, ok, (unsigned long long)v, err.text);
}

static void test_size(void **state)
{
    static const struct size_case cases[] = {
        {"0", true, 0},
        {"512", true, 512},
        {"512B", true, 512},
        {"64K", true, 65536},
        {"64k", true, 65536},
        {"20MB", true, 20971520},
        {"1GiB", true, 1073741824},
        {"2T", true, UINT64_C(2) << 40},
        {"1.5G", true, 1610612736},
        {" 8 MiB ", true, 8388608},
        {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"16777216T", false, 0},
        {"1e3", false, 0},
        {"-1", false, 0},
        {"", false, 0},
        {"K", false, 0},
        {"1X", false, 0},
        {"1KBB", false, 0},
        {"1.2.3M", false, 0},
    };
    (void)state;
    for (size_t i = 0; i < COUNTOF(cases); i++)
        check_size(&cases[i], size_parse);
}

static void test_size_humanize(void **state)
{
    static const struct size_case cases[] = {
        {"42", true, 42},
        {"42b", true, 42},
        {"42 B", true, 42},
        {"3kB", true, 3000},
        {"3 KB", true, 3000},
        {"3KiB", true, 3072},
        {"3ki", true, 3072},
        {"3k", true, 3000},
        {"1.5 MB", true, 1500000},
        {"2,048", true, 2048},
        {"1,005.03 MB", true, 1005030000},
        {"12.9", true, 12},
        {"1EiB", true, UINT64_C(1) << 60},
        {"18EB", true, UINT64_C(18000000000000000000)},
        {"19EB", false, 0},
        {"", false, 0},
        {"kB", false, 0},
        {"1 parsec", false, 0},
        {"1 kBB", false, 0},
        {"1 kib b", false, 0},
        {"-1 kB", false, 0},
        {"1..2", false, 0},
    };
    (void)state;
    for (size_t i = 0; i < COUNTOF(cases); i++)
        check_size(&cases[i], size_parse_humanize);
}

static void check_text(str got, const char *want)
{
    assert_true(got.n <= 64);
    if (!str_eq(got, str_c(want)))
        fail_msg("got %.*s, want %s", (int)got.n, got.p, want);
}

static void test_print(void **state)
{
    char dst[64];
    (void)state;
    check_text(dur_print_prom(dst, 0), "0s");
    check_text(dur_print_prom(dst, 5400000), "1h30m");
    check_text(dur_print_prom(dst, -60000), "-1m");
    check_text(dur_print_prom(dst, 604800000), "1w");
    check_text(dur_print_prom(dst, 604800001), "7d1ms");
    check_text(dur_print_prom(dst, 31536000000), "1y");
    check_text(dur_print_prom(dst, 31536000000 + 86400000), "366d");
    check_text(dur_print_prom(dst, 1234), "1s234ms");
    check_text(dur_print_prom(dst, INT64_MAX), "106751991167d7h12m55s807ms");
    check_text(dur_print_prom(dst, INT64_MIN), "-106751991167d7h12m55s808ms");

    check_text(dur_print_go(dst, 0), "0s");
    check_text(dur_print_go(dst, 1), "1ns");
    check_text(dur_print_go(dst, 1100), "1.1\xC2\xB5s");
    check_text(dur_print_go(dst, 2200000), "2.2ms");
    check_text(dur_print_go(dst, 250 * NS_PER_MS), "250ms");
    check_text(dur_print_go(dst, 3300 * NS_PER_MS), "3.3s");
    check_text(dur_print_go(dst, 245 * NS_PER_S), "4m5s");
    check_text(dur_print_go(dst, 3723 * NS_PER_S), "1h2m3s");
    check_text(dur_print_go(dst, 3600 * NS_PER_S), "1h0m0s");
    check_text(dur_print_go(dst, 100000000000001), "27h46m40.000000001s");
    check_text(dur_print_go(dst, INT64_MAX), "2562047h47m16.854775807s");
    check_text(dur_print_go(dst, INT64_MIN), "-2562047h47m16.854775808s");

    check_text(size_print(dst, 0), "0B");
    check_text(size_print(dst, 1023), "1023B");
    check_text(size_print(dst, 1024), "1KiB");
    check_text(size_print(dst, 64 * MIB), "64MiB");
    check_text(size_print(dst, 3 * GIB / 2), "1.5GiB");
    check_text(size_print(dst, UINT64_MAX), "15.9EiB");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prom),          cmocka_unit_test(test_go),
        cmocka_unit_test(test_any),           cmocka_unit_test(test_size),
        cmocka_unit_test(test_size_humanize), cmocka_unit_test(test_print),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
