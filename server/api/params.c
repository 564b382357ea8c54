/* params.c - see params.h. Sources of the dialects: the public HTTP API descriptions of Prometheus,
 * Loki and Tempo. */
#include "server/api/params.h"

#include <math.h>
#include <time.h>

#include "storage/base/date.h"
#include "storage/base/dur.h"
#include "storage/base/num.h"
#include "storage/model/limits.h"

static bool request_is_canceled(void *ctx)
{
    return http_is_canceled(ctx);
}

#define ROOM_LOOK_NS (5 * NS_PER_MS)
#define ROOM_LOOKS   400 // 2 s: what others have, seals and the allocator need less to give back
#define ROOM_EIGHTHS 8   // of query.memory_all is room enough to begin
#define ROOM_SEAL    10  // looks in vain, and a head is sealed for it

/* With many queries at once, and after a burst of anything, memory is short for moments only: a
 * query that waited for them answers, one that began at once would fail, and push the peak. Where
 * nothing moves, as heads and what the allocator keeps fill all but a rest, a head is sealed. */
static void wait_for_room(const struct services *svc, struct http_request *req)
{
    const struct timespec pause = {.tv_nsec = ROOM_LOOK_NS};
    size_t room = svc->query_budget ? svc->query_budget->max / ROOM_EIGHTHS : 0;
    for (int i = 0; i < ROOM_LOOKS && !budget_room(svc->query_budget, room); i++) {
        if (http_is_canceled(req))
            return;
        if (i % (4 * ROOM_SEAL) == ROOM_SEAL && !budget_room(svc->memory, room))
            store_make_room(svc->store);
        (void)nanosleep(&pause, NULL);
    }
}

void api_limits(const struct config *cfg, struct query_limits *l)
{
    query_limits_default(l);
    l->max_memory = (size_t)cfg->query_memory;
    l->max_samples = cfg->max_samples;
    l->max_series = cfg->max_query_series > 0 ? (size_t)cfg->max_query_series : SIZE_MAX;
    l->timeout_ns = cfg->query_timeout_ns;
    l->lookback_ms = cfg->lookback_ns / NS_PER_MS;
    l->max_entries = (size_t)cfg->max_lines;
    l->max_steps = (size_t)cfg->max_points;
}

static bool find_tenant(const struct services *svc, str name, struct store_tenant **out,
                        struct err *err)
{
    if (store_tenant(svc->store, name.n > 0 ? name : STORE_TENANT_DEFAULT, false, out, err))
        return true;
    if (err->code != ERR_NOT_FOUND)
        return false;
    *err = ERR_OK; // who never wrote finds nothing
    *out = store_tenant_empty(svc->store);
    return true;
}

/* The names between '|', each once, sorted; what stands next to nothing is none. */
static bool find_tenants(const struct services *svc, struct arena *a, str names,
                         struct query_ask **out, size_t *n, struct err *err)
{
    struct query_ask *v = arena_array(a, struct query_ask, LIMIT_QUERY_TENANTS);
    str name;
    *n = 0;
    while (str_split(&names, '|', &name)) {
        size_t at = 0;
        while (at < *n && str_cmp(v[at].name, name) < 0)
            at++;
        if (name.n == 0 || (at < *n && str_eq(v[at].name, name)))
            continue;
        if (*n == LIMIT_QUERY_TENANTS)
            return err_set(err, ERR_INVALID, "more than %d tenants in one query",
                           LIMIT_QUERY_TENANTS);
        struct query_ask ask = {.name = name};
        if (!find_tenant(svc, name, &ask.tenant, err))
            return false;
        memmove(&v[at + 1], &v[at], (*n - at) * sizeof *v);
        v[at] = ask;
        ++*n;
    }
    *out = v;
    return *n > 0 || err_set(err, ERR_INVALID, "no tenant in X-Scope-OrgID");
}

static bool begin(struct api_call *c, bool may_be_several, struct err *err)
{
    struct http_request *req = c->req;
    if (!http_params(req, &c->params, &c->n_params, err))
        return false;
    str name = str_trim(http_header_get(req, STR("x-scope-orgid")));
    struct store_tenant *tenant = NULL;
    struct query_ask *tenants = NULL;
    size_t n = 0;
    if (str_find_char(name, '|') != SIZE_MAX) {
        if (!may_be_several)
            return err_set(err, ERR_INVALID, "multiple org IDs present");
        if (!find_tenants(c->svc, req->arena, name, &tenants, &n, err))
            return false;
        tenant = tenants[0].tenant;
    } else if (!find_tenant(c->svc, name, &tenant, err)) {
        return false;
    }
    struct query_limits limits;
    api_limits(c->svc->config, &limits);
    wait_for_room(c->svc, req);
    query_init(&c->q, c->svc->clock, c->svc->store, tenant, &limits, c->svc->query_budget);
    c->q.tenants = tenants;
    c->q.n_tenants = n;
    c->q.crew = c->svc->crew;
    c->q.is_canceled = request_is_canceled;
    c->q.cancel_ctx = req;
    c->has_query = true;
    return true;
}

bool api_begin(struct api_call *c, void *ctx, struct http_request *req, struct http_reply *rep,
               struct err *err)
{
    *c = (struct api_call){.svc = ctx, .req = req, .rep = rep};
    return begin(c, false, err);
}

bool api_begin_several(struct api_call *c, void *ctx, struct http_request *req,
                       struct http_reply *rep, struct err *err)
{
    *c = (struct api_call){.svc = ctx, .req = req, .rep = rep};
    return begin(c, true, err);
}

void api_end(struct api_call *c)
{
    if (c->has_query)
        query_deinit(&c->q);
    c->has_query = false;
}

bool api_param(const struct api_call *c, str name, str *out)
{
    return http_param_get(c->params, c->n_params, name, out) && out->n > 0;
}

void api_timeout(struct api_call *c, int64_t timeout_ns)
{
    int64_t deadline = time_add(clock_mono_ns(c->svc->clock), timeout_ns);
    if (c->q.deadline_mono_ns == 0 || deadline < c->q.deadline_mono_ns)
        c->q.deadline_mono_ns = deadline;
}

bool trace_id_parse(str text, uint8_t id[16], struct err *err)
{
    if (text.n == 0 || text.n > 32)
        return err_set(err, ERR_INVALID, "trace IDs can't be larger than 128 bits");
    memset(id, 0, 16);
    for (size_t i = 0; i < text.n; i++) {
        char ch = text.p[i];
        int d = char_hex_value(ch);
        if (d < 0)
            return err_set(
                err, ERR_INVALID,
                "trace IDs can only contain hex characters: invalid character '%c' at position %zu",
                ch, i + 1);
        size_t nibble = 32 - text.n + i;
        id[nibble / 2] = (uint8_t)(id[nibble / 2] | (nibble % 2 ? d : d << 4));
    }
    return true;
}

/* ---- times ---- */

static bool take_fraction(str *s, int64_t *ns)
{
    *ns = 0;
    if (!str_take_char(s, '.') && !str_take_char(s, ','))
        return true;
    int64_t scale = NS_PER_S / 10;
    size_t n = 0;
    for (; s->n > 0 && s->p[0] >= '0' && s->p[0] <= '9'; n++, scale /= 10) {
        *ns += scale * (s->p[0] - '0');
        *s = str_sub(*s, 1, s->n);
    }
    return n > 0;
}

static bool take_zone(str *s, int64_t *offset_s)
{
    *offset_s = 0;
    if (str_take_char(s, 'Z') || str_take_char(s, 'z'))
        return true;
    int sign = str_take_char(s, '+') ? 1 : str_take_char(s, '-') ? -1 : 0;
    int h, m;
    if (sign == 0 || !str_take_digits(s, 2, &h) || !str_take_char(s, ':') ||
        !str_take_digits(s, 2, &m) || h > 23 || m > 59)
        return false;
    *offset_s = sign * (h * 3600 + m * 60);
    return true;
}

bool time_parse_rfc3339(str s, int64_t *out_ns)
{
    /* The two extreme texts that Prometheus prints as its smallest and largest time. */
    if (str_is(s, "-292273086-05-16T16:47:06Z")) {
        *out_ns = INT64_MIN;
        return true;
    }
    if (str_is(s, "292277025-08-18T07:12:54.999999999Z")) {
        *out_ns = INT64_MAX;
        return true;
    }
    int y, mo, d, h, mi, sec;
    int64_t frac, zone;
    if (!str_take_digits(&s, 4, &y) || !str_take_char(&s, '-') || !str_take_digits(&s, 2, &mo) ||
        !str_take_char(&s, '-') || !str_take_digits(&s, 2, &d))
        return false;
    if (!str_take_char(&s, 'T') && !str_take_char(&s, 't'))
        return false;
    if (!str_take_digits(&s, 2, &h) || !str_take_char(&s, ':') || !str_take_digits(&s, 2, &mi) ||
        !str_take_char(&s, ':') || !str_take_digits(&s, 2, &sec) || !take_fraction(&s, &frac) ||
        !take_zone(&s, &zone) || s.n != 0)
        return false;
    if (mo < 1 || mo > 12 || d < 1 || d > date_days_in_month(y, mo) || h > 23 || mi > 59 ||
        sec > 59)
        return false;
    struct date date = {y, mo, d, h, mi, sec};
    int64_t seconds = date_seconds(&date) - zone;
    *out_ns = time_add(time_mul(seconds, NS_PER_S), frac);
    return true;
}

/* Rounds seconds to a unit (per_s of them in a second), saturating. The fraction is rounded alone,
 * as upstream does: 1.0005 s, a little below that in binary, is 1 s. */
static int64_t seconds_to(double s, double per_s, int64_t min, int64_t max)
{
    double whole, fraction = modf(s, &whole);
    double v = whole * per_s + round(fraction * per_s);
    if (v <= (double)min)
        return min;
    return v >= (double)max ? max : (int64_t)v;
}

static bool parse_seconds(str s, double *out)
{
    return num_parse_f64(s, out) && isfinite(*out);
}

bool time_parse_prom(str s, int64_t *out_ms)
{
    double seconds;
    int64_t ns;
    if (parse_seconds(s, &seconds)) {
        *out_ms = seconds_to(seconds, 1e3, TIME_MIN_MS, TIME_MAX_MS);
        return true;
    }
    if (!time_parse_rfc3339(s, &ns))
        return false;
    int64_t ms = ns_to_ms_floor(ns);
    *out_ms = MIN(MAX(ms, TIME_MIN_MS), TIME_MAX_MS);
    return true;
}

bool time_parse_loki(str s, int64_t *out_ns)
{
    int64_t whole;
    double seconds;
    if (num_parse_i64(s, &whole)) {
        bool has_sign = s.n > 0 && (s.p[0] == '-' || s.p[0] == '+');
        *out_ns = s.n - (has_sign ? 1 : 0) <= 10 ? time_mul(whole, NS_PER_S) : whole;
        return true;
    }
    if (str_find_char(s, '.') != SIZE_MAX && str_find_char(s, ':') == SIZE_MAX &&
        parse_seconds(s, &seconds)) {
        *out_ns = time_mul(seconds_to(seconds, 1e3, TIME_MIN_MS, TIME_MAX_MS), NS_PER_MS);
        return true;
    }
    return time_parse_rfc3339(s, out_ns);
}

bool duration_parse_prom(str s, int64_t *out_ns, struct err *err)
{
    double seconds;
    if (num_parse_f64(s, &seconds)) {
        if (!isfinite(seconds) || fabs(seconds) > 9.2e9)
            return err_set(err, ERR_INVALID,
                           "cannot parse \"" STR_FMT "\" to a valid duration. It overflows int64",
                           STR_ARG(s));
        *out_ns = (int64_t)(seconds * 1e9);
        return true;
    }
    int64_t ms;
    struct err inner = ERR_OK;
    if (!dur_parse_prom(s, &ms, &inner))
        return err_set(err, ERR_INVALID, "cannot parse \"" STR_FMT "\" to a valid duration",
                       STR_ARG(s));
    *out_ns = time_mul(ms, NS_PER_MS);
    return true;
}
