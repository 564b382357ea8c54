/* log_token.c - taking lines apart and putting them together; rules in log_token.h.
 *
 * The inner loop of ingest: every line passes here once when it comes, and once more when its
 * segment is merged. */
#include "storage/codec/log_token.h"

#include "storage/base/hash.h"
#include "storage/codec/log_block.h"
#include "storage/codec/log_hex.h"
#include "storage/codec/log_print.h"
#include "storage/codec/log_scan.h"
#include "storage/codec/log_token_priv.h"

#define SHAPES_MIN 256 // slots
/* Bytes behind a line that may be read, and behind results that may be written. */
#define SLACK (2 * LOG_SCAN_SLACK)

/* ---- shapes ---- */

static void slots_alloc(struct log_shapes *s, size_t cap)
{
    size_t bytes = cap * sizeof s->slots[0];
    s->slots = s->arena ? arena_zalloc(s->arena, bytes) : mem_zalloc(bytes);
    s->cap = cap;
}

void log_shapes_init(struct log_shapes *s, struct arena *arena)
{
    *s = (struct log_shapes){.arena = arena};
    slots_alloc(s, SHAPES_MIN);
    vec_reserve(&s->vars, arena, 64); // never NULL: shapes without variables point at none of them
}

void log_shapes_deinit(struct log_shapes *s)
{
    ASSERT(!s->arena);
    mem_free(s->slots);
    vec_free(&s->v);
    vec_free(&s->text);
    vec_free(&s->vars);
    *s = (struct log_shapes){0};
}

void log_shapes_clear(struct log_shapes *s)
{
    memset(s->slots, 0, s->cap * sizeof s->slots[0]);
    s->v.n = s->text.n = s->vars.n = 0;
}

static void slots_grow(struct log_shapes *s)
{
    struct log_shape_slot *old = s->slots;
    size_t n = s->cap;
    slots_alloc(s, 2 * n);
    for (size_t i = 0; i < n; i++) {
        if (!old[i].id)
            continue;
        size_t at = old[i].hash & (s->cap - 1);
        while (s->slots[at].id)
            at = (at + 1) & (s->cap - 1);
        s->slots[at] = old[i];
    }
    if (!s->arena)
        mem_free(old);
}

static str var_bytes(const struct log_var *v, size_t n)
{
    return (str){(const char *)v, n * sizeof v[0]};
}

uint32_t log_shapes_add(struct log_shapes *s, str text, const struct log_var *vars, size_t n_vars)
{
    uint64_t hash = hash_mix(hash64(text), hash64(var_bytes(vars, n_vars)));
    size_t at = hash & (s->cap - 1);
    for (; s->slots[at].id; at = (at + 1) & (s->cap - 1)) {
        uint32_t id = s->slots[at].id - 1;
        if (s->slots[at].hash == hash && s->v.v[id].n_vars == n_vars &&
            str_eq(log_shape_text(s, id), text) &&
            str_eq(var_bytes(log_shape_vars(s, id), n_vars), var_bytes(vars, n_vars)))
            return id;
    }
    uint32_t id = (uint32_t)s->v.n;
    s->slots[at] = (struct log_shape_slot){hash, id + 1};
    vec_push(&s->v, s->arena,
             (struct log_shape){(uint32_t)s->text.n, (uint32_t)text.n, (uint32_t)s->vars.n,
                                (uint32_t)n_vars});
    vec_reserve(&s->text, s->arena, s->text.n + text.n + LOG_SCAN_SLACK);
    if (text.n > 0)
        memcpy(s->text.v + s->text.n, text.p, text.n);
    s->text.n += text.n;
    vec_reserve(&s->vars, s->arena, s->vars.n + n_vars);
    if (n_vars > 0)
        memcpy(s->vars.v + s->vars.n, vars, n_vars * sizeof vars[0]);
    s->vars.n += n_vars;
    if (s->v.n > s->cap / 2)
        slots_grow(s);
    return id;
}

/* ---- classes as bits ---- */

void log_line_deinit(struct log_line *l)
{
    mem_free(l->copy);
    mem_free(l->digit);
    mem_free(l->text);
    mem_free(l->values);
    vec_free(&l->vars);
    vec_free(&l->hexs);
    *l = (struct log_line){0};
}

static void make_room(struct log_line *l, size_t n)
{
    if (LIKELY(n < l->cap))
        return;
    size_t cap = MAX(2 * l->cap, (n + 4096) & ~(size_t)4095), words = cap / 64 + 2;
    log_line_deinit(l);
    l->copy = mem_alloc(cap + SLACK);
    l->digit = mem_alloc(3 * words * sizeof l->digit[0]);
    l->hex = l->digit + words;
    l->other = l->hex + words;
    l->text = mem_alloc(2 * cap + SLACK); // a mark for each variable at most
    l->values = mem_alloc(log_values_room(cap));
    vec_reserve(&l->vars, NULL, 64);
    l->cap = cap;
}

void log_line_copy(struct log_line *l, str line)
{
    make_room(l, line.n);
    if (line.n > 0)
        memcpy(l->copy, line.p, line.n);
    memset(l->copy + line.n, 0, SLACK);
}

/* Classifies the bytes of the copy; behind it nothing but `other`. */
static void classify(struct log_line *l, str line)
{
    for (size_t w = 0; w <= line.n / 64; w++) {
        uint64_t digit = 0, hex = 0, letter = 0;
        for (unsigned k = 0; k < 64 && 64 * w + k < line.n; k += 16) {
            log_bytes c;
            memcpy(&c, l->copy + 64 * w + k, sizeof c);
            digit |= log_bits16((log_bytes)(c - '0' <= 9)) << k;
            hex |= log_bits16((log_bytes)(c - 'a' <= 'f' - 'a')) << k;
            letter |= log_bits16((log_bytes)((c | 0x20) - 'a' <= 'z' - 'a')) << k;
        }
        l->digit[w] = digit;
        l->hex[w] = hex | digit;
        l->other[w] = ~(digit | letter);
    }
    l->digit[line.n / 64 + 1] = l->hex[line.n / 64 + 1] = 0;
    l->other[line.n / 64 + 1] = UINT64_MAX;
}

/* First place from `at` on whose bit is set (flip: not set); `end` when there is none before. */
static inline size_t next_bit(const uint64_t *bits, size_t at, size_t end, uint64_t flip)
{
    uint64_t w = (bits[at / 64] ^ flip) >> (at % 64);
    if (LIKELY(w != 0))
        return MIN(at + (size_t)__builtin_ctzll(w), end);
    for (size_t i = at / 64 + 1; i <= end / 64; i++) {
        w = bits[i] ^ flip;
        if (w)
            return MIN(64 * i + (size_t)__builtin_ctzll(w), end);
    }
    return end;
}

static inline bool has_bit(const uint64_t *bits, size_t at)
{
    return bits[at / 64] >> (at % 64) & 1;
}

/* Where the run that holds `at` begins, not before `from`. */
static inline size_t run_begin(const uint64_t *other, size_t from, size_t at)
{
    while (at > from) {
        size_t last = at - 1, word = last / 64;
        uint64_t w = other[word] << (63 - last % 64); // bit 63: `last`
        if (w)
            return MAX(from, at - (size_t)__builtin_clzll(w));
        at = 64 * word;
    }
    return from;
}

/* ---- a line ---- */

struct split {
    struct log_line *l;
    const char *p, *end; // the copy
    size_t at;           // end of the last variable
    char *out;
    uint8_t *value;
};

static inline void put_var(struct split *k, size_t begin, size_t end, uint16_t kind,
                           uint16_t digits)
{
    size_t n = begin - k->at;
    const char *from = k->p + k->at;
    char *to = k->out;
    memcpy(to, from, 32); // what is too much is written over
    for (size_t i = 32; UNLIKELY(i < n); i += 32)
        memcpy(to + i, from + i, 32);
    to[n] = LOG_MARK;
    k->out = to + n + 1;
    vec_push(&k->l->vars, NULL, (struct log_var){(uint32_t)n, kind, digits});
    k->at = end;
}

static inline void put_int(struct split *k, size_t begin, size_t end)
{
    const char *p = k->p + begin;
    size_t n = end - begin;
    bool fixed = (p[0] == '0' && n > 1) || log_is_fixed(k->p, k->end, p, n);
    put_var(k, begin, end, (uint16_t)(fixed ? LOG_VAR_PAD + n : LOG_VAR_INT), 0);
    k->value = log_put_varint(k->value, log_scan_digits(p, n));
}

static void put_hex(struct split *k, size_t begin, size_t end)
{
    size_t n = end - begin;
    put_var(k, begin, end, LOG_VAR_HEX, (uint16_t)n);
    vec_push(&k->l->hexs, NULL, (struct log_place){(uint32_t)begin, (uint32_t)n});
    log_hex_pack(k->p + begin, n, k->value);
    k->value += (n + 1) / 2;
}

static void put_text(struct split *k, size_t begin, size_t end)
{
    size_t n = end - begin;
    put_var(k, begin, end, LOG_VAR_TEXT, 0);
    *k->value++ = (uint8_t)n;
    memcpy(k->value, k->p + begin, n);
    k->value += n;
}

/* A run that is neither word, number nor id; `digit`: its first digit. */
static void put_mixed(struct split *k, size_t begin, size_t digit, size_t end)
{
    size_t n = end - begin;
    const uint64_t *digits = k->l->digit;
    k->l->loose_hex = k->l->loose_hex || (n >= LOG_HEX_MIN && log_has_hex_part(k->p + begin, n));
    size_t changes = 0;
    for (size_t i = begin + 1; i < end && n >= LOG_TEXT_VAR_MIN && n <= LOG_TEXT_VAR_MAX; i++)
        changes += log_is_digit(k->p[i]) != log_is_digit(k->p[i - 1]);
    if (changes >= LOG_TEXT_VAR_CHANGES) {
        put_text(k, begin, end);
        return;
    }
    while (digit < end) {
        size_t stop = next_bit(digits, digit, end, UINT64_MAX);
        stop = MIN(stop, digit + LOG_INT_DIGITS);
        put_int(k, digit, stop);
        digit = next_bit(digits, stop, end, 0);
    }
}

/* "0x" and a hex value. */
static bool put_prefixed_hex(struct split *k, size_t begin, size_t end)
{
    size_t n = end - begin;
    const char *p = k->p + begin;
    if (n < 2 + LOG_HEX_MIN || n > 2 + LOG_HEX_MAX || p[0] != '0' || p[1] != 'x' ||
        next_bit(k->l->hex, begin + 2, end, UINT64_MAX) < end ||
        next_bit(k->l->digit, begin + 2, end, 0) == end)
        return false;
    put_int(k, begin, begin + 1);
    put_hex(k, begin + 2, end);
    return true;
}

void log_line_split(struct log_line *l, str line)
{
    log_line_copy(l, line);
    classify(l, line);
    l->vars.n = l->hexs.n = 0;
    l->loose_hex = false;
    struct split k = {l, l->copy, l->copy + line.n, 0, l->text, l->values};
    for (size_t at = 0, digit; (digit = next_bit(l->digit, at, line.n, 0)) < line.n;) {
        size_t stop = next_bit(l->digit, digit, line.n, UINT64_MAX);
        if (LIKELY((digit == at || has_bit(l->other, digit - 1)) && has_bit(l->other, stop) &&
                   stop - digit <= LOG_INT_DIGITS)) { // nearly all: digits alone
            put_int(&k, digit, stop);
            at = stop;
            continue;
        }
        size_t begin = run_begin(l->other, at, digit), end = next_bit(l->other, stop, line.n, 0);
        size_t n = end - begin;
        if (n >= LOG_HEX_MIN && n <= LOG_HEX_MAX && next_bit(l->hex, begin, end, UINT64_MAX) == end)
            put_hex(&k, begin, end);
        else if (!put_prefixed_hex(&k, begin, end))
            put_mixed(&k, begin, digit, end);
        at = end;
    }
    size_t rest = line.n - k.at;
    memcpy(k.out, k.p + k.at, rest);
    k.out[rest] = LOG_MARK;
    l->n_text = (size_t)(k.out - l->text) + rest + 1;
    l->n_values = (size_t)(k.value - l->values);
}

/* ---- and back ---- */

size_t log_line_room(const struct log_shapes *s, uint32_t id)
{
    const struct log_shape *shape = &s->v.v[id];
    const struct log_var *v = log_shape_vars(s, id);
    size_t n = shape->n_text, text = 1; // the last mark
    for (size_t i = 0; i < shape->n_vars; i++) {
        text += (size_t)v[i].n_text + 1;
        n += v[i].kind == LOG_VAR_HEX    ? (size_t)v[i].digits + 1
             : v[i].kind == LOG_VAR_TEXT ? LOG_TEXT_VAR_MAX
                                         : 20; // digits of 64 bits
    }
    return text <= shape->n_text ? n : SIZE_MAX;
}

static char *join_int(char *p, uint64_t v, size_t digits)
{
    char text[20];
    size_t n = 0;
    do {
        text[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    for (; digits > n; digits--)
        *p++ = '0';
    while (n > 0)
        *p++ = text[--n];
    return p;
}

bool log_line_join(const struct log_shapes *s, uint32_t id, struct rd *r, char **out)
{
    str text = log_shape_text(s, id);
    const struct log_var *v = log_shape_vars(s, id), *end = v + s->v.v[id].n_vars;
    char *p = *out;
    for (; v < end && !r->bad; v++) {
        memcpy(p, text.p, v->n_text);
        p += v->n_text;
        text = str_sub(text, (size_t)v->n_text + 1, text.n);
        if (v->kind == LOG_VAR_HEX) {
            str packed = rd_take(r, (v->digits + 1U) / 2);
            if (r->bad)
                break;
            log_hex_unpack((const uint8_t *)packed.p, v->digits, p);
            p += v->digits;
        } else if (v->kind == LOG_VAR_TEXT) {
            str value = rd_take(r, rd_u8(r));
            if (r->bad || value.n > LOG_TEXT_VAR_MAX)
                return false;
            if (value.n > 0)
                memcpy(p, value.p, value.n);
            p += value.n;
        } else {
            size_t digits = v->kind >= LOG_VAR_PAD ? (size_t)v->kind - LOG_VAR_PAD : 0;
            p = join_int(p, rd_varint(r), digits);
        }
    }
    size_t rest = text.n - 1; // log_line_room saw to it
    memcpy(p, text.p, rest);
    *out = p + rest;
    return !r->bad;
}

char *log_line_put(const struct log_shapes *s, uint32_t id, const uint8_t *values, char *out)
{
    str text = log_shape_text(s, id);
    const struct log_var *v = log_shape_vars(s, id), *end = v + s->v.v[id].n_vars;
    for (; v < end; v++) {
        uint64_t value;
        out = log_print_text(out, text.p, v->n_text);
        text = str_sub(text, (size_t)v->n_text + 1, text.n);
        if (v->kind == LOG_VAR_HEX) {
            out = log_print_hex(out, values, v->digits);
            values += (v->digits + 1U) / 2;
        } else if (v->kind == LOG_VAR_TEXT) {
            out = log_print_text(out, (const char *)values + 1, *values);
            values += 1 + *values;
        } else {
            values = log_value_int(values, &value);
            out = v->kind == LOG_VAR_INT ? log_print_int(out, value)
                                         : log_print_padded(out, value, v->kind - LOG_VAR_PAD);
        }
    }
    return log_print_text(out, text.p, text.n - 1);
}

/* Behind all values, or at the hex value number k. */
static const uint8_t *walk_values(const struct log_shapes *s, uint32_t id, const uint8_t *values,
                                  size_t k, bool *found)
{
    const struct log_var *v = log_shape_vars(s, id), *end = v + s->v.v[id].n_vars;
    uint64_t value;
    *found = false;
    for (; v < end; v++) {
        if (v->kind == LOG_VAR_HEX) {
            *found = k-- == 0;
            if (*found)
                break;
            values += (v->digits + 1U) / 2;
        } else if (v->kind == LOG_VAR_TEXT) {
            values += 1 + *values;
        } else {
            values = log_value_int(values, &value);
        }
    }
    return values;
}

const uint8_t *log_values_end(const struct log_shapes *s, uint32_t id, const uint8_t *values)
{
    bool found;
    return walk_values(s, id, values, SIZE_MAX, &found);
}

const uint8_t *log_values_hex(const struct log_shapes *s, uint32_t id, const uint8_t *values,
                              size_t k)
{
    bool found;
    values = walk_values(s, id, values, k, &found);
    return found ? values : NULL;
}
