/* date_test.c - the calendar beside the C library's, and its ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "storage/base/date.h"

static const struct {
    const char *text;
    int64_t s;
} known[] = {
    {"1970-01-01T00:00:00", 0},
    {"1969-12-31T23:59:59", -1},
    {"2000-02-29T12:34:56", 951827696},
    {"1900-03-01T00:00:00", -2203891200},
    {"2026-11-22T02:40:49", 1795315249},
    {"9999-12-31T23:59:59", 253402300799},
    {"10000-01-01T00:00:00", 253402300800},
    {"0000-01-01T00:00:00", -62167219200},
    {"1677-09-21T00:12:43", -9223372037}, // the first nanosecond of an int64
    {"2262-04-11T23:47:16", 9223372036},
};

static void known_dates(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNTOF(known); i++) {
        char text[DATE_TEXT_MAX];
        size_t n = date_print(text, known[i].s);
        assert_string_equal(text, known[i].text);
        assert_int_equal(n, strlen(known[i].text));
        struct date d = date_of(known[i].s);
        assert_int_equal(date_seconds(&d), known[i].s);
    }
}

/* Every day of 800 years, and far seconds, beside the C library. */
static void as_the_library(void **state)
{
    (void)state;
    for (int64_t day = -146097; day <= 146097; day++) {
        int64_t s = day * DATE_S_PER_DAY + (day & 0xffff);
        time_t t = (time_t)s;
        struct tm tm;
        assert_non_null(gmtime_r(&t, &tm));
        struct date d = date_of(s);
        assert_int_equal(d.year, tm.tm_year + 1900);
        assert_int_equal(d.month, tm.tm_mon + 1);
        assert_int_equal(d.day, tm.tm_mday);
        assert_int_equal(d.hour * 3600 + d.minute * 60 + d.second,
                         tm.tm_hour * 3600 + tm.tm_min * 60 + tm.tm_sec);
        assert_int_equal(date_seconds(&d), s);
        assert_true(d.day <= date_days_in_month(d.year, d.month));
    }
}

static void the_ends(void **state)
{
    (void)state;
    char text[DATE_TEXT_MAX];
    (void)date_print(text, INT64_MAX);
    assert_string_equal(text, "292277026596-12-04T15:30:07");
    (void)date_print(text, INT64_MIN);
    assert_string_equal(text, "-292277022657-01-27T08:29:52");
}

static void fields_carry_over(void **state)
{
    (void)state;
    assert_int_equal(date_seconds(&(struct date){2026, 2, 31, 0, 0, 0}),
                     date_seconds(&(struct date){2026, 3, 3, 0, 0, 0}));
    assert_int_equal(date_seconds(&(struct date){1970, 1, 1, 0, 0, 60}), 60);
    assert_int_equal(date_days_in_month(1900, 2), 28);
    assert_int_equal(date_days_in_month(2000, 2), 29);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_dates),
        cmocka_unit_test(as_the_library),
        cmocka_unit_test(the_ends),
        cmocka_unit_test(fields_carry_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
