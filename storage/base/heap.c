/* heap.c - binary min-heap: the item that `less` puts first is v[0]. Thread: the owner's. */
#include "storage/base/heap.h"

void heap_init(struct heap *h, struct arena *arena, size_t cap, heap_less *less, const void *ctx)
{
    *h =
        (struct heap){.v = arena_array(arena, uint32_t, cap), .cap = cap, .less = less, .ctx = ctx};
}

static void heap_down(struct heap *h)
{
    uint32_t item = h->v[0];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= h->n)
            break;
        if (child + 1 < h->n && h->less(h->ctx, h->v[child + 1], h->v[child]))
            child++;
        if (!h->less(h->ctx, h->v[child], item))
            break;
        h->v[i] = h->v[child];
        i = child;
    }
    h->v[i] = item;
}

void heap_push(struct heap *h, uint32_t index)
{
    ASSERT(h->n < h->cap);
    size_t i = h->n++;
    while (i > 0) {
        size_t parent = (i - 1) / 2;
        if (!h->less(h->ctx, index, h->v[parent]))
            break;
        h->v[i] = h->v[parent];
        i = parent;
    }
    h->v[i] = index;
}

uint32_t heap_pop(struct heap *h)
{
    ASSERT(h->n > 0);
    uint32_t top = h->v[0];
    h->v[0] = h->v[--h->n];
    if (h->n > 1)
        heap_down(h);
    return top;
}

void heap_fix_top(struct heap *h)
{
    ASSERT(h->n > 0);
    heap_down(h);
}
