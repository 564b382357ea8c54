/* config.h - the effective configuration and where it comes from: default < YAML < environment <
 * flag.
 *
 * One table in config.c (path, type, default, bounds, help) drives all four, --help and the
 * commented sample; see config_fields.c. A struct config is immutable after loading; a reload makes
 * a new one. Threads: any, read-only. */
#pragma once

#include <stdio.h>

#include "storage/base/arena.h"
#include "storage/base/err.h"
#include "storage/base/log.h"
#include "storage/model/batch.h"
#include "storage/model/limits.h"
#include "storage/store.h"

#define CONFIG_LISTEN_MAX 16 // listeners; each is one socket
#define CONFIG_LIST_MAX   64 // items of a list of names

struct config_list {
    str v[CONFIG_LIST_MAX];
    size_t n;
};

struct config {
    struct arena arena; // owns every str below

    str data_dir;
    struct config_list listen; // "127.0.0.1:4318", "[::1]:0"
    uint64_t memory;           // bytes, everything together
    enum log_level log_level;

    // storage
    enum sync_mode sync;
    int64_t sync_interval_ns;
    uint64_t write_budget;              // bytes a day, 0 = none
    int64_t retention_ns[SIGNAL_COUNT]; // 0 = keep for ever
    struct config_classes {             // what lives longer or shorter than the rest
        struct retention_class v[LIMIT_RETENTION_CLASSES]; // regexes are the config's
        str match[LIMIT_RETENTION_CLASSES];                // the matchers as written
        size_t n;
    } classes;
    uint64_t disk_max[SIGNAL_COUNT]; // bytes, 0 = no limit
    uint64_t disk_max_total;         // bytes, 0 = no limit
    uint64_t disk_free_min;          // bytes
    int64_t window_past_ns;          // 0 = any time
    int64_t window_future_ns;        // 0 = any time
    uint64_t max_series;             // per tenant; 0 = no limit
    uint64_t max_streams;            // per tenant; 0 = no limit

    // deleting
    uint64_t delete_logs;   // by Loki's API
    int64_t delete_wait_ns; // until bytes go, so that it can be canceled

    // network
    uint64_t max_connections;
    uint64_t max_header;   // bytes of request line and headers
    uint64_t max_body;     // bytes as received (compressed)
    uint64_t max_body_raw; // bytes after decompression: pass to http_body
    str cors_origin;       // regular expression; empty: no origin
    int64_t header_timeout_ns;
    int64_t idle_timeout_ns;
    int64_t body_timeout_ns;
    int64_t write_timeout_ns;

    // ingest
    uint64_t ingest_workers;         // threads
    uint64_t ingest_queue;           // waiting requests
    uint64_t ingest_memory;          // bytes, all requests together
    struct config_list otlp_promote; // resource attributes that become labels of every metric
    unsigned otlp_promote_all;       // all of them, but
    struct config_list otlp_promote_ignore;
    unsigned otlp_native; // explicit histograms become native ones
    unsigned otlp_names;  // enum otlp_naming
    unsigned otlp_delta;  // 0: delta points are made cumulative; 1: kept
    unsigned otlp_keep_identity, otlp_scope_labels, otlp_type_unit_labels;
    unsigned otlp_key_underscore, otlp_underscore_runs;
    struct config_list otlp_index_labels; // resource attributes that become stream labels

    // metrics made of spans
    unsigned derive_enabled; // 0, 1
    int64_t derive_interval_ns;
    int64_t derive_wait_ns;
    int64_t derive_slack_ns; // 0 = any time
    int64_t derive_idle_ns;
    uint64_t derive_max_series; // all tenants together
    uint64_t derive_max_edges;
    struct config_list derive_dimensions;
    struct config_list derive_graph_dimensions;
    struct config_list derive_buckets; // numbers, checked when they are used
    struct config_list derive_graph_buckets;
    unsigned derive_classic, derive_native; // 0, 1: kinds of histograms
    unsigned derive_target_info;            // 0, 1
    unsigned derive_messaging;              // 0, 1
    struct config_list derive_processors, derive_mappings, derive_hosts, derive_external;
    struct config_list derive_target_exclude;
    str derive_include, derive_exclude, derive_graph_include, derive_graph_exclude; // selectors
    str derive_weight_key, derive_exemplar_label;
    unsigned derive_state_weights, derive_status_message, derive_graph_prefix,
        derive_virtual_label; // 0, 1

    struct config_list syslog_listen; // "udp://127.0.0.1:514", "tcp://:601"

    // query
    unsigned admin_api;     // 0, 1: series may be deleted
    uint64_t query_workers; // threads
    uint64_t query_helpers; // threads, 0 = none
    uint64_t query_queue;   // waiting requests
    uint64_t query_memory;  // bytes, one query
    uint64_t query_memory_all;
    int64_t query_timeout_ns;
    int64_t lookback_ns;       // PromQL lookback delta
    uint64_t max_samples;      // samples in memory of one PromQL query
    uint64_t max_points;       // steps of a range query (Prometheus: 11,000)
    uint64_t max_query_series; // series of one result; 0 = no limit
    uint64_t max_lines;        // LogQL limit parameter at most
    uint64_t max_traces;       // traces of one search at most
    uint64_t max_trace_bytes;  // of one trace by id; the rest is left out
    unsigned span_pruning;     // 0, 1
    uint64_t max_query_length; // bytes of a query text
};

/* The defaults of the table, with sizes that depend on this machine resolved. */
void config_default(struct config *c);
void config_deinit(struct config *c); // deinit twice is fine

/* All four sources in order. `args` are the flags after the verb (without it); `env` is the
 * process environment or NULL. A `--config FILE` flag names the YAML file. On failure *out is
 * unset and err names the source: "trivet.yaml:12: unknown key "retentoin"". */
MUST_USE bool config_load(int n_args, char *const *args, char *const *env, struct config *out,
                          struct err *err);
/* YAML text alone over what *c holds; `name` is for messages. */
MUST_USE bool config_yaml(struct config *c, str name, str text, struct err *err);
/* One value by its path ("query.timeout") in its text form. */
MUST_USE bool config_set(struct config *c, str path, str value, struct err *err);
/* The effective configuration as YAML with every key's help as comment. */
void config_print(const struct config *c, bool comments, struct buf *out);
/* The flags part of --help. */
void config_help(struct buf *out);
/* Names of what differs between two configurations: `now` can change while running, `later` needs
 * a restart. Comma lists into bufs. */
void config_diff(const struct config *a, const struct config *b, struct buf *now,
                 struct buf *later);
/* What needs a restart becomes as it is in `old`, whose strings are then borrowed. */
void config_keep(struct config *fresh, const struct config *old);
