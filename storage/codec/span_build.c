/* span_build.c - rows to columns.
 *
 * The cost is hashing: of values into the dictionaries of their columns, and of keys. Keys go
 * through a trie per table: a node is the list of keys so far, its last child is remembered, and
 * since most spans have the shape of one before, a step is one comparison. The leaf is the shape.
 * Spans whose keys have a number (struct span's `shape`) go through it once for each number.
 */
#include "storage/codec/span_build.h"

#include <stdlib.h>

#include "storage/base/hmap.h"
#include "storage/codec/span_write.h"
#include "storage/codec/str_dict.h"

#define NONE UINT32_MAX // also HMAP_NONE

struct sort_key {
    uint64_t hi, lo; // trace id, big-endian
    int64_t start_ns;
    uint64_t span_id;
    uint32_t index;
};

/* Values of one key. */
struct key_col {
    VEC(int64_t) ints; // INT, BOOL, EMPTY
    VEC(double) doubles;
    VEC(uint32_t) codes; // others
    struct str_dict dict;
};

struct node {
    uint32_t parent, key; // key NONE at the root
    uint32_t depth;
    uint32_t child_key, child; // the step that was taken last
    uint32_t shape;            // NONE until a row ends here
};

struct edge { // node x key -> node
    uint32_t from, key, to;
};

struct known_shape {      // of spans with this number
    const uint32_t *keys; // columns of the values in their order; NULL: not seen yet
    uint32_t code;
};

struct dict_col {
    uint32_t *code;
    struct str_dict dict;
};

struct build {
    struct arena *a;
    const struct span_set *set;
    struct buf tmp; // nested values
    VEC(struct span_key) keys;
    VEC(struct key_col) values; // by key
    struct hmap key_map;
    VEC(struct node) nodes; // the first three are the roots
    VEC(struct edge) edges;
    struct hmap edge_map;
    VEC(uint32_t) leaf[SPAN_TABLE_COUNT]; // shape -> node
    VEC(struct known_shape) known;        // by the number of the keys
    bool full;                            // too many keys
};

/* ---- keys and shapes ---- */

static bool key_eq(const void *ctx, uint32_t index)
{
    const struct span_key *const *pair = ctx; // the key looked for, the array
    const struct span_key *k = pair[0], *have = &pair[1][index];
    return have->table == k->table && have->kind == k->kind && str_eq(have->name, k->name);
}

static uint64_t key_hash(const struct span_key *key)
{
    return hash64_seed(key->name, (uint64_t)key->table << 8 | (uint64_t)key->kind);
}

static uint32_t key_find(const struct build *b, const struct span_key *key)
{
    const struct span_key *pair[2] = {key, b->keys.v};
    return hmap_find(&b->key_map, key_hash(key), key_eq, pair);
}

static uint32_t key_add(struct build *b, const struct span_key *key)
{
    if (b->keys.n == SPAN_BLOCK_KEYS_MAX) {
        b->full = true;
        return NONE;
    }
    hmap_put(&b->key_map, key_hash(key), (uint32_t)b->keys.n);
    vec_push(&b->keys, b->a, *key);
    vec_push(&b->values, b->a, (struct key_col){0});
    return (uint32_t)b->keys.n - 1;
}

static bool edge_eq(const void *ctx, uint32_t index)
{
    const struct edge *const *pair = ctx;
    return pair[1][index].from == pair[0]->from && pair[1][index].key == pair[0]->key;
}

/* Is the name among the keys from the root to this node? */
static bool node_has_name(const struct build *b, uint32_t node, str name)
{
    for (; b->nodes.v[node].key != NONE; node = b->nodes.v[node].parent)
        if (str_eq(b->keys.v[b->nodes.v[node].key].name, name))
            return true;
    return false;
}

static uint32_t edge_find(const struct build *b, uint32_t node, uint32_t key)
{
    struct edge edge = {node, key, NONE};
    const struct edge *pair[2] = {&edge, b->edges.v};
    return key == NONE ? NONE : hmap_find(&b->edge_map, hash_mix(node, key), edge_eq, pair);
}

/* A new node behind `node`. */
static uint32_t edge_add(struct build *b, uint32_t node, uint32_t key)
{
    struct node child = {node, key, b->nodes.v[node].depth + 1, NONE, NONE, NONE};
    struct edge edge = {node, key, (uint32_t)b->nodes.n};
    vec_push(&b->nodes, b->a, child);
    hmap_put(&b->edge_map, hash_mix(node, key), (uint32_t)b->edges.n);
    vec_push(&b->edges, b->a, edge);
    return (uint32_t)b->edges.n - 1;
}

/* The node behind `node` by this attribute; `node` itself when its name was there before. */
static uint32_t step_slow(struct build *b, enum span_table table, uint32_t node,
                          const struct attr *attr)
{
    struct span_key want = {table, attr->value.kind, attr->key};
    uint32_t key = key_find(b, &want), edge = edge_find(b, node, key);
    if (edge == NONE) {
        if (node_has_name(b, node, attr->key))
            return node;
        if (key == NONE)
            key = key_add(b, &want);
        if (key == NONE)
            return node; // the block is full
        edge = edge_add(b, node, key);
    }
    b->nodes.v[node].child_key = key;
    b->nodes.v[node].child = b->edges.v[edge].to;
    return b->edges.v[edge].to;
}

static uint32_t step(struct build *b, enum span_table table, uint32_t node, const struct attr *attr)
{
    const struct node *n = &b->nodes.v[node];
    if (LIKELY(n->child != NONE)) {
        const struct span_key *k = &b->keys.v[n->child_key];
        if (LIKELY(k->kind == attr->value.kind && str_eq_short(k->name, attr->key)))
            return n->child;
    }
    return step_slow(b, table, node, attr);
}

static void value_add(struct build *b, uint32_t key, const struct value *v)
{
    struct key_col *c = &b->values.v[key];
    str s = v->s;
    bool nested = false, fresh;
    switch (v->kind) {
    case VALUE_EMPTY:
        vec_push(&c->ints, b->a, 0);
        return;
    case VALUE_BOOL:
        vec_push(&c->ints, b->a, v->b);
        return;
    case VALUE_INT:
        vec_push(&c->ints, b->a, v->i);
        return;
    case VALUE_DOUBLE:
        vec_push(&c->doubles, b->a, v->d);
        return;
    case VALUE_STR:
    case VALUE_BYTES:
        break;
    case VALUE_LIST:
    case VALUE_MAP:
        buf_clear(&b->tmp);
        value_encode(&b->tmp, v);
        s = buf_str(&b->tmp);
        nested = true;
        break;
    }
    uint32_t code = str_dict_add(&c->dict, b->a, s, &fresh);
    if (fresh && nested)
        c->dict.v[code] = arena_dup(b->a, s);
    vec_push(&c->codes, b->a, code);
}

/* Takes all attributes of a row; returns its shape. *dropped grows by repeated keys. */
static uint32_t attrs_add(struct build *b, enum span_table table, struct attrs attrs,
                          int64_t *dropped)
{
    uint32_t node = (uint32_t)table;
    for (size_t i = 0; i < attrs.n; i++) {
        uint32_t next = step(b, table, node, &attrs.v[i]);
        if (next == node) {
            *dropped += *dropped < UINT32_MAX; // it is 32 bits in the model
            continue;
        }
        node = next;
        value_add(b, b->nodes.v[node].key, &attrs.v[i].value);
    }
    struct node *n = &b->nodes.v[node];
    if (n->shape == NONE) {
        n->shape = (uint32_t)b->leaf[table].n;
        vec_push(&b->leaf[table], b->a, node);
    }
    return n->shape;
}

/* Columns of the keys from the root to a leaf. */
static uint32_t *node_keys(const struct build *b, uint32_t node)
{
    uint32_t depth = b->nodes.v[node].depth;
    uint32_t *keys = arena_array(b->a, uint32_t, depth);
    for (uint32_t k = depth; k-- > 0; node = b->nodes.v[node].parent)
        keys[k] = b->nodes.v[node].key;
    return keys;
}

/* attrs_add of a span whose keys have a number. */
static uint32_t known_attrs_add(struct build *b, const struct span *s, int64_t *dropped)
{
    while (b->known.n <= s->shape)
        vec_push(&b->known, b->a, (struct known_shape){NULL, NONE});
    const struct known_shape *known = &b->known.v[s->shape];
    if (LIKELY(known->keys != NULL)) {
        for (size_t i = 0; i < s->attrs.n; i++)
            value_add(b, known->keys[i], &s->attrs.v[i].value);
        return known->code;
    }
    uint32_t code = attrs_add(b, TABLE_SPAN, s->attrs, dropped), leaf = b->leaf[TABLE_SPAN].v[code];
    if (b->nodes.v[leaf].depth == s->attrs.n) // each has a column of its own
        b->known.v[s->shape] = (struct known_shape){node_keys(b, leaf), code};
    return code;
}

/* ---- rows ---- */

static uint64_t be64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return __builtin_bswap64(v);
}

static bool key_less(const struct sort_key *a, const struct sort_key *b)
{
    if (a->hi != b->hi)
        return a->hi < b->hi;
    if (a->lo != b->lo)
        return a->lo < b->lo;
    if (a->start_ns != b->start_ns)
        return a->start_ns < b->start_ns;
    return a->span_id != b->span_id ? a->span_id < b->span_id : a->index < b->index;
}

#define SORT_RUN 8 // keys that are sorted by insertion

static void run_sort(struct sort_key *k, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        struct sort_key key = k[i];
        size_t at = i;
        for (; at > 0 && key_less(&key, &k[at - 1]); at--)
            k[at] = k[at - 1];
        k[at] = key;
    }
}

static void runs_merge(const struct sort_key *a, size_t n_a, const struct sort_key *b, size_t n_b,
                       struct sort_key *out)
{
    size_t i = 0, j = 0;
    while (i < n_a && j < n_b)
        *out++ = key_less(&b[j], &a[i]) ? b[j++] : a[i++];
    memcpy(out, a + i, (n_a - i) * sizeof(*a));
    memcpy(out + (n_a - i), b + j, (n_b - j) * sizeof(*b));
}

/* Merge sort: qsort asks a function for each comparison, and there are ten for each span. The
 * result lies in k or in another array of the arena. */
static struct sort_key *keys_sort(struct sort_key *k, size_t n, struct arena *a)
{
    size_t ordered = 1;
    while (ordered < n && !key_less(&k[ordered], &k[ordered - 1]))
        ordered++;
    if (ordered >= n)
        return k;
    for (size_t lo = 0; lo < n; lo += SORT_RUN)
        run_sort(k + lo, MIN(n - lo, (size_t)SORT_RUN));
    struct sort_key *to = arena_array(a, struct sort_key, n);
    for (size_t width = SORT_RUN; width < n; width *= 2) {
        for (size_t lo = 0; lo < n; lo += 2 * width) {
            size_t n_a = MIN(width, n - lo), n_b = MIN(width, n - lo - n_a);
            runs_merge(k + lo, n_a, k + lo + n_a, n_b, to + lo);
        }
        struct sort_key *sorted = to;
        to = k;
        k = sorted;
    }
    return k;
}

static bool same_trace(const struct sort_key *a, const struct sort_key *b)
{
    return a->hi == b->hi && a->lo == b->lo;
}

struct seen {
    const struct span_set *set;
    const struct sort_key *keys;
    const struct span *span;
};

static bool seen_eq(const void *ctx, uint32_t index)
{
    const struct seen *s = ctx;
    const struct span *have = &s->set->spans[s->keys[index].index];
    return have->kind == s->span->kind && memcmp(have->span_id, s->span->span_id, 8) == 0;
}

/* Takes spans with equal (id, kind) out of the sorted trace [lo, hi), which moves to `to`. */
static size_t trace_dedup(const struct span_set *set, struct sort_key *k, size_t lo, size_t hi,
                          size_t to, struct arena *a)
{
    struct hmap map;
    bool big = hi - lo > 32;
    struct arena_mark mark = arena_mark(a);
    hmap_init(&map, a);
    size_t first = to;
    for (size_t i = lo; i < hi; i++) {
        const struct span *s = &set->spans[k[i].index];
        bool dup = false;
        struct seen seen = {set, k, s};
        uint64_t hash = hash_mix(k[i].span_id, s->kind);
        if (big)
            dup = hmap_find(&map, hash, seen_eq, &seen) != HMAP_NONE;
        for (size_t j = first; !big && j < to && !dup; j++)
            dup = k[j].span_id == k[i].span_id && set->spans[k[j].index].kind == s->kind;
        if (dup)
            continue;
        k[to] = k[i];
        if (big)
            hmap_put(&map, hash, (uint32_t)to);
        to++;
    }
    arena_release(a, mark);
    return to;
}

static struct sort_key *sorted(const struct span_set *set, struct arena *a, size_t *n)
{
    struct sort_key *k = arena_array(a, struct sort_key, set->n_spans);
    for (size_t i = 0; i < set->n_spans; i++) {
        const struct span *s = &set->spans[i];
        k[i] = (struct sort_key){be64(s->trace_id), be64(s->trace_id + 8), s->start_ns,
                                 be64(s->span_id), (uint32_t)i};
    }
    k = keys_sort(k, set->n_spans, a);
    size_t to = 0;
    for (size_t lo = 0, hi; lo < set->n_spans; lo = hi) {
        for (hi = lo + 1; hi < set->n_spans && same_trace(&k[lo], &k[hi]);)
            hi++;
        to = trace_dedup(set, k, lo, hi, to, a);
    }
    *n = to;
    return k;
}

/* Columns of the rows that are being built. */
struct rows {
    const struct span **span; // sorted
    uint32_t n, n_events, n_links;
    struct span_core core;
    struct dict_col name, state, message, event_name, link_state;
    uint32_t *resource, *scope, *shape, *event_shape, *link_shape;
    const struct resource **resources;
    const struct scope **scopes;
    uint32_t n_resources, n_scopes;
    int64_t *flags, *dropped_attrs, *dropped_events, *dropped_links, *events, *links;
    int64_t *event_time, *event_dropped, *link_dropped, *link_flags;
    uint8_t (*link_trace)[16], (*link_span)[8];
};

static void rows_core(struct rows *r, struct arena *a)
{
    uint32_t n = r->n, traces = 0;
    uint8_t(*tid)[16] = arena_alloc_array(a, n, 16), (*sid)[8] = arena_alloc_array(a, n, 8),
    (*pid)[8] = arena_alloc_array(a, n, 8), *kind = arena_alloc(a, n), *status = arena_alloc(a, n);
    int64_t *start = arena_array(a, int64_t, n), *duration = arena_array(a, int64_t, n);
    uint32_t *row = arena_array(a, uint32_t, (size_t)n + 1);
    for (uint32_t i = 0; i < n; i++) {
        const struct span *s = r->span[i];
        if (traces == 0 || memcmp(tid[traces - 1], s->trace_id, 16) != 0) {
            memcpy(tid[traces], s->trace_id, 16);
            row[traces++] = i;
        }
        memcpy(sid[i], s->span_id, 8);
        memcpy(pid[i], s->parent_id, 8);
        start[i] = s->start_ns;
        duration[i] = (int64_t)((uint64_t)s->end_ns - (uint64_t)s->start_ns);
        kind[i] = s->kind;
        status[i] = s->status;
    }
    row[traces] = n;
    r->core = (struct span_core){.traces = {(const uint8_t(*)[16])tid, row, traces},
                                 .span_id = (const uint8_t(*)[8])sid,
                                 .parent_id = (const uint8_t(*)[8])pid,
                                 .start_ns = start,
                                 .duration_ns = duration,
                                 .kind = kind,
                                 .status = status};
}

static void dict_add(struct build *b, struct dict_col *c, uint32_t row, str s)
{
    bool same = row > 0 && str_eq_short(c->dict.v[c->code[row - 1]], s);
    c->code[row] = same ? c->code[row - 1] : str_dict_add(&c->dict, b->a, s, NULL);
}

static void rows_alloc(struct rows *r, struct arena *a)
{
    uint32_t **u32[] = {&r->resource,  &r->scope,      &r->shape,
                        &r->name.code, &r->state.code, &r->message.code};
    for (size_t i = 0; i < COUNTOF(u32); i++)
        *u32[i] = arena_array(a, uint32_t, r->n);
    int64_t **i64[] = {&r->flags,         &r->dropped_attrs, &r->dropped_events,
                       &r->dropped_links, &r->events,        &r->links};
    for (size_t i = 0; i < COUNTOF(i64); i++)
        *i64[i] = arena_array(a, int64_t, r->n);
    r->event_shape = arena_array(a, uint32_t, r->n_events);
    r->event_name.code = arena_array(a, uint32_t, r->n_events);
    r->event_time = arena_array(a, int64_t, r->n_events);
    r->event_dropped = arena_array(a, int64_t, r->n_events);
    r->link_shape = arena_array(a, uint32_t, r->n_links);
    r->link_state.code = arena_array(a, uint32_t, r->n_links);
    r->link_dropped = arena_array(a, int64_t, r->n_links);
    r->link_flags = arena_array(a, int64_t, r->n_links);
    r->link_trace = arena_alloc_array(a, r->n_links, 16);
    r->link_span = arena_alloc_array(a, r->n_links, 8);
}

static void rows_children(struct build *b, struct rows *r, const struct span *s, uint32_t *event,
                          uint32_t *link)
{
    for (uint32_t i = 0; i < s->n_events; i++) {
        const struct span_event *e = &s->events[i];
        uint32_t k = (*event)++;
        r->event_time[k] = (int64_t)((uint64_t)e->time_ns - (uint64_t)s->start_ns);
        r->event_dropped[k] = e->dropped_attrs;
        dict_add(b, &r->event_name, k, e->name);
        r->event_shape[k] = attrs_add(b, TABLE_EVENT, e->attrs, &r->event_dropped[k]);
    }
    for (uint32_t i = 0; i < s->n_links; i++) {
        const struct span_link *l = &s->links[i];
        uint32_t k = (*link)++;
        memcpy(r->link_trace[k], l->trace_id, 16);
        memcpy(r->link_span[k], l->span_id, 8);
        r->link_dropped[k] = l->dropped_attrs;
        r->link_flags[k] = l->flags;
        dict_add(b, &r->link_state, k, l->trace_state);
        r->link_shape[k] = attrs_add(b, TABLE_LINK, l->attrs, &r->link_dropped[k]);
    }
}

/* Dense number of an item of the set among those that the rows use. */
static uint32_t used(uint32_t *map, uint32_t item, uint32_t *n)
{
    if (map[item] == NONE)
        map[item] = (*n)++;
    return map[item];
}

static void rows_fill(struct build *b, struct rows *r)
{
    struct arena *a = b->a;
    rows_core(r, a);
    rows_alloc(r, a);
    uint32_t *res_map = arena_array(a, uint32_t, b->set->n_resources);
    uint32_t *scope_map = arena_array(a, uint32_t, b->set->n_scopes);
    memset(res_map, 0xFF, b->set->n_resources * sizeof(*res_map));
    memset(scope_map, 0xFF, b->set->n_scopes * sizeof(*scope_map));
    uint32_t event = 0, link = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        const struct span *s = r->span[i];
        ASSERT(s->resource < b->set->n_resources && s->scope < b->set->n_scopes);
        r->resource[i] = used(res_map, s->resource, &r->n_resources);
        r->scope[i] = used(scope_map, s->scope, &r->n_scopes);
        dict_add(b, &r->name, i, s->name);
        dict_add(b, &r->state, i, s->trace_state);
        dict_add(b, &r->message, i, s->status_message);
        r->flags[i] = s->flags;
        r->dropped_attrs[i] = s->dropped_attrs;
        r->dropped_events[i] = s->dropped_events;
        r->dropped_links[i] = s->dropped_links;
        r->events[i] = s->n_events;
        r->links[i] = s->n_links;
        r->shape[i] = s->shape > 0 ? known_attrs_add(b, s, &r->dropped_attrs[i])
                                   : attrs_add(b, TABLE_SPAN, s->attrs, &r->dropped_attrs[i]);
        rows_children(b, r, s, &event, &link);
    }
    r->resources = arena_array(a, const struct resource *, r->n_resources);
    r->scopes = arena_array(a, const struct scope *, r->n_scopes);
    for (size_t i = 0; i < b->set->n_resources; i++)
        if (res_map[i] != NONE)
            r->resources[res_map[i]] = &b->set->resources[i];
    for (size_t i = 0; i < b->set->n_scopes; i++)
        if (scope_map[i] != NONE)
            r->scopes[scope_map[i]] = &b->set->scopes[i];
}

/* ---- writing ---- */

static void shapes_list(const struct build *b, struct span_shapes out[SPAN_TABLE_COUNT])
{
    for (enum span_table t = TABLE_SPAN; t < SPAN_TABLE_COUNT; t++) {
        size_t n = b->leaf[t].n;
        struct span_shape *v = arena_array(b->a, struct span_shape, n);
        for (size_t i = 0; i < n; i++) {
            uint32_t node = b->leaf[t].v[i];
            v[i] = (struct span_shape){node_keys(b, node), b->nodes.v[node].depth};
        }
        out[t] = (struct span_shapes){.v = v, .n = (uint32_t)n};
    }
}

static bool write_dict(struct span_writer *w, uint32_t id, const struct dict_col *c, uint32_t n,
                       struct err *err)
{
    return span_write_dict(w, id, c->code, n, c->dict.v, c->dict.n, err);
}

static bool write_spans(struct build *b, struct rows *r, struct span_writer *w, struct err *err)
{
    uint32_t n = r->n;
    struct span_shapes shapes[SPAN_TABLE_COUNT];
    shapes_list(b, shapes);
    return write_dict(w, SPAN_COL_NAME, &r->name, n, err) &&
           write_dict(w, SPAN_COL_STATE, &r->state, n, err) &&
           write_dict(w, SPAN_COL_MESSAGE, &r->message, n, err) &&
           span_write_codes(w, SPAN_COL_RESOURCE, r->resource, n, r->n_resources, err) &&
           span_write_codes(w, SPAN_COL_SCOPE, r->scope, n, r->n_scopes, err) &&
           span_write_codes(w, SPAN_COL_SHAPE, r->shape, n, shapes[TABLE_SPAN].n, err) &&
           span_write_ints(w, SPAN_COL_FLAGS, r->flags, n, err) &&
           span_write_ints(w, SPAN_COL_DROPPED_ATTRS, r->dropped_attrs, n, err) &&
           span_write_ints(w, SPAN_COL_DROPPED_EVENTS, r->dropped_events, n, err) &&
           span_write_ints(w, SPAN_COL_DROPPED_LINKS, r->dropped_links, n, err) &&
           span_write_ints(w, SPAN_COL_EVENTS, r->events, n, err) &&
           span_write_ints(w, SPAN_COL_LINKS, r->links, n, err) &&
           span_write_resources(w, r->resources, r->n_resources, err) &&
           span_write_scopes(w, r->scopes, r->n_scopes, err) && span_write_shapes(w, shapes, err);
}

static bool write_children(struct build *b, struct rows *r, struct span_writer *w, struct err *err)
{
    uint32_t events = r->n_events, links = r->n_links;
    return span_write_ints(w, SPAN_COL_EVENT_TIME, r->event_time, events, err) &&
           write_dict(w, SPAN_COL_EVENT_NAME, &r->event_name, events, err) &&
           span_write_ints(w, SPAN_COL_EVENT_DROPPED, r->event_dropped, events, err) &&
           span_write_codes(w, SPAN_COL_EVENT_SHAPE, r->event_shape, events,
                            (uint32_t)b->leaf[TABLE_EVENT].n, err) &&
           span_write_fixed(w, SPAN_COL_LINK_TRACE, r->link_trace, (size_t)links * 16, err) &&
           span_write_fixed(w, SPAN_COL_LINK_SPAN, r->link_span, (size_t)links * 8, err) &&
           write_dict(w, SPAN_COL_LINK_STATE, &r->link_state, links, err) &&
           span_write_ints(w, SPAN_COL_LINK_DROPPED, r->link_dropped, links, err) &&
           span_write_ints(w, SPAN_COL_LINK_FLAGS, r->link_flags, links, err) &&
           span_write_codes(w, SPAN_COL_LINK_SHAPE, r->link_shape, links,
                            (uint32_t)b->leaf[TABLE_LINK].n, err);
}

static bool write_values(struct build *b, struct span_writer *w, struct err *err)
{
    for (uint32_t k = 0; k < b->keys.n; k++) {
        struct key_col *c = &b->values.v[k];
        uint32_t id = SPAN_COL_ATTR + k;
        if (!span_write_ints(w, id, c->ints.v, c->ints.n, err) ||
            !span_write_doubles(w, id, c->doubles.v, c->doubles.n, err) ||
            !span_write_dict(w, id, c->codes.v, c->codes.n, c->dict.v, c->dict.n, err))
            return false;
    }
    return true;
}

/* Chunks that are made, one behind the other. */
struct chunks {
    struct arena *a;
    str bytes;
    size_t max;
};

/* Room for n more bytes; what is there moves, for nearly all sets are one chunk. */
static char *chunks_room(struct chunks *c, size_t n, struct err *err)
{
    if (n > c->max - c->bytes.n) {
        (void)err_set(err, ERR_LIMIT, "spans of one batch above %zu bytes", c->max);
        return NULL;
    }
    char *p = arena_alloc(c->a, c->bytes.n + n);
    if (c->bytes.n > 0)
        memcpy(p, c->bytes.p, c->bytes.n);
    str before = c->bytes;
    c->bytes = str_of(p, before.n + n);
    return p + before.n;
}

#define CHUNK_LEAD 32 // of a chunk: two lengths and the version

/* v len | u8 version | v dir bytes | dir | columns */
static bool chunk_join(str dir, str columns, struct chunks *out, struct err *err)
{
    char bytes[CHUNK_LEAD], size[CHUNK_LEAD];
    struct buf lead = {.p = bytes, .cap = CHUNK_LEAD, .max = CHUNK_LEAD};
    struct buf head = {.p = size, .cap = CHUNK_LEAD, .max = CHUNK_LEAD};
    buf_u8(&lead, SPAN_BLOCK_VERSION);
    buf_varint(&lead, dir.n);
    buf_varint(&head, lead.n + dir.n + columns.n);
    const str parts[] = {buf_str(&head), buf_str(&lead), dir, columns};
    char *p = chunks_room(out, head.n + lead.n + dir.n + columns.n, err);
    if (!p)
        return false;
    for (size_t i = 0; i < COUNTOF(parts); i++) {
        memcpy(p, parts[i].p, parts[i].n);
        p += parts[i].n;
    }
    return true;
}

#define SPAN_LIKELY 192 // bytes of a span's columns that room is made for at first

static bool chunk_write(struct build *b, struct rows *r, struct chunks *out, struct err *err)
{
    struct buf dir;
    struct span_writer w;
    struct span_block_head head = {.rows = {r->n, r->n_events, r->n_links},
                                   .n_traces = r->core.traces.n};
    buf_init(&dir, out->max);
    span_writer_init(&w, b->a, NULL, NULL, out->max);
    (void)buf_reserve(&w.col, MIN(out->max, (size_t)r->n * SPAN_LIKELY));
    bool ok = span_write_core(&w, &r->core, &head, err) && write_spans(b, r, &w, err) &&
              write_children(b, r, &w, err) && write_values(b, &w, err);
    if (ok) {
        span_write_dir(&w, &head, b->keys.v, (uint32_t)b->keys.n, &dir);
        ok = chunk_join(buf_str(&dir), buf_str(&w.col), out, err);
    }
    span_writer_deinit(&w);
    buf_deinit(&dir);
    return ok;
}

/* How many of the sorted spans from `lo` on fit into one block by their numbers of rows. */
static size_t take_rows(const struct span_set *set, const struct sort_key *k, size_t lo, size_t n,
                        struct rows *r)
{
    size_t hi = lo, events = 0, links = 0;
    for (; hi < n && hi - lo < SPAN_BLOCK_SPANS_MAX; hi++) {
        const struct span *s = &set->spans[k[hi].index];
        if (events + s->n_events > SPAN_BLOCK_ROWS_MAX || links + s->n_links > SPAN_BLOCK_ROWS_MAX)
            break;
        events += s->n_events;
        links += s->n_links;
        r->span[hi - lo] = s;
    }
    r->n_events = (uint32_t)events;
    r->n_links = (uint32_t)links;
    return hi - lo;
}

/* One chunk of the first *take spans from lo on; *take is halved until their keys fit. */
static bool chunk_encode(const struct span_set *set, const struct sort_key *k, size_t lo, size_t n,
                         struct arena *a, size_t *take, struct chunks *out, struct err *err)
{
    for (size_t want = n - lo;; want /= 2) {
        struct arena_mark mark = arena_mark(a);
        struct build b = {.a = a, .set = set};
        struct rows r = {.span =
                             arena_array(a, const struct span *, MIN(want, SPAN_BLOCK_SPANS_MAX))};
        *take = take_rows(set, k, lo, lo + want, &r);
        if (*take == 0)
            return err_set(err, ERR_LIMIT, "a span with more than %zu events or links, or %zu keys",
                           SPAN_BLOCK_ROWS_MAX, SPAN_BLOCK_KEYS_MAX);
        r.n = (uint32_t)*take;
        buf_init(&b.tmp, SPAN_BLOCK_COLUMN_MAX);
        hmap_init(&b.key_map, a);
        hmap_init(&b.edge_map, a);
        for (size_t t = 0; t < SPAN_TABLE_COUNT; t++)
            vec_push(&b.nodes, a, (struct node){0, NONE, 0, NONE, NONE, NONE});
        rows_fill(&b, &r);
        bool ok = b.full || chunk_write(&b, &r, out, err);
        buf_deinit(&b.tmp);
        bool full = b.full;
        want = *take;
        arena_release(a, mark);
        if (!full)
            return ok;
    }
}

bool span_chunks_encode(const struct span_set *set, struct arena *scratch, size_t max,
                        struct arena *a, str *out, struct err *err)
{
    ASSERT(set->n_spans < UINT32_MAX && scratch != a);
    struct chunks chunks = {.a = a, .max = max};
    struct arena_mark mark = arena_mark(scratch);
    size_t n, take;
    const struct sort_key *k = sorted(set, scratch, &n);
    bool ok = true;
    for (size_t lo = 0; ok && lo < n; lo += take)
        ok = chunk_encode(set, k, lo, n, scratch, &take, &chunks, err);
    arena_release(scratch, mark);
    *out = chunks.bytes;
    return ok;
}

bool span_chunks_next(struct rd *r, str *bytes, struct err *err)
{
    if (rd_left(r) == 0 && !r->bad) {
        *bytes = (str){0};
        return true;
    }
    str s = rd_bytes(r);
    if (r->bad || s.n == 0)
        return err_set(err, ERR_CORRUPT, "spans: bad chunk length");
    *bytes = s;
    return true;
}
