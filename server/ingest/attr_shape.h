/* attr_shape.h - numbers for lists of keys: spans of one request have few different ones, so what
 * depends on keys alone (are they clean, which columns are they) is found out once a list, not once
 * a span (struct span's `shape`).
 *
 * A trie: a node is the list of keys, with the kinds of their values, from the root to it. What
 * would make it large gets no number. Memory comes from the arena; keys are borrowed. */
#pragma once

#include "storage/base/vec.h"
#include "storage/model/value.h"

#define ATTR_SHAPE_NONE 0 // the root: no attributes, and what has got lost

struct attr_shape_node {
    str key;
    enum value_kind kind;
    uint32_t last;        // the child that was stepped to last
    uint32_t first, next; // children, newest first; sibling
};

struct attr_shapes {
    struct arena *arena;
    VEC(struct attr_shape_node) nodes;
};

void attr_shapes_init(struct attr_shapes *s, struct arena *a);
/* The slow way of attr_shapes_step: another child than the last time. */
uint32_t attr_shapes_step_slow(struct attr_shapes *s, uint32_t node, const struct attr *attr);

/* The node behind `node` by one more attribute. ATTR_SHAPE_NONE: there is no room for it; the
 * caller then steps no further. */
static inline uint32_t attr_shapes_step(struct attr_shapes *s, uint32_t node,
                                        const struct attr *attr)
{
    uint32_t last = s->nodes.v[node].last;
    const struct attr_shape_node *n = &s->nodes.v[last];
    if (LIKELY(last != 0 && n->kind == attr->value.kind && str_eq_short(n->key, attr->key)))
        return last;
    return attr_shapes_step_slow(s, node, attr);
}
