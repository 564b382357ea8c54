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
#include "storage/base/rd.h"

/* Scratch of the encoder, reused from column to column; zero value is fine. */
struct log_hex_table {
    uint32_t *slot;
    size_t cap;
    uint32_t *fresh; // value number of each new value
    size_t fresh_cap;
};
void log_hex_table_deinit(struct log_hex_table *t);

/* n values of `width` bytes each at v; appends the head and the new values. */
void log_hex_put(struct log_hex_table *t, const uint8_t *v, size_t n, size_t width,
                 struct buf *head, struct buf *data);

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

/* n digits (lower case) into (n + 1) / 2 bytes, an odd last digit in the high half. */
void log_hex_pack(const char *digits, size_t n, uint8_t *out);
/* Writes n digits; may write one more byte behind them when n is odd. */
void log_hex_unpack(const uint8_t *v, size_t n, char *out);
