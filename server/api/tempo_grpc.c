/* tempo_grpc.c - tempopb.StreamingQuerier: Tempo's searches, tags and metrics over gRPC, on every
 * listener; and the same answers as one protobuf message over HTTP, for clients that accept it.
 *
 * A request's message becomes the parameters of the HTTP API, so that both have one set of rules,
 * limits and errors. Every method answers a stream: traces in increments of what was found since
 * the last one (each trace once, complete), at most half a second apart, with what has been read so
 * far; other answers at their end, in messages of about a megabyte. A client that goes away ends
 * the query. Runs in the query lane. Field numbers: Tempo's public definitions. */
#include <stdlib.h>

#include "server/api/api.h"
#include "server/api/tempo_json.h"
#include "server/api/tempo_priv.h"
#include "server/api/tempo_proto.h"
#include "server/wire/pb_read.h"
#include "server/wire/pb_write.h"
#include "storage/base/num.h"

#define PARAMS_MAX   16
#define PACKET_MAX   (1 * MIB)         // bytes of a message, about: clients take 4 MiB
#define MESSAGE_MAX  (64 * MIB)        // bytes of one trace or series, and of an instant answer
#define BEAT_NS      (500 * NS_PER_MS) // between increments
#define GRPC_INVALID 3                 // google.rpc.Code

/* ---- requests ---- */

struct grpc_field { // of a request, and the parameter that it is
    uint32_t number;
    enum { TEXT, NUMBER, NANOSECONDS, MILLISECONDS, TAGS } type;
    const char *param;
};

static const struct grpc_field messages[TEMPO_MESSAGES][10] = {
    [TEMPO_SEARCH_REQUEST] = {{1, TAGS, "tags"},
                              {2, MILLISECONDS, "minDuration"},
                              {3, MILLISECONDS, "maxDuration"},
                              {4, NUMBER, "limit"},
                              {5, NUMBER, "start"},
                              {6, NUMBER, "end"},
                              {8, TEXT, "q"},
                              {9, NUMBER, "spss"}},
    [TEMPO_TAGS_REQUEST] = {{1, TEXT, "scope"},
                            {2, TEXT, "q"},
                            {3, NUMBER, "start"},
                            {4, NUMBER, "end"},
                            {5, NUMBER, "limit"}},
    [TEMPO_VALUES_REQUEST] = {{1, TEXT, "tagName"},
                              {2, TEXT, "q"},
                              {3, NUMBER, "start"},
                              {4, NUMBER, "end"},
                              {5, NUMBER, "limit"}},
    [TEMPO_RANGE_REQUEST] = {{1, TEXT, "q"},
                             {2, NUMBER, "start"},
                             {3, NUMBER, "end"},
                             {4, NANOSECONDS, "step"},
                             {16, NUMBER, "exemplars"},
                             {17, NUMBER, "maxSeries"},
                             {18, NUMBER, "instant"}},
    [TEMPO_INSTANT_REQUEST] = {{1, TEXT, "q"}, {2, NUMBER, "start"}, {3, NUMBER, "end"}},
};

struct grpc_params {
    struct http_param v[PARAMS_MAX];
    size_t n;
    struct buf tags; // logfmt
};

static void quote(struct buf *b, str s)
{
    buf_add_char(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"' || s.p[i] == '\\')
            buf_add_char(b, '\\');
        buf_add_char(b, s.p[i]);
    }
    buf_add_char(b, '"');
}

static bool add_tag(struct buf *tags, str entry)
{
    struct rd r = rd_of(entry);
    struct pb_field f;
    str key = {0}, value = {0};
    while (pb_next(&r, &f)) {
        if (f.tag == PB_TAG(1, PB_BYTES))
            key = f.bytes;
        if (f.tag == PB_TAG(2, PB_BYTES))
            value = f.bytes;
    }
    buf_add(tags, tags->n > 0 ? STR(" ") : STR(""));
    buf_add(tags, key);
    buf_add_char(tags, '=');
    quote(tags, value);
    return !r.bad;
}

/* Zeros and empty texts are as good as absent: proto3 does not tell them apart. */
static bool set_param(struct grpc_params *p, struct arena *a, const struct grpc_field *field,
                      const struct pb_field *f)
{
    str text = f->bytes;
    unsigned long long n = f->value;
    if (field->type == TAGS)
        return add_tag(&p->tags, f->bytes);
    if (field->type == NUMBER)
        text = n ? arena_fmt(a, "%llu", n) : STR("");
    if (field->type == NANOSECONDS)
        text = n ? arena_fmt(a, "%lluns", n) : STR("");
    if (field->type == MILLISECONDS)
        text = n ? arena_fmt(a, "%llums", n) : STR("");
    for (size_t i = 0; i < p->n; i++) { // the last one counts
        if (str_eq(p->v[i].name, str_c(field->param))) {
            p->v[i].value = text;
            return true;
        }
    }
    if (p->n < PARAMS_MAX)
        p->v[p->n++] = (struct http_param){str_c(field->param), text};
    return true;
}

static bool read_fields(str message, struct arena *a, const struct grpc_field *fields,
                        struct grpc_params *p)
{
    struct rd r = rd_of(message);
    struct pb_field f;
    while (pb_next(&r, &f)) {
        for (const struct grpc_field *field = fields; field->param; field++) {
            bool is_bytes = field->type == TEXT || field->type == TAGS;
            if (f.tag == PB_TAG(field->number, is_bytes ? PB_BYTES : PB_VARINT) &&
                !set_param(p, a, field, &f))
                return false;
        }
    }
    return !r.bad;
}

bool tempo_message_read(struct arena *a, enum tempo_message type, str message,
                        const struct http_param **out, size_t *n, struct err *err)
{
    struct grpc_params *p = arena_new(a, struct grpc_params);
    buf_init(&p->tags, MIB);
    bool ok = read_fields(message, a, messages[type], p) && !p->tags.over;
    if (ok && p->tags.n > 0)
        p->v[p->n++] = (struct http_param){STR("tags"), arena_dup(a, buf_str(&p->tags))};
    buf_deinit(&p->tags);
    *out = p->v;
    *n = p->n;
    return ok || err_set(err, ERR_INVALID, "the request is not a message of its type");
}

/* "30S", "500m": the client's patience. */
static void take_timeout(struct api_call *c)
{
    static const struct {
        char unit;
        int64_t ns;
    } units[] = {{'H', 3600 * NS_PER_S}, {'M', 60 * NS_PER_S}, {'S', NS_PER_S},
                 {'m', NS_PER_MS},       {'u', 1000},          {'n', 1}};
    str text = http_header_get(c->req, STR("grpc-timeout"));
    uint64_t n;
    if (text.n < 2 || !num_parse_u64(str_sub(text, 0, text.n - 1), &n) || n > UINT32_MAX)
        return;
    for (size_t i = 0; i < COUNTOF(units); i++)
        if (text.p[text.n - 1] == units[i].unit)
            api_timeout(c, time_mul((int64_t)n, units[i].ns));
}

/* ---- answers ---- */

static bool send_buf(struct api_call *c, struct buf *b, struct err *err)
{
    if (b->over)
        return err_set(err, ERR_LIMIT, "a message of the answer is larger than %zu bytes",
                       (size_t)MESSAGE_MAX);
    if (c->req->is_grpc)
        reply_message(c->rep, buf_str(b));
    else
        reply_send(c->rep, 200, STR("application/protobuf"), buf_str(b));
    buf_clear(b);
    return true;
}

/* Has the message grown to a packet? Over HTTP there is one message only. */
static bool is_packet(const struct api_call *c, const struct buf *b)
{
    return c->req->is_grpc && b->n > PACKET_MAX;
}

/* A search that tells what it finds. */
struct stream {
    struct api_call *c;
    bool with_spansets;
    VEC(const struct traceql_trace *) found; // and not sent
    int64_t sent_ns;                         // monotonic, of the last increment
    struct buf b;
};

static int compare_newest(const void *x, const void *y)
{
    const struct traceql_trace *a = *(const struct traceql_trace *const *)x;
    const struct traceql_trace *b = *(const struct traceql_trace *const *)y;
    if (a->start_ns != b->start_ns)
        return a->start_ns > b->start_ns ? -1 : 1;
    return memcmp(a->trace_id, b->trace_id, 16);
}

/* What has been found, newest first; the last message of the increment is left in s->b. */
static bool encode_found(struct stream *s, struct err *err)
{
    struct arena *a = &s->c->q.arena;
    if (s->found.n > 1)
        qsort(s->found.v, s->found.n, sizeof *s->found.v, compare_newest);
    for (size_t i = 0; i < s->found.n; i++) {
        struct arena_mark mark = arena_mark(a);
        tempo_proto_trace(&s->b, a, s->found.v[i], s->with_spansets);
        arena_release(a, mark);
        if (is_packet(s->c, &s->b) && !send_buf(s->c, &s->b, err))
            return false;
    }
    s->found.n = 0;
    return true;
}

static void on_found(void *ctx, const struct traceql_trace *t)
{
    struct stream *s = ctx;
    vec_push(&s->found, &s->c->q.arena, t);
}

/* Asked by the query now and then: the place for increments. */
static bool on_beat(void *ctx)
{
    struct stream *s = ctx;
    struct query *q = &s->c->q;
    struct err err = ERR_OK;
    if (http_is_canceled(s->c->req))
        return true;
    int64_t now_ns = clock_mono_ns(q->clock);
    if (now_ns - s->sent_ns < BEAT_NS)
        return false;
    s->sent_ns = now_ns;
    if (!encode_found(s, &err))
        return true;
    tempo_proto_scan(&s->b, 0, q->scan.spans, q->scan.bytes, false);
    return !send_buf(s->c, &s->b, &err);
}

static bool search_and_send(struct stream *s, struct err *err)
{
    struct traceql_result result = {0};
    if (!tempo_search(s->c, on_found, s, &result, err) || !encode_found(s, err))
        return false;
    tempo_proto_scan(&s->b, result.inspected_traces, result.inspected_spans, result.inspected_bytes,
                     true);
    return send_buf(s->c, &s->b, err);
}

bool tempo_proto_search(struct api_call *c, struct err *err)
{
    struct stream *s = arena_new(&c->q.arena, struct stream);
    str text;
    s->c = c;
    s->with_spansets = api_param(c, STR("q"), &text);
    s->sent_ns = clock_mono_ns(c->q.clock);
    if (c->req->is_grpc) {
        c->q.is_canceled = on_beat;
        c->q.cancel_ctx = s;
    }
    buf_init(&s->b, MESSAGE_MAX);
    bool ok = search_and_send(s, err);
    buf_deinit(&s->b);
    return ok;
}

static bool send_metrics(struct api_call *c, struct buf *b, const struct traceql_matrix *m,
                         bool is_instant, struct err *err)
{
    struct arena *a = &c->q.arena;
    for (size_t i = 0; i < m->n_series; i++) {
        struct arena_mark mark = arena_mark(a);
        tempo_proto_series(b, a, m, &m->series[i], is_instant);
        arena_release(a, mark);
        /* Clients replace an instant answer by the next message: it must be one. */
        if (!query_tick(&c->q, err) || (!is_instant && is_packet(c, b) && !send_buf(c, b, err)))
            return false;
    }
    tempo_proto_scan(b, m->inspected_traces, m->inspected_spans, m->inspected_bytes, true);
    if (m->is_cut) {
        pb_uint(b, 3, 1);
        pb_bytes(b, 4, TEMPO_SERIES_CUT);
    }
    return send_buf(c, b, err);
}

static bool run_metrics(struct api_call *c, bool is_instant, struct err *err)
{
    struct traceql_matrix m;
    struct buf b;
    if (!tempo_metrics(c, is_instant, &m, err))
        return false;
    buf_init(&b, MESSAGE_MAX);
    bool ok = send_metrics(c, &b, &m, is_instant, err);
    buf_deinit(&b);
    return ok;
}

bool tempo_proto_query_range(struct api_call *c, struct err *err)
{
    str instant;
    return run_metrics(c, api_param(c, STR("instant"), &instant), err);
}

bool tempo_proto_query(struct api_call *c, struct err *err)
{
    return run_metrics(c, true, err);
}

/* Names and values: one message with field 1 repeated and an empty field 2. */
static bool send_list(struct api_call *c, struct buf *b, struct err *err)
{
    size_t metrics = pb_begin(b, 2);
    pb_end(b, metrics);
    bool ok = send_buf(c, b, err);
    buf_deinit(b);
    return ok;
}

bool tempo_proto_tags_v1(struct api_call *c, struct err *err)
{
    struct strs names;
    struct buf b;
    if (!tempo_tag_names(c, &names, err))
        return false;
    buf_init(&b, MESSAGE_MAX);
    for (size_t i = 0; i < names.n; i++)
        pb_bytes(&b, 1, names.v[i]);
    return send_list(c, &b, err);
}

bool tempo_proto_tags_v2(struct api_call *c, struct err *err)
{
    struct tempo_scope scopes[TEMPO_SCOPES_MAX];
    size_t n;
    struct buf b;
    if (!tempo_tag_scopes(c, scopes, &n, err))
        return false;
    buf_init(&b, MESSAGE_MAX);
    for (size_t i = 0; i < n; i++) {
        size_t scope = pb_begin(&b, 1);
        pb_bytes(&b, 1, str_c(scopes[i].name));
        for (size_t k = 0; k < scopes[i].tags.n; k++)
            pb_bytes(&b, 2, scopes[i].tags.v[k]);
        pb_end(&b, scope);
    }
    return send_list(c, &b, err);
}

static bool run_tag_values(struct api_call *c, bool v2, struct err *err)
{
    const struct traceql_value *values;
    size_t n;
    str tag = {0};
    struct buf b;
    if (c->req->is_grpc)
        (void)api_param(c, STR("tagName"), &tag);
    else
        tag = c->req->path_args[0];
    if (!tempo_tag_values(c, tag, v2, &values, &n, err))
        return false;
    buf_init(&b, MESSAGE_MAX);
    for (size_t i = 0; i < n; i++) {
        str text = traceql_value_text(&c->q.arena, &values[i]);
        if (!v2) {
            pb_bytes_always(&b, 1, text);
            continue;
        }
        size_t value = pb_begin(&b, 1);
        pb_bytes(&b, 1, str_c(traceql_value_type(&values[i])));
        pb_bytes(&b, 2, text);
        pb_end(&b, value);
    }
    return send_list(c, &b, err);
}

bool tempo_proto_values_v1(struct api_call *c, struct err *err)
{
    return run_tag_values(c, false, err);
}

bool tempo_proto_values_v2(struct api_call *c, struct err *err)
{
    return run_tag_values(c, true, err);
}

/* ---- entry points ---- */

static void fail(struct http_reply *rep, const struct err *err)
{
    bool is_ours =
        err->code == ERR_LIMIT || err->code == ERR_EXEC; // the query's fault: as HTTP 400
    int64_t retry_ms = err->code == ERR_BUSY || err->code == ERR_UNAVAILABLE ? 1000 : 0;
    reply_grpc_status(rep, is_ours ? GRPC_INVALID : err_grpc(err->code), str_c(err->text),
                      retry_ms);
}

typedef bool run_fn(struct api_call *c, struct err *err);

static void serve(run_fn *run, enum tempo_message type, void *ctx, struct http_request *req,
                  struct http_reply *rep)
{
    struct api_call c;
    struct err err = ERR_OK;
    bool ok = api_begin(&c, ctx, req, rep, &err) &&
              tempo_message_read(&c.q.arena, type, req->body, &c.params, &c.n_params, &err);
    if (ok)
        take_timeout(&c);
    if (!ok || !run(&c, &err))
        fail(rep, &err);
    api_end(&c);
}

#define ENTRY(name, run, type)                                                    \
    static void name(void *ctx, struct http_request *req, struct http_reply *rep) \
    {                                                                             \
        serve(run, type, ctx, req, rep);                                          \
    }
ENTRY(rpc_search, tempo_proto_search, TEMPO_SEARCH_REQUEST)
ENTRY(rpc_tags, tempo_proto_tags_v1, TEMPO_TAGS_REQUEST)
ENTRY(rpc_tags_v2, tempo_proto_tags_v2, TEMPO_TAGS_REQUEST)
ENTRY(rpc_values, tempo_proto_values_v1, TEMPO_VALUES_REQUEST)
ENTRY(rpc_values_v2, tempo_proto_values_v2, TEMPO_VALUES_REQUEST)
ENTRY(rpc_query_range, tempo_proto_query_range, TEMPO_RANGE_REQUEST)
ENTRY(rpc_query_instant, tempo_proto_query, TEMPO_INSTANT_REQUEST)

#define SERVICE "/tempopb.StreamingQuerier/"
const struct route tempo_grpc_routes[] = {
    {HTTP_POST, SERVICE "Search", LANE_QUERY, rpc_search, NULL},
    {HTTP_POST, SERVICE "SearchTags", LANE_QUERY, rpc_tags, NULL},
    {HTTP_POST, SERVICE "SearchTagsV2", LANE_QUERY, rpc_tags_v2, NULL},
    {HTTP_POST, SERVICE "SearchTagValues", LANE_QUERY, rpc_values, NULL},
    {HTTP_POST, SERVICE "SearchTagValuesV2", LANE_QUERY, rpc_values_v2, NULL},
    {HTTP_POST, SERVICE "MetricsQueryRange", LANE_QUERY, rpc_query_range, NULL},
    {HTTP_POST, SERVICE "MetricsQueryInstant", LANE_QUERY, rpc_query_instant, NULL},
    {0},
};
