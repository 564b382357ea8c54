// fuzz_num.c - what parses prints, and what is printed reads back the same, in every notation.
//
// links: trivet_base
#include "storage/base/dur.h"
#include "storage/base/num.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    str (*const printers[])(char *, double) = {num_print_f64, num_print_f64_plain, num_print_f64_go,
                                               num_print_f64_json};
    str in = str_of((const char *)data, n);
    char text[NUM_TEXT_MAX];
    struct err err = ERR_OK;
    double v, back;
    int64_t i, again;
    uint64_t u;
    if (num_parse_f64(in, &v) && v == v) {
        for (size_t k = 0; k < COUNTOF(printers); k++)
            ASSERT(num_parse_f64(printers[k](text, v), &back) && back == v);
    }
    if (num_parse_i64(in, &i))
        ASSERT(num_parse_i64(num_print_i64(text, i), &again) && again == i);
    if (num_parse_u64(in, &u))
        ASSERT(num_parse_u64(num_print_u64(text, u), &u));
    if (dur_parse_prom(in, &i, &err))
        ASSERT(dur_parse_prom(dur_print_prom(text, i), &again, &err) && again == i);
    if (dur_parse_go(in, &i, &err))
        ASSERT(dur_parse_go(dur_print_go(text, i), &again, &err) && again == i);
    if (size_parse(in, &u, &err))
        ASSERT(size_parse(size_print(text, u), &u, &err));
    (void)!size_parse_humanize(in, &u, &err);
    return 0;
}
