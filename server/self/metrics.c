/* metrics.c - own counters as text; names are trivet_*, process_* as Prometheus' clients have it.
 *
 * Label values come from our own tables (routes, signals, lanes) and need no escaping. */
#include "server/self/metrics.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "server/derive/derive.h"
#include "server/ingest/delta.h"
#include "storage/base/num.h"
#include "storage/store.h"

static void put(struct sink *out, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void put(struct sink *out, const char *fmt, ...)
{
    char line[512];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    if (n > 0)
        (void)sink_write(out, str_of(line, MIN((size_t)n, sizeof line - 1)));
}

static void head(struct sink *out, const char *name, const char *type, const char *help)
{
    put(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void value(struct sink *out, const char *name, double v)
{
    char text[NUM_TEXT_MAX];
    put(out, "%s " STR_FMT "\n", name, STR_ARG(num_print_f64(text, v)));
}

static void one(struct sink *out, const char *name, const char *type, const char *help, double v)
{
    head(out, name, type, help);
    value(out, name, v);
}

static double count(const atomic_uint_fast64_t *counter)
{
    return (double)atomic_load_explicit(counter, memory_order_relaxed);
}

/* ---- the process ---- */

/* The second field of /proc/self/statm: resident pages. */
static double resident_bytes(void)
{
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text);
    close(fd);
    str rest = str_of(text, n > 0 ? (size_t)n : 0), total, resident;
    uint64_t pages = 0;
    if (!str_split(&rest, ' ', &total) || !str_split(&rest, ' ', &resident) ||
        !num_parse_u64(resident, &pages))
        return 0;
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static double open_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return 0;
    double n = -3; // ".", "..", and the folder itself
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void put_process(const struct services *svc, struct sink *out)
{
    struct rusage usage;
    struct rlimit files;
    getrusage(RUSAGE_SELF, &usage);
    double cpu_s = (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
                   ((double)usage.ru_utime.tv_usec + (double)usage.ru_stime.tv_usec) / 1e6;
    one(out, "process_cpu_seconds_total", "counter", "User and system CPU time.", cpu_s);
    one(out, "process_resident_memory_bytes", "gauge", "Resident memory.", resident_bytes());
    one(out, "process_start_time_seconds", "gauge", "Start, Unix time.",
        (double)svc->start_ns / 1e9);
    one(out, "process_open_fds", "gauge", "Open file descriptors.", open_files());
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        one(out, "process_max_fds", "gauge", "Most file descriptors.", (double)files.rlim_cur);
    head(out, "trivet_build_info", "gauge", "Version of this program.");
    put(out, "trivet_build_info{version=\"%s\",revision=\"%s\"} 1\n", svc->version, svc->revision);
    one(out, "trivet_ready", "gauge", "1 when queries and ingest are served.",
        atomic_load(&svc->state) == SERVER_READY);
}

static void put_budgets(const struct services *svc, struct sink *out)
{
    const struct {
        const char *name;
        const struct budget *budget;
    } budgets[] = {{"all", svc->memory},
                   {"ingest", svc->ingest_budget},
                   {"query", svc->query_budget},
                   {"store", svc->store_budget},
                   {"generator", svc->derive_budget},
                   {"sqlite", svc->sqlite_memory},
                   {"other", svc->other_memory}};
    head(out, "trivet_memory_used_bytes", "gauge", "Memory charged to a budget.");
    for (size_t i = 0; i < COUNTOF(budgets); i++)
        put(out, "trivet_memory_used_bytes{budget=\"%s\"} %zu\n", budgets[i].name,
            budget_used(budgets[i].budget));
    head(out, "trivet_memory_peak_bytes", "gauge", "Highest value of that since start.");
    for (size_t i = 0; i < COUNTOF(budgets); i++)
        put(out, "trivet_memory_peak_bytes{budget=\"%s\"} %zu\n", budgets[i].name,
            atomic_load(&budgets[i].budget->peak));
    head(out, "trivet_memory_limit_bytes", "gauge", "Ceiling of the budget.");
    for (size_t i = 0; i < COUNTOF(budgets); i++)
        put(out, "trivet_memory_limit_bytes{budget=\"%s\"} %zu\n", budgets[i].name,
            budgets[i].budget->max);
}

/* ---- totals of delta series ---- */

static void put_delta(struct delta *d, struct sink *out)
{
    struct delta_stats s;
    delta_stats_get(d, &s);
    one(out, "trivet_delta_series", "gauge", "Totals of OTLP delta series in memory.",
        (double)s.series);
    one(out, "trivet_delta_bytes", "gauge", "Memory of these totals.", (double)s.bytes);
    one(out, "trivet_delta_expired_total", "counter", "Totals forgotten for want of points.",
        (double)s.expired);
    head(out, "trivet_delta_points_total", "counter", "OTLP delta points, by what became of them.");
    for (size_t i = 0; i < DELTA_RESULTS; i++)
        put(out, "trivet_delta_points_total{result=\"%s\"} %llu\n", delta_result_names[i],
            (unsigned long long)s.results[i]);
}

/* ---- metrics made of spans ---- */

static void put_derive(struct derive *d, struct sink *out)
{
    struct derive_stats s;
    derive_stats(d, &s);
    head(out, "trivet_generator_spans_total", "counter",
         "Stored spans: counted, too old or too new to be, sent again, left out by a filter.");
    put(out, "trivet_generator_spans_total{result=\"counted\"} %llu\n",
        (unsigned long long)s.spans);
    put(out, "trivet_generator_spans_total{result=\"outdated\"} %llu\n",
        (unsigned long long)s.spans_outdated);
    put(out, "trivet_generator_spans_total{result=\"repeated\"} %llu\n",
        (unsigned long long)s.spans_repeated);
    put(out, "trivet_generator_spans_total{result=\"filtered\"} %llu\n",
        (unsigned long long)s.spans_filtered);
    head(out, "trivet_generator_edges_total", "counter",
         "Requests of the service graph: counted, one side never came, no room to wait, sides left "
         "out by a filter.");
    put(out, "trivet_generator_edges_total{result=\"counted\"} %llu\n",
        (unsigned long long)s.edges);
    put(out, "trivet_generator_edges_total{result=\"expired\"} %llu\n",
        (unsigned long long)s.edges_expired);
    put(out, "trivet_generator_edges_total{result=\"dropped\"} %llu\n",
        (unsigned long long)s.edges_dropped);
    put(out, "trivet_generator_edges_total{result=\"filtered\"} %llu\n",
        (unsigned long long)s.edges_filtered);
    one(out, "trivet_generator_edges_waiting", "gauge", "Sides of requests that wait.",
        (double)s.edges_waiting);
    one(out, "trivet_generator_series", "gauge", "Series made of spans.", (double)s.series);
    one(out, "trivet_generator_overflow_total", "counter",
        "Spans and requests counted under metric_overflow, as there were too many series.",
        (double)s.overflowed);
    one(out, "trivet_generator_writes_failed_total", "counter",
        "Writes that the store did not take; the next one has it all.", (double)s.writes_failed);
}

/* ---- network and lanes ---- */

static void put_net(const struct net *net, struct sink *out)
{
    struct net_stats s;
    net_stats(net, &s);
    one(out, "trivet_net_connections", "gauge", "Open connections.", (double)s.connections);
    one(out, "trivet_net_accepted_total", "counter", "Connections accepted.", (double)s.accepted);
    one(out, "trivet_net_refused_total", "counter", "Connections above the limit.",
        (double)s.refused);
    one(out, "trivet_net_timeouts_total", "counter",
        "Connections closed because the client was too slow.", (double)s.timeouts);
    head(out, "trivet_net_sessions_total", "counter", "Connections by protocol.");
    put(out, "trivet_net_sessions_total{protocol=\"http1\"} %llu\n", (unsigned long long)s.http1);
    put(out, "trivet_net_sessions_total{protocol=\"http2\"} %llu\n", (unsigned long long)s.http2);
    one(out, "trivet_net_received_bytes_total", "counter", "Bytes read from sockets.",
        (double)s.bytes_in);
    one(out, "trivet_net_sent_bytes_total", "counter", "Bytes written to sockets.",
        (double)s.bytes_out);
}

static void put_syslog(const struct syslog_server *server, struct sink *out)
{
    struct syslog_stats s;
    syslog_server_stats(server, &s);
    head(out, "trivet_syslog_messages_total", "counter", "Syslog messages that came.");
    put(out, "trivet_syslog_messages_total{transport=\"udp\"} %llu\n", (unsigned long long)s.udp);
    put(out, "trivet_syslog_messages_total{transport=\"tcp\"} %llu\n", (unsigned long long)s.tcp);
    const struct {
        const char *reason;
        uint64_t n;
    } drops[] = {
        {"waiting", s.dropped_waiting}, {"kernel", s.dropped_kernel}, {"store", s.dropped_store}};
    head(out, "trivet_syslog_dropped_total", "counter",
         "Syslog messages that were lost: too many waited to be stored, the kernel's buffer was "
         "full, the store refused them.");
    for (size_t i = 0; i < COUNTOF(drops); i++)
        put(out, "trivet_syslog_dropped_total{reason=\"%s\"} %llu\n", drops[i].reason,
            (unsigned long long)drops[i].n);
    one(out, "trivet_syslog_malformed_total", "counter",
        "Syslog messages without a priority or unlike RFC 5424, kept as text.",
        (double)s.malformed);
    one(out, "trivet_syslog_cut_total", "counter", "Syslog messages that were too long.",
        (double)s.cut);
    one(out, "trivet_syslog_connections", "gauge", "Open connections of syslog senders.",
        (double)s.connections);
    one(out, "trivet_syslog_connections_refused_total", "counter",
        "Connections of syslog senders above the limit.", (double)s.refused_connections);
}

static void put_lanes(struct work *work, struct sink *out)
{
    static const struct {
        unsigned lane;
        const char *name;
    } lanes[] = {{LANE_INGEST, "ingest"}, {LANE_QUERY, "query"}};
    static const struct {
        const char *name, *type, *help;
    } kinds[] = {
        {"trivet_lane_jobs_total", "counter", "Requests taken by a lane."},
        {"trivet_lane_refused_total", "counter", "Requests refused because the lane was full."},
        {"trivet_lane_waiting", "gauge", "Requests that wait for a worker."},
        {"trivet_lane_running", "gauge", "Requests being handled."},
        {"trivet_lane_wait_seconds_total", "counter", "Time that requests waited."},
        {"trivet_lane_run_seconds_total", "counter", "Time that handlers ran."},
    };
    struct work_lane_stats s[COUNTOF(lanes)];
    for (size_t i = 0; i < COUNTOF(lanes); i++)
        work_stats(work, lanes[i].lane, &s[i]);
    for (size_t k = 0; k < COUNTOF(kinds); k++) {
        head(out, kinds[k].name, kinds[k].type, kinds[k].help);
        for (size_t i = 0; i < COUNTOF(lanes); i++) {
            const double values[COUNTOF(kinds)] = {
                (double)s[i].jobs,    (double)s[i].refused,       (double)s[i].waiting,
                (double)s[i].running, (double)s[i].wait_ns / 1e9, (double)s[i].run_ns / 1e9};
            char text[NUM_TEXT_MAX];
            put(out, "%s{lane=\"%s\"} " STR_FMT "\n", kinds[k].name, lanes[i].name,
                STR_ARG(num_print_f64(text, values[k])));
        }
    }
}

/* Calls `fn` for every route that was asked at least once. */
static void each_route(struct router *r, struct sink *out,
                       void (*fn)(const struct route_entry *e, struct sink *out))
{
    for (size_t i = 0;; i++) {
        const struct route_entry *e = router_entry(r, i);
        if (!e)
            break;
        fn(e, out);
    }
    fn(router_other(r), out);
}

static double route_total(const struct route_entry *e)
{
    double n = 0;
    for (size_t b = 0; b < ROUTE_BUCKETS; b++)
        n += count(&e->stats.bucket[b]);
    return n;
}

static void put_route_codes(const struct route_entry *e, struct sink *out)
{
    for (size_t i = 0; i < ROUTE_CODES; i++) {
        double n = count(&e->stats.code[i]);
        if (n > 0)
            put(out, "trivet_http_requests_total{route=\"%s\",code=\"%d\"} %.0f\n",
                e->route->pattern, route_codes[i], n);
    }
}

static void put_route_duration(const struct route_entry *e, struct sink *out)
{
    double total = route_total(e), sum = 0;
    if (total == 0)
        return;
    char text[NUM_TEXT_MAX];
    for (size_t b = 0; b < ROUTE_BUCKETS; b++) {
        sum += count(&e->stats.bucket[b]);
        str le = b < ROUTE_BUCKETS - 1 ? num_print_f64(text, route_buckets_s[b]) : STR("+Inf");
        put(out, "trivet_http_request_duration_seconds_bucket{route=\"%s\",le=\"%.*s\"} %.0f\n",
            e->route->pattern, STR_ARG(le), sum);
    }
    put(out, "trivet_http_request_duration_seconds_sum{route=\"%s\"} %.*s\n", e->route->pattern,
        STR_ARG(num_print_f64(text, count(&e->stats.duration_ns) / 1e9)));
    put(out, "trivet_http_request_duration_seconds_count{route=\"%s\"} %.0f\n", e->route->pattern,
        total);
}

static void put_route_in(const struct route_entry *e, struct sink *out)
{
    if (route_total(e) > 0)
        put(out, "trivet_http_request_bytes_total{route=\"%s\"} %.0f\n", e->route->pattern,
            count(&e->stats.bytes_in));
}

static void put_route_out(const struct route_entry *e, struct sink *out)
{
    if (route_total(e) > 0)
        put(out, "trivet_http_response_bytes_total{route=\"%s\"} %.0f\n", e->route->pattern,
            count(&e->stats.bytes_out));
}

static void put_routes(struct router *r, struct sink *out)
{
    head(out, "trivet_http_requests_total", "counter",
         "Requests by route and status; gRPC statuses as their HTTP equivalents, 499 when the "
         "client went away.");
    each_route(r, out, put_route_codes);
    head(out, "trivet_http_request_duration_seconds", "histogram",
         "From the end of the headers to the end of the handler.");
    each_route(r, out, put_route_duration);
    head(out, "trivet_http_request_bytes_total", "counter", "Request bodies as received.");
    each_route(r, out, put_route_in);
    head(out, "trivet_http_response_bytes_total", "counter", "Answers' bodies as sent.");
    each_route(r, out, put_route_out);
}

/* ---- the store ---- */

#define SIGNAL_FIELD(field) offsetof(struct store_signal_stats, field)

static void put_written(struct sink *out, const struct store_stats *s, bool is_day)
{
    static const char *const purposes[WRITE_PURPOSE_COUNT] = {"log", "seal", "compaction"};
    const char *name =
        is_day ? "trivet_store_written_bytes_day" : "trivet_store_written_bytes_total";
    head(out, name, is_day ? "gauge" : "counter",
         is_day ? "Bytes written to disk in the last 24 hours, by purpose; the log in whole pages."
                : "Bytes written to disk, by purpose; the log in whole pages.");
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        const uint64_t *v = is_day ? s->signal[i].written_day : s->signal[i].written;
        for (size_t p = 0; p < WRITE_PURPOSE_COUNT; p++)
            put(out, "%s{signal=\"%s\",purpose=\"%s\"} %llu\n", name, signal_name((enum signal)i),
                purposes[p], (unsigned long long)v[p]);
    }
}

static void put_store(struct store *store, struct sink *out)
{
    static const struct {
        const char *name, *type, *help;
        size_t offset;
    } fields[] = {
        {"trivet_store_records_total", "counter", "Records stored.", SIGNAL_FIELD(records)},
        {"trivet_store_rejected_total", "counter", "Records refused.", SIGNAL_FIELD(rejected)},
        {"trivet_store_bytes_in_total", "counter", "Bytes of records stored.",
         SIGNAL_FIELD(bytes_in)},
        {"trivet_store_head_bytes", "gauge", "Memory of the head.", SIGNAL_FIELD(head_bytes)},
        {"trivet_store_head_records", "gauge", "Records in the head.", SIGNAL_FIELD(head_records)},
        {"trivet_store_series", "gauge", "Open series or streams.", SIGNAL_FIELD(series)},
        {"trivet_store_segments", "gauge", "Segment files.", SIGNAL_FIELD(segments)},
        {"trivet_store_segment_bytes", "gauge", "Bytes of segment files.",
         SIGNAL_FIELD(segment_bytes)},
        {"trivet_store_wal_bytes", "gauge", "Bytes of the write-ahead log.",
         SIGNAL_FIELD(wal_bytes)},
        {"trivet_store_sealed_total", "counter", "Segments made from heads.", SIGNAL_FIELD(sealed)},
        {"trivet_store_compacted_total", "counter", "Segments merged into others.",
         SIGNAL_FIELD(compacted)},
        {"trivet_store_expired_total", "counter", "Segments dropped by age or size.",
         SIGNAL_FIELD(expired)},
    };
    struct store_stats s;
    store_stats(store, &s);
    for (size_t f = 0; f < COUNTOF(fields); f++) {
        head(out, fields[f].name, fields[f].type, fields[f].help);
        for (int i = 0; i < SIGNAL_COUNT; i++) {
            const char *at = (const char *)&s.signal[i] + fields[f].offset;
            put(out, "%s{signal=\"%s\"} %llu\n", fields[f].name, signal_name((enum signal)i),
                (unsigned long long)*(const uint64_t *)(const void *)at);
        }
    }
    head(out, "trivet_store_refused_total", "counter", "Records not kept, by reason.");
    for (int i = 0; i < SIGNAL_COUNT; i++)
        for (int r = 0; r < REFUSALS; r++)
            put(out, "trivet_store_refused_total{signal=\"%s\",reason=\"%s\"} %llu\n",
                signal_name((enum signal)i), refusal_name((enum refusal)r),
                (unsigned long long)s.signal[i].refused[r]);
    put_written(out, &s, false);
    put_written(out, &s, true);
    one(out, "trivet_store_write_stretch", "gauge",
        "By how much the write budget stretches sync and seal intervals; 1 = not at all.",
        s.write_stretch / 100.0);
    one(out, "trivet_store_syncs_total", "counter", "fdatasync calls of the log.", (double)s.syncs);
    one(out, "trivet_store_replayed_records", "gauge", "Records recovered at start.",
        (double)s.replayed_records);
    one(out, "trivet_store_replay_seconds", "gauge", "Time of the recovery.",
        (double)s.replay_ns / 1e9);
    one(out, "trivet_store_corrupt_segments", "gauge",
        "Segments that failed their checks, now or before: *.db.bad.", (double)s.corrupt_segments);
    one(out, "trivet_store_damaged_log", "gauge",
        "Log files that ended too early and records nobody could read, at start.",
        (double)s.damaged_log);
    one(out, "trivet_store_log_cut_bytes", "gauge",
        "Unfinished bytes at the end of the logs, at start.", (double)s.log_cut_bytes);
    one(out, "trivet_store_disk_full_total", "counter", "How often the disk became full.",
        (double)s.disk_full_times);
    one(out, "trivet_store_disk_full", "gauge", "1 while writes are refused for lack of space.",
        (double)s.disk_full);
}

/* By class; an empty label is the default class. */
static void put_classes(struct store *store, struct sink *out)
{
    const struct store_class_stats *v;
    struct arena a;
    size_t n;
    arena_init(&a, SIZE_MAX, NULL);
    store_class_stats(store, &a, &v, &n);
    head(out, "trivet_store_class_segment_bytes", "gauge",
         "Bytes of segment files by retention class; the default class has no name.");
    for (size_t i = 0; i < n; i++)
        put(out, "trivet_store_class_segment_bytes{signal=\"%s\",class=\"" STR_FMT "\"} %llu\n",
            signal_name(v[i].signal), STR_ARG(v[i].name), (unsigned long long)v[i].segment_bytes);
    head(out, "trivet_store_class_oldest_seconds", "gauge",
         "Unix time of the oldest segment of a retention class.");
    for (size_t i = 0; i < n; i++)
        if (v[i].segments > 0)
            put(out,
                "trivet_store_class_oldest_seconds{signal=\"%s\",class=\"" STR_FMT "\"} %lld\n",
                signal_name(v[i].signal), STR_ARG(v[i].name),
                (long long)(v[i].oldest_ns / NS_PER_S));
    arena_deinit(&a);
}

void metrics_write(const struct metrics_sources *src, bool with_store, struct sink *out)
{
    put_process(src->services, out);
    put_budgets(src->services, out);
    put_net(src->net, out);
    put_lanes(src->work, out);
    if (src->syslog)
        put_syslog(src->syslog, out);
    put_routes(src->router, out);
    put_delta(src->services->delta, out);
    if (with_store && src->services->store) {
        put_store(src->services->store, out);
        put_classes(src->services->store, out);
    }
    if (with_store && src->services->derive)
        put_derive(src->services->derive, out);
}
