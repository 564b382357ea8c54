/* source.h - the samples behind selectors and subqueries, one series at a time, and the geometry
 * of the windows that functions look at. Private to this folder.
 *
 * Samples of a selector come straight from the storage iterator and die with the next series; what
 * is kept of them is copied by whoever keeps it. */
#pragma once

#include "query/promql/eval.h"

struct geometry {
    bool fixed; // @: the same window at every step
    int64_t at_ms;
    int64_t offset_ms;
    int64_t range_ms; // window (end - range, end]; the lookback for instant selectors
    enum extend extend;
    int64_t before_ms, after_ms; // further reach of anchored and smoothed windows
};

struct samples { // of one series, stale markers removed
    struct labels labels;
    bool drop_name;
    size_t n;
    const int64_t *t_ms;
    const double *v;
    const struct hist *const *h; // NULL: floats only; h[i] NULL: a float
    const int64_t *start_ms;     // 0 = unknown; NULL: of all unknown
};

typedef bool samples_fn(void *ctx, const struct samples *s, struct err *err);

/* What becomes of series. With `copy`, other threads may help: fn then makes at most one row of a
 * series, gives it to the sink of its ctx, and looks at nothing but the series and its ctx. */
struct series_use {
    samples_fn *fn;
    void *ctx;
    struct row_sink *sink; // where rows go
    /* A ctx for another thread, whose e and sink these are; in the arena. NULL: this thread only.
     */
    void *(*copy)(const void *ctx, struct eval *e, struct row_sink *sink, struct arena *a);
    void (*free)(void *copy);         // NULL: there is nothing to free
    const struct value_range *wanted; // series without such a value need not come; NULL: all
};

/* n: NODE_SELECTOR, NODE_MATRIX, NODE_SUBQUERY. */
MUST_USE bool geometry_of(const struct eval *e, const struct node *n, struct geometry *out,
                          struct err *err);
/* Right end of the window of step i. */
static inline int64_t window_end(const struct eval *e, const struct geometry *g, size_t i)
{
    return (g->fixed ? g->at_ms : grid_time(e->grid, i)) - g->offset_ms;
}
/* Calls use->fn with every series that has samples in reach of the grid, in order of their labels;
 * with helpers as if in order. keep_stale: markers stay (instant selectors need them). */
MUST_USE bool each_series(struct eval *e, const struct node *n, const struct geometry *g,
                          bool keep_stale, const struct series_use *use, struct err *err);
/* The reset hint of h, found by looking at the sample before where it is unknown. */
enum hist_reset derived_hint(const struct hist *before, const struct hist *h);
/* Opens the snapshot of the query for everything that the tree can reach. */
MUST_USE bool source_open(struct eval *e, const struct node *root, struct err *err);
/* What an instant selector shows of its samples: times are in seconds. */
struct sieve;
enum pick { PICK_VALUE, PICK_TIME, PICK_START };
/* The rows of an instant selector, those that pass the sieve (may be NULL). */
MUST_USE bool selector_rows(struct eval *e, const struct node *n, enum pick pick,
                            const struct sieve *sieve, struct row_sink *sink, struct err *err);
/* The same as a matrix. */
MUST_USE bool eval_selector(struct eval *e, const struct node *n, enum pick pick,
                            struct matrix *out, struct err *err);
/* A range expression at the one time of the grid, as samples. */
MUST_USE bool eval_range_result(struct eval *e, const struct node *n,
                                const struct promql_series **out, size_t *n_out, struct err *err);
