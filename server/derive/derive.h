/* derive.h - metrics made of spans as they come in: RED metrics of each operation
 * (traces_spanmetrics_*) and requests between services (traces_service_graph_*), as Grafana's
 * service graph reads them.
 *
 * Spans that were stored are counted in memory, cumulatively; every interval all counters are
 * written to the metrics store of the same tenant. A series that nothing was added to for idle_ns
 * ends with a stale marker. A restart begins at 0, with a sample that says so. What is counted is
 * bounded in series, waiting requests and bytes; what goes beyond is counted itself.
 *
 * Threads: derive_spans from any; the object has a thread of its own that writes (or, in tests,
 * none: then derive_collect is called by hand, by one thread at a time). */
#pragma once

#include "storage/store.h"

struct derive; // opaque

struct derive_options {
    struct clock *clock;
    int64_t interval_ns; // between two writes
    int64_t wait_ns;     // how long half a request waits for its other half
    int64_t slack_ns;  // spans that ended longer ago, or end later than that, are left out; 0: any
    int64_t idle_ns;   // after which a series ends
    size_t max_series; // of all tenants together
    size_t max_edges;  // halves that wait
    const str *dimensions; // attributes that become labels of span metrics
    size_t n_dimensions;
    const str *graph_dimensions; // ... of the service graph, as client_NAME and server_NAME
    size_t n_graph_dimensions;
    const str *buckets; // upper bounds in seconds of latencies, as numbers, rising
    size_t n_buckets;
    const str *graph_buckets; // ... in the service graph
    size_t n_graph_buckets;
    bool no_classic, has_native; // histograms; without both there are classic ones
    bool has_target_info;        // traces_target_info; job and instance in span metrics
    const str *target_exclude;   // resource attributes that are no labels of it
    size_t n_target_exclude;
    bool has_messaging_latency; // time between a producer's end and its consumer's start
    /* What is made, by Tempo's names: span-metrics or its parts span-metrics-count, -latency,
     * -size; service-graphs or its parts service-graphs-request, -latency, and
     * service-graphs-connection-info, which is no part of it; host-info. None: service-graphs and
     * span-metrics. */
    const str *processors;
    size_t n_processors;
    str include, exclude;             // spans of span metrics: selectors, see filter.h
    str graph_include, graph_exclude; // ... of the service graph
    str weight_key;                   // attribute with a sampling ratio; empty: none
    bool has_state_weights;           // the trace state's sampling counts, too
    bool has_status_message;          // a label of span metrics
    const str *mappings; // labels of span metrics: "NAME KEY KEY... [join=TEXT]", the texts joined
    size_t n_mappings;
    bool no_graph_prefix; // graph_dimensions under their own names: the client's value, or else the
                          // server's
    bool has_virtual_label; // virtual_node: the side that sends no spans
    const str *host_ids;    // resource attributes that name a host, the first that is there does
    size_t n_host_ids;
    const str *external; // "NAME=VALUE": labels of all series
    size_t n_external;
    str exemplar_label;    // of exemplars; empty: traceID
    struct budget *budget; // of what is counted; may be NULL
    bool has_thread;
    /* Stores a batch of samples, see store_write; and finds known series, NULL: none. */
    bool (*write)(void *ctx, struct store_tenant *t, struct batch *b, struct err *err);
    uint64_t (*find)(void *ctx, struct store_tenant *t, struct hash128 raw);
    void *ctx;
};

struct derive_stats {        // since the start, but for those that say "now"
    uint64_t spans;          // counted
    uint64_t spans_outdated; // outside the slack
    uint64_t spans_repeated; // seen before
    uint64_t spans_filtered; // left out of span metrics
    uint64_t edges;          // requests counted in the service graph
    uint64_t edges_expired;  // halves that nobody came for and that say nothing on their own
    uint64_t edges_dropped;  // halves that could not wait so long, for want of room
    uint64_t edges_filtered; // halves left out of the service graph
    uint64_t edges_waiting;  // now
    uint64_t overflowed;     // records counted under metric_overflow="true"
    uint64_t series;         // now
    uint64_t writes_failed;  // nothing is lost with them: the next one has it all
};

/* ERR_INVALID: buckets that are not numbers or do not rise; processors, selectors, mappings and
 * labels that cannot be read. What the options point to is copied. */
MUST_USE bool derive_open(const struct derive_options *o, struct derive **out, struct err *err);
/* Counts the spans of a batch that was stored. Scratch memory comes from the batch's arena. */
void derive_spans(struct derive *d, struct store_tenant *t, const struct batch *b);
/* Writes everything now. */
void derive_collect(struct derive *d);
void derive_stats(struct derive *d, struct derive_stats *out);
/* Stops the thread, writes a last time, frees. NULL is fine. */
void derive_close(struct derive *d);
