/* exchange.c - life of an exchange, and the request functions of http.h. */
#include "server/net/exchange.h"

#include "server/net/url.h"
#include "server/net/ws.h"
#include "storage/base/budget.h"
#include "storage/base/num.h"
#include "storage/base/regex.h"
#include "storage/model/limits.h"

/* Arena of a request: path arguments, parameters, what a handler keeps for the answer. */
#define EXCHANGE_ARENA (64 * MIB)
/* Telemetry shrinks to a tenth: room for this many times the body is tried first, so that requests
 * side by side do not ask for the whole limit each. */
#define INFLATE_LIKELY 16
#define INFLATE_MIN    (256 * KIB)
/* Bytes of a body that are made room for when one has come. Reads bring 64 KiB: batches of up to
 * 1.5 MiB, which are nearly all, have one room and are read into their place; the second is above
 * the 4 MiB from which the allocator maps memory by itself (server/cmd_serve.c), and grows without
 * a copy. */
#define BODY_AHEAD 24

struct exchange *exchange_new(const struct exchange_host *host)
{
    struct exchange *x = mem_zalloc(sizeof *x);
    x->host = host;
    x->refs = 1;
    arena_init(&x->arena, EXCHANGE_ARENA, host->budget);
    buf_init(&x->body, host->max_body);
    reply_init(&x->rep, x, true);
    x->req.arena = &x->arena;
    x->req.impl = x;
    return x;
}

void exchange_ref(struct exchange *x)
{
    x->refs++;
}

void exchange_unref(struct exchange *x)
{
    ASSERT(x->refs > 0);
    if (--x->refs > 0)
        return;
    if (x->rep.ws_events) // the client went before the channel opened
        x->rep.ws_events->closed(x->rep.ws_app);
    reply_deinit(&x->rep);
    if (x->req.state_close)
        x->req.state_close(x->req.state);
    buf_deinit(&x->body);
    buf_deinit(&x->part);
    buf_deinit(&x->inflated);
    if (x->host->budget)
        budget_give(x->host->budget, x->budgeted);
    arena_deinit(&x->arena);
    mem_free(x);
}

void exchange_abandon(struct exchange *x)
{
    x->ready = NULL;
    x->session = NULL;
    if (reply_state(&x->rep) != REPLY_COMPLETE) // else the handler has returned
        atomic_store(&x->job.canceled, true);
    reply_gone(&x->rep);
    exchange_unref(x);
}

bool exchange_charge(struct exchange *x, size_t n)
{
    if (x->host->budget && !budget_take(x->host->budget, n))
        return false;
    x->budgeted += n;
    return true;
}

/* Room for all of the body at once spares copies, but a length is only a claim: some times as much
 * as came so far. */
static size_t body_wish(const struct exchange *x, size_t need)
{
    uint64_t length;
    if (!num_parse_u64(x->content_length, &length) || length <= need)
        return need;
    return (size_t)MIN(length, (uint64_t)need * BODY_AHEAD);
}

bool exchange_body(struct exchange *x, str bytes, struct err *err)
{
    if (x->is_refused)
        x->dropped_n += bytes.n;
    size_t have = x->is_refused ? x->dropped_n - bytes.n : x->body.n;
    if (bytes.n > x->host->max_body - MIN(have, x->host->max_body))
        return err_set(err, ERR_TOO_LARGE, "request body larger than %zu bytes",
                       (size_t)x->host->max_body);
    if (x->is_refused)
        return true;
    size_t cap = x->body.cap, need = x->body.n + bytes.n;
    if (need > cap) { // the growth of base/buf, charged before it happens
        size_t want = MIN(MAX(body_wish(x, need), cap * 2), x->body.max);
        if (!exchange_charge(x, want - cap))
            return err_set(err, ERR_BUSY, "no memory for more request bodies, try again later");
        (void)buf_reserve(&x->body, want - x->body.n);
    }
    if (x->body.n > 0 && bytes.p == x->body.p + x->body.n) // read into its place
        x->body.n = need;
    else
        buf_add(&x->body, bytes);
    return true;
}

/* Bytes that the budget still has, through its parents; *alone: what it would have for a request
 * that were the only one. */
static size_t budget_left(const struct budget *b, size_t *alone)
{
    size_t left = SIZE_MAX;
    *alone = SIZE_MAX;
    for (; b; b = b->parent) {
        size_t used = budget_used(b);
        left = MIN(left, b->max > used ? b->max - used : 0);
        *alone = MIN(*alone, b->max);
    }
    return left;
}

/* Decodes at most `cap` bytes, which are charged before they exist: memory that is in use but not
 * charged is charged by the watcher (server/memory.c) too, and would count twice. */
static bool inflate_charged(struct exchange *x, enum codec_kind kind, size_t cap, struct err *err)
{
    if (!exchange_charge(x, cap))
        return err_set(err, ERR_BUSY, "no memory to decompress the body, try again later");
    buf_init(&x->inflated, cap);
    bool ok = decompress(kind, buf_str(&x->body), cap, &x->inflated, err);
    if (!ok)
        buf_deinit(&x->inflated);
    size_t unused = cap - x->inflated.cap;
    if (x->host->budget)
        budget_give(x->host->budget, unused);
    x->budgeted -= unused;
    return ok;
}

bool exchange_inflate(struct exchange *x, enum codec_kind kind, size_t max, str *out,
                      struct err *err)
{
    size_t alone, room = budget_left(x->host->budget, &alone), cap = MIN(max, room);
    size_t likely = MIN(cap, MAX(x->body.n * INFLATE_LIKELY, INFLATE_MIN));
    size_t before = x->inflated.cap;
    buf_deinit(&x->inflated);
    if (x->host->budget)
        budget_give(x->host->budget, before);
    x->budgeted -= before;
    *err = ERR_OK;
    bool ok = inflate_charged(x, kind, likely, err);
    if (!ok && err->code == ERR_TOO_LARGE && likely < cap) {
        *err = ERR_OK;
        ok = inflate_charged(x, kind, cap, err);
    }
    if (!ok) {
        alone -= MIN(alone, x->budgeted);
        if (err->code == ERR_TOO_LARGE && room + 1 * MIB < MIN(max, alone))
            return err_set(err, ERR_BUSY, "no memory to decompress the body, try again later");
        return false;
    }
    *out = buf_str(&x->inflated);
    return true;
}

/* ---- http.h ---- */

str http_header_get(const struct http_request *req, str lower_name)
{
    for (size_t i = 0; i < req->n_headers; i++)
        if (str_eq(req->headers[i].name, lower_name))
            return req->headers[i].value;
    return STR("");
}

str http_content_type(const struct http_request *req)
{
    str value = http_header_get(req, STR("content-type"));
    size_t end = str_find_char(value, ';');
    value = str_trim(str_sub(value, 0, end == SIZE_MAX ? value.n : end));
    char *lower = arena_alloc(req->arena, value.n + 1);
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        lower[i] = c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
    }
    lower[value.n] = 0;
    return str_of(lower, value.n);
}

/* q=0, q=0.0, q=0.00, q=0.000 mean "not acceptable". */
static bool is_zero_quality(str params)
{
    str part;
    while (str_split(&params, ';', &part)) {
        part = str_trim(part);
        if (!str_starts(part, STR("q=")) && !str_starts(part, STR("Q=")))
            continue;
        for (size_t i = 2; i < part.n; i++)
            if (part.p[i] != '0' && part.p[i] != '.')
                return false;
        return part.n > 2;
    }
    return false;
}

bool http_accepts_gzip(const struct http_request *req)
{
    bool any = false, gzip = false, gzip_named = false;
    for (size_t i = 0; i < req->n_headers; i++) {
        if (!str_is(req->headers[i].name, "accept-encoding"))
            continue;
        str rest = req->headers[i].value, item;
        while (rest.n > 0 && str_split(&rest, ',', &item)) {
            size_t semi = str_find_char(item, ';');
            str name = str_trim(str_sub(item, 0, semi == SIZE_MAX ? item.n : semi));
            str params = semi == SIZE_MAX ? STR("") : str_sub(item, semi + 1, item.n);
            bool ok = !is_zero_quality(params);
            if (str_eq_nocase(name, STR("gzip")) || str_eq_nocase(name, STR("x-gzip"))) {
                gzip = ok;
                gzip_named = true;
            } else if (str_is(name, "*")) {
                any = ok;
            }
        }
    }
    return gzip_named ? gzip : any;
}

bool http_is_canceled(const struct http_request *req)
{
    const struct exchange *x = req->impl;
    return atomic_load_explicit(&x->job.canceled, memory_order_relaxed);
}

bool http_inflate(struct http_request *req, enum codec_kind kind, size_t max, str *out,
                  struct err *err)
{
    return exchange_inflate(req->impl, kind, max, out, err);
}

bool http_body(struct http_request *req, size_t max, str *out, struct err *err)
{
    struct exchange *x = req->impl;
    str name = str_trim(http_header_get(req, STR("content-encoding")));
    enum codec_kind kind;
    if (!codec_by_name(name, &kind))
        return err_set(err, ERR_MEDIA, "unsupported content encoding \"" STR_FMT "\"",
                       STR_ARG(str_sub(name, 0, 64)));
    if (kind == CODEC_NONE || req->body.n == 0) {
        if (req->body.n > max)
            return err_set(err, ERR_TOO_LARGE, "request body larger than %zu bytes", max);
        *out = req->body;
        return true;
    }
    return exchange_inflate(x, kind, max, out, err);
}

void http_body_spent(struct http_request *req)
{
    struct exchange *x = req->impl;
    if (x->inflated.p == NULL) // then the body is what http_body gave
        return;
    if (x->host->budget)
        budget_give(x->host->budget, x->body.cap);
    x->budgeted -= x->body.cap;
    x->spent_n += x->body.n;
    buf_deinit(&x->body);
    req->body = (str){0};
}

void http_body_peel(struct http_request *req)
{
    struct exchange *x = req->impl;
    if (x->inflated.p == NULL)
        return;
    http_body_spent(req);
    x->spent_n -=
        x->inflated.n; // what was received counts once: this body is added when it is spent
    x->body = x->inflated;
    x->inflated = (struct buf){0};
    req->body = buf_str(&x->body);
}

static bool params_parse(struct http_request *req, struct exchange *x, struct err *err)
{
    http_params_vec vec = {0};
    if (str_is(http_content_type(req), "application/x-www-form-urlencoded")) {
        str form; // goes first: it wins over the URL
        if (!http_body(req, x->host->max_body, &form, err))
            return false;
        form = arena_dup(&x->arena, form); // outlives another http_body
        if (!url_pairs(&x->arena, form, &vec, err))
            return false;
    }
    if (!url_pairs(&x->arena, req->query, &vec, err))
        return false;
    x->params = vec.v;
    x->n_params = vec.n;
    return true;
}

bool http_params(struct http_request *req, const struct http_param **out, size_t *n,
                 struct err *err)
{
    struct exchange *x = req->impl;
    if (!x->params_done) {
        x->params_done = true;
        (void)params_parse(req, x, &x->params_err);
    }
    if (x->params_err.code != ERR_NONE) {
        *err = x->params_err;
        return false;
    }
    *out = x->params;
    *n = x->n_params;
    return true;
}

bool http_param_get(const struct http_param *p, size_t n, str name, str *out)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq(p[i].name, name)) {
            *out = p[i].value;
            return true;
        }
    }
    return false;
}

size_t exchange_cors(const struct exchange *x, struct http_header out[CORS_HEADERS])
{
    static const struct http_header read[CORS_HEADERS] = {
        {STR_INIT("access-control-allow-headers"),
         STR_INIT("Accept, Authorization, Content-Type, Origin")},
        {STR_INIT("access-control-allow-methods"), STR_INIT("GET, POST, OPTIONS")},
        {STR_INIT("access-control-expose-headers"), STR_INIT("Date")},
        {STR_INIT("vary"), STR_INIT("Origin")},
        {STR_INIT("access-control-allow-origin"), STR_INIT("*")}};
    if (x->cors == CORS_NONE)
        return 0;
    if (x->cors == CORS_WRITE) {
        out[0] = read[CORS_HEADERS - 1];
        return 1;
    }
    memcpy(out, read, sizeof read);
    if (!regex_facts(x->host->cors_origin)->matches_all)
        out[CORS_HEADERS - 1].value = http_header_get(&x->req, STR("origin"));
    return CORS_HEADERS;
}
