/* write_meter_test.c - sums by purpose, the sliding day, and the stretch by a debt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/engine/write_meter.h"

#define HOUR (3600 * NS_PER_S)

static uint64_t day_of(struct write_meter *m, int64_t now, enum write_purpose p)
{
    struct write_counts total, day;
    write_meter_read(m, now, &total, &day);
    return day.v[SIGNAL_LOGS][p];
}

static void test_day(void **state)
{
    (void)state;
    struct write_meter m;
    int64_t now = 1000 * HOUR + 7;
    write_meter_init(&m, 0, now);
    write_meter_add(&m, SIGNAL_LOGS, WRITE_LOG, 100, now);
    write_meter_add(&m, SIGNAL_LOGS, WRITE_SEAL, 10, now + 10 * HOUR);
    write_meter_add(&m, SIGNAL_TRACES, WRITE_LOG, 1, now + 10 * HOUR);
    assert_int_equal(day_of(&m, now + 10 * HOUR, WRITE_LOG), 100);
    assert_int_equal(day_of(&m, now + 23 * HOUR, WRITE_LOG), 100);
    assert_int_equal(day_of(&m, now + 25 * HOUR, WRITE_LOG), 0);
    assert_int_equal(day_of(&m, now + 25 * HOUR, WRITE_SEAL), 10);
    assert_int_equal(day_of(&m, now + 900 * HOUR, WRITE_SEAL), 0); // a long pause
    struct write_counts total, day;
    write_meter_read(&m, now + 900 * HOUR, &total, &day);
    assert_int_equal(total.v[SIGNAL_LOGS][WRITE_LOG], 100);
    assert_int_equal(total.v[SIGNAL_TRACES][WRITE_LOG], 1);
    assert_int_equal(write_meter_stretch(&m, now), METER_NORMAL); // no budget
    write_meter_deinit(&m);
}

static void test_stretch(void **state)
{
    (void)state;
    struct write_meter m;
    int64_t now = 5 * HOUR;
    write_meter_init(&m, 2400, now); // 100 an hour
    write_meter_add(&m, SIGNAL_LOGS, WRITE_LOG, 100, now);
    assert_int_equal(write_meter_stretch(&m, now), METER_NORMAL); // the hour that is saved up
    write_meter_add(&m, SIGNAL_LOGS, WRITE_LOG, 100, now);
    assert_int_equal(write_meter_stretch(&m, now), 400);
    assert_int_equal(write_meter_stretched(&m, now, NS_PER_S, 60 * NS_PER_S), 4 * NS_PER_S);
    assert_int_equal(write_meter_stretched(&m, now, NS_PER_S, NS_PER_S / 2), NS_PER_S);
    write_meter_add(&m, SIGNAL_LOGS, WRITE_LOG, 1000000, now);
    assert_int_equal(write_meter_stretch(&m, now), METER_MAX);
    assert_int_equal(write_meter_stretched(&m, now, NS_PER_S, 20 * NS_PER_S), 20 * NS_PER_S);
    // The debt is bounded, so it is forgotten after some hours; no more than an hour is saved up.
    assert_int_equal(write_meter_stretch(&m, now + 4 * HOUR), METER_NORMAL);
    assert_int_equal(write_meter_stretch(&m, now + 90 * HOUR), METER_NORMAL);
    write_meter_add(&m, SIGNAL_LOGS, WRITE_LOG, 150, now + 90 * HOUR);
    assert_int_equal(write_meter_stretch(&m, now + 90 * HOUR), 200);
    write_meter_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_day),
        cmocka_unit_test(test_stretch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
