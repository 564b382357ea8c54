/* attr_shape.c - see attr_shape.h. Siblings are a list: there are few. */
#include "server/ingest/attr_shape.h"

#include "storage/model/limits.h"

/* Children of one node that are looked through: beyond, keys are data (a map that somebody spread
 * over attributes) and numbers for them gain nothing. */
#define CHILDREN_MAX 32

void attr_shapes_init(struct attr_shapes *s, struct arena *a)
{
    *s = (struct attr_shapes){.arena = a};
    vec_push(&s->nodes, a, (struct attr_shape_node){.kind = VALUE_EMPTY});
}

uint32_t attr_shapes_step_slow(struct attr_shapes *s, uint32_t node, const struct attr *attr)
{
    unsigned children = 0;
    uint32_t i = s->nodes.v[node].first;
    for (; i != 0; i = s->nodes.v[i].next) {
        const struct attr_shape_node *n = &s->nodes.v[i];
        if (n->kind == attr->value.kind && str_eq_short(n->key, attr->key))
            break;
        if (++children == CHILDREN_MAX)
            return ATTR_SHAPE_NONE;
    }
    if (i == 0) {
        if (s->nodes.n == LIMIT_SPAN_SHAPES)
            return ATTR_SHAPE_NONE;
        i = (uint32_t)s->nodes.n;
        struct attr_shape_node child = {
            .key = attr->key, .kind = attr->value.kind, .next = s->nodes.v[node].first};
        vec_push(&s->nodes, s->arena, child);
        s->nodes.v[node].first = i;
    }
    s->nodes.v[node].last = i;
    return i;
}
