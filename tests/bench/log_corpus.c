/* log_corpus.c - see log_corpus.h. One function per kind of stream; texts are made up. */
#include "tests/bench/log_corpus.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

enum kind { NGINX, JSON, LOGFMT, JAVA, JOURNAL };

static enum kind kind_of(uint32_t s)
{
    return s < 12 ? NGINX : s < 28 ? JSON : s < 44 ? LOGFMT : s < 52 ? JAVA : JOURNAL;
}

const char *log_corpus_kind(uint32_t stream)
{
    static const char *const names[] = {"nginx", "json", "logfmt", "java", "journal"};
    return names[kind_of(stream)];
}

/* ---- chance ---- */

static uint64_t any(struct log_corpus *c, uint64_t n)
{
    return prng_below(&c->rng, n);
}

static bool chance(struct log_corpus *c, double p)
{
    return prng_unit(&c->rng) < p;
}

/* 0 .. n - 1 with falling frequency, by inverse power. */
static uint32_t zipf(struct log_corpus *c, uint32_t n, double skew)
{
    double e = 1 - skew, u = prng_unit(&c->rng);
    double x = pow((pow(n + 1.0, e) - 1) * u + 1, 1 / e);
    return x < 1 ? 0 : x - 1 >= n ? n - 1 : (uint32_t)(x - 1);
}

static double lognormal(struct log_corpus *c, double median, double sigma)
{
    double u = prng_unit(&c->rng) + 1e-18, v = prng_unit(&c->rng);
    return median * exp(sigma * sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

static void hex(struct log_corpus *c, char *dst, size_t digits)
{
    for (size_t i = 0; i < digits; i++)
        dst[i] = "0123456789abcdef"[any(c, 16)];
    dst[digits] = 0;
}

#define PICK(c, list) ((list)[any((c), sizeof(list) / sizeof((list)[0]))])

static const char *const paths[] = {"users",    "orders",   "cart",     "products", "sessions",
                                    "payments", "invoices", "search",   "similar",  "health",
                                    "metrics",  "login",    "logout",   "js/app",   "css/main",
                                    "img/logo", "v1/query", "v2/items", "admin",    "webhook"};
static const char *const names[] = {"alice", "bob",  "carol", "dave",   "eve",    "frank", "grace",
                                    "heidi", "ivan", "judy",  "niaj",   "olga",   "peggy", "rupert",
                                    "sybil", "tina", "uwe",   "victor", "walter", "zoe"};
static const char *const services[] = {"checkout", "cart",  "payments", "catalog",
                                       "shipping", "email", "frontend", "ads"};

struct text {
    char *p;
    size_t n, cap;
};

static void say(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct text *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(t->p + t->n, t->cap - t->n, fmt, args);
    va_end(args);
    if (n > 0)
        t->n = MIN(t->n + (size_t)n, t->cap - 1);
}

static void say_time(struct text *t, int64_t t_ns, const char *format)
{
    time_t s = (time_t)(t_ns / NS_PER_S);
    struct tm tm;
    char text[64];
    (void)gmtime_r(&s, &tm);
    (void)strftime(text, sizeof text, format, &tm);
    say(t, "%s", text);
}

static void say_iso(struct text *t, int64_t t_ns, int digits)
{
    say_time(t, t_ns, "%Y-%m-%dT%H:%M:%S");
    int64_t rest = t_ns % NS_PER_S;
    for (int i = digits; i < 9; i++)
        rest /= 10;
    say(t, ".%0*lldZ", digits, (long long)rest);
}

static void say_ip(struct log_corpus *c, struct text *t)
{
    uint32_t h = zipf(c, 20000, 1.05) * 2654435761u;
    say(t, "%u.%u.%u.%u", (h >> 24) % 223 + 1, h >> 16 & 255, h >> 8 & 255, h & 255);
}

/* ---- kinds ---- */

static void nginx_line(struct log_corpus *c, struct text *t)
{
    static const char *const agents[] = {
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/119.0.0.0 Safari/537.36",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        "Version/17.1 Safari/605.1.15",
        "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
        "Gecko) Version/17.1 Mobile/15E148 Safari/604.1",
        "curl/8.4.0",
        "kube-probe/1.28",
        "Prometheus/2.47.0",
        "Go-http-client/2.0",
        "python-requests/2.31.0",
        "Googlebot/2.1 (+http://www.google.com/bot.html)",
    };
    static const char *const referers[] = {"-", "https://shop.example.com/",
                                           "https://shop.example.com/cart",
                                           "https://www.google.com/"};
    uint32_t path = zipf(c, 20, 1.1), id = zipf(c, 50000, 1.1), ref = zipf(c, 5, 1.2);
    int status = chance(c, 0.9) ? 200 : chance(c, 0.5) ? 304 : chance(c, 0.5) ? 404 : 500;
    double took = lognormal(c, 0.02, 1);
    say_ip(c, t);
    say(t, " - %s [", chance(c, 0.1) ? PICK(c, names) : "-");
    say_time(t, c->now_ns, "%d/%b/%Y:%H:%M:%S +0000");
    say(t, "] \"%s /%s", path == 5 || path == 2 ? "POST" : "GET", paths[path]);
    if (path % 4 == 0)
        say(t, "/%u", id);
    else if (path % 4 == 1)
        say(t, "?page=%u&sort=%s", (unsigned)any(c, 20), any(c, 2) ? "asc" : "desc");
    else if (path % 4 == 3)
        say(t, "/%u/details?ref=%u", id, (unsigned)any(c, 10));
    say(t, " HTTP/1.1\" %d %d \"", status,
        status == 304 ? 0 : (int)lognormal(c, path > 12 ? 20000 : 900, 0.8));
    if (ref < 4)
        say(t, "%s", referers[ref]);
    else
        say(t, "https://shop.example.com/product/%u", id);
    say(t, "\" \"%s\" rt=%.3f uct=\"%.3f\" urt=\"%.3f\"", agents[zipf(c, 10, 1.1)], took,
        took * 0.1, took * 0.9);
}

static void json_message(struct log_corpus *c, struct text *t, uint32_t kind, uint32_t user,
                         const char *level)
{
    static const char *const plain[] = {
        "request completed",      "cache lookup",      NULL, NULL, "sql query executed",
        "feature flag evaluated", "message published", NULL, NULL, "payment authorised",
        "connection pool stats"};
    if (kind < sizeof plain / sizeof plain[0] && plain[kind])
        say(t, "%s", plain[kind]);
    else if (kind == 2)
        say(t, "order %d placed by user %u", 1000000 + c->order++, user);
    else if (kind == 3)
        say(t, "calling upstream %s", PICK(c, services));
    else if (kind == 7)
        say(t, "user %u authenticated via %s", user, any(c, 3) ? "password" : "oauth");
    else if (kind == 8)
        say(t, "retrying operation after %dms", 50 << any(c, 5));
    else
        say(t, "%s: deadline exceeded while calling %s",
            level[0] == 'e' ? "rpc error" : "slow call", PICK(c, services));
}

static void json_fields(struct log_corpus *c, struct text *t, uint32_t kind, uint32_t user)
{
    switch (kind) {
    case 0:
        say(t,
            ",\"http\":{\"method\":\"%s\",\"route\":\"/api/%s/{id}\",\"status\":%d,\"bytes\":%d},"
            "\"duration_ms\":%.3f",
            any(c, 4) ? "GET" : "POST", paths[zipf(c, 10, 1.1)], chance(c, 0.95) ? 200 : 500,
            (int)lognormal(c, 1500, 0.7), lognormal(c, 12, 0.9));
        break;
    case 1:
        say(t, ",\"key\":\"user:%u:profile\",\"hit\":%s", user, chance(c, 0.8) ? "true" : "false");
        break;
    case 2:
        say(t, ",\"amount\":%.2f,\"currency\":\"%s\"", lognormal(c, 40, 0.9),
            any(c, 3) ? "EUR" : "USD");
        break;
    case 3:
        say(t, ",\"peer\":\"10.2.%u.%u:8080\",\"attempt\":%d", (unsigned)any(c, 4),
            (unsigned)any(c, 250), chance(c, 0.95) ? 1 : 2);
        break;
    case 4:
        say(t, ",\"table\":\"%s\",\"rows\":%d,\"duration_ms\":%.3f", paths[zipf(c, 8, 1.1)],
            (int)lognormal(c, 10, 1.3), lognormal(c, 3, 1));
        break;
    case 5:
        say(t, ",\"flag\":\"exp_%u\",\"variant\":\"%c\"", (unsigned)any(c, 40),
            (char)('a' + (int)any(c, 3)));
        break;
    case 6:
        say(t, ",\"topic\":\"orders.%s\",\"partition\":%u,\"offset\":%llu",
            any(c, 2) ? "created" : "paid", (unsigned)any(c, 12), (unsigned long long)c->lines * 3);
        break;
    case 9:
        say(t, ",\"card\":\"****%04u\",\"amount\":%.2f,\"psp_ref\":\"psp_%08x%08x\"",
            (unsigned)any(c, 10000), lognormal(c, 40, 0.9), (uint32_t)prng_next(&c->rng),
            (uint32_t)prng_next(&c->rng));
        break;
    case 10:
        say(t, ",\"active\":%u,\"idle\":%u,\"waiting\":%u", (unsigned)any(c, 50),
            (unsigned)any(c, 20), (unsigned)any(c, 3));
        break;
    default:
        break;
    }
}

static void json_line(struct log_corpus *c, struct text *t, struct log_corpus_line *out)
{
    char *last = c->last_trace[out->stream];
    if (!last[0] || !chance(c, 0.6))
        hex(c, last, 32);
    memcpy(out->trace_id, last, 33);
    hex(c, out->span_id, 16);
    uint32_t kind = zipf(c, 12, 1.05), user = zipf(c, 100000, 1.05);
    const char *service = services[out->stream % 8];
    const char *level = chance(c, 0.86)  ? "info"
                        : chance(c, 0.6) ? "debug"
                        : chance(c, 0.7) ? "warn"
                                         : "error";
    say(t, "{\"ts\":\"");
    say_iso(t, c->now_ns, 3);
    say(t, "\",\"level\":\"%s\",\"logger\":\"com.acme.%s.%s\",\"msg\":\"", level, service,
        kind % 3 ? "Handler" : "Repository");
    json_message(c, t, kind, user, level);
    say(t, "\",\"service\":\"%s\",\"trace_id\":\"%s\",\"span_id\":\"%s\",\"user_id\":%u", service,
        out->trace_id, out->span_id, user);
    json_fields(c, t, kind, user);
    say(t, "}");
}

static void logfmt_line(struct log_corpus *c, struct text *t, uint32_t stream)
{
    const char *level = chance(c, 0.88)  ? "info"
                        : chance(c, 0.6) ? "debug"
                        : chance(c, 0.8) ? "warn"
                                         : "error";
    long long ms = c->now_ns / NS_PER_MS;
    uint32_t r = (uint32_t)prng_next(&c->rng), r2 = (uint32_t)prng_next(&c->rng);
    say(t, "ts=");
    say_iso(t, c->now_ns, stream % 2 ? 9 : 3);
    switch (zipf(c, 10, 1.05)) {
    case 0:
        say(t,
            " caller=compact.go:519 level=%s component=tsdb msg=\"write block\" mint=%lld "
            "maxt=%lld "
            "ulid=01HF%010llX duration=%.6fms",
            level, ms - 7200000, ms, (unsigned long long)prng_next(&c->rng) & 0xffffffffffULL,
            lognormal(c, 900, 0.5));
        break;
    case 1:
        say(t,
            " caller=metrics.go:160 level=%s component=querier org_id=fake latency=fast "
            "query=\"{app=\\\"%s\\\"} |= \\\"error\\\"\" query_type=filter range_type=range "
            "length=1h0m0s step=%ds duration=%.6fms status=200 throughput=%.1fMB total_bytes=%d",
            level, paths[zipf(c, 10, 1.1)], 15 << any(c, 4), lognormal(c, 80, 1),
            lognormal(c, 100, 0.6), (int)lognormal(c, 1e6, 1));
        break;
    case 2:
        say(t,
            " caller=logging.go:86 level=%s method=GET uri=/loki/api/v1/query_range status=%d "
            "duration=%.6fms remote=10.1.%u.%u:%u",
            level, chance(c, .97) ? 200 : 499, lognormal(c, 30, 1), r % 3, r2 % 254,
            30000 + r2 / 256 % 30000);
        break;
    case 3:
        say(t,
            " caller=checkpoint.go:100 level=%s msg=\"Creating checkpoint\" from_segment=%llu "
            "to_segment=%llu mint=%lld",
            level, (unsigned long long)c->lines / 100000, (unsigned long long)c->lines / 100000 + 2,
            ms);
        break;
    case 4:
        say(t,
            " caller=scrape.go:1351 level=%s component=\"scrape manager\" scrape_pool=node "
            "target=http://10.3.%u.%u:9100/metrics msg=\"Scrape %s\" duration=%.3fs samples=%u",
            level, r % 2, r2 % 200, chance(c, .97) ? "done" : "failed", lognormal(c, 0.05, 0.5),
            900 + r % 60);
        break;
    case 5:
        say(t,
            " caller=flush.go:253 level=%s msg=\"flushing stream\" user=fake fp=%08x%08x "
            "immediate=false num_chunks=%u labels=\"{app=\\\"%s\\\", pod=\\\"%s-%08x-%05x\\\"}\"",
            level, r, r2, 1 + r % 4, paths[zipf(c, 12, 1.1)], paths[zipf(c, 12, 1.1)],
            zipf(c, 300, 1.05) * 2654435761u, (zipf(c, 300, 1.05) * 40503u) & 0xfffff);
        break;
    case 6:
        say(t, " level=%s msg=\"gc finished\" gc=%llu pause_us=%d heap_mb=%d next_mb=%d", level,
            (unsigned long long)c->lines / 64, (int)lognormal(c, 200, 0.6),
            (int)lognormal(c, 400, 0.1), (int)lognormal(c, 800, 0.1));
        break;
    case 7:
        say(t,
            " level=%s msg=\"http request\" method=%s path=/v1/%s/%u status=%d bytes=%d "
            "took=%.3fms req_id=%08x-%04x-4%03x-%04x-%08x%04x",
            level, r % 4 ? "GET" : "PUT", paths[zipf(c, 12, 1.1)], zipf(c, 50000, 1.1),
            chance(c, .95) ? 200 : 503, (int)lognormal(c, 800, 0.8), lognormal(c, 9, 1), r,
            r2 & 0xffff, r2 >> 16 & 0xfff, 0x8000 | (r & 0x3fff), r ^ r2 * 31, r2 * 7 & 0xffff);
        break;
    case 8:
        say(t, " level=%s msg=\"raft heartbeat\" term=42 index=%llu peer=node-%u rtt=%.3fms", level,
            (unsigned long long)c->lines, r % 5, lognormal(c, 0.8, 0.4));
        break;
    default:
        say(t, " level=%s msg=\"job finished\" job=%s-%u worker=%u duration=%.2fs rows=%d ok=%s",
            level, paths[zipf(c, 12, 1.1)], r % 100000, r2 % 16, lognormal(c, 4, 0.8),
            (int)lognormal(c, 3000, 1), chance(c, .98) ? "true" : "false");
    }
}

static void java_frames(struct log_corpus *c, struct text *t, uint32_t kind)
{
    static const char *const classes[] = {
        "com.acme.order.OrderService",
        "com.acme.order.OrderController",
        "com.acme.cart.CartService",
        "org.springframework.web.servlet.DispatcherServlet",
        "org.springframework.web.method.support.InvocableHandlerMethod",
        "org.apache.catalina.core.ApplicationFilterChain",
        "org.apache.tomcat.util.net.NioEndpoint$SocketProcessor",
        "java.base/java.util.concurrent.ThreadPoolExecutor",
        "java.base/java.lang.Thread",
        "com.zaxxer.hikari.pool.HikariPool",
        "org.hibernate.internal.SessionImpl",
        "reactor.core.publisher.FluxFlatMap",
    };
    static const char *const methods[] = {"doFilter",         "invoke",        "process", "run",
                                          "execute",          "getConnection", "handle",  "onNext",
                                          "internalDoFilter", "service"};
    uint32_t h = zipf(c, 60, 1.1) * 7919 + kind, depth = 12 + h % 25;
    for (uint32_t i = 0; i < depth; i++) {
        uint32_t x = (h * 31 + i) * 2654435761u >> 7;
        const char *class = classes[i < 3 ? x % 3 : 3 + x % 9];
        const char *base = strrchr(class, '.') + 1;
        say(t, "\n\tat %s.%s(%s.java:%u)", class, methods[(x >> 8) % 10], base, (x >> 16) % 900);
    }
    if (h % 2)
        say(t,
            "\nCaused by: java.net.SocketTimeoutException: Read timed out\n\tat "
            "java.base/sun.nio.ch.NioSocketImpl.timedRead(NioSocketImpl.java:283)\n\t... %u more",
            depth / 2);
}

static void java_line(struct log_corpus *c, struct text *t, uint32_t stream)
{
    static const char *const errors[] = {
        "java.lang.NullPointerException: Cannot invoke \"com.acme.Order.getId()\" because "
        "\"order\" is null",
        "java.sql.SQLTransientConnectionException: HikariPool-1 - Connection is not available, "
        "request timed out after 30000ms.",
        "com.fasterxml.jackson.core.JsonParseException: Unexpected character ('<' (code 60)): "
        "expected a valid value",
    };
    uint32_t kind = chance(c, 0.0005) ? 5 : zipf(c, 5, 1.1);
    say_time(t, c->now_ns, "%Y-%m-%d %H:%M:%S");
    say(t, ".%03d ", (int)(c->now_ns / NS_PER_MS % 1000));
    if (chance(c, 0.55)) {
        say(t,
            " INFO %u --- [http-nio-8080-exec-%u] com.acme.order.OrderService : Processed request "
            "id=%llu in %d ms for customer %u",
            c->pid[stream], (unsigned)any(c, 20), (unsigned long long)c->lines * 7,
            (int)lognormal(c, 30, 1), zipf(c, 100000, 1.05));
        return;
    }
    say(t,
        "ERROR %u --- [http-nio-8080-exec-%u] com.acme.order.OrderController : Servlet.service() "
        "threw exception\n",
        c->pid[stream], (unsigned)any(c, 20));
    if (kind < 3)
        say(t, "%s", errors[kind]);
    else if (kind == 3)
        say(t,
            "org.springframework.web.client.ResourceAccessException: I/O error on GET request for "
            "\"http://inventory:8080/api/items/%u\": Read timed out",
            zipf(c, 50000, 1.1));
    else if (kind == 4)
        say(t,
            "java.util.concurrent.TimeoutException: Did not observe any item or terminal signal "
            "within %dms in 'flatMap'",
            1000 << any(c, 4));
    else
        say(t, "java.lang.OutOfMemoryError: Java heap space");
    java_frames(c, t, kind);
}

static void journal_line(struct log_corpus *c, struct text *t, uint32_t stream)
{
    unsigned h = stream - 52, pid = 1000 + (unsigned)any(c, 60000);
    say_time(t, c->now_ns, "%b %d %H:%M:%S");
    say(t, " host%u ", h);
    switch (zipf(c, 9, 1.05)) {
    case 0:
        say(t, "sshd[%u]: Failed password for invalid user %s from ", pid, names[zipf(c, 20, 1.1)]);
        say_ip(c, t);
        say(t, " port %u ssh2", 1024 + (unsigned)any(c, 60000));
        break;
    case 1:
        say(t, "systemd[1]: Started Session %llu of User %s.", (unsigned long long)c->lines / 50,
            names[zipf(c, 20, 1.1)]);
        break;
    case 2:
        say(t, "CRON[%u]: (root) CMD (   cd / && run-parts --report /etc/cron.hourly)", pid);
        break;
    case 3:
        say(t, "kernel: [%lld.%06d] IN=eth0 OUT= MAC=52:54:00:%02x:%02x:11 SRC=",
            (long long)(c->now_ns / NS_PER_S - 1794000000), (int)(c->now_ns / 1000 % 1000000), h,
            h * 3 & 255);
        say_ip(c, t);
        say(t,
            " DST=10.0.0.%u LEN=%u TOS=0x00 PREC=0x00 TTL=%u ID=%u DF PROTO=TCP SPT=%u DPT=%d "
            "WINDOW=64240 RES=0x00 SYN URGP=0",
            h, 40 + (unsigned)any(c, 3) * 12, 48 + (unsigned)any(c, 16), (unsigned)any(c, 65536),
            1024 + (unsigned)any(c, 60000), any(c, 3) ? 22 : 443);
        break;
    case 4:
        say(t, "dockerd[%u]: time=\"", c->pid[stream]);
        say_time(t, c->now_ns, "%b %d %H:%M:%S");
        say(t,
            "\" level=info msg=\"ignoring event\" container=%016llx%016llx module=libcontainerd "
            "namespace=moby topic=/tasks/delete type=\"*events.TaskDelete\"",
            (unsigned long long)prng_next(&c->rng), (unsigned long long)prng_next(&c->rng));
        break;
    case 5:
        say(t, "sshd[%u]: pam_unix(sshd:session): session opened for user %s(uid=%u) by (uid=0)",
            pid, names[zipf(c, 20, 1.1)], 1000 + (unsigned)any(c, 20));
        break;
    case 6:
        say(t, "systemd-networkd[%u]: veth%07x: Link UP", c->pid[stream],
            (uint32_t)prng_next(&c->rng) & 0xfffffff);
        break;
    case 7:
        say(t, "dhclient[%u]: DHCPREQUEST for 10.0.0.%u on eth0 to 10.0.0.1 port 67 (xid=0x%08x)",
            c->pid[stream], h, (uint32_t)prng_next(&c->rng));
        break;
    default:
        say(t, "rsyslogd: -- MARK -- queue size=%u discarded=0", (unsigned)any(c, 1000));
    }
}

/* ---- the stream of lines ---- */

void log_corpus_init(struct log_corpus *c, uint64_t seed)
{
    static const double weight[] = {3, 3, 2, 0.12, 1};
    double sum = 0;
    *c = (struct log_corpus){.now_ns = INT64_C(1795132800) * NS_PER_S};
    prng_init(&c->rng, seed);
    for (uint32_t i = 0; i < LOG_CORPUS_STREAMS; i++) {
        sum += weight[kind_of(i)] * exp(2.4 * (prng_unit(&c->rng) - 0.5));
        c->share[i] = sum;
        c->pid[i] = 500 + (uint32_t)any(c, 30000);
    }
    for (uint32_t i = 0; i < LOG_CORPUS_STREAMS; i++)
        c->share[i] /= sum;
}

void log_corpus_next(struct log_corpus *c, struct log_corpus_line *out)
{
    struct text t = {.p = c->text, .cap = sizeof c->text};
    double u = prng_unit(&c->rng);
    *out = (struct log_corpus_line){0};
    while (out->stream + 1 < LOG_CORPUS_STREAMS && c->share[out->stream] < u)
        out->stream++;
    c->now_ns += (int64_t)lognormal(c, 150000, 1);
    switch (kind_of(out->stream)) {
    case NGINX:
        nginx_line(c, &t);
        break;
    case JSON:
        json_line(c, &t, out);
        break;
    case LOGFMT:
        logfmt_line(c, &t, out->stream);
        break;
    case JAVA:
        java_line(c, &t, out->stream);
        break;
    case JOURNAL:
        journal_line(c, &t, out->stream);
        break;
    }
    c->lines++;
    out->t_ns = c->now_ns;
    out->line = (str){t.p, t.n};
}
