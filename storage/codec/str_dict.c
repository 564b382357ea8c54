/* str_dict.c - growth of the string dictionary: half-full open addressing, 16 entries at first. */
#include "storage/codec/str_dict.h"

void str_dict_grow(struct str_dict *d, struct arena *a)
{
    ASSERT(d->cap <= UINT32_MAX / 8);
    uint32_t cap = d->cap ? d->cap * 2 : 16;
    str *v = arena_array(a, str, cap);
    uint64_t *slot = arena_array(a, uint64_t, cap * 2);
    if (d->n > 0)
        memcpy(v, d->v, d->n * sizeof(*v));
    uint32_t mask = cap * 2 - 1;
    memset(slot, 0, (size_t)cap * 2 * sizeof(*slot));
    for (uint32_t k = 0; d->n > 0 && k <= d->mask; k++) {
        uint32_t i = (uint32_t)(d->slot[k] >> 32) & mask;
        while (d->slot[k] && slot[i])
            i = (i + 1) & mask;
        if (d->slot[k])
            slot[i] = d->slot[k];
    }
    *d = (struct str_dict){v, slot, d->n, cap, mask};
}
