/* config.c - one table makes the defaults, the YAML reader, the environment, the flags, the help
 * and the commented sample.
 *
 * A field has one text form, the same in all sources: "15d", "64MiB", "true", "a, b". The path
 * ("query.timeout") is nested keys in YAML, TRIVET_QUERY_TIMEOUT in the environment and
 * --query-timeout as a flag. "auto" means: from the machine or from another field, resolved after
 * all sources were read. Runs before any thread starts, and on SIGHUP on the loop (files of a few
 * KiB). */
#include "server/config.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <yaml.h>

#include "server/config_classes.h"
#include "storage/base/dur.h"
#include "storage/base/num.h"
#include "storage/base/utf8.h"

#define CONFIG_FILE_MAX (1 * MIB)
#define CONFIG_DEPTH    4
#define HELPER_MEMORY   (64 * MIB) // what a query's helper has beside the budgets is a part of it

enum field_type {
    FIELD_TEXT,
    FIELD_LIST,     // of texts; a stronger source replaces the whole list
    FIELD_COUNT,    // integer
    FIELD_SIZE,     // bytes: "64MiB"; "none" is 0 where the minimum is 0
    FIELD_DURATION, // ns: "15d", "1m30s"; "none" is 0 where the minimum is 0
    FIELD_LEVEL,    // log level
    FIELD_SYNC,     // sync mode
    FIELD_NAMES,    // how OTLP names are translated
    FIELD_DELTA,    // what becomes of delta points
    FIELD_RATE,     // bytes a day: "500M/day"; "none" is 0
    FIELD_CLASSES,  // config_classes.h; a stronger source replaces the whole list
    FIELD_SWITCH,   // true or false
};

struct field {
    const char *path;
    enum field_type type;
    size_t offset;
    const char *value; // the default
    uint64_t min, max; // of numbers, in bytes or ns
    bool is_live;      // a reload changes it
    const char *help;
};

#define AT(member) offsetof(struct config, member)
#define SEC        ((uint64_t)NS_PER_S)
#define DAY        (86400 * SEC)
#define ANY        (uint64_t) INT64_MAX

static const struct field fields[] = {
    {"data_dir", FIELD_TEXT, AT(data_dir), "data", 1, 0, false,
     "Folder of the write-ahead log and the segments. One server per folder."},
    {"listen", FIELD_LIST, AT(listen),
     "127.0.0.1:4317, 127.0.0.1:4318, 127.0.0.1:9090, 127.0.0.1:3100, 127.0.0.1:3200, "
     "127.0.0.1:9411, 127.0.0.1:16686/jaeger",
     1, 0, false,
     "Addresses. Every one answers everything: OTLP (gRPC and HTTP), Zipkin, Prometheus, Loki, "
     "Tempo, and Jaeger below /jaeger. \":4318\" means all interfaces; port 0 picks one. A path "
     "behind the port comes first there: at \":16686/jaeger\" /api/traces/ID is Jaeger's, not "
     "Tempo's."},
    {"memory", FIELD_SIZE, AT(memory), "auto", 32 * MIB, ANY, false,
     "Ceiling of buffers, caches, heads and queries together. auto: a quarter of the machine's (or "
     "the container's) memory, at most 256MiB."},
    {"log_level", FIELD_LEVEL, AT(log_level), "info", 0, 0, true,
     "debug, info, warn, error or none."},

    {"storage.sync", FIELD_SYNC, AT(sync), "interval", 0, 0, false,
     "interval: acknowledged after write(), on disk at most sync_interval later. always: "
     "acknowledged when it is on disk."},
    {"storage.sync_interval", FIELD_DURATION, AT(sync_interval_ns), "1s", SEC / 100, 60 * SEC,
     false, "The most that a power cut may take with sync: interval."},
    {"storage.write_budget", FIELD_RATE, AT(write_budget), "none", 0, ANY, false,
     "Bytes written to the disk per day, like 500M/day, as a goal for flash that wears out; also "
     "--write-budget. What is traded: while more is written, syncs come later (a power cut takes "
     "up "
     "to 60s with sync: interval; sync: always is not touched), heads grow to 4 times their size "
     "and "
     "4h of age before they are sealed (a start replays more), merges wait (more files to query). "
     "Memory limits hold as ever, and nothing is refused or dropped for it."},
    {"storage.max_series", FIELD_COUNT, AT(max_series), "1000000", 0, ANY, false,
     "Open metric series of a tenant; more are refused. 0: no limit."},
    {"storage.max_streams", FIELD_COUNT, AT(max_streams), "100000", 0, ANY, false,
     "Open log streams of a tenant; more are refused. 0: no limit."},
    {"retention.metrics", FIELD_DURATION, AT(retention_ns[SIGNAL_METRICS]), "15d", 0, ANY, true,
     "Age at which metrics are dropped; none keeps everything."},
    {"retention.logs", FIELD_DURATION, AT(retention_ns[SIGNAL_LOGS]), "7d", 0, ANY, true,
     "Age at which logs are dropped; none keeps everything."},
    {"retention.traces", FIELD_DURATION, AT(retention_ns[SIGNAL_TRACES]), "7d", 0, ANY, true,
     "Age at which traces are dropped; none keeps everything."},
    {"retention.classes", FIELD_CLASSES, AT(classes), "", 0, 0, true,
     "Data of a signal that live longer or shorter than the rest of it: a list, of which the first "
     "entry that matches decides when data are sealed. match: labels of metric series; stream "
     "labels and structured metadata of log lines; of spans status, kind, name, service, "
     "span.<key>, resource.<key> (one such span takes its whole trace along). age: none keeps for "
     "ever; size: most disk space, may be left out. When an entry is taken away its data live as "
     "long as the rest of their signal. Where space is short, what has lived through the largest "
     "part of its own age goes first. As a flag (--retention-class, repeated) and in the "
     "environment (one a line): logs debug {detected_level=\"debug\"} 1d 1GiB"},
    {"disk.metrics", FIELD_SIZE, AT(disk_max[SIGNAL_METRICS]), "none", 0, ANY, true,
     "Most disk space of metrics; the oldest segments go first."},
    {"disk.logs", FIELD_SIZE, AT(disk_max[SIGNAL_LOGS]), "none", 0, ANY, true,
     "Most disk space of logs."},
    {"disk.traces", FIELD_SIZE, AT(disk_max[SIGNAL_TRACES]), "none", 0, ANY, true,
     "Most disk space of traces."},
    {"disk.total", FIELD_SIZE, AT(disk_max_total), "none", 0, ANY, true,
     "Most disk space of all three together."},
    {"disk.keep_free", FIELD_SIZE, AT(disk_free_min), "512MiB", 0, ANY, true,
     "Space that stays free on the disk (a tenth of it at most): below, the oldest segments go, "
     "then "
     "writes are refused. 0: nothing goes, a full disk refuses writes."},

    {"delete.logs", FIELD_COUNT, AT(delete_logs), "0", 0, 1, true,
     "1: logs may be deleted by whoever may ask: POST "
     "/loki/api/v1/delete?query=...&start=...&end=... "
     "hides them at once, GET lists, DELETE ?request_id= cancels."},
    {"delete.cancel_period", FIELD_DURATION, AT(delete_wait_ns), "24h", 0, 365 * DAY, true,
     "How long deleted logs can be brought back by DELETE; only then their bytes leave the disk."},

    {"ingest.window_past", FIELD_DURATION, AT(window_past_ns), "auto", 0, ANY, true,
     "Records older than this are refused. auto: the longest retention, classes included; none: "
     "any "
     "time."},
    {"ingest.window_future", FIELD_DURATION, AT(window_future_ns), "10m", 0, ANY, false,
     "Records further in the future than this are refused; none: any time."},
    {"ingest.workers", FIELD_COUNT, AT(ingest_workers), "auto", 1, 256, false,
     "Threads that decode. auto: 2, or 1 on a single core."},
    {"ingest.queue", FIELD_COUNT, AT(ingest_queue), "256", 1, 1000000, false,
     "Requests that may wait for them; more are told to retry."},
    {"ingest.memory", FIELD_SIZE, AT(ingest_memory), "auto", 4 * MIB, ANY, false,
     "Memory of requests in flight. auto: half of memory."},
    {"ingest.otlp_promote", FIELD_LIST, AT(otlp_promote), "", 0, 0, false,
     "OTLP resource attributes that become labels of every metric of the resource."},
    {"ingest.otlp_promote_all", FIELD_SWITCH, AT(otlp_promote_all), "false", 0, 0, false,
     "All resource attributes do, but those of otlp_promote_ignore."},
    {"ingest.otlp_promote_ignore", FIELD_LIST, AT(otlp_promote_ignore), "", 0, 0, false,
     "Resource attributes that otlp_promote_all leaves out."},
    {"ingest.otlp_keep_identity", FIELD_SWITCH, AT(otlp_keep_identity), "false", 0, 0, false,
     "target_info also has service_name, service_namespace and service_instance_id, which job "
     "and instance are made of."},
    {"ingest.otlp_scope_labels", FIELD_SWITCH, AT(otlp_scope_labels), "false", 0, 0, false,
     "OTLP metrics get otel_scope_name, otel_scope_version, otel_scope_schema_url and the scope's "
     "attributes as labels."},
    {"ingest.otlp_type_unit_labels", FIELD_SWITCH, AT(otlp_type_unit_labels), "false", 0, 0, false,
     "OTLP metrics get __type__ and __unit__ as labels."},
    {"ingest.otlp_names", FIELD_NAMES, AT(otlp_names), "UnderscoreEscapingWithSuffixes", 0, 0,
     false,
     "Names of OTLP metrics and labels, as Prometheus' translation_strategy: "
     "UnderscoreEscapingWithSuffixes (http_requests_total), UnderscoreEscapingWithoutSuffixes "
     "(http_requests), NoUTF8EscapingWithSuffixes (http.requests_total), NoTranslation "
     "(http.requests)."},
    {"ingest.otlp_label_key", FIELD_SWITCH, AT(otlp_key_underscore), "true", 0, 0, false,
     "A label with one leading underscore gets \"key\" in front. Of the underscore escapings."},
    {"ingest.otlp_label_runs", FIELD_SWITCH, AT(otlp_underscore_runs), "true", 0, 0, false,
     "Runs of underscores in labels stay; false: they become one. Of the underscore escapings."},
    {"ingest.otlp_delta", FIELD_DELTA, AT(otlp_delta), "cumulative", 0, 0, false,
     "OTLP points of delta temporality. cumulative: added up for each series, in memory (after a "
     "restart, or an hour without a point, a total begins anew, which rate() knows); points that "
     "come again are added once, late and overlapping ones refused. keep: stored as they come."},
    {"ingest.otlp_native_histograms", FIELD_SWITCH, AT(otlp_native), "false", 0, 0, false,
     "OTLP histograms with explicit buckets become one native histogram with custom bounds each, "
     "instead of _bucket, _sum and _count series."},
    {"ingest.otlp_index_labels", FIELD_LIST, AT(otlp_index_labels),
     "service.name, service.namespace, service.instance.id, deployment.environment, "
     "deployment.environment.name, cloud.region, cloud.availability_zone, k8s.cluster.name, "
     "k8s.namespace.name, k8s.pod.name, k8s.container.name, container.name, k8s.replicaset.name, "
     "k8s.deployment.name, k8s.statefulset.name, k8s.daemonset.name, k8s.cronjob.name, "
     "k8s.job.name",
     0, 0, false,
     "OTLP resource attributes that become labels of log streams; the others become structured "
     "metadata."},

    {"generator.enabled", FIELD_SWITCH, AT(derive_enabled), "true", 0, 0, false,
     "Make metrics of the spans that come in, as Grafana's service graph and RED panels read them: "
     "traces_spanmetrics_* and traces_service_graph_*, in the tenant of the spans."},
    {"generator.interval", FIELD_DURATION, AT(derive_interval_ns), "15s", SEC, 3600 * SEC, false,
     "Time between two samples of such a series."},
    {"generator.wait", FIELD_DURATION, AT(derive_wait_ns), "10s", SEC / 10, 600 * SEC, false,
     "Service graph: how long one side of a request waits for the other."},
    {"generator.slack", FIELD_DURATION, AT(derive_slack_ns), "2m", 0, ANY, false,
     "Spans that end further from now than this are stored, but not counted; none: all are."},
    {"generator.idle", FIELD_DURATION, AT(derive_idle_ns), "15m", SEC, ANY, false,
     "A series ends when no span was added to it for so long."},
    {"generator.max_series", FIELD_COUNT, AT(derive_max_series), "auto", 0, ANY, false,
     "Series of all tenants together, about 20 for each label set; spans beyond are counted under "
     "metric_overflow=\"true\". auto: one for each 8KiB of memory."},
    {"generator.max_edges", FIELD_COUNT, AT(derive_max_edges), "10000", 0, 10000000, false,
     "Service graph: sides that wait; beyond that the oldest are given up."},
    {"generator.dimensions", FIELD_LIST, AT(derive_dimensions), "", 0, 0, false,
     "Attributes of spans or resources that become labels of span metrics."},
    {"generator.graph_dimensions", FIELD_LIST, AT(derive_graph_dimensions), "", 0, 0, false,
     "... of the service graph, as client_<name> and server_<name>; service.namespace is one that "
     "Grafana asks for."},
    {"generator.buckets", FIELD_LIST, AT(derive_buckets),
     "0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, "
     "16.384",
     1, 0, false, "Upper bounds in seconds of the histograms of span metrics."},
    {"generator.graph_buckets", FIELD_LIST, AT(derive_graph_buckets),
     "0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8", 1, 0, false,
     "Upper bounds in seconds of the histograms of the service graph."},
    {"generator.classic_histograms", FIELD_SWITCH, AT(derive_classic), "true", 0, 0, false,
     "Histograms as series of buckets, what Grafana asks for first."},
    {"generator.native_histograms", FIELD_SWITCH, AT(derive_native), "false", 0, 0, false,
     "Native histograms of the same names, with classic ones or in their place."},
    {"generator.messaging_latency", FIELD_SWITCH, AT(derive_messaging), "false", 0, 0, false,
     "Service graph: a histogram of the time from a producer's end to its consumer's start."},
    {"generator.target_info", FIELD_SWITCH, AT(derive_target_info), "false", 0, 0, false,
     "traces_target_info with the attributes of each resource as labels; span metrics get job "
     "(service.namespace/service.name) and instance (service.instance.id)."},

    {"generator.target_info_exclude", FIELD_LIST, AT(derive_target_exclude), "", 0, 0, false,
     "Resource attributes that are no labels of traces_target_info."},
    {"generator.processors", FIELD_LIST, AT(derive_processors), "service-graphs, span-metrics", 1,
     0, false,
     "What is made, as Tempo calls it: span-metrics, or of it span-metrics-count, -latency, -size; "
     "service-graphs, or of it service-graphs-request, -latency; service-graphs-connection-info "
     "(traces_service_graph_connection_info, a gauge of 1 for each pair); host-info "
     "(traces_host_info)."},
    {"generator.include", FIELD_TEXT, AT(derive_include), "", 0, 0, false,
     "Only spans that one of these selectors matches are in span metrics, like {kind=\"server\"} "
     "{resource.service.namespace=~\"shop|mail\", status!=\"ok\"}. Names: kind, status, name, "
     "service, span.<key>, resource.<key>. Empty: all."},
    {"generator.exclude", FIELD_TEXT, AT(derive_exclude), "", 0, 0, false,
     "Spans that one of these selectors matches are not."},
    {"generator.graph_include", FIELD_TEXT, AT(derive_graph_include), "", 0, 0, false,
     "The same for the service graph; both sides of a request must be in it."},
    {"generator.graph_exclude", FIELD_TEXT, AT(derive_graph_exclude), "", 0, 0, false,
     "... and not in it."},
    {"generator.span_multiplier_key", FIELD_TEXT, AT(derive_weight_key), "", 0, 0, false,
     "Attribute of a span or its resource with its sampling ratio (0.1): it counts as 1/ratio "
     "spans."},
    {"generator.trace_state_multiplier", FIELD_SWITCH, AT(derive_state_weights), "false", 0, 0,
     false, "Spans also count for as many as their trace state says (ot=th:...)."},
    {"generator.status_message", FIELD_SWITCH, AT(derive_status_message), "false", 0, 0, false,
     "Span metrics get the label status_message."},
    {"generator.dimension_mappings", FIELD_LIST, AT(derive_mappings), "", 0, 0, false,
     "Labels of span metrics made of several attributes: \"NAME KEY KEY join=/\"."},
    {"generator.client_server_prefix", FIELD_SWITCH, AT(derive_graph_prefix), "true", 0, 0, false,
     "graph_dimensions are client_<name> and server_<name>; false: <name>, the client's value or "
     "else "
     "the server's."},
    {"generator.virtual_node_label", FIELD_SWITCH, AT(derive_virtual_label), "false", 0, 0, false,
     "Service graph: the label virtual_node says which side sends no spans, client or server."},
    {"generator.host_identifiers", FIELD_LIST, AT(derive_hosts), "k8s.node.name, host.id", 0, 0,
     false, "host-info: resource attributes that name a host; the first that is there counts."},
    {"generator.external_labels", FIELD_LIST, AT(derive_external), "", 0, 0, false,
     "Labels of all these series: cluster=home."},
    {"generator.trace_id_label", FIELD_TEXT, AT(derive_exemplar_label), "traceID", 1, 0, false,
     "Label of exemplars."},

    {"syslog.listen", FIELD_LIST, AT(syslog_listen), "", 0, 0, false,
     "Addresses that take syslog (RFC 5424 and 3164): udp://127.0.0.1:514, tcp://:601 (all "
     "interfaces), tcp://:602/acme (for the tenant acme; else it is the default one). Lines get "
     "job=\"syslog\", host, app; the rest becomes structured metadata. A time without a zone is of "
     "the machine's. Whoever reaches such an address can write."},

    {"query.admin_api", FIELD_SWITCH, AT(admin_api), "false", 0, 0, false,
     "Prometheus' admin API: /api/v1/admin/tsdb/delete_series and clean_tombstones."},
    {"query.workers", FIELD_COUNT, AT(query_workers), "auto", 1, 256, false,
     "Threads that run queries. auto: the number of cores, at least 2."},
    {"query.helpers", FIELD_COUNT, AT(query_helpers), "auto", 0, 64, false,
     "Threads that help them with large queries. auto: the number of cores less one, at most 15 "
     "and "
     "one for each 64MiB of memory beyond the first."},
    {"query.queue", FIELD_COUNT, AT(query_queue), "256", 1, 1000000, false,
     "Queries that may wait for them; more are told to retry."},
    {"query.timeout", FIELD_DURATION, AT(query_timeout_ns), "2m", SEC / 100, DAY, false,
     "Longest run of a query."},
    {"query.memory", FIELD_SIZE, AT(query_memory), "auto", 1 * MIB, ANY, false,
     "Memory of one query. auto: a quarter of memory."},
    {"query.memory_all", FIELD_SIZE, AT(query_memory_all), "auto", 1 * MIB, ANY, false,
     "Memory of all queries together. auto: half of memory."},
    {"query.lookback", FIELD_DURATION, AT(lookback_ns), "5m", SEC / 1000, DAY, false,
     "PromQL: how far an instant selector looks back for a sample."},
    {"query.max_samples", FIELD_COUNT, AT(max_samples), "50000000", 1, ANY, false,
     "PromQL: samples that one query may load."},
    {"query.max_points", FIELD_COUNT, AT(max_points), "11000", 1, 10000000, false,
     "Points per series of a range query."},
    {"query.max_series", FIELD_COUNT, AT(max_query_series), "100000", 0, ANY, false,
     "Series of one result. 0: no limit."},
    {"query.max_lines", FIELD_COUNT, AT(max_lines), "5000", 1, 10000000, false,
     "LogQL: highest limit parameter."},
    {"query.max_traces", FIELD_COUNT, AT(max_traces), "262144", 1, 10000000, false,
     "TraceQL: highest limit parameter of a search."},
    {"query.max_trace_size", FIELD_SIZE, AT(max_trace_bytes), "50MiB", 64 * KIB, ANY, false,
     "Bytes of one trace in an answer; the rest is left out and the answer says so."},
    {"query.span_pruning", FIELD_SWITCH, AT(span_pruning), "false", 0, 0, false,
     "Traces by id may be asked for with their many like spans folded into summaries "
     "(span_pruning=true, which newer Grafanas send unless told otherwise); false: they are always "
     "whole."},
    {"query.max_length", FIELD_SIZE, AT(max_query_length), "128KiB", 64, 16 * MIB, false,
     "Bytes of a query's text."},

    {"net.max_connections", FIELD_COUNT, AT(max_connections), "12000", 1, 1000000, false,
     "Open connections; more are answered 503 and closed."},
    {"net.max_header", FIELD_SIZE, AT(max_header), "64KiB", 1 * KIB, 1 * MIB, false,
     "Request line and headers: 414 or 431 beyond."},
    {"net.max_body", FIELD_SIZE, AT(max_body), "16MiB", 1 * KIB, 1 * GIB, false,
     "Request body as it arrives (compressed): 413 beyond."},
    {"net.max_body_raw", FIELD_SIZE, AT(max_body_raw), "64MiB", 1 * KIB, 1 * GIB, false,
     "Request body after decompression: 413 beyond."},
    {"net.cors_origin", FIELD_TEXT, AT(cors_origin), ".*", 0, 0, false,
     "Origins whose web pages may read Prometheus' API, as a regular expression (Prometheus' "
     "--web.cors.origin); empty: none."},
    {"net.header_timeout", FIELD_DURATION, AT(header_timeout_ns), "10s", SEC / 10, DAY, false,
     "From the first byte of a request to the end of its headers."},
    {"net.body_timeout", FIELD_DURATION, AT(body_timeout_ns), "30s", SEC / 10, DAY, false,
     "Without 16 KiB of a body that is due, or its end."},
    {"net.idle_timeout", FIELD_DURATION, AT(idle_timeout_ns), "5m", SEC / 10, 365 * DAY, false,
     "Between requests of a connection."},
    {"net.write_timeout", FIELD_DURATION, AT(write_timeout_ns), "30s", SEC / 10, DAY, false,
     "Without the client taking a byte of an answer."},
};

/* ---- text to value ---- */

static const char *const level_names[] = {"debug", "info", "warn", "error", "none"};
static const char *const sync_names[] = {"interval", "always"};
static const char *const naming_names[] = {
    "UnderscoreEscapingWithSuffixes", "UnderscoreEscapingWithoutSuffixes",
    "NoUTF8EscapingWithSuffixes", "NoTranslation"}; // the order of enum otlp_naming
static const char *const delta_names[] = {"cumulative", "keep"};
static const char *const switch_names[] = {"false", "true"};

bool config_read_age(str text, int64_t *ns, struct err *err)
{
    int64_t v = 0;
    if (!str_is(text, "none") && !dur_parse_any(text, &v, err))
        return false;
    *ns = v;
    return v >= 0 || err_set(err, ERR_INVALID, "negative");
}

bool config_read_size(str text, uint64_t *bytes, struct err *err)
{
    *bytes = 0;
    return str_is(text, "none") || size_parse(text, bytes, err);
}

static bool set_number(struct config *c, const struct field *f, str text, struct err *err)
{
    uint64_t v = 0;
    int64_t ns = 0;
    bool ok;
    if (str_is(text, "auto") && strcmp(f->value, "auto") == 0) {
        *(uint64_t *)(void *)((char *)c + f->offset) = UINT64_MAX; // resolved at the end
        return true;
    }
    if (str_is(text, "none") && f->min == 0) {
        ok = true;
    } else if (f->type == FIELD_COUNT) {
        ok = num_parse_u64(text, &v) || err_set(err, ERR_INVALID, "not a whole number");
    } else if (f->type == FIELD_RATE) {
        ok = str_ends(text, STR("/day")) ? size_parse(str_sub(text, 0, text.n - 4), &v, err)
                                         : err_set(err, ERR_INVALID, "not like 500M/day");
    } else if (f->type == FIELD_SIZE) {
        ok = size_parse(text, &v, err);
    } else {
        ok = dur_parse_any(text, &ns, err) && (ns >= 0 || err_set(err, ERR_INVALID, "negative"));
        v = (uint64_t)ns;
    }
    if (!ok)
        return false;
    if (v < f->min || v > f->max)
        return err_set(err, ERR_INVALID, "out of range");
    *(uint64_t *)(void *)((char *)c + f->offset) = v;
    return true;
}

static bool set_choice(void *at, const char *const *names, size_t n, str text, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq_nocase(text, str_c(names[i]))) {
            *(unsigned *)at = (unsigned)i;
            return true;
        }
    }
    return err_set(err, ERR_INVALID, "not one of the possible values");
}

static bool set_list(struct config *c, struct config_list *list, str text, bool append,
                     struct err *err)
{
    if (!append)
        list->n = 0;
    str rest = text, item;
    while (rest.n > 0 && str_split(&rest, ',', &item)) {
        item = str_trim(item);
        if (item.n == 0)
            continue;
        if (list->n >= CONFIG_LIST_MAX)
            return err_set(err, ERR_INVALID, "more than %d entries", CONFIG_LIST_MAX);
        list->v[list->n++] = arena_dup(&c->arena, item);
    }
    return true;
}

static_assert(sizeof(enum log_level) == sizeof(unsigned) &&
                  sizeof(enum sync_mode) == sizeof(unsigned),
              "set_choice writes enums as unsigned");

static bool check_text(str text, struct err *err)
{
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7F)
            return err_set(err, ERR_INVALID, "must not hold control characters");
    return utf8_valid(text) || err_set(err, ERR_INVALID, "must be UTF-8");
}

static bool set_field(struct config *c, const struct field *f, str text, bool append,
                      struct err *err)
{
    void *at = (char *)c + f->offset;
    bool ok = false;
    switch (f->type) {
    case FIELD_TEXT:
        ok = check_text(text, err) &&
             (text.n >= f->min || err_set(err, ERR_INVALID, "must not be empty"));
        if (ok)
            *(str *)at = arena_dup(&c->arena, text);
        break;
    case FIELD_LIST:
        ok = check_text(text, err) && set_list(c, at, text, append, err);
        if (ok && f->min > 0 && ((struct config_list *)at)->n == 0)
            ok = err_set(err, ERR_INVALID, "must not be empty");
        break;
    case FIELD_LEVEL:
        ok = set_choice(at, level_names, COUNTOF(level_names), text, err);
        break;
    case FIELD_SYNC:
        ok = set_choice(at, sync_names, COUNTOF(sync_names), text, err);
        break;
    case FIELD_NAMES:
        ok = set_choice(at, naming_names, COUNTOF(naming_names), text, err);
        break;
    case FIELD_DELTA:
        ok = set_choice(at, delta_names, COUNTOF(delta_names), text, err);
        break;
    case FIELD_SWITCH:
        ok = set_choice(at, switch_names, COUNTOF(switch_names), text, err);
        break;
    case FIELD_CLASSES: // names itself what it does not like
        if (!append)
            config_classes_clear(c);
        return config_classes_add(c, text, err);
    case FIELD_COUNT:
    case FIELD_SIZE:
    case FIELD_RATE:
    case FIELD_DURATION:
        ok = set_number(c, f, text, err);
        break;
    }
    return ok || err_in(err, "%s \"" STR_FMT "\"", f->path, STR_ARG(str_sub(text, 0, 100)));
}

static const struct field *find_field(str path)
{
    for (size_t i = 0; i < COUNTOF(fields); i++)
        if (str_eq(str_c(fields[i].path), path))
            return &fields[i];
    return NULL;
}

/* `retention: X` for all signals at once; none also lets in samples of any time. */
static bool set_retention(struct config *c, str text, struct err *err)
{
    static const char *const paths[] = {"retention.metrics", "retention.logs", "retention.traces"};
    for (size_t i = 0; i < COUNTOF(paths); i++)
        if (!set_field(c, find_field(str_c(paths[i])), text, false, err))
            return false;
    if (str_is(text, "none"))
        c->window_past_ns = c->window_future_ns = 0;
    return true;
}

static bool set_path(struct config *c, str path, str text, bool append, struct err *err)
{
    if (str_is(path, "retention"))
        return set_retention(c, text, err);
    if (str_is(path, "write_budget"))
        path = STR("storage.write_budget");
    const struct field *f = find_field(path);
    if (!f)
        return err_set(err, ERR_INVALID, "unknown key \"" STR_FMT "\"",
                       STR_ARG(str_sub(path, 0, 100)));
    return set_field(c, f, text, append, err);
}

/* ---- the machine ---- */

static uint64_t container_memory(void)
{
    char text[32];
    int fd = open("/sys/fs/cgroup/memory.max", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return UINT64_MAX;
    ssize_t n = read(fd, text, sizeof text);
    close(fd);
    uint64_t bytes;
    return n > 0 && num_parse_u64(str_trim(str_of(text, (size_t)n)), &bytes) ? bytes : UINT64_MAX;
}

static uint64_t auto_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t ram = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : GIB;
    ram = MIN(ram, container_memory());
    return MAX(MIN(ram / 4 / MIB * MIB, 256 * MIB), 32 * MIB);
}

static void config_resolve(struct config *c)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t cores = online > 0 ? (uint64_t)online : 1;
    if (c->memory == UINT64_MAX)
        c->memory = auto_memory();
    if (c->ingest_memory == UINT64_MAX)
        c->ingest_memory = c->memory / 2;
    if (c->query_memory_all == UINT64_MAX)
        c->query_memory_all = c->memory / 2;
    if (c->query_memory == UINT64_MAX)
        c->query_memory = c->memory / 4;
    if (c->derive_max_series == UINT64_MAX)
        c->derive_max_series = c->memory / (8 * KIB);
    if (c->ingest_workers == UINT64_MAX)
        c->ingest_workers = MIN(cores, 2);
    if (c->query_workers == UINT64_MAX)
        c->query_workers = MIN(MAX(cores, 2), 16);
    if (c->query_helpers == UINT64_MAX)
        c->query_helpers = MIN(MIN(cores - 1, 15), MAX(c->memory / HELPER_MEMORY, 1) - 1);
    if (c->window_past_ns == -1) { // UINT64_MAX: auto
        c->window_past_ns = 0;
        for (size_t i = 0; i < SIGNAL_COUNT; i++)
            c->window_past_ns = MAX(c->window_past_ns, c->retention_ns[i]);
        bool is_endless = false;
        for (size_t i = 0; i < SIGNAL_COUNT; i++)
            is_endless = is_endless || c->retention_ns[i] == 0;
        for (size_t i = 0; i < c->classes.n; i++) {
            c->window_past_ns = MAX(c->window_past_ns, c->classes.v[i].age_ns);
            is_endless = is_endless || c->classes.v[i].age_ns == 0;
        }
        if (is_endless)
            c->window_past_ns = 0;
    }
}

static void config_begin(struct config *c)
{
    *c = (struct config){.log_level = LOG_LEVEL_INFO};
    arena_init(&c->arena, 4 * MIB, NULL);
    struct err err = ERR_OK;
    for (size_t i = 0; i < COUNTOF(fields); i++)
        ASSERT(set_field(c, &fields[i], str_c(fields[i].value), false, &err));
}

void config_default(struct config *c)
{
    config_begin(c);
    config_resolve(c);
}

void config_deinit(struct config *c)
{
    config_classes_clear(c);
    arena_deinit(&c->arena);
}

bool config_set(struct config *c, str path, str value, struct err *err)
{
    bool ok = set_path(c, path, value, false, err);
    config_resolve(c);
    return ok;
}

/* ---- YAML ---- */

struct yaml_walk {
    struct config *c;
    str name;
    size_t depth; // open mappings
    char path[256];
    size_t path_n[CONFIG_DEPTH + 1]; // length of the path at each depth
    bool have_key, in_list, list_begun;
    // an entry of retention.classes that is a mapping
    bool in_class, have_class_key;
    struct class_draft draft;
    char class_key[32];
    size_t line, error_line; // of the entry's begin; where an error belongs, 0 = at the event
};

static bool yaml_key(struct yaml_walk *w, str key, struct err *err)
{
    size_t base = w->path_n[w->depth - 1];
    if (base + key.n + 1 >= sizeof w->path || key.n == 0)
        return err_set(err, ERR_INVALID, "unknown key \"" STR_FMT "\"",
                       STR_ARG(str_sub(key, 0, 100)));
    if (base > 0)
        w->path[base++] = '.';
    memcpy(w->path + base, key.p, key.n);
    w->path_n[w->depth] = base + key.n;
    w->have_key = true;
    return true;
}

/* Is there a field at or below the path? So that an unknown section is named itself. */
static bool path_is_section(str path)
{
    for (size_t i = 0; i < COUNTOF(fields); i++) {
        str full = str_c(fields[i].path);
        if (full.n > path.n && str_starts(full, path) && full.p[path.n] == '.')
            return true;
    }
    return false;
}

/* Key or value inside an entry. */
static bool yaml_class_scalar(struct yaml_walk *w, str text, struct err *err)
{
    w->have_class_key = !w->have_class_key;
    if (w->have_class_key) {
        if (text.n >= sizeof w->class_key)
            return err_set(err, ERR_INVALID, "retention.classes: unknown key \"" STR_FMT "\"",
                           STR_ARG(str_sub(text, 0, 100)));
        memcpy(w->class_key, text.p, text.n);
        w->class_key[text.n] = '\0';
        return true;
    }
    return check_text(text, err) &&
           class_draft_set(w->c, &w->draft, str_c(w->class_key), text, err);
}

static bool yaml_open_class(struct yaml_walk *w, size_t line, struct err *err)
{
    str path = str_of(w->path, w->path_n[w->depth]);
    const struct field *f = find_field(path);
    if (!f || f->type != FIELD_CLASSES || w->in_class)
        return err_set(err, ERR_INVALID, "unexpected nesting");
    if (!w->list_begun)
        config_classes_clear(w->c);
    w->list_begun = w->in_class = true;
    w->have_class_key = false;
    w->line = line;
    return true;
}

static bool yaml_close_class(struct yaml_walk *w, struct err *err)
{
    w->in_class = false;
    bool ok = class_draft_add(w->c, &w->draft, err);
    w->error_line = ok ? 0 : w->line;
    return ok;
}

static bool yaml_scalar(struct yaml_walk *w, str text, bool is_plain, struct err *err)
{
    if (w->depth == 0) {
        bool is_empty = is_plain && (text.n == 0 || str_is(text, "~") || str_is(text, "null"));
        return is_empty || err_set(err, ERR_INVALID, "expected keys");
    }
    if (w->in_class)
        return yaml_class_scalar(w, text, err);
    if (!w->have_key)
        return yaml_key(w, text, err);
    str path = str_of(w->path, w->path_n[w->depth]);
    if (w->in_list) {
        const struct field *f = find_field(path);
        if (!f || (f->type != FIELD_LIST && f->type != FIELD_CLASSES))
            return err_set(err, ERR_INVALID, "\"" STR_FMT "\" takes one value", STR_ARG(path));
        bool append = w->list_begun;
        w->list_begun = true;
        return set_field(w->c, f, text, append, err);
    }
    w->have_key = false;
    if (path_is_section(path) && is_plain && text.n == 0 && !str_is(path, "retention"))
        return true; // a section without keys
    return set_path(w->c, path, text, false, err);
}

static bool yaml_open_mapping(struct yaml_walk *w, size_t line, struct err *err)
{
    if (w->in_list)
        return yaml_open_class(w, line, err);
    if ((w->depth > 0 && !w->have_key) || w->depth >= CONFIG_DEPTH)
        return err_set(err, ERR_INVALID, "unexpected nesting");
    if (w->depth > 0 && !path_is_section(str_of(w->path, w->path_n[w->depth])))
        return err_set(err, ERR_INVALID, "unknown key \"" STR_FMT "\"",
                       STR_ARG(str_of(w->path, w->path_n[w->depth])));
    w->depth++;
    w->path_n[w->depth] = w->path_n[w->depth - 1];
    w->have_key = false;
    return true;
}

static bool yaml_close_list(struct yaml_walk *w, struct err *err)
{
    bool ok = true;
    if (!w->list_begun) // [] empties the list
        ok = set_path(w->c, str_of(w->path, w->path_n[w->depth]), STR(""), false, err);
    w->in_list = w->list_begun = w->have_key = false;
    return ok;
}

static bool yaml_event(struct yaml_walk *w, const yaml_event_t *e, struct err *err)
{
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        return yaml_scalar(w, str_of((const char *)e->data.scalar.value, e->data.scalar.length),
                           e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE, err);
    case YAML_MAPPING_START_EVENT:
        return yaml_open_mapping(w, e->start_mark.line + 1, err);
    case YAML_MAPPING_END_EVENT:
        if (w->in_class)
            return yaml_close_class(w, err);
        w->depth--;
        w->have_key = false;
        return true;
    case YAML_SEQUENCE_START_EVENT:
        if (w->in_list || !w->have_key)
            return err_set(err, ERR_INVALID, "unexpected list");
        w->in_list = true;
        w->list_begun = false;
        return true;
    case YAML_SEQUENCE_END_EVENT:
        return yaml_close_list(w, err);
    case YAML_ALIAS_EVENT:
        return err_set(err, ERR_INVALID, "aliases are not supported");
    default:
        return true;
    }
}

static bool yaml_load(struct config *c, str name, str text, struct err *err)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return err_set(err, ERR_LIMIT, "no memory for the YAML parser");
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.p, text.n);
    struct yaml_walk w = {.c = c, .name = name};
    bool ok = true, is_end = false;
    while (ok && !is_end) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            ok = err_set(err, ERR_INVALID, STR_FMT ":%zu: %s", STR_ARG(name),
                         parser.problem_mark.line + 1,
                         parser.problem ? parser.problem : "not valid YAML");
            break;
        }
        is_end = event.type == YAML_STREAM_END_EVENT;
        ok = yaml_event(&w, &event, err) ||
             err_in(err, STR_FMT ":%zu", STR_ARG(name),
                    w.error_line ? w.error_line : event.start_mark.line + 1);
        yaml_event_delete(&event);
    }
    class_draft_deinit(&w.draft);
    yaml_parser_delete(&parser);
    return ok;
}

bool config_yaml(struct config *c, str name, str text, struct err *err)
{
    bool ok = yaml_load(c, name, text, err);
    config_resolve(c);
    return ok;
}

static bool config_file(struct config *c, str path, struct err *err)
{
    struct buf text;
    buf_init(&text, CONFIG_FILE_MAX);
    bool ok = fs_read_all(fs_posix(), path, &text, err) && yaml_load(c, path, buf_str(&text), err);
    buf_deinit(&text);
    return ok;
}

/* ---- environment and flags ---- */

/* "query.max_lines" as TRIVET_QUERY_MAX_LINES (upper, '_') or query-max-lines ('-'). */
static bool is_spelling(str path, str text, bool is_env)
{
    if (path.n != text.n)
        return false;
    for (size_t i = 0; i < path.n; i++) {
        char p = path.p[i], want = p;
        if (p == '.' || p == '_')
            want = is_env ? '_' : '-';
        else if (is_env)
            want = (char)(p - ('a' - 'A'));
        if (text.p[i] != want)
            return false;
    }
    return true;
}

static const char *spelled_path(str text, bool is_env)
{
    if (is_spelling(STR("retention"), text, is_env))
        return "retention";
    if (is_spelling(STR("write_budget"), text, is_env))
        return "write_budget";
    if (!is_env && str_is(text, "retention-class"))
        return "retention.classes"; // one each
    for (size_t i = 0; i < COUNTOF(fields); i++)
        if (is_spelling(str_c(fields[i].path), text, is_env))
            return fields[i].path;
    return NULL;
}

/* Variables that start with TRIVET_ but name no key are left alone: container systems make some of
 * their own (TRIVET_PORT, ...). */
static bool config_env(struct config *c, char *const *env, struct err *err)
{
    for (; env && *env; env++) {
        str line = str_c(*env), prefix = STR("TRIVET_");
        size_t eq = str_find_char(line, '=');
        if (!str_starts(line, prefix) || eq == SIZE_MAX)
            continue;
        const char *path = spelled_path(str_sub(line, prefix.n, eq), true);
        if (path && !set_path(c, str_c(path), str_sub(line, eq + 1, line.n), false, err))
            return err_in(err, "environment " STR_FMT, STR_ARG(str_sub(line, 0, eq)));
    }
    return true;
}

/* The value of a "--config FILE" flag or TRIVET_CONFIG; empty when there is none. */
static str config_file_name(int n_args, char *const *args, char *const *env)
{
    str name = STR("");
    for (; env && *env; env++)
        if (str_starts(str_c(*env), STR("TRIVET_CONFIG=")))
            name = str_c(*env + strlen("TRIVET_CONFIG="));
    for (int i = 0; i < n_args; i++) {
        if (str_is(str_c(args[i]), "--config") && i + 1 < n_args)
            name = str_c(args[i + 1]);
        else if (str_starts(str_c(args[i]), STR("--config=")))
            name = str_c(args[i] + strlen("--config="));
    }
    return name;
}

static bool config_flags(struct config *c, int n_args, char *const *args, struct err *err)
{
    bool seen[COUNTOF(fields)] = {0};
    for (int i = 0; i < n_args; i++) {
        str arg = str_c(args[i]);
        if (!str_starts(arg, STR("--")))
            return err_set(err, ERR_INVALID, "unexpected argument \"" STR_FMT "\"", STR_ARG(arg));
        size_t eq = str_find_char(arg, '=');
        str name = str_sub(arg, 2, MIN(eq, arg.n));
        if (eq == SIZE_MAX && i + 1 >= n_args)
            return err_set(err, ERR_INVALID, "flag " STR_FMT " needs a value", STR_ARG(arg));
        str value = eq != SIZE_MAX ? str_sub(arg, eq + 1, arg.n) : str_c(args[++i]);
        if (str_is(name, "config"))
            continue;
        const char *path = spelled_path(name, false);
        if (!path)
            return err_set(err, ERR_INVALID, "unknown flag --" STR_FMT, STR_ARG(name));
        const struct field *f = find_field(str_c(path));
        bool append = f && (f->type == FIELD_LIST || f->type == FIELD_CLASSES) && seen[f - fields];
        if (f)
            seen[f - fields] = true;
        if (!set_path(c, str_c(path), value, append, err))
            return err_in(err, "flag --" STR_FMT, STR_ARG(name));
    }
    return true;
}

bool config_load(int n_args, char *const *args, char *const *env, struct config *out,
                 struct err *err)
{
    struct config c;
    config_begin(&c);
    str file = config_file_name(n_args, args, env);
    bool ok = (file.n == 0 || config_file(&c, file, err)) && config_env(&c, env, err) &&
              config_flags(&c, n_args, args, err);
    if (!ok) {
        config_deinit(&c);
        return false;
    }
    config_resolve(&c);
    *out = c;
    return true;
}

/* ---- printing ---- */

/* A YAML double-quoted scalar. Characters that YAML takes for line breaks or refuses are escaped.
 */
void config_print_quoted(struct buf *out, str text)
{
    buf_add_char(out, '"');
    while (text.n > 0) {
        size_t n;
        uint32_t cp = utf8_decode(text, &n);
        if (cp == '"' || cp == '\\')
            buf_add_char(out, '\\');
        bool is_odd = (cp >= 0x7F && cp < 0xA0) || cp == 0x2028 || cp == 0x2029 || cp == 0xFEFF ||
                      cp == 0xFFFE || cp == 0xFFFF;
        if (is_odd)
            buf_fmt(out, "\\u%04X", (unsigned)cp);
        else
            buf_add(out, str_sub(text, 0, n));
        text = str_sub(text, n, text.n);
    }
    buf_add_char(out, '"');
}

/* Exact, in the largest unit that divides it. */
void config_print_size(struct buf *out, uint64_t v)
{
    static const char *const units[] = {"", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    while (v > 0 && v % 1024 == 0 && unit + 1 < COUNTOF(units)) {
        v /= 1024;
        unit++;
    }
    if (v == 0)
        buf_add(out, STR("none"));
    else
        buf_fmt(out, "%llu%s", (unsigned long long)v, units[unit]);
}

void config_print_age(struct buf *out, int64_t ns)
{
    char text[64];
    buf_add(out, ns == 0               ? STR("none")
                 : ns % NS_PER_MS == 0 ? dur_print_prom(text, ns / NS_PER_MS)
                                       : dur_print_go(text, ns));
}

/* With the blank in front. */
static void print_value(struct buf *out, const struct config *c, const struct field *f)
{
    const void *at = (const char *)c + f->offset;
    uint64_t v = 0;
    if (f->type == FIELD_COUNT || f->type == FIELD_SIZE || f->type == FIELD_DURATION)
        v = *(const uint64_t *)at;
    if (f->type != FIELD_CLASSES)
        buf_add_char(out, ' ');
    switch (f->type) {
    case FIELD_CLASSES:
        config_classes_print(at, "    ", out);
        break;
    case FIELD_TEXT:
        config_print_quoted(out, *(const str *)at);
        break;
    case FIELD_LIST: {
        const struct config_list *list = at;
        buf_add_char(out, '[');
        for (size_t i = 0; i < list->n; i++) {
            buf_add(out, i ? STR(", ") : STR(""));
            config_print_quoted(out, list->v[i]);
        }
        buf_add_char(out, ']');
        break;
    }
    case FIELD_COUNT:
        buf_fmt(out, "%llu", (unsigned long long)v);
        break;
    case FIELD_SIZE:
        config_print_size(out, v);
        break;
    case FIELD_RATE:
        config_print_size(out, v);
        buf_add(out, v > 0 ? STR("/day") : STR(""));
        break;
    case FIELD_DURATION:
        config_print_age(out, (int64_t)v);
        break;
    case FIELD_LEVEL:
        buf_add(out, str_c(level_names[*(const unsigned *)at]));
        break;
    case FIELD_SYNC:
        buf_add(out, str_c(sync_names[*(const unsigned *)at]));
        break;
    case FIELD_NAMES:
        buf_add(out, str_c(naming_names[*(const unsigned *)at]));
        break;
    case FIELD_DELTA:
        buf_add(out, str_c(delta_names[*(const unsigned *)at]));
        break;
    case FIELD_SWITCH:
        buf_add(out, str_c(switch_names[*(const unsigned *)at]));
        break;
    }
}

/* Text folded at blanks into lines of at most 92 characters behind `prefix`. */
static void print_folded(struct buf *out, const char *prefix, str text)
{
    size_t column = 0;
    str word;
    while (str_split(&text, ' ', &word)) {
        if (column == 0 || column + 1 + word.n > 92) {
            buf_fmt(out, "%s%s", column ? "\n" : "", prefix);
            column = 0;
        } else {
            buf_add_char(out, ' ');
            column++;
        }
        buf_add(out, word);
        column += word.n;
    }
    buf_add_char(out, '\n');
}

static const char classes_example[] =
    "  # classes:\n"
    "  #   - {name: debug, signal: logs, match: '{detected_level=\"debug\"}', age: 1d, size: "
    "1GiB}\n"
    "  #   - {name: errors, signal: traces, match: '{status=\"error\"}', age: 30d}\n"
    "  #   - {name: billing, signal: metrics, match: '{job=\"billing\"}', age: 1y}\n";

void config_print(const struct config *c, bool comments, struct buf *out)
{
    str section = STR("");
    for (size_t i = 0; i < COUNTOF(fields); i++) {
        const struct field *f = &fields[i];
        str path = str_c(f->path);
        size_t dot = str_find_char(path, '.');
        str own = dot == SIZE_MAX ? STR("") : str_sub(path, 0, dot);
        if (!str_eq(own, section) && own.n > 0)
            buf_fmt(out, "%s" STR_FMT ":\n", comments ? "\n" : "", STR_ARG(own));
        section = own;
        const char *indent = own.n ? "  " : "";
        if (comments) {
            print_folded(out, own.n ? "  # " : "# ", str_c(f->help));
            buf_fmt(out, "%s# Default: %s%s\n", indent, *f->value ? f->value : "none",
                    f->is_live ? ". Changes with a reload." : "");
            if (f->type == FIELD_CLASSES)
                buf_add(out, str_c(classes_example));
        }
        buf_fmt(out, "%s" STR_FMT ":", indent,
                STR_ARG(dot == SIZE_MAX ? path : str_sub(path, dot + 1, path.n)));
        print_value(out, c, f);
        buf_add_char(out, '\n');
    }
}

void config_help(struct buf *out)
{
    buf_fmt(out, "  --config FILE\n");
    print_folded(out, "        ", STR("YAML file; see `trivet config --print`."));
    buf_fmt(out, "  --retention AGE|none\n");
    print_folded(out, "        ",
                 STR("Age for all signals at once; none keeps everything and takes samples of any "
                     "time."));
    buf_fmt(out, "  --retention-class 'SIGNAL NAME {MATCHERS} AGE [SIZE]'\n");
    print_folded(out, "        ", STR("One entry of retention.classes; may be repeated."));
    for (size_t i = 0; i < COUNTOF(fields); i++) {
        buf_add(out, STR("  --"));
        for (const char *p = fields[i].path; *p; p++)
            buf_add_char(out, *p == '.' || *p == '_' ? '-' : *p);
        buf_fmt(out, " VALUE   (default: %s)\n", *fields[i].value ? fields[i].value : "none");
        print_folded(out, "        ", str_c(fields[i].help));
    }
}

void config_diff(const struct config *a, const struct config *b, struct buf *now, struct buf *later)
{
    struct buf x, y;
    buf_init(&x, 64 * KIB);
    buf_init(&y, 64 * KIB);
    for (size_t i = 0; i < COUNTOF(fields); i++) {
        buf_clear(&x);
        buf_clear(&y);
        print_value(&x, a, &fields[i]);
        print_value(&y, b, &fields[i]);
        struct buf *out = fields[i].is_live ? now : later;
        if (!str_eq(buf_str(&x), buf_str(&y)))
            buf_fmt(out, "%s%s", out->n ? "," : "", fields[i].path);
    }
    buf_deinit(&x);
    buf_deinit(&y);
}

static size_t field_size(const struct field *f)
{
    switch (f->type) {
    case FIELD_TEXT:
        return sizeof(str);
    case FIELD_LIST:
        return sizeof(struct config_list);
    case FIELD_LEVEL:
    case FIELD_SYNC:
    case FIELD_NAMES:
    case FIELD_DELTA:
    case FIELD_SWITCH:
        return sizeof(unsigned);
    case FIELD_CLASSES:
        break; // live, and never copied
    case FIELD_COUNT:
    case FIELD_SIZE:
    case FIELD_RATE:
    case FIELD_DURATION:
        return sizeof(uint64_t);
    }
    return 0;
}

void config_keep(struct config *fresh, const struct config *old)
{
    for (size_t i = 0; i < COUNTOF(fields); i++)
        if (!fields[i].is_live)
            memcpy((char *)fresh + fields[i].offset, (const char *)old + fields[i].offset,
                   field_size(&fields[i]));
}
