/* trace_state_test.c - sampling thresholds of trace states. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/model/trace_state.h"

static void test_weights(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double weight;
    } rows[] = {
        {"", 1},
        {"vendor=x", 1},
        {"ot=th:0", 1},
        {"ot=th:8", 2},
        {"ot=rv:00112233445566;th:c", 4},
        {"vendor=x, ot=th:c", 4},
        {"other=th:c", 1},
        {"ot=th:", 1},
        {"ot=th:x", 1},
        {"ot=th:C", 1},
        {"ot=th:fffffffffffffff", 1}, // too many digits
        {"ot=th:ffffffffffffff", 72057594037927936.0},
        {"ot=th", 1},
    };
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        double weight = trace_state_weight(str_c(rows[i].text));
        if (weight != rows[i].weight)
            fail_msg("%s: %g", rows[i].text, weight);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_weights)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
