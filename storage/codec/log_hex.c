/* log_hex.c - id columns; format in log_hex.h. */
#include "storage/codec/log_hex.h"

#include "storage/base/enc.h"
#include "storage/base/hash.h"
#include "storage/codec/log_scan.h"

void log_hex_table_deinit(struct log_hex_table *t)
{
    vec_free(&t->codes);
}

static inline void add_value(struct buf *data, const uint8_t *v, size_t width)
{
    char *p = buf_reserve(data, width);
    if (!p)
        return;
    log_hex_copy(p, v, width);
    data->n += width;
}

void log_hex_put(struct log_hex_table *t, const uint8_t *v, size_t n, size_t digits,
                 struct buf *head, struct buf *data, struct log_keys *keys)
{
    size_t width = (digits + 1) / 2, mask = 64;
    uint32_t n_new = 0;
    while (mask < n && mask < COUNTOF(t->slots))
        mask *= 2;
    memset(t->slots, 0, mask-- * sizeof t->slots[0]);
    vec_reserve(&t->codes, NULL, n);
    uint8_t *codes = t->codes.v;
    for (size_t i = 0; i < n; i++, v += width) {
        if (i > 0 && log_hex_same(v, v - width, width)) {
            codes[i] = codes[i - 1] ? codes[i - 1] : 1;
            continue;
        }
        uint64_t key = log_key(v, digits);
        uint32_t *slot = &t->slots[key & mask], at = *slot;
        while (
            at && n_new - at < LOG_HEX_RECENT &&
            (t->recent[at % COUNTOF(t->recent)].key != key ||
             !log_hex_same(v - (i - t->recent[at % COUNTOF(t->recent)].value) * width, v, width)))
            at = t->recent[at % COUNTOF(t->recent)].older;
        if (at && n_new - at < LOG_HEX_RECENT) {
            codes[i] = (uint8_t)(n_new - at + 1);
            continue;
        }
        codes[i] = 0;
        n_new++;
        t->recent[n_new % COUNTOF(t->recent)].key = key;
        t->recent[n_new % COUNTOF(t->recent)].value = (uint32_t)i;
        t->recent[n_new % COUNTOF(t->recent)].older = *slot;
        *slot = n_new;
        add_value(data, v, width);
        vec_push(&keys->v, NULL, key);
    }
    buf_varint(head, n_new);
    buf_u8(head, n_new < n);
    if (n_new < n)
        buf_add(head, (str){(const char *)codes, n});
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

typedef uint16_t hex_pairs16 __attribute__((vector_size(16)));
typedef uint8_t hex_bytes8 __attribute__((vector_size(8)));

/* Sixteen digits into eight bytes; false: not all are digits. */
static inline bool pack16(log_bytes c, uint8_t *out)
{
    log_bytes digit = (log_bytes)(c - '0' <= 9), letter = (log_bytes)(c - 'a' <= 'f' - 'a');
    hex_pairs16 pair = (hex_pairs16)((c & 0x0F) + (letter & 9));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    pair = (pair >> 4 | pair) & 0xFF;
#else
    pair = (pair << 4 | pair >> 8) & 0xFF;
#endif
    hex_bytes8 packed = __builtin_convertvector(pair, hex_bytes8);
    memcpy(out, &packed, sizeof packed);
    return log_bits16(digit | letter) == 0xFFFF;
}

/* Less than sixteen digits. */
static __attribute__((noinline)) bool pack_rest(const char *digits, size_t n, uint8_t *out)
{
    uint8_t rest[sizeof(log_bytes) / 2];
    bool ok = true;
    log_bytes c;
    if (n >= 8) {
        memcpy(&c, digits, 8);
        memcpy((char *)&c + 8, digits, 8);
        ok = pack16(c, rest);
        memcpy(out, rest, 4);
        n -= 8;
        digits += 8;
        out += 4;
    }
    if (n == 0)
        return ok;
    memset(&c, '0', sizeof c);
    memcpy(&c, digits, n);
    ok &= pack16(c, rest);
    memcpy(out, rest, (n + 1) / 2);
    return ok;
}

bool log_hex_pack(const char *digits, size_t n, uint8_t *out)
{
    bool ok = true;
    log_bytes c;
    for (; n >= sizeof c; n -= sizeof c, digits += sizeof c, out += sizeof c / 2) {
        memcpy(&c, digits, sizeof c);
        ok &= pack16(c, out);
    }
    return UNLIKELY(n > 0) ? ok & pack_rest(digits, n, out) : ok;
}

void log_hex_unpack(const uint8_t *v, size_t n, char *out)
{
    for (size_t i = 0; i < n; i += 2, v++, out += 2)
        memcpy(out, hex_pairs + 2 * (size_t)*v, 2);
}
