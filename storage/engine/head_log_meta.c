/* head_log_meta.c - see head_log_meta.h. Bytes of a row: none (empty set) | u8 0, varint pairs, per
 * pair name and value with varint lengths | u8 1, pointer to the base, u64 bits of own pairs, their
 * values with varint lengths. */
#include "storage/engine/head_log_meta.h"

#include "storage/base/rd.h"

enum { META_WHOLE, META_BASED };

#define BASE_PAIRS_MAX 64 // bits of `own`
#define BASE_HEAD      (1 + sizeof(const struct labels *) + sizeof(uint64_t))
/* A base costs about as much as a row or two, so several must profit. */
#define BASE_MISSES 4
/* Fewer bytes than this that another base would share are not worth one. */
#define BASE_STALE_BYTES 32

static size_t varint_size(size_t v)
{
    size_t n = 1;
    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

static char *put_varint(char *p, size_t v)
{
    for (; v >= 0x80; v >>= 7)
        *p++ = (char)(v | 0x80);
    *p++ = (char)v;
    return p;
}

static size_t str_size(str s)
{
    return varint_size(s.n) + s.n;
}

static char *put_str(char *p, str s)
{
    p = put_varint(p, s.n);
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    return p + s.n;
}

static bool is_same(str a, str b) // the same address, mostly
{
    return a.n == b.n && (a.p == b.p || str_eq(a, b));
}

static bool same_names(struct labels a, struct labels b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++) {
        if (!is_same(a.v[i].name, b.v[i].name))
            return false;
    }
    return true;
}

/* The n lowest bits. */
static uint64_t low_bits(size_t n)
{
    return n < 64 ? (UINT64_C(1) << n) - 1 : UINT64_MAX;
}

/* Do the names fit the base, and which values differ? What has the address of the row before needs
 * no look: that row fitted. */
static bool fit(const struct head_meta_writer *w, const struct batch_log *log,
                const struct batch_log *before, uint64_t *own)
{
    const struct labels *base = w->base;
    struct labels l = log->meta;
    if (!base || base->n != l.n)
        return false;
    if (before && (w->before_base != base || before->meta.n != l.n))
        before = NULL;
    bool is_alike = before && log->alike && log->alike == before->alike;
    uint64_t look = is_alike ? log->alike->own : low_bits(l.n);
    *own = before ? w->before_own & ~look : 0;
    for (; look; look &= look - 1) {
        size_t i = (size_t)__builtin_ctzll(look);
        const struct label *x = &l.v[i], *y = before ? &before->meta.v[i] : NULL;
        uint64_t bit = UINT64_C(1) << i;
        bool known = y && y->name.p == x->name.p && y->name.n == x->name.n;
        if (!known && !str_eq(x->name, base->v[i].name))
            return false;
        if (known && y->value.p == x->value.p && y->value.n == x->value.n)
            *own |= w->before_own & bit;
        else if (!base->v[i].value.p || !str_eq(x->value, base->v[i].value))
            *own |= bit;
    }
    return true;
}

/* Bytes that the row holds for itself although the row before has the same. */
static size_t stale_bytes(const struct labels *base, uint64_t own, struct labels l,
                          const struct labels *before)
{
    size_t n = 0;
    for (; before && before->n == l.n && own; own &= own - 1) {
        size_t i = (size_t)__builtin_ctzll(own);
        if (base->v[i].value.p && is_same(before->v[i].value, l.v[i].value))
            n += l.v[i].value.n;
    }
    return n;
}

/* Values that two neighbours share are worth holding; the others (no address) are each row's own.
 */
static const struct labels *make_base(const struct labels *old, struct arena *a, struct labels l,
                                      const struct labels *before)
{
    struct labels *base = arena_new(a, struct labels);
    struct label *v = arena_array(a, struct label, l.n);
    bool names = old && same_names(*old, l);
    for (size_t i = 0; i < l.n; i++) {
        bool shared = is_same(l.v[i].value, before->v[i].value);
        v[i].name = names ? old->v[i].name : arena_dup(a, l.v[i].name);
        v[i].value = shared ? arena_dup(a, l.v[i].value) : (str){0};
    }
    *base = (struct labels){v, l.n};
    return base;
}

static size_t raw_size(const struct batch_log *log)
{
    struct labels l = log->meta;
    size_t n = log->alike ? log->alike->shared_n : 0;
    for (uint64_t own = log->alike ? log->alike->own : 0; own; own &= own - 1)
        n += l.v[__builtin_ctzll(own)].value.n;
    for (size_t i = 0; i < l.n && !log->alike; i++)
        n += l.v[i].name.n + l.v[i].value.n;
    return n;
}

/* Bytes of a row that fits the base, or is held whole. */
static size_t held_size(struct labels l, bool fits, uint64_t own)
{
    size_t n = fits ? BASE_HEAD : 1 + varint_size(l.n);
    for (; fits && own; own &= own - 1)
        n += str_size(l.v[__builtin_ctzll(own)].value);
    for (size_t i = 0; i < l.n && !fits; i++)
        n += str_size(l.v[i].name) + str_size(l.v[i].value);
    return n;
}

struct head_meta_plan head_meta_plan(struct head_meta_writer *w, struct arena *a,
                                     const struct batch_log *log, const struct batch_log *last)
{
    struct labels l = log->meta;
    const struct labels *before = last ? &last->meta : NULL;
    struct head_meta_plan plan = {.raw = raw_size(log)};
    if (l.n == 0) {
        w->before_base = NULL;
        return plan;
    }
    bool fits = l.n <= BASE_PAIRS_MAX && fit(w, log, last, &plan.own);
    bool miss = fits ? plan.own && stale_bytes(w->base, plan.own, l, before) > BASE_STALE_BYTES
                     : l.n <= BASE_PAIRS_MAX && before && same_names(l, *before);
    w->misses = miss ? w->misses + 1 : 0;
    if (w->misses >= BASE_MISSES) {
        w->base = make_base(w->base, a, l, before);
        w->before_base = NULL;
        w->misses = 0;
        fits = fit(w, log, NULL, &plan.own);
    }
    w->before_base = plan.base = fits ? w->base : NULL;
    w->before_own = plan.own;
    plan.size = held_size(l, fits, plan.own);
    return plan;
}

void head_meta_put(const struct head_meta_plan *plan, struct labels l, char *out)
{
    char *p = out;
    if (plan->size == 0)
        return;
    if (!plan->base) {
        *p++ = META_WHOLE;
        p = put_varint(p, l.n);
        for (size_t i = 0; i < l.n; i++)
            p = put_str(put_str(p, l.v[i].name), l.v[i].value);
    } else {
        *p++ = META_BASED;
        memcpy(p, &plan->base, sizeof plan->base);
        memcpy(p + sizeof plan->base, &plan->own, sizeof plan->own);
        p += sizeof plan->base + sizeof plan->own;
        for (uint64_t own = plan->own; own; own &= own - 1)
            p = put_str(p, l.v[__builtin_ctzll(own)].value);
    }
    ASSERT(p == out + plan->size);
}

/* ---- reading: our own bytes ---- */

struct cursor {
    const struct labels *base;
    uint64_t own;
    struct rd r;
    size_t i, n;
};

static struct cursor cursor_of(str bytes)
{
    struct cursor c = {.r = rd_of(bytes)};
    if (bytes.n == 0)
        return c;
    if (rd_u8(&c.r) == META_WHOLE) {
        c.n = rd_count(&c.r, SIZE_MAX);
        return c;
    }
    str head = rd_take(&c.r, BASE_HEAD - 1);
    ASSERT(!c.r.bad);
    memcpy(&c.base, head.p, sizeof c.base);
    memcpy(&c.own, head.p + sizeof c.base, sizeof c.own);
    c.n = c.base->n;
    return c;
}

static struct label cursor_next(struct cursor *c)
{
    size_t i = c->i++;
    struct label l;
    l.name = c->base ? c->base->v[i].name : rd_bytes(&c->r);
    l.value = c->base && !(c->own >> i & 1) ? c->base->v[i].value : rd_bytes(&c->r);
    ASSERT(!c->r.bad);
    return l;
}

struct head_meta_parts head_meta_parts(str bytes, struct arena *a)
{
    struct cursor c = cursor_of(bytes);
    if (!c.base)
        return (struct head_meta_parts){.pairs = head_meta_get(bytes, a)};
    size_t n = 0;
    struct label *v = arena_array(a, struct label, (size_t)__builtin_popcountll(c.own));
    for (uint64_t own = c.own; own; own &= own - 1)
        v[n++] = (struct label){c.base->v[__builtin_ctzll(own)].name, rd_bytes(&c.r)};
    ASSERT(!c.r.bad && rd_left(&c.r) == 0);
    return (struct head_meta_parts){c.base, c.own, {v, n}};
}

struct labels head_meta_get(str bytes, struct arena *a)
{
    struct cursor c = cursor_of(bytes);
    if (c.n == 0 || (c.base && !c.own))
        return c.base ? *c.base : (struct labels){0};
    struct label *v = arena_array(a, struct label, c.n);
    if (c.base) {
        memcpy(v, c.base->v, c.n * sizeof v[0]);
        for (uint64_t own = c.own; own; own &= own - 1)
            v[__builtin_ctzll(own)].value = rd_bytes(&c.r);
    } else {
        for (size_t i = 0; i < c.n; i++)
            v[i] = cursor_next(&c);
    }
    ASSERT(!c.r.bad && rd_left(&c.r) == 0);
    return (struct labels){v, c.n};
}

bool head_meta_eq(str a, str b)
{
    if (str_eq(a, b))
        return true;
    struct cursor x = cursor_of(a), y = cursor_of(b);
    if (x.n != y.n || (x.base && x.base == y.base)) // one base: equal sets are equal bytes
        return false;
    while (x.i < x.n) {
        struct label l = cursor_next(&x), m = cursor_next(&y);
        if (!is_same(l.name, m.name) || !is_same(l.value, m.value))
            return false;
    }
    return true;
}

uint64_t head_meta_hash(str bytes)
{
    struct cursor c = cursor_of(bytes);
    uint64_t hash = c.n;
    while (c.i < c.n) {
        struct label l = cursor_next(&c);
        hash = hash_mix(hash, hash_mix(hash64(l.name), hash64(l.value)));
    }
    return hash;
}
