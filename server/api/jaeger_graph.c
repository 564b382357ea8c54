/* jaeger_graph.c - the operations of a service, and which service calls which, for the Jaeger API.
 *
 * Both read a few columns of many spans and keep what is distinct. Runs in the query lane. */
#include <stdlib.h>

#include "server/api/jaeger_priv.h"
#include "storage/base/hash.h"
#include "storage/base/hmap.h"

static str text_at(const struct span_column *c, size_t row)
{
    uint32_t code = c->code[row];
    return code != SPAN_NO_VALUE && c->dict[code].kind == VALUE_STR ? c->dict[code].s : (str){0};
}

static str service_at(const struct span_column *c, size_t row)
{
    str name = text_at(c, row);
    return name.n > 0 ? name : JAEGER_NO_SERVICE;
}

static bool open_iter(struct query *q, const struct span_select *sel, struct span_iter **it,
                      struct err *err)
{
    struct snapshot *snap;
    struct time_range range = {sel->start_ns, sel->end_ns};
    return query_snapshot(q, SIGNAL_TRACES, range, &snap, err) &&
           span_iter_open(snap, sel, &q->budget, it, err);
}

/* ---- operations ---- */

struct operations {
    struct query *q;
    str service;
    int kind;
    VEC(struct jaeger_operation) list;
    struct hmap map; // in the query's arena
    struct arena block_arena;
};

struct operation_key {
    const struct operations *s;
    struct jaeger_operation op;
};

static bool same_operation(const void *ctx, uint32_t index)
{
    const struct operation_key *key = ctx;
    const struct jaeger_operation *op = &key->s->list.v[index];
    return op->kind == key->op.kind && str_eq(op->name, key->op.name);
}

static void keep_operation(struct operations *s, str name, uint8_t kind)
{
    struct operation_key key = {s, {name, kind}};
    uint64_t hash = hash64(name) + kind;
    if (hmap_find(&s->map, hash, same_operation, &key) != HMAP_NONE)
        return;
    hmap_put(&s->map, hash, (uint32_t)s->list.n);
    key.op.name = arena_dup(&s->q->arena, name);
    vec_push(&s->list, &s->q->arena, key.op);
}

static bool visit_operations(struct operations *s, const struct span_block *b, struct err *err)
{
    const struct span_column *services = &b->columns[0], *names = &b->columns[1];
    arena_reset(&s->block_arena);
    /* Which kinds of each name of the dictionary are known: most rows end here. */
    uint8_t *seen = arena_zalloc(&s->block_arena, names->n_dict);
    for (size_t row = 0; row < b->n; row++) {
        if (!query_tick(s->q, err))
            return false;
        uint32_t code = names->code[row];
        uint8_t kind = b->kind[row] < JAEGER_KIND_COUNT ? b->kind[row] : SPAN_UNSPECIFIED;
        if (code == SPAN_NO_VALUE || (seen[code] & 1u << kind) ||
            (s->kind != JAEGER_KIND_ANY && s->kind != kind) ||
            !str_eq(service_at(services, row), s->service))
            continue;
        seen[code] = (uint8_t)(seen[code] | 1u << kind);
        keep_operation(s, text_at(names, row), kind);
    }
    return true;
}

static int compare_operations(const void *x, const void *y)
{
    const struct jaeger_operation *a = x, *b = y;
    int order = str_cmp(a->name, b->name);
    return order ? order : a->kind - b->kind;
}

bool jaeger_operations(struct query *q, str service, int kind, struct jaeger_operations *out,
                       struct err *err)
{
    struct span_column_ref columns[] = {{FIELD_ATTR, ATTR_RESOURCE, STR("service.name")},
                                        {FIELD_NAME, ATTR_SPAN, STR("")}};
    struct span_cond cond = {COND_COLUMN, columns[0], COND_EQ, {.kind = VALUE_STR}, NULL};
    cond.value.s = service;
    struct span_select sel = {
        .start_ns = JAEGER_ALL_TIME.start_ns,
        .end_ns = JAEGER_ALL_TIME.end_ns,
        .columns = columns,
        .n_columns = COUNTOF(columns),
        .conds = &cond,
        .n_conds = str_eq(service, JAEGER_NO_SERVICE) ? 0 : 1,
        .all_conds = true,
        .ticker = &q->ticker,
        .stats = &q->scan,
    };
    struct operations s = {.q = q, .service = service, .kind = kind};
    struct span_iter *it;
    struct span_block b;
    enum step step;
    if (!open_iter(q, &sel, &it, err))
        return false;
    hmap_init(&s.map, &q->arena);
    arena_init(&s.block_arena, q->limits.max_memory, &q->budget);
    while ((step = span_next(it, &b, err)) == STEP_ITEM)
        if (!visit_operations(&s, &b, err))
            break;
    span_iter_close(it);
    arena_deinit(&s.block_arena);
    if (s.list.n > 1)
        qsort(s.list.v, s.list.n, sizeof *s.list.v, compare_operations);
    *out = (struct jaeger_operations){s.list.v, s.list.n};
    return step == STEP_END;
}

/* ---- dependencies ---- */

struct graph {
    struct query *q;
    str service; // empty = all
    VEC(struct jaeger_edge) edges;
    struct hmap map; // in the query's arena
    struct arena trace_arena;
};

struct edge_key {
    const struct graph *g;
    str parent, child;
};

static bool same_edge(const void *ctx, uint32_t index)
{
    const struct edge_key *key = ctx;
    const struct jaeger_edge *e = &key->g->edges.v[index];
    return str_eq(e->parent, key->parent) && str_eq(e->child, key->child);
}

static void count_call(struct graph *g, str parent, str child)
{
    if (str_eq(parent, child))
        return;
    if (g->service.n > 0 && !str_eq(parent, g->service) && !str_eq(child, g->service))
        return;
    struct edge_key key = {g, parent, child};
    uint64_t hash = hash64(parent) * 31 + hash64(child);
    uint32_t at = hmap_find(&g->map, hash, same_edge, &key);
    if (at == HMAP_NONE) {
        struct arena *a = &g->q->arena;
        at = (uint32_t)g->edges.n;
        hmap_put(&g->map, hash, at);
        vec_push(&g->edges, a, (struct jaeger_edge){arena_dup(a, parent), arena_dup(a, child), 0});
    }
    g->edges.v[at].calls++;
}

struct span_key {
    const struct span_block *b;
    const uint8_t *id;
};

static bool same_span(const void *ctx, uint32_t row)
{
    const struct span_key *key = ctx;
    return memcmp(key->b->span_id[row], key->id, 8) == 0;
}

static uint64_t span_hash(const uint8_t *id)
{
    return hash64(str_of((const char *)id, 8));
}

static uint32_t find_span(const struct hmap *map, const struct span_block *b, const uint8_t *id)
{
    struct span_key key = {b, id};
    return hmap_find(map, span_hash(id), same_span, &key);
}

/* Zipkin's clients and servers share the id of a span: such a client is the server's parent, and
 * what names the id as its parent means the server. */
static void visit_trace(struct graph *g, const struct span_block *b, uint32_t first, uint32_t last)
{
    static const uint8_t none[8];
    const struct span_column *services = &b->columns[0];
    arena_reset(&g->trace_arena);
    struct hmap servers, clients;
    hmap_init(&servers, &g->trace_arena);
    hmap_init(&clients, &g->trace_arena);
    for (uint32_t row = first; row < last; row++) {
        struct hmap *map = b->kind[row] == SPAN_CLIENT ? &clients : &servers;
        if (find_span(map, b, b->span_id[row]) == HMAP_NONE)
            hmap_put(map, span_hash(b->span_id[row]), row);
    }
    for (uint32_t row = first; row < last; row++) {
        uint32_t parent = HMAP_NONE;
        if (b->kind[row] == SPAN_SERVER)
            parent = find_span(&clients, b, b->span_id[row]);
        if (parent == HMAP_NONE && memcmp(b->parent_id[row], none, 8) != 0) {
            parent = find_span(&servers, b, b->parent_id[row]);
            if (parent == HMAP_NONE)
                parent = find_span(&clients, b, b->parent_id[row]);
        }
        if (parent != HMAP_NONE)
            count_call(g, service_at(services, parent), service_at(services, row));
    }
}

static bool visit_traces(struct graph *g, const struct span_block *b, struct err *err)
{
    for (size_t i = 0; i < b->n_traces; i++) {
        if (!query_tick(g->q, err))
            return false;
        if (b->trace_start[i + 1] - b->trace_start[i] > 1)
            visit_trace(g, b, b->trace_start[i], b->trace_start[i + 1]);
        g->q->arena.over |= g->trace_arena.over; // so that query_tick sees it
    }
    return true;
}

static int compare_edges(const void *x, const void *y)
{
    const struct jaeger_edge *a = x, *b = y;
    int order = str_cmp(a->parent, b->parent);
    return order ? order : str_cmp(a->child, b->child);
}

bool jaeger_dependencies(struct query *q, struct time_range range, str service,
                         struct jaeger_edges *out, struct err *err)
{
    struct span_column_ref column = {FIELD_ATTR, ATTR_RESOURCE, STR("service.name")};
    struct span_select sel = {
        .start_ns = range.start_ns,
        .end_ns = range.end_ns,
        .columns = &column,
        .n_columns = 1,
        .whole_traces = true,
        .ticker = &q->ticker,
        .stats = &q->scan,
    };
    struct graph g = {.q = q, .service = service};
    struct span_iter *it;
    struct span_block b;
    enum step step;
    if (!open_iter(q, &sel, &it, err))
        return false;
    hmap_init(&g.map, &q->arena);
    arena_init(&g.trace_arena, q->limits.max_memory, &q->budget);
    while ((step = span_next(it, &b, err)) == STEP_ITEM)
        if (!visit_traces(&g, &b, err))
            break;
    span_iter_close(it);
    arena_deinit(&g.trace_arena);
    if (g.edges.n > 1)
        qsort(g.edges.v, g.edges.n, sizeof *g.edges.v, compare_edges);
    *out = (struct jaeger_edges){g.edges.v, g.edges.n};
    return step == STEP_END;
}
