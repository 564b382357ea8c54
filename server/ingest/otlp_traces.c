/* otlp_traces.c - OTLP spans to a batch: everything that OTLP defines is kept. Ids of a wrong
 * length refuse the span, not the request; attributes nested too deeply are dropped and counted.
 *
 * Spans are read by hand (a generated decoder costs as much as all the rest); of a field that comes
 * twice the last one counts, what is not known or of another type is passed over. */
#include "server/ingest/attr_shape.h"
#include "server/ingest/otlp.h"
#include "server/wire/pb_read.h"

/* Attributes that are being read. They are written where they stay: what a span takes, the list
 * begins behind. */
struct attr_list {
    struct attr *v;
    size_t n, cap;
    size_t slab; // attributes that were made room for last
};

#define ATTR_SLAB_MIN 16
#define ATTR_SLAB_MAX 512

struct traces_walk {
    struct otlp_walk walk;
    struct decode *d;
    uint32_t resource, scope;
    struct attr_shapes shapes;
    // of the span at hand; used again for the next one
    uint32_t shape;
    bool is_shape_lost; // it has keys without a number
    struct attr_list attrs, inner;
    VEC(struct span_event) events;
    VEC(struct span_link) links;
};

static bool on_resource(struct otlp_walk *w, str bytes, str schema_url, struct err *err)
{
    struct traces_walk *t = CONTAINER_OF(w, struct traces_walk, walk);
    struct batch *b = t->d->batch;
    struct resource r;
    if (!otlp_resource(w->arena, bytes, schema_url, &r, err))
        return false;
    t->resource = (uint32_t)b->resources.n;
    vec_push(&b->resources, w->arena, r);
    return true;
}

static bool on_scope(struct otlp_walk *w, str bytes, str schema_url, struct err *err)
{
    struct traces_walk *t = CONTAINER_OF(w, struct traces_walk, walk);
    struct batch *b = t->d->batch;
    struct scope s;
    if (!otlp_scope(w->arena, bytes, schema_url, &s, err))
        return false;
    t->scope = (uint32_t)b->scopes.n;
    vec_push(&b->scopes, w->arena, s);
    return true;
}

/* Empty stays zero; any length but n is refused. */
static bool copy_id(str id, uint8_t *dst, size_t n)
{
    memset(dst, 0, n);
    if (id.n == n)
        memcpy(dst, id.p, n);
    return id.n == n;
}

static void list_grow(struct arena *a, struct attr_list *list)
{
    list->slab = MIN(MAX(list->slab * 2, (size_t)ATTR_SLAB_MIN), (size_t)ATTR_SLAB_MAX);
    list->cap = MAX(list->slab, list->n * 2);
    struct attr *v = arena_array(a, struct attr, list->cap);
    if (list->n > 0)
        memcpy(v, list->v, list->n * sizeof(*v));
    list->v = v;
}

/* What the list has gathered. */
static struct attrs list_take(struct attr_list *list)
{
    struct attrs out = {list->n > 0 ? list->v : NULL, list->n};
    if (list->n > 0)
        list->v += list->n;
    list->cap -= list->n;
    list->n = 0;
    return out;
}

/* Takes one attribute. One that is nested too deeply is left out and counted. */
static bool take_attr(struct arena *a, str bytes, struct attr_list *list, uint32_t *dropped,
                      struct err *err)
{
    struct err inner; // hundreds of bytes, set by failures only
    if (list->n == list->cap)
        list_grow(a, list);
    if (otlp_attr(a, bytes, &list->v[list->n], &inner)) {
        list->n++;
        return true;
    }
    if (inner.code != ERR_LIMIT) {
        *err = inner;
        return false;
    }
    *dropped += 1;
    return true;
}

/* The last attribute of the span at hand is one more step of its shape. */
static inline void step_shape(struct traces_walk *t)
{
    if (t->is_shape_lost)
        return;
    t->shape = attr_shapes_step(&t->shapes, t->shape, &t->attrs.v[t->attrs.n - 1]);
    t->is_shape_lost = t->shape == ATTR_SHAPE_NONE;
}

/* take_attr for those of the span itself. */
static bool take_span_attr(struct traces_walk *t, str bytes, uint32_t *dropped, struct err *err)
{
    size_t n = t->attrs.n;
    if (!take_attr(t->walk.arena, bytes, &t->attrs, dropped, err))
        return false;
    if (t->attrs.n > n)
        step_shape(t);
    return true;
}

/* Takes an attribute of the span off the reader if it is the next field and of the form that nearly
 * all have. */
static inline bool take_plain_attr(struct traces_walk *t, struct rd *r)
{
    struct attr_list *list = &t->attrs;
    if (rd_left(r) < 2 || r->p[0] != PB_TAG(9, PB_BYTES) || r->p[1] >= 128 ||
        r->p[1] > rd_left(r) - 2)
        return false;
    str bytes = {(const char *)r->p + 2, r->p[1]};
    if (UNLIKELY(list->n == list->cap))
        list_grow(t->walk.arena, list);
    if (!otlp_attr_is_plain(bytes, &list->v[list->n]))
        return false;
    list->n++;
    r->p += 2 + bytes.n;
    step_shape(t);
    return true;
}

static bool read_event(struct traces_walk *t, str bytes, struct err *err)
{
    struct arena *a = t->walk.arena;
    struct span_event e = {.name = STR("")};
    uint32_t dropped = 0;
    struct rd r = rd_of(bytes);
    struct pb_field f;
    t->inner.n = 0;
    while (!a->over && pb_next(&r, &f)) {
        if (f.tag == PB_TAG(1, PB_64))
            e.time_ns = otlp_time(f.value);
        else if (f.tag == PB_TAG(2, PB_BYTES))
            e.name = f.bytes;
        else if (f.tag == PB_TAG(4, PB_VARINT))
            e.dropped_attrs = (uint32_t)f.value;
        else if (f.tag == PB_TAG(3, PB_BYTES) && !take_attr(a, f.bytes, &t->inner, &dropped, err))
            return false;
    }
    if (r.bad || a->over)
        return otlp_malformed(a, "Event", err);
    e.attrs = list_take(&t->inner);
    e.dropped_attrs += dropped;
    vec_push(&t->events, a, e);
    return true;
}

static bool read_link(struct traces_walk *t, str bytes, struct err *err)
{
    struct arena *a = t->walk.arena;
    struct span_link l = {.trace_state = STR("")};
    uint32_t dropped = 0;
    struct rd r = rd_of(bytes);
    struct pb_field f;
    t->inner.n = 0;
    while (!a->over && pb_next(&r, &f)) { // a link to nowhere is kept, its ids as zeros
        if (f.tag == PB_TAG(1, PB_BYTES))
            (void)copy_id(f.bytes, l.trace_id, 16);
        else if (f.tag == PB_TAG(2, PB_BYTES))
            (void)copy_id(f.bytes, l.span_id, 8);
        else if (f.tag == PB_TAG(3, PB_BYTES))
            l.trace_state = f.bytes;
        else if (f.tag == PB_TAG(5, PB_VARINT))
            l.dropped_attrs = (uint32_t)f.value;
        else if (f.tag == PB_TAG(6, PB_32))
            l.flags = (uint32_t)f.value;
        else if (f.tag == PB_TAG(4, PB_BYTES) && !take_attr(a, f.bytes, &t->inner, &dropped, err))
            return false;
    }
    if (r.bad || a->over)
        return otlp_malformed(a, "Link", err);
    l.attrs = list_take(&t->inner);
    l.dropped_attrs += dropped;
    vec_push(&t->links, a, l);
    return true;
}

static bool read_status(struct arena *a, str bytes, struct span *s, struct err *err)
{
    struct rd r = rd_of(bytes);
    struct pb_field f;
    s->status_message = STR("");
    s->status = STATUS_UNSET;
    while (pb_next(&r, &f)) {
        if (f.tag == PB_TAG(2, PB_BYTES))
            s->status_message = f.bytes;
        else if (f.tag == PB_TAG(3, PB_VARINT))
            s->status = f.value <= STATUS_ERROR ? (uint8_t)f.value : STATUS_UNSET;
    }
    return !r.bad || otlp_malformed(a, "Status", err);
}

/* The parts that have a message of their own; *ok false: one of them is broken. */
static void read_part(struct traces_walk *t, const struct pb_field *f, struct span *s,
                      uint32_t *dropped, bool *ok, struct err *err)
{
    struct arena *a = t->walk.arena;
    if (!*ok)
        return;
    if (f->tag == PB_TAG(9, PB_BYTES))
        *ok = take_span_attr(t, f->bytes, dropped, err);
    else if (f->tag == PB_TAG(11, PB_BYTES))
        *ok = read_event(t, f->bytes, err);
    else if (f->tag == PB_TAG(13, PB_BYTES))
        *ok = read_link(t, f->bytes, err);
    else if (f->tag == PB_TAG(15, PB_BYTES))
        *ok = read_status(a, f->bytes, s, err);
}

struct span_ids {
    str trace, span, parent;
};

/* All fields of one span. Errors: of the span as a whole; *part tells of a broken part. */
static bool read_span(struct traces_walk *t, str bytes, struct span *s, struct span_ids *ids,
                      struct err *part, struct err *err)
{
    struct arena *a = t->walk.arena;
    *s = (struct span){.resource = t->resource,
                       .scope = t->scope,
                       .wire_bytes = (uint32_t)bytes.n,
                       .name = STR(""),
                       .trace_state = STR(""),
                       .status_message = STR("")};
    uint32_t dropped = 0;
    bool ok = true;
    struct rd r = rd_of(bytes);
    struct pb_field f;
    t->attrs.n = t->events.n = t->links.n = 0;
    t->shape = ATTR_SHAPE_NONE;
    t->is_shape_lost = false;
    for (;;) {
        while (take_plain_attr(t, &r)) {
        }
        if (a->over || !pb_next(&r, &f))
            break;
        switch (f.tag) {
        case PB_TAG(1, PB_BYTES):
            ids->trace = f.bytes;
            break;
        case PB_TAG(2, PB_BYTES):
            ids->span = f.bytes;
            break;
        case PB_TAG(3, PB_BYTES):
            s->trace_state = f.bytes;
            break;
        case PB_TAG(4, PB_BYTES):
            ids->parent = f.bytes;
            break;
        case PB_TAG(5, PB_BYTES):
            s->name = f.bytes;
            break;
        case PB_TAG(6, PB_VARINT):
            s->kind = f.value <= SPAN_CONSUMER ? (uint8_t)f.value : SPAN_UNSPECIFIED;
            break;
        case PB_TAG(7, PB_64):
            s->start_ns = otlp_time(f.value);
            break;
        case PB_TAG(8, PB_64):
            s->end_ns = otlp_time(f.value);
            break;
        case PB_TAG(10, PB_VARINT):
            s->dropped_attrs = (uint32_t)f.value;
            break;
        case PB_TAG(12, PB_VARINT):
            s->dropped_events = (uint32_t)f.value;
            break;
        case PB_TAG(14, PB_VARINT):
            s->dropped_links = (uint32_t)f.value;
            break;
        case PB_TAG(16, PB_32):
            s->flags = (uint32_t)f.value;
            break;
        default:
            read_part(t, &f, s, &dropped, &ok, part);
        }
    }
    if (r.bad || a->over)
        return otlp_malformed(a, "Span", err);
    s->dropped_attrs += dropped;
    return true;
}

/* The lists of the span at hand; those of events and links are copied, for the walk's own are used
 * again. */
static void take_lists(struct traces_walk *t, struct span *s)
{
    struct arena *a = t->walk.arena;
    s->attrs = list_take(&t->attrs);
    s->shape = t->shape;
    s->n_events = (uint32_t)t->events.n;
    s->n_links = (uint32_t)t->links.n;
    if (s->n_events > 0) {
        struct span_event *v = arena_array(a, struct span_event, s->n_events);
        memcpy(v, t->events.v, s->n_events * sizeof(*v));
        s->events = v;
    }
    if (s->n_links > 0) {
        struct span_link *v = arena_array(a, struct span_link, s->n_links);
        memcpy(v, t->links.v, s->n_links * sizeof(*v));
        s->links = v;
    }
}

static bool on_span(struct otlp_walk *w, str bytes, struct err *err)
{
    struct traces_walk *t = CONTAINER_OF(w, struct traces_walk, walk);
    struct batch *b = t->d->batch;
    struct span_ids ids = {0};
    struct err part; // the text is set by failures only
    part.code = ERR_NONE;
    if (b->spans.n == b->spans.cap)
        b->spans.v = vec_grow(b->spans.v, b->spans.n, &b->spans.cap, b->spans.n + 1,
                              sizeof(b->spans.v[0]), w->arena);
    struct span *s = &b->spans.v[b->spans.n]; // taken at the end
    if (!read_span(t, bytes, s, &ids, &part, err))
        return false;
    if (!copy_id(ids.trace, s->trace_id, 16)) {
        batch_reject(b, 1, "trace id of %zu bytes: it must have 16", ids.trace.n);
        return true;
    }
    if (!copy_id(ids.span, s->span_id, 8) ||
        (!copy_id(ids.parent, s->parent_id, 8) && ids.parent.n > 0)) {
        batch_reject(b, 1, "span id or parent span id of a wrong length: it must have 8 bytes");
        return true;
    }
    if (part.code != ERR_NONE) {
        batch_reject(b, 1, "%s", part.text);
        return true;
    }
    take_lists(t, s);
    b->spans.n++;
    return true;
}

bool decode_otlp_traces(struct decode *d, str body, struct err *err)
{
    struct traces_walk t = {.walk = {.arena = d->batch->arena,
                                     .resource = on_resource,
                                     .scope = on_scope,
                                     .item = on_span},
                            .d = d};
    attr_shapes_init(&t.shapes, d->batch->arena);
    return otlp_walk(&t.walk, body, err);
}
