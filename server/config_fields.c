/* config_fields.c - paths, kinds, defaults, limits and help of all settings. Help is what --help,
 * the sample and the documentation show: whole sentences, what a value means and what it costs. */
#include "server/config_fields.h"

#include <assert.h>

#define AT(member) offsetof(struct config, member)
#define SEC        ((uint64_t)NS_PER_S)
#define DAY        (86400 * SEC)
#define ANY        (uint64_t) INT64_MAX

const struct field config_fields[] = {
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

const size_t n_config_fields = COUNTOF(config_fields);
static_assert(COUNTOF(config_fields) <= CONFIG_FIELDS_MAX, "config.c counts on it");
