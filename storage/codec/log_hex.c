/* log_hex.c - id columns; format in log_hex.h. */
#include "storage/codec/log_hex.h"

#include "storage/base/enc.h"
#include "storage/base/hash.h"
#include "storage/codec/log_scan.h"

#define LOG_HEX_RECENT 255 // what one byte can name besides "new"

void log_hex_table_deinit(struct log_hex_table *t)
{
    mem_free(t->slot);
    mem_free(t->fresh);
    *t = (struct log_hex_table){0};
}

static void table_reset(struct log_hex_table *t, size_t n)
{
    size_t cap = 64;
    while (cap < 2 * n)
        cap *= 2;
    if (cap > t->cap) {
        mem_free(t->slot);
        t->slot = mem_alloc(cap * sizeof t->slot[0]);
        t->cap = cap;
    }
    memset(t->slot, 0, cap * sizeof t->slot[0]);
    if (n > t->fresh_cap) {
        mem_free(t->fresh);
        t->fresh = mem_alloc(n * sizeof t->fresh[0]);
        t->fresh_cap = n;
    }
}

void log_hex_put(struct log_hex_table *t, const uint8_t *v, size_t n, size_t width,
                 struct buf *head, struct buf *data)
{
    table_reset(t, n);
    size_t mask = 64;
    while (mask < 2 * n)
        mask *= 2;
    mask--;
    uint8_t *codes = mem_alloc(n);
    size_t n_new = 0;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *value = v + i * width;
        size_t at = hash64((str){(const char *)value, width}) & mask;
        while (t->slot[at] &&
               memcmp(v + (size_t)t->fresh[t->slot[at] - 1] * width, value, width) != 0)
            at = (at + 1) & mask;
        size_t back = t->slot[at] ? n_new - (t->slot[at] - 1) : SIZE_MAX;
        if (back <= LOG_HEX_RECENT) {
            codes[i] = (uint8_t)back;
            continue;
        }
        codes[i] = 0;
        t->fresh[n_new] = (uint32_t)i;
        t->slot[at] = (uint32_t)++n_new;
        buf_add(data, (str){(const char *)value, width});
    }
    buf_varint(head, n_new);
    buf_u8(head, n_new < n);
    if (n_new < n)
        buf_add(head, (str){(const char *)codes, n});
    mem_free(codes);
}

bool log_hex_get(struct rd *r, size_t n, size_t width, struct log_hex *out, struct err *err)
{
    uint64_t n_new = rd_varint(r);
    uint8_t has_codes = rd_u8(r);
    str codes = has_codes ? rd_take(r, n) : (str){0};
    if (r->bad || has_codes > 1 || n_new > n || (!has_codes && n_new != n))
        return err_set(err, ERR_CORRUPT, "log block: bad id column");
    *out = (struct log_hex){
        .n = n,
        .n_new = (size_t)n_new,
        .width = width,
        .codes = has_codes ? (const uint8_t *)codes.p : NULL,
    };
    return true;
}

bool log_hex_data(struct rd *r, struct log_hex *h, struct err *err)
{
    str data = rd_take(r, h->n_new * h->width);
    if (r->bad)
        return err_set(err, ERR_CORRUPT, "log block: id column is cut");
    h->data = (const uint8_t *)data.p;
    return true;
}

bool log_hex_index(struct log_hex *h, struct arena *a, struct err *err)
{
    uint32_t *index = arena_array(a, uint32_t, h->n);
    size_t next = 0;
    for (size_t i = 0; i < h->n; i++) {
        size_t code = h->codes ? h->codes[i] : 0;
        if (code > next || (code == 0 && next == h->n_new))
            return err_set(err, ERR_CORRUPT, "log block: bad reference in an id column");
        index[i] = (uint32_t)(code ? next - code : next);
        next += code == 0;
    }
    if (next != h->n_new)
        return err_set(err, ERR_CORRUPT, "log block: id column has %zu values too many",
                       h->n_new - next);
    h->index = index;
    return true;
}

void log_hex_walk_begin(struct log_hex_walk *w, struct log_hex *h, struct arena *a)
{
    h->index = arena_array(a, uint32_t, h->n);
    *w = (struct log_hex_walk){.hex = h};
}

bool log_hex_walk_to(struct log_hex_walk *w, size_t i, struct err *err)
{
    const struct log_hex *h = w->hex;
    size_t fresh = h->codes ? 0 : i - w->at;
    for (size_t k = w->at; h->codes && k < i; k++)
        fresh += h->codes[k] == 0;
    w->at = i;
    w->fresh += fresh;
    size_t code = h->codes ? h->codes[i] : 0;
    if (code > w->fresh || (code == 0 && w->fresh >= h->n_new))
        return err_set(err, ERR_CORRUPT, "log block: bad reference in an id column");
    h->index[i] = (uint32_t)(w->fresh - code);
    return h->index[i] < h->n_new || err_set(err, ERR_CORRUPT, "log block: bad id column");
}

static unsigned hex_value(char c)
{
    return c <= '9' ? (unsigned)c - '0' : (unsigned)c - 'a' + 10;
}

void log_hex_pack(const char *digits, size_t n, uint8_t *out)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8, out += 4) {
        uint64_t w = log_scan_word(digits + i);
        w = (w & UINT64_C(0x0F0F0F0F0F0F0F0F)) + (w >> 6 & UINT64_C(0x0101010101010101)) * 9;
        w = (w << 4 | w >> 8) & UINT64_C(0x00FF00FF00FF00FF);
        w = (w | w >> 8) & UINT64_C(0x0000FFFF0000FFFF);
        uint32_t four = (uint32_t)(w | w >> 16);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        four = __builtin_bswap32(four);
#endif
        memcpy(out, &four, sizeof four);
    }
    for (; i + 1 < n; i += 2)
        *out++ = (uint8_t)(hex_value(digits[i]) << 4 | hex_value(digits[i + 1]));
    if (n & 1)
        *out = (uint8_t)(hex_value(digits[n - 1]) << 4);
}

void log_hex_unpack(const uint8_t *v, size_t n, char *out)
{
    for (size_t i = 0; i < n; i += 2, v++, out += 2)
        memcpy(out, hex_pairs + 2 * (size_t)*v, 2);
}
