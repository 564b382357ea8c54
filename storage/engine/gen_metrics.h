/* gen_metrics.h - the samples of one generation of a metrics head: chunk blocks, timestamp streams,
 * out-of-order samples, exemplars, metadata.
 *
 * Per series 32 bytes and a chain of 64-byte blocks with tokens (about 1.7 bytes a sample; a value
 * that repeats costs a 127th of a byte). Timestamps are kept once per stream: series that arrive
 * with equal times share one, and a token only says "the next time".
 *
 * Threads: no lock of its own. The writer changes the active generation under the head's write
 * lock, readers of it hold the read lock; a frozen one is immutable. gen_metrics_stats is atomic.
 */
#pragma once

#include "storage/base/hmap.h"
#include "storage/base/vec.h"
#include "storage/engine/signal.h"

#define GEN_PAGE_BITS 10
#define GEN_PAGE_IDS  (1u << GEN_PAGE_BITS)

struct gen_series {
    uint32_t first, last; // blocks; 0 = none
    uint32_t stream, at;  // stream and position of the newest sample
    uint32_t n;           // samples in the chunk
    uint8_t used;         // bytes used in the last block
    uint8_t exponent;     // decimal mode: value = m / 10^exponent
    uint8_t flags;        // SERIES_*
    uint8_t skips;        // how often it had to skip times of its stream, saturating
    int64_t value;        // decimal mode: m of the newest value; xor mode: its bits
};
enum {
    SERIES_LOGGED = 1,  // the log of this generation (as written by this process) defines its id
    SERIES_XOR = 2,     // values are no short decimals
    SERIES_RUN = 4,     // the last byte is a run token that can grow
    SERIES_HISTS = 8,   // has native histograms (chunk or late samples)
    SERIES_LATE = 16,   // has late samples
    SERIES_STARTS = 32, // has start times in its chunk
};

struct gen_stream { // ascending times
    int64_t base;
    uint32_t *after; // ms after base: 49 days fit, then the series goes to another stream
    uint32_t n, cap;
};
static inline int64_t gen_stream_time(const struct gen_stream *st, uint32_t i)
{
    return st->base + st->after[i];
}

/* A sample that came out of order (or again for the time of the newest one). */
struct gen_late {
    int64_t t_ms, start_ms;
    double v;
    const struct hist *h; // NULL = float; in the generation's arena
};
struct gen_late_list {
    uint32_t id;
    struct gen_late *v;
    size_t n, cap;
};

/* Start times of a series that has any: what the newest sample has, and how that goes on. */
struct gen_start {
    int64_t start_ms;
    uint8_t kind; // enum start_kind
};

/* The end of a sample of a long chunk: where reading can begin. */
struct gen_mark {
    int64_t value;
    uint32_t before;     // the mark before of the series, 0 = none
    uint32_t block;      // the next token is behind `used` of it
    uint32_t stream, at; // of that sample
    uint8_t used, exponent;
    bool is_xor;
};

struct gen_exemplar {
    uint32_t id;
    int64_t t_ms;
    double v;
    struct labels labels; // in the generation's arena
};

struct gen {
    struct head *head;
    struct gen *next, **link; // the head's list of open generations
    struct budget *budget;
    struct gen_series **pages; // by id
    size_t n_pages, cap_pages;
    struct gen_start **starts; // pages by id, as `pages`; NULL until there is one
    size_t cap_starts;
    struct gen_mark **mark_slabs; // numbers from 1
    uint32_t **newest_marks;      // pages by id; NULL until there is one
    size_t cap_mark_slabs, cap_newest_marks;
    uint32_t n_marks;
    struct gen_block **slabs;
    size_t n_slabs, cap_slabs;
    uint32_t n_blocks;
    VEC(struct gen_stream) streams;
    VEC(struct gen_late_list) late;
    struct hmap late_map;
    struct arena arena; // late histograms, exemplar labels, metadata
    size_t arena_counted;
    VEC(struct gen_exemplar) exemplars;
    VEC(struct metric_meta) metas;
    struct hmap meta_map;
    // where the sample before went: samples of one request mostly share their time
    uint32_t hint_stream, hint_at;
    // atomics: read by any thread
    _Atomic uint64_t bytes, rows;
    _Atomic int64_t t0_ms, t1_ms;
};

struct gen *gen_metrics_open(struct head *head, struct budget *budget);
void gen_metrics_close(struct gen *g);
void gen_metrics_stats(struct gen *g, struct gen_stats *out);

/* Appends one sample; late ones go aside. h NULL = float. Copies h. start_ms: when the counting
 * that led to it began, 0 = unknown. */
void gen_metrics_add(struct gen *g, uint32_t id, int64_t t_ms, double v, const struct hist *h,
                     int64_t start_ms);
void gen_metrics_add_exemplar(struct gen *g, uint32_t id, int64_t t_ms, double v,
                              struct labels labels);
/* Newer metadata of a family replaces older. */
void gen_metrics_add_meta(struct gen *g, const struct metric_meta *meta);
const struct metric_meta *gen_metrics_meta(const struct gen *g, str name); // NULL: not known

/* gen_marks.c. Before a sample is added to the chunk of a series: marks where it stands, when it is
 * long enough. */
void gen_mark_put(struct gen *g, struct gen_series *s, uint32_t id);
/* The newest mark with no sample from start_ms on before it; NULL: none. It knows nothing of start
 * times. */
const struct gen_mark *gen_mark_find(const struct gen *g, uint32_t id, int64_t start_ms);
void gen_marks_free(struct gen *g);
/* What the generation takes, in its statistics and its budget. */
void gen_count_bytes(struct gen *g, size_t plus, size_t minus);

/* The record of an id, NULL when the generation knows nothing of it. */
static inline struct gen_series *gen_series(const struct gen *g, uint32_t id)
{
    size_t page = id >> GEN_PAGE_BITS;
    return page < g->n_pages && g->pages[page] != NULL ? &g->pages[page][id & (GEN_PAGE_IDS - 1)]
                                                       : NULL;
}
static inline bool gen_has(const struct gen *g, uint32_t id) // any sample
{
    const struct gen_series *s = gen_series(g, id);
    return s != NULL && (s->n > 0 || (s->flags & SERIES_LATE) != 0);
}
/* First and last time of an id's samples; false: none. Reads no tokens. */
bool gen_metrics_bounds(const struct gen *g, uint32_t id, int64_t *t0_ms, int64_t *t1_ms);
void gen_metrics_mark_logged(struct gen *g, uint32_t id);

/* Samples in the making: parallel heap arrays. */
struct samples {
    int64_t *t;
    double *v;
    const struct hist **h; // valid up to n when has_hists
    int64_t *start;        // start times, 0 = unknown; valid up to n when has_starts
    size_t n, cap, cap_start;
    size_t sorted; // times of [0, sorted) are known to ascend
    bool has_hists, has_starts;
    bool maybe_markers;    // set by whoever adds what may be a stale marker, kept by nobody else
    struct budget *budget; // counts cap; may be NULL
};
void samples_reserve(struct samples *s, size_t more);
void samples_clear(struct samples *s); // keeps the memory
/* Only the first n stay; what is pushed next may be older. */
static inline void samples_cut(struct samples *s, size_t n)
{
    s->n = n;
    s->sorted = MIN(s->sorted, n);
}
void samples_deinit(struct samples *s);
/* From here on s->h is valid (NULL up to n). */
void samples_want_hists(struct samples *s);
static inline void samples_push(struct samples *s, int64_t t, double v, const struct hist *h)
{
    if (UNLIKELY(s->n == s->cap))
        samples_reserve(s, 1);
    s->t[s->n] = t;
    if (UNLIKELY(h != NULL && !s->has_hists))
        samples_want_hists(s);
    s->v[s->n] = v;
    if (UNLIKELY(s->has_hists))
        s->h[s->n] = h;
    if (UNLIKELY(s->has_starts))
        s->start[s->n] = 0;
    s->n++;
}
/* Room for start times up to cap: from here on s->start is valid (0 up to n). */
void samples_want_starts(struct samples *s);
/* Of the sample pushed last. */
static inline void samples_set_start(struct samples *s, int64_t start_ms)
{
    if (start_ms == 0)
        return;
    if (!s->has_starts)
        samples_want_starts(s);
    s->start[s->n - 1] = start_ms;
}
/* Sorts by time from position `from` on; of equal times the one that was pushed last stays. */
void samples_settle(struct samples *s, size_t from);

/* Appends the samples of an id in [start_ms, end_ms], sorted, one per time. Histograms lie in the
 * arena. */
void gen_metrics_read(const struct gen *g, uint32_t id, int64_t start_ms, int64_t end_ms,
                      struct arena *a, struct samples *out);

/* A series as its chunk has it when that is all it has: v = m / 10^exponent, no -0. Most are
 * narrow: the first m, then d[i] = m[i] - m[i - 1], as frame_add_deltas takes them; of the others
 * all m. */
struct decimals {
    int64_t *t;
    bool is_narrow;
    int64_t first;          // narrow
    int32_t *d;             // narrow; d[0] means nothing
    int64_t *m;             // not narrow
    int64_t least, largest; // of all m; none of a part of it is beyond
    size_t n, cap;
    uint8_t exponent;
    /* Says which times t holds: the same for the same. 0: times that no other series shares. */
    uint64_t times;
    size_t n_times; // and how many of them t still holds
    uint8_t *chunk; // scratch
    size_t cap_chunk;
};
/* What is read next: a generation is larger than the caches, and its chains of blocks lie as time
 * went by. Called once per series, `ids` being those that follow, it has all of them under way. */
#define GEN_AHEAD 8
struct gen_ahead {
    uint32_t block[GEN_AHEAD];
    size_t at;
};
void gen_metrics_ahead(const struct gen *g, struct gen_ahead *x, const uint32_t *ids, size_t n);
/* All samples of an id in place of those in out. False, and out has none: the id has other samples
 * than decimals (NaN, histograms, start times, ...) or none, or its exponent grew late. */
bool gen_metrics_decimals(const struct gen *g, uint32_t id, struct decimals *out);
void decimals_deinit(struct decimals *d);
