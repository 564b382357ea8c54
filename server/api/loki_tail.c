/* loki_tail.c - live tail: a WebSocket that first sends the newest entries since a start, then what
 * arrives, as it arrives.
 *
 * A tail holds no worker while it is idle. The channel's tick (loop thread) compares two numbers,
 * the newest batch of the tenant and the last one that was looked at, and only when they differ
 * submits a short job to the query lane: a look. It runs the query's pipeline over the rows of the
 * batches between (storage/store.h, log_tail) and writes one frame. A look takes the text of the
 * query, not its tree: parsing costs microseconds, and nothing lives between looks but the place.
 *
 * The first look is an ordinary query for the newest entries. What arrives while it runs may be
 * seen by it and again by the next looks: they leave out what it sent, by hash, until they are past
 * what had arrived when it ended.
 *
 * A client that does not read: while LIMIT_TAIL_QUEUE bytes wait for it, looks only name what they
 * would have sent; the next frame tells (dropped_entries). delay_for: a look reads up to what had
 * arrived that long ago.
 *
 * Threads: between submit and done a tail belongs to the worker, but for `ws` and `is_closed`. */
#include <stdlib.h>

#include "query/logql/logql.h"
#include "server/api/loki_priv.h"
#include "server/net/ws.h"
#include "storage/base/num.h"
#include "storage/model/limits.h"

#define DELAY_MAX_S  5
#define MARKS        (DELAY_MAX_S * 1000 / WS_TICK_MS + 2)
#define TENANT_TICKS (1000 / WS_TICK_MS) // between looks for a tenant that never wrote
#define FRAME_MAX    (16 * MIB)          // LIMIT_TAIL_BYTES in JSON, every byte escaped

struct mark { // what had arrived at a time
    int64_t mono_ns;
    uint64_t arrived;
};

struct tail {
    struct job job;
    struct services *svc;
    struct ws *ws; // NULL before open and after closed; the loop's, as are the next six
    bool is_running, is_closed, has_begun;
    unsigned ticks;
    int64_t opened_ns; // monotonic
    struct mark marks[MARKS];
    size_t n_marks;
    // what was asked
    char tenant_name[65];
    struct buf query;
    bool categorize;
    size_t limit;
    int64_t start_ns, delay_ns;
    // the place; NULL while the tenant is unknown
    struct store_tenant *tenant;
    struct log_tail *place;
    // of the first look: hashes of what it sent, sorted, until that batch is passed
    VEC(uint64_t) sent;
    uint64_t sent_until;
    // one look: order and result
    bool is_first, is_full;
    uint64_t last;
    struct buf frame;
    struct err err;
    // dropped and not told yet: JSON objects with commas between
    struct buf dropped;
    size_t n_dropped;
};

static void tail_free(struct tail *t)
{
    log_tail_close(t->place);
    buf_deinit(&t->query);
    buf_deinit(&t->frame);
    buf_deinit(&t->dropped);
    vec_free(&t->sent);
    mem_free(t);
}

/* ---- a look, on a worker ---- */

static uint64_t entry_hash(const struct logql_entry *e)
{
    uint64_t h = hash_mix(hash64(e->line), (uint64_t)e->t_ns);
    h = hash_mix(h, labels_hash(e->stream));
    h = hash_mix(h, labels_hash(e->meta));
    return hash_mix(h, labels_hash(e->parsed));
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void remember(struct tail *t, const struct logql_entries *entries)
{
    for (size_t i = 0; i < entries->n; i++)
        vec_push(&t->sent, NULL, entry_hash(&entries->v[i]));
    if (t->sent.n > 1)
        qsort(t->sent.v, t->sent.n, sizeof *t->sent.v, by_value);
    t->sent_until = t->place ? log_tail_arrived(t->place) : 0;
}

/* Without what the first look has sent. */
static struct logql_entries not_sent(struct tail *t, struct arena *a, struct logql_entries in)
{
    struct logql_entry *v = arena_array(a, struct logql_entry, in.n);
    size_t n = 0;
    if (t->sent.n == 0)
        return in;
    for (size_t i = 0; i < in.n; i++) {
        uint64_t hash = entry_hash(&in.v[i]);
        if (!bsearch(&hash, t->sent.v, t->sent.n, sizeof hash, by_value))
            v[n++] = in.v[i];
    }
    if (log_tail_place(t->place) >= t->sent_until)
        vec_free(&t->sent);
    return (struct logql_entries){v, n};
}

static int compare_times(const void *a, const void *b)
{
    const struct logql_entry *x = *(const struct logql_entry *const *)a;
    const struct logql_entry *y = *(const struct logql_entry *const *)b;
    if (x->t_ns != y->t_ns)
        return x->t_ns < y->t_ns ? -1 : 1;
    return x < y ? -1 : x > y; // as they arrived
}

/* What arrived together, in order of time: clients print entries as they come. */
static struct logql_entries by_time(struct arena *a, struct logql_entries in)
{
    const struct logql_entry **order = arena_array(a, const struct logql_entry *, in.n);
    struct logql_entry *v = arena_array(a, struct logql_entry, in.n);
    for (size_t i = 0; i < in.n; i++)
        order[i] = &in.v[i];
    if (in.n > 1)
        qsort(order, in.n, sizeof order[0], compare_times);
    for (size_t i = 0; i < in.n; i++)
        v[i] = *order[i];
    return (struct logql_entries){v, in.n};
}

static void note_dropped(struct tail *t, const struct logql_entries *dropped)
{
    struct sink_buf out;
    struct json j;
    sink_buf_init(&out, &t->dropped);
    for (size_t i = 0; i < dropped->n && t->n_dropped < LIMIT_TAIL_DROPPED; i++, t->n_dropped++) {
        const struct logql_entry *e = &dropped->v[i];
        if (t->n_dropped > 0)
            buf_add_char(&t->dropped, ',');
        json_begin(&j, &out.sink);
        json_object(&j);
        json_key(&j, STR("labels"));
        json_object(&j);
        for (size_t k = 0; k < e->stream.n; k++) {
            json_key(&j, e->stream.v[k].name);
            json_str(&j, e->stream.v[k].value);
        }
        json_object_end(&j);
        json_key(&j, STR("timestamp"));
        json_i64_str(&j, e->t_ns);
        json_object_end(&j);
        (void)json_end(&j);
    }
}

static bool write_frame(struct tail *t, struct query *q, const struct logql_entries *entries,
                        struct err *err)
{
    struct sink_buf out;
    struct json j;
    if (entries->n == 0 && (t->n_dropped == 0 || t->is_full))
        return true;
    sink_buf_init(&out, &t->frame);
    json_begin(&j, &out.sink);
    json_object(&j);
    json_key(&j, STR("streams"));
    if (!loki_write_streams(&j, q, entries, t->categorize, true, err))
        return false;
    if (t->n_dropped > 0) {
        json_key(&j, STR("dropped_entries"));
        json_array(&j);
        json_raw(&j, buf_str(&t->dropped));
        json_array_end(&j);
        buf_deinit(&t->dropped);
        t->n_dropped = 0;
    }
    if (t->categorize)
        loki_write_flags(&j);
    json_object_end(&j);
    return json_end(&j) || err_set(err, ERR_LIMIT, "entries of one moment are too large to send");
}

/* The newest entries since the start, in ascending order. */
static bool look_back(struct tail *t, struct query *q, const struct logql_expr *e, struct err *err)
{
    struct logql_entries found, entries;
    if (!logql_logs(q, e, t->start_ns, TIME_MAX_NS, true, t->limit, 0, &found, err))
        return false;
    struct logql_entry *v = arena_array(&q->arena, struct logql_entry, found.n);
    for (size_t i = 0; i < found.n; i++)
        v[i] = found.v[found.n - 1 - i];
    entries = (struct logql_entries){v, found.n};
    remember(t, &entries);
    return write_frame(t, q, &entries, err);
}

static bool look_ahead(struct tail *t, struct query *q, const struct logql_expr *e, struct err *err)
{
    struct logql_tail_result found;
    struct logql_tail_wish wish = {
        .last = t->last,
        .max_entries = t->is_full ? 0 : LIMIT_TAIL_ENTRIES,
        .max_bytes = LIMIT_TAIL_BYTES,
        .max_dropped = LIMIT_TAIL_DROPPED - t->n_dropped,
    };
    if (!logql_tail(q, e, t->place, &wish, &found, err))
        return false;
    struct logql_entries entries = by_time(&q->arena, not_sent(t, &q->arena, found.entries));
    note_dropped(t, &found.dropped);
    return write_frame(t, q, &entries, err);
}

/* A tenant that has never written may have by now: then all it has is new. */
static bool find_tenant(struct tail *t, struct err *err)
{
    struct err here = ERR_OK;
    struct store_tenant *tenant;
    if (!store_tenant(t->svc->store, str_c(t->tenant_name), false, &tenant, &here))
        return true;
    if (!log_tail_open(t->svc->store, tenant, true, LIMIT_TAILS, &t->place, err))
        return false;
    t->tenant = tenant;
    t->last = log_tail_arrived(t->place);
    return true;
}

static bool tail_is_canceled(void *ctx)
{
    const struct tail *t = ctx;
    return atomic_load_explicit(&t->job.canceled, memory_order_relaxed);
}

static bool look(struct tail *t, struct query *q, struct err *err)
{
    const struct logql_expr *e;
    if (!logql_parse(q, buf_str(&t->query), &e, err))
        return false;
    return t->is_first ? look_back(t, q, e, err) : look_ahead(t, q, e, err);
}

static void tail_run(struct job *job)
{
    struct tail *t = CONTAINER_OF(job, struct tail, job);
    struct query_limits limits;
    struct query q;
    if (!t->place && !find_tenant(t, &t->err))
        return;
    if (!t->place)
        return;
    api_limits(t->svc->config, &limits);
    query_init(&q, t->svc->clock, t->svc->store, t->tenant, &limits, t->svc->query_budget);
    q.is_canceled = tail_is_canceled;
    q.cancel_ctx = t;
    (void)look(t, &q, &t->err); // the error is looked at on the loop
    query_deinit(&q);
}

/* ---- the loop ---- */

static void tail_done(struct job *job)
{
    struct tail *t = CONTAINER_OF(job, struct tail, job);
    t->is_running = false;
    if (t->is_closed) {
        tail_free(t);
        return;
    }
    if (t->err.code != ERR_NONE)
        ws_close(t->ws, WS_INTERNAL, str_c(t->err.text));
    else if (t->frame.n > 0)
        ws_send(t->ws, buf_str(&t->frame));
    buf_deinit(&t->frame);
}

static void tail_submit(struct tail *t, bool is_first, uint64_t last)
{
    struct err err = ERR_OK;
    t->is_first = is_first;
    t->last = last;
    t->is_full = ws_queued(t->ws) > LIMIT_TAIL_QUEUE;
    t->job.run = tail_run;
    t->job.done = tail_done;
    t->is_running = true;
    if (ws_submit(t->ws, LANE_QUERY, &t->job, &err))
        t->has_begun = true;
    else
        t->is_running = false; // a full lane: at the next tick
}

/* The newest batch that had arrived delay_for ago. */
static uint64_t tail_due(struct tail *t)
{
    uint64_t arrived = log_tail_arrived(t->place), due = 0;
    int64_t now = clock_mono_ns(t->svc->clock);
    if (t->delay_ns == 0)
        return arrived;
    if (t->n_marks == MARKS)
        memmove(t->marks, t->marks + 1, --t->n_marks * sizeof t->marks[0]);
    t->marks[t->n_marks++] = (struct mark){now, arrived};
    for (size_t i = 0; i < t->n_marks && t->marks[i].mono_ns + t->delay_ns <= now; i++)
        due = t->marks[i].arrived;
    return due;
}

static void on_tick(void *app)
{
    struct tail *t = app;
    t->ticks++;
    if (clock_mono_ns(t->svc->clock) - t->opened_ns > LIMIT_TAIL_NS) {
        ws_close(t->ws, WS_INTERNAL, STR("reached tail max duration limit"));
        return;
    }
    if (t->is_running)
        return;
    if (!t->place) {
        if (t->ticks % TENANT_TICKS == 0)
            tail_submit(t, false, 0);
        return;
    }
    if (!t->has_begun) {
        tail_submit(t, true, 0);
        return;
    }
    uint64_t due = tail_due(t);
    bool can_tell = t->n_dropped > 0 && ws_queued(t->ws) <= LIMIT_TAIL_QUEUE;
    if (due > log_tail_place(t->place) || can_tell)
        tail_submit(t, false, MAX(due, log_tail_place(t->place)));
}

static void on_open(void *app, struct ws *ws)
{
    struct tail *t = app;
    t->ws = ws;
    t->opened_ns = clock_mono_ns(t->svc->clock);
    if (t->place)
        tail_submit(t, true, 0);
}

static void on_closed(void *app)
{
    struct tail *t = app;
    t->ws = NULL;
    t->is_closed = true;
    atomic_store(&t->job.canceled, true);
    if (!t->is_running)
        tail_free(t);
}

/* ---- the request ---- */

static bool param_delay(const struct api_call *c, int64_t *out, struct err *err)
{
    str text;
    int64_t s = 0;
    if (api_param(c, STR("delay_for"), &text) && !num_parse_i64(text, &s))
        return err_set(err, ERR_INVALID,
                       "could not parse 'delay_for' parameter: \"" STR_FMT "\" is not a number",
                       STR_ARG(text));
    if (s < 0)
        return err_set(err, ERR_INVALID, "delay_for can't be negative");
    if (s > DELAY_MAX_S)
        return err_set(err, ERR_INVALID, "delay_for can't be greater than %d", DELAY_MAX_S);
    *out = s * NS_PER_S;
    return true;
}

static bool tail_open(struct api_call *c, struct tail *t, struct err *err)
{
    int64_t end;
    const struct logql_expr *e;
    str text;
    if (!loki_param_expr(c, &e, err))
        return false;
    if (logql_is_metric(e))
        return err_set(err, ERR_INVALID, "only log selector is supported");
    if (!loki_param_limit(c, true, &t->limit, err) || !param_delay(c, &t->delay_ns, err) ||
        !loki_param_range(c, &t->start_ns, &end, err) || !ws_check(c->req, err))
        return false;
    (void)api_param(c, STR("query"), &text);
    buf_add(&t->query, text);
    t->categorize = loki_wants_categories(c->req);
    str name = str_trim(http_header_get(c->req, STR("x-scope-orgid")));
    if (!str_to_c(name.n > 0 ? name : STORE_TENANT_DEFAULT, t->tenant_name, sizeof t->tenant_name))
        return err_set(err, ERR_INVALID, "tenant name is too long");
    if (c->q.tenant == store_tenant_empty(c->svc->store))
        return true; // find_tenant looks again
    t->tenant = c->q.tenant;
    return log_tail_open(c->svc->store, t->tenant, false, LIMIT_TAILS, &t->place, err);
}

void loki_get_tail(void *ctx, struct http_request *req, struct http_reply *rep)
{
    static const struct ws_events events = {on_open, on_tick, on_closed};
    struct api_call c;
    struct err err = ERR_OK;
    struct tail *t = mem_zalloc(sizeof *t);
    t->svc = ctx;
    buf_init(&t->query, LIMIT_QUERY_TEXT);
    buf_init(&t->frame, FRAME_MAX);
    buf_init(&t->dropped, FRAME_MAX);
    if (api_begin(&c, ctx, req, rep, &err) && tail_open(&c, t, &err)) {
        ws_accept(req, rep, &events, t);
    } else {
        loki_fail(rep, &err);
        tail_free(t);
    }
    api_end(&c);
}
