/* seal_traces.c - traces from generation to segments: which retention class each trace belongs to,
 * and a pass of the merge over the chunks for every class that has some.
 *
 * Matchers are run over columns: each entry of a dictionary, a list or an enumeration is tested
 * once, the answers are spread over the spans. A trace belongs to the first class that any of its
 * spans meets, whichever chunk that span is in, so all chunks are looked at before the first is
 * written. Background thread, under the sealing baton. */
#include <assert.h>
#include <stdlib.h>

#include "storage/base/hmap.h"
#include "storage/engine/classes.h"
#include "storage/engine/head_traces.h"
#include "storage/engine/segment_traces.h"

#define KIND_VALUES 256 // of a span's kind and status: a byte each

struct trace_class {
    uint8_t id[16];
    uint8_t class_no;
};

struct splitter {
    const struct seal_class *classes;
    size_t n_classes;
    struct hmap map; // of traces in a class other than the default
    VEC(struct trace_class) traces;
    struct arena tmp; // of one matcher on one chunk
};

/* ---- matching; hits[row] of all rows is written ---- */

struct look {
    const struct span_columns *b;
    const struct matcher *m;
    struct arena *a;
    uint32_t n; // spans
    uint8_t *hits;
};

/* A regex above its step limit does not match: a seal must not fail for it. */
static bool holds(const struct matcher *m, str text)
{
    struct err ignored = ERR_OK;
    bool hit = false;
    return matcher_test(m, text, &hit, &ignored) && hit;
}

static bool look_kind(const struct look *l, bool status, struct err *err)
{
    static const char *const kinds[] = {"unspecified", "internal", "server",
                                        "client",      "producer", "consumer"};
    static const char *const statuses[] = {"unset", "ok", "error"};
    const char *const *names = status ? statuses : kinds;
    size_t n_names = status ? COUNTOF(statuses) : COUNTOF(kinds);
    const uint8_t *kind, *stat;
    uint8_t hit[KIND_VALUES];
    if (!span_block_kinds(l->b, l->a, &kind, &stat, err))
        return false;
    for (size_t i = 0; i < n_names; i++)
        hit[i] = holds(l->m, str_c(names[i]));
    memset(hit + n_names, holds(l->m, (str){0}), sizeof(hit) - n_names);
    for (uint32_t i = 0; i < l->n; i++)
        l->hits[i] = hit[status ? stat[i] : kind[i]];
    return true;
}

static bool look_name(const struct look *l, struct err *err)
{
    struct span_dict d;
    if (!span_block_dict(l->b, SPAN_COL_NAME, l->n, l->a, &d, err))
        return false;
    uint8_t *hit = arena_alloc(l->a, d.n);
    for (uint32_t i = 0; i < d.n; i++)
        hit[i] = holds(l->m, d.v[i]);
    for (uint32_t i = 0; i < l->n; i++)
        l->hits[i] = hit[d.code[i]];
    return true;
}

static bool look_resource(const struct look *l, str key, struct err *err)
{
    const struct resource *res;
    const uint32_t *code;
    uint32_t n;
    if (!span_block_resources(l->b, l->a, &res, &n, err) ||
        !span_block_codes(l->b, SPAN_COL_RESOURCE, l->n, n, l->a, &code, err))
        return false;
    uint8_t *hit = arena_alloc(l->a, n);
    for (uint32_t i = 0; i < n; i++) {
        const struct value *v = attrs_get(res[i].attrs, key);
        hit[i] = holds(l->m, v ? value_text(l->a, v) : (str){0});
    }
    for (uint32_t i = 0; i < l->n; i++)
        l->hits[i] = hit[code[i]];
    return true;
}

static bool look_values(const struct look *l, const struct span_values *v, struct err *err)
{
    struct value x;
    uint8_t *hit = NULL, last = 0;
    if (v->dict.v) {
        hit = arena_alloc(l->a, v->dict.n);
        for (uint32_t i = 0; i < v->dict.n; i++) {
            if (!span_dict_value(v->kind, v->dict.v[i], l->a, &x, err))
                return false;
            hit[i] = holds(l->m, value_text(l->a, &x));
        }
    }
    for (uint32_t i = 0; i < v->n; i++) {
        bool again = v->ints && i > 0 && v->ints[i] == v->ints[i - 1];
        if (!hit && !again) {
            struct arena_mark mark = arena_mark(l->a);
            if (!span_values_get(v, i, l->a, &x, err))
                return false;
            last = holds(l->m, value_text(l->a, &x));
            arena_release(l->a, mark);
        }
        l->hits[v->row[i]] = hit ? hit[v->dict.code[i]] : last;
    }
    return true;
}

static bool look_attr(const struct look *l, str key, struct err *err)
{
    struct span_shapes shapes = {0};
    memset(l->hits, holds(l->m, (str){0}), l->n);
    for (uint32_t k = 0; k < l->b->n_keys; k++) {
        struct span_values v;
        if (l->b->keys[k].table != TABLE_SPAN || !str_eq(l->b->keys[k].name, key))
            continue;
        if (!shapes.v && !span_block_shapes(l->b, TABLE_SPAN, l->a, &shapes, err))
            return false;
        if (!span_block_values(l->b, &shapes, k, l->a, &v, err) || !look_values(l, &v, err))
            return false;
    }
    return true;
}

static bool look(const struct look *l, struct err *err)
{
    str name = l->m->name, resource = STR("resource."), span = STR("span.");
    if (str_is(name, "status"))
        return look_kind(l, true, err);
    if (str_is(name, "kind"))
        return look_kind(l, false, err);
    if (str_is(name, "name"))
        return look_name(l, err);
    if (str_is(name, "service"))
        return look_resource(l, STR("service.name"), err);
    if (str_starts(name, resource))
        return look_resource(l, str_sub(name, resource.n, name.n), err);
    ASSERT(str_starts(name, span)); // retention_class_check knows no others
    return look_attr(l, str_sub(name, span.n, name.n), err);
}

/* mask[row]: does the span meet all matchers? *any: does one? */
static bool class_mask(struct splitter *s, const struct span_columns *b, const struct matchers *m,
                       uint8_t *mask, bool *any, struct err *err)
{
    uint32_t n = b->head.rows[TABLE_SPAN];
    memset(mask, 1, n);
    *any = true;
    for (size_t k = 0; k < m->n && *any; k++) {
        struct arena_mark mark = arena_mark(&s->tmp);
        struct look l = {b, &m->v[k], &s->tmp, n, arena_alloc(&s->tmp, n)};
        if (!look(&l, err))
            return false;
        for (uint32_t i = 0; i < n; i++)
            mask[i] &= l.hits[i];
        *any = memchr(mask, 1, n) != NULL;
        arena_release(&s->tmp, mark);
    }
    return true;
}

/* ---- classes of traces ---- */

struct find_ctx {
    const struct splitter *s;
    const uint8_t *id;
};

static bool trace_is(const void *ctx, uint32_t index)
{
    const struct find_ctx *f = ctx;
    return memcmp(f->s->traces.v[index].id, f->id, 16) == 0;
}

static struct trace_class *trace_find(const struct splitter *s, const uint8_t id[16])
{
    struct find_ctx ctx = {s, id};
    if (s->traces.n == 0)
        return NULL;
    uint32_t at = hmap_find(&s->map, hash64((str){(const char *)id, 16}), trace_is, &ctx);
    return at == HMAP_NONE ? NULL : &s->traces.v[at];
}

static size_t trace_class_no(const struct splitter *s, const uint8_t id[16])
{
    const struct trace_class *t = trace_find(s, id);
    return t ? t->class_no : 0;
}

static void trace_note(struct splitter *s, const uint8_t id[16], size_t class_no)
{
    struct trace_class *known = trace_find(s, id);
    if (known) {
        known->class_no = (uint8_t)MIN(known->class_no, class_no);
        return;
    }
    struct trace_class t = {.class_no = (uint8_t)class_no};
    memcpy(t.id, id, 16);
    hmap_put(&s->map, hash64((str){(const char *)id, 16}), (uint32_t)s->traces.n);
    vec_push(&s->traces, NULL, t);
}

/* Notes the classes of the traces of one chunk. */
static bool chunk_note(struct splitter *s, const struct span_chunk *c, struct err *err)
{
    struct span_columns b;
    struct span_traces t;
    arena_reset(&s->tmp);
    if (!span_chunk_open(c->bytes, &s->tmp, &b, err) || !span_block_traces(&b, &s->tmp, &t, err))
        return false;
    uint8_t *mask = arena_alloc(&s->tmp, b.head.rows[TABLE_SPAN]);
    for (size_t i = 0; i < s->n_classes; i++) {
        bool any;
        if (!class_mask(s, &b, &s->classes[i].matchers, mask, &any, err))
            return false;
        for (uint32_t k = 0; any && k < t.n; k++)
            if (memchr(mask + t.row[k], 1, t.row[k + 1] - t.row[k]))
                trace_note(s, t.id[k], i + 1);
    }
    return true;
}

/* ---- sealing ---- */

static int chunk_cmp(const void *x, const void *y)
{
    const struct span_chunk *a = *(struct span_chunk *const *)x,
                            *b = *(struct span_chunk *const *)y;
    return (a->head.t0_ns > b->head.t0_ns) - (a->head.t0_ns < b->head.t0_ns);
}

struct seal_input {
    struct traces_input base;
    struct span_chunk *const *chunks;
    size_t n, at;
    const struct splitter *split; // with classes only
    const uint32_t *present;      // by chunk: bit c = has a trace of class c
    size_t class_no;
};

static bool seal_next(struct traces_input *in, struct arena *a, struct span_columns *out,
                      bool *have, struct err *err)
{
    struct seal_input *s = CONTAINER_OF(in, struct seal_input, base);
    while (s->present && s->at < s->n && !(s->present[s->at] >> s->class_no & 1))
        s->at++;
    *have = s->at < s->n;
    return !*have || span_chunk_open(s->chunks[s->at++]->bytes, a, out, err);
}

static bool seal_skip(struct traces_input *in, const struct span_traces *traces, uint8_t *skip,
                      struct err *err)
{
    (void)err;
    struct seal_input *s = CONTAINER_OF(in, struct seal_input, base);
    for (uint32_t i = 0; i < traces->n; i++)
        skip[i] = trace_class_no(s->split, traces->id[i]) != s->class_no;
    return true;
}

static_assert(LIMIT_RETENTION_CLASSES < 32, "a bit for each class and the default");

static bool seal_classes(struct splitter *s, struct span_chunk *const *chunks, size_t n,
                         struct seal_sink *sink, struct err *err)
{
    for (size_t i = 0; i < n; i++)
        if (!chunk_note(s, chunks[i], err))
            return false;
    uint32_t *present = mem_zalloc(n * sizeof(*present)), all = 0;
    for (size_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < chunks[i]->head.n_traces; k++)
            present[i] |= UINT32_C(1) << trace_class_no(s, chunks[i]->trace_ids[k]);
        all |= present[i];
    }
    bool ok = true;
    for (size_t c = 0; ok && c <= s->n_classes; c++) {
        struct seal_input in = {.base = {seal_next, seal_skip},
                                .chunks = chunks,
                                .n = n,
                                .split = s,
                                .present = present,
                                .class_no = c};
        sink->class_no = c;
        ok = !(all >> c & 1) || segment_traces_write(&in.base, 0, sink, err);
    }
    mem_free(present);
    return ok;
}

bool traces_seal(struct span_chunk *const *chunks, size_t n, struct seal_sink *sink,
                 struct err *err)
{
    if (n == 0)
        return true;
    struct span_chunk **sorted = mem_alloc(n * sizeof(struct span_chunk *));
    memcpy(sorted, chunks, n * sizeof(struct span_chunk *));
    qsort(sorted, n, sizeof(struct span_chunk *), chunk_cmp);
    bool ok;
    if (sink->n_classes == 0) {
        struct seal_input in = {.base = {.next = seal_next}, .chunks = sorted, .n = n};
        ok = segment_traces_write(&in.base, 0, sink, err);
    } else {
        struct splitter s = {.classes = sink->classes, .n_classes = sink->n_classes};
        arena_init(&s.tmp, SIZE_MAX, NULL);
        ok = seal_classes(&s, sorted, n, sink, err);
        hmap_deinit(&s.map);
        vec_free(&s.traces);
        arena_deinit(&s.tmp);
    }
    mem_free(sorted);
    return ok;
}
