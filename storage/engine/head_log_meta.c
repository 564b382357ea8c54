/* head_log_meta.c - see head_log_meta.h. Bytes of a row: none (empty set) | u8 0, varint pairs, per
 * pair name and value with varint lengths | u8 1, pointer to the base, u64 bits of own pairs, their
 * values (log_held.h). */
#include "storage/engine/head_log_meta.h"

#include "storage/base/rd.h"
#include "storage/codec/log_hex.h"

enum { META_WHOLE, META_BASED };

#define BASE_PAIRS_MAX LOG_HELD_PAIRS // bits of `own`
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
    if (is_alike) { // the names fit, and the base has no values of these
        *own |= look & w->alone;
        look &= ~w->alone;
    }
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
static size_t stale_bytes(uint64_t own, struct labels l, const struct labels *before)
{
    size_t n = 0;
    for (; before && before->n == l.n && own; own &= own - 1) {
        size_t i = (size_t)__builtin_ctzll(own);
        if (is_same(before->v[i].value, l.v[i].value))
            n += l.v[i].value.n;
    }
    return n;
}

/* Values that two neighbours share are worth holding; the others (no address) are each row's own.
 */
static void make_base(struct head_meta_writer *w, struct arena *a, struct labels l,
                      const struct labels *before)
{
    const struct labels *old = w->base;
    struct labels *base = arena_new(a, struct labels);
    struct label *v = arena_array(a, struct label, l.n);
    bool names = old && same_names(*old, l);
    w->alone = 0;
    for (size_t i = 0; i < l.n; i++) {
        bool shared = is_same(l.v[i].value, before->v[i].value);
        v[i].name = names ? old->v[i].name : arena_dup(a, l.v[i].name);
        v[i].value = shared ? arena_dup(a, l.v[i].value) : (str){0};
        w->alone |= (uint64_t)!shared << i;
    }
    *base = (struct labels){v, l.n};
    w->base = base;
    w->before_base = NULL;
    w->misses = 0;
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

/* Bytes of a row that is held whole. */
static size_t whole_size(struct labels l)
{
    size_t n = 1 + varint_size(l.n);
    for (size_t i = 0; i < l.n; i++)
        n += str_size(l.v[i].name) + str_size(l.v[i].value);
    return n;
}

/* Bytes of a row that fits the base. */
static size_t based_size(const struct head_meta_plan *plan, struct labels l)
{
    size_t n = BASE_HEAD;
    if (plan->own == plan->ids.mask)
        return n + plan->ids.n;
    const uint8_t *id = plan->ids.p;
    for (uint64_t left = plan->own | plan->ids.mask; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        const uint8_t *end = id;
        bool is_own = plan->own >> i & 1;
        if (plan->ids.mask >> i & 1) {
            end = log_held_end(id);
            n += is_own ? (size_t)(end - id) : 0;
        } else {
            n += 2 + str_size(l.v[i].value);
        }
        id = end;
    }
    return n;
}

void head_meta_plan(struct head_meta_writer *w, struct arena *a, const struct batch_log *log,
                    const struct batch_log *last, struct log_held_ids ids,
                    struct head_meta_plan *out)
{
    struct labels l = log->meta;
    const struct labels *before = last ? &last->meta : NULL;
    *out = (struct head_meta_plan){.raw = raw_size(log), .ids = ids};
    if (l.n == 0) {
        w->before_base = NULL;
        return;
    }
    uint64_t own = 0;
    bool fits = l.n <= BASE_PAIRS_MAX && fit(w, log, last, &own);
    uint64_t stale = own & ~w->alone;
    bool miss = fits ? stale && stale_bytes(stale, l, before) > BASE_STALE_BYTES
                     : l.n <= BASE_PAIRS_MAX && before && same_names(l, *before);
    w->misses = miss ? w->misses + 1 : 0;
    if (w->misses >= BASE_MISSES) {
        make_base(w, a, l, before);
        fits = fit(w, log, NULL, &own);
    }
    w->before_base = out->base = fits ? w->base : NULL;
    w->before_own = out->own = own;
    out->size = fits ? based_size(out, l) : whole_size(l);
}

/* Values of the pairs in own: ids as they are known, others as text. */
static char *put_own(const struct head_meta_plan *plan, struct labels l, char *p)
{
    const uint8_t *id = plan->ids.p;
    if (plan->own == plan->ids.mask) {
        if (plan->ids.n > 0)
            memcpy(p, id, plan->ids.n);
        return p + plan->ids.n;
    }
    for (uint64_t left = plan->own | plan->ids.mask; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left), n = 0;
        if (plan->ids.mask >> i & 1)
            n = (size_t)(log_held_end(id) - id);
        if (n == 0) {
            *p++ = (char)i;
            *p++ = 0;
            p = put_str(p, l.v[i].value);
            continue;
        }
        if (plan->own >> i & 1) {
            memcpy(p, id, n);
            p += n;
        }
        id += n;
    }
    return p;
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
        p = put_own(plan, l, p + BASE_HEAD - 1);
    }
    ASSERT(p == out + plan->size);
}

/* ---- reading: our own bytes ---- */

struct head_meta_parts head_meta_parts(str bytes)
{
    struct head_meta_parts m = {0};
    if (bytes.n == 0 || bytes.p[0] == META_WHOLE)
        return m;
    memcpy(&m.base, bytes.p + 1, sizeof m.base);
    memcpy(&m.own, bytes.p + 1 + sizeof m.base, sizeof m.own);
    m.held = (const uint8_t *)bytes.p + BASE_HEAD;
    return m;
}

static struct labels get_whole(str bytes, struct arena *a)
{
    struct rd r = rd_of(str_sub(bytes, 1, bytes.n));
    size_t n = rd_count(&r, SIZE_MAX);
    struct label *v = arena_array(a, struct label, n);
    for (size_t i = 0; i < n; i++) {
        v[i].name = rd_bytes(&r);
        v[i].value = rd_bytes(&r);
    }
    ASSERT(!r.bad && rd_left(&r) == 0);
    return (struct labels){v, n};
}

static str held_text(const struct log_held *held, const struct log_shapes *shapes,
                     struct log_known line, struct arena *a)
{
    const uint8_t *id = held->id;
    if (held->digits == 0)
        return held->text;
    if (!id)
        id = log_values_hex(shapes, (line.shape >> 1) - 1, line.values, held->hex);
    ASSERT(id);
    char *text = arena_alloc(a, held->digits + 1);
    log_hex_unpack(id, held->digits, text);
    return (str){text, held->digits};
}

struct labels head_meta_get(str bytes, const struct log_shapes *shapes, struct log_known line,
                            struct arena *a)
{
    struct head_meta_parts m = head_meta_parts(bytes);
    if (bytes.n == 0)
        return (struct labels){0};
    if (!m.base)
        return get_whole(bytes, a);
    if (!m.own)
        return *m.base;
    struct label *v = arena_array(a, struct label, m.base->n);
    memcpy(v, m.base->v, m.base->n * sizeof v[0]);
    for (uint64_t own = m.own; own; own &= own - 1) {
        struct log_held held;
        m.held = log_held_get(m.held, &held);
        v[__builtin_ctzll(own)].value = held_text(&held, shapes, line, a);
    }
    return (struct labels){v, m.base->n};
}

bool head_meta_same(str a, str b)
{
    struct head_meta_parts m = head_meta_parts(a);
    if (!str_eq(a, b))
        return false;
    for (; m.own; m.own &= m.own - 1) {
        struct log_held held;
        m.held = log_held_get(m.held, &held);
        if (held.digits > 0 && !held.id)
            return false;
    }
    return true;
}
