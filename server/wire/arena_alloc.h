/* arena_alloc.h - protobuf-c decodes into an arena: nothing is freed singly, `free` does nothing.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "storage/base/arena.h"

ProtobufCAllocator arena_allocator(struct arena *a);

static inline str pb_str(ProtobufCBinaryData b) // borrowed
{
    return str_of((const char *)b.data, b.len);
}

/* Unpacks one generated message type into the arena; NULL when the bytes are malformed. */
#define PB_UNPACK(type, alloc, s) type##__unpack((alloc), (s).n, (const uint8_t *)(s).p)
