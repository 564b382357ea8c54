/* decode.h - what every decoder gets: where the batch goes, how known series are found, the options
 * that shape the mapping.
 *
 * A decoder turns one request body into a batch. Strings borrow from the body, the rest lives in
 * the batch's arena. false: the body as a whole is malformed (ERR_INVALID) or too large for the
 * arena (ERR_LIMIT); single bad records are refused with batch_reject instead. Decoders keep no
 * state and know neither network nor store. */
#pragma once

#include "server/ingest/otlp_names.h"
#include "storage/model/batch.h"

struct decode_options {
    const str *promote; // resource attributes that become labels of every metric
    size_t n_promote;
    const str *index_labels; // resource attributes that become stream labels
    size_t n_index_labels;
    bool native_histograms; // explicit buckets become one native histogram with custom bounds
    enum otlp_naming naming;
    bool promote_all;          // all resource attributes but those of promote_ignore
    const str *promote_ignore; // counts with promote_all only
    size_t n_promote_ignore;
    bool keep_identity;    // service.name, .namespace, .instance.id stay in target_info
    bool scope_labels;     // otel_scope_*
    bool type_unit_labels; // __type__, __unit__
    bool key_underscore;   // labels: one leading '_' stays as it is
    bool join_underscores; // labels: runs of other characters become one '_'
};

struct delta_points;

struct decode {
    struct batch *batch;
    const struct decode_options *options;
    int64_t now_ns;
    /* Known series (see batch_series); NULL = none. */
    uint64_t (*find)(void *ctx, struct hash128 raw);
    void *find_ctx;
    struct delta_points *delta; // takes OTLP's delta points; NULL: they stay as they are
};

typedef bool decoder(struct decode *d, str body, struct err *err);

decoder decode_otlp_metrics, decode_otlp_logs, decode_otlp_traces; // protobuf
decoder decode_prom_write;                                         // remote write 1.0, inflated
decoder decode_prom_write2;                                        // remote write 2.0, inflated
decoder decode_loki_protobuf, decode_loki_json;
decoder decode_zipkin_json;

/* Index of the series with that raw key in the batch: known ones by reference; *is_new when labels
 * must be set by the caller (batch->series.v[i].labels). The batch's own series are not looked up
 * again: one request may name one twice. */
uint32_t decode_series(struct decode *d, struct hash128 raw, bool *is_new);
