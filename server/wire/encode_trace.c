/* encode_trace.c - see encode_trace.h. */
#include "server/wire/encode_trace.h"

#include <stdlib.h>

#include "server/wire/pb_write.h"

void encode_value(struct buf *b,
                  const struct value *v) // NOLINT(misc-no-recursion): depth <= VALUE_DEPTH_MAX
{
    size_t mark;
    switch (v->kind) {
    case VALUE_EMPTY:
        break;
    case VALUE_STR:
        pb_bytes_always(b, 1, v->s);
        break;
    case VALUE_BOOL:
        pb_bool_always(b, 2, v->b);
        break;
    case VALUE_INT:
        pb_int_always(b, 3, v->i);
        break;
    case VALUE_DOUBLE:
        pb_double_always(b, 4, v->d);
        break;
    case VALUE_BYTES:
        pb_bytes_always(b, 7, v->s);
        break;
    case VALUE_LIST:
        mark = pb_begin(b, 5);
        for (size_t i = 0; i < v->list.n; i++) {
            size_t item = pb_begin(b, 1);
            encode_value(b, &v->list.v[i]);
            pb_end(b, item);
        }
        pb_end(b, mark);
        break;
    case VALUE_MAP:
        mark = pb_begin(b, 6);
        encode_attrs(b, 1, (struct attrs){v->map.v, v->map.n});
        pb_end(b, mark);
        break;
    }
}

void encode_attrs(struct buf *b, uint32_t field, struct attrs a) // NOLINT(misc-no-recursion)
{
    for (size_t i = 0; i < a.n; i++) {
        size_t item = pb_begin(b, field);
        pb_bytes_always(b, 1, a.v[i].key);
        size_t value = pb_begin(b, 2);
        encode_value(b, &a.v[i].value);
        pb_end(b, value);
        pb_end(b, item);
    }
}

static str id_bytes(const uint8_t *id, size_t n)
{
    return str_of((const char *)id, n);
}

static void encode_span(struct buf *b, const struct span *s)
{
    static const uint8_t none[8];
    pb_bytes(b, 1, id_bytes(s->trace_id, 16));
    pb_bytes(b, 2, id_bytes(s->span_id, 8));
    pb_bytes(b, 3, s->trace_state);
    if (memcmp(s->parent_id, none, 8) != 0)
        pb_bytes(b, 4, id_bytes(s->parent_id, 8));
    pb_bytes(b, 5, s->name);
    pb_uint(b, 6, s->kind);
    pb_fixed64(b, 7, (uint64_t)s->start_ns);
    pb_fixed64(b, 8, (uint64_t)s->end_ns);
    encode_attrs(b, 9, s->attrs);
    pb_uint(b, 10, s->dropped_attrs);
    for (uint32_t i = 0; i < s->n_events; i++) {
        const struct span_event *e = &s->events[i];
        size_t mark = pb_begin(b, 11);
        pb_fixed64(b, 1, (uint64_t)e->time_ns);
        pb_bytes(b, 2, e->name);
        encode_attrs(b, 3, e->attrs);
        pb_uint(b, 4, e->dropped_attrs);
        pb_end(b, mark);
    }
    pb_uint(b, 12, s->dropped_events);
    for (uint32_t i = 0; i < s->n_links; i++) {
        const struct span_link *l = &s->links[i];
        size_t mark = pb_begin(b, 13);
        pb_bytes(b, 1, id_bytes(l->trace_id, 16));
        pb_bytes(b, 2, id_bytes(l->span_id, 8));
        pb_bytes(b, 3, l->trace_state);
        encode_attrs(b, 4, l->attrs);
        pb_uint(b, 5, l->dropped_attrs);
        pb_fixed32(b, 6, l->flags);
        pb_end(b, mark);
    }
    pb_uint(b, 14, s->dropped_links);
    size_t status = pb_begin(b, 15);
    pb_bytes(b, 2, s->status_message);
    pb_uint(b, 3, s->status);
    pb_end(b, status);
    pb_fixed32(b, 16, s->flags);
}

static void encode_resource(struct buf *b, const struct resource *r)
{
    size_t mark = pb_begin(b, 1);
    encode_attrs(b, 1, r->attrs);
    if (!attrs_get(r->attrs, STR("service.name"))) {
        struct attr name = {STR("service.name"), {.kind = VALUE_STR, .s = STR("unknown_service")}};
        encode_attrs(b, 1, (struct attrs){&name, 1});
    }
    pb_uint(b, 2, r->dropped_attrs);
    pb_end(b, mark);
}

static void encode_scope(struct buf *b, const struct scope *s)
{
    size_t mark = pb_begin(b, 1);
    pb_bytes(b, 1, s->name);
    pb_bytes(b, 2, s->version);
    encode_attrs(b, 3, s->attrs);
    pb_uint(b, 4, s->dropped_attrs);
    pb_end(b, mark);
}

struct place {
    uint32_t resource, scope, span;
};

static int place_cmp(const void *x, const void *y)
{
    const struct place *a = x, *b = y;
    if (a->resource != b->resource)
        return a->resource < b->resource ? -1 : 1;
    if (a->scope != b->scope)
        return a->scope < b->scope ? -1 : 1;
    return a->span < b->span ? -1 : a->span > b->span;
}

const uint32_t *trace_order(struct arena *a, const struct span_set *set)
{
    struct place *places = arena_array(a, struct place, set->n_spans);
    uint32_t *order = arena_array(a, uint32_t, set->n_spans);
    for (uint32_t i = 0; i < set->n_spans; i++)
        places[i] = (struct place){set->spans[i].resource, set->spans[i].scope, i};
    if (set->n_spans > 1)
        qsort(places, set->n_spans, sizeof *places, place_cmp);
    for (size_t i = 0; i < set->n_spans; i++)
        order[i] = places[i].span;
    return order;
}

/* The run of spans from `at` on that have one resource and scope; returns where it ends. */
static size_t encode_scope_spans(struct buf *b, const struct span_set *set, const uint32_t *order,
                                 size_t at)
{
    const struct span *first = &set->spans[order[at]];
    size_t mark = pb_begin(b, 2);
    encode_scope(b, &set->scopes[first->scope]);
    for (; at < set->n_spans && !b->over; at++) {
        const struct span *s = &set->spans[order[at]];
        if (s->resource != first->resource || s->scope != first->scope)
            break;
        size_t item = pb_begin(b, 2);
        encode_span(b, s);
        pb_end(b, item);
    }
    pb_bytes(b, 3, set->scopes[first->scope].schema_url);
    pb_end(b, mark);
    return at;
}

void encode_trace(struct buf *b, const struct span_set *set)
{
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    const uint32_t *order = trace_order(&a, set);
    for (size_t at = 0; at < set->n_spans && !b->over;) {
        uint32_t resource = set->spans[order[at]].resource;
        size_t mark = pb_begin(b, 1);
        encode_resource(b, &set->resources[resource]);
        while (at < set->n_spans && !b->over && set->spans[order[at]].resource == resource)
            at = encode_scope_spans(b, set, order, at);
        pb_bytes(b, 3, set->resources[resource].schema_url);
        pb_end(b, mark);
    }
    arena_deinit(&a);
}
