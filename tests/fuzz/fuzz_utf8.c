// fuzz_utf8.c - repair makes valid text and leaves valid text alone; decoding and encoding give the
// same bytes; escapes of any bytes are valid JSON; percent and base64 coding are inverse.
//
// links: trivet_base
#include "storage/base/enc.h"
#include "storage/base/json_read.h"
#include "storage/base/json_write.h"
#include "storage/base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    str in = str_of((const char *)data, n), out;
    struct arena a;
    struct buf b;
    arena_init(&a, SIZE_MAX, NULL);
    buf_init(&b, 8 * MIB);
    str fixed = utf8_repair(&a, in);
    ASSERT(utf8_valid(fixed) && utf8_valid(in) == (fixed.p == in.p));
    size_t points = 0;
    for (size_t i = 0, used; i < fixed.n; i += used, points++)
        utf8_encode(&b, utf8_decode(str_sub(fixed, i, fixed.n), &used));
    ASSERT(str_eq(buf_str(&b), fixed) && utf8_count(fixed) == points);
    buf_clear(&b);
    buf_add_char(&b, '"');
    json_escape(&b, in);
    buf_add_char(&b, '"');
    struct json_reader r;
    json_reader_init(&r, buf_str(&b));
    ASSERT(json_next(&r) == JSON_STRING && utf8_valid(r.text));
    ASSERT(!utf8_valid(in) || str_eq(json_text(&r, &a), in));
    buf_clear(&b);
    percent_add(&b, in);
    ASSERT(percent_decode(&a, buf_str(&b), true, &out) && str_eq(out, in));
    ASSERT(base64_decode(&a, base64_str(&a, in), &out) && str_eq(out, in));
    (void)!percent_decode(&a, in, true, &out);
    (void)!base64_decode(&a, in, &out);
    buf_deinit(&b);
    arena_deinit(&a);
    return 0;
}
