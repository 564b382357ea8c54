/* trace_state.c - see trace_state.h. */
#include "storage/model/trace_state.h"

#define THRESHOLD_DIGITS 14     // of 56 bits
#define ALL              0x1p56 // random numbers

/* The value behind "key" and its sign in a list, "a=1,b=2" by ",=" or "th:c;rv:1" by ";:". */
static str list_value(str list, char between, char sign, str key)
{
    while (list.n > 0) {
        size_t n = MIN(str_find_char(list, between), list.n);
        str item = str_trim(str_sub(list, 0, n));
        if (item.n > key.n && str_starts(item, key) && item.p[key.n] == sign)
            return str_sub(item, key.n + 1, item.n);
        list = str_sub(list, MIN(n + 1, list.n), list.n);
    }
    return (str){0};
}

double trace_state_weight(str state)
{
    str hex = list_value(list_value(state, ',', '=', STR("ot")), ';', ':', STR("th"));
    uint64_t lost = 0;
    if (hex.n == 0 || hex.n > THRESHOLD_DIGITS)
        return 1;
    for (size_t i = 0; i < THRESHOLD_DIGITS; i++) {
        char c = i < hex.n ? hex.p[i] : '0';
        bool is_digit = c >= '0' && c <= '9';
        if (!is_digit && !(c >= 'a' && c <= 'f'))
            return 1;
        lost = lost << 4 | (is_digit ? (uint64_t)(c - '0') : (uint64_t)(c - 'a') + 10);
    }
    return ALL / (double)((UINT64_C(1) << 56) - lost);
}
