/* str_dict.c - growth of the string dictionary: half-full open addressing, 16 entries at first. */
#include "storage/codec/str_dict.h"

void str_dict_grow(struct str_dict *d, struct arena *a)
{
    ASSERT(d->cap <= UINT32_MAX / 8);
    uint32_t cap = d->cap ? d->cap * 2 : 16;
    str *v = arena_array(a, str, cap);
    uint32_t *hash = arena_array(a, uint32_t, cap), *slot = arena_array(a, uint32_t, cap * 2);
    if (d->n > 0) {
        memcpy(v, d->v, d->n * sizeof(*v));
        memcpy(hash, d->hash, d->n * sizeof(*hash));
    }
    uint32_t mask = cap * 2 - 1;
    memset(slot, 0, (size_t)cap * 2 * sizeof(*slot));
    for (uint32_t c = 0; c < d->n; c++) {
        uint32_t i = hash[c] & mask;
        while (slot[i])
            i = (i + 1) & mask;
        slot[i] = c + 1;
    }
    *d = (struct str_dict){v, hash, slot, d->n, cap, mask};
}
