/* tempo_trace.c - a trace by its id, v1 and v2: JSON or protobuf, whole, or (v2) only the spans
 * that a filter finds, with as much above and below them as is asked for.
 *
 * Parameters of v2, as Tempo names them: q, one spanset filter; keep_hierarchy, the ancestors of
 * what it finds, ancestor_depth levels of them at most; match_depth, so many levels below; and
 * those of tempo_prune.h. Runs in the query lane. */
#include <stdlib.h>

#include "server/api/span_ids.h"
#include "server/api/tempo_json.h"
#include "server/api/tempo_priv.h"
#include "server/api/tempo_prune.h"
#include "server/wire/encode_trace.h"
#include "server/wire/pb_write.h"

#define TRACE_TEXT_MAX (64 * MIB) // bytes of one encoded trace

static const struct time_range all_time = {INT64_MIN, INT64_MAX};

bool tempo_wants_protobuf(const struct http_request *req)
{
    return str_find(http_header_get(req, STR("accept")), STR("application/protobuf")) != SIZE_MAX;
}

bool tempo_wants_llm(const struct http_request *req)
{
    str accept = http_header_get(req, STR("accept"));
    return str_find(accept, TEMPO_LLM) != SIZE_MAX &&
           str_find(accept, STR("application/json")) == SIZE_MAX && !tempo_wants_protobuf(req);
}

/* Where Tempo looks; here all is one place. */
static bool check_mode(const struct api_call *c, struct err *err)
{
    str mode;
    if (!api_param(c, STR("mode"), &mode) || str_is(mode, "all") || str_is(mode, "ingesters") ||
        str_is(mode, "recent") || str_is(mode, "blocks") || str_is(mode, "external"))
        return true;
    return err_set(err, ERR_INVALID, "invalid value for mode " STR_FMT,
                   STR_ARG(str_sub(mode, 0, 100)));
}

static bool load_trace(struct api_call *c, uint8_t id[16], struct span_set *out, bool *partial,
                       struct err *err)
{
    struct time_range range;
    struct snapshot *snap;
    if (!trace_id_parse(c->req->path_args[0], id, err) || !check_mode(c, err) ||
        !tempo_param_range(c, all_time, &range, err) ||
        !query_snapshot(&c->q, SIGNAL_TRACES, range, &snap, err))
        return false;
    *partial = false;
    return store_trace(snap, id, range, (size_t)c->svc->config->max_trace_bytes, &c->q.arena, out,
                       partial, err);
}

/* ---- a part of a trace ---- */

#define LEVELS_ALL INT64_MAX

struct part {
    const struct span_set *set;
    struct span_ids ids;
    int64_t *up, *down;     // levels above and below that are kept, -1: the span itself is not
    uint32_t *queue;        // of spans whose children are to be kept
    uint32_t *first, *next; // children: lists through the spans, UINT32_MAX ends them
};

static void part_init(struct part *p, const struct span_set *set, struct arena *a)
{
    *p = (struct part){.set = set};
    span_ids_init(&p->ids, set, a);
    p->up = arena_array(a, int64_t, set->n_spans);
    p->down = arena_array(a, int64_t, set->n_spans);
    p->queue = arena_array(a, uint32_t, set->n_spans);
    p->first = arena_array(a, uint32_t, set->n_spans);
    p->next = arena_array(a, uint32_t, set->n_spans);
    for (uint32_t i = 0; i < set->n_spans; i++) {
        p->up[i] = p->down[i] = -1;
        p->first[i] = p->next[i] = UINT32_MAX;
    }
    for (uint32_t i = 0; i < set->n_spans; i++) {
        uint32_t parent = span_ids_find(&p->ids, set->spans[i].parent_id);
        if (parent == HMAP_NONE || parent == i)
            continue;
        p->next[i] = p->first[parent];
        p->first[parent] = i;
    }
}

/* A span that has been kept with as many levels needs no second walk, so all walks together take a
 * step per span and level at most; cycles end there, too. */
static void keep_above(struct part *p, uint32_t at, int64_t levels)
{
    while (at != HMAP_NONE && levels > p->up[at]) {
        p->up[at] = levels;
        if (levels == 0)
            break;
        levels -= levels != LEVELS_ALL;
        at = span_ids_find(&p->ids, p->set->spans[at].parent_id);
    }
}

/* Breadth first: a span is reached by its nearest match first. */
static void keep_below(struct part *p, size_t n_queue)
{
    for (size_t k = 0; k < n_queue; k++) {
        uint32_t at = p->queue[k];
        for (uint32_t i = p->first[at]; p->down[at] > 0 && i != UINT32_MAX; i = p->next[i]) {
            if (p->down[i] >= 0)
                continue;
            p->down[i] = p->down[at] - 1;
            p->queue[n_queue++] = i;
        }
    }
}

static int compare_keys(const struct traceql_span_key *a, const struct traceql_span_key *b)
{
    int c = memcmp(a->span_id, b->span_id, sizeof a->span_id);
    return c != 0 ? c : (int)a->kind - (int)b->kind;
}

static int compare_keys_qsort(const void *a, const void *b)
{
    return compare_keys(a, b);
}

static bool is_match(const struct traceql_span_key *keys, size_t n, const struct span *s)
{
    struct traceql_span_key key = {.kind = s->kind};
    memcpy(key.span_id, s->span_id, sizeof key.span_id);
    return n > 0 && bsearch(&key, keys, n, sizeof key, compare_keys_qsort);
}

/* Keeps the matches and what is asked for around them. */
static void cut_set(struct api_call *c, const struct traceql_span_key *keys, size_t n,
                    int64_t above, int64_t below, struct span_set *set)
{
    struct part p;
    size_t n_queue = 0, kept = 0;
    part_init(&p, set, &c->q.arena);
    for (uint32_t i = 0; i < set->n_spans; i++) {
        if (!is_match(keys, n, &set->spans[i]))
            continue;
        keep_above(&p, i, above);
        p.up[i] = MAX(p.up[i], 0); // also the other one of a pair
        p.down[i] = below;
        p.queue[n_queue++] = i;
    }
    keep_below(&p, n_queue);
    struct span *spans = arena_array(&c->q.arena, struct span, set->n_spans);
    for (size_t i = 0; i < set->n_spans; i++)
        if (p.up[i] >= 0 || p.down[i] >= 0)
            spans[kept++] = set->spans[i];
    set->spans = spans;
    set->n_spans = kept;
}

static bool levels_param(struct api_call *c, const char *name, int64_t fallback, int64_t *out,
                         struct err *err)
{
    if (!tempo_param_count(c, name, fallback, out, err))
        return false;
    return *out >= 0 || err_set(err, ERR_INVALID, "invalid %s: must not be negative", name);
}

static bool filter_trace(struct api_call *c, const uint8_t id[16], struct span_set *set,
                         struct err *err)
{
    str text, hierarchy;
    const struct traceql_expr *e;
    const struct traceql_span_key *keys;
    size_t n;
    int64_t above, below;
    struct time_range range = {INT64_MAX, INT64_MIN};
    if (!api_param(c, STR("q"), &text))
        return true;
    if (!levels_param(c, "ancestor_depth", LEVELS_ALL, &above, err) ||
        !levels_param(c, "match_depth", 0, &below, err))
        return false;
    if (!traceql_parse(&c->q, text, &e, err))
        return err_in(err, "invalid TraceQL query");
    if (!api_param(c, STR("keep_hierarchy"), &hierarchy) || str_is(hierarchy, "false") ||
        str_is(hierarchy, "0"))
        above = 0;
    for (size_t i = 0; i < set->n_spans; i++) {
        range.start_ns = MIN(range.start_ns, set->spans[i].start_ns);
        range.end_ns = MAX(range.end_ns, set->spans[i].end_ns);
    }
    if (!traceql_trace_filter(&c->q, e, id, range, &keys, &n, err))
        return false;
    struct traceql_span_key *sorted = arena_array(&c->q.arena, struct traceql_span_key, n);
    if (n > 0) {
        memcpy(sorted, keys, n * sizeof *keys);
        qsort(sorted, n, sizeof *sorted, compare_keys_qsort);
    }
    cut_set(c, sorted, n, above, below, set);
    return query_tick(&c->q, err);
}

/* ---- answers ---- */

static bool send_protobuf(struct api_call *c, struct buf *b, struct err *err)
{
    bool over = b->over;
    if (!over)
        reply_send(c->rep, 200, STR("application/protobuf"), buf_str(b));
    buf_deinit(b);
    return !over || err_set(err, ERR_LIMIT, "the trace is larger than %zu bytes when encoded",
                            (size_t)TRACE_TEXT_MAX);
}

static str partial_message(struct api_call *c)
{
    return arena_fmt(
        &c->q.arena,
        "the trace is larger than %llu bytes (query.max_trace_size): some spans are left out",
        (unsigned long long)c->svc->config->max_trace_bytes);
}

bool tempo_run_trace_v1(struct api_call *c, struct err *err)
{
    struct span_set set = {0};
    uint8_t id[16];
    bool partial;
    if (!load_trace(c, id, &set, &partial, err))
        return false;
    if (set.n_spans == 0) {
        reply_send(c->rep, 404, STR("text/plain; charset=utf-8"), STR(""));
        return true;
    }
    if (partial) { // nothing in such an answer could say that it is not whole
        str text = partial_message(c);
        reply_send(c->rep, 422, STR("text/plain; charset=utf-8"),
                   str_sub(text, 0, str_find(text, STR(": some"))));
        return true;
    }
    if (tempo_wants_protobuf(c->req)) {
        struct buf b;
        buf_init(&b, TRACE_TEXT_MAX);
        encode_trace(&b, &set);
        return send_protobuf(c, &b, err);
    }
    struct json j;
    tempo_begin_json(&j, c->rep);
    json_object(&j);
    json_key(&j, STR("batches"));
    tempo_json_resource_spans(&j, &c->q.arena, &set);
    json_object_end(&j);
    tempo_end_json(&j, c->rep);
    return true;
}

bool tempo_run_trace_v2(struct api_call *c, struct err *err)
{
    struct span_set set = {0};
    uint8_t id[16];
    bool partial;
    if (!load_trace(c, id, &set, &partial, err) ||
        (set.n_spans > 0 && !filter_trace(c, id, &set, err)) ||
        (c->svc->config->span_pruning && !tempo_prune(c, &c->q.arena, &set, err)))
        return false;
    if (tempo_wants_protobuf(c->req)) {
        struct buf b;
        buf_init(&b, TRACE_TEXT_MAX);
        size_t trace = pb_begin(&b, 1); // always there, readers need it
        encode_trace(&b, &set);
        pb_end(&b, trace);
        size_t metrics = pb_begin(&b, 2);
        pb_end(&b, metrics);
        if (partial) {
            pb_uint(&b, 3, 1);
            pb_bytes(&b, 4, partial_message(c));
        }
        return send_protobuf(c, &b, err);
    }
    struct json j;
    if (tempo_wants_llm(c->req)) {
        reply_header(c->rep, STR("content-type"), TEMPO_LLM);
        json_begin(&j, reply_sink(c->rep));
        tempo_llm_trace(&j, &c->q.arena, &set);
        tempo_end_json(&j, c->rep);
        return true;
    }
    tempo_begin_json(&j, c->rep);
    json_object(&j);
    json_key(&j, STR("trace"));
    json_object(&j);
    if (set.n_spans > 0) {
        json_key(&j, STR("resourceSpans"));
        tempo_json_resource_spans(&j, &c->q.arena, &set);
    }
    json_object_end(&j);
    json_key(&j, STR("metrics"));
    json_object(&j);
    json_object_end(&j);
    if (partial) {
        json_kv_str(&j, "status", STR("PARTIAL"));
        json_kv_str(&j, "message", partial_message(c));
    }
    json_object_end(&j);
    tempo_end_json(&j, c->rep);
    return true;
}
