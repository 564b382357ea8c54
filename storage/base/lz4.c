/* lz4.c - a reader of LZ4 frames: blocks are decoded straight behind each other into the output, so
 * that matches of linked blocks find what they refer to there.
 *
 * Nothing in a frame is trusted: lengths are held against the block size that the frame names and
 * against the limit before a byte is written, offsets against what this frame (or, when blocks are
 * independent, this block) has written. */
#include "storage/base/lz4.h"

#include "storage/base/hash.h"
#include "storage/base/rd.h"

#define MAGIC         0x184D2204u
#define MAGIC_SKIP    0x184D2A50u // and the 15 behind it: bytes that are not for us
#define FLAG_ALONE    0x20        // not set: blocks refer to those before them
#define FLAG_BLOCKSUM 0x10
#define FLAG_SIZE     0x08
#define FLAG_SUM      0x04
#define FLAG_DICT     0x01
#define STORED        0x80000000u // in a block's length: not compressed
#define BLOCK_MAX     (4 * MIB)   // the largest that a frame can name
#define MIN_MATCH     4
#define GROWTH_MAX    255 // bytes that a byte of a block can stand for

struct frame {
    struct rd *in;
    struct buf *out;
    size_t start, left; // of out: where the frame begins; bytes that it may still grow by
    size_t block_max;
    uint64_t size; // that the frame says it has
    uint8_t flags;
};

static bool damaged(const char *what, struct err *err)
{
    return err_set(err, ERR_INVALID, "invalid lz4 data: %s", what);
}

/* The output is full: by the limit, or by the size of blocks that the frame named itself. */
static bool is_full(const struct frame *f, struct err *err)
{
    return f->left < f->block_max
               ? err_set(err, ERR_TOO_LARGE, "decompressed body is above the limit")
               : damaged("a block is larger than its frame allows", err);
}

/* A length of four bits that goes on in bytes when it is 15. */
static size_t length_of(struct rd *r, uint8_t bits)
{
    size_t n = bits;
    uint8_t more = bits == 15 ? 255 : 0;
    while (more == 255 && n <= BLOCK_MAX && !r->bad) {
        more = rd_u8(r);
        n += more;
    }
    return n;
}

/* Sequences of literals and a copy of what was written before; the last has literals only. */
static bool decode_block(struct frame *f, str in, struct err *err)
{
    struct rd r = rd_of(in);
    size_t room = MIN(MIN(f->block_max, f->left), MIN(in.n, BLOCK_MAX) * GROWTH_MAX);
    size_t low = f->flags & FLAG_ALONE ? f->out->n : f->start;
    if (!buf_reserve(f->out, MAX(room, 1)))
        return is_full(f, err);
    char *base = f->out->p, *at = base + f->out->n, *end = at + room;
    for (;;) {
        uint8_t token = rd_u8(&r);
        str literals = rd_take(&r, length_of(&r, token >> 4));
        if (r.bad)
            return damaged("literals end early", err);
        if (literals.n > (size_t)(end - at))
            return is_full(f, err);
        if (literals.n > 0)
            memcpy(at, literals.p, literals.n);
        at += literals.n;
        if (rd_left(&r) == 0)
            break;
        size_t offset = rd_le16(&r), n = length_of(&r, token & 15) + MIN_MATCH;
        if (r.bad || offset == 0 || offset > (size_t)(at - (base + low)))
            return damaged("a copy of nothing", err);
        if (n > (size_t)(end - at))
            return is_full(f, err);
        for (size_t i = 0; i < n; i++, at++) // may reach into itself
            *at = at[-(ptrdiff_t)offset];
    }
    size_t made = (size_t)(at - base) - f->out->n;
    f->out->n += made;
    f->left -= made;
    return true;
}

static bool store_block(struct frame *f, str in, struct err *err)
{
    if (in.n > MIN(f->block_max, f->left))
        return is_full(f, err);
    buf_add(f->out, in);
    f->left -= in.n;
    return !f->out->over || is_full(f, err);
}

static bool frame_blocks(struct frame *f, struct err *err)
{
    for (;;) {
        uint32_t n = rd_le32(f->in);
        str block = rd_take(f->in, n & ~STORED);
        if (f->in->bad)
            return damaged("it ends early", err);
        if (n == 0)
            return true;
        if (f->flags & FLAG_BLOCKSUM && rd_le32(f->in) != hash32(block))
            return damaged("checksum of a block", err);
        if (!(n & STORED ? store_block(f, block, err) : decode_block(f, block, err)))
            return false;
    }
}

/* Behind the magic: flags, the size of blocks, what the flags say, a byte of checksum. */
static bool frame_head(struct frame *f, struct err *err)
{
    const char *from = (const char *)f->in->p;
    f->flags = rd_u8(f->in);
    uint8_t blocks = rd_u8(f->in);
    f->size = f->flags & FLAG_SIZE ? rd_le64(f->in) : 0;
    if (f->flags & FLAG_DICT)
        return err_set(err, ERR_UNSUPPORTED, "lz4 dictionaries are not supported");
    str head = {from, (size_t)((const char *)f->in->p - from)};
    uint8_t sum = rd_u8(f->in);
    if (f->in->bad)
        return damaged("it ends early", err);
    if (f->flags >> 6 != 1 || f->flags & 2 || blocks & 0x8F || blocks >> 4 < 4)
        return damaged("its version is not known", err);
    if (sum != (uint8_t)(hash32(head) >> 8))
        return damaged("checksum of a frame's head", err);
    f->block_max = (size_t)1 << (8 + 2 * (blocks >> 4));
    if (f->flags & FLAG_SIZE && f->size > f->left)
        return err_set(err, ERR_TOO_LARGE, "decompressed body is above the limit");
    return true;
}

static bool frame_read(struct frame *f, struct err *err)
{
    f->start = f->out->n;
    if (!frame_head(f, err) || !frame_blocks(f, err))
        return false;
    str made = {f->out->p + f->start, f->out->n - f->start};
    if (f->flags & FLAG_SIZE && made.n != f->size)
        return damaged("its size is not what it says", err);
    if (f->flags & FLAG_SUM && rd_le32(f->in) != hash32(made))
        return damaged("checksum", err);
    return true;
}

bool lz4_decode(str in, size_t max, struct buf *out, struct err *err)
{
    struct rd r = rd_of(in);
    struct frame f = {.in = &r, .out = out, .left = MIN(max, out->max - out->n)};
    do {
        uint32_t magic = rd_le32(&r);
        if ((magic & ~15u) == MAGIC_SKIP)
            (void)rd_take(&r, rd_le32(&r));
        else if (r.bad || magic != MAGIC)
            return damaged("no frame", err);
        else if (!frame_read(&f, err))
            return false;
    } while (rd_left(&r) > 0);
    return !r.bad || damaged("it ends early", err);
}
