/* log_hex.h - columns of fixed-width ids: each value that is new, and short references to recent
 * ones (requests log the same trace id several times in a row).
 *
 * Head (in one part): v new values | u8 has codes | has codes: one byte per value, 0 = the next new
 * value, k = the k-th last new value before this row. The new values themselves, `width` bytes
 * each, go to another part. Without codes every value is new. Any thread. */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/buf.h"
#include "storage/base/err.h"
#include "storage/base/hash.h"
#include "storage/base/rd.h"
#include "storage/base/vec.h"

/* Keys of the ids of a block; duplicates are fine. */
struct log_keys {
    VEC(uint64_t) v;
};
/* The key of a value of `digits` hex digits, packed. */
static inline uint64_t log_key(const uint8_t *packed, size_t digits)
{
    return hash64_seed((str){(const char *)packed, (digits + 1) / 2}, digits);
}

/* Packed ids are compared and copied all the time, and nearly all have 16 or 32 digits. */
static inline bool log_hex_same(const void *a, const void *b, size_t width)
{
    if (width == 8)
        return memcmp(a, b, 8) == 0;
    return width == 16 ? memcmp(a, b, 16) == 0 : memcmp(a, b, width) == 0;
}
static inline void log_hex_copy(void *to, const void *from, size_t width)
{
    if (width == 8)
        memcpy(to, from, 8);
    else if (width == 16)
        memcpy(to, from, 16);
    else
        memcpy(to, from, width);
}

#define LOG_HEX_RECENT 255 // what one byte can name besides "new"

/* Scratch of the encoder, reused from column to column; zero value is fine. New values have the
 * numbers 1 and up. */
struct log_hex_table {
    uint32_t slots[1024]; // by key: the newest of them, 0: none
    struct {
        uint64_t key;
        uint32_t value; // its place in the column
        uint32_t older; // the one before in its slot
    } recent[LOG_HEX_RECENT + 1];
    VEC(uint8_t) codes;
};
void log_hex_table_deinit(struct log_hex_table *t);

/* n values of `digits` each at v, packed; appends the head and the new values, and their keys. */
void log_hex_put(struct log_hex_table *t, const uint8_t *v, size_t n, size_t digits,
                 struct buf *head, struct buf *data, struct log_keys *keys);

struct log_hex {
    size_t n, n_new, width;
    const uint8_t *codes; // NULL: all are new
    const uint8_t *data;  // n_new * width bytes
    uint32_t *index;      // per value: which new value; made by log_hex_index
};
/* Reads the head of a column of n values; data is set by log_hex_data. */
MUST_USE bool log_hex_get(struct rd *r, size_t n, size_t width, struct log_hex *out,
                          struct err *err);
MUST_USE bool log_hex_data(struct rd *r, struct log_hex *h, struct err *err);
/* Resolves the codes into the arena. */
MUST_USE bool log_hex_index(struct log_hex *h, struct arena *a, struct err *err);

/* The same for some values, in rising order: of others nothing is known. */
struct log_hex_walk {
    struct log_hex *hex;
    size_t at, fresh; // so many new ones before `at`
};
void log_hex_walk_begin(struct log_hex_walk *w, struct log_hex *h, struct arena *a);
/* Resolves value i, not below the one before and below n. */
MUST_USE bool log_hex_walk_to(struct log_hex_walk *w, size_t i, struct err *err);

/* n digits into (n + 1) / 2 bytes, an odd last one in the high half. false: not all are [0-9a-f].
 */
bool log_hex_pack(const char *digits, size_t n, uint8_t *out);
/* Writes n digits; may write one more byte behind them when n is odd. */
void log_hex_unpack(const uint8_t *v, size_t n, char *out);
