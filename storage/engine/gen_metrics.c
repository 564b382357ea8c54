/* gen_metrics.c - see gen_metrics.h; the tokens of a chunk are in gen_tokens.h. */
#include "storage/engine/gen_metrics.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "storage/base/rd.h"
#include "storage/codec/bits.h"
#include "storage/codec/frame_format.h"
#include "storage/codec/starts.h"
#include "storage/engine/gen_tokens.h"

static_assert(sizeof(struct gen_block) == 64, "one cache line");
static_assert(sizeof(struct gen_series) == 32, "two in a cache line");

#define NO_HINT   UINT32_MAX
#define SKIPS_MAX 3

/* ---- memory ---- */

void gen_count_bytes(struct gen *g, size_t plus, size_t minus)
{
    atomic_fetch_add_explicit(&g->bytes, plus - minus, memory_order_relaxed);
    if (g->budget == NULL)
        return;
    if (plus > minus)
        budget_force(g->budget, plus - minus);
    else
        budget_give(g->budget, minus - plus);
}

static void *resize(struct gen *g, void *p, size_t before, size_t after)
{
    gen_count_bytes(g, after, before);
    return mem_realloc(p, after);
}

/* The arena counts on nothing by itself: what it took since last time goes to the books. */
static void count_arena(struct gen *g)
{
    gen_count_bytes(g, g->arena.used, g->arena_counted);
    g->arena_counted = g->arena.used;
}

struct gen *gen_metrics_open(struct head *head, struct budget *budget)
{
    struct gen *g = mem_zalloc(sizeof *g);
    g->head = head;
    g->budget = budget;
    g->hint_stream = NO_HINT;
    arena_init(&g->arena, SIZE_MAX, NULL);
    atomic_init(&g->t0_ms, INT64_MAX);
    atomic_init(&g->t1_ms, INT64_MIN);
    return g;
}

void gen_metrics_close(struct gen *g)
{
    if (g == NULL)
        return;
    if (g->budget != NULL)
        budget_give(g->budget, atomic_load(&g->bytes));
    for (size_t i = 0; i < g->n_pages; i++)
        mem_free(g->pages[i]);
    for (size_t i = 0; i < g->n_slabs; i++)
        mem_free(g->slabs[i]);
    for (size_t i = 0; i < g->streams.n; i++)
        mem_free(g->streams.v[i].after);
    for (size_t i = 0; i < g->late.n; i++)
        mem_free(g->late.v[i].v);
    for (size_t i = 0; i < g->cap_starts; i++)
        mem_free(g->starts[i]);
    gen_marks_free(g);
    mem_free(g->starts);
    mem_free(g->pages);
    mem_free(g->slabs);
    vec_free(&g->streams);
    vec_free(&g->late);
    vec_free(&g->exemplars);
    vec_free(&g->metas);
    hmap_deinit(&g->late_map);
    hmap_deinit(&g->meta_map);
    arena_deinit(&g->arena);
    mem_free(g);
}

void gen_metrics_stats(struct gen *g, struct gen_stats *out)
{
    *out = (struct gen_stats){.bytes = atomic_load(&g->bytes), .rows = atomic_load(&g->rows)};
    int64_t t0 = atomic_load(&g->t0_ms), t1 = atomic_load(&g->t1_ms);
    if (t0 <= t1) {
        out->t0_ns = ms_to_ns(t0);
        out->t1_ns = ms_to_ns(t1);
    }
}

static struct gen_series *series_make(struct gen *g, uint32_t id)
{
    size_t page = id >> GEN_PAGE_BITS;
    if (UNLIKELY(page >= g->cap_pages)) {
        size_t cap = MAX(page + 1, g->cap_pages * 2);
        g->pages = resize(g, g->pages, g->cap_pages * sizeof g->pages[0], cap * sizeof g->pages[0]);
        memset(g->pages + g->cap_pages, 0, (cap - g->cap_pages) * sizeof g->pages[0]);
        g->cap_pages = cap;
    }
    g->n_pages = MAX(g->n_pages, page + 1);
    if (UNLIKELY(g->pages[page] == NULL)) {
        g->pages[page] = mem_zalloc(GEN_PAGE_IDS * sizeof(struct gen_series));
        gen_count_bytes(g, GEN_PAGE_IDS * sizeof(struct gen_series), 0);
    }
    return &g->pages[page][id & (GEN_PAGE_IDS - 1)];
}

static uint32_t block_new(struct gen *g)
{
    if (g->n_blocks == g->n_slabs * GEN_SLAB) {
        if (g->n_slabs == g->cap_slabs) {
            size_t cap = g->cap_slabs == 0 ? 16 : g->cap_slabs * 2;
            g->slabs =
                resize(g, g->slabs, g->cap_slabs * sizeof g->slabs[0], cap * sizeof g->slabs[0]);
            g->cap_slabs = cap;
        }
        g->slabs[g->n_slabs++] = mem_alloc(GEN_SLAB * sizeof(struct gen_block));
        gen_count_bytes(g, GEN_SLAB * sizeof(struct gen_block), 0);
        if (g->n_blocks == 0) {
            g->n_blocks = 1; // 0 means none
            gen_block_at(g, 0)->next = 0;
        }
    }
    gen_block_at(g, g->n_blocks)->next = 0;
    return g->n_blocks++;
}

/* ---- writing tokens ---- */

static void put_bytes(struct gen *g, struct gen_series *s, const uint8_t *p, size_t n)
{
    if (s->last == 0) {
        s->first = s->last = block_new(g);
        s->used = 0;
    }
    while (n > 0) {
        if (s->used == GEN_BLOCK_DATA) {
            uint32_t fresh = block_new(g);
            gen_block_at(g, s->last)->next = fresh;
            s->last = fresh;
            s->used = 0;
        }
        size_t k = MIN(n, (size_t)(GEN_BLOCK_DATA - s->used));
        memcpy(gen_block_at(g, s->last)->data + s->used, p, k);
        s->used = (uint8_t)(s->used + k);
        p += k;
        n -= k;
    }
}

static size_t put_varint(uint8_t *p, uint64_t v)
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        p[n++] = (uint8_t)(v | 0x80);
    p[n++] = (uint8_t)v;
    return n;
}

static size_t put_low_bytes(uint8_t *p, uint64_t v, unsigned k)
{
    for (unsigned i = 0; i < k; i++)
        p[i] = (uint8_t)(v >> (8 * i));
    return k;
}

static unsigned byte_width(uint64_t v)
{
    return (bit_width(v) + 7) / 8;
}

static void put_run(struct gen *g, struct gen_series *s)
{
    if (s->flags & SERIES_RUN) {
        uint8_t *last = &gen_block_at(g, s->last)->data[s->used - 1];
        if (*last < TOKEN_RUN + RUN_MAX) {
            (*last)++;
            return;
        }
    }
    uint8_t token = TOKEN_RUN;
    put_bytes(g, s, &token, 1);
    s->flags |= SERIES_RUN;
}

/* v == m / 10^e exactly, with |m| small enough? */
static bool fits_exponent(double v, unsigned e, int64_t *m)
{
    double x = v * frame_pow10[e];
    if (!(fabs(x) < FRAME_M_MAX))
        return false;
    double rounded = (x + FRAME_MAGIC) - FRAME_MAGIC;
    *m = (int64_t)rounded;
    return rounded / frame_pow10[e] == v;
}

static void put_xor(struct gen *g, struct gen_series *s, uint64_t bits)
{
    uint8_t token[10];
    uint64_t x = bits ^ (uint64_t)s->value;
    if (x == 0) {
        put_run(g, s);
        return;
    }
    unsigned zeros = (unsigned)__builtin_ctzll(x) / 8;
    unsigned k = byte_width(x >> (8 * zeros));
    token[0] = (uint8_t)(TOKEN_XOR | k);
    token[1] = (uint8_t)zeros;
    put_bytes(g, s, token, 2 + put_low_bytes(token + 2, x >> (8 * zeros), k));
    s->flags &= (uint8_t)~SERIES_RUN;
    s->value = (int64_t)bits;
}

static void put_delta(struct gen *g, struct gen_series *s, int64_t m)
{
    uint8_t token[9];
    uint64_t u = zz(m - s->value);
    if (u == 0) {
        put_run(g, s);
        return;
    }
    unsigned k = byte_width(u);
    token[0] = (uint8_t)(TOKEN_DELTA | k);
    put_bytes(g, s, token, 1 + put_low_bytes(token + 1, u, k));
    s->flags &= (uint8_t)~SERIES_RUN;
    s->value = m;
}

static void put_value(struct gen *g, struct gen_series *s, double v)
{
    uint64_t bits = f64_bits(v);
    uint8_t token[12];
    int64_t m;
    if (s->flags & SERIES_XOR) {
        put_xor(g, s, bits);
        return;
    }
    bool minus_zero = bits == UINT64_C(1) << 63;
    if (LIKELY(fits_exponent(v, s->exponent, &m) && !minus_zero)) {
        put_delta(g, s, m);
        return;
    }
    s->flags &= (uint8_t)~SERIES_RUN;
    if (!(fabs(v) <= FRAME_FINITE_MAX) || minus_zero) {
        token[0] = TOKEN_RAW;
        put_bytes(g, s, token, 1 + put_low_bytes(token + 1, bits, 8));
        return;
    }
    for (unsigned e = s->exponent + 1u; e < FRAME_EXPONENTS; e++) {
        if (!fits_exponent(v, e, &m))
            continue;
        unsigned k = byte_width(zz(m));
        token[0] = (uint8_t)(TOKEN_RESCALE | e);
        token[1] = (uint8_t)k;
        put_bytes(g, s, token, 2 + put_low_bytes(token + 2, zz(m), k));
        s->exponent = (uint8_t)e;
        s->value = m;
        return;
    }
    token[0] = TOKEN_XOR_MODE;
    put_bytes(g, s, token, 1 + put_low_bytes(token + 1, bits, 8));
    s->flags |= SERIES_XOR;
    s->value = (int64_t)bits;
}

static void put_hist(struct gen *g, struct gen_series *s, const struct hist *h)
{
    struct buf b;
    uint8_t token[11] = {TOKEN_HIST};
    buf_init(&b, SIZE_MAX);
    hist_encode(&b, h);
    put_bytes(g, s, token, 1 + put_varint(token + 1, b.n));
    put_bytes(g, s, (const uint8_t *)b.p, b.n);
    s->flags = (uint8_t)((s->flags & ~SERIES_RUN) | SERIES_HISTS);
    buf_deinit(&b);
}

/* ---- streams ---- */

/* First position with t >= want. */
static uint32_t stream_search(const struct gen_stream *st, uint32_t from, int64_t want)
{
    uint32_t lo = from, hi = st->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (gen_stream_time(st, mid) < want)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void stream_push(struct gen *g, uint32_t stream, int64_t t)
{
    struct gen_stream *st = &g->streams.v[stream];
    if (st->n == st->cap) {
        uint32_t cap = st->cap + st->cap / 2 + 8;
        st->after = resize(g, st->after, st->cap * sizeof st->after[0], cap * sizeof st->after[0]);
        st->cap = cap;
    }
    st->after[st->n++] = (uint32_t)(t - st->base);
}

static uint32_t stream_new(struct gen *g, int64_t t)
{
    size_t before = g->streams.cap;
    vec_push(&g->streams, NULL, (struct gen_stream){.base = t});
    gen_count_bytes(g, g->streams.cap * sizeof g->streams.v[0], before * sizeof g->streams.v[0]);
    uint32_t stream = (uint32_t)g->streams.n - 1;
    stream_push(g, stream, t);
    return stream;
}

/* A stream that has t, for a series that cannot go on with its own. Joins that of the sample
 * before (has t, or ends before it and nobody is in between); else makes one. */
static void stream_find(struct gen *g, int64_t t, uint32_t *stream, uint32_t *at)
{
    if (g->hint_stream != NO_HINT) {
        const struct gen_stream *st = &g->streams.v[g->hint_stream];
        uint32_t i = gen_stream_time(st, g->hint_at) == t ? g->hint_at : stream_search(st, 0, t);
        if (i < st->n && gen_stream_time(st, i) == t) {
            *stream = g->hint_stream;
            *at = i;
            return;
        }
    }
    *stream = stream_new(g, t);
    *at = 0;
}

static void put_stream(struct gen *g, struct gen_series *s, int64_t t)
{
    uint8_t token[24] = {TOKEN_STREAM};
    stream_find(g, t, &s->stream, &s->at);
    size_t n = 1 + put_varint(token + 1, s->stream);
    put_bytes(g, s, token, n + put_varint(token + n, s->at));
    s->flags &= (uint8_t)~SERIES_RUN;
    s->skips = 0;
}

/* A series that skips times again and again shares its stream with strangers: better a new one. */
static bool should_leave(struct gen *g, struct gen_series *s, int64_t t)
{
    if (s->skips < SKIPS_MAX)
        s->skips++;
    if (g->hint_stream == s->stream) {
        if (s->skips < SKIPS_MAX)
            return false;
        g->hint_stream = NO_HINT; // it would only find the stream that it wants to leave
        return true;
    }
    return s->skips == SKIPS_MAX ||
           (g->hint_stream != NO_HINT &&
            gen_stream_time(&g->streams.v[g->hint_stream], g->hint_at) == t);
}

/* Moves the series to time t (newer than its newest) and writes the tokens that say so. */
static void advance(struct gen *g, struct gen_series *s, int64_t t)
{
    if (UNLIKELY(s->n == 0)) {
        put_stream(g, s, t);
        return;
    }
    const struct gen_stream *st = &g->streams.v[s->stream];
    uint32_t next = s->at + 1;
    if (LIKELY(next < st->n && gen_stream_time(st, next) == t)) {
        s->at = next;
        return;
    }
    uint32_t i = next < st->n ? stream_search(st, next, t) : next;
    bool in_between = i < st->n && gen_stream_time(st, i) != t;
    if (in_between || t - st->base > UINT32_MAX || (i > next && should_leave(g, s, t))) {
        put_stream(g, s, t);
        return;
    }
    if (i == st->n)
        stream_push(g, s->stream, t);
    s->at = i;
    if (i > next) {
        uint8_t token[12] = {TOKEN_SKIP};
        put_bytes(g, s, token, 1 + put_varint(token + 1, i - next));
        s->flags &= (uint8_t)~SERIES_RUN;
    }
}

/* ---- adding ---- */

static bool late_eq(const void *ctx, uint32_t i)
{
    const struct gen_late_list *key = ctx;
    const struct gen_late_list *list = (const struct gen_late_list *)(const void *)key->v;
    return list[i].id == key->id;
}

static uint32_t late_find(const struct gen *g, uint32_t id)
{
    struct gen_late_list key = {.id = id, .v = (struct gen_late *)(void *)g->late.v};
    return hmap_find(&g->late_map, hash_mix(id, 1), late_eq, &key);
}

static void add_late(struct gen *g, struct gen_series *s, uint32_t id, struct gen_late late)
{
    uint32_t i = late_find(g, id);
    if (i == HMAP_NONE) {
        i = (uint32_t)g->late.n;
        size_t before = g->late.cap * sizeof g->late.v[0] + hmap_bytes(&g->late_map);
        vec_push(&g->late, NULL, (struct gen_late_list){.id = id});
        hmap_put(&g->late_map, hash_mix(id, 1), i);
        gen_count_bytes(g, g->late.cap * sizeof g->late.v[0] + hmap_bytes(&g->late_map), before);
    }
    struct gen_late_list *list = &g->late.v[i];
    if (late.h != NULL) {
        struct hist *copy = arena_new(&g->arena, struct hist);
        *copy = hist_dup(&g->arena, late.h);
        late.h = copy;
        s->flags |= SERIES_HISTS;
        count_arena(g);
    }
    size_t before = list->cap;
    vec_push(list, NULL, late);
    gen_count_bytes(g, list->cap * sizeof late, before * sizeof late);
    s->flags |= SERIES_LATE;
}

/* The same float again for the newest time: a repeated request. */
static bool is_repeat(const struct gen_series *s, double v)
{
    int64_t m;
    if (s->flags & (SERIES_HISTS | SERIES_LATE))
        return false;
    if (s->flags & SERIES_XOR)
        return f64_bits(v) == (uint64_t)s->value;
    if (f64_bits(v) == UINT64_C(1) << 63) // -0 is not 0
        return false;
    // a raw token may stand between: it left s->value alone, so equal m does not prove equal
    // values; then the sample goes aside and the reader sorts it out
    return fits_exponent(v, s->exponent, &m) && m == s->value && (s->flags & SERIES_RUN) != 0;
}

static struct gen_start *start_make(struct gen *g, uint32_t id)
{
    size_t page = id >> GEN_PAGE_BITS;
    if (page >= g->cap_starts) {
        size_t cap = g->cap_pages; // has the page of the series
        size_t before = g->cap_starts * sizeof g->starts[0];
        g->starts = resize(g, g->starts, before, cap * sizeof g->starts[0]);
        memset(g->starts + g->cap_starts, 0, (cap - g->cap_starts) * sizeof g->starts[0]);
        g->cap_starts = cap;
    }
    if (g->starts[page] == NULL) {
        g->starts[page] = mem_zalloc(GEN_PAGE_IDS * sizeof(struct gen_start));
        gen_count_bytes(g, GEN_PAGE_IDS * sizeof(struct gen_start), 0);
    }
    return &g->starts[page][id & (GEN_PAGE_IDS - 1)];
}

/* The start time of the newest sample. */
static int64_t newest_start(const struct gen *g, const struct gen_series *s, uint32_t id)
{
    if (!(s->flags & SERIES_STARTS))
        return 0;
    return g->starts[id >> GEN_PAGE_BITS][id & (GEN_PAGE_IDS - 1)].start_ms;
}

/* What the token before says about a sample at t whose predecessor was at `newest`. */
static int64_t start_expected(const struct gen_start *x, int64_t newest, int64_t t)
{
    return x->kind == START_MOMENT     ? x->start_ms
           : x->kind == START_DISTANCE ? sub_wrap(t, sub_wrap(newest, x->start_ms))
           : x->kind == START_PREVIOUS ? newest
                                       : 0;
}

/* Says the start time of the sample at t, when it is news. */
static void put_start(struct gen *g, struct gen_series *s, uint32_t id, int64_t newest, int64_t t,
                      int64_t start)
{
    struct gen_start *x = start_make(g, id);
    if (!(s->flags & SERIES_STARTS))
        x->kind = START_UNKNOWN;
    s->flags |= SERIES_STARTS;
    if (start_expected(x, newest, t) != start) {
        uint8_t token[12];
        size_t n = 1;
        bool same_distance =
            s->n > 0 && x->start_ms != 0 && sub_wrap(newest, x->start_ms) == sub_wrap(t, start);
        x->kind = start == 0                    ? START_UNKNOWN
                  : s->n > 0 && start == newest ? START_PREVIOUS
                  : same_distance               ? START_DISTANCE
                                                : START_MOMENT;
        token[0] = (uint8_t)(TOKEN_START | x->kind);
        if (x->kind == START_MOMENT)
            n += put_varint(token + 1, zz(start));
        else if (x->kind == START_DISTANCE)
            n += put_varint(token + 1, zz(sub_wrap(t, start)));
        put_bytes(g, s, token, n);
        s->flags &= (uint8_t)~SERIES_RUN;
    }
    x->start_ms = start;
}

void gen_metrics_add(struct gen *g, uint32_t id, int64_t t_ms, double v, const struct hist *h,
                     int64_t start_ms)
{
    struct gen_series *s = series_make(g, id);
    int64_t newest = s->n > 0 ? gen_stream_time(&g->streams.v[s->stream], s->at) : INT64_MIN;
    if (UNLIKELY(s->n > 0 && t_ms <= newest)) {
        if (h == NULL && t_ms == newest && is_repeat(s, v) && newest_start(g, s, id) == start_ms)
            return;
        add_late(g, s, id, (struct gen_late){t_ms, start_ms, v, h});
    } else {
        gen_mark_put(g, s, id);
        advance(g, s, t_ms);
        if (UNLIKELY(start_ms != 0 || (s->flags & SERIES_STARTS)))
            put_start(g, s, id, newest, t_ms, start_ms);
        if (h != NULL)
            put_hist(g, s, h);
        else
            put_value(g, s, v);
        s->n++;
        g->hint_stream = s->stream;
        g->hint_at = s->at;
    }
    atomic_store_explicit(&g->rows, g->rows + 1, memory_order_relaxed);
    if (t_ms < g->t0_ms)
        atomic_store_explicit(&g->t0_ms, t_ms, memory_order_relaxed);
    if (t_ms > g->t1_ms)
        atomic_store_explicit(&g->t1_ms, t_ms, memory_order_relaxed);
}

void gen_metrics_add_exemplar(struct gen *g, uint32_t id, int64_t t_ms, double v,
                              struct labels labels)
{
    size_t before = g->exemplars.cap;
    (void)series_make(g, id);
    vec_push(&g->exemplars, NULL,
             (struct gen_exemplar){id, t_ms, v, labels_dup(&g->arena, labels)});
    gen_count_bytes(g, (g->exemplars.cap - before) * sizeof g->exemplars.v[0], 0);
    count_arena(g);
}

struct meta_key {
    const struct gen *g;
    str name;
};

static bool meta_eq(const void *ctx, uint32_t i)
{
    const struct meta_key *k = ctx;
    return str_eq(k->g->metas.v[i].name, k->name);
}

static uint32_t meta_find(const struct gen *g, str name)
{
    struct meta_key key = {g, name};
    return hmap_find(&g->meta_map, hash64(name), meta_eq, &key);
}

const struct metric_meta *gen_metrics_meta(const struct gen *g, str name)
{
    uint32_t i = meta_find(g, name);
    return i == HMAP_NONE ? NULL : &g->metas.v[i];
}

void gen_metrics_add_meta(struct gen *g, const struct metric_meta *meta)
{
    uint32_t i = meta_find(g, meta->name);
    if (i == HMAP_NONE) {
        size_t before = g->metas.cap * sizeof g->metas.v[0] + hmap_bytes(&g->meta_map);
        i = (uint32_t)g->metas.n;
        vec_push(&g->metas, NULL, (struct metric_meta){.name = arena_dup(&g->arena, meta->name)});
        hmap_put(&g->meta_map, hash64(meta->name), i);
        gen_count_bytes(g, g->metas.cap * sizeof g->metas.v[0] + hmap_bytes(&g->meta_map), before);
    }
    struct metric_meta *m = &g->metas.v[i];
    m->type = meta->type;
    if (!str_eq(m->unit, meta->unit))
        m->unit = arena_dup(&g->arena, meta->unit);
    if (!str_eq(m->help, meta->help))
        m->help = arena_dup(&g->arena, meta->help);
    count_arena(g);
}

void gen_metrics_mark_logged(struct gen *g, uint32_t id)
{
    series_make(g, id)->flags |= SERIES_LOGGED;
}

/* ---- samples in the making ---- */

#define SAMPLE_BYTES (sizeof(int64_t) + sizeof(double) + sizeof(struct hist *))

void samples_reserve(struct samples *s, size_t more)
{
    if (s->cap - s->n >= more)
        return;
    size_t cap = MAX(s->n + more, s->cap + s->cap / 2 + 64);
    if (s->budget != NULL)
        budget_force(s->budget, (cap - s->cap) * SAMPLE_BYTES);
    s->t = mem_realloc(s->t, cap * sizeof s->t[0]);
    s->v = mem_realloc(s->v, cap * sizeof s->v[0]);
    s->h = mem_realloc(s->h, cap * sizeof s->h[0]);
    s->cap = cap;
    if (s->has_starts)
        samples_want_starts(s);
}

void samples_want_starts(struct samples *s)
{
    if (s->cap_start < s->cap) {
        if (s->budget != NULL)
            budget_force(s->budget, (s->cap - s->cap_start) * sizeof s->start[0]);
        s->start = mem_realloc(s->start, s->cap * sizeof s->start[0]);
        s->cap_start = s->cap;
    }
    if (!s->has_starts && s->n > 0)
        memset(s->start, 0, s->n * sizeof s->start[0]);
    s->has_starts = true;
}

void samples_want_hists(struct samples *s)
{
    if (!s->has_hists && s->n > 0)
        memset(s->h, 0, s->n * sizeof s->h[0]);
    s->has_hists = true;
}

void samples_clear(struct samples *s)
{
    samples_cut(s, 0);
    s->has_hists = s->has_starts = s->maybe_markers = false;
}

void samples_deinit(struct samples *s)
{
    if (s->budget != NULL)
        budget_give(s->budget, s->cap * SAMPLE_BYTES + s->cap_start * sizeof s->start[0]);
    mem_free(s->start);
    mem_free(s->t);
    mem_free(s->v);
    mem_free(s->h);
    *s = (struct samples){.budget = s->budget};
}

struct settle {
    int64_t t, start;
    size_t i;
    double v;
    const struct hist *h;
};

static int cmp_settle(const void *x, const void *y)
{
    const struct settle *a = x, *b = y;
    if (a->t != b->t)
        return a->t < b->t ? -1 : 1;
    return (a->i > b->i) - (a->i < b->i);
}

void samples_settle(struct samples *s, size_t from)
{
    bool disorder = false;
    for (size_t i = MAX(from + 1, s->sorted); i < s->n && !disorder;) {
        size_t end = MIN(i + 128, s->n); // without a way out inside: such loops run in vectors
        for (; i < end; i++)
            disorder |= s->t[i - 1] >= s->t[i];
    }
    if (!disorder)
        return;
    size_t n = s->n - from;
    if (s->budget != NULL)
        budget_force(s->budget, n * sizeof(struct settle));
    struct settle *v = mem_alloc(n * sizeof *v);
    for (size_t i = 0; i < n; i++)
        v[i] = (struct settle){s->t[from + i], s->has_starts ? s->start[from + i] : 0, i,
                               s->v[from + i], s->has_hists ? s->h[from + i] : NULL};
    qsort(v, n, sizeof *v, cmp_settle);
    size_t k = from;
    for (size_t i = 0; i < n; i++) {
        if (i + 1 < n && v[i + 1].t == v[i].t)
            continue;
        s->t[k] = v[i].t;
        s->v[k] = v[i].v;
        if (s->has_hists)
            s->h[k] = v[i].h;
        if (s->has_starts)
            s->start[k] = v[i].start;
        k++;
    }
    s->n = k;
    s->sorted = MIN(s->sorted, from);
    mem_free(v);
    if (s->budget != NULL)
        budget_give(s->budget, n * sizeof(struct settle));
}

/* ---- reading ---- */

bool gen_metrics_bounds(const struct gen *g, uint32_t id, int64_t *t0_ms, int64_t *t1_ms)
{
    const struct gen_series *s = gen_series(g, id);
    if (s == NULL || (s->n == 0 && !(s->flags & SERIES_LATE)))
        return false;
    *t0_ms = INT64_MAX;
    *t1_ms = INT64_MIN;
    if (s->n > 0) {
        const struct gen_block *b = gen_block_at(g, s->first);
        struct rd r = {b->data, b->data + GEN_BLOCK_DATA, false};
        uint8_t token = rd_u8(&r); // a chunk begins with its stream
        uint64_t stream = rd_varint(&r), at = rd_varint(&r);
        ASSERT(token == TOKEN_STREAM && stream < g->streams.n && at < g->streams.v[stream].n);
        *t0_ms = gen_stream_time(&g->streams.v[stream], (uint32_t)at);
        *t1_ms = gen_stream_time(&g->streams.v[s->stream], s->at);
    }
    if (s->flags & SERIES_LATE) {
        const struct gen_late_list *list = &g->late.v[late_find(g, id)];
        for (size_t i = 0; i < list->n; i++) {
            *t0_ms = MIN(*t0_ms, list->v[i].t_ms);
            *t1_ms = MAX(*t1_ms, list->v[i].t_ms);
        }
    }
    return true;
}

/* The bytes of a chunk in one piece, from a block on without its first `used` bytes. */
static str chunk_bytes(const struct gen *g, const struct gen_series *s, uint32_t first, size_t used,
                       struct arena *a)
{
    size_t n = 0;
    for (uint32_t b = first; b != s->last; b = gen_block_at(g, b)->next)
        n += GEN_BLOCK_DATA;
    n += s->used;
    char *p = arena_alloc(a, n + 8); // the token reader loads 8 bytes at once
    size_t at = 0;
    for (uint32_t b = first; b != s->last; b = gen_block_at(g, b)->next, at += GEN_BLOCK_DATA)
        memcpy(p + at, gen_block_at(g, b)->data, GEN_BLOCK_DATA);
    memcpy(p + at, gen_block_at(g, s->last)->data, s->used);
    memset(p + n, 0, 8);
    return (str){p + used, n - used};
}

struct chunk_reader {
    struct rd r;
    const struct gen *g;
    const struct gen_stream *st;
    uint32_t at;     // of the next sample in the stream
    uint32_t lo, hi; // positions in the stream that are in the range: [lo, hi)
    bool is_xor;
    bool has_starts;
    enum start_kind start_kind;
    int64_t start;     // moment or distance
    int64_t start_now; // of the newest sample
    int64_t before;    // has_starts: time of the sample before
    unsigned exponent;
    int64_t value; // m or bits of the value before
    int64_t start_ms, end_ms;
    struct arena *arena;
    struct samples *out;
};

static uint64_t take_low_bytes(struct rd *r, unsigned k)
{
    uint64_t u;
    ASSERT(rd_left(r) >= k && k <= 8);
    memcpy(&u, r->p, sizeof u);
    r->p += k;
    return k == 8 ? u : u & ((UINT64_C(1) << (8 * k)) - 1);
}

static double value_now(const struct chunk_reader *c)
{
    if (c->is_xor)
        return f64_from_bits((uint64_t)c->value);
    return c->exponent == 0 ? (double)c->value : (double)c->value / frame_pow10[c->exponent];
}

static int64_t start_of(const struct chunk_reader *c, uint32_t at)
{
    return c->start_kind == START_MOMENT     ? c->start
           : c->start_kind == START_DISTANCE ? sub_wrap(gen_stream_time(c->st, at), c->start)
           : c->start_kind == START_PREVIOUS ? c->before
                                             : 0;
}

/* Is the next sample in the range? Moves over it. */
static bool next_wanted(struct chunk_reader *c)
{
    uint32_t at = c->at++;
    if (UNLIKELY(c->has_starts)) {
        c->start_now = start_of(c, at);
        c->before = gen_stream_time(c->st, at);
    }
    return at >= c->lo && at < c->hi;
}

static void emit(struct chunk_reader *c, double v, const struct hist *h)
{
    samples_push(c->out, gen_stream_time(c->st, c->at - 1), v, h);
    if (UNLIKELY(c->has_starts))
        samples_set_start(c->out, c->start_now);
}

static void read_run(struct chunk_reader *c, uint32_t n)
{
    uint32_t from = MAX(c->at, c->lo), to = MIN(c->at + n, c->hi);
    ASSERT(c->at + n <= c->st->n);
    if (UNLIKELY(c->has_starts)) {
        for (; n > 0; n--)
            if (next_wanted(c))
                emit(c, value_now(c), NULL);
        return;
    }
    c->at += n;
    double v = from < to ? value_now(c) : 0;
    for (uint32_t i = from; i < to; i++)
        samples_push(c->out, gen_stream_time(c->st, i), v, NULL);
}

/* Goes on with the sample at that position; it may be one behind the last. */
static void enter_stream(struct chunk_reader *c, uint64_t stream, uint64_t at)
{
    ASSERT(stream < c->g->streams.n);
    c->st = &c->g->streams.v[stream];
    c->at = (uint32_t)at;
    ASSERT(at <= c->st->n);
    c->lo = stream_search(c->st, c->at, c->start_ms);
    c->hi = gen_stream_time(c->st, c->st->n - 1) <= c->end_ms
                ? c->st->n
                : stream_search(c->st, c->lo, c->end_ms + 1);
}

static void read_stream(struct chunk_reader *c)
{
    uint64_t stream = rd_varint(&c->r);
    enter_stream(c, stream, rd_varint(&c->r));
}

static void read_hist(struct chunk_reader *c)
{
    struct err err;
    str bytes = rd_take(&c->r, (size_t)rd_varint(&c->r));
    struct rd r = rd_of(bytes);
    if (!next_wanted(c))
        return;
    struct hist *h = arena_new(c->arena, struct hist);
    bool ok = hist_decode(&r, c->arena, h, &err);
    ASSERT(ok);
    emit(c, 0, h);
}

static void read_raw(struct chunk_reader *c)
{
    double v = f64_from_bits(take_low_bytes(&c->r, 8));
    if (next_wanted(c))
        emit(c, v, NULL);
}

/* Everything but differences and runs. */
static void read_rare(struct chunk_reader *c, uint8_t token)
{
    if (token < TOKEN_XOR_MODE) {
        c->exponent = token & 15;
        c->value = unzz(take_low_bytes(&c->r, rd_u8(&c->r)));
    } else if (token == TOKEN_XOR_MODE) {
        c->is_xor = true;
        c->value = (int64_t)take_low_bytes(&c->r, 8);
    } else if (token < TOKEN_STREAM) {
        unsigned zeros = rd_u8(&c->r);
        c->value ^= (int64_t)(take_low_bytes(&c->r, token & 15) << (8 * zeros));
    } else if (token == TOKEN_STREAM) {
        read_stream(c);
        return;
    } else if (token == TOKEN_HIST) {
        read_hist(c);
        return;
    } else if (token == TOKEN_RAW) {
        read_raw(c);
        return;
    } else if (token == TOKEN_SKIP) {
        c->at += (uint32_t)rd_varint(&c->r);
        return;
    } else {
        ASSERT(token >= TOKEN_START && token <= (TOKEN_START | START_UNKNOWN));
        c->start_kind = (enum start_kind)(token & 3);
        if (c->start_kind == START_MOMENT || c->start_kind == START_DISTANCE)
            c->start = rd_zigzag(&c->r);
        return;
    }
    if (next_wanted(c))
        emit(c, value_now(c), NULL);
}

/* Up to the end of the range: a chunk's times ascend. Samples before it only move the value on,
 * which is most of what a short look back at a long chunk does. */
static void read_chunk(struct chunk_reader *c)
{
    while (rd_left(&c->r) > 0) {
        uint8_t token = *c->r.p++;
        if (token < TOKEN_RESCALE) {
            c->value += unzz(take_low_bytes(&c->r, token));
            if (next_wanted(c))
                emit(c, value_now(c), NULL);
        } else if (token >= TOKEN_RUN) {
            read_run(c, (uint32_t)(token - TOKEN_RUN) + 1);
        } else {
            read_rare(c, token);
        }
        ASSERT(!c->r.bad && c->at <= c->st->n);
        if (c->at > c->hi)
            return;
    }
}

void gen_metrics_read(const struct gen *g, uint32_t id, int64_t start_ms, int64_t end_ms,
                      struct arena *a, struct samples *out)
{
    const struct gen_series *s = gen_series(g, id);
    size_t from = out->n;
    if (s == NULL)
        return;
    if (s->n > 0) {
        struct arena_mark mark = arena_mark(a);
        bool has_starts = (s->flags & SERIES_STARTS) != 0;
        const struct gen_mark *m = has_starts ? NULL : gen_mark_find(g, id, start_ms);
        str bytes =
            m != NULL ? chunk_bytes(g, s, m->block, m->used, a) : chunk_bytes(g, s, s->first, 0, a);
        struct chunk_reader c = {.r = rd_of(bytes),
                                 .g = g,
                                 .has_starts = has_starts,
                                 .start_kind = START_UNKNOWN,
                                 .start_ms = start_ms,
                                 .end_ms = end_ms,
                                 .arena = a,
                                 .out = out};
        if (m != NULL) {
            c.value = m->value;
            c.exponent = m->exponent;
            c.is_xor = m->is_xor;
            enter_stream(&c, m->stream, (uint64_t)m->at + 1);
        }
        read_chunk(&c);
        if (!(s->flags & SERIES_HISTS)) // else the histograms lie behind the chunk's bytes
            arena_release(a, mark);
    }
    if (!(s->flags & SERIES_LATE))
        return;
    const struct gen_late_list *list = &g->late.v[late_find(g, id)];
    for (size_t i = 0; i < list->n; i++)
        if (list->v[i].t_ms >= start_ms && list->v[i].t_ms <= end_ms) {
            samples_push(out, list->v[i].t_ms, list->v[i].v, list->v[i].h);
            samples_set_start(out, list->v[i].start_ms);
        }
    samples_settle(out, from);
}
