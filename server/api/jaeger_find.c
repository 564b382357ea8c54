/* jaeger_find.c - which traces have a span that meets a search of the Jaeger API?
 *
 * Service, operation and duration are conditions of the storage; tags, which may be the span's, the
 * process's or those of a log, are compared by their text, once per entry of a block's dictionary.
 * Blocks come newest first: the search ends when no later block can hold a newer match than the
 * oldest of `limit` traces. Runs in the query lane. */
#include <stdlib.h>

#include "server/api/jaeger_priv.h"
#include "storage/base/hash.h"
#include "storage/base/hmap.h"

#define COLUMNS_OF_TAG 4 // span, resource, event; a field of the span that Jaeger shows as a tag
#define COLUMNS_FIRST  2 // service, operation
#define COLUMNS_MAX    (COLUMNS_FIRST + COLUMNS_OF_TAG * JAEGER_TAGS_MAX)
#define CONDS_MAX      4

const char *const jaeger_kinds[JAEGER_KIND_COUNT] = {
    "", "internal", "server", "client", "producer", "consumer",
};

struct candidate {
    uint8_t trace_id[16];
    int64_t newest_ns; // start of its newest matching span
};

struct finder {
    struct query *q;
    const struct jaeger_find *f;
    struct span_column_ref columns[COLUMNS_MAX];
    size_t n_columns;
    struct span_cond conds[CONDS_MAX];
    size_t n_conds;
    size_t tag_column[JAEGER_TAGS_MAX + 1]; // first column of each tag; the end of the last one's
    uint8_t *memo[COLUMNS_MAX]; // per dictionary entry of the block: 0 unknown, 1 differs, 2 equal
    VEC(struct candidate) found;
    struct hmap map; // trace id -> found; heap
    struct arena block_arena;
};

/* ---- the plan ---- */

static void add_column(struct finder *s, enum span_field field, enum attr_scope scope, str key)
{
    s->columns[s->n_columns++] = (struct span_column_ref){field, scope, key};
}

/* What OTLP has as a field and Jaeger as a tag. */
static bool field_of_tag(str key, enum span_field *out)
{
    static const struct {
        const char *key;
        enum span_field field;
    } fields[] = {
        {"event", FIELD_EVENT_NAME},
        {"otel.status_description", FIELD_STATUS_MESSAGE},
        {"otel.scope.name", FIELD_SCOPE_NAME},
        {"otel.scope.version", FIELD_SCOPE_VERSION},
        {"otel.library.name", FIELD_SCOPE_NAME},
        {"otel.library.version", FIELD_SCOPE_VERSION},
        {"w3c.tracestate", FIELD_TRACE_STATE},
    };
    for (size_t i = 0; i < COUNTOF(fields); i++) {
        if (str_eq(key, str_c(fields[i].key))) {
            *out = fields[i].field;
            return true;
        }
    }
    return false;
}

static void add_cond(struct finder *s, struct span_cond cond)
{
    s->conds[s->n_conds++] = cond;
}

static void make_plan(struct finder *s)
{
    const struct jaeger_find *f = s->f;
    add_column(s, FIELD_ATTR, ATTR_RESOURCE, STR("service.name"));
    add_column(s, FIELD_NAME, ATTR_SPAN, STR(""));
    for (size_t i = 0; i < f->n_tags; i++) {
        str key = f->tags[i].key;
        enum span_field field;
        s->tag_column[i] = s->n_columns;
        add_column(s, FIELD_ATTR, ATTR_SPAN, key);
        add_column(s, FIELD_ATTR, ATTR_RESOURCE, key);
        add_column(s, FIELD_ATTR, ATTR_EVENT, key);
        if (field_of_tag(key, &field))
            add_column(s, field, ATTR_SPAN, STR(""));
    }
    s->tag_column[f->n_tags] = s->n_columns;
    struct value text = {.kind = VALUE_STR, .s = f->service};
    if (f->service.n > 0 && !str_eq(f->service, JAEGER_NO_SERVICE))
        add_cond(s, (struct span_cond){COND_COLUMN, s->columns[0], COND_EQ, text, NULL});
    text.s = f->operation;
    if (f->operation.n > 0)
        add_cond(s, (struct span_cond){COND_COLUMN, s->columns[1], COND_EQ, text, NULL});
    struct span_cond duration = {.field = COND_DURATION, .value = {.kind = VALUE_INT}};
    if (f->min_ns > 0) {
        duration.op = COND_GE;
        duration.value.i = f->min_ns;
        add_cond(s, duration);
    }
    if (f->max_ns < INT64_MAX) {
        duration.op = COND_LE;
        duration.value.i = f->max_ns;
        add_cond(s, duration);
    }
}

/* ---- one span ---- */

static bool entry_is(struct finder *s, const struct span_column *c, size_t column, uint32_t code,
                     str want)
{
    if (code == SPAN_NO_VALUE)
        return false;
    uint8_t *memo = &s->memo[column][code];
    if (*memo == 0) {
        const struct value *v = &c->dict[code];
        str text = v->kind == VALUE_STR ? v->s : value_text(&s->block_arena, v);
        *memo = str_eq(text, want) ? 2 : 1;
    }
    return *memo == 2;
}

static bool column_has(struct finder *s, const struct span_block *b, size_t column, size_t row,
                       str want)
{
    const struct span_column *c = &b->columns[column];
    if (!c->row_start)
        return entry_is(s, c, column, c->code[row], want);
    for (uint32_t i = c->row_start[row]; i < c->row_start[row + 1]; i++)
        if (entry_is(s, c, column, c->code[i], want))
            return true;
    return false;
}

/* Kind and status are not columns. */
static bool fixed_tag_is(const struct span_block *b, size_t row, const struct jaeger_tag *t)
{
    uint8_t status = b->status[row], kind = b->kind[row];
    if (str_is(t->key, "span.kind"))
        return kind > 0 && kind < JAEGER_KIND_COUNT && str_eq(t->value, str_c(jaeger_kinds[kind]));
    if (str_is(t->key, "error"))
        return status == STATUS_ERROR && str_is(t->value, "true");
    if (str_is(t->key, "otel.status_code"))
        return (status == STATUS_ERROR && str_is(t->value, "ERROR")) ||
               (status == STATUS_OK && str_is(t->value, "OK"));
    return false;
}

static bool has_tag(struct finder *s, const struct span_block *b, size_t row, size_t i)
{
    const struct jaeger_tag *t = &s->f->tags[i];
    for (size_t c = s->tag_column[i]; c < s->tag_column[i + 1]; c++)
        if (column_has(s, b, c, row, t->value))
            return true;
    return fixed_tag_is(b, row, t);
}

static bool has_service(struct finder *s, const struct span_block *b, size_t row)
{
    if (s->f->service.n == 0 || column_has(s, b, 0, row, s->f->service))
        return true;
    return b->columns[0].code[row] == SPAN_NO_VALUE && str_eq(s->f->service, JAEGER_NO_SERVICE);
}

static bool row_matches(struct finder *s, const struct span_block *b, size_t row)
{
    const struct jaeger_find *f = s->f;
    if (b->start_ns[row] < f->start_ns || b->start_ns[row] > f->end_ns ||
        b->duration_ns[row] < f->min_ns || b->duration_ns[row] > f->max_ns ||
        !has_service(s, b, row))
        return false;
    if (f->operation.n > 0 && !column_has(s, b, 1, row, f->operation))
        return false;
    for (size_t i = 0; i < f->n_tags; i++)
        if (!has_tag(s, b, row, i))
            return false;
    return true;
}

/* ---- the newest traces ---- */

struct id_key {
    const struct finder *s;
    const uint8_t *id;
};

static bool same_id(const void *ctx, uint32_t index)
{
    const struct id_key *key = ctx;
    return memcmp(key->s->found.v[index].trace_id, key->id, 16) == 0;
}

static uint64_t id_hash(const uint8_t *id)
{
    return hash64(str_of((const char *)id, 16));
}

static void keep(struct finder *s, const uint8_t *id, int64_t start_ns)
{
    struct id_key key = {s, id};
    uint32_t at = hmap_find(&s->map, id_hash(id), same_id, &key);
    if (at != HMAP_NONE) {
        s->found.v[at].newest_ns = MAX(s->found.v[at].newest_ns, start_ns);
        return;
    }
    struct candidate c = {.newest_ns = start_ns};
    memcpy(c.trace_id, id, 16);
    hmap_put(&s->map, id_hash(id), (uint32_t)s->found.n);
    vec_push(&s->found, &s->q->arena, c);
}

static int compare_newest(const void *x, const void *y)
{
    const struct candidate *a = x, *b = y;
    if (a->newest_ns != b->newest_ns)
        return a->newest_ns > b->newest_ns ? -1 : 1;
    return memcmp(a->trace_id, b->trace_id, 16);
}

/* Sorts, and forgets what is beyond the limit: later matches of those traces are older still. */
static void cut(struct finder *s)
{
    if (s->found.n > 1)
        qsort(s->found.v, s->found.n, sizeof *s->found.v, compare_newest);
    s->found.n = MIN(s->found.n, s->f->limit);
    hmap_deinit(&s->map);
    hmap_init(&s->map, NULL);
    for (uint32_t i = 0; i < s->found.n; i++)
        hmap_put(&s->map, id_hash(s->found.v[i].trace_id), i);
}

static bool visit_block(struct finder *s, const struct span_block *b, struct err *err)
{
    arena_reset(&s->block_arena);
    for (size_t c = 0; c < s->n_columns; c++)
        s->memo[c] = arena_zalloc(&s->block_arena, b->columns[c].n_dict);
    for (size_t row = 0; row < b->n; row++) {
        if (!query_tick(s->q, err))
            return false;
        if (row_matches(s, b, row))
            keep(s, b->trace_id[row], b->start_ns[row]);
    }
    return true;
}

static bool run(struct finder *s, struct span_iter *it, struct err *err)
{
    for (;;) {
        struct span_block b;
        enum step step = span_next(it, &b, err);
        if (step != STEP_ITEM)
            return step == STEP_END;
        if (!visit_block(s, &b, err))
            return false;
        if (s->found.n >= s->f->limit) {
            cut(s);
            if (s->found.v[s->found.n - 1].newest_ns >= b.newest_ns)
                return true;
        }
    }
}

static bool open_and_run(struct finder *s, struct err *err)
{
    struct query *q = s->q;
    struct time_range range = {s->f->start_ns, time_add(s->f->end_ns, 1)};
    struct span_select sel = {
        .start_ns = range.start_ns,
        .end_ns = range.end_ns,
        .columns = s->columns,
        .n_columns = s->n_columns,
        .conds = s->conds,
        .n_conds = s->n_conds,
        .all_conds = true,
        .ticker = &q->ticker,
        .stats = &q->scan,
        .crew = q->crew,
    };
    struct snapshot *snap;
    struct span_iter *it;
    if (!query_snapshot(q, SIGNAL_TRACES, range, &snap, err) ||
        !span_iter_open(snap, &sel, &q->budget, &it, err))
        return false;
    arena_init(&s->block_arena, q->limits.max_memory, &q->budget);
    bool ok = run(s, it, err);
    span_iter_close(it);
    arena_deinit(&s->block_arena);
    return ok;
}

bool jaeger_find(struct query *q, const struct jaeger_find *f, struct jaeger_ids *out,
                 struct err *err)
{
    struct finder *s = arena_new(&q->arena, struct finder);
    ASSERT(f->limit > 0 && f->n_tags <= JAEGER_TAGS_MAX);
    s->q = q;
    s->f = f;
    make_plan(s);
    bool ok = open_and_run(s, err);
    if (ok) {
        cut(s);
        uint8_t(*ids)[16] = arena_alloc_array(&q->arena, s->found.n, sizeof *ids);
        for (size_t i = 0; i < s->found.n; i++)
            memcpy(ids[i], s->found.v[i].trace_id, 16);
        *out = (struct jaeger_ids){(const uint8_t(*)[16])ids, s->found.n};
    }
    hmap_deinit(&s->map);
    return ok;
}
