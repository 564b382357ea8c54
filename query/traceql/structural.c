/* structural.c - relations between spans: parent, ancestor, child, descendant, sibling.
 *
 * All work in one or two passes over the trace, whatever its shape: direct relations by parent
 * links, indirect ones by counting on the nested-set numbers (a span lies below another when its
 * interval lies inside). A span that is not below a root has no numbers, so nothing matches it. */
#include "query/traceql/spanset.h"

struct sides {                     // marks per row of the trace
    uint8_t *left, *right;         // is in the side
    uint8_t *left_hit, *right_hit; // has a partner on the other side
    uint32_t n;
};

static uint8_t *mark_rows(struct tq_block *t, struct tq_rows rows, uint32_t n)
{
    uint8_t *m = arena_zalloc(t->arena, n);
    for (size_t i = 0; i < rows.n; i++)
        m[rows.v[i] - t->first] = 1;
    return m;
}

/* hit[y]: the parent of y is in `above`; above_hit[x]: x has a child in `below`. */
static void mark_children(const struct tq_tree *tree, uint32_t n, const uint8_t *above,
                          const uint8_t *below, uint8_t *above_hit, uint8_t *below_hit)
{
    for (uint32_t y = 0; y < n; y++) {
        int32_t x = tree->parent[y];
        if (!below[y] || tree->left[y] == 0 || x < 0 || !above[x])
            continue;
        above_hit[x] = 1;
        below_hit[y] = 1;
    }
}

/* below_hit[y]: y has an ancestor in `above`; above_hit[x]: x has a descendant in `below`. */
static void mark_descendants(struct tq_block *t, uint32_t n, const uint8_t *above,
                             const uint8_t *below, uint8_t *above_hit, uint8_t *below_hit)
{
    const struct tq_tree *tree = tq_tree(t);
    size_t numbers = 2 * (size_t)n + 1;
    int32_t *row_at = arena_array(t->arena, int32_t, numbers);   // row + 1 entering, - left leaving
    uint32_t *before = arena_array(t->arena, uint32_t, numbers); // of `below`, entered so far
    memset(row_at, 0, numbers * sizeof *row_at);
    for (uint32_t i = 0; i < n; i++) {
        if (tree->left[i] == 0)
            continue;
        row_at[tree->left[i]] = (int32_t)i + 1;
        row_at[tree->right[i]] = -((int32_t)i + 1);
    }
    uint32_t open = 0, entered = 0; // open intervals of `above`
    for (size_t k = 1; k < numbers && row_at[k] != 0; k++) {
        bool enters = row_at[k] > 0;
        uint32_t i = (uint32_t)(enters ? row_at[k] : -row_at[k]) - 1;
        if (enters) {
            below_hit[i] |= below[i] && open > 0;
            entered += below[i];
            open += above[i];
        } else {
            open -= above[i];
            above_hit[i] |= above[i] && entered > before[tree->left[i]];
        }
        before[k] = entered;
    }
}

/* Siblings have one parent; several roots are siblings of each other. */
static void mark_siblings(struct tq_block *t, struct sides *s)
{
    const struct tq_tree *tree = tq_tree(t);
    uint32_t *left = arena_zalloc(t->arena, ((size_t)s->n + 1) * sizeof *left),
             *right = arena_zalloc(t->arena, ((size_t)s->n + 1) * sizeof *right);
    for (uint32_t i = 0; i < s->n; i++) {
        if (tree->left[i] == 0)
            continue;
        size_t parent = tree->parent[i] >= 0 ? (size_t)tree->parent[i] : s->n;
        left[parent] += s->left[i];
        right[parent] += s->right[i];
    }
    for (uint32_t i = 0; i < s->n; i++) {
        if (tree->left[i] == 0)
            continue;
        size_t parent = tree->parent[i] >= 0 ? (size_t)tree->parent[i] : s->n;
        s->right_hit[i] = s->right[i] && left[parent] > s->left[i];
        s->left_hit[i] = s->left[i] && right[parent] > s->right[i];
    }
}

struct tq_rows tq_structural(struct tq_block *t, const struct tq_spanset *spanset, struct tq_rows l,
                             struct tq_rows r)
{
    uint32_t n = t->last - t->first;
    const struct tq_tree *tree = tq_tree(t);
    struct sides s = {mark_rows(t, l, n), mark_rows(t, r, n), arena_zalloc(t->arena, n),
                      arena_zalloc(t->arena, n), n};
    switch (spanset->op) {
    case OP_CHILD:
        mark_children(tree, n, s.left, s.right, s.left_hit, s.right_hit);
        break;
    case OP_PARENT:
        mark_children(tree, n, s.right, s.left, s.right_hit, s.left_hit);
        break;
    case OP_DESCENDANT:
        mark_descendants(t, n, s.left, s.right, s.left_hit, s.right_hit);
        break;
    case OP_ANCESTOR:
        mark_descendants(t, n, s.right, s.left, s.right_hit, s.left_hit);
        break;
    default:
        mark_siblings(t, &s);
    }
    struct tq_rows out = {arena_array(t->arena, uint32_t, n), 0};
    for (uint32_t i = 0; i < n; i++) {
        bool right = s.right[i] && (s.right_hit[i] != 0) != spanset->is_negated;
        if (right || (spanset->is_union && s.left_hit[i]))
            out.v[out.n++] = t->first + i;
    }
    return out;
}
