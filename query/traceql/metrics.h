/* metrics.h - series of numbers over the steps of a range, as the parts of TraceQL metrics pass
 * them on. Memory is the query's arena; a cell without a sample is CELL_NONE. */
#pragma once

#include "query/traceql/spanset.h"
#include "storage/model/sample.h"

#define CELL_NONE       f64_from_bits(STALE_NAN_BITS)
#define IS_CELL_NONE(v) is_stale(v)
#define TQ_NAME_LABEL   STR("__name__")

/* Interval i covers (start + (i - 1) * step, start + i * step]; instant: [start, end] is interval
 * 0.
 */
struct tq_grid {
    int64_t start_ns, end_ns, step_ns;
    bool is_instant;
    size_t n;
    double seconds; // what rates are divided by
};
/* The interval of a span's start; false outside. */
static inline bool tq_grid_find(const struct tq_grid *g, int64_t t_ns, size_t *out)
{
    if (g->is_instant) {
        *out = 0;
        return t_ns >= g->start_ns && t_ns <= g->end_ns;
    }
    if (t_ns <= g->start_ns - g->step_ns || t_ns > g->end_ns)
        return false;
    *out = t_ns <= g->start_ns ? 0 : (size_t)((t_ns - g->start_ns + g->step_ns - 1) / g->step_ns);
    return true;
}

struct tq_series {
    struct traceql_attr *labels;
    size_t n_labels;
    double *v; // grid.n
    const struct traceql_exemplar *exemplars;
    size_t n_exemplars;
};

struct tq_matrix {
    VEC(struct tq_series) series;
    bool is_cut; // groups beyond the limit are missing
};

struct tq_run { // one query_range or instant query
    struct query *q;
    const struct traceql_metrics *params;
    struct tq_grid grid;
    size_t max_series, max_exemplars;
    bool extrapolate; // spans count by their sampling
    uint64_t inspected_traces, inspected_spans;
};

/* Walks the spans that a query's pipeline leaves and whose start lies in the grid: visit gets the
 * row and its interval. */
struct tq_walk {
    struct tq_run *run;
    const struct tq_metrics *m;
    struct tq_plan plan;
    bool whole_traces;
    void (*begin_block)(void *ctx, struct tq_block *t); // may be NULL
    bool (*visit)(void *ctx, struct tq_block *t, uint32_t row, size_t step, struct err *err);
    void *ctx;
};
MUST_USE bool tq_walk_run(struct tq_walk *w, struct err *err);
/* A row of cells with one value; NULL and ERR_LIMIT when there is no room. */
MUST_USE bool tq_cells(struct tq_run *run, double fill, double **out, struct err *err);
struct tq_series *tq_series_add(struct tq_run *run, struct tq_matrix *m, size_t max_labels,
                                double *v);
void tq_series_label(struct tq_series *s, str key, struct traceql_value value);
/* Drops series without a sample. */
void tq_matrix_compact(struct tq_run *run, struct tq_matrix *m);

/* metrics.c: rate ... histogram_over_time of one query, without its second stages. */
MUST_USE bool tq_run_function(struct tq_run *run, const struct tq_metrics *m, struct tq_matrix *out,
                              struct err *err);
/* compare.c */
MUST_USE bool tq_run_compare(struct tq_run *run, const struct tq_metrics *m, struct tq_matrix *out,
                             struct err *err);
/* second.c: filters and ranks in place, arithmetic. */
MUST_USE bool tq_run_seconds(struct tq_run *run, const struct tq_metrics *m,
                             struct tq_matrix *inout, struct err *err);
MUST_USE bool tq_run_math(struct tq_run *run, enum tq_op op, const struct tq_matrix *l,
                          const struct tq_matrix *r, struct tq_matrix *out, struct err *err);
/* scalar_left: value op series, else series op value; in place. */
void tq_run_scalar(struct tq_run *run, enum tq_op op, double value, bool scalar_left,
                   struct tq_matrix *inout);
