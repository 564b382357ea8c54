/* bit_write.h - bits, most significant first, as Prometheus' chunks are made of: varints, xor of
 * floats. The last byte is written by bit_end. */
#pragma once

#include "storage/base/buf.h"

struct bit_out {
    struct buf *out;
    uint8_t byte; // bits that are no whole byte yet, at the top
    unsigned used;
};
struct xor_window { // of the bits that the value before has written
    uint8_t leading, trailing;
    bool is_set;
};

void bit_put(struct bit_out *b, uint64_t v, unsigned n); // the lowest n bits of v
void bit_put_varint(struct bit_out *b, uint64_t v);      // in groups of seven bits
/* x: the value xor the one before. */
void bit_put_xor(struct bit_out *b, struct xor_window *w, uint64_t x);
void bit_end(struct bit_out *b);
