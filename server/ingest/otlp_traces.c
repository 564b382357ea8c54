/* otlp_traces.c - OTLP spans to a batch: everything that OTLP defines is kept. Ids of a wrong
 * length refuse the span, not the request; attributes nested too deeply are dropped and counted. */
#include "otlp.pb-c.h"
#include "server/ingest/otlp.h"

struct traces_walk {
    struct otlp_walk walk;
    struct decode *d;
    uint32_t resource, scope;
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
static bool copy_id(ProtobufCBinaryData id, uint8_t *dst, size_t n)
{
    memset(dst, 0, n);
    if (id.len == n)
        memcpy(dst, id.data, n);
    return id.len == n;
}

static bool read_events(struct arena *a, const Otlp__Span *m, struct span *s, struct err *err)
{
    ProtobufCAllocator alloc = arena_allocator(a);
    if (!otlp_room(a, m->n_events * sizeof(struct span_event)))
        return otlp_malformed(a, "events", err);
    struct span_event *events =
        m->n_events > 0 ? arena_array(a, struct span_event, m->n_events) : NULL;
    for (size_t i = 0; i < m->n_events; i++) {
        Otlp__Event *e = PB_UNPACK(otlp__event, &alloc, pb_str(m->events[i]));
        if (!e)
            return otlp_malformed(a, "Event", err);
        events[i] = (struct span_event){otlp_time(e->time), pb_str(e->name), {0}, e->dropped};
        if (!otlp_attrs(a, e->attributes, e->n_attributes, &events[i].attrs,
                        &events[i].dropped_attrs, err))
            return false;
    }
    s->events = events;
    s->n_events = (uint32_t)m->n_events;
    return true;
}

static bool read_links(struct arena *a, const Otlp__Span *m, struct span *s, struct err *err)
{
    ProtobufCAllocator alloc = arena_allocator(a);
    if (!otlp_room(a, m->n_links * sizeof(struct span_link)))
        return otlp_malformed(a, "links", err);
    struct span_link *links = m->n_links > 0 ? arena_array(a, struct span_link, m->n_links) : NULL;
    for (size_t i = 0; i < m->n_links; i++) {
        Otlp__Link *l = PB_UNPACK(otlp__link, &alloc, pb_str(m->links[i]));
        if (!l)
            return otlp_malformed(a, "Link", err);
        (void)copy_id(l->trace_id, links[i].trace_id, 16); // a link to nowhere is kept, as zeros
        (void)copy_id(l->span_id, links[i].span_id, 8);
        links[i].trace_state = pb_str(l->trace_state);
        links[i].dropped_attrs = l->dropped;
        links[i].flags = l->flags;
        if (!otlp_attrs(a, l->attributes, l->n_attributes, &links[i].attrs, &links[i].dropped_attrs,
                        err))
            return false;
    }
    s->links = links;
    s->n_links = (uint32_t)m->n_links;
    return true;
}

static bool read_status(struct arena *a, const Otlp__Span *m, struct span *s, struct err *err)
{
    if (m->status.len == 0)
        return true;
    ProtobufCAllocator alloc = arena_allocator(a);
    Otlp__Status *status = PB_UNPACK(otlp__status, &alloc, pb_str(m->status));
    if (!status)
        return otlp_malformed(a, "Status", err);
    s->status_message = pb_str(status->message);
    s->status = status->code >= STATUS_UNSET && status->code <= STATUS_ERROR ? (uint8_t)status->code
                                                                             : STATUS_UNSET;
    return true;
}

static bool on_span(struct otlp_walk *w, str bytes, struct err *err)
{
    struct traces_walk *t = CONTAINER_OF(w, struct traces_walk, walk);
    struct batch *b = t->d->batch;
    ProtobufCAllocator alloc = arena_allocator(w->arena);
    Otlp__Span *m = PB_UNPACK(otlp__span, &alloc, bytes);
    if (!m)
        return otlp_malformed(w->arena, "Span", err);
    struct span s = {.resource = t->resource,
                     .scope = t->scope,
                     .start_ns = otlp_time(m->start),
                     .end_ns = otlp_time(m->end),
                     .name = pb_str(m->name),
                     .trace_state = pb_str(m->trace_state),
                     .kind = m->kind >= SPAN_UNSPECIFIED && m->kind <= SPAN_CONSUMER
                                 ? (uint8_t)m->kind
                                 : SPAN_UNSPECIFIED,
                     .flags = m->flags,
                     .wire_bytes = (uint32_t)bytes.n,
                     .dropped_attrs = m->dropped_attributes,
                     .dropped_events = m->dropped_events,
                     .dropped_links = m->dropped_links};
    if (!copy_id(m->trace_id, s.trace_id, 16)) {
        batch_reject(b, 1, "trace id of %zu bytes: it must have 16", m->trace_id.len);
        return true;
    }
    if (!copy_id(m->span_id, s.span_id, 8) ||
        (!copy_id(m->parent_id, s.parent_id, 8) && m->parent_id.len > 0)) {
        batch_reject(b, 1, "span id or parent span id of a wrong length: it must have 8 bytes");
        return true;
    }
    struct err inner = ERR_OK;
    if (!otlp_attrs(w->arena, m->attributes, m->n_attributes, &s.attrs, &s.dropped_attrs, &inner) ||
        !read_events(w->arena, m, &s, &inner) || !read_links(w->arena, m, &s, &inner) ||
        !read_status(w->arena, m, &s, &inner)) {
        batch_reject(b, 1, "%s", inner.text);
        return true;
    }
    vec_push(&b->spans, w->arena, s);
    return true;
}

bool decode_otlp_traces(struct decode *d, str body, struct err *err)
{
    struct traces_walk t = {.walk = {.arena = d->batch->arena,
                                     .resource = on_resource,
                                     .scope = on_scope,
                                     .item = on_span},
                            .d = d};
    return otlp_walk(&t.walk, body, err);
}
