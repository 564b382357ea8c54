// fuzz_json_read.c - reading event by event and skipping the whole value come to the same verdict;
// texts stay inside the input, decoded strings are never longer than their escapes.
//
// links: trivet_base
#include "storage/base/json_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    str in = str_of((const char *)data, n);
    struct json_reader r, skipper;
    struct arena a;
    enum json_event e;
    arena_init(&a, SIZE_MAX, NULL);
    json_reader_init(&r, in);
    do {
        e = json_next(&r);
        ASSERT(r.pos <= n);
        if (e == JSON_KEY || e == JSON_STRING) {
            ASSERT(r.text.p >= in.p && r.text.p + r.text.n <= in.p + n);
            ASSERT(json_text(&r, &a).n <= r.text.n);
        }
    } while (e != JSON_ERROR && e != JSON_END);
    json_reader_init(&skipper, in);
    bool ok = json_skip(&skipper, json_next(&skipper)) && json_next(&skipper) == JSON_END;
    ASSERT(ok == (e == JSON_END) && (ok || skipper.pos == r.pos));
    json_unescape(&a, in);
    arena_deinit(&a);
    return 0;
}
