/* store.h - the engine's whole public face: open, write, look (snapshots, iterators, names),
 * retention, stats.
 *
 * Retention is per signal, and per class where the options name some: data that live longer or
 * shorter than the rest of their signal and therefore have segments of their own.
 *
 * Threads: everything may be called from any thread unless said otherwise; calls block (never call
 * them on the event loop). A snapshot sees everything acknowledged before it was taken, pins its
 * files, and holds no lock. Iterators belong to one thread. Memory that an iterator returns lives
 * until the next call on it. */
#pragma once

#include "storage/base/clock.h"
#include "storage/base/fs.h"
#include "storage/model/batch.h"
#include "storage/model/matcher.h"
#include "storage/model/timerange.h"

struct crew;
struct store;
struct store_tenant; // handle; lives as long as the store
struct snapshot;

enum sync_mode { SYNC_INTERVAL, SYNC_ALWAYS };

/* Data of one signal with a lifetime of their own. What a record belongs to is decided when it is
 * sealed: the first class of its signal whose matchers all hold; none: the default class.
 * Metrics are matched by the labels of the series. Logs by stream labels, then (for names that the
 * stream lacks) by the line's structured metadata. Traces by spans, a span meeting all matchers:
 * status (unset, ok, error), kind (unspecified, internal, server, client, producer, consumer),
 * name, service, span.<key>, resource.<key>; one such span among those that are sealed together
 * takes its whole trace along. Parts of a trace that are sealed at other times are judged on their
 * own. A matcher of an absent label tests the empty string. */
struct retention_class {
    enum signal signal;
    str name; // [a-z][a-z0-9_-]{0,31}, unique in its signal; the folder of its segments
    struct matchers matchers;
    int64_t age_ns;     // 0 = keep for ever
    uint64_t max_bytes; // of its segments; 0 = none
};
/* Could a store take it? Name, and what matchers of traces may name. ERR_INVALID. */
MUST_USE bool retention_class_check(const struct retention_class *c, struct err *err);

struct store_options {
    struct fs *fs;
    struct clock *clock;
    str dir;
    struct budget *budget; // memory of heads and caches; may be NULL
    enum sync_mode sync;
    int64_t sync_interval_ns;           // default 1 s
    int64_t retention_ns[SIGNAL_COUNT]; // by age; 0 = keep for ever
    uint64_t max_bytes[SIGNAL_COUNT];   // disk budget per signal; 0 = none
    uint64_t max_bytes_total;           // 0 = none
    uint64_t free_bytes_min;            // keep this much of the disk free
    uint64_t write_budget; // bytes written a day that intervals are stretched for; 0 = none
    const struct retention_class *classes; // copied; at most LIMIT_RETENTION_CLASSES
    size_t n_classes;
    int64_t window_past_ns;            // records older than now - this are refused; 0 = any time
    int64_t window_future_ns;          // records later than now + this are refused; 0 = any time
    size_t max_series;                 // per tenant, metrics; 0 = no limit
    size_t max_streams;                // per tenant, logs
    size_t head_bytes[SIGNAL_COUNT];   // seal earlier above this
    int64_t head_age_ns[SIGNAL_COUNT]; // seal a generation at this age
    bool no_background; // tests: nothing happens but in store_write and store_maintain
};

void store_options_default(
    struct store_options *o); // values of the design; fs, clock real; dir unset
/* Locks the folder, recovers, starts threads. Held lock: ERR_BUSY. `opened` may look at progress by
 * the log. */
MUST_USE bool store_open(const struct store_options *o, struct store **out, struct err *err);
/* Flushes the log, stops the threads. Unsealed data stays in the log. */
void store_close(struct store *s); // NULL is fine

/* Tenant by name ([a-zA-Z0-9_.-]{1,64}, else ERR_INVALID). create=false and unknown: ERR_NOT_FOUND.
 * create=true beyond LIMIT_TENANTS: ERR_LIMIT. */
MUST_USE bool store_tenant(struct store *s, str name, bool create, struct store_tenant **out,
                           struct err *err);
bool store_tenant_name_ok(str name);
#define STORE_TENANT_DEFAULT STR("default")
/* A tenant without data, for reads under a name that never wrote: such reads find nothing and leave
 * nothing behind. Must not be written to. */
struct store_tenant *store_tenant_empty(struct store *s);

/* ---- writing ---- */

/* Why records are not kept, as /metrics counts it. */
enum refusal {
    REFUSED_MALFORMED, // by the decoder, or a histogram that contradicts itself
    REFUSED_OLD,       // before the window
    REFUSED_FUTURE,    // after the window
    REFUSED_LIMIT,     // a new series or stream above max_series or max_streams
    REFUSED_MEMORY,    // ... above what the index of open ones may have of the budget
    REFUSED_EXEMPLARS, // above LIMIT_HEAD_EXEMPLARS: not told to the sender, not in `rejected`
    REFUSALS
};
const char *refusal_name(enum refusal r); // "malformed", ...

struct write_result {
    size_t accepted, rejected;        // records; rejected includes the batch's own
    size_t samples, hists, exemplars; // metrics: of the accepted ones
    size_t refused[REFUSALS];
    char reason[256]; // first reason, empty when none
};
/* ERR_BUSY while writes of the signal are refused because seals or syncs are behind: for asking
 * before a request is decoded in vain. store_write asks again. */
MUST_USE bool store_keeps_up(struct store *s, enum signal signal, struct err *err);
/* Logs, (by mode) syncs, applies and publishes one batch; blocks until it is acknowledged.
 * ERR_BUSY/ERR_UNAVAILABLE: nothing was stored, try again. Records that can never be stored are
 * dropped and counted in the result. */
MUST_USE bool store_write(struct store *s, struct store_tenant *t, struct batch *b,
                          struct write_result *res, struct err *err);
/* A batch that never came to store_write, as its decoder left nothing of it: counted as malformed.
 */
void store_count_malformed(struct store *s, enum signal signal, size_t n);
/* Fast way for known series (see batch_series): 0 when unknown. Lock-free or briefly locked. */
uint64_t store_series_find(struct store *s, struct store_tenant *t, struct hash128 raw);

/* ---- looking ---- */

/* Snapshot of one signal. The range only limits which files are pinned. */
MUST_USE bool snapshot_open(struct store *s, struct store_tenant *t, enum signal signal,
                            struct time_range range, struct snapshot **out, struct err *err);
void snapshot_close(struct snapshot *snap); // NULL is fine; iterators must be closed before

enum step { STEP_ITEM, STEP_END, STEP_ERROR };

/* Called now and then by iterators; false stops them with the given error (deadline, cancel,
 * budget). */
struct ticker {
    bool (*tick)(struct ticker *t, struct err *err);
};

/* What a selection read, for statistics; iterators add to it. All bytes are of stored (decoded)
 * data. */
struct scan_stats {
    uint64_t samples, lines, spans, bytes, blocks, blocks_skipped;
    uint64_t head_lines, head_bytes, head_blocks; // of these, logs that lay in memory
    uint64_t kept;                                // lines that came through the query's stages
};

/* -- metrics -- */
/* Values from lo to hi or, outside, all the others and NaN. */
struct value_range {
    double lo, hi;
    bool outside;
};
struct series_select {
    struct matchers matchers;
    int64_t start_ms, end_ms; // both inclusive
    struct ticker *ticker;    // may be NULL
    struct scan_stats *stats; // may be NULL
    /* Series without a wanted value in the range may be left out, as far as that is known without
     * looking at all of them; those with histograms never are. NULL: all values. */
    const struct value_range *wanted;
};
struct series {
    struct labels labels;
    size_t n; // samples in time order, one per timestamp, stale markers included
    const int64_t *t_ms;
    const double *v;             // undefined where h[i] is set
    const struct hist *const *h; // NULL when the series has no histograms; h[i] NULL = float
    const int64_t *start_ms;     // when counting began, 0 = unknown; NULL: of all unknown
    bool no_markers;             // certainly no stale markers; false: maybe
};
struct series_iter;
/* Series in labels_cmp_series order, each once with all its samples of the range. Series without a
 * sample in the range are left out. The select and the snapshot must outlive the iterator. Memory
 * counts on `budget` (may be NULL). */
MUST_USE bool series_iter_open(struct snapshot *snap, const struct series_select *sel,
                               struct budget *budget, struct series_iter **out, struct err *err);
enum step series_next(struct series_iter *it, struct series *out, struct err *err);
void series_iter_close(struct series_iter *it); // NULL is fine

/* The same for several threads: one at a time walks over the label sets, each reads the samples of
 * what it took with a reader of its own. An iterator that was walked is not asked by series_next,
 * and outlives its readers. */
struct series_reader;
struct series_place { // one label set and where its samples lie; in the arena of the walk
    struct labels labels;
    size_t n;
    struct series_at {
        uint32_t cursor, at;
    } * at;
};
/* About how many samples all the series have: for a choice, not for a promise. */
uint64_t series_iter_weight(const struct series_iter *it);
enum step series_walk(struct series_iter *it, struct arena *a, struct series_place *out,
                      struct err *err);
/* Does what comes next begin a new stored block, so that two readers need not both unpack one? */
bool series_walk_at_seam(const struct series_iter *it);
/* ticker and stats may be NULL; they belong to the reader's thread. */
struct series_reader *series_reader_open(const struct series_iter *it, struct ticker *ticker,
                                         struct scan_stats *stats);
/* Places in order of the walk, any of them left out. out->n may be 0; out lives until the next
 * call, its labels are the place's. */
MUST_USE bool series_reader_read(struct series_reader *r, const struct series_place *place,
                                 struct series *out, struct err *err);
void series_reader_close(struct series_reader *r); // NULL is fine

struct exemplar {
    struct labels series, labels;
    int64_t t_ms;
    double v;
};
/* Sorted by series, then time; at most limit. */
MUST_USE bool store_exemplars(struct snapshot *snap, const struct series_select *sel, size_t limit,
                              struct arena *a, const struct exemplar **out, size_t *n,
                              struct err *err);
/* metric empty = all; at most limit families, sorted by name. */
MUST_USE bool store_metric_metas(struct snapshot *snap, str metric, size_t limit, struct arena *a,
                                 const struct metric_meta **out, size_t *n, struct err *err);

/* -- names: metrics (series) and logs (streams) alike; matchers may be empty = everything -- */
struct name_select {
    struct matchers matchers;
    int64_t start_ns, end_ns; // both inclusive; files and series that cannot overlap are left out
    size_t limit;             // 0 = none
    struct ticker *ticker;
};
/* Results sorted and unique, in the arena. *cut tells that the limit took effect. */
MUST_USE bool store_label_names(struct snapshot *snap, const struct name_select *sel,
                                struct arena *a, struct strs *out, bool *cut, struct err *err);
MUST_USE bool store_label_values(struct snapshot *snap, str name, const struct name_select *sel,
                                 struct arena *a, struct strs *out, bool *cut, struct err *err);
MUST_USE bool store_label_sets(struct snapshot *snap, const struct name_select *sel,
                               struct arena *a, struct labels_list *out, bool *cut,
                               struct err *err);
struct index_stats {
    uint64_t series, chunks, samples; // or streams, blocks, entries
    uint64_t bytes;                   // logs: raw bytes of lines and metadata
    int64_t min_ms, max_ms;
};
MUST_USE bool store_index_stats(struct snapshot *snap, const struct name_select *sel,
                                struct index_stats *out, struct err *err);
struct volume_steps { // n of step_ns each
    int64_t step_ns;
    size_t n;
    /* The first one begins so long before sel->start_ns, less than step_ns; at or after the
     * smallest time there is. */
    int64_t lead_ns;
};
/* Logs only: calls `visit` with each selected stream and the bytes of its lines and metadata in
 * each step; what lies outside of sel's times or ends later than the last step is left out. A
 * stream comes once for the head and once for each segment that has it. Read from the indexes: a
 * block's bytes count as spread evenly over its time. Labels and bytes live during the call only; a
 * visit that returns false ends the walk with its error. */
typedef bool volume_visit(void *ctx, struct labels stream, const uint64_t *bytes, struct err *err);
MUST_USE bool store_stream_volumes(struct snapshot *snap, const struct name_select *sel,
                                   struct volume_steps steps, volume_visit *visit, void *ctx,
                                   struct err *err);

/* -- logs -- */
#define LOG_SELECT_MUST_MAX 16
struct log_select {
    struct matchers matchers;  // on stream labels
    int64_t start_ns, end_ns;  // [start, end)
    bool backward;             // newest first
    bool want_line, want_meta; // what is not wanted may come empty
    bool no_len;               // line_len is not wanted, either: counting rows then reads no lines
    /* Without lines, metadata and substrings: rows that lie between two neighbours of these times
     * (a < t <= b; ascending, NULL = no such wish) may come as a number, see log_block.t_ns. */
    const int64_t *cuts;
    size_t n_cuts;
    /* Lines that lack one of the first LOG_SELECT_MUST_MAX of these substrings are left out, those
     * that lack another one may be. */
    const str *must;
    size_t n_must;
    /* A hint: lines may be left out whose metadata and stream labels both lack one of these. */
    const struct label *must_meta;
    size_t n_must_meta;
    struct ticker *ticker;
    struct scan_stats *stats;
    struct crew *crew; // reads ahead with idle threads; may be NULL. The answer is the same
};
struct log_block {
    struct labels stream;
    uint64_t stream_hash; // labels_hash(stream)
    size_t n;
    /* In the asked direction; equal times in order of arrival (reversed when backward). NULL: the
     * rows are only counted, all between two neighbours of `cuts`. */
    const int64_t *t_ns;
    int64_t t0_ns, t1_ns;      // counted rows: these times and between, and
    uint64_t n_bytes;          // bytes of their lines
    const str *line;           // NULL when not wanted
    const struct labels *meta; // NULL when not wanted
    const uint32_t *line_len;  // bytes of each line; NULL with no_len
    int64_t bound_ns;          // every row of later blocks is <= (backward) or >= (forward) this
};
struct log_iter;
/* Blocks of one stream each, ordered by their bound, so that a consumer with `limit` rows can stop
 * early. */
MUST_USE bool log_iter_open(struct snapshot *snap, const struct log_select *sel,
                            struct budget *budget, struct log_iter **out, struct err *err);
enum step log_next(struct log_iter *it, struct log_block *out, struct err *err);
/* Rows before t_ns (backward) or behind it (forward) need not come any more: they are not decoded,
 * though some may still be among the blocks. */
void log_iter_until(struct log_iter *it, int64_t t_ns);
void log_iter_close(struct log_iter *it);

/* -- logs as they arrive: every record once, whatever its time, however late -- */
struct log_tail; // a place in the order of arrival of one tenant's logs
/* Begins at what arrives from now on; with from_begin at what is not in segments yet. ERR_LIMIT:
 * the tenant has `max` already, in Loki's words. Belongs to one thread at a time. While it is open
 * it keeps in memory what arrived since it was read last, at most LIMIT_TAIL_PINS generations. */
MUST_USE bool log_tail_open(struct store *s, struct store_tenant *t, bool from_begin, size_t max,
                            struct log_tail **out, struct err *err);
/* Number of the tenant's newest batch; rises as data arrive. Lock-free, never blocks, any thread.
 */
uint64_t log_tail_arrived(const struct log_tail *t);
/* Number of the batch that was read last. */
uint64_t log_tail_place(const struct log_tail *t);
/* Gives the rows of all batches after the place, up to `last`, by stream (a stream comes at most
 * once per generation), times ascending, and moves the place there, also when visit fails. Blocks
 * live during the call of visit only; a visit that returns false ends the walk with its error.
 * Repeated records among them come once. *missed (may be NULL): some had gone before they were
 * read. Scratch memory counts on `budget` (may be NULL). */
typedef bool log_tail_visit(void *ctx, const struct log_block *b, struct err *err);
MUST_USE bool log_tail_read(struct log_tail *t, uint64_t last, struct matchers m,
                            struct budget *budget, log_tail_visit *visit, void *ctx, bool *missed,
                            struct err *err);
void log_tail_close(struct log_tail *t); // NULL is fine; before store_close

/* -- traces -- */
enum attr_scope { ATTR_SPAN, ATTR_RESOURCE, ATTR_EVENT, ATTR_LINK, ATTR_INSTRUMENTATION };
#define ATTR_SCOPE_COUNT 5
enum span_field { // columns that a selection can ask for besides the fixed ones
    FIELD_ATTR,   // scope + key
    FIELD_NAME,
    FIELD_STATUS_MESSAGE,
    FIELD_TRACE_STATE,
    FIELD_SCOPE_NAME,
    FIELD_SCOPE_VERSION,
    FIELD_EVENT_NAME,        // multi-valued
    FIELD_EVENT_SINCE_START, // multi-valued, INT ns
    FIELD_LINK_TRACE_ID,     // multi-valued, BYTES
    FIELD_LINK_SPAN_ID,      // multi-valued, BYTES
};
struct span_column_ref {
    enum span_field field;
    enum attr_scope scope; // FIELD_ATTR only
    str key;               // FIELD_ATTR only
};
/* Coded values: row i has dict[code[i]], or nothing when code[i] == SPAN_NO_VALUE. Multi-valued
 * columns have row_start[n + 1] and codes of row i at [row_start[i], row_start[i + 1]). */
#define SPAN_NO_VALUE UINT32_MAX
struct span_column {
    const uint32_t *code;
    const uint32_t *row_start; // NULL = single-valued
    const struct value *dict;
    uint32_t n_dict;
};
/* Conditions the storage may use to skip; the consumer checks again. */
enum span_cond_op {
    COND_EXISTS,
    COND_EQ,
    COND_NE,
    COND_LT,
    COND_LE,
    COND_GT,
    COND_GE,
    COND_RE,
    COND_NRE
};
enum span_cond_field { COND_COLUMN, COND_DURATION, COND_KIND, COND_STATUS, COND_IS_ROOT };
struct span_cond {
    enum span_cond_field field;
    struct span_column_ref column; // COND_COLUMN only
    enum span_cond_op op;
    struct value value;     // INT for duration (ns), kind, status
    const struct regex *re; // RE, NRE
};
struct span_select {
    int64_t start_ns,
        end_ns; // [start, end): spans that overlap (start <= end_ns and end >= start_ns)
    const struct span_column_ref *columns;
    size_t n_columns;
    const struct span_cond *conds;
    size_t n_conds;
    bool all_conds;    // a span must meet all (else any); n_conds 0 = no restriction
    bool whole_traces; // every trace that has a candidate span comes once and complete, all its
                       // spans
    bool no_durations; // duration_ns of the blocks is NULL, unless whole traces are asked for
    const uint8_t *trace_id; // only this trace; may be NULL
    struct ticker *ticker;
    struct scan_stats *stats;
    struct crew *crew; // reads ahead with idle threads; may be NULL. The answer is the same
};
struct span_block {
    size_t n; // rows grouped by trace, in a trace by start
    const uint8_t (*trace_id)[16];
    const uint8_t (*span_id)[8];
    const uint8_t (*parent_id)[8];
    const int64_t *start_ns, *duration_ns;
    const uint8_t *kind, *status;
    const struct span_column *columns; // as asked
    size_t n_traces;
    const uint32_t *trace_start; // n_traces + 1
    int64_t newest_ns;           // no later block has a span that starts after this
};
struct span_iter;
/* Blocks newest first (by their newest start). With whole_traces=false rows may belong to traces of
 * other blocks, too, and rows that fail the conditions may be left out. */
MUST_USE bool span_iter_open(struct snapshot *snap, const struct span_select *sel,
                             struct budget *budget, struct span_iter **out, struct err *err);
enum step span_next(struct span_iter *it, struct span_block *out, struct err *err);
void span_iter_close(struct span_iter *it);

/* The whole trace with everything, duplicates (span id, kind) removed, spans by start. n_spans 0 =
 * unknown. Range narrows the files looked at. Above max_bytes the rest is left out and *partial
 * set. */
MUST_USE bool store_trace(struct snapshot *snap, const uint8_t trace_id[16],
                          struct time_range range, size_t max_bytes, struct arena *a,
                          struct span_set *out, bool *partial, struct err *err);
/* Attribute keys of a scope, and values of one column with their kinds; most frequent may be cut at
 * limit. Sorted. */
MUST_USE bool store_tag_names(struct snapshot *snap, enum attr_scope scope, struct time_range range,
                              size_t limit, struct arena *a, struct strs *out, struct err *err);
MUST_USE bool store_tag_values(struct snapshot *snap, struct span_column_ref column,
                               struct time_range range, size_t limit, struct arena *a,
                               const struct value **out, size_t *n, struct err *err);

/* ---- deleting ---- */

/* What to delete of metrics or logs: records with times in [t0, t1] of the series (streams) whose
 * labels meet all matchers, as far as they were stored before the call. What is written later
 * stays, whatever its time. Of logs, where there are filters, only the lines that pass all of
 * them. */
enum text_op { TEXT_HAS, TEXT_LACKS, TEXT_RE, TEXT_NRE }; // |= != |~ !~
struct deletion_filter {
    enum text_op op;
    str text;
};
struct deletion {
    enum signal signal;
    struct matchers matchers;
    int64_t t0_ns, t1_ns; // both inclusive
    const struct deletion_filter *filters;
    size_t n_filters;
    str note;       // the caller's words, for lists: the query
    int64_t due_ns; // Unix ns: bytes stay until then, so that it can be canceled; 0 = none waits
    // below: told by store_deletions, ignored by store_delete
    uint32_t id; // of this tenant, never used again
    int64_t created_ns;
    bool is_done; // no file holds any of it
};
/* Returns when nothing of it is visible to later snapshots, durably: whatever is in memory is
 * sealed first (so it takes as long as the disk needs for that). Removing the bytes is the keeper's
 * work: files that hold some are written anew without them, or expire. Metrics: exemplars go, too.
 * Labels of series that are hidden for a part of a file's time stay listed until then.
 * ERR_INVALID: no matchers, a bad regex, times the wrong way round; ERR_LIMIT: LIMIT_DELETIONS
 * wait to be done; ERR_UNSUPPORTED: traces; else the disk's errors: not deleted, try again. */
MUST_USE bool store_delete(struct store *s, struct store_tenant *t, const struct deletion *d,
                           uint32_t *id, struct err *err);
/* Shows again what is still there. ERR_NOT_FOUND; ERR_INVALID: done, or due and not `force`d. */
MUST_USE bool store_delete_cancel(struct store *s, struct store_tenant *t, uint32_t id, bool force,
                                  struct err *err);
/* All that wait, and the last LIMIT_DELETIONS_DONE that are done; by id, in the arena. Matchers
 * have no regexes: for printing. */
void store_deletions(struct store *s, struct store_tenant *t, struct arena *a,
                     const struct deletion **out, size_t *n);
/* Removes the bytes of all deletions that are due, in the calling thread. */
MUST_USE bool store_delete_finish(struct store *s, struct err *err);

/* ---- care ---- */

/* New rules from now on: takes retention_ns, max_bytes, max_bytes_total, free_bytes_min, classes
 * and window_past_ns of the options, nothing else; copies. Segments stay in the class that they
 * were sealed into; those of a class that the rules do not name live as long as their signal's
 * others. ERR_INVALID: a class cannot be; nothing has changed. */
MUST_USE bool store_retention_set(struct store *s, const struct store_options *o, struct err *err);

/* Runs everything that is due now in the calling thread: seal, compact, retain. `force_seal`
 * freezes and seals all heads first. What no_background stores do on their own is only this. */
MUST_USE bool store_maintain(struct store *s, bool force_seal, struct err *err);
/* Somebody found no memory: the largest head is sealed early. Any thread; does not wait. */
void store_make_room(struct store *s);
/* Everything of the signal that was stored before the call is in segments then, and its log is
 * gone. ERR_BUSY: it does not end; else the disk's errors. Any thread. */
MUST_USE bool store_seal(struct store *s, enum signal signal, struct err *err);

/* What bytes are written for. Log bytes are whole pages of 4 KiB, again with each sync that they
 * are part of, because that is what a disk writes. */
enum write_purpose { WRITE_LOG, WRITE_SEAL, WRITE_COMPACT };
#define WRITE_PURPOSE_COUNT 3

struct store_signal_stats {
    uint64_t records, rejected, bytes_in;      // since start
    uint64_t refused[REFUSALS];                // since start
    uint64_t head_bytes, head_records, series; // series or streams
    uint64_t segments, segment_bytes;
    uint64_t wal_bytes;                  // on disk now
    uint64_t sealed, compacted, expired; // segments, since start
    int64_t oldest_ns;
    uint64_t written[WRITE_PURPOSE_COUNT];     // bytes, since start
    uint64_t written_day[WRITE_PURPOSE_COUNT]; // in the last 24 hours
};
struct store_stats {
    struct store_signal_stats signal[SIGNAL_COUNT];
    uint64_t written_wal, written_seal, written_compact; // bytes, since start
    uint64_t syncs, replayed_records, replay_ns;
    /* Files that were set aside count at every start, until somebody removes them. */
    uint64_t corrupt_segments; // since start: set aside, or with a name that is none
    uint64_t damaged_log;     // at start: log files that ended too early, records nobody could read
    uint64_t log_cut_bytes;   // at start: unfinished bytes at the end of the logs
    uint64_t disk_full;       // 0 or 1: refusing writes
    uint64_t disk_full_times; // since start
    unsigned write_stretch;   // percent: intervals now, by the write budget; 100 = as they are set
};
void store_stats(struct store *s, struct store_stats *out);

/* Memory that SQLite holds, of all stores of this process; no budget counts it. Any thread. */
uint64_t store_sqlite_bytes(void);

/* Segments by class: one entry per signal and class that is configured or has segments, the default
 * class (empty name) of each signal first. In the arena. */
struct store_class_stats {
    enum signal signal;
    str name;
    bool is_configured; // true of the default class, too
    uint64_t segments, segment_bytes;
    int64_t oldest_ns; // 0 without segments
};
void store_class_stats(struct store *s, struct arena *a, const struct store_class_stats **out,
                       size_t *n);

/* Offline: every checksum and invariant below dir. Findings go through `say` (one line each); true
 * when all is well, *faults counts. */
MUST_USE bool store_check(struct fs *fs, str dir, void (*say)(void *ctx, const char *line),
                          void *ctx, uint64_t *faults, struct err *err);

/* Copies the directory `from`, which a server may be using, to `to`, which is empty or an earlier
 * backup of the same store; afterwards `to` is a data directory with everything that was
 * acknowledged before the call. Segments that are there already are not copied again (unless a
 * store was opened in `to` since), files that went go from the copy, too. On an error, or when the
 * process is killed, `to` is what it was before. ERR_INVALID: the folders do not fit; ERR_BUSY:
 * `to` is in use, or `from` never stood still. */
struct store_backup_options {
    struct fs *fs;
    str from, to; // absolute, without links
    str name;     // of the source, kept in the copy to tell it from others: its path
    void (*say)(void *ctx, const char *line); // progress; may be NULL
    void *ctx;
    const atomic_bool *cancel; // may be NULL
};
struct store_backup_stats {
    uint64_t files; // in the copy
    uint64_t copied_files, copied_bytes, removed_files;
    unsigned rounds;
};
MUST_USE bool store_backup(const struct store_backup_options *o, struct store_backup_stats *out,
                           struct err *err);
