/* tempo_prune.c - see tempo_prune.h. Linear in the spans and their attributes, but for the levels
 * of parents, each of which looks at every span once.
 *
 * A summary is the slowest of its spans with the times of all, an id of its own, and what it stands
 * for in aggregation.* attributes. Spans of different resources are never folded together. */
#include "server/api/tempo_prune.h"

#include <stdlib.h>

#include "server/api/span_ids.h"
#include "server/api/tempo_priv.h"
#include "server/wire/encode_trace.h"
#include "storage/base/hash.h"
#include "storage/base/hmap.h"

#define MIN_SPANS     5
#define MIN_PARENTS   2
#define LEVELS_MAX    64 // of parents: each costs a look at all spans
#define PATTERNS_MAX  32
#define PATTERN_ATTRS 128       // of one span; more are not looked at
#define KEY_MAX       (1 * MIB) // bytes of what tells a span from others
#define NONE          UINT32_MAX
#define SUMMARY_ATTRS 8

struct wishes {
    int64_t min_spans, depth;
    str patterns[PATTERNS_MAX];
    size_t n_patterns;
};

struct group {
    struct hash128 key;
    uint32_t slowest; // index of the span
    uint64_t n;
    int64_t start_ns, end_ns, min_ns, max_ns, total_ns;
    const uint8_t *trace_id;
    uint8_t id[8];
    uint64_t *buckets; // not cumulative; one more than bounds
    bool is_small;     // its spans stay
};

struct pruner {
    const struct span_set *set;
    const struct wishes *w;
    struct arena *a;
    struct span_ids ids;
    uint32_t *parent;       // of each span; NONE: not here
    uint32_t *children;     // of each span
    uint32_t *folded_below; // children that are folded
    uint32_t *group;        // of each span; NONE: it stays
    VEC(struct group) groups;
    struct buf key;
};

static const double bounds_s[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};

/* ---- parameters ---- */

static bool read_patterns(const struct api_call *c, struct wishes *w, struct err *err)
{
    str list, item;
    if (!api_param(c, STR("span_pruning_group_by"), &list))
        return true;
    while (list.n > 0 && str_split(&list, ',', &item)) {
        item = str_trim(item);
        bool is_set = memchr(item.p, '[', item.n) || memchr(item.p, '{', item.n);
        if (item.n == 0 || is_set || w->n_patterns == PATTERNS_MAX)
            return err_set(err, ERR_INVALID,
                           "invalid span_pruning_group_by: invalid glob pattern \"" STR_FMT "\"",
                           STR_ARG(str_sub(item, 0, 100)));
        w->patterns[w->n_patterns++] = item;
    }
    return true;
}

/* *is_asked: there is something to do. */
static bool read_wishes(const struct api_call *c, struct wishes *w, bool *is_asked, struct err *err)
{
    str text;
    *w = (struct wishes){0};
    *is_asked = false;
    if (!api_param(c, STR("span_pruning"), &text) || str_is(text, "false") || str_is(text, "0"))
        return true;
    if (!str_is(text, "true") && !str_is(text, "1"))
        return err_set(err, ERR_INVALID, "invalid span_pruning: \"" STR_FMT "\" is not a bool",
                       STR_ARG(str_sub(text, 0, 100)));
    *is_asked = true;
    if (!tempo_param_count(c, "span_pruning_min_spans", MIN_SPANS, &w->min_spans, err) ||
        !tempo_param_count(c, "span_pruning_max_parent_depth", 1, &w->depth, err) ||
        !read_patterns(c, w, err))
        return false;
    if (w->min_spans < 2)
        return err_set(err, ERR_INVALID, "invalid span_pruning_min_spans: must be at least 2");
    return w->depth >= -1 ||
           err_set(err, ERR_INVALID, "invalid span_pruning_max_parent_depth: must be at least -1");
}

/* Stars and question marks; goes back to the last star only. */
static bool glob_matches(str pattern, str text)
{
    size_t p = 0, t = 0, star = SIZE_MAX, from = 0;
    while (t < text.n) {
        if (p < pattern.n && (pattern.p[p] == '?' || pattern.p[p] == text.p[t]) &&
            pattern.p[p] != '*') {
            p++;
            t++;
        } else if (p < pattern.n && pattern.p[p] == '*') {
            star = p++;
            from = t;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++from;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.p[p] == '*')
        p++;
    return p == pattern.n;
}

/* ---- the tree ---- */

static bool is_root(const struct span *s)
{
    static const uint8_t zero[8];
    return memcmp(s->parent_id, zero, sizeof zero) == 0;
}

static void make_tree(struct pruner *p)
{
    uint32_t n = (uint32_t)p->set->n_spans;
    span_ids_init(&p->ids, p->set, p->a);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = span_ids_find(&p->ids, p->set->spans[i].parent_id);
        p->parent[i] = at == HMAP_NONE || at == i ? NONE : at;
        p->group[i] = NONE;
        p->children[i] = p->folded_below[i] = 0;
    }
    for (uint32_t i = 0; i < n; i++)
        if (p->parent[i] != NONE)
            p->children[p->parent[i]]++;
}

/* ---- groups ---- */

static int compare_attrs(const void *x, const void *y)
{
    const struct attr *const *a = x, *const *b = y;
    return str_cmp((*a)->key, (*b)->key);
}

static void put_attrs(struct pruner *p, const struct span *s)
{
    const struct attr *chosen[PATTERN_ATTRS];
    size_t n = 0;
    for (size_t i = 0; i < s->attrs.n && n < PATTERN_ATTRS; i++) {
        size_t k = 0;
        while (k < p->w->n_patterns && !glob_matches(p->w->patterns[k], s->attrs.v[i].key))
            k++;
        if (k < p->w->n_patterns)
            chosen[n++] = &s->attrs.v[i];
    }
    if (n > 1)
        qsort(chosen, n, sizeof chosen[0], compare_attrs);
    for (size_t i = 0; i < n; i++) {
        buf_bytes(&p->key, chosen[i]->key);
        encode_value(&p->key, &chosen[i]->value);
    }
}

static struct hash128 key_of(struct pruner *p, uint32_t i, int64_t level)
{
    const struct span *s = &p->set->spans[i];
    str above = p->parent[i] == NONE ? STR("") : p->set->spans[p->parent[i]].name;
    buf_clear(&p->key);
    buf_fmt(&p->key, "%lld %d %d %u ", (long long)level, s->kind, s->status, s->resource);
    buf_bytes(&p->key, s->name);
    buf_bytes(&p->key, s->trace_state);
    buf_bytes(&p->key, above);
    if (level == 0)
        put_attrs(p, s);
    return hash128(buf_str(&p->key)); // of one that is too long: what there was room for
}

struct group_key {
    const struct pruner *p;
    struct hash128 key;
};

static bool same_group(const void *ctx, uint32_t index)
{
    const struct group_key *k = ctx;
    return hash128_eq(k->p->groups.v[index].key, k->key);
}

static void add_to(struct pruner *p, struct group *g, uint32_t i)
{
    const struct span *s = &p->set->spans[i], *slowest = &p->set->spans[g->slowest];
    int64_t d = MAX(s->end_ns - s->start_ns, 0);
    if (g->n == 0 || d > slowest->end_ns - slowest->start_ns)
        g->slowest = i;
    g->start_ns = g->n == 0 ? s->start_ns : MIN(g->start_ns, s->start_ns);
    g->end_ns = g->n == 0 ? s->end_ns : MAX(g->end_ns, s->end_ns);
    g->min_ns = g->n == 0 ? d : MIN(g->min_ns, d);
    g->max_ns = MAX(g->max_ns, d);
    g->total_ns = time_add(g->total_ns, d);
    size_t bucket = 0;
    while (bucket < COUNTOF(bounds_s) && (double)d / 1e9 > bounds_s[bucket])
        bucket++;
    g->buckets[bucket]++;
    g->n++;
}

/* Is it a leaf, or one whose children are all folded? */
static bool is_candidate(const struct pruner *p, uint32_t i, int64_t level)
{
    return p->group[i] == NONE && !is_root(&p->set->spans[i]) &&
           (level == 0 ? p->children[i] == 0
                       : p->children[i] > 0 && p->children[i] == p->folded_below[i]);
}

/* Folds the spans of one level; false: there are none. */
static bool fold_level(struct pruner *p, int64_t level)
{
    struct hmap found;
    uint32_t first = (uint32_t)p->groups.n, n = (uint32_t)p->set->n_spans;
    bool any = false;
    hmap_init(&found, p->a);
    for (uint32_t i = 0; i < n; i++) {
        if (!is_candidate(p, i, level))
            continue;
        struct group_key key = {p, key_of(p, i, level)};
        uint32_t at = hmap_find(&found, key.key.lo, same_group, &key);
        if (at == HMAP_NONE) {
            at = (uint32_t)p->groups.n;
            struct group g = {.key = key.key,
                              .trace_id = p->set->spans[i].trace_id,
                              .buckets = arena_array(p->a, uint64_t, COUNTOF(bounds_s) + 1)};
            memset(g.buckets, 0, (COUNTOF(bounds_s) + 1) * sizeof g.buckets[0]);
            vec_push(&p->groups, p->a, g);
            hmap_put(&found, key.key.lo, at);
        }
        add_to(p, &p->groups.v[at], i);
        p->group[i] = at;
    }
    for (size_t k = first; k < p->groups.n; k++) {
        struct group *g = &p->groups.v[k];
        uint64_t id = hash_mix(g->key.lo, g->key.hi) | 1;
        memcpy(g->id, &id, sizeof g->id);
        g->is_small = g->n < (uint64_t)(level == 0 ? p->w->min_spans : MIN_PARENTS);
    }
    for (uint32_t i = 0; i < n; i++) {
        if (p->group[i] == NONE || p->group[i] < first)
            continue;
        if (p->groups.v[p->group[i]].is_small) {
            p->group[i] = NONE;
            continue;
        }
        any = true;
        if (p->parent[i] != NONE)
            p->folded_below[p->parent[i]]++;
    }
    return any;
}

/* ---- summaries ---- */

static struct attr int_attr(const char *key, int64_t v)
{
    return (struct attr){str_c(key), {.kind = VALUE_INT, .i = v}};
}

static struct attrs summary_attrs(struct pruner *p, const struct group *g)
{
    struct attrs own = p->set->spans[g->slowest].attrs;
    struct attr *v = arena_array(p->a, struct attr, own.n + SUMMARY_ATTRS);
    struct value *bounds = arena_array(p->a, struct value, COUNTOF(bounds_s));
    struct value *counts = arena_array(p->a, struct value, COUNTOF(bounds_s) + 1);
    size_t n = own.n;
    uint64_t sum = 0;
    if (n > 0)
        memcpy(v, own.v, n * sizeof *v);
    for (size_t i = 0; i <= COUNTOF(bounds_s); i++) {
        sum += g->buckets[i];
        counts[i] = (struct value){.kind = VALUE_INT, .i = (int64_t)sum};
        if (i < COUNTOF(bounds_s))
            bounds[i] = (struct value){.kind = VALUE_DOUBLE, .d = bounds_s[i]};
    }
    v[n++] = (struct attr){STR("aggregation.is_summary"), {.kind = VALUE_BOOL, .b = true}};
    v[n++] = int_attr("aggregation.span_count", (int64_t)g->n);
    v[n++] = int_attr("aggregation.duration_min_ns", g->min_ns);
    v[n++] = int_attr("aggregation.duration_max_ns", g->max_ns);
    v[n++] = int_attr("aggregation.duration_avg_ns", g->total_ns / (int64_t)g->n);
    v[n++] = int_attr("aggregation.duration_total_ns", g->total_ns);
    v[n++] = (struct attr){STR("aggregation.histogram_bucket_bounds_s"),
                           {.kind = VALUE_LIST, .list = {bounds, COUNTOF(bounds_s)}}};
    v[n++] = (struct attr){STR("aggregation.histogram_bucket_counts"),
                           {.kind = VALUE_LIST, .list = {counts, COUNTOF(bounds_s) + 1}}};
    return (struct attrs){v, n};
}

static struct span summary_of(struct pruner *p, const struct group *g)
{
    struct span s = p->set->spans[g->slowest];
    uint32_t parent = p->parent[g->slowest];
    memcpy(s.span_id, g->id, sizeof s.span_id);
    if (parent != NONE && p->group[parent] != NONE)
        memcpy(s.parent_id, p->groups.v[p->group[parent]].id, sizeof s.parent_id);
    s.start_ns = g->start_ns;
    s.end_ns = g->end_ns;
    s.attrs = summary_attrs(p, g);
    return s;
}

bool tempo_prune(struct api_call *c, struct arena *a, struct span_set *set, struct err *err)
{
    struct wishes w;
    bool is_asked;
    if (!read_wishes(c, &w, &is_asked, err))
        return false;
    if (!is_asked || set->n_spans == 0)
        return true;
    struct pruner p = {.set = set,
                       .w = &w,
                       .a = a,
                       .parent = arena_array(a, uint32_t, set->n_spans),
                       .children = arena_array(a, uint32_t, set->n_spans),
                       .folded_below = arena_array(a, uint32_t, set->n_spans),
                       .group = arena_array(a, uint32_t, set->n_spans)};
    buf_init(&p.key, KEY_MAX);
    make_tree(&p);
    int64_t depth = w.depth < 0 ? LEVELS_MAX : MIN(w.depth, LEVELS_MAX);
    bool any = fold_level(&p, 0);
    for (int64_t level = 1; any && level <= depth && query_tick(&c->q, err); level++)
        any = fold_level(&p, level);
    struct span *spans = arena_array(a, struct span, set->n_spans);
    size_t n = 0;
    for (uint32_t i = 0; i < set->n_spans; i++) {
        if (p.group[i] == NONE)
            spans[n++] = set->spans[i];
        else if (p.groups.v[p.group[i]].slowest == i) // where the slowest one was
            spans[n++] = summary_of(&p, &p.groups.v[p.group[i]]);
    }
    buf_deinit(&p.key);
    set->spans = spans;
    set->n_spans = n;
    return query_tick(&c->q, err);
}
