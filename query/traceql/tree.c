/* tree.c - the tree of a trace: parents, nested-set numbers, children.
 *
 * Numbers are given depth-first from the roots, without recursion. Spans that are not below a root
 * (orphans, cycles) have none. A client and a server span that share an id (Zipkin's way) are
 * parent and child; more than two spans with one id: the trace gets no numbers. */
#include "query/traceql/eval.h"
#include "storage/base/hash.h"
#include "storage/base/hmap.h"

struct id_key {
    const struct tq_block *t;
    const uint8_t *id;
};

static bool same_span_id(const void *ctx, uint32_t row)
{
    const struct id_key *key = ctx;
    return memcmp(key->t->b->span_id[key->t->first + row], key->id, 8) == 0;
}

static uint32_t find_span(const struct tq_block *t, const struct hmap *ids, const uint8_t *id)
{
    struct id_key key = {t, id};
    return hmap_find(ids, hash64(str_of((const char *)id, 8)), same_span_id, &key);
}

static bool is_zero(const uint8_t *id)
{
    static const uint8_t none[8];
    return memcmp(id, none, 8) == 0;
}

/* ids: one row per id, of a client and server pair the server. False: an id of more than two. */
static bool collect_ids(struct tq_block *t, uint32_t n, struct hmap *ids, int32_t *twin)
{
    const struct span_block *b = t->b;
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *id = b->span_id[t->first + i];
        uint32_t other = find_span(t, ids, id);
        twin[i] = -1;
        if (other == HMAP_NONE) {
            hmap_put(ids, hash64(str_of((const char *)id, 8)), i);
            continue;
        }
        if (twin[other] >= 0)
            return false;
        twin[i] = (int32_t)other;
        twin[other] = (int32_t)i;
        struct id_key key = {t, id};
        if (b->kind[t->first + i] == SPAN_SERVER &&
            hmap_del(ids, hash64(str_of((const char *)id, 8)), same_span_id, &key))
            hmap_put(ids, hash64(str_of((const char *)id, 8)), i);
    }
    return true;
}

/* False: no numbers for this trace. */
static bool link_parents(struct tq_block *t, struct tq_tree *tree, uint32_t n)
{
    const struct span_block *b = t->b;
    struct hmap ids;
    int32_t *twin = arena_array(t->arena, int32_t, n);
    hmap_init(&ids, t->arena);
    bool ok = collect_ids(t, n, &ids, twin);
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *id = b->parent_id[t->first + i];
        bool below_client = ok && twin[i] >= 0 && b->kind[t->first + i] == SPAN_SERVER &&
                            b->kind[t->first + (uint32_t)twin[i]] == SPAN_CLIENT;
        uint32_t parent = below_client  ? (uint32_t)twin[i]
                          : is_zero(id) ? HMAP_NONE
                                        : find_span(t, &ids, id);
        if (!below_client && is_zero(id))
            tree->parent[i] = TREE_ROOT;
        else
            tree->parent[i] = parent == HMAP_NONE || parent == i ? TREE_ORPHAN : (int32_t)parent;
    }
    return ok;
}

struct walk {                // depth-first
    uint32_t *start, *child; // children of row i: child[start[i] .. start[i + 1])
    uint32_t *cursor, *stack;
    int32_t number;
};

static void number_below(struct walk *w, struct tq_tree *tree, uint32_t root)
{
    uint32_t depth = 0;
    w->stack[depth++] = root;
    tree->left[root] = w->number++;
    while (depth > 0) {
        uint32_t at = w->stack[depth - 1];
        if (w->cursor[at] < w->start[at + 1]) {
            uint32_t down = w->child[w->cursor[at]++];
            tree->left[down] = w->number++;
            w->stack[depth++] = down;
        } else {
            tree->right[at] = w->number++;
            depth--;
        }
    }
}

static void number_tree(struct tq_block *t, struct tq_tree *tree, uint32_t n)
{
    struct walk w = {.start = arena_zalloc(t->arena, ((size_t)n + 2) * sizeof(uint32_t)),
                     .child = arena_array(t->arena, uint32_t, n),
                     .cursor = arena_array(t->arena, uint32_t, n),
                     .stack = arena_array(t->arena, uint32_t, n),
                     .number = 1};
    for (uint32_t i = 0; i < n; i++)
        if (tree->parent[i] >= 0)
            w.start[tree->parent[i] + 1]++;
    bool has_root = false;
    for (uint32_t i = 0; i < n; i++)
        has_root |= tree->parent[i] == TREE_ROOT;
    for (uint32_t i = 0; i < n; i++) {
        tree->children[i] = has_root ? w.start[i + 1] : 0;
        w.start[i + 1] += w.start[i];
        w.cursor[i] = w.start[i];
    }
    for (uint32_t i = 0; i < n; i++)
        if (tree->parent[i] >= 0)
            w.child[w.cursor[tree->parent[i]]++] = i;
    memcpy(w.cursor, w.start, n * sizeof(uint32_t));
    for (uint32_t i = 0; i < n; i++)
        if (tree->parent[i] == TREE_ROOT)
            number_below(&w, tree, i);
}

const struct tq_tree *tq_tree(struct tq_block *t)
{
    if (t->tree)
        return t->tree;
    uint32_t n = t->last - t->first;
    struct tq_tree *tree = arena_new(t->arena, struct tq_tree);
    tree->parent = arena_array(t->arena, int32_t, n);
    tree->left = arena_zalloc(t->arena, n * sizeof *tree->left);
    tree->right = arena_zalloc(t->arena, n * sizeof *tree->right);
    tree->children = arena_zalloc(t->arena, n * sizeof *tree->children);
    if (link_parents(t, tree, n))
        number_tree(t, tree, n);
    t->tree = tree;
    return tree;
}
