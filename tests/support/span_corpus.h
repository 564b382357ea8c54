/* span_corpus.h - seeded spans for tests and benchmarks, of two sorts.
 *
 * corpus_trace: the traces of a shop: 10 services with 3 instances each, 8-30 spans a trace, about
 * 12 attributes a span and 9 on the resource, 1.5 % errors with an exception event. The
 * distributions (log-normal durations, Zipf-like choices, random ids) are those of the storage
 * design's tables. wild_set: small sets with everything that a span can hold, in odd combinations.
 *
 * All memory comes from the arena that is passed in. Header-only, so that every layer may use it.
 */
#pragma once

#include <math.h>

#include "storage/base/arena.h"
#include "storage/base/prng.h"
#include "storage/base/vec.h"
#include "storage/model/span.h"

#define CORPUS_UNUSED   __attribute__((unused))
#define CORPUS_SERVICES 10
#define CORPUS_PODS     (CORPUS_SERVICES * 3)

struct corpus {
    struct prng rng;
    int64_t now_ns;
    int64_t kafka_offset, order;
};

struct corpus_attrs {
    struct arena *a;
    struct attr v[24];
    size_t n;
};

static const char *const corpus_services[CORPUS_SERVICES] = {
    "frontend", "cart",     "checkout",       "payment", "shipping",
    "catalog",  "currency", "recommendation", "email",   "ads"};
static const char *const corpus_routes[] = {"/",
                                            "/api/cart",
                                            "/api/checkout",
                                            "/api/products/{id}",
                                            "/api/recommendations",
                                            "/api/currency",
                                            "/api/shipping",
                                            "/api/orders/{id}",
                                            "/api/login",
                                            "/api/ads"};
static const char *const corpus_agents[] = {
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/119.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.1 Safari/605.1.15",
    "python-requests/2.31.0", "Go-http-client/2.0", "okhttp/4.12.0"};
static const char *const corpus_methods[] = {
    "GetCart",         "AddItem",    "EmptyCart",    "GetProduct", "ListProducts",
    "SearchProducts",  "GetQuote",   "ShipOrder",    "Charge",     "Convert",
    "Recommendations", "PlaceOrder", "Confirmation", "GetAds",     "Currencies"};
static const char *const corpus_tables[] = {"carts", "products", "orders",
                                            "users", "payments", "quotes"};
static const char *const corpus_stack =
    "java.lang.IllegalStateException: connection pool exhausted\n\tat "
    "com.acme.pool.Pool.borrow(Pool.java:118)\n\tat com.acme.db.Client.query(Client.java:77)\n\tat "
    "com.acme.cart.CartRepository.find(CartRepository.java:41)\n\tat "
    "com.acme.cart.CartService.get(CartService.java:29)\n\tat "
    "io.grpc.stub.ServerCalls$UnaryServerCallHandler.onHalfClose(ServerCalls.java:182)";

CORPUS_UNUSED static double corpus_unit(struct corpus *c)
{
    return (double)(prng_next(&c->rng) >> 11) * 0x1p-53;
}

CORPUS_UNUSED static uint64_t corpus_below(struct corpus *c, uint64_t n)
{
    return prng_next(&c->rng) % n;
}

CORPUS_UNUSED static uint64_t corpus_zipf(struct corpus *c, uint64_t n, double skew)
{
    double x = pow((pow((double)n + 1, 1 - skew) - 1) * corpus_unit(c) + 1, 1 / (1 - skew));
    uint64_t k = x < 1 ? 0 : (uint64_t)x - 1;
    return k < n ? k : n - 1;
}

CORPUS_UNUSED static double corpus_lognormal(struct corpus *c, double median, double sigma)
{
    double u = corpus_unit(c) + 1e-18, v = corpus_unit(c);
    return median * exp(sigma * sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

static void corpus_s(struct corpus_attrs *l, const char *key, str v)
{
    l->v[l->n++] = (struct attr){str_c(key), {.kind = VALUE_STR, .s = v}};
}

static void corpus_i(struct corpus_attrs *l, const char *key, int64_t v)
{
    l->v[l->n++] = (struct attr){str_c(key), {.kind = VALUE_INT, .i = v}};
}

static struct attrs corpus_attrs_done(struct corpus_attrs *l)
{
    struct attr *v = arena_array(l->a, struct attr, l->n);
    memcpy(v, l->v, l->n * sizeof(*v));
    return (struct attrs){v, l->n};
}

/* The resources of all pods; index = service * 3 + instance. */
CORPUS_UNUSED static struct resource *corpus_resources(struct arena *a)
{
    struct resource *r = arena_zalloc(a, sizeof(*r) * CORPUS_PODS);
    for (unsigned i = 0; i < CORPUS_PODS; i++) {
        struct corpus_attrs l = {.a = a};
        const char *svc = corpus_services[i / 3];
        corpus_s(&l, "service.name", str_c(svc));
        corpus_s(&l, "service.version", STR("1.12.3"));
        corpus_s(&l, "k8s.pod.name", arena_fmt(a, "%s-7d9f8b6c5-%05x", svc, i * 40503));
        corpus_s(&l, "k8s.namespace.name", STR("shop"));
        corpus_s(&l, "host.name", arena_fmt(a, "node-%u", i % 4));
        corpus_s(&l, "telemetry.sdk.language", STR("java"));
        corpus_s(&l, "telemetry.sdk.name", STR("opentelemetry"));
        corpus_s(&l, "telemetry.sdk.version", STR("1.32.0"));
        corpus_s(&l, "deployment.environment", STR("production"));
        r[i].attrs = corpus_attrs_done(&l);
    }
    return r;
}

CORPUS_UNUSED static struct scope *corpus_scopes(struct arena *a)
{
    struct scope *s = arena_zalloc(a, sizeof(*s));
    s->name = STR("io.opentelemetry.java");
    s->version = STR("1.32.0");
    return s;
}

CORPUS_UNUSED static void corpus_init(struct corpus *c, uint64_t seed, int64_t now_ns)
{
    *c = (struct corpus){.now_ns = now_ns, .kafka_offset = 1000000, .order = 5000000};
    prng_init(&c->rng, seed);
}

struct corpus_ctx { // of one trace
    uint64_t user;
    str session;
};

static void corpus_http(struct corpus *c, struct corpus_attrs *l, struct corpus_ctx *t,
                        struct span *s, bool error)
{
    uint64_t r = corpus_zipf(c, COUNTOF(corpus_routes), 1.1);
    str method = corpus_below(c, 4) ? STR("GET") : STR("POST"), route = str_c(corpus_routes[r]);
    s->name = arena_fmt(l->a, STR_FMT " " STR_FMT, STR_ARG(method), STR_ARG(route));
    corpus_s(l, "http.request.method", method);
    corpus_s(l, "http.route", route);
    corpus_i(l, "http.response.status_code", error ? 500 : corpus_unit(c) < 0.97 ? 200 : 404);
    corpus_s(l, "url.path",
             r == 3 || r == 7 ? arena_fmt(l->a, "/api/%s/%d", r == 3 ? "products" : "orders",
                                          (int)corpus_zipf(c, 5000, 1.1))
                              : route);
    corpus_s(l, "network.peer.address",
             arena_fmt(l->a, "10.%d.%d.%d", (int)corpus_below(c, 3), (int)corpus_zipf(c, 40, 1.1),
                       (int)corpus_zipf(c, 250, 1.05)));
    corpus_i(l, "network.peer.port", 30000 + (int64_t)corpus_below(c, 30000));
    corpus_i(l, "user.id", (int64_t)t->user);
    corpus_s(l, "server.address", STR("shop.example.com"));
    corpus_i(l, "server.port", 8080);
    corpus_i(l, "http.response.body.size", (int64_t)corpus_lognormal(c, 1800, 0.8));
    corpus_s(l, "user_agent.original", str_c(corpus_agents[corpus_zipf(c, 5, 1.1)]));
    corpus_s(l, "session.id", t->session);
}

static void corpus_rpc(struct corpus *c, struct corpus_attrs *l, struct corpus_ctx *t,
                       struct span *s, bool error)
{
    const char *svc = corpus_services[s->resource / 3];
    uint64_t m = corpus_zipf(c, COUNTOF(corpus_methods), 1.1);
    str method = str_c(corpus_methods[m]);
    str service = arena_fmt(l->a, "oteldemo.%sService", svc);
    s->name = arena_fmt(l->a, STR_FMT "/" STR_FMT, STR_ARG(service), STR_ARG(method));
    corpus_s(l, "rpc.system", STR("grpc"));
    corpus_s(l, "rpc.service", service);
    corpus_s(l, "rpc.method", method);
    corpus_i(l, "rpc.grpc.status_code", error ? 14 : 0);
    corpus_s(l, "network.peer.address",
             arena_fmt(l->a, "10.%d.%d.%d", (int)corpus_below(c, 3), (int)corpus_zipf(c, 40, 1.1),
                       (int)corpus_zipf(c, 250, 1.05)));
    corpus_i(l, "network.peer.port", 30000 + (int64_t)corpus_below(c, 30000));
    corpus_i(l, "user.id", (int64_t)t->user);
    corpus_s(l, "session.id", t->session);
    if (m == 11 || m == 8) {
        corpus_s(l, "app.order.id", arena_fmt(l->a, "%lld", (long long)c->order++));
        l->v[l->n++] = (struct attr){
            STR("app.amount"),
            {.kind = VALUE_DOUBLE, .d = round(corpus_lognormal(c, 40, 0.8) * 100) / 100}};
    }
    corpus_i(l, "app.cart.items", 1 + (int64_t)corpus_zipf(c, 12, 1.2));
    corpus_s(l, "code.function", method);
    corpus_s(l, "code.namespace", arena_fmt(l->a, "com.acme.%s", svc));
}

static void corpus_client(struct corpus *c, struct corpus_attrs *l, struct corpus_ctx *t,
                          struct span *s)
{
    const char *svc = corpus_services[s->resource / 3];
    if (corpus_below(c, 5) == 0) {
        s->kind = SPAN_PRODUCER;
        s->name = STR("publish orders");
        corpus_s(l, "messaging.system", STR("kafka"));
        corpus_s(l, "messaging.destination.name",
                 corpus_below(c, 2) ? STR("orders") : STR("audit"));
        corpus_i(l, "messaging.kafka.offset", c->kafka_offset++);
        corpus_s(l, "server.address", STR("kafka"));
        corpus_i(l, "server.port", 9092);
        corpus_i(l, "http.request.body.size", (int64_t)corpus_lognormal(c, 600, 0.5));
        corpus_s(l, "code.function", STR("send"));
        corpus_s(l, "code.namespace", arena_fmt(l->a, "com.acme.%s.bus", svc));
        corpus_i(l, "user.id", (int64_t)t->user);
        return;
    }
    const char *table = corpus_tables[corpus_zipf(c, COUNTOF(corpus_tables), 1.1)];
    s->name = arena_fmt(l->a, "SELECT shop.%s", table);
    corpus_s(l, "db.system", STR("postgresql"));
    corpus_s(l, "db.statement",
             arena_fmt(l->a,
                       "SELECT id, sku, qty, price FROM %s WHERE user_id = %d ORDER BY created_at "
                       "DESC LIMIT %d",
                       table, (int)t->user, 10 * (1 + (int)corpus_below(c, 3))));
    corpus_s(l, "db.collection.name", str_c(table));
    corpus_s(l, "server.address", STR("postgres.shop.svc.cluster.local"));
    corpus_i(l, "server.port", 5432);
    corpus_s(l, "network.peer.address", arena_fmt(l->a, "10.1.4.%d", (int)corpus_below(c, 4)));
    corpus_i(l, "network.peer.port", 5432);
    corpus_s(l, "code.function", STR("query"));
    corpus_s(l, "code.namespace", arena_fmt(l->a, "com.acme.%s.repo", svc));
}

static void corpus_internal(struct corpus *c, struct corpus_attrs *l, struct corpus_ctx *t,
                            struct span *s)
{
    const char *svc = corpus_services[s->resource / 3];
    s->name = arena_fmt(l->a, "%s.%s", svc, corpus_methods[corpus_zipf(c, 15, 1.1)]);
    corpus_s(l, "code.function", str_c(corpus_methods[corpus_zipf(c, 15, 1.1)]));
    corpus_s(l, "code.namespace", arena_fmt(l->a, "com.acme.%s", svc));
    l->v[l->n++] =
        (struct attr){STR("app.cache.hit"), {.kind = VALUE_BOOL, .b = corpus_unit(c) < 0.8}};
    corpus_i(l, "user.id", (int64_t)t->user);
    corpus_i(l, "app.cart.items", 1 + (int64_t)corpus_zipf(c, 12, 1.2));
    corpus_s(l, "session.id", t->session);
    corpus_i(l, "http.response.body.size", (int64_t)corpus_lognormal(c, 300, 1));
    l->v[l->n++] =
        (struct attr){STR("app.amount"),
                      {.kind = VALUE_DOUBLE, .d = round(corpus_lognormal(c, 40, 0.8) * 100) / 100}};
}

static void corpus_error(struct corpus_attrs *l, struct span *s)
{
    corpus_s(l, "error.type", STR("java.lang.IllegalStateException"));
    s->status = STATUS_ERROR;
    struct span_event *e = arena_zalloc(l->a, sizeof(*e));
    struct attr *stack = arena_new(l->a, struct attr);
    *stack =
        (struct attr){STR("exception.stacktrace"), {.kind = VALUE_STR, .s = str_c(corpus_stack)}};
    e->time_ns = s->start_ns + (s->end_ns - s->start_ns) / 2;
    e->name = STR("exception");
    e->attrs = (struct attrs){stack, 1};
    s->events = e;
    s->n_events = 1;
}

/* One trace into spans[<= 30]; resource indices as of corpus_resources. Returns its spans. */
CORPUS_UNUSED static size_t corpus_trace(struct corpus *c, struct arena *a, struct span *spans)
{
    c->now_ns += (int64_t)corpus_lognormal(c, 30e6, 1);
    uint64_t id[2] = {prng_next(&c->rng), prng_next(&c->rng)};
    size_t n = 8 + corpus_below(c, 23);
    struct corpus_ctx t = {.user = corpus_zipf(c, 200000, 1.05)};
    t.session = arena_fmt(a, "%08x%08x", (unsigned)(t.user * 2654435761u),
                          (unsigned)(t.user * 40503u + (uint64_t)(c->now_ns / 3600000000000)));
    for (size_t i = 0; i < n; i++) {
        struct span *s = &spans[i];
        struct corpus_attrs l = {.a = a};
        *s = (struct span){0};
        memcpy(s->trace_id, id, 16);
        uint64_t sid = prng_next(&c->rng) | 1;
        memcpy(s->span_id, &sid, 8);
        struct span *p = NULL;
        if (i > 0) {
            p = &spans[corpus_unit(c) < 0.5 ? i - 1 : corpus_below(c, i)];
            memcpy(s->parent_id, p->span_id, 8);
        }
        int64_t outer = p ? p->end_ns - p->start_ns : 0;
        int64_t d = (int64_t)(p ? (double)outer * (0.1 + 0.75 * corpus_unit(c))
                                : corpus_lognormal(c, 120e6, 0.9)) +
                    1000;
        int64_t slack = outer > d ? outer - d : 1;
        s->start_ns = p ? p->start_ns + (int64_t)((double)slack * corpus_unit(c)) : c->now_ns;
        s->end_ns = s->start_ns + d;
        uint64_t sort = i == 0 ? 0 : 1 + corpus_below(c, 4);
        uint64_t service = i == 0 ? 0 : sort == 2 ? 1 + corpus_below(c, 9) : p->resource / 3;
        s->resource = (uint32_t)(service * 3 + corpus_below(c, 3));
        s->kind = sort == 0 || sort == 2 ? SPAN_SERVER : sort == 3 ? SPAN_CLIENT : SPAN_INTERNAL;
        s->flags = 0x101;
        bool error = corpus_unit(c) < 0.015;
        uint64_t thread = corpus_below(c, 24);
        corpus_i(&l, "thread.id", 20 + (int64_t)thread);
        corpus_s(&l, "thread.name",
                 arena_fmt(a, "grpc-default-executor-%d", (int)corpus_below(c, 24)));
        if (sort == 0 || (sort == 2 && corpus_below(c, 3) == 0))
            corpus_http(c, &l, &t, s, error);
        else if (sort == 2 || sort == 4)
            corpus_rpc(c, &l, &t, s, error);
        else if (sort == 3)
            corpus_client(c, &l, &t, s);
        else
            corpus_internal(c, &l, &t, s);
        if (error)
            corpus_error(&l, s);
        s->attrs = corpus_attrs_done(&l);
    }
    return n;
}

/* ---- wild ---- */

static struct attrs wild_attrs(struct corpus *c, struct arena *a, unsigned depth);

static struct value wild_value(struct corpus *c, struct arena *a, unsigned depth)
{
    struct value v = {.kind = (enum value_kind)corpus_below(c, depth ? 8 : 6)};
    static const double doubles[] = {0, -0.0, 1.5, 1e300, -0.1, 1234.56};
    switch (v.kind) {
    case VALUE_EMPTY:
        break;
    case VALUE_STR:
        v.s = arena_fmt(a, "v%d", (int)corpus_below(c, 40));
        break;
    case VALUE_BOOL:
        v.b = corpus_below(c, 2);
        break;
    case VALUE_INT:
        v.i = corpus_below(c, 4) ? (int64_t)corpus_below(c, 1000) : (int64_t)prng_next(&c->rng);
        break;
    case VALUE_DOUBLE:
        v.d = corpus_below(c, 8) ? doubles[corpus_below(c, COUNTOF(doubles))] : (double)NAN;
        break;
    case VALUE_BYTES:
        v.s = arena_dup(a, str_of("\0\1\2\xFF\xFE", corpus_below(c, 6)));
        break;
    case VALUE_LIST: {
        struct value *list = arena_array(a, struct value, 4);
        v.list.n = corpus_below(c, 4);
        for (size_t i = 0; i < v.list.n; i++)
            list[i] = wild_value(c, a, depth - 1);
        v.list.v = list;
        break;
    }
    case VALUE_MAP: {
        struct attrs m = wild_attrs(c, a, depth - 1);
        v.map.v = m.v;
        v.map.n = m.n;
        break;
    }
    }
    return v;
}

static struct attrs wild_attrs(struct corpus *c, struct arena *a, unsigned depth)
{
    size_t n = corpus_below(c, 6), first = corpus_below(c, 10);
    struct attr *v = arena_array(a, struct attr, n);
    for (size_t i = 0; i < n; i++) // distinct keys
        v[i] = (struct attr){arena_fmt(a, "key%d", (int)((first + i * 3) % 20)),
                             wild_value(c, a, depth)};
    return (struct attrs){v, n};
}

static void wild_bytes(struct corpus *c, void *p, size_t n, uint64_t distinct)
{
    memset(p, 0, n);
    uint64_t v = 1 + corpus_below(c, distinct);
    memcpy(p, &v, n < 8 ? n : 8);
}

static void wild_children(struct corpus *c, struct arena *a, struct span *s)
{
    s->n_events = (uint32_t)(corpus_below(c, 4) ? 0 : corpus_below(c, 4));
    s->n_links = (uint32_t)(corpus_below(c, 4) ? 0 : corpus_below(c, 3));
    struct span_event *ev = arena_zalloc(a, sizeof(*ev) * s->n_events);
    struct span_link *ln = arena_zalloc(a, sizeof(*ln) * s->n_links);
    for (uint32_t i = 0; i < s->n_events; i++)
        ev[i] = (struct span_event){.time_ns = s->start_ns + (int64_t)corpus_below(c, 1000) - 10,
                                    .name = arena_fmt(a, "event%d", (int)corpus_below(c, 3)),
                                    .attrs = wild_attrs(c, a, 2),
                                    .dropped_attrs = (uint32_t)corpus_below(c, 3)};
    for (uint32_t i = 0; i < s->n_links; i++) {
        ln[i] = (struct span_link){.trace_state = corpus_below(c, 2) ? STR("a=b") : STR(""),
                                   .attrs = wild_attrs(c, a, 1),
                                   .dropped_attrs = (uint32_t)corpus_below(c, 2),
                                   .flags = (uint32_t)corpus_below(c, 3)};
        wild_bytes(c, ln[i].trace_id, 16, 1000);
        wild_bytes(c, ln[i].span_id, 8, 1000);
    }
    s->events = ev;
    s->links = ln;
}

/* n spans in about n / 4 traces. Span ids are distinct when `distinct_ids`. */
CORPUS_UNUSED static struct span_set wild_set(struct corpus *c, struct arena *a, size_t n,
                                              bool distinct_ids)
{
    struct resource *r = arena_zalloc(a, sizeof(*r) * 3);
    struct scope *sc = arena_zalloc(a, sizeof(*sc) * 3);
    for (unsigned i = 0; i < 3; i++) {
        r[i] = (struct resource){wild_attrs(c, a, 2), (uint32_t)corpus_below(c, 2),
                                 corpus_below(c, 2) ? STR("https://schema/1") : STR("")};
        sc[i] = (struct scope){arena_fmt(a, "lib%u", i), STR("1"), wild_attrs(c, a, 1),
                               (uint32_t)corpus_below(c, 2), STR("https://schema/2")};
    }
    struct span *s = arena_zalloc(a, sizeof(*s) * n);
    for (size_t i = 0; i < n; i++) {
        wild_bytes(c, s[i].trace_id, 16, n / 4 + 1);
        wild_bytes(c, s[i].span_id, 8, n);
        if (distinct_ids)
            memcpy(s[i].span_id, &(uint64_t){i + 1}, 8);
        if (corpus_below(c, 3))
            wild_bytes(c, s[i].parent_id, 8, n);
        s[i].resource = (uint32_t)corpus_below(c, 3);
        s[i].scope = (uint32_t)corpus_below(c, 3);
        s[i].start_ns = c->now_ns + (int64_t)corpus_below(c, 5000);
        s[i].end_ns = s[i].start_ns + (int64_t)corpus_below(c, 100000) - 5;
        s[i].name = arena_fmt(a, "name%d", (int)corpus_below(c, 5));
        s[i].trace_state = corpus_below(c, 4) ? STR("") : STR("vendor=1");
        s[i].status_message = corpus_below(c, 4) ? STR("") : STR("it broke");
        s[i].kind = (uint8_t)corpus_below(c, 6);
        s[i].status = (uint8_t)corpus_below(c, 3);
        s[i].flags = (uint32_t)corpus_below(c, 3) * 0x7FFFFFFF;
        s[i].dropped_attrs = (uint32_t)(corpus_below(c, 5) ? 0 : 7);
        s[i].dropped_events = (uint32_t)(corpus_below(c, 5) ? 0 : UINT32_MAX);
        s[i].dropped_links = (uint32_t)(corpus_below(c, 5) ? 0 : 2);
        s[i].attrs = wild_attrs(c, a, 3);
        wild_children(c, a, &s[i]);
    }
    return (struct span_set){r, sc, s, 3, 3, n};
}

/* ---- comparing ---- */

CORPUS_UNUSED static bool attrs_same(struct attrs a, struct attrs b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (!str_eq(a.v[i].key, b.v[i].key) || !value_eq(&a.v[i].value, &b.v[i].value))
            return false;
    return true;
}

static bool children_same(const struct span *x, const struct span *y)
{
    if (x->n_events != y->n_events || x->n_links != y->n_links)
        return false;
    for (uint32_t i = 0; i < x->n_events; i++) {
        const struct span_event *a = &x->events[i], *b = &y->events[i];
        if (a->time_ns != b->time_ns || !str_eq(a->name, b->name) ||
            a->dropped_attrs != b->dropped_attrs || !attrs_same(a->attrs, b->attrs))
            return false;
    }
    for (uint32_t i = 0; i < x->n_links; i++) {
        const struct span_link *a = &x->links[i], *b = &y->links[i];
        if (memcmp(a->trace_id, b->trace_id, 16) != 0 || memcmp(a->span_id, b->span_id, 8) != 0 ||
            !str_eq(a->trace_state, b->trace_state) || a->flags != b->flags ||
            a->dropped_attrs != b->dropped_attrs || !attrs_same(a->attrs, b->attrs))
            return false;
    }
    return true;
}

/* Equal in everything, owners compared by content. */
CORPUS_UNUSED static bool span_same(const struct span_set *xs, const struct span *x,
                                    const struct span_set *ys, const struct span *y)
{
    const struct resource *xr = &xs->resources[x->resource], *yr = &ys->resources[y->resource];
    const struct scope *xc = &xs->scopes[x->scope], *yc = &ys->scopes[y->scope];
    return memcmp(x->trace_id, y->trace_id, 16) == 0 && memcmp(x->span_id, y->span_id, 8) == 0 &&
           memcmp(x->parent_id, y->parent_id, 8) == 0 && x->start_ns == y->start_ns &&
           x->end_ns == y->end_ns && str_eq(x->name, y->name) &&
           str_eq(x->trace_state, y->trace_state) && str_eq(x->status_message, y->status_message) &&
           x->kind == y->kind && x->status == y->status && x->flags == y->flags &&
           x->dropped_attrs == y->dropped_attrs && x->dropped_events == y->dropped_events &&
           x->dropped_links == y->dropped_links && attrs_same(x->attrs, y->attrs) &&
           children_same(x, y) && attrs_same(xr->attrs, yr->attrs) &&
           xr->dropped_attrs == yr->dropped_attrs && str_eq(xr->schema_url, yr->schema_url) &&
           str_eq(xc->name, yc->name) && str_eq(xc->version, yc->version) &&
           attrs_same(xc->attrs, yc->attrs) && xc->dropped_attrs == yc->dropped_attrs &&
           str_eq(xc->schema_url, yc->schema_url);
}
