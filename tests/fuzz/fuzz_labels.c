/* fuzz_labels.c - label sets: what decodes is canonical, and equal sets have equal bytes.
 * links: trivet_model */
#include <stdlib.h>

#include "storage/model/labels.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct buf b;
    struct err err;
    struct labels l, again;
    arena_init(&a, 64 * MIB, NULL);
    buf_init(&b, 64 * MIB);
    if (labels_decode((str){(const char *)data, size}, &a, &l, &err)) {
        struct labels_builder lb;
        labels_encode(&b, l);
        if (!labels_decode(buf_str(&b), &a, &again, &err) || !labels_eq(l, again) ||
            labels_cmp(l, again) != 0 || labels_cmp_series(l, again) != 0 ||
            labels_hash(l) != labels_hash(again))
            abort();
        labels_builder_init(&lb, &a); // from the back: sorting gives the set without empty values
        for (size_t i = l.n; i > 0; i--)
            labels_builder_add(&lb, l.v[i - 1].name, l.v[i - 1].value);
        again = labels_builder_done(&lb);
        for (size_t i = 0; i < l.n; i++)
            if (!str_eq(labels_get(again, l.v[i].name), l.v[i].value))
                abort();
    }
    buf_deinit(&b);
    arena_deinit(&a);
    return 0;
}
