/* log_ids.c - tables of ids; see log_ids.h.
 *
 * The high half of a key, read as a fraction of 2^32, times the number of pieces: the whole part is
 * its piece, what is behind the point its place in the piece, scaled to `entries << step` places.
 * So places are even, distances are small, and a place that nobody asked for is taken by chance
 * only, by one id in 2^step. */
#include "storage/codec/log_ids.h"

#include <assert.h>

#include "storage/base/hash.h"
#include "storage/codec/bits.h"
#include "storage/codec/block.h"
#include "storage/codec/log_hex.h"
#include "storage/codec/log_meta.h"

#define IDS_VERSION 1
/* Bytes of a piece, about: four lie in a page of 8 KB, two in one of 4 KB. */
#define PIECE_BYTES   1880
#define PIECE_RAW_MAX (2 * MIB) // all ids of a table may be in one piece
#define BLOCK_BITS    6         // of a key that the block's number takes
#define STEP_MAX      16
#define WINDOW_BITS   56 // of the bit stream that one look gets

static_assert(LOG_IDS_BLOCKS == 1 << BLOCK_BITS, "entries hold the number of a block");

/* ---- building ---- */

void log_ids_deinit(struct log_ids *t)
{
    vec_free(&t->entries);
}

void log_ids_clear(struct log_ids *t)
{
    t->entries.n = t->n_blocks = t->n_pieces = t->next = 0;
    t->plain = t->loose = t->hex_lens[0] = t->hex_lens[1] = 0;
}

void log_ids_add(struct log_ids *t, const struct log_block_ids *block)
{
    ASSERT(t->n_blocks < LOG_IDS_BLOCKS);
    size_t k = t->n_blocks++;
    t->plain |= (uint64_t)block->is_plain << k;
    t->loose |= (uint64_t)block->loose_hex << k;
    t->hex_lens[0] |= block->hex_lens[0];
    t->hex_lens[1] |= block->hex_lens[1];
    if (block->n == 0)
        return;
    vec_reserve(&t->entries, NULL, t->entries.n + block->n);
    uint64_t *out = t->entries.v + t->entries.n;
    for (size_t i = 0; i < block->n; i++)
        out[i] = (block->keys[i] & ~(uint64_t)(LOG_IDS_BLOCKS - 1)) | k;
    t->entries.n += block->n;
}

static unsigned block_bits(const struct log_ids *t)
{
    return bit_width(t->n_blocks - 1);
}

/* Many blocks share what chance finds; one block has it alone. */
static unsigned step_bits(const struct log_ids *t)
{
    return 8 - (block_bits(t) + 1) / 2;
}

size_t log_ids_finish(struct log_ids *t)
{
    size_t kept = 0, n = t->entries.n;
    uint64_t *v = t->entries.v;
    if (n == 0)
        return 0;
    hash_sort(v, n);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || v[i] != v[i - 1])
            v[kept++] = v[i];
    }
    t->entries.n = kept;
    size_t bytes = kept * (2 * (step_bits(t) + block_bits(t)) + 3) / 16;
    t->n_pieces = MIN(bytes / PIECE_BYTES + 1, (size_t)LOG_IDS_PIECES_MAX);
    return t->n_pieces;
}

/* The high half of a key as a fraction of so many pieces: 32 bits behind the point. */
static uint64_t in_pieces(uint64_t key, size_t n_pieces)
{
    return (key >> 32) * n_pieces;
}

size_t log_ids_piece(uint64_t key, size_t n_pieces)
{
    return (size_t)(in_pieces(key, n_pieces) >> 32);
}

/* The place of a key in its piece, of so many places. */
static uint64_t place_of(uint64_t key, size_t n_pieces, uint64_t places)
{
    return ((uint32_t)in_pieces(key, n_pieces) * places) >> 32;
}

static void put_entry(struct bit_writer *w, uint64_t distance, unsigned step, uint64_t block,
                      unsigned bits)
{
    uint64_t zeros = distance >> step,
             low = (distance & ((UINT64_C(1) << step) - 1)) << bits | block;
    if (LIKELY(zeros + 1 + step + bits <= WINDOW_BITS)) {
        bits_put(w, UINT64_C(1) << (step + bits) | low, (unsigned)zeros + 1 + step + bits);
        return;
    }
    for (; zeros >= WINDOW_BITS / 2; zeros -= WINDOW_BITS / 2)
        bits_put(w, 0, WINDOW_BITS / 2);
    bits_put(w, 1, (unsigned)zeros + 1);
    bits_put(w, low, step + bits);
}

/* Entries [from, end), whose distances sum up to less than their places. */
static void put_entries(const struct log_ids *t, size_t from, size_t end, struct buf *out)
{
    size_t n = end - from;
    unsigned step = step_bits(t), bits = block_bits(t);
    size_t most = n * (step + bits + 2) / 8 + 1;
    char *p = buf_reserve(out, most);
    if (!p)
        return;
    struct bit_writer w = {.p = (uint8_t *)p};
    uint64_t before = 0;
    for (size_t i = from; i < end; i++) {
        uint64_t place = place_of(t->entries.v[i], t->n_pieces, (uint64_t)n << step);
        put_entry(&w, place - before, step, t->entries.v[i] & (LOG_IDS_BLOCKS - 1), bits);
        before = place;
    }
    bits_flush(&w);
    size_t used = (size_t)((char *)w.p - p);
    ASSERT(used <= most);
    out->n += used;
}

bool log_ids_put(struct log_ids *t, size_t piece, struct buf *out, struct err *err)
{
    struct buf raw;
    size_t from = t->next, end = from;
    while (end < t->entries.n && log_ids_piece(t->entries.v[end], t->n_pieces) == piece)
        end++;
    t->next = end;
    buf_init(&raw, PIECE_RAW_MAX);
    buf_varint(&raw, end - from);
    buf_u8(&raw, (uint8_t)block_bits(t));
    buf_u8(&raw, (uint8_t)step_bits(t));
    buf_varint(&raw, t->plain);
    buf_varint(&raw, t->loose);
    buf_varint(&raw, t->hex_lens[0]);
    buf_varint(&raw, t->hex_lens[1]);
    put_entries(t, from, end, &raw);
    bool ok = raw.over ? err_set(err, ERR_LIMIT, "log block: a table of %zu ids", end - from)
                       : blob_pack(IDS_VERSION, 0, buf_str(&raw), out, err);
    buf_deinit(&raw);
    return ok;
}

/* ---- reading ---- */

size_t log_ids_wanted(const struct log_wanted *wanted, struct log_id *out)
{
    size_t n = 0;
    for (size_t i = 0; i < MIN(wanted->n_needles, (size_t)LOG_NEEDLES_MAX); i++) {
        const struct log_needle *needle = &wanted->needles[i];
        for (size_t k = 0; k < needle->n_ids && n < LOG_IDS_KEYS; k++) {
            const struct log_needle_id *id = &needle->ids[k];
            out[n] = (struct log_id){.is_whole = id->whole, .digits = id->digits.n};
            n += log_key_of(id->digits, &out[n].key);
        }
    }
    for (size_t i = 0; i < wanted->n_meta && n < LOG_IDS_KEYS; i++) {
        out[n] = (struct log_id){.in_meta = true, .digits = wanted->meta[i].value.n};
        n += log_key_of(wanted->meta[i].value, &out[n].key);
    }
    return n;
}

struct piece {
    size_t n;
    unsigned bits, step;
    uint64_t plain, loose, hex_lens[2];
    const uint8_t *stream; // BITS_SLACK readable bytes behind it
    size_t stream_bits;
};

static bool piece_open(str blob, struct arena *a, struct piece *p, struct err *err)
{
    uint8_t version;
    str raw;
    if (!blob_unpack(blob, IDS_VERSION, PIECE_RAW_MAX, a, &version, &raw, err))
        return false;
    struct rd r = rd_of(raw);
    p->n = rd_count(&r, PIECE_RAW_MAX);
    p->bits = rd_u8(&r);
    p->step = rd_u8(&r);
    p->plain = rd_varint(&r);
    p->loose = rd_varint(&r);
    p->hex_lens[0] = rd_varint(&r);
    p->hex_lens[1] = rd_varint(&r);
    if (r.bad || p->bits > BLOCK_BITS || p->step > STEP_MAX)
        return err_set(err, ERR_CORRUPT, "log block: bad table of ids");
    size_t left = rd_left(&r);
    uint8_t *stream = arena_alloc(a, left + BITS_SLACK);
    if (left > 0)
        memcpy(stream, r.p, left);
    memset(stream + left, 0, BITS_SLACK);
    p->stream = stream;
    p->stream_bits = 8 * left;
    return true;
}

/* The zeros at *at, which moves behind the one that ends them; past the end when none does. */
static uint64_t get_zeros(const struct piece *p, size_t *at)
{
    uint64_t zeros = 0;
    while (*at < p->stream_bits) {
        uint64_t window = bits_get(p->stream, *at, WINDOW_BITS);
        unsigned n = WINDOW_BITS - bit_width(window);
        zeros += n;
        *at += n + (window != 0);
        if (window)
            break;
    }
    return zeros;
}

/* Blocks of the entries at the place. */
static bool blocks_at(const struct piece *p, uint64_t place, uint64_t *out, struct err *err)
{
    uint64_t here = 0;
    size_t at = 0;
    *out = 0;
    for (size_t i = 0; i < p->n; i++) {
        here += get_zeros(p, &at) << p->step;
        if (at + p->step + p->bits > p->stream_bits)
            return err_set(err, ERR_CORRUPT, "log block: a table of ids ends early");
        uint64_t low = p->step ? bits_get(p->stream, at, p->step) : 0;
        uint64_t block = p->bits ? bits_get(p->stream, at + p->step, p->bits) : 0;
        at += p->step + p->bits;
        here += low;
        if (here > place)
            break;
        if (here == place)
            *out |= UINT64_C(1) << block;
    }
    return true;
}

bool log_ids_match(str blob, size_t n_pieces, const struct log_id *id, struct arena *scratch,
                   uint64_t *may, struct err *err)
{
    struct piece p;
    uint64_t found;
    if (!piece_open(blob, scratch, &p, err))
        return false;
    uint64_t place = place_of(id->key, n_pieces, (uint64_t)p.n << p.step);
    if (!blocks_at(&p, place, &found, err))
        return false;
    if (!id->in_meta)
        found |= p.plain;
    if (!id->in_meta && !id->is_whole)
        found |= log_hex_longer(p.hex_lens, id->digits) ? UINT64_MAX : p.loose;
    *may = found;
    return true;
}
