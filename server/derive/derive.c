/* derive.c - see derive.h. Spans become points of agg.c; halves of requests meet in edges.c.
 *
 * One mutex guards all that is counted. It is held for one batch of spans, and for the copying of
 * some entries when they are written; never while labels are made or the store writes. Entries are
 * removed by derive_collect alone. An idle object sets no timer: its thread sleeps until a span
 * comes. */
#include "server/derive/derive.h"

#include <time.h>

#include "server/derive/derive_priv.h"
#include "server/derive/span_read.h"
#include "storage/base/hash.h"
#include "storage/base/log.h"
#include "storage/base/rd.h"
#include "storage/model/limits.h"

/* ---- counting, with the mutex ---- */

static struct agg *agg_of(struct derive *d, struct store_tenant *t)
{
    for (size_t i = 0; i < d->tenants.n; i++)
        if (d->tenants.v[i].tenant == t)
            return &d->tenants.v[i].agg;
    vec_push(&d->tenants, NULL, (struct derive_tenant){.tenant = t});
    agg_init(&vec_last(&d->tenants)->agg, &d->shared);
    return &vec_last(&d->tenants)->agg;
}

/* The same span within the last tens of thousands: a request that was sent again. */
static bool is_repeated(struct derive *d, uint64_t hash)
{
    uint64_t *slot = &d->seen[hash & (LIMIT_DERIVE_SEEN - 1)];
    bool is_there = *slot == hash;
    *slot = hash;
    return is_there;
}

static void begin_seen(struct derive *d)
{
    if (d->seen)
        return;
    d->seen = mem_zalloc(LIMIT_DERIVE_SEEN * sizeof d->seen[0]);
    if (d->options.budget)
        budget_force(d->options.budget, LIMIT_DERIVE_SEEN * sizeof d->seen[0]);
}

/* A request whose two halves are known; the one that is not there says 0 seconds. */
struct request {
    const struct edge_half *half[2]; // EDGE_CLIENT, EDGE_SERVER; NULL: not seen
    str client, server, type;
    double client_s, server_s;
    double latency_s; // of a message, below 0: it is none
    str missing;      // the side that sends no spans: "client", "server", or empty
};

static void add_dims(struct derive *d, const struct edge_half *half)
{
    if (half) {
        buf_add(&d->key, half->dims);
        return;
    }
    for (size_t i = 0; i < d->options.n_graph_dimensions; i++)
        agg_key_value(&d->key, STR(""));
}

/* Under one name: the client's, or where it has none the server's. */
static void add_common_dims(struct derive *d, const struct edge_half *const half[2])
{
    struct rd client = rd_of(half[EDGE_CLIENT] ? half[EDGE_CLIENT]->dims : STR(""));
    struct rd server = rd_of(half[EDGE_SERVER] ? half[EDGE_SERVER]->dims : STR(""));
    for (size_t i = 0; i < d->options.n_graph_dimensions; i++) {
        str first = half[EDGE_CLIENT] ? rd_bytes(&client) : STR("");
        str second = half[EDGE_SERVER] ? rd_bytes(&server) : STR("");
        agg_key_value(&d->key, first.n > 0 ? first : second);
    }
}

static void put_request_key(struct derive *d, const struct request *r)
{
    buf_clear(&d->key);
    agg_key_value(&d->key, r->client);
    agg_key_value(&d->key, r->server);
    agg_key_value(&d->key, r->type);
    if (d->options.has_virtual_label)
        agg_key_value(&d->key, r->missing);
    if (d->options.no_graph_prefix) {
        add_common_dims(d, r->half);
        return;
    }
    add_dims(d, r->half[EDGE_CLIENT]);
    add_dims(d, r->half[EDGE_SERVER]);
}

static void add_request(struct derive *d, struct store_tenant *t, const struct edge_key *key,
                        const struct request *r, int64_t mono_ns)
{
    const struct edge_half *any =
        r->half[EDGE_CLIENT] ? r->half[EDGE_CLIENT] : r->half[EDGE_SERVER];
    bool is_failed = false;
    double weight = 0;
    for (size_t i = 0; i < 2; i++) {
        is_failed = is_failed || (r->half[i] && r->half[i]->is_failed);
        weight = r->half[i] ? MAX(weight, r->half[i]->weight) : weight;
    }
    put_request_key(d, r);
    struct agg_point p = {.family = FAMILY_EDGES,
                          .key = buf_str(&d->key),
                          .counters = {weight, is_failed ? weight : 0},
                          .seconds = {r->server_s, r->client_s},
                          .weight = weight,
                          .trace_id = key->trace_id,
                          .t_ms = any->end_ns / NS_PER_MS};
    if (d->parts & PART_GRAPH)
        agg_add(agg_of(d, t), &p, mono_ns);
    d->stats.edges++;
    if (d->parts & PART_CONNECTIONS) {
        struct agg_point pair = {.family = FAMILY_CONNECTIONS, .key = p.key};
        agg_add(agg_of(d, t), &pair, mono_ns);
    }
    if (!d->options.has_messaging_latency || r->latency_s < 0 || !(d->parts & PART_REQUEST_LATENCY))
        return;
    struct agg_point message = {.family = FAMILY_MESSAGES,
                                .key = p.key,
                                .seconds = {r->latency_s},
                                .weight = weight,
                                .trace_id = key->trace_id,
                                .t_ms = p.t_ms};
    agg_add(agg_of(d, t), &message, mono_ns);
}

static void add_met(struct derive *d, struct store_tenant *t, const struct edge_key *key,
                    const struct edge_half *a, const struct edge_half *b, int64_t mono_ns)
{
    const struct edge_half *client = a->side == EDGE_CLIENT ? a : b, *server = a == client ? b : a;
    struct request r = {.half = {client, server},
                        .client = client->service,
                        .server = server->service,
                        .client_s = client->seconds,
                        .server_s = server->seconds,
                        .latency_s = -1};
    if (client->is_left_out || server->is_left_out)
        return;
    if (client->is_messaging || server->is_messaging) {
        r.type = STR("messaging_system");
        if (server->start_ns > client->end_ns) // else clocks differ, or it was not waited for
            r.latency_s = (double)(server->start_ns - client->end_ns) / 1e9;
    }
    add_request(d, t, key, &r, mono_ns);
}

/* A half on its own: the other side is one that sends no spans. */
static void add_virtual(struct derive *d, struct store_tenant *t, const struct edge_key *key,
                        const struct edge_half *half, int64_t mono_ns)
{
    struct request r = {.type = STR("virtual_node"), .latency_s = -1};
    r.half[half->side] = half;
    if (half->side == EDGE_CLIENT) {
        r.missing = STR("server");
        r.client = half->service;
        r.server = half->peer;
        r.client_s = half->seconds;
    } else {
        r.missing = STR("client");
        r.client = half->peer.n > 0 ? half->peer : STR("user");
        r.server = half->service;
        r.server_s = half->seconds;
    }
    add_request(d, t, key, &r, mono_ns);
}

static void expire(struct derive *d, int64_t mono_ns)
{
    struct edge edge;
    while (edges_expired(&d->edges, mono_ns, &edge)) {
        struct store_tenant *t = d->tenants.v[edge.key.tenant].tenant;
        if (edge.half.side == EDGE_CLIENT && edge.half.peer.n > 0)
            add_virtual(d, t, &edge.key, &edge.half, mono_ns);
        else if (!edge.half.is_left_out)
            d->stats.edges_expired++;
        edge_close(&d->edges, &edge);
    }
}

/* ---- spans ---- */

/* Entries of spans by what names them, for the time of one batch: nearly all spans are like one
 * before, and then neither key nor its hash is needed. */
#define MEMO_SIZE 512 // a power of two; each has two places

struct memo {
    struct agg_entry *entry; // NULL: nothing is here
    str service, name;
    uint8_t kind, status;
};

/* What the spans of one batch share. */
struct reader {
    struct derive *d;
    struct store_tenant *t;
    uint64_t tenant; // index
    const struct batch *b;
    int64_t now_ns, mono_ns;
    uint32_t resource; // the one that the next two are of
    str service, job, instance;
    struct peer_attrs resource_peers;
    bool has_memo; // service, name, kind and status are all that names an entry
    struct memo memo[MEMO_SIZE];
};

static str attr_text(const struct reader *r, struct attrs attrs, const char *key)
{
    const struct value *v = attrs_get(attrs, str_c(key));
    return v ? value_text(r->b->arena, v) : STR("");
}

/* The attributes that are not in job and instance, as labels of a gauge. */
static void use_target(struct reader *r, struct attrs attrs)
{
    static const str known[] = {STR_INIT("service.name"), STR_INIT("service.namespace"),
                                STR_INIT("service.instance.id")};
    static const str taken[] = {STR_INIT("job"), STR_INIT("instance"), STR_INIT("__name__")};
    struct derive *d = r->d;
    struct arena *a = r->b->arena;
    size_t n = 0;
    str space = attr_text(r, attrs, "service.namespace");
    r->job = space.n > 0 && r->service.n > 0
                 ? arena_fmt(a, STR_FMT "/" STR_FMT, STR_ARG(space), STR_ARG(r->service))
                 : r->service;
    r->instance = attr_text(r, attrs, "service.instance.id");
    buf_clear(&d->key);
    for (size_t i = 0; i < attrs.n; i++) {
        bool is_known = attrs.v[i].key.n == 0;
        for (size_t k = 0; k < COUNTOF(known); k++)
            is_known = is_known || str_eq(attrs.v[i].key, known[k]);
        for (size_t k = 0; k < d->options.n_target_exclude; k++)
            is_known = is_known || str_eq(attrs.v[i].key, d->options.target_exclude[k]);
        if (is_known)
            continue;
        agg_key_value(&d->key, derive_label_name(a, "", attrs.v[i].key, taken, COUNTOF(taken)));
        agg_key_value(&d->key, value_text(a, &attrs.v[i].value));
        n++;
    }
    if (n == 0 || (r->job.n == 0 && r->instance.n == 0))
        return;
    agg_key_value(&d->key, STR("job"));
    agg_key_value(&d->key, r->job);
    agg_key_value(&d->key, STR("instance"));
    agg_key_value(&d->key, r->instance);
    if (d->key.over) // no room for such a resource
        return;
    struct agg_point p = {.family = FAMILY_TARGETS, .key = buf_str(&d->key)};
    agg_add(&d->tenants.v[r->tenant].agg, &p, r->mono_ns);
}

/* A gauge for what the first attribute says that names the host; only texts do. */
static void use_host(struct reader *r, struct attrs attrs)
{
    struct derive *d = r->d;
    for (size_t i = 0; i < d->options.n_host_ids; i++) {
        const struct value *v = attrs_get(attrs, d->options.host_ids[i]);
        if (!v || v->kind != VALUE_STR || v->s.n == 0)
            continue;
        buf_clear(&d->key);
        agg_key_value(&d->key, v->s);
        agg_key_value(&d->key, d->options.host_ids[i]);
        struct agg_point p = {.family = FAMILY_HOSTS, .key = buf_str(&d->key)};
        agg_add(&d->tenants.v[r->tenant].agg, &p, r->mono_ns);
        return;
    }
}

static void use_resource(struct reader *r, uint32_t index)
{
    if (r->resource == index)
        return;
    struct attrs attrs = r->b->resources.v[index].attrs;
    r->resource = index;
    r->service = attr_text(r, attrs, "service.name");
    r->resource_peers = (struct peer_attrs){0};
    peer_attrs_read(&r->resource_peers, attrs);
    if (r->d->options.has_target_info)
        use_target(r, attrs);
    if (r->d->parts & PART_HOSTS)
        use_host(r, attrs);
}

static const struct value *attr_of(const struct reader *r, const struct span *s, str key)
{
    const struct value *v = attrs_get(s->attrs, key);
    return v ? v : attrs_get(r->b->resources.v[s->resource].attrs, key);
}

/* Of the span, else of its resource. */
static void put_dims(const struct reader *r, const struct span *s, const str *dims, size_t n,
                     struct buf *out)
{
    for (size_t i = 0; i < n; i++) {
        const struct value *v = attr_of(r, s, dims[i]);
        agg_key_value(out, v ? value_text(r->b->arena, v) : STR(""));
    }
}

/* What there is, joined. */
static void put_mapping(const struct reader *r, const struct span *s, const struct mapping *m,
                        struct buf *out)
{
    str text = {0};
    struct arena *a = r->b->arena;
    for (size_t i = 0; i < m->keys.n; i++) {
        const struct value *v = attr_of(r, s, m->keys.v[i]);
        str next = v ? value_text(a, v) : STR("");
        if (next.n > 0)
            text = text.n == 0 ? next
                               : arena_fmt(a, STR_FMT STR_FMT STR_FMT, STR_ARG(text),
                                           STR_ARG(m->join), STR_ARG(next));
    }
    agg_key_value(out, text);
}

static double span_seconds(const struct span *s)
{
    return s->end_ns > s->start_ns ? (double)(s->end_ns - s->start_ns) / 1e9 : 0;
}

static double weight_of(const struct reader *r, const struct span *s)
{
    const struct derive *d = r->d;
    return !d->has_weights ? 1
                           : span_weight(s, r->b->resources.v[s->resource].attrs,
                                         d->options.weight_key, d->options.has_state_weights);
}

static str span_key(struct reader *r, const struct span *s)
{
    struct derive *d = r->d;
    const struct derive_options *o = &d->options;
    buf_clear(&d->key);
    agg_key_value(&d->key, r->service);
    agg_key_value(&d->key, s->name);
    agg_key_value(&d->key, str_c(span_kind_label(s->kind)));
    agg_key_value(&d->key, str_c(span_status_label(s->status)));
    if (o->has_status_message)
        agg_key_value(&d->key, s->status_message);
    if (o->has_target_info) {
        agg_key_value(&d->key, r->job);
        agg_key_value(&d->key, r->instance);
    }
    put_dims(r, s, o->dimensions, o->n_dimensions, &d->key);
    for (size_t i = 0; i < o->n_mappings; i++)
        put_mapping(r, s, &d->mappings[i], &d->key);
    return buf_str(&d->key);
}

static bool names_only(const struct derive_options *o)
{
    return !o->has_status_message && !o->has_target_info && o->n_dimensions == 0 &&
           o->n_mappings == 0;
}

static bool memo_is(const struct memo *m, const struct reader *r, const struct span *s)
{
    return m->entry && m->kind == s->kind && m->status == s->status &&
           str_eq_short(m->name, s->name) && str_eq_short(m->service, r->service);
}

static struct agg_entry *span_entry(struct reader *r, const struct span *s)
{
    struct agg *agg = &r->d->tenants.v[r->tenant].agg;
    if (!r->has_memo)
        return agg_entry_get(agg, FAMILY_SPANS, span_key(r, s));
    uint64_t hash = hash_mix(hash_short(r->service), (uint64_t)s->kind << 8 | s->status);
    struct memo *m = &r->memo[hash_mix(hash, hash_short(s->name)) % MEMO_SIZE];
    if (memo_is(m, r, s))
        return m->entry;
    if (m->entry)
        m = &r->memo[(size_t)(m - r->memo) ^ 1];
    if (memo_is(m, r, s))
        return m->entry;
    struct agg_entry *e = agg_entry_get(agg, FAMILY_SPANS, span_key(r, s));
    if (!e->is_overflow) // for others there may be room again
        *m = (struct memo){e, r->service, s->name, s->kind, s->status};
    return e;
}

static void count_span(struct reader *r, const struct span *s)
{
    double weight = weight_of(r, s);
    struct agg_point p = {.family = FAMILY_SPANS,
                          .counters = {weight, span_wire_bytes(s)},
                          .seconds = {span_seconds(s)},
                          .weight = weight,
                          .trace_id = s->trace_id,
                          .t_ms = s->end_ns / NS_PER_MS};
    agg_entry_add(&r->d->shared, span_entry(r, s), &p, r->mono_ns);
}

static bool is_zero_id(const uint8_t id[8])
{
    static const uint8_t zero[8];
    return memcmp(id, zero, sizeof zero) == 0;
}

static struct edge_key key_of_half(const struct reader *r, const struct span *s, bool is_client)
{
    struct edge_key key = {.tenant = r->tenant};
    memcpy(key.trace_id, s->trace_id, sizeof key.trace_id);
    memcpy(key.span_id, is_client ? s->span_id : s->parent_id, sizeof key.span_id);
    return key;
}

/* Its other half must not be taken for one that nobody answered. */
static void leave_out_half(struct reader *r, const struct span *s)
{
    struct derive *d = r->d;
    bool is_client = s->kind == SPAN_CLIENT || s->kind == SPAN_PRODUCER;
    d->stats.edges_filtered++;
    if (!is_client && is_zero_id(s->parent_id))
        return;
    struct edge_half half = {.side = is_client ? EDGE_CLIENT : EDGE_SERVER, .is_left_out = true};
    struct edge_key key = key_of_half(r, s, is_client);
    struct edge other;
    if (edges_meet(&d->edges, &key, &half, r->mono_ns, &other))
        edge_close(&d->edges, &other);
}

static void count_half(struct reader *r, const struct span *s)
{
    struct derive *d = r->d;
    struct arena *a = r->b->arena;
    bool is_client = s->kind == SPAN_CLIENT || s->kind == SPAN_PRODUCER;
    bool is_root = !is_client && is_zero_id(s->parent_id);
    struct peer_attrs peers = {0};
    if (is_client || is_root) { // nobody asks the others
        peers = r->resource_peers;
        peer_attrs_read(&peers, s->attrs);
    }
    buf_clear(&d->dims);
    put_dims(r, s, d->options.graph_dimensions, d->options.n_graph_dimensions, &d->dims);
    struct edge_half half = {.side = is_client ? EDGE_CLIENT : EDGE_SERVER,
                             .is_failed = s->status == STATUS_ERROR,
                             .is_messaging = s->kind == SPAN_PRODUCER || s->kind == SPAN_CONSUMER,
                             .seconds = span_seconds(s),
                             .weight = weight_of(r, s),
                             .start_ns = s->start_ns,
                             .end_ns = s->end_ns,
                             .service = r->service,
                             .peer = peer_name(&peers, a),
                             .dims = buf_str(&d->dims)};
    struct edge_key key = key_of_half(r, s, is_client);
    if (is_root) { // nobody to wait for
        add_virtual(d, r->t, &key, &half, r->mono_ns);
        return;
    }
    str database = s->kind == SPAN_CLIENT ? peer_database(&peers, a) : STR("");
    if (database.n > 0) { // databases send no spans
        struct request q = {.half = {&half, NULL},
                            .client = half.service,
                            .server = database,
                            .type = STR("database"),
                            .client_s = half.seconds,
                            .server_s = half.seconds,
                            .latency_s = -1};
        add_request(d, r->t, &key, &q, r->mono_ns);
        return;
    }
    struct edge other;
    if (edges_meet(&d->edges, &key, &half, r->mono_ns, &other)) {
        add_met(d, r->t, &key, &half, &other.half, r->mono_ns);
        edge_close(&d->edges, &other);
    }
}

static bool is_outdated(const struct reader *r, const struct span *s)
{
    int64_t slack = r->d->options.slack_ns;
    return slack > 0 && (s->end_ns < r->now_ns - slack || s->end_ns > r->now_ns + slack);
}

static void read_span(struct reader *r, const struct span *s, uint64_t hash)
{
    if (is_outdated(r, s)) {
        r->d->stats.spans_outdated++;
        return;
    }
    if (is_repeated(r->d, hash)) {
        r->d->stats.spans_repeated++;
        return;
    }
    struct derive *d = r->d;
    struct attrs resource = r->b->resources.v[s->resource].attrs;
    use_resource(r, s->resource);
    if (!span_filter_passes(&d->filter, s, resource, r->b->arena)) {
        d->stats.spans_filtered++;
    } else {
        d->stats.spans++;
        if (d->parts & PART_SPANS)
            count_span(r, s);
    }
    if (s->kind < SPAN_SERVER || r->service.n == 0 || !(d->parts & (PART_GRAPH | PART_CONNECTIONS)))
        return;
    if (span_filter_passes(&d->graph_filter, s, resource, r->b->arena))
        count_half(r, s);
    else
        leave_out_half(r, s);
}

/* Zipkin's two sides of a call may share an id: the kind tells them apart. */
static uint64_t *hash_spans(const struct store_tenant *t, const struct batch *b)
{
    uint64_t *hashes = arena_array(b->arena, uint64_t, b->spans.n);
    for (size_t i = 0; i < b->spans.n; i++) {
        const struct span *s = &b->spans.v[i];
        uint64_t id[3];
        memcpy(id, s->trace_id, sizeof s->trace_id);
        memcpy(id + 2, s->span_id, sizeof s->span_id);
        uint64_t h = hash_mix((uint64_t)(uintptr_t)t, s->kind);
        hashes[i] = hash_mix(hash_mix(hash_mix(h, id[0]), id[1]), id[2]);
    }
    return hashes;
}

/* Most of a span's cost is waiting for memory: asked for some spans ahead. */
#define AHEAD 8

static void fetch_span(const struct derive *d, const struct span *s, uint64_t hash)
{
    __builtin_prefetch(&d->seen[hash & (LIMIT_DERIVE_SEEN - 1)], 1);
    __builtin_prefetch(s->name.p);
    for (size_t i = 0; i < s->attrs.n && i < 16; i += 64 / sizeof s->attrs.v[0] + 1)
        __builtin_prefetch(&s->attrs.v[i]);
}

void derive_spans(struct derive *d, struct store_tenant *t, const struct batch *b)
{
    struct reader r = {.d = d,
                       .t = t,
                       .b = b,
                       .now_ns = clock_now_ns(d->options.clock),
                       .mono_ns = clock_mono_ns(d->options.clock),
                       .resource = UINT32_MAX,
                       .has_memo = names_only(&d->options)};
    size_t n = b->spans.n;
    const uint64_t *hashes = hash_spans(t, b);
    pthread_mutex_lock(&d->mutex);
    expire(d, r.mono_ns);
    begin_seen(d);
    (void)agg_of(d, t);
    while (d->tenants.v[r.tenant].tenant != t)
        r.tenant++;
    for (size_t i = 0; i < n; i++) {
        if (i + AHEAD < n)
            fetch_span(d, &b->spans.v[i + AHEAD], hashes[i + AHEAD]);
        read_span(&r, &b->spans.v[i], hashes[i]);
    }
    bool wake = d->is_asleep;
    d->is_asleep = false;
    pthread_mutex_unlock(&d->mutex);
    if (wake)
        pthread_cond_signal(&d->changed);
}

/* ---- writing ---- */

/* Entries of one tenant on their way to the store. */
struct parcel {
    struct arena arena;
    struct store_tenant *tenant;
    VEC(uint32_t) index;
    VEC(struct agg_entry *) copy;
    size_t n_series;
    int64_t mono_ns;
    int64_t t_ms, zero_ms;
};

static bool is_idle(const struct derive *d, const struct agg_entry *e, int64_t mono_ns)
{
    return mono_ns - e->used_ns >= d->options.idle_ns;
}

/* Mutex held. Copies entries from *at on; false: there are none any more. */
static bool pack(struct derive *d, size_t tenant, size_t *at, struct parcel *p)
{
    struct agg *a = &d->tenants.v[tenant].agg;
    p->tenant = d->tenants.v[tenant].tenant;
    for (; *at < a->entries.n && p->n_series < LIMIT_DERIVE_WRITE; ++*at) {
        struct agg_entry *e = agg_copy(a, (uint32_t)*at, &p->arena);
        if (!e)
            continue;
        vec_push(&p->index, &p->arena, (uint32_t)*at);
        vec_push(&p->copy, &p->arena, e);
        p->n_series += agg_entry_series(&d->shared, (enum family)e->family);
    }
    return p->index.n > 0;
}

struct finder {
    const struct derive_options *options;
    struct store_tenant *tenant;
};

static uint64_t find_series(void *ctx, struct hash128 raw)
{
    const struct finder *f = ctx;
    return f->options->find(f->options->ctx, f->tenant, raw);
}

static bool send(struct derive *d, struct parcel *p, struct err *err)
{
    struct batch b;
    struct finder finder = {&d->options, p->tenant};
    struct agg_when when = {.t_ms = p->t_ms,
                            .zero_ms = p->zero_ms,
                            .find = d->options.find ? find_series : NULL,
                            .ctx = &finder};
    batch_init(&b, SIGNAL_METRICS, &p->arena);
    for (size_t i = 0; i < p->copy.n; i++) {
        when.is_stale = is_idle(d, p->copy.v[i], p->mono_ns);
        agg_put(&d->shared, p->copy.v[i], &when, &b);
    }
    b.raw_bytes = b.samples.n * sizeof b.samples.v[0];
    batch_validate(&b);
    return d->options.write(d->options.ctx, p->tenant, &b, err);
}

/* Mutex held. What ended goes, unless a span came in meanwhile. */
static void settle(struct derive *d, size_t tenant, const struct parcel *p)
{
    struct agg *a = &d->tenants.v[tenant].agg;
    for (size_t i = 0; i < p->index.n; i++) {
        struct agg_entry *e = a->entries.v[p->index.v[i]];
        if (!e->is_written) {
            e->is_written = true;
            e->start_ms = p->zero_ms;
        }
        if (is_idle(d, e, p->mono_ns))
            agg_remove(a, p->index.v[i]);
    }
}

/* Mutex held, but not while the store writes. False: the store does not take it now. */
static bool write_tenant(struct derive *d, size_t tenant, int64_t mono_ns, int64_t t_ms)
{
    bool ok = true;
    for (size_t at = 0; ok;) {
        struct parcel p = {
            .mono_ns = mono_ns,
            .t_ms = t_ms,
            .zero_ms = MIN(MAX(t_ms - d->options.interval_ns / NS_PER_MS, d->zero_ms), t_ms - 1)};
        arena_init(&p.arena, SIZE_MAX, d->options.budget);
        if (!pack(d, tenant, &at, &p)) {
            arena_deinit(&p.arena);
            break;
        }
        pthread_mutex_unlock(&d->mutex);
        struct err err = ERR_OK;
        ok = send(d, &p, &err);
        if (!ok)
            LOG_DEBUG("derived_metrics_not_written", "err=\"%s\"", err.text);
        pthread_mutex_lock(&d->mutex);
        if (ok)
            settle(d, tenant, &p);
        else
            d->stats.writes_failed++;
        arena_deinit(&p.arena);
    }
    return ok;
}

void derive_collect(struct derive *d)
{
    int64_t mono_ns = clock_mono_ns(d->options.clock);
    int64_t t_ms = clock_now_ns(d->options.clock) / NS_PER_MS;
    pthread_mutex_lock(&d->mutex);
    expire(d, mono_ns);
    for (size_t i = 0; i < d->tenants.n; i++)
        (void)write_tenant(d, i, mono_ns, t_ms);
    pthread_mutex_unlock(&d->mutex);
    d->zero_ms = t_ms + 1;
}

/* ---- the thread ---- */

/* Mutex held. Until `due_ns` of the real monotonic clock, or the end. */
static void sleep_until(struct derive *d, int64_t due_ns)
{
    struct timespec ts = {.tv_sec = due_ns / NS_PER_S, .tv_nsec = due_ns % NS_PER_S};
    while (!d->is_closing && clock_mono_ns(clock_real()) < due_ns)
        (void)pthread_cond_timedwait(&d->changed, &d->mutex, &ts);
}

/* Mutex held. */
static bool has_work(const struct derive *d)
{
    for (size_t i = 0; i < d->tenants.n; i++)
        if (d->tenants.v[i].agg.n > 0)
            return true;
    return d->edges.n > 0;
}

static void *derive_main(void *arg)
{
    struct derive *d = arg;
    pthread_mutex_lock(&d->mutex);
    while (!d->is_closing) {
        d->is_asleep = !has_work(d);
        while (d->is_asleep && !d->is_closing)
            pthread_cond_wait(&d->changed, &d->mutex);
        sleep_until(d, clock_mono_ns(clock_real()) + d->options.interval_ns);
        if (d->is_closing)
            break;
        pthread_mutex_unlock(&d->mutex);
        derive_collect(d);
        pthread_mutex_lock(&d->mutex);
    }
    pthread_mutex_unlock(&d->mutex);
    return NULL;
}

/* ---- derive.h ---- */

static void derive_free(struct derive *d)
{
    const struct derive_options *o = &d->options;
    for (size_t i = 0; i < d->tenants.n; i++)
        agg_deinit(&d->tenants.v[i].agg);
    vec_free(&d->tenants);
    edges_deinit(&d->edges);
    span_filter_close(&d->filter);
    span_filter_close(&d->graph_filter);
    if (d->seen && o->budget)
        budget_give(o->budget, LIMIT_DERIVE_SEEN * sizeof d->seen[0]);
    mem_free(d->seen);
    buf_deinit(&d->key);
    buf_deinit(&d->dims);
    (void)pthread_cond_destroy(&d->changed);
    (void)pthread_mutex_destroy(&d->mutex);
    arena_deinit(&d->arena);
    mem_free(d);
}

bool derive_open(const struct derive_options *o, struct derive **out, struct err *err)
{
    struct derive *d = mem_zalloc(sizeof *d);
    pthread_condattr_t attr;
    ASSERT(pthread_condattr_init(&attr) == 0);
    ASSERT(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    ASSERT(pthread_mutex_init(&d->mutex, NULL) == 0);
    ASSERT(pthread_cond_init(&d->changed, &attr) == 0);
    (void)pthread_condattr_destroy(&attr);
    arena_init(&d->arena, SIZE_MAX, NULL);
    d->options = *o;
    d->zero_ms = clock_now_ns(o->clock) / NS_PER_MS;
    buf_init(&d->key, LIMIT_DERIVE_KEY);
    buf_init(&d->dims, LIMIT_DERIVE_KEY);
    edges_init(&d->edges, o->max_edges, o->wait_ns, o->budget);
    if (!derive_read_options(d, err)) {
        derive_free(d);
        return false;
    }
    if (o->has_thread && pthread_create(&d->thread, NULL, derive_main, d) != 0) {
        derive_free(d);
        return err_set(err, ERR_IO, "cannot start the thread of derived metrics");
    }
    *out = d;
    return true;
}

void derive_stats(struct derive *d, struct derive_stats *out)
{
    pthread_mutex_lock(&d->mutex);
    *out = d->stats;
    out->edges_waiting = d->edges.n;
    out->edges_dropped = d->edges.n_dropped;
    out->overflowed = d->shared.overflowed;
    out->series = d->shared.n_series;
    pthread_mutex_unlock(&d->mutex);
}

void derive_close(struct derive *d)
{
    if (!d)
        return;
    if (d->options.has_thread) {
        pthread_mutex_lock(&d->mutex);
        d->is_closing = true;
        pthread_mutex_unlock(&d->mutex);
        pthread_cond_signal(&d->changed);
        (void)pthread_join(d->thread, NULL);
    }
    derive_collect(d);
    derive_free(d);
}
