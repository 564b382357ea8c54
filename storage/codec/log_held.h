/* log_held.h - values of metadata between their arrival and a block: as heads hold them and sealing
 * takes them.
 *
 * Ids stay packed, and what the row's line holds, too, is only named. A value is: u8 number of its
 * pair | u8 form | form 0: varint length, text; 7 to 127: an id of one digit more, packed; 0x80 and
 * up: the low bits tell the digits in the same way, u8 k: it is the k-th hex value of the line
 * (log_token.h). The bytes live in memory only. */
#pragma once

#include "storage/codec/log_hex.h"
#include "storage/codec/log_token.h"

#define LOG_HELD_PAIRS 64  // of a row: only their values are held so
#define LOG_HELD_HEXS  256 // of a line: only they are named
/* Bytes of an id at most. */
#define LOG_HELD_ID_MAX 66

/* What is known of a row's ids beforehand: values of the pairs in `mask`, ascending. */
struct log_held_ids {
    uint64_t mask;
    const uint8_t *p;
    size_t n;
};

struct log_held {
    size_t digits; // 0: it is text
    str text;
    const uint8_t *id; // packed; NULL: the line has it
    size_t hex;        // which hex value of the line
};

/* Reads a value; returns its end. */
static inline const uint8_t *log_held_get(const uint8_t *p, struct log_held *out)
{
    uint8_t form = p[1];
    uint64_t n;
    p += 2;
    *out = (struct log_held){.digits = form ? (form & 0x7FU) + 1 : 0};
    if (form & 0x80) {
        out->hex = *p;
        return p + 1;
    }
    if (form) {
        out->id = p;
        return p + (out->digits + 1) / 2;
    }
    p = log_value_int(p, &n);
    out->text = (str){(const char *)p, (size_t)n};
    return p + n;
}

/* The place behind a value. */
static inline const uint8_t *log_held_end(const uint8_t *p)
{
    struct log_held v;
    return log_held_get(p, &v);
}

/* Writes a value that the line has; returns its end. */
static inline uint8_t *log_held_put_line(uint8_t *out, size_t pair, size_t digits, size_t hex)
{
    out[0] = (uint8_t)pair;
    out[1] = (uint8_t)(0x80 | (digits - 1));
    out[2] = (uint8_t)hex;
    return out + 3;
}

/* Writes an id that is packed already; returns its end. */
static inline uint8_t *log_held_put_id(uint8_t *out, size_t pair, size_t digits, const void *id)
{
    out[0] = (uint8_t)pair;
    out[1] = (uint8_t)(digits - 1);
    log_hex_copy(out + 2, id, (digits + 1) / 2);
    return out + 2 + (digits + 1) / 2;
}
