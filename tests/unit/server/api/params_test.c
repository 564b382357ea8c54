/* params_test.c - times and durations in the dialects of the three APIs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/api/params.h"

#define REFUSED INT64_C(-77777)

static void test_rfc3339(void **state)
{
    static const struct {
        const char *in;
        int64_t ns;
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-11-20T00:00:00Z", INT64_C(1795132800000000000)},
        {"2026-11-20T02:30:00+02:30", INT64_C(1795132800000000000)},
        {"2026-11-19T23:59:59.5-00:00", INT64_C(1795132799500000000)},
        {"2026-11-20t00:00:00.123456789z", INT64_C(1795132800123456789)},
        {"2026-11-20T00:00:00.1234567891Z", INT64_C(1795132800123456789)},
        {"2026-11-20T00:00:00,25Z", INT64_C(1795132800250000000)},
        {"2024-02-29T00:00:00Z", INT64_C(1709164800000000000)},
        {"1969-12-31T23:59:59Z", -INT64_C(1000000000)},
        {"0001-01-01T00:00:00Z", INT64_MIN},
        {"9999-12-31T23:59:59Z", INT64_MAX},
        {"-292273086-05-16T16:47:06Z", INT64_MIN},
        {"292277025-08-18T07:12:54.999999999Z", INT64_MAX},
        {"2026-11-20 00:00:00Z", REFUSED},
        {"2026-11-20T00:00:00", REFUSED},
        {"2026-11-20", REFUSED},
        {"2026-13-01T00:00:00Z", REFUSED},
        {"2026-00-01T00:00:00Z", REFUSED},
        {"2026-04-31T00:00:00Z", REFUSED},
        {"2023-02-29T00:00:00Z", REFUSED},
        {"1900-02-29T00:00:00Z", REFUSED},
        {"2026-11-20T24:00:00Z", REFUSED},
        {"2026-11-20T00:60:00Z", REFUSED},
        {"2026-11-20T00:00:60Z", REFUSED},
        {"2026-11-20T00:00:00.Z", REFUSED},
        {"2026-11-20T00:00:00+2:30", REFUSED},
        {"2026-11-20T00:00:00+24:00", REFUSED},
        {"2026-11-20T00:00:00Zx", REFUSED},
        {"", REFUSED},
    };
    (void)state;
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        int64_t ns = REFUSED;
        if (!time_parse_rfc3339(str_c(cases[i].in), &ns))
            ns = REFUSED;
        if (ns != cases[i].ns)
            fail_msg("%s: %lld", cases[i].in, (long long)ns);
    }
}

static void test_prom_times(void **state)
{
    static const struct {
        const char *in;
        int64_t ms;
    } cases[] = {
        {"0", 0},
        {"1795132800", INT64_C(1795132800000)},
        {"1795132800.123", INT64_C(1795132800123)},
        {"1795132800.1235", INT64_C(1795132800124)},
        {"-1.5", -1500},
        {"1e3", 1000000},
        {"1e300", TIME_MAX_MS},
        {"-1e300", TIME_MIN_MS},
        {"2026-11-20T00:00:00.0019Z", INT64_C(1795132800001)},
        {"1969-12-31T23:59:59.9999Z", -1},
        {"-292273086-05-16T16:47:06Z", TIME_MIN_MS},
        {"292277025-08-18T07:12:54.999999999Z", TIME_MAX_MS},
        {"NaN", REFUSED},
        {"Inf", REFUSED},
        {"", REFUSED},
        {"now", REFUSED},
        {"5m", REFUSED},
    };
    (void)state;
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        int64_t ms = REFUSED;
        if (!time_parse_prom(str_c(cases[i].in), &ms))
            ms = REFUSED;
        if (ms != cases[i].ms)
            fail_msg("%s: %lld", cases[i].in, (long long)ms);
    }
}

static void test_loki_times(void **state)
{
    static const struct {
        const char *in;
        int64_t ns;
    } cases[] = {
        {"0", 0},
        {"1795132800", INT64_C(1795132800000000000)},
        {"9999999999", INT64_MAX},
        {"17951328000", INT64_C(17951328000)},
        {"1795132800123456789", INT64_C(1795132800123456789)},
        {"1795132800.5", INT64_C(1795132800500000000)},
        {"-1", -INT64_C(1000000000)},
        {"2026-11-20T00:00:00.000000001Z", INT64_C(1795132800000000001)},
        {"2026-11-20T00:00:00Z", INT64_C(1795132800000000000)},
        {"99999999999999999999", REFUSED},
        {"1e9", REFUSED},
        {"yesterday", REFUSED},
        {"", REFUSED},
    };
    (void)state;
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        int64_t ns = REFUSED;
        if (!time_parse_loki(str_c(cases[i].in), &ns))
            ns = REFUSED;
        if (ns != cases[i].ns)
            fail_msg("%s: %lld", cases[i].in, (long long)ns);
    }
}

static void test_durations(void **state)
{
    static const struct {
        const char *in;
        int64_t ns;
        const char *err;
    } cases[] = {
        {"15", 15 * NS_PER_S, NULL},
        {"0.5", NS_PER_S / 2, NULL},
        {"1e-3", NS_PER_MS, NULL},
        {"-1", -NS_PER_S, NULL},
        {"1m", 60 * NS_PER_S, NULL},
        {"1h30m", 5400 * NS_PER_S, NULL},
        {"5ms", 5 * NS_PER_MS, NULL},
        {"1e10", 0, "cannot parse \"1e10\" to a valid duration. It overflows int64"},
        {"NaN", 0, "cannot parse \"NaN\" to a valid duration. It overflows int64"},
        {"1.5h", 0, "cannot parse \"1.5h\" to a valid duration"},
        {"", 0, "cannot parse \"\" to a valid duration"},
        {"m", 0, "cannot parse \"m\" to a valid duration"},
        {"30m1h", 0, "cannot parse \"30m1h\" to a valid duration"},
    };
    (void)state;
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        int64_t ns = 0;
        struct err err = ERR_OK;
        bool ok = duration_parse_prom(str_c(cases[i].in), &ns, &err);
        if (ok != (cases[i].err == NULL))
            fail_msg("%s: %s", cases[i].in, ok ? "accepted" : err.text);
        if (cases[i].err)
            assert_string_equal(err.text, cases[i].err);
        else
            assert_int_equal(ns, cases[i].ns);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc3339),
        cmocka_unit_test(test_prom_times),
        cmocka_unit_test(test_loki_times),
        cmocka_unit_test(test_durations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
