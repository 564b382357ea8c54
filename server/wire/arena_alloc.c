/* arena_alloc.c - see arena_alloc.h. */
#include "server/wire/arena_alloc.h"

static void *take(void *ctx, size_t n)
{
    struct arena *a = ctx;
    /* protobuf-c handles NULL as a failed decode: so an arena over its ceiling ends the decoding
     * early, and `over` tells that it was not the bytes' fault. */
    a->over = a->over || (n > MIB && !arena_room(a, n));
    return a->over ? NULL : arena_alloc(a, n);
}

static void forget(void *ctx, void *p)
{
    (void)ctx, (void)p;
}

ProtobufCAllocator arena_allocator(struct arena *a)
{
    return (ProtobufCAllocator){.alloc = take, .free = forget, .allocator_data = a};
}
