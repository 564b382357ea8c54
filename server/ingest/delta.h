/* delta.h - delta temporality made cumulative: the running totals of OTLP's delta series.
 *
 * Decoders keep no state. They put the points into the batch as they came and note each in a
 * `delta_points`; delta_begin then adds what was counted before, in place, and delta_end makes the
 * new totals count, if the batch was stored, or forgets them: a request that is sent again because
 * it failed is added once. Between the two the request has the turn of the shards that its points
 * are in (a target - job and instance - is in one), for what comes next must build on what it
 * stores; shards are taken in ascending order, so nobody waits in a circle.
 *
 * The rules, those of OpenTelemetry's data model for one writer per series:
 *   no total yet, or other bounds than before: it begins with the point, and so does its start time
 *   the time is later than the last one's: added; a gap before its start is a gap
 *   time and start are those of the last one: sent again; nothing is added, nothing is refused
 *   the time is not later, or the start lies before the last time: refused
 * A last time that lies in the future is not believed: the total begins anew. Totals are in memory
 * only; after a restart, or DELTA_IDLE_NS without a point, they begin anew, with a start time that
 * tells rate() so.
 *
 * Threads: any. Memory: a budget of its own below the server's. */
#pragma once

#include "storage/base/clock.h"
#include "storage/base/hash.h"
#include "storage/model/batch.h"

/* One delta point: the samples that it was made into (value, or sum, count and buckets), or its
 * native histogram, and its exemplars. */
struct delta_point {
    struct hash128 key;        // of the series; the same for all encodings of its labels
    uint32_t shard;            // any hash of the target
    uint64_t shape;            // bounds: totals of other bounds cannot be added to
    int64_t start_ns, time_ns; // start 0: unknown
    bool has_start;            // the samples may carry a start time
    size_t sample, n_samples;  // n_samples 0: hists.v[hist]
    size_t hist;
    size_t exemplar, n_exemplars;
};
struct delta_points {
    VEC(struct delta_point) points; // in the batch's arena, in the order of the batch
};

enum delta_result {
    DELTA_ADDED,     // to a total
    DELTA_BEGUN,     // a total, with its first point
    DELTA_RESET,     // a total begins anew: other bounds, or a time that was not to be believed
    DELTA_REPEATED,  // sent again
    DELTA_OLD,       // refused: not later than the last one
    DELTA_OVERLAP,   // refused: it counts again what was counted
    DELTA_LIMIT,     // refused: max_series, or no memory
    DELTA_IMPOSSIBLE // refused: a histogram that contradicts itself
};
#define DELTA_RESULTS 8
extern const char *const delta_result_names[DELTA_RESULTS];

struct delta_options {
    struct clock *clock;
    struct budget *budget; // parent of the module's own; may be NULL
    size_t max_bytes;
    size_t max_series; // totals of one tenant; 0 = no limit
    int64_t future_ns; // times beyond now + this are not believed; 0 = any is
};
struct delta_stats {
    size_t series, bytes;
    uint64_t results[DELTA_RESULTS], expired;
};

struct delta;
struct delta_tx; // of one request

struct delta *delta_open(const struct delta_options *o);
void delta_close(struct delta *d); // NULL is fine; no request is between begin and end
/* Waits for its turn, makes the points of b cumulative; refused and repeated ones leave the batch,
 * the former counted. `tenant` is any address that stands for the tenant as long as d lives. The
 * batch's indices may change afterwards (batch_validate). Result in the batch's arena, for
 * delta_end. */
MUST_USE struct delta_tx *delta_begin(struct delta *d, const void *tenant, struct batch *b,
                                      struct delta_points *points);
/* Exactly once. is_stored false: all is as before delta_begin, and nothing was counted. */
void delta_end(struct delta_tx *tx, bool is_stored);
void delta_stats_get(struct delta *d, struct delta_stats *out);
