/* trace_get.c - store_trace: one whole trace from everywhere.
 *
 * Each source that has the id gives its rows with all columns; a block of 64 K spans costs its
 * decompression, so filters decide first. */
#include <stdlib.h>

#include "storage/base/hmap.h"
#include "storage/codec/span_rows.h"
#include "storage/engine/span_source.h"

/* Rows that are decoded at once; more of one trace in one block are taken in steps, so that
 * max_bytes holds. */
#define STEP_ROWS 8192u

struct get {
    struct span_sources sources;
    struct arena tmp, keep; // columns; directories
    struct arena *a;        // the caller's
    VEC(struct resource) resources;
    VEC(struct scope) scopes;
    VEC(struct span) spans;
    struct hmap seen; // (span id, kind)
    size_t bytes, max_bytes;
    bool partial;
};

static size_t value_bytes(const struct value *v)
{
    size_t n = sizeof(*v);
    if (v->kind == VALUE_STR || v->kind == VALUE_BYTES)
        n += v->s.n;
    else if (v->kind == VALUE_LIST)
        n += v->list.n * sizeof(*v);
    else if (v->kind == VALUE_MAP)
        n += v->map.n * sizeof(struct attr);
    return n;
}

static size_t attrs_bytes(struct attrs l)
{
    size_t n = 0;
    for (size_t i = 0; i < l.n; i++)
        n += sizeof(str) + l.v[i].key.n + value_bytes(&l.v[i].value);
    return n;
}

/* About what the span weighs in an answer. */
static size_t span_bytes(const struct span *s)
{
    size_t n = sizeof(*s) + s->name.n + s->trace_state.n + s->status_message.n;
    n += attrs_bytes(s->attrs);
    for (uint32_t i = 0; i < s->n_events; i++)
        n += sizeof(s->events[i]) + s->events[i].name.n + attrs_bytes(s->events[i].attrs);
    for (uint32_t i = 0; i < s->n_links; i++)
        n += sizeof(s->links[i]) + s->links[i].trace_state.n + attrs_bytes(s->links[i].attrs);
    return n;
}

struct seen_key {
    const struct get *g;
    const struct span *s;
};

static bool seen_eq(const void *ctx, uint32_t index)
{
    const struct seen_key *k = ctx;
    const struct span *have = &k->g->spans.v[index];
    return have->kind == k->s->kind && memcmp(have->span_id, k->s->span_id, 8) == 0;
}

static void set_add(struct get *g, const struct span_set *set)
{
    uint32_t res = (uint32_t)g->resources.n, scopes = (uint32_t)g->scopes.n;
    for (size_t i = 0; i < set->n_resources; i++)
        vec_push(&g->resources, g->a, set->resources[i]);
    for (size_t i = 0; i < set->n_scopes; i++)
        vec_push(&g->scopes, g->a, set->scopes[i]);
    for (size_t i = 0; i < set->n_spans; i++) {
        struct span s = set->spans[i];
        struct seen_key key = {g, &s};
        uint64_t id;
        memcpy(&id, s.span_id, 8);
        uint64_t hash = hash_mix(id, s.kind);
        if (hmap_find(&g->seen, hash, seen_eq, &key) != HMAP_NONE)
            continue;
        g->bytes += span_bytes(&s);
        if (g->max_bytes > 0 && g->bytes > g->max_bytes && g->spans.n > 0) {
            g->partial = true;
            return;
        }
        s.resource += res;
        s.scope += scopes;
        hmap_put(&g->seen, hash, (uint32_t)g->spans.n);
        vec_push(&g->spans, g->a, s);
    }
}

static bool source_get(struct get *g, struct span_source *s, uint32_t trace, struct err *err)
{
    struct span_open open;
    struct span_traces traces;
    arena_reset(&g->keep);
    arena_reset(&g->tmp);
    if (!span_source_open(s, &g->keep, &open, err) ||
        !span_block_traces(&open.columns, &g->keep, &traces, err))
        return false;
    for (uint32_t lo = traces.row[trace]; lo < traces.row[trace + 1] && !g->partial;
         lo += STEP_ROWS) {
        struct span_set set;
        uint32_t hi = MIN(lo + STEP_ROWS, traces.row[trace + 1]);
        size_t n = g->spans.n + (hi - lo), grown = n > g->spans.cap ? MAX(n, g->spans.cap * 2) : 0;
        if (!span_arena_room(g->a, (grown + (hi - lo)) * sizeof(struct span), err) ||
            !span_rows_decode(&open.columns, lo, hi, &g->tmp, g->a, &set, err))
            return false;
        set_add(g, &set);
    }
    return span_arena_ok(g->a, err);
}

static int span_cmp(const void *x, const void *y)
{
    const struct span *a = x, *b = y;
    if (a->start_ns != b->start_ns)
        return a->start_ns < b->start_ns ? -1 : 1;
    return memcmp(a->span_id, b->span_id, 8);
}

static bool get_all(struct get *g, const uint8_t id[16], struct time_range range, struct err *err)
{
    for (size_t i = 0; i < g->sources.n && !g->partial; i++) {
        struct span_source *s = &g->sources.v[i];
        uint32_t trace;
        if (s->head.t0_ns >= range.end_ns || MAX(s->head.t1_ns, s->head.s1_ns) < range.start_ns)
            continue;
        if (!span_source_find(&g->sources, s, id, &trace, err))
            return false;
        if (trace < s->head.n_traces && !source_get(g, s, trace, err))
            return false;
    }
    return true;
}

bool store_trace(struct snapshot *snap, const uint8_t trace_id[16], struct time_range range,
                 size_t max_bytes, struct arena *a, struct span_set *out, bool *partial,
                 struct err *err)
{
    struct get g = {.a = a, .max_bytes = max_bytes};
    if (!span_sources_open(snap, a->budget, &g.sources, err))
        return false;
    arena_init(&g.tmp, SIZE_MAX, a->budget);
    arena_init(&g.keep, SIZE_MAX, a->budget);
    hmap_init(&g.seen, &g.sources.arena);
    bool ok = get_all(&g, trace_id, range, err);
    if (ok) {
        if (g.spans.n > 0)
            qsort(g.spans.v, g.spans.n, sizeof(g.spans.v[0]), span_cmp);
        *out = (struct span_set){g.resources.v, g.scopes.v, g.spans.v,
                                 g.resources.n, g.scopes.n, g.spans.n};
        *partial = g.partial;
    }
    arena_deinit(&g.keep);
    arena_deinit(&g.tmp);
    span_sources_close(&g.sources);
    return ok || span_limit_named(a->budget, err);
}
