/* tempo_status.c - what Tempo shows under /status: the version, the services, the routes and the
 * configuration of this server, as text. There is nothing that differs by tenant or changes at run
 * time, and nothing is reported home: those pages say so. On the loop. */
#include "server/api/api.h"
#include "server/services.h"

#define CONFIG_TEXT_MAX (1 * MIB)

static void put_version(struct buf *b, const struct services *svc)
{
    buf_fmt(b, "trivet, version %s (revision: %s)\n", svc->version, svc->revision);
}

static void put_services(struct buf *b, const struct services *svc)
{
    static const char *const names[] = {"ingest", "query", "store"};
    enum server_state state = atomic_load(&svc->state);
    const char *text = state == SERVER_READY      ? "Running"
                       : state == SERVER_STARTING ? "Starting"
                                                  : "Stopping";
    for (size_t i = 0; i < COUNTOF(names); i++)
        buf_fmt(b, "%-10s %s\n", names[i], text);
    buf_fmt(b, "%-10s %s\n", "generator", svc->derive ? text : "Disabled");
}

static void put_routes(struct buf *b, const struct route *table)
{
    for (const struct route *r = table; r->pattern; r++)
        buf_fmt(b, "%s\n", r->pattern);
}

static void put_endpoints(struct buf *b)
{
    put_routes(b, tempo_routes);
    put_routes(b, tempo_status_routes);
    put_routes(b, tempo_grpc_routes);
}

/* One line of printed configuration after the other; *rest starts at the next. */
static bool next_line(str *rest, str *line)
{
    if (rest->n == 0)
        return false;
    size_t n = str_find_char(*rest, '\n');
    n = n == SIZE_MAX ? rest->n : n;
    *line = str_sub(*rest, 0, n);
    *rest = str_sub(*rest, MIN(n + 1, rest->n), rest->n);
    return true;
}

/* What differs from the defaults, each below the heading of its section. */
static void put_difference(struct buf *b, str now, str defaults)
{
    str line, other, section = {0};
    while (next_line(&now, &line)) {
        bool is_section = line.n > 0 && line.p[0] != ' ' && line.p[line.n - 1] == ':';
        bool is_known = line.n == 0;
        for (str rest = defaults; !is_known && next_line(&rest, &other);)
            is_known = str_eq(line, other);
        if (is_section || (line.n > 0 && line.p[0] != ' '))
            section = is_section ? line : (str){0};
        if (is_known || is_section)
            continue;
        if (section.n > 0)
            buf_fmt(b, STR_FMT "\n", STR_ARG(section));
        section = (str){0};
        buf_fmt(b, STR_FMT "\n", STR_ARG(line));
    }
}

static void put_config(struct buf *b, const struct services *svc, str mode)
{
    struct config fresh;
    struct buf now, defaults;
    const struct config *c = atomic_load(&svc->config);
    if (mode.n == 0) {
        config_print(c, false, b);
        return;
    }
    config_default(&fresh);
    if (str_is(mode, "defaults")) {
        config_print(&fresh, false, b);
    } else {
        buf_init(&now, CONFIG_TEXT_MAX);
        buf_init(&defaults, CONFIG_TEXT_MAX);
        config_print(c, false, &now);
        config_print(&fresh, false, &defaults);
        put_difference(b, buf_str(&now), buf_str(&defaults));
        buf_deinit(&now);
        buf_deinit(&defaults);
    }
    config_deinit(&fresh);
}

static void put_overrides(struct buf *b)
{
    buf_add(b, STR("# One set of limits holds for all tenants: see /status/config.\n"
                   "overrides: {}\n"));
}

static void send(struct http_reply *rep, struct buf *b)
{
    reply_send(rep, b->over ? 500 : 200, STR("text/plain; charset=utf-8"), buf_str(b));
    buf_deinit(b);
}

static str mode_of(const struct http_request *req)
{
    static const str modes[] = {STR_INIT("diff"), STR_INIT("defaults")};
    for (size_t i = 0; i < COUNTOF(modes); i++) {
        size_t at = str_find(req->query, STR("mode="));
        if (at != SIZE_MAX && str_starts(str_sub(req->query, at + 5, req->query.n), modes[i]))
            return modes[i];
    }
    return (str){0};
}

#define PAGE(name, content)                                                       \
    static void name(void *ctx, struct http_request *req, struct http_reply *rep) \
    {                                                                             \
        const struct services *svc = ctx;                                         \
        struct buf b;                                                             \
        buf_init(&b, CONFIG_TEXT_MAX);                                            \
        (void)svc, (void)req;                                                     \
        content;                                                                  \
        send(rep, &b);                                                            \
    }
PAGE(get_version, put_version(&b, svc))
PAGE(get_services, put_services(&b, svc))
PAGE(get_endpoints, put_endpoints(&b))
PAGE(get_config, put_config(&b, svc, mode_of(req)))
PAGE(get_runtime_config, buf_add(&b, STR("# Nothing is configured at run time.\n{}\n")))
PAGE(get_overrides, put_overrides(&b))
PAGE(get_usage_stats, buf_add(&b, STR("usage-stats is not enabled\n")))

static void put_all(struct buf *b, const struct services *svc)
{
    put_version(b, svc);
    buf_add(b, STR("---\n"));
    put_services(b, svc);
    buf_add(b, STR("---\n"));
    put_endpoints(b);
    buf_add(b, STR("---\n"));
    put_config(b, svc, (str){0});
    buf_add(b, STR("---\n"));
    put_overrides(b);
}
PAGE(get_all, put_all(&b, svc))

const struct route tempo_status_routes[] = {
    {HTTP_GET, "/status", LANE_LOOP, get_all, NULL},
    {HTTP_GET, "/status/version", LANE_LOOP, get_version, NULL},
    {HTTP_GET, "/status/services", LANE_LOOP, get_services, NULL},
    {HTTP_GET, "/status/endpoints", LANE_LOOP, get_endpoints, NULL},
    {HTTP_GET, "/status/config", LANE_LOOP, get_config, NULL},
    {HTTP_GET, "/status/runtime_config", LANE_LOOP, get_runtime_config, NULL},
    {HTTP_GET, "/status/overrides", LANE_LOOP, get_overrides, NULL},
    {HTTP_GET, "/status/overrides/{tenant}", LANE_LOOP, get_overrides, NULL},
    {HTTP_GET, "/status/usage-stats", LANE_LOOP, get_usage_stats, NULL},
    {0, NULL, LANE_LOOP, NULL, NULL},
};
