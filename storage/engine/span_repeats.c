/* span_repeats.c - see span_repeats.h. The bounds of a window are the least first start and the
 * greatest last start over all earlier (or later) sources that are not of the same segment; for
 * that the best two of different segments are enough. */
#include "storage/engine/span_repeats.h"

#include "storage/model/limits.h"

/* Bounds over the sources passed so far: the best, and the best of another owner than that. */
struct bound {
    const void *owner[2];
    int64_t v[2];
};

static void bound_take(struct bound *b, const void *owner, int64_t v)
{
    if (owner == b->owner[0]) {
        b->v[0] = MIN(b->v[0], v);
    } else if (v < b->v[0]) {
        b->owner[1] = b->owner[0];
        b->v[1] = b->v[0];
        b->owner[0] = owner;
        b->v[0] = v;
    } else if (v < b->v[1]) {
        b->owner[1] = owner;
        b->v[1] = v;
    }
}

static int64_t bound_for(const struct bound *b, const void *owner)
{
    return owner == b->owner[0] ? b->v[1] : b->v[0];
}

struct bounds {
    struct bound first, last; // starts; `last` holds them negated
};

static struct bounds no_bounds(void)
{
    struct bound none = {.v = {INT64_MAX, INT64_MAX}};
    return (struct bounds){none, none};
}

static const void *owner_of(const struct span_source *s)
{
    return s->chunk ? (const void *)s->chunk : (const void *)s->seg;
}

/* INT64_MIN has no opposite. */
static int64_t opposite(int64_t v)
{
    return v == INT64_MIN ? INT64_MAX : -v;
}

static void bounds_pass(struct bounds *b, const struct span_source *s, int64_t *from, int64_t *to)
{
    const void *owner = owner_of(s);
    *from = bound_for(&b->first, owner);
    *to = opposite(bound_for(&b->last, owner));
    bound_take(&b->first, owner, s->head.t0_ns);
    bound_take(&b->last, owner, opposite(s->head.s1_ns));
}

void span_repeats_open(struct span_repeats *r, struct span_sources *sources)
{
    size_t n = sources->n;
    *r = (struct span_repeats){.arena = &sources->arena};
    r->window = arena_array(&sources->arena, struct repeats_window, n);
    struct bounds b = no_bounds();
    for (size_t i = 0; i < n; i++)
        bounds_pass(&b, &sources->v[i], &r->window[i].seen_from, &r->window[i].seen_to);
    b = no_bounds();
    for (size_t i = n; i-- > 0;)
        bounds_pass(&b, &sources->v[i], &r->window[i].later_from, &r->window[i].later_to);
}

static uint64_t row_hash(const struct span_part *p, uint32_t row)
{
    uint64_t id[3];
    memcpy(id, p->trace_id[row], 16);
    memcpy(id + 2, p->span_id[row], 8);
    return hash_mix(hash_mix(hash_mix(p->kind[row], id[0]), id[1]), id[2]);
}

#define CAP_MIN    ((size_t)1024)
#define MAYBE_BITS 21 // 256 KiB; one in sixteen are set when the table is full

static uint64_t *maybe_word(const struct span_repeats *r, uint64_t hash, uint64_t *bit)
{
    uint64_t i = hash >> (64 - MAYBE_BITS);
    *bit = UINT64_C(1) << (i & 63);
    return &r->maybe[i / 64];
}

/* The place of the hash, or a free one. */
static uint64_t *place_of(const struct span_repeats *r, uint64_t hash)
{
    size_t i = (size_t)hash & (r->cap - 1);
    while (r->hash[i] != 0 && r->hash[i] != hash)
        i = (i + 1) & (r->cap - 1);
    return &r->hash[i];
}

/* At most half full. */
static bool has_room(struct span_repeats *r)
{
    if (r->n * 2 < r->cap)
        return true;
    struct span_repeats old = *r;
    size_t cap = MAX(old.cap * 2, CAP_MIN), maybe = (size_t)1 << (MAYBE_BITS - 3);
    if (r->n >= LIMIT_QUERY_REPEATS ||
        !arena_room(r->arena, cap * sizeof(r->hash[0]) + (r->maybe ? 0 : maybe)))
        return false;
    if (!r->maybe)
        r->maybe = arena_zalloc(r->arena, maybe);
    r->hash = arena_zalloc(r->arena, cap * sizeof(r->hash[0]));
    r->cap = cap;
    for (size_t i = 0; i < old.cap; i++)
        if (old.hash[i] != 0)
            *place_of(r, old.hash[i]) = old.hash[i];
    return true;
}

static bool is_there(const struct span_repeats *r, uint64_t hash)
{
    uint64_t bit;
    return r->maybe && (*maybe_word(r, hash, &bit) & bit) && *place_of(r, hash) == hash;
}

/* The hash is not there. */
static void remember(struct span_repeats *r, uint64_t hash)
{
    r->is_full = !has_room(r);
    if (r->is_full || hash == 0)
        return;
    uint64_t bit, *word = maybe_word(r, hash, &bit);
    *word |= bit;
    *place_of(r, hash) = hash;
    r->n++;
}

bool *span_repeats_find(struct span_repeats *r, size_t source, const struct span_part *part,
                        struct arena *a)
{
    struct repeats_window w = r->window[source];
    bool *out = NULL;
    for (uint32_t i = 0; i < part->n; i++) {
        int64_t start = part->start_ns[i];
        bool keep = start >= w.later_from && start <= w.later_to && !r->is_full;
        bool ask = start >= w.seen_from && start <= w.seen_to && r->n > 0;
        if (!keep && !ask)
            continue;
        uint64_t hash = row_hash(part, i);
        if (is_there(r, hash)) {
            out = out ? out : arena_zalloc(a, part->n * sizeof(*out));
            out[i] = true;
        } else if (keep) {
            remember(r, hash);
        }
    }
    return out;
}
