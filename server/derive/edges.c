/* edges.c - see edges.h. All halves wait equally long, so the order of arrival is that of expiry: a
 * list through the slots. */
#include "server/derive/edges.h"

#include "storage/base/hash.h"

#define EDGE_NONE UINT32_MAX

void edges_init(struct edges *e, size_t max, int64_t wait_ns, struct budget *budget)
{
    *e = (struct edges){.max = MIN(max, (size_t)EDGE_NONE - 1),
                        .wait_ns = wait_ns,
                        .budget = budget,
                        .first = EDGE_NONE,
                        .last = EDGE_NONE};
}

static size_t text_bytes(const struct edge_half *h)
{
    return h->service.n + h->peer.n + h->dims.n;
}

/* A slot and its places in the other tables, twice as they double. Once there, it stays. */
#define SLOT_BYTES (2 * (sizeof(struct edge) + 2 * sizeof(uint32_t) + sizeof(uint64_t)))

void edge_close(struct edges *e, struct edge *edge)
{
    if (e->budget)
        budget_give(e->budget, text_bytes(&edge->half));
    mem_free(edge->text);
    edge->text = NULL;
}

void edges_deinit(struct edges *e)
{
    for (uint32_t i = e->first; i != EDGE_NONE; i = e->slots.v[i].after)
        edge_close(e, &e->slots.v[i]);
    if (e->budget)
        budget_give(e->budget, e->slots.n * SLOT_BYTES);
    vec_free(&e->slots);
    vec_free(&e->spare);
    hmap_deinit(&e->map);
    e->n = 0;
    e->first = e->last = EDGE_NONE;
}

/* ---- places ---- */

struct want {
    const struct edges *edges;
    const struct edge_key *key;
};

static bool key_is(const void *ctx, uint32_t index)
{
    const struct want *w = ctx;
    return memcmp(&w->edges->slots.v[index].key, w->key, sizeof *w->key) == 0;
}

static uint64_t key_hash(const struct edge_key *key)
{
    uint64_t id[3];
    memcpy(id, key->trace_id, sizeof key->trace_id);
    memcpy(id + 2, key->span_id, sizeof key->span_id);
    return hash_mix(hash_mix(hash_mix(key->tenant, id[0]), id[1]), id[2]);
}

/* Of one that is not in the map any more. */
static void unlink_edge(struct edges *e, uint32_t index)
{
    struct edge *x = &e->slots.v[index];
    *(x->before != EDGE_NONE ? &e->slots.v[x->before].after : &e->first) = x->after;
    *(x->after != EDGE_NONE ? &e->slots.v[x->after].before : &e->last) = x->before;
    vec_push(&e->spare, NULL, index);
    e->n--;
}

static void take_edge(struct edges *e, uint32_t index)
{
    struct edge *x = &e->slots.v[index];
    struct want want = {e, &x->key};
    (void)hmap_del(&e->map, key_hash(&x->key), key_is, &want);
    unlink_edge(e, index);
}

static str keep(char **at, str s)
{
    char *p = *at;
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    *at += s.n;
    return str_of(p, s.n);
}

/* The oldest make room: they have had the longest time to be met, while most requests are met
 * within one batch. */
static bool make_room(struct edges *e, const struct edge_half *half)
{
    while (e->n >= e->max ||
           !budget_take(e->budget, text_bytes(half) + (e->spare.n == 0 ? SLOT_BYTES : 0))) {
        if (e->first == EDGE_NONE)
            return false;
        struct edge oldest = e->slots.v[e->first];
        take_edge(e, e->first);
        edge_close(e, &oldest);
        e->n_dropped++;
    }
    return true;
}

static void wait_for_other(struct edges *e, const struct edge_key *key,
                           const struct edge_half *half, int64_t mono_ns)
{
    if (!make_room(e, half)) {
        e->n_dropped++;
        return;
    }
    uint32_t index = (uint32_t)e->slots.n;
    if (e->spare.n > 0)
        index = e->spare.v[--e->spare.n];
    else
        vec_push(&e->slots, NULL, (struct edge){.after = EDGE_NONE});
    struct edge *x = &e->slots.v[index];
    *x = (struct edge){.key = *key,
                       .half = *half,
                       .text = mem_alloc(text_bytes(half)),
                       .expires_ns = mono_ns + e->wait_ns,
                       .before = e->last,
                       .after = EDGE_NONE};
    char *at = x->text;
    x->half.service = keep(&at, half->service);
    x->half.peer = keep(&at, half->peer);
    x->half.dims = keep(&at, half->dims);
    *(e->last != EDGE_NONE ? &e->slots.v[e->last].after : &e->first) = index;
    e->last = index;
    hmap_put(&e->map, key_hash(key), index);
    e->n++;
}

/* ---- edges.h ---- */

bool edges_meet(struct edges *e, const struct edge_key *key, const struct edge_half *half,
                int64_t mono_ns, struct edge *out)
{
    struct want want = {e, key};
    uint32_t index = hmap_take(&e->map, key_hash(key), key_is, &want);
    if (index != HMAP_NONE) {
        struct edge there = e->slots.v[index];
        unlink_edge(e, index);
        if (there.half.side != half->side) {
            *out = there;
            return true;
        }
        edge_close(e, &there);
    }
    wait_for_other(e, key, half, mono_ns);
    return false;
}

bool edges_expired(struct edges *e, int64_t mono_ns, struct edge *out)
{
    if (e->first == EDGE_NONE || e->slots.v[e->first].expires_ns > mono_ns)
        return false;
    *out = e->slots.v[e->first];
    take_edge(e, e->first);
    return true;
}
