/* str_dict.h - strings to dense codes in order of first appearance; for building dictionaries.
 *
 * Memory comes from an arena; strings are borrowed. Not thread-safe. */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/hash.h"

struct str_dict {
    str *v;         // code -> string
    uint64_t *slot; // open addressing: 32 bits of the hash | code + 1; 0: free
    uint32_t n, cap, mask;
};

/* Doubles everything; the old arrays stay in the arena. */
void str_dict_grow(struct str_dict *d, struct arena *a);

/* Code of s; a string that was not there is added. *fresh (may be NULL) tells so. */
static inline uint32_t str_dict_add(struct str_dict *d, struct arena *a, str s, bool *fresh)
{
    if (UNLIKELY(d->n == d->cap))
        str_dict_grow(d, a);
    uint32_t h = (uint32_t)hash_short(s), i = h & d->mask;
    for (; d->slot[i]; i = (i + 1) & d->mask) {
        uint32_t code = (uint32_t)d->slot[i] - 1;
        if (d->slot[i] >> 32 == h && str_eq_short(d->v[code], s)) {
            if (fresh)
                *fresh = false;
            return code;
        }
    }
    if (fresh)
        *fresh = true;
    d->v[d->n] = s;
    d->slot[i] = (uint64_t)h << 32 | ++d->n;
    return d->n - 1;
}
