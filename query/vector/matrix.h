/* matrix.h - series x steps: what all metric expressions evaluate to, over the whole range at once.
 *
 * A cell is absent when v[i] is the stale-marker NaN and (h NULL or h[i] NULL); a histogram cell
 * has h[i] set (v[i] then is the stale marker, too). An instant vector is a matrix with grid.n
 * == 1. A scalar is one series without labels (is_scalar). Everything is in the query's arena;
 * inputs are never changed unless a function says it consumes them. */
#pragma once

#include "query/query.h"
#include "storage/model/sample.h"

struct mseries {
    struct labels labels;
    double *v;             // grid.n cells
    const struct hist **h; // NULL, or grid.n cells
    bool drop_name;        // delayed removal of __name__ (PromQL)
};

struct matrix {
    struct grid grid;
    VEC(struct mseries) series;
    bool is_scalar;
};

#define CELL_ABSENT f64_from_bits(STALE_NAN_BITS)
static inline bool cell_present(const struct mseries *s, size_t i)
{
    return !is_stale(s->v[i]) || (s->h && s->h[i]);
}
static inline const struct hist *cell_hist(const struct mseries *s, size_t i)
{
    return s->h ? s->h[i] : NULL;
}

void matrix_init(struct matrix *m, struct grid grid);
/* New series with all cells absent; labels borrowed. Budget is checked: ERR_LIMIT. */
MUST_USE bool matrix_add(struct query *q, struct matrix *m, struct labels labels,
                         struct mseries **out, struct err *err);
void mseries_set_hist(struct query *q, const struct matrix *m, struct mseries *s, size_t i,
                      const struct hist *h);
MUST_USE bool matrix_scalar(struct query *q, struct grid grid, double value, struct matrix *out,
                            struct err *err);
/* Drops series without any present cell. */
void matrix_compact(struct matrix *m);
/* Makes one series of those with equal labels (and drop_name); a common step: ERR_EXEC as below. */
MUST_USE bool matrix_merge(struct query *q, struct matrix *m, struct err *err);
/* Removes __name__ where drop_name is set; two series that fall together and have a cell at the
 * same step: ERR_EXEC "vector cannot contain metrics with the same labelset". */
MUST_USE bool matrix_finish_names(struct query *q, struct matrix *m, struct err *err);
void matrix_sort_labels(struct matrix *m); // labels_cmp
/* Instant vectors only: by value, NaN last; desc turns it. Stable. */
void matrix_sort_value(struct matrix *m, bool desc);
/* Natural sort by the given labels, then all labels. */
void matrix_sort_by_label(struct query *q, struct matrix *m, const str *names, size_t n, bool desc);
