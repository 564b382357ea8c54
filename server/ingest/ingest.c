/* ingest.c - the one way in: request -> inflate -> decode -> validate -> store -> answer in the
 * sender's protocol.
 *
 * Runs in the ingest lane. A new protocol is a decoder (decode.h), a row in `protocols` and a
 * route. Answers: OTLP/HTTP and gRPC with partial success, remote write and Loki push with their
 * codes. What can be sent again later is 429 or 503 with Retry-After (gRPC: RESOURCE_EXHAUSTED or
 * UNAVAILABLE with RetryInfo); what never will is 400, 413, 415. */
#include "server/ingest/ingest.h"

#include <stdio.h>

#include "server/derive/derive.h"
#include "server/ingest/decode.h"
#include "server/ingest/delta.h"
#include "server/services.h"
#include "server/wire/otlp_json.h"
#include "server/wire/pb_read.h"
#include "server/wire/pb_write.h"
#include "storage/base/json_write.h"
#include "storage/base/utf8.h"
#include "storage/store.h"

#define RETRY_AFTER_S 1
/* Of a large body, decoded and stored at a time: a series needs several times as much memory
 * decoded as encoded. Senders' defaults (2,000 samples) stay far below. */
#define PIECE_BYTES (1 * MIB)

enum answer { ANSWER_OTLP, ANSWER_LOKI_OTLP, ANSWER_PROM, ANSWER_LOKI, ANSWER_ZIPKIN };

struct protocol {
    enum signal signal;
    enum answer answer;
    decoder *decode;      // of the protobuf form; NULL: JSON only
    decoder *decode_json; // NULL: JSON is transcoded (OTLP) or refused
    /* Each top-level field of a body stands alone, and what is sent again after a failure does no
     * harm: a large body is decoded and stored in pieces. */
    bool has_pieces;
};

struct ingest_job {
    struct services *svc;
    struct http_request *req;
    struct http_reply *rep;
    const struct protocol *protocol;
    str tenant_name;
    struct store_tenant *tenant; // NULL until one of that name wrote
    struct arena arena;
    struct buf transcoded; // OTLP/JSON as protobuf
    size_t charged;        // of it, on the ingest budget
    size_t raw_n;          // of the body
    struct batch batch;
    struct delta_points deltas;
    struct write_result result;
    bool is_json;
    bool is_write2; // remote write 2.0
};

/* ---- answers ---- */

/* Reasons quote what was sent, cut anywhere; clients refuse protobuf strings, JSON and percent
 * escapes that are not UTF-8, and would then not see the answer at all. */
static str clean(struct ingest_job *j, str text)
{
    return utf8_repair(j->req->arena, text);
}

/* google.rpc.Status in the encoding of the request. */
static void answer_status(struct ingest_job *j, int status, int grpc_code, str message)
{
    struct buf b;
    buf_init(&b, 64 * KIB);
    if (j->is_json) {
        struct sink_buf sink;
        struct json w;
        sink_buf_init(&sink, &b);
        json_begin(&w, &sink.sink);
        json_object(&w);
        json_kv_i64(&w, "code", grpc_code);
        json_kv_str(&w, "message", message);
        json_object_end(&w);
        json_end(&w);
    } else {
        pb_int(&b, 1, grpc_code);
        pb_bytes(&b, 2, message);
    }
    reply_send(j->rep, status, j->is_json ? STR("application/json") : STR("application/x-protobuf"),
               buf_str(&b));
    buf_deinit(&b);
}

static bool is_retryable(enum err_code code)
{
    return code == ERR_BUSY || code == ERR_UNAVAILABLE || code == ERR_TIMEOUT ||
           code == ERR_CANCELED;
}

/* Remote write 2.0 wants to hear what was stored; without these headers a sender takes a 2xx for a
 * misunderstanding. */
static void say_written(struct ingest_job *j)
{
    const struct write_result *r = &j->result;
    const struct {
        str name;
        size_t n;
    } rows[] = {{STR_INIT("x-prometheus-remote-write-samples-written"), r->samples},
                {STR_INIT("x-prometheus-remote-write-histograms-written"), r->hists},
                {STR_INIT("x-prometheus-remote-write-exemplars-written"), r->exemplars}};
    for (size_t i = 0; i < COUNTOF(rows); i++)
        reply_header(j->rep, rows[i].name, arena_fmt(j->req->arena, "%zu", rows[i].n));
}

static void answer_error(struct ingest_job *j, const struct err *err)
{
    str message = clean(j, str_c(err->text));
    int status = err_http(err->code);
    if (j->req->is_grpc) {
        int code = err_grpc(err->code);
        reply_grpc_status(j->rep, code, message,
                          is_retryable(err->code) ? RETRY_AFTER_S * 1000 : 0);
        return;
    }
    bool is_otlp = j->protocol->answer == ANSWER_OTLP || j->protocol->answer == ANSWER_LOKI_OTLP;
    if (err->code == ERR_LIMIT)
        status = 400;
    if (err->code == ERR_EXEC) // Loki: a push without any stream
        status = 422;
    if (err->code == ERR_MEDIA && j->protocol->answer == ANSWER_LOKI) // as Loki has it
        status = 400;
    if (is_retryable(err->code)) {
        if (status != 429)
            status = 503;
        reply_header(j->rep, STR("retry-after"), STR("1"));
    }
    if (j->is_write2 && status == 400) // nothing
        say_written(j);
    if (is_otlp)
        answer_status(j, status, err_grpc(err->code), message);
    else
        reply_send(j->rep, status, STR("text/plain; charset=utf-8"), message);
}

static const char *rejected_key(enum signal s)
{
    static const char *const keys[SIGNAL_COUNT] = {[SIGNAL_METRICS] = "rejectedDataPoints",
                                                   [SIGNAL_LOGS] = "rejectedLogRecords",
                                                   [SIGNAL_TRACES] = "rejectedSpans"};
    return keys[s];
}

/* Export*ServiceResponse: empty, or with a partial success; with 0 records it is a warning. */
static void encode_otlp_response(struct ingest_job *j, struct buf *b)
{
    const struct write_result *r = &j->result;
    if (!j->is_json) {
        if (r->reason[0] == '\0')
            return;
        size_t mark = pb_begin(b, 1);
        pb_int(b, 1, (int64_t)r->rejected);
        pb_bytes(b, 2, clean(j, str_c(r->reason)));
        pb_end(b, mark);
        return;
    }
    struct sink_buf sink;
    struct json w;
    sink_buf_init(&sink, b);
    json_begin(&w, &sink.sink);
    json_object(&w);
    if (r->reason[0] != '\0') {
        json_key(&w, STR("partialSuccess"));
        json_object(&w);
        json_key(&w, str_c(rejected_key(j->protocol->signal)));
        json_i64_str(&w, (int64_t)r->rejected);
        json_kv_str(&w, "errorMessage", clean(j, str_c(r->reason)));
        json_object_end(&w);
    }
    json_object_end(&w);
    json_end(&w);
}

static void answer_otlp(struct ingest_job *j)
{
    struct buf b;
    buf_init(&b, 64 * KIB);
    encode_otlp_response(j, &b);
    if (j->req->is_grpc)
        reply_message(j->rep, buf_str(&b));
    else
        reply_send(j->rep, 200,
                   j->is_json ? STR("application/json") : STR("application/x-protobuf"),
                   buf_str(&b));
    buf_deinit(&b);
}

/* One a line. */
static str all_reasons(struct ingest_job *j)
{
    const struct batch *b = &j->batch;
    struct buf out;
    buf_init(&out, 2 * LIMIT_REASONS);
    for (size_t i = 0; i < b->reasons.texts.n; i++) {
        buf_add(&out, i > 0 ? STR("\n") : STR(""));
        buf_add(&out, b->reasons.texts.v[i]);
    }
    if (b->reasons.omitted > 0)
        buf_fmt(&out, "\n%zu more", b->reasons.omitted);
    str text = arena_dup(j->req->arena, buf_str(&out));
    buf_deinit(&out);
    return text;
}

/* Loki and Prometheus store what is good and answer 400 with a reason when something was not. */
static void answer_text(struct ingest_job *j)
{
    const struct write_result *r = &j->result;
    if (j->is_write2)
        say_written(j);
    if (r->rejected == 0) {
        reply_send(j->rep, j->protocol->answer == ANSWER_ZIPKIN ? 202 : 204, STR(""), STR(""));
        return;
    }
    str text = j->batch.manner == BATCH_ALL_REASONS ? all_reasons(j)
               : r->rejected == 1
                   ? arena_dup(j->req->arena, str_c(r->reason))
                   : arena_fmt(j->req->arena, "%zu errors like: %s", r->rejected, r->reason);
    reply_send(j->rep, 400, STR("text/plain; charset=utf-8"), clean(j, text));
}

static void answer_success(struct ingest_job *j)
{
    if (j->protocol->answer == ANSWER_OTLP || j->req->is_grpc)
        answer_otlp(j);
    else
        answer_text(j);
}

/* ---- the way ---- */

/* Value of one parameter of a content type; empty when there is none. */
static str media_parameter(str type, str name)
{
    str part, key;
    (void)str_split(&type, ';', &part); // the type itself
    while (str_split(&type, ';', &part)) {
        if (!str_split(&part, '=', &key) || !str_eq_nocase(str_trim(key), name))
            continue;
        str value = str_trim(part);
        if (value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"')
            value = str_sub(value, 1, value.n - 1);
        return value;
    }
    return (str){0};
}

static bool pick_form(struct ingest_job *j, struct err *err)
{
    str type = http_content_type(j->req);
    if (j->req->is_grpc)
        return true;
    j->is_json = str_is(type, "application/json");
    switch (j->protocol->answer) {
    case ANSWER_OTLP:
    case ANSWER_LOKI_OTLP:
        if (j->is_json || str_is(type, "application/x-protobuf") ||
            str_is(type, "application/protobuf"))
            return true;
        return err_set(
            err, ERR_MEDIA,
            "415 unsupported media type, supported: [application/json, application/x-protobuf]");
    case ANSWER_PROM: {
        str proto = media_parameter(http_header_get(j->req, STR("content-type")), STR("proto"));
        j->is_json = false;
        j->is_write2 = str_is(proto, "io.prometheus.write.v2.Request");
        if (proto.n > 0 && !j->is_write2 && !str_is(proto, "prometheus.WriteRequest"))
            return err_set(err, ERR_MEDIA,
                           "unsupported message " STR_FMT
                           ": use prometheus.WriteRequest or io.prometheus.write.v2.Request",
                           STR_ARG(proto));
        return type.n == 0 || str_is(type, "application/x-protobuf") ||
               err_set(err, ERR_MEDIA,
                       "unsupported media type " STR_FMT ": use application/x-protobuf",
                       STR_ARG(type));
    }
    case ANSWER_LOKI:
        return true; // anything else is snappy protobuf
    case ANSWER_ZIPKIN:
        if (type.n > 0 && !j->is_json)
            return err_set(err, ERR_MEDIA,
                           "unsupported media type " STR_FMT ": use application/json",
                           STR_ARG(type));
        j->is_json = true;
        return true;
    }
    return true;
}

/* Loki: protobuf is a snappy block always, inside of whatever coding the header names; JSON never
 * is, even if the header says so. */
static bool inflate_loki(struct ingest_job *j, bool says_snappy, size_t max, str *body,
                         struct err *err)
{
    bool is_coded = http_header_get(j->req, STR("content-encoding")).n > 0 && !says_snappy;
    if (j->is_json && says_snappy) {
        *body = j->req->body;
        return body->n <= max ||
               err_set(err, ERR_TOO_LARGE, "request body larger than %zu bytes", max);
    }
    if (j->is_json || is_coded) {
        if (!http_body(j->req, max, body, err))
            return false;
        if (j->is_json)
            return true;
        http_body_peel(j->req);
    }
    return http_inflate(j->req, CODEC_SNAPPY, max, body, err);
}

/* Remote write is a snappy block whether or not a header says so. */
static bool inflate(struct ingest_job *j, str *body, struct err *err)
{
    size_t max = (size_t)j->svc->config->max_body_raw;
    if (j->req->is_grpc) {
        *body = j->req->body;
        return true;
    }
    str coding = str_trim(http_header_get(j->req, STR("content-encoding")));
    bool says_snappy = str_eq_nocase(coding, STR("snappy")), ok;
    if (j->protocol->answer == ANSWER_LOKI)
        ok = inflate_loki(j, says_snappy, max, body, err);
    else if (j->protocol->answer == ANSWER_PROM && (coding.n == 0 || says_snappy))
        ok = http_inflate(j->req, CODEC_SNAPPY, max, body, err);
    else
        ok = http_body(j->req, max, body, err);
    if (ok)
        http_body_spent(j->req);
    return ok;
}

struct finder {
    struct store *store;
    struct store_tenant *tenant;
};

static uint64_t find_series(void *ctx, struct hash128 raw)
{
    struct finder *f = ctx;
    return store_series_find(f->store, f->tenant, raw);
}

/* OTLP/JSON as protobuf, in what the ingest budget has left. */
static bool transcode(struct ingest_job *j, str body, struct err *err)
{
    struct budget *b = j->svc->ingest_budget;
    size_t max = (size_t)j->svc->config->max_body_raw, used = budget_used(b);
    size_t room = b->max - MIN(used, b->max);
    buf_init(&j->transcoded, MIN(max, room));
    bool ok = otlp_json_to_protobuf(j->protocol->signal, body, &j->arena, &j->transcoded, err);
    j->charged = j->transcoded.cap;
    budget_force(b, j->charged);
    if (!ok && j->transcoded.over && room < max)
        j->arena.over = true; // the memory's fault: run says whether it is worth another try
    return ok;
}

static bool decode(struct ingest_job *j, str body, struct err *err)
{
    const struct config *cfg = j->svc->config;
    struct finder finder = {j->svc->store, j->tenant};
    struct decode_options options = {
        .promote = cfg->otlp_promote.v,
        .n_promote = cfg->otlp_promote.n,
        .index_labels = cfg->otlp_index_labels.v,
        .n_index_labels = cfg->otlp_index_labels.n,
        .native_histograms = cfg->otlp_native != 0,
        .naming = (enum otlp_naming)cfg->otlp_names,
        .promote_all = cfg->otlp_promote_all != 0,
        .promote_ignore = cfg->otlp_promote_ignore.v,
        .n_promote_ignore = cfg->otlp_promote_ignore.n,
        .keep_identity = cfg->otlp_keep_identity != 0,
        .scope_labels = cfg->otlp_scope_labels != 0,
        .type_unit_labels = cfg->otlp_type_unit_labels != 0,
        .key_underscore = cfg->otlp_key_underscore == 0,
        .join_underscores = cfg->otlp_underscore_runs == 0,
    };
    struct decode d = {.batch = &j->batch,
                       .options = &options,
                       .now_ns = clock_now_ns(j->svc->clock),
                       .find = j->tenant ? find_series : NULL,
                       .find_ctx = &finder,
                       .delta = cfg->otlp_delta == 0 ? &j->deltas : NULL};
    const struct protocol *p = j->protocol;
    if (j->is_json && p->decode_json)
        return p->decode_json(&d, body, err);
    if (j->is_json) {
        if (!transcode(j, body, err))
            return false;
        body = buf_str(&j->transcoded);
    }
    return (j->is_write2 ? decode_prom_write2 : p->decode)(&d, body, err);
}

/* Tenants are made by what is stored, not by what is asked: made-up names use up nothing. */
static bool find_tenant(struct ingest_job *j, struct err *err)
{
    str name = str_trim(http_header_get(j->req, STR("x-scope-orgid")));
    j->tenant_name = name.n > 0 ? name : STORE_TENANT_DEFAULT;
    struct err here = ERR_OK;
    if (store_tenant(j->svc->store, j->tenant_name, false, &j->tenant, &here) ||
        here.code == ERR_NOT_FOUND)
        return true;
    *err = here;
    return false;
}

/* The arena is over what ingest may use: for now, or, when nearly all of it is this request's, for
 * ever: sending it again would only keep others out. */
static bool no_room(const struct ingest_job *j, struct err *err)
{
    size_t own = j->arena.used + j->raw_n + j->charged, max = j->svc->ingest_budget->max;
    if (own >= max - max / 8)
        return err_set(
            err, ERR_TOO_LARGE,
            "the request needs more than the %zu MiB of ingest memory: send smaller ones",
            max / MIB);
    return err_set(err, ERR_BUSY, "not enough ingest memory for this request now: try again later");
}

static bool make_tenant(struct ingest_job *j, struct err *err)
{
    return j->tenant || store_tenant(j->svc->store, j->tenant_name, true, &j->tenant, err);
}

/* What the answer says of a further piece. */
static void add_result(struct write_result *all, const struct write_result *r)
{
    all->rejected += r->rejected;
    all->samples += r->samples;
    all->hists += r->hists;
    all->exemplars += r->exemplars;
    if (all->reason[0] == '\0')
        memcpy(all->reason, r->reason, sizeof all->reason);
}

static bool store(struct ingest_job *j, struct err *err)
{
    struct write_result r = {0};
    batch_validate(&j->batch);
    if (j->batch.skipped > 0)
        store_count_malformed(j->svc->store, j->protocol->signal, j->batch.skipped);
    if (batch_records(&j->batch) == 0 && j->batch.metas.n == 0) {
        r.rejected = j->batch.rejected;
        memcpy(r.reason, j->batch.reason, sizeof r.reason);
        add_result(&j->result, &r);
        store_count_malformed(j->svc->store, j->protocol->signal, j->batch.rejected);
        return true;
    }
    if (!make_tenant(j, err) || !store_write(j->svc->store, j->tenant, &j->batch, &r, err))
        return false;
    add_result(&j->result, &r);
    if (j->protocol->signal == SIGNAL_TRACES && j->svc->derive)
        derive_spans(j->svc->derive, j->tenant, &j->batch);
    return true;
}

/* Totals move on with what is stored, and only then. */
static bool store_deltas(struct ingest_job *j, struct err *err)
{
    if (!make_tenant(j, err))
        return false;
    struct delta_tx *tx = delta_begin(j->svc->delta, j->tenant, &j->batch, &j->deltas);
    bool ok = j->arena.over ? no_room(j, err) : store(j, err);
    delta_end(tx, ok);
    return ok;
}

static bool read_batch(struct ingest_job *j, str body, struct err *err)
{
    batch_init(&j->batch, j->protocol->signal, &j->arena);
    j->batch.raw_bytes = body.n;
    if (!decode(j, body, err))
        return j->arena.over ? no_room(j, err) : false;
    return !j->arena.over || no_room(j, err);
}

static bool store_batch(struct ingest_job *j, struct err *err)
{
    return j->deltas.points.n > 0 ? store_deltas(j, err) : store(j, err);
}

/* The fields that begin in the first PIECE_BYTES; all the rest when it is malformed, for the
 * decoder to say so. */
static str next_piece(str *rest)
{
    struct rd r = rd_of(*rest);
    struct pb_field f;
    while (rest->n - rd_left(&r) < PIECE_BYTES && pb_next(&r, &f))
        ;
    str piece = str_sub(*rest, 0, r.bad ? rest->n : rest->n - rd_left(&r));
    *rest = str_sub(*rest, piece.n, rest->n);
    return piece;
}

/* Without is_stored it only looks whether all of them can be read: a malformed body is refused as a
 * whole. */
static bool read_pieces(struct ingest_job *j, str body, bool is_stored, struct err *err)
{
    bool ok = true;
    while (ok && body.n > 0) {
        ok = read_batch(j, next_piece(&body), err) && (!is_stored || store_batch(j, err));
        arena_reset(&j->arena);
    }
    return ok;
}

static bool run(struct ingest_job *j, struct err *err)
{
    str body;
    if (!pick_form(j, err) || !store_keeps_up(j->svc->store, j->protocol->signal, err) ||
        !inflate(j, &body, err) || !find_tenant(j, err))
        return false;
    j->raw_n = body.n;
    if (!j->protocol->has_pieces || j->is_write2 || j->is_json || body.n <= PIECE_BYTES)
        return read_batch(j, body, err) && store_batch(j, err);
    return read_pieces(j, body, false, err) && read_pieces(j, body, true, err);
}

static void ingest(const struct protocol *p, void *ctx, struct http_request *req,
                   struct http_reply *rep)
{
    struct services *svc = ctx;
    struct ingest_job j = {.svc = svc, .req = req, .rep = rep, .protocol = p};
    struct err err = ERR_OK;
    arena_init(&j.arena, SIZE_MAX, svc->ingest_budget);
    if (run(&j, &err))
        answer_success(&j);
    else
        answer_error(&j, &err);
    buf_deinit(&j.transcoded);
    budget_give(svc->ingest_budget, j.charged);
    arena_deinit(&j.arena);
}

/* ---- routes ---- */

static const struct protocol otlp_metrics = {
    .signal = SIGNAL_METRICS, .answer = ANSWER_OTLP, .decode = decode_otlp_metrics};
static const struct protocol otlp_logs = {
    .signal = SIGNAL_LOGS, .answer = ANSWER_OTLP, .decode = decode_otlp_logs};
static const struct protocol otlp_traces = {
    .signal = SIGNAL_TRACES, .answer = ANSWER_OTLP, .decode = decode_otlp_traces};
static const struct protocol loki_otlp = {
    .signal = SIGNAL_LOGS, .answer = ANSWER_LOKI_OTLP, .decode = decode_otlp_logs};
static const struct protocol prom_write = {.signal = SIGNAL_METRICS,
                                           .answer = ANSWER_PROM,
                                           .decode = decode_prom_write,
                                           .has_pieces = true};
static const struct protocol loki_push = {.signal = SIGNAL_LOGS,
                                          .answer = ANSWER_LOKI,
                                          .decode = decode_loki_protobuf,
                                          .decode_json = decode_loki_json};
static const struct protocol zipkin = {
    .signal = SIGNAL_TRACES, .answer = ANSWER_ZIPKIN, .decode_json = decode_zipkin_json};

#define ENTRY(name, which)                                                                 \
    static void name(void *ctx, struct http_request *req, struct http_reply *rep)          \
    {                                                                                      \
        ingest(&(which), ctx, req, rep);                                                   \
    }                                                                                      \
    static void name##_refuse(void *ctx, struct http_request *req, struct http_reply *rep, \
                              const struct err *err)                                       \
    {                                                                                      \
        struct ingest_job j = {.svc = ctx, .req = req, .rep = rep, .protocol = &(which)};  \
        j.is_json = str_is(http_content_type(req), "application/json");                    \
        answer_error(&j, err);                                                             \
    }
ENTRY(post_metrics, otlp_metrics)
ENTRY(post_logs, otlp_logs)
ENTRY(post_traces, otlp_traces)
ENTRY(post_loki_otlp, loki_otlp)
ENTRY(post_prom_write, prom_write)
ENTRY(post_loki_push, loki_push)
ENTRY(post_zipkin, zipkin)

#define ROW(path, name)                                   \
    {                                                     \
        HTTP_POST, path, LANE_INGEST, name, name##_refuse \
    }
const struct route ingest_routes[] = {
    ROW("/v1/metrics", post_metrics),
    ROW("/v1/logs", post_logs),
    ROW("/v1/traces", post_traces),
    ROW("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", post_metrics),
    ROW("/opentelemetry.proto.collector.logs.v1.LogsService/Export", post_logs),
    ROW("/opentelemetry.proto.collector.trace.v1.TraceService/Export", post_traces),
    ROW("/api/v1/otlp/v1/metrics", post_metrics),
    ROW("/otlp/v1/metrics", post_metrics),
    ROW("/otlp/v1/traces", post_traces),
    ROW("/otlp/v1/logs", post_loki_otlp),
    ROW("/api/v1/write", post_prom_write),
    ROW("/loki/api/v1/push", post_loki_push),
    ROW("/api/prom/push", post_loki_push),
    ROW("/api/v2/spans", post_zipkin),
    {0},
};
