/* quantile.h - quantiles and fractions of value lists, classic buckets (le) and native histograms.
 */
#pragma once

#include "query/vector/matrix.h"

/* Linear interpolation between closest ranks; sorts v. q < 0: -Inf, > 1: +Inf, n 0 or NaN: NaN. */
double quantile_values(double q, double *v, size_t n);

struct bucket {
    double upper, count; // cumulative
};
/* Buckets that were lifted to the count of the one before by more than the noise of floats. */
struct forced {
    bool any;
    double lowest, highest; // their bounds
    double diff;            // the largest lift
};
/* Sorts, merges equal bounds, makes monotonic; *forced tells of visible corrections. NaN without
 * +Inf bucket. A fraction takes the counts as they are, as upstream. */
double quantile_buckets(double q, struct bucket *b, size_t n, struct forced *forced);
double fraction_buckets(double lower, double upper, struct bucket *b, size_t n);
double quantile_hist(double q, const struct hist *h);
double fraction_hist(double lower, double upper, const struct hist *h);
/* histogram_quantile over a matrix: groups classic buckets by all labels but le, handles native
 * cells, warns. */
MUST_USE bool quantile_eval(struct query *q, const double *phi, const struct matrix *in,
                            struct matrix *out, struct err *err);
MUST_USE bool fraction_eval(struct query *q, const double *lower, const double *upper,
                            const struct matrix *in, struct matrix *out, struct err *err);
