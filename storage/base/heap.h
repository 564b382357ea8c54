/* heap.h - binary heap of 32-bit indices for k-way merges and top-k; order by a callback. */
#pragma once

#include "storage/base/arena.h"

typedef bool heap_less(const void *ctx, uint32_t a, uint32_t b); // a must come out before b

struct heap {
    uint32_t *v;
    size_t n, cap; // cap is fixed at init
    heap_less *less;
    const void *ctx;
};

void heap_init(struct heap *h, struct arena *arena, size_t cap, heap_less *less, const void *ctx);
void heap_push(struct heap *h, uint32_t index); // asserts room
uint32_t heap_pop(struct heap *h);              // asserts not empty
static inline uint32_t heap_top(const struct heap *h)
{
    return h->v[0];
}
void heap_fix_top(struct heap *h); // after the top's key changed
