/* span_source.c - the list of places with spans, and which of them know a trace id.
 *
 * For sources in memory one table over all ids is made when it is first needed (thousands of small
 * lists, searched for many ids); a segment's block is asked through its filter, which is wrong once
 * in 65,536 times, and then by its sorted ids. */
#include "storage/engine/span_source.h"

#include <stdlib.h>

#include "storage/base/hash.h"

bool span_limit_named(const struct budget *b, struct err *err)
{
    const char *name = budget_tightest_name(b, "query memory");
    if (err->code == ERR_LIMIT && !strstr(err->text, name))
        (void)err_in(err, "%s is used up", name);
    return false;
}

bool span_arena_room(const struct arena *a, size_t n, struct err *err)
{
    if (arena_room(a, n))
        return true;
    (void)err_set(err, ERR_LIMIT,
                  "a selection of traces needs more memory: ask for less, or raise the limit");
    return span_limit_named(a->budget, err);
}

bool span_arena_ok(const struct arena *a, struct err *err)
{
    return !a->over || span_arena_room(a, 0, err);
}

static int source_cmp(const void *x, const void *y)
{
    const struct span_source *a = x, *b = y;
    return (a->head.s1_ns < b->head.s1_ns) - (a->head.s1_ns > b->head.s1_ns);
}

bool span_sources_open(struct snapshot *snap, struct budget *budget, struct span_sources *out,
                       struct err *err)
{
    struct span_sources s = {.segs = snap->segs};
    VEC(struct span_source) list = {0};
    bool ok = true;
    arena_init(&s.arena, SIZE_MAX, budget);
    for (size_t i = 0; i < snap->n_gens; i++) {
        struct span_chunk **chunks;
        size_t n = gen_traces_chunks(snap->gens[i], &s.arena, &chunks);
        for (size_t k = 0; k < n; k++)
            vec_push(&list, &s.arena,
                     (struct span_source){
                         .head = chunks[k]->head, .chunk = chunks[k], .ids = chunks[k]->trace_ids});
    }
    s.pins = arena_array(&s.arena, struct traces_blocks *, snap->n_segs);
    for (size_t i = 0; ok && i < snap->n_segs; i++) {
        ok = segment_traces_pin(snap->segs[i], &s.pins[i], err);
        if (!ok)
            break;
        s.n_segs++;
        for (size_t k = 0; k < s.pins[i]->n; k++)
            vec_push(&list, &s.arena,
                     (struct span_source){.head = s.pins[i]->v[k].block.head,
                                          .from = &s.pins[i]->v[k],
                                          .seg = snap->segs[i]});
    }
    s.v = list.v;
    s.n = list.n;
    if (s.n > 0)
        qsort(s.v, s.n, sizeof(s.v[0]), source_cmp);
    *out = s;
    if (ok && span_arena_ok(&s.arena, err))
        return true;
    span_sources_close(out);
    return false;
}

void span_sources_close(struct span_sources *s)
{
    for (size_t i = 0; i < s->n; i++)
        span_chunk_unref(s->v[i].chunk);
    for (size_t i = 0; i < s->n_segs; i++)
        segment_traces_unpin(s->segs[i], s->pins[i]);
    s->n = s->n_segs = 0;
    arena_deinit(&s->arena);
}

bool span_source_open(const struct span_source *s, struct arena *keep, struct span_open *out,
                      struct err *err)
{
    if (s->chunk)
        return span_chunk_open(s->chunk->bytes, keep, &out->columns, err);
    traces_reader_init(&out->reader, s->seg, s->from, keep);
    out->columns = out->reader.block;
    return true;
}

bool span_source_ids(struct span_sources *all, struct span_source *s, struct err *err)
{
    struct span_open open;
    if (s->ids)
        return true;
    return span_source_open(s, &all->arena, &open, err) &&
           span_block_trace_ids(&open.columns, &all->arena, &s->ids, err) &&
           span_arena_ok(&all->arena, err);
}

bool span_source_find(struct span_sources *all, struct span_source *s, const uint8_t id[16],
                      uint32_t *trace, struct err *err)
{
    *trace = s->head.n_traces;
    if (!s->chunk && !traces_block_may_have(s->from, id))
        return true;
    if (!span_source_ids(all, s, err))
        return false;
    *trace = span_traces_find(s->ids, s->head.n_traces, id);
    return true;
}

/* ---- ids of sources in memory ---- */

static uint64_t id_hash(const uint8_t id[16])
{
    uint64_t v[2];
    memcpy(v, id, 16);
    return hash_mix(v[0], v[1]);
}

static bool chunk_map(struct span_sources *all, struct err *err)
{
    size_t traces = 0, cap = 64;
    for (size_t i = 0; i < all->n; i++)
        traces += all->v[i].chunk ? all->v[i].head.n_traces : 0;
    while (cap < traces * 2)
        cap *= 2;
    if (!arena_room(&all->arena, cap * sizeof(all->slot[0])))
        all->arena.over = true;
    if (!span_arena_ok(&all->arena, err))
        return false;
    all->slot = arena_zalloc(&all->arena, cap * sizeof(all->slot[0]));
    all->slot_mask = cap - 1;
    for (uint32_t i = 0; i < all->n; i++) {
        if (!all->v[i].chunk)
            continue;
        for (uint32_t t = 0; t < all->v[i].head.n_traces; t++) {
            size_t k = id_hash(all->v[i].ids[t]) & all->slot_mask;
            while (all->slot[k].source)
                k = (k + 1) & all->slot_mask;
            all->slot[k] = (struct chunk_entry){i + 1, t};
        }
    }
    return true;
}

bool span_sources_memory(struct span_sources *all, const uint8_t id[16], size_t but,
                         struct span_place *out, size_t cap, size_t *n, struct err *err)
{
    size_t found = 0;
    if (!all->slot && !chunk_map(all, err))
        return false;
    for (size_t k = id_hash(id) & all->slot_mask; all->slot[k].source;
         k = (k + 1) & all->slot_mask) {
        uint32_t source = all->slot[k].source - 1, trace = all->slot[k].trace;
        if (source == but || memcmp(all->v[source].ids[trace], id, 16) != 0)
            continue;
        if (found == cap)
            return err_set(err, ERR_LIMIT, "one trace lies in more than %zu unsealed batches", cap);
        out[found++] = (struct span_place){source, trace};
    }
    *n = found;
    return true;
}
