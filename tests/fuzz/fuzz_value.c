/* fuzz_value.c - attribute lists: decode, encode, decode gives the same values; text is made.
 * links: trivet_model */
#include <stdlib.h>

#include "storage/model/value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct buf b;
    struct err err;
    struct attrs l, again;
    struct rd r = rd_of((str){(const char *)data, size});
    arena_init(&a, 64 * MIB, NULL);
    buf_init(&b, 64 * MIB);
    if (attrs_decode(&r, &a, &l, &err)) {
        attrs_encode(&b, attrs_dup(&a, l));
        r = rd_of(buf_str(&b));
        if (!attrs_decode(&r, &a, &again, &err) || again.n != l.n)
            abort();
        for (size_t i = 0; i < l.n; i++)
            if (!value_eq(&l.v[i].value, &again.v[i].value) ||
                value_hash(&l.v[i].value) != value_hash(&again.v[i].value) ||
                !str_eq(value_text(&a, &l.v[i].value), value_text(&a, &again.v[i].value)))
                abort();
    }
    buf_deinit(&b);
    arena_deinit(&a);
    return 0;
}
