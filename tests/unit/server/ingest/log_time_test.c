/* log_time_test.c - times as logs write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/ingest/log_time.h"

#define NOW_NS (INT64_C(1704164645) * NS_PER_S) // 2024-01-02T03:04:05Z

static void test_times(void **state)
{
    static const struct {
        const char *text;
        int64_t t_ns, step_ns; // step 0: none
        int64_t zone_s;
    } rows[] = {
        {"2024-01-02T03:04:05Z", NOW_NS, NS_PER_S, 3600},
        {"2024-01-02T03:04:05", NOW_NS - 3600 * NS_PER_S, NS_PER_S, 3600},
        {"2024-01-02T03:04:05.5-01:30", NOW_NS + 5400 * NS_PER_S + NS_PER_S / 2, NS_PER_S / 10, 0},
        {"2024-01-02 03:04:05,123", NOW_NS + 123 * NS_PER_MS, NS_PER_MS, 0},
        {"2024-01-02 03:04:05.1234567899 UTC", NOW_NS + 123456789, 1, 0},
        {"Jan  2 03:04:05", NOW_NS, NS_PER_S, 0},
        {"Jan 3 03:04:05", NOW_NS + 86400 * NS_PER_S, NS_PER_S, 0}, // a day ahead: a zone
        {"Jan  4 03:04:05", NOW_NS - 363 * 86400 * NS_PER_S, NS_PER_S, 0},
        {"Feb 29 00:00:00", 0, 0, 0}, // 2023 has none
        {"Tue Jan 02 03:04:05.9 2024", NOW_NS + 900 * NS_PER_MS, NS_PER_S / 10, 0},
        {"Jan 02 2024 03:04:05", NOW_NS, NS_PER_S, 0},
        {"02/Jan/2024:03:04:05 +0000", NOW_NS, NS_PER_S, 0},
        {"02/Jan/2024:03:04:05 -07", NOW_NS + 7 * 3600 * NS_PER_S, NS_PER_S, 0},
        {"1704164645", NOW_NS, NS_PER_S, 0},
        {"1704164645.25", NOW_NS + NS_PER_S / 4, NS_PER_S / 100, 0},
        {"1704164645000", NOW_NS, NS_PER_MS, 0},
        {"1704164645000000", NOW_NS, 1000, 0},
        {"1704164645000000001", NOW_NS + 1, 1, 0},
        {"1.704164645e9", NOW_NS, 1000, 0},
        {"1704164645000.5", 0, 0, 0},
        {"2024-02-29T00:00:00Z", INT64_C(1709164800) * NS_PER_S, NS_PER_S, 0},
        {"2023-02-29T00:00:00Z", 0, 0, 0},
        {"2024-13-01T00:00:00Z", 0, 0, 0},
        {"2024-01-02T24:00:00Z", 0, 0, 0},
        {"2024-01-02", 0, 0, 0},
        {"1969-12-31T23:59:59Z", 0, 0, 0},
        {"99999999999999999999", 0, 0, 0},
        {"-5", 0, 0, 0},
        {"nan", 0, 0, 0},
        {"", 0, 0, 0},
        {"Foo 1 00:00:00", 0, 0, 0},
    };
    (void)state;
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        struct log_clock c = {rows[i].zone_s, NOW_NS};
        struct log_time t = {0};
        bool ok = log_time_parse(str_c(rows[i].text), &c, &t);
        if (ok != (rows[i].step_ns > 0) || (ok && t.t_ns != rows[i].t_ns) ||
            (ok && t.step_ns != rows[i].step_ns))
            fail_msg("%s: %d %lld step %lld", rows[i].text, ok, (long long)t.t_ns,
                     (long long)t.step_ns);
    }
}

static void test_find(void **state)
{
    static const struct {
        const char *line;
        bool has;
    } rows[] = {
        {"[2024-01-02T03:04:05Z] x", true},  {"x ts=2024-01-02T03:04:05Z", true},
        {"a2024-01-02T03:04:05Z", false},    {" 2024-01-02T03:04:05Z", false},
        {"10.0.0.1 GET /2024-01-02", false}, {"", false},
        {"<13>Jan  2 03:04:05 h", true},
    };
    struct log_clock c = {0, NOW_NS};
    (void)state;
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        struct log_time t;
        bool has = log_time_find(str_c(rows[i].line), &c, &t);
        if (has != rows[i].has || (has && t.t_ns != NOW_NS))
            fail_msg("%s", rows[i].line);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_times), cmocka_unit_test(test_find)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
