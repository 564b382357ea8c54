/* batch.h - the unit of ingest: one request's records of one signal, in one arena, all or nothing.
 *
 * Decoders fill it, batch_validate drops and counts bad records, store_write logs and applies it.
 * Strings may borrow from the request body, which must live as long as the batch. */
#pragma once

#include "storage/model/hist.h"
#include "storage/model/labels.h"
#include "storage/model/sample.h"
#include "storage/model/span.h"

enum signal { SIGNAL_METRICS, SIGNAL_LOGS, SIGNAL_TRACES };
#define SIGNAL_COUNT 3
const char *signal_name(enum signal s); // "metrics", "logs", "traces"

/* A series of this batch. The fast way: the decoder hashes the raw bytes that name the series (not
 * decoding them) and asks the store for `ref` (store_series_find); on a hit labels stay empty. On a
 * miss it decodes labels, and the store remembers raw -> ref when it applies the batch. raw 0/0 =
 * do not remember. */
struct batch_series {
    struct hash128 raw;
    uint64_t ref; // 0 = unknown: labels are set
    struct labels labels;
    /* Its samples repeat the time of a record of another series (a histogram's buckets,
     * target_info) or were not sent at all: refused for their time they are not counted, that
     * record is. */
    bool is_derived;
};

struct batch_sample {
    uint32_t series; // index into series
    int64_t t_ms;
    double v; // stale marker allowed
};
struct batch_hist {
    uint32_t series;
    int64_t t_ms;
    const struct hist *h;
    int64_t start_ms; // as of samples, see batch_start
};
struct batch_exemplar {
    uint32_t series;
    int64_t t_ms;
    double v;
    struct labels labels; // trace_id, span_id, ...
};

struct batch_stream {
    struct labels labels;
};
/* Records of a request mostly share most of their metadata: those that point to the same one of
 * these have the same names, and the same values but for the pairs in `own`, all at the same
 * addresses. Who has looked at one need look only at these pairs of the next. */
struct batch_alike {
    uint64_t own;    // bit k: the k-th pair; sets of more pairs are not alike
    uint64_t made;   // those of them that the decoder made itself: ASCII, not empty
    size_t shared_n; // bytes of all names, and of the values that are not own
};
struct batch_log {
    uint32_t stream; // index into streams
    int64_t t_ns;
    str line;
    struct labels meta;              // structured metadata, sorted by name
    const struct batch_alike *alike; // NULL: nothing is known
};

struct log_parted; // log_payload.h

/* What a sender hears of what was refused. */
enum batch_manner {
    BATCH_FIRST_REASON, // how much, and the first reason
    /* The same; but series that have no name, an empty or doubled label name, or names and values
     * that are not UTF-8, are left out without a word (remote write 1.0). */
    BATCH_SKIPS_LABELS,
    BATCH_ALL_REASONS, // every reason, up to LIMIT_REASONS bytes of them (remote write 2.0)
};

struct batch {
    enum signal signal;
    struct arena *arena;
    // metrics
    VEC(struct batch_series) series;
    VEC(struct batch_sample) samples;
    VEC(int64_t) starts; // of samples; shorter or empty: the rest has none
    VEC(struct batch_hist) hists;
    VEC(struct batch_exemplar) exemplars;
    VEC(struct metric_meta) metas;
    // logs
    VEC(struct batch_stream) streams;
    VEC(struct batch_log) logs;
    struct log_parted *parted; // of the lines, by what made the log's payload; NULL: nothing
    // traces
    VEC(struct resource) resources;
    VEC(struct scope) scopes;
    str chunks; // of the spans, what the log's payload holds (codec/span_build.h); empty: not made
    VEC(struct span) spans;
    size_t raw_bytes; // decoded size of the request, for accounting
    // what was refused so far (partial success)
    enum batch_manner manner;
    size_t rejected;
    char reason[256]; // first reason, NUL-terminated; empty when none
    size_t skipped;   // records left out without a word; not in `rejected`
    struct {
        VEC(str) texts;
        size_t bytes, omitted;
    } reasons; // BATCH_ALL_REASONS
};

void batch_init(struct batch *b, enum signal signal, struct arena *arena);
/* When the counting that led to sample i began; 0: unknown. Set for the sample pushed last; what is
 * not set costs nothing. */
static inline int64_t batch_start(const struct batch *b, size_t i)
{
    return i < b->starts.n ? b->starts.v[i] : 0;
}
void batch_set_start(struct batch *b, int64_t start_ms);
/* Counts n refused records; keeps the first reason. n 0: only the reason, for what is no record
 * of its own (exemplars, the other series of a histogram). */
void batch_reject(struct batch *b, size_t n, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* One more of all reasons; nothing in other manners. The text is copied. */
void batch_tell(struct batch *b, str reason);
/* Applies the product's record limits (model/limits.h): label counts and lengths, UTF-8 (repaired
 * or refused as the limits say), line length, attribute counts, duplicate label names, histogram
 * shape, zero ids, times. Bad records are removed and counted (series and streams by their
 * records), good ones stay. Never fails. Labels and metadata may arrive in any order and with empty
 * values: they are canonical afterwards. A span that ends before it starts ends when it starts. */
void batch_validate(struct batch *b);
size_t batch_records(const struct batch *b); // samples + hists + exemplars | logs | spans
/* Readable dump, one record a line, sorted as they are: for case files. */
void batch_dump(const struct batch *b, struct buf *out);
