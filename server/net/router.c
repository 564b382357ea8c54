/* router.c - literal paths in a hash map, patterns in a short list that is tried in order.
 *
 * Entries live in a vector of pointers, so that their addresses (counters) stay put. */
#include "server/net/router.h"

#include "storage/base/hash.h"
#include "storage/base/hmap.h"
#include "storage/base/vec.h"

const int route_codes[ROUTE_CODES] = {200, 204, 206, 301, 304, 400, 404, 405, 408, 409,
                                      413, 415, 422, 429, 499, 500, 501, 503, 504, 0};
const double route_buckets_s[ROUTE_BUCKETS - 1] = {0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10};

struct router {
    struct hmap literals; // hash of the path -> first entry with it
    VEC(struct route_entry *) entries;
    VEC(uint32_t) patterns; // first entry of each pattern with {names}
    struct route_entry other;
};

static const struct route other_route = {.methods = HTTP_ANY, .pattern = "other"};

struct router *router_open(void)
{
    struct router *r = mem_zalloc(sizeof *r);
    r->other.route = &other_route;
    return r;
}

void router_close(struct router *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->entries.n; i++)
        mem_free(r->entries.v[i]);
    vec_free(&r->entries);
    vec_free(&r->patterns);
    hmap_deinit(&r->literals);
    mem_free(r);
}

struct find_ctx {
    const struct router *r;
    str path;
};

static bool is_same_path(const void *ctx, uint32_t index)
{
    const struct find_ctx *f = ctx;
    return str_eq(str_c(f->r->entries.v[index]->route->pattern), f->path);
}

static uint32_t find_literal(const struct router *r, str path)
{
    struct find_ctx f = {r, path};
    return hmap_find(&r->literals, hash64(path), is_same_path, &f);
}

static uint32_t find_pattern(const struct router *r, str pattern)
{
    for (size_t i = 0; i < r->patterns.n; i++)
        if (str_eq(str_c(r->entries.v[r->patterns.v[i]]->route->pattern), pattern))
            return r->patterns.v[i];
    return HMAP_NONE;
}

static bool is_grpc_pattern(str pattern)
{
    str path = str_sub(pattern, 1, pattern.n);
    size_t slash = str_find_char(path, '/');
    return slash != SIZE_MAX && str_find_char(str_sub(path, 0, slash), '.') != SIZE_MAX &&
           str_find_char(str_sub(path, slash + 1, path.n), '/') == SIZE_MAX;
}

static size_t count_names(str pattern)
{
    size_t n = 0;
    for (size_t i = 0; i < pattern.n; i++)
        n += pattern.p[i] == '{';
    return n;
}

static void router_add_one(struct router *r, const struct route *route, void *ctx)
{
    str pattern = str_c(route->pattern);
    ASSERT(pattern.n > 0 && pattern.p[0] == '/');
    size_t n_names = count_names(pattern);
    ASSERT(n_names <= ROUTE_ARGS_MAX);
    struct route_entry *e = mem_zalloc(sizeof *e);
    e->route = route;
    e->ctx = ctx;
    e->is_grpc = is_grpc_pattern(pattern);
    uint32_t first = n_names ? find_pattern(r, pattern) : find_literal(r, pattern);
    uint32_t index = (uint32_t)r->entries.n;
    if (first == HMAP_NONE) {
        if (n_names)
            vec_push(&r->patterns, NULL, index);
    } else {
        ASSERT(!(r->entries.v[first]->route->methods & route->methods));
    }
    vec_push(&r->entries, NULL, e);
    e->next_same = UINT32_MAX;
    if (first == HMAP_NONE) {
        if (!n_names)
            hmap_put(&r->literals, hash64(pattern), index);
        return;
    }
    struct route_entry *head = r->entries.v[first];
    e->next_same = head->next_same;
    head->next_same = index;
}

void router_add(struct router *r, const struct route *table, void *ctx)
{
    for (; table->pattern; table++)
        router_add_one(r, table, ctx);
}

/* Does the path fit the pattern? Arguments are slices of the path. */
static bool pattern_match(str pattern, str path, str *args, size_t *n_args)
{
    size_t i = 0, j = 0;
    *n_args = 0;
    while (i < pattern.n) {
        if (pattern.p[i] != '{') {
            if (j >= path.n || path.p[j] != pattern.p[i])
                return false;
            i++;
            j++;
            continue;
        }
        size_t close = i + str_find_char(str_sub(pattern, i, pattern.n), '}');
        bool is_deep = pattern.p[close - 1] == '+';
        size_t from = j;
        i = close + 1;
        if (is_deep) { // everything up to the literal rest, which ends the path
            str rest = str_sub(pattern, i, pattern.n);
            if (path.n < j + rest.n || !str_ends(path, rest))
                return false;
            j = path.n - rest.n;
        } else {
            while (j < path.n && path.p[j] != '/')
                j++;
        }
        if (j == from)
            return false;
        args[(*n_args)++] = str_sub(path, from, j);
    }
    return j == path.n;
}

/* Among the entries of one pattern, the one for the method; false when the kind (gRPC or not)
 * differs. */
static bool match_method(struct router *r, uint32_t first, unsigned method, bool is_grpc,
                         struct route_match *out)
{
    for (uint32_t i = first; i != UINT32_MAX; i = r->entries.v[i]->next_same) {
        struct route_entry *e = r->entries.v[i];
        if (e->is_grpc != is_grpc)
            return false;
        out->path_known = true;
        out->is_ingest = e->route->lane == LANE_INGEST;
        out->as_prometheus = (e->route->methods & HTTP_AS_PROMETHEUS) != 0;
        out->allowed |= e->route->methods;
        if ((e->route->methods & method) && !(out->as_prometheus && (method & HTTP_HEAD)))
            out->entry = e;
    }
    return true;
}

void router_match(struct router *r, enum http_method method, str path, bool is_grpc,
                  struct route_match *out)
{
    *out = (struct route_match){0};
    unsigned wanted = method == HTTP_HEAD ? HTTP_HEAD | HTTP_GET : (unsigned)method;
    uint32_t literal = find_literal(r, path);
    if (literal != HMAP_NONE && match_method(r, literal, wanted, is_grpc, out))
        return;
    for (size_t i = 0; i < r->patterns.n; i++) {
        uint32_t first = r->patterns.v[i];
        if (!pattern_match(str_c(r->entries.v[first]->route->pattern), path, out->args,
                           &out->n_args))
            continue;
        if (match_method(r, first, wanted, is_grpc, out) && out->entry)
            return;
    }
    out->n_args = 0;
}

void router_methods(unsigned methods, struct buf *out)
{
    static const struct {
        unsigned bit;
        const char *name;
    } names[] = {{HTTP_GET, "GET"},        {HTTP_HEAD, "HEAD"},   {HTTP_POST, "POST"},
                 {HTTP_PUT, "PUT"},        {HTTP_PATCH, "PATCH"}, {HTTP_DELETE, "DELETE"},
                 {HTTP_OPTIONS, "OPTIONS"}};
    buf_clear(out);
    for (size_t i = 0; i < COUNTOF(names); i++)
        if (methods & names[i].bit)
            buf_fmt(out, "%s%s", out->n ? ", " : "", names[i].name);
}

static void add(atomic_uint_fast64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

void route_count(struct route_entry *e, int code, int64_t duration_ns, size_t bytes_in,
                 size_t bytes_out)
{
    size_t c = 0;
    while (c < ROUTE_CODES - 1 && route_codes[c] != code)
        c++;
    size_t b = 0;
    while (b < ROUTE_BUCKETS - 1 && (double)duration_ns > route_buckets_s[b] * 1e9)
        b++;
    add(&e->stats.code[c], 1);
    add(&e->stats.bucket[b], 1);
    add(&e->stats.duration_ns, (uint64_t)(duration_ns > 0 ? duration_ns : 0));
    add(&e->stats.bytes_in, bytes_in);
    add(&e->stats.bytes_out, bytes_out);
}

struct route_entry *router_entry(struct router *r, size_t i)
{
    return i < r->entries.n ? r->entries.v[i] : NULL;
}

struct route_entry *router_other(struct router *r)
{
    return &r->other;
}
