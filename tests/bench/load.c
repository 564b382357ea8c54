/* load.c - sends telemetry to a running trivet over one keep-alive connection and prints what it
 * cost the server.
 *
 *     load MODE HOST:PORT PID REQUESTS [SECONDS]
 *     MODE  otlp-metrics | remote-write | otlp-logs | loki-push | loki-json | otlp-traces
 *
 * Bodies are made before each request and not counted; the figures are acknowledged records (and
 * raw megabytes) per second of the server's CPU time, all its threads together, read from
 * /proc/PID/stat: "per core". Seeded: two runs send the same data but for their times. Shapes:
 * 5,000 series (250 metrics x 20 attribute sets) every 15 s; log lines of about 230 bytes with ids
 * and a level; traces of the shop of tests/support/span_corpus.h, 8 to 30 spans with 12 attributes.
 * SECONDS: how far back in time the records begin; else by steps of the mode. For traces some ids
 * are printed. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/wire/encode_trace.h"
#include "server/wire/pb_write.h"
#include "storage/base/clock.h"
#include "storage/base/compress.h"
#include "storage/base/num.h"
#include "storage/base/prng.h"
#include "tests/support/span_corpus.h"

#define BODY_MAX (64 * MIB)
#define TRACES   50 // of one request
#define PROBES   20 // trace ids that are printed

struct load {
    int fd;
    int pid;
    struct prng prng;
    struct buf body, packed, head;
    int64_t t_ns; // time of the request's records
    int64_t step_ns;
    unsigned long at, probes; // the request's number; every so many a trace id is printed
    struct corpus corpus;
    uint64_t records, raw_bytes;
    double values[5000];
    const char *path, *type, *coding;
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* ---- bodies ---- */

static void key_value(struct buf *b, uint32_t field, const char *key, const char *fmt,
                      unsigned long long v)
{
    char text[128];
    int n = snprintf(text, sizeof text, fmt, v); // NOLINT: formats are constants of this file
    size_t kv = pb_begin(b, field);
    pb_bytes(b, 1, str_c(key));
    size_t value = pb_begin(b, 2);
    pb_bytes_always(b, 1, str_of(text, (size_t)n));
    pb_end(b, value);
    pb_end(b, kv);
}

static void resource(struct buf *b, unsigned service)
{
    size_t r = pb_begin(b, 1);
    key_value(b, 1, "service.name", "service-%llu", service % 10);
    key_value(b, 1, "service.instance.id", "instance-%llu", service);
    key_value(b, 1, "service.version", "1.%llu.0", service % 3);
    key_value(b, 1, "host.name", "node-%llu.lab.example", service % 5);
    key_value(b, 1, "os.type", "linux", 0);
    key_value(b, 1, "telemetry.sdk.name", "opentelemetry", 0);
    key_value(b, 1, "telemetry.sdk.language", "go", 0);
    key_value(b, 1, "deployment.environment.name", "production", 0);
    key_value(b, 1, "process.pid", "%llu", 1000 + service);
    pb_end(b, r);
}

/* Counters that grow, gauges that wander, constants. */
static double next_value(struct load *l, unsigned series)
{
    switch (series % 4) {
    case 0:
        return l->values[series] += (double)prng_below(&l->prng, 100);
    case 1:
        return l->values[series] += ((double)prng_below(&l->prng, 2001) - 1000) / 100;
    case 2:
        return l->values[series];
    default:
        return l->values[series] += (double)prng_below(&l->prng, 3);
    }
}

static void otlp_metrics(struct load *l)
{
    struct buf *b = &l->body;
    char name[64];
    size_t group = pb_begin(b, 1);
    resource(b, 1);
    size_t scope = pb_begin(b, 2);
    for (unsigned m = 0; m < 250; m++) {
        size_t metric = pb_begin(b, 2);
        pb_bytes(b, 1,
                 str_of(name,
                        (size_t)snprintf(name, sizeof name, "app.subsystem%u.metric%u", m % 7, m)));
        pb_bytes(b, 3, STR("By"));
        size_t data = pb_begin(b, m % 4 == 0 ? 7 : 5);
        for (unsigned k = 0; k < 20; k++) {
            size_t point = pb_begin(b, 1);
            pb_fixed64(b, 3, (uint64_t)l->t_ns);
            pb_double_always(b, 4, next_value(l, m * 20 + k));
            key_value(b, 7, "http.route", "/api/v1/items/%llu", k);
            key_value(b, 7, "http.request.method", k % 2 ? "GET" : "POST", 0);
            key_value(b, 7, "server.address", "10.0.0.%llu", k % 5);
            pb_end(b, point);
        }
        if (m % 4 == 0) {
            pb_int(b, 2, 2);
            pb_int(b, 3, 1);
        }
        pb_end(b, data);
        pb_end(b, metric);
    }
    pb_end(b, scope);
    pb_end(b, group);
    l->records += 5000;
}

static void prom_label(struct buf *b, const char *name, const char *fmt, unsigned long long v)
{
    char text[128];
    size_t label = pb_begin(b, 1);
    pb_bytes(b, 1, str_c(name));
    pb_bytes(b, 2,
             str_of(text, (size_t)snprintf(text, sizeof text, fmt,
                                           v))); // NOLINT: formats are constants of this file
    pb_end(b, label);
}

static void remote_write(struct load *l)
{
    struct buf *b = &l->body;
    for (unsigned s = 0; s < 5000; s++) {
        size_t series = pb_begin(b, 1);
        prom_label(b, "__name__", "node_subsystem_metric%llu_bytes_total", s / 20);
        prom_label(b, "device", "sda%llu", s % 20);
        prom_label(b, "instance", "node-%llu.lab.example:9100", s % 5);
        prom_label(b, "job", "node", 0);
        prom_label(b, "mode", "mode%llu", s % 3);
        size_t sample = pb_begin(b, 2);
        pb_double_always(b, 1, next_value(l, s));
        pb_int(b, 2, l->t_ns / NS_PER_MS);
        pb_end(b, sample);
        pb_end(b, series);
    }
    l->records += 5000;
    buf_clear(&l->packed);
    struct err err = ERR_OK;
    if (!compress_to(CODEC_SNAPPY, 0, buf_str(b), &l->packed, &err))
        die(err.text);
}

static int log_line(struct load *l, char *line, size_t cap, char id[33])
{
    static const char *const levels[] = {"info", "info", "info", "info", "debug", "warn", "error"};
    snprintf(id, 33, "%016llx%016llx", (unsigned long long)prng_next(&l->prng),
             (unsigned long long)prng_next(&l->prng));
    return snprintf(line, cap,
                    "level=%s ts=%lld caller=handler.go:%llu msg=\"request done\" method=GET "
                    "path=/api/v1/users/%llu status=%d "
                    "duration=%llu.%03llums bytes=%llu remote=10.%llu.%llu.%llu trace_id=%s",
                    levels[prng_below(&l->prng, 7)], (long long)(l->t_ns / NS_PER_MS),
                    (unsigned long long)prng_below(&l->prng, 400),
                    (unsigned long long)prng_below(&l->prng, 100000),
                    prng_below(&l->prng, 20) ? 200 : 500,
                    (unsigned long long)prng_below(&l->prng, 900),
                    (unsigned long long)prng_below(&l->prng, 1000),
                    (unsigned long long)prng_below(&l->prng, 100000),
                    (unsigned long long)prng_below(&l->prng, 255),
                    (unsigned long long)prng_below(&l->prng, 255),
                    (unsigned long long)prng_below(&l->prng, 255), id);
}

static void otlp_logs(struct load *l)
{
    struct buf *b = &l->body;
    char line[512], id[33];
    for (unsigned s = 0; s < 5; s++) {
        size_t group = pb_begin(b, 1);
        resource(b, (unsigned)prng_below(&l->prng, 20));
        size_t scope = pb_begin(b, 2);
        for (unsigned i = 0; i < 1000; i++) {
            int n = log_line(l, line, sizeof line, id);
            uint8_t raw[16];
            size_t record = pb_begin(b, 2);
            pb_fixed64(b, 1,
                       (uint64_t)(l->t_ns + (int64_t)(s * 1000 + i) * 1000 +
                                  (int64_t)prng_below(&l->prng, 1000)));
            pb_int(b, 2, 9);
            size_t body = pb_begin(b, 5);
            pb_bytes(b, 1, str_of(line, (size_t)n));
            pb_end(b, body);
            for (size_t k = 0; k < 16; k++)
                raw[k] = (uint8_t)strtoul((char[]){id[2 * k], id[2 * k + 1], 0}, NULL, 16);
            pb_bytes(b, 9, str_of((const char *)raw, 16));
            pb_bytes(b, 10, str_of((const char *)raw, 8));
            pb_end(b, record);
            l->raw_bytes += (uint64_t)n;
        }
        pb_end(b, scope);
        pb_end(b, group);
    }
    l->records += 5000;
}

static void loki_push(struct load *l)
{
    struct buf *b = &l->body;
    char line[512], id[33];
    for (unsigned s = 0; s < 5; s++) {
        size_t stream = pb_begin(b, 1);
        char labels[128];
        int n =
            snprintf(labels, sizeof labels, "{app=\"app-%llu\", env=\"prod\", host=\"node-%u\"}",
                     (unsigned long long)prng_below(&l->prng, 20), s);
        pb_bytes(b, 1, str_of(labels, (size_t)n));
        for (unsigned i = 0; i < 1000; i++) {
            int64_t t =
                l->t_ns + (int64_t)(s * 1000 + i) * 1000 + (int64_t)prng_below(&l->prng, 1000);
            n = log_line(l, line, sizeof line, id);
            size_t entry = pb_begin(b, 2);
            size_t ts = pb_begin(b, 1);
            pb_int(b, 1, t / NS_PER_S);
            pb_int(b, 2, t % NS_PER_S);
            pb_end(b, ts);
            pb_bytes(b, 2, str_of(line, (size_t)n));
            pb_end(b, entry);
            l->raw_bytes += (uint64_t)n;
        }
        pb_end(b, stream);
    }
    l->records += 5000;
    buf_clear(&l->packed);
    struct err err = ERR_OK;
    if (!compress_to(CODEC_SNAPPY, 0, buf_str(b), &l->packed, &err))
        die(err.text);
}

static void loki_json(struct load *l)
{
    struct buf *b = &l->body;
    char line[512], id[33];
    buf_add(b, STR("{\"streams\":["));
    for (unsigned s = 0; s < 5; s++) {
        buf_fmt(b,
                "%s{\"stream\":{\"app\":\"app-%llu\",\"env\":\"prod\",\"host\":\"node-%u\"},"
                "\"values\":[",
                s > 0 ? "," : "", (unsigned long long)prng_below(&l->prng, 20), s);
        for (unsigned i = 0; i < 1000; i++) {
            int64_t t =
                l->t_ns + (int64_t)(s * 1000 + i) * 1000 + (int64_t)prng_below(&l->prng, 1000);
            size_t n = (size_t)log_line(l, line, sizeof line, id);
            buf_fmt(b, "%s[\"%lld\",\"", i > 0 ? "," : "", (long long)t);
            for (size_t k = 0; k < n; k++) {
                if (line[k] == '"')
                    buf_add_char(b, '\\');
                buf_add_char(b, line[k]);
            }
            buf_add(b, STR("\"]"));
            l->raw_bytes += n;
        }
        buf_add(b, STR("]}"));
    }
    buf_add(b, STR("]}"));
    l->records += 5000;
}

/* 50 traces of the shop (span_corpus.h), about 950 spans. */
static void otlp_traces(struct load *l)
{
    struct arena a;
    struct span_set set = {.n_resources = CORPUS_PODS, .n_scopes = 1};
    arena_init(&a, SIZE_MAX, NULL);
    struct span *spans = arena_array(&a, struct span, (size_t)TRACES * 30);
    set.resources = corpus_resources(&a);
    set.scopes = corpus_scopes(&a);
    set.spans = spans;
    for (unsigned t = 0; t < TRACES; t++) {
        l->corpus.now_ns = l->t_ns + (int64_t)t * (l->step_ns / TRACES);
        set.n_spans += corpus_trace(&l->corpus, &a, spans + set.n_spans);
    }
    encode_trace(&l->body, &set);
    l->records += set.n_spans;
    if (l->probes > 0 && l->at % l->probes == 0) {
        printf("trace=");
        for (unsigned i = 0; i < 16; i++)
            printf("%02x", spans[0].trace_id[i]);
        printf(" t=%lld\n", (long long)(spans[0].start_ns / NS_PER_S));
    }
    arena_deinit(&a);
}

/* ---- sending ---- */

static void send_all(int fd, str s)
{
    while (s.n > 0) {
        ssize_t n = write(fd, s.p, s.n);
        if (n <= 0)
            die("write");
        s = str_sub(s, (size_t)n, s.n);
    }
}

/* The status; *closes: the server will not read another request from this connection. */
static int read_status(int fd, bool *closes)
{
    char text[8192];
    size_t n = 0;
    for (;;) {
        ssize_t got = read(fd, text + n, sizeof text - 1 - n);
        if (got <= 0)
            die("read");
        n += (size_t)got;
        text[n] = 0;
        const char *end = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "content-length: ");
        if (!end)
            continue;
        size_t want = (size_t)(end - text) + 4 +
                      (length && length < end ? strtoul(length + 16, NULL, 10) : 0);
        if (n >= want)
            break;
    }
    const char *close_at = strcasestr(text, "connection: close");
    *closes = close_at && close_at < strstr(text, "\r\n\r\n");
    return (int)strtol(text + 9, NULL, 10);
}

static double cpu_seconds(int pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "r");
    if (!f)
        die(path);
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    const char *p = strrchr(text, ')');
    unsigned long user = 0, system = 0;
    if (p)
        (void)!sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                      &system); // NOLINT: our own kernel's text
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static int dial(const char *address)
{
    const char *colon = strrchr(address, ':');
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port =
                                 htons((uint16_t)strtoul(colon ? colon + 1 : "", NULL, 10))};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&in, sizeof in) != 0)
        die(address);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static const struct mode {
    const char *name, *path, *coding;
    void (*make)(struct load *l);
    int64_t step_ns; // between requests
    bool packed;
} modes[] = {
    {"otlp-metrics", "/v1/metrics", "", otlp_metrics, 15 * NS_PER_S, false},
    {"remote-write", "/api/v1/write", "content-encoding: snappy\r\n", remote_write, 15 * NS_PER_S,
     true},
    {"otlp-logs", "/v1/logs", "", otlp_logs, NS_PER_S / 100, false},
    {"loki-push", "/loki/api/v1/push", "", loki_push, NS_PER_S / 100, true},
    {"loki-json", "/loki/api/v1/push", "", loki_json, NS_PER_S / 100, false},
    {"otlp-traces", "/v1/traces", "", otlp_traces, NS_PER_S / 100, false},
};

int main(int argc, char **argv)
{
    static struct load l;
    size_t k = 0;
    if (argc != 5 && argc != 6) {
        fprintf(stderr, "usage: load MODE HOST:PORT PID REQUESTS [SECONDS]\n");
        return 2;
    }
    while (k < COUNTOF(modes) && strcmp(modes[k].name, argv[1]) != 0)
        k++;
    if (k == COUNTOF(modes)) {
        fprintf(stderr, "unknown mode %s\n", argv[1]);
        return 2;
    }
    const struct mode *m = &modes[k];
    l.fd = dial(argv[2]);
    l.pid = (int)strtol(argv[3], NULL, 10);
    unsigned long requests = strtoul(argv[4], NULL, 10);
    l.probes = requests / PROBES;
    l.step_ns = m->step_ns;
    if (argc == 6 && requests > 0)
        l.step_ns = (int64_t)(strtod(argv[5], NULL) * 1e9 / (double)requests);
    prng_init(&l.prng, 42);
    corpus_init(&l.corpus, 1, 0);
    buf_init(&l.body, BODY_MAX);
    buf_init(&l.packed, BODY_MAX);
    buf_init(&l.head, 4 * KIB);
    int64_t now = clock_now_ns(clock_real());
    double before = cpu_seconds(l.pid), wall = 0;
    uint64_t sent = 0, retries = 0;
    for (unsigned long i = 0; i < requests; i++) {
        l.at = i;
        l.t_ns = now - (int64_t)(requests - i) * l.step_ns;
        buf_clear(&l.body);
        m->make(&l);
        str body = buf_str(m->packed ? &l.packed : &l.body);
        buf_clear(&l.head);
        buf_fmt(&l.head,
                "POST %s HTTP/1.1\r\nhost: x\r\ncontent-type: "
                "application/%s\r\n%scontent-length: %zu\r\n\r\n",
                m->path, m->make == loki_json ? "json" : "x-protobuf", m->coding, body.n);
        int64_t start = clock_mono_ns(clock_real());
        for (;;) {
            send_all(l.fd, buf_str(&l.head));
            send_all(l.fd, body);
            bool closes;
            int status = read_status(l.fd, &closes);
            if (closes) {
                close(l.fd);
                l.fd = dial(argv[2]);
            }
            if (status / 100 == 2)
                break;
            if ((status != 429 && status != 503) || ++retries > 1000) {
                fprintf(stderr, "request %lu: status %d\n", i, status);
                return 1;
            }
            usleep(20000);
        }
        wall += (double)(clock_mono_ns(clock_real()) - start) / 1e9;
        sent += body.n;
    }
    double cpu = cpu_seconds(l.pid) - before;
    printf("mode=%s records=%llu raw_mb=%.1f sent_mb=%.1f retries=%llu wall_s=%.2f "
           "server_cpu_s=%.2f\n",
           m->name, (unsigned long long)l.records, (double)l.raw_bytes / 1e6, (double)sent / 1e6,
           (unsigned long long)retries, wall, cpu);
    printf("records_per_cpu_second=%.0f\n", (double)l.records / cpu);
    if (l.raw_bytes > 0)
        printf("raw_mb_per_cpu_second=%.1f\n", (double)l.raw_bytes / 1e6 / cpu);
    printf("records_per_wall_second=%.0f\n", (double)l.records / wall);
    close(l.fd);
    return 0;
}
