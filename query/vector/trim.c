/* trim.c - cutting a native histogram at a value.
 *
 * Interpolation: logarithmic inside exponential buckets, linear in the zero bucket and between
 * custom bounds. The first custom bucket is taken to start at 0 when it ends above. A bucket that
 * reaches to infinity cannot be cut: it stays as a whole when what is kept reaches there, too, and
 * goes otherwise. */
#include "query/vector/trim.h"

#include <math.h>

struct ends { // of one bucket, as far as interpolation is concerned
    double lower, upper;
    bool linear;
};

static struct ends ends_of(const struct hist *h, const struct hist_bucket *b)
{
    bool custom = h->schema == HIST_SCHEMA_CUSTOM;
    struct ends e = {b->lower, b->upper, custom || b->is_zero};
    if (b->is_zero && h->neg.n == 0 && h->pos.n > 0)
        e.lower = 0;
    else if (b->is_zero && h->pos.n == 0 && h->neg.n > 0)
        e.upper = 0;
    else if (custom && isinf(e.lower) && e.upper > 0)
        e.lower = 0;
    return e;
}

static double middle(struct ends e)
{
    if (isinf(e.lower))
        return e.upper;
    if (isinf(e.upper))
        return e.lower;
    if (e.linear)
        return e.lower + (e.upper - e.lower) / 2;
    double m = sqrt(e.lower * e.upper);
    return e.upper <= 0 ? -m : m;
}

static double share_below(struct ends e, double at)
{
    if (e.linear)
        return (at - e.lower) / (e.upper - e.lower);
    double lower = log2(fabs(e.lower)), upper = log2(fabs(e.upper));
    return (log2(fabs(at)) - lower) / (upper - lower);
}

/* What stays of a bucket; *part are the ends of that part. */
static double keep(const struct hist_bucket *b, struct ends e, double at, bool upper,
                   struct ends *part)
{
    *part = e;
    if (e.upper <= at)
        return upper ? b->count : 0;
    if (e.lower >= at)
        return upper ? 0 : b->count;
    if (upper)
        part->upper = at;
    else
        part->lower = at;
    if (isinf(e.upper))
        return upper || isinf(b->lower) ? 0 : b->count;
    if (isinf(e.lower))
        return upper ? b->count : 0;
    double below = share_below(e, at);
    return b->count * (upper ? below : 1 - below);
}

struct hist hist_trim(struct arena *a, const struct hist *h, double at, bool upper)
{
    size_t max = hist_bucket_max(h), n_neg = 0, kept = 0;
    struct hist_bucket *b = arena_array(a, struct hist_bucket, max);
    size_t n = hist_buckets(h, b, max);
    int64_t *idx = arena_array(a, int64_t, n);
    double *counts = arena_array(a, double, n);
    double count = 0, sum = 0, zero = 0;
    bool changed = false;
    if (isnan(at)) // nothing is below or above NaN
        at = upper ? -INFINITY : INFINITY;
    for (size_t i = 0; i < n; i++) {
        struct ends part;
        double left = keep(&b[i], ends_of(h, &b[i]), at, upper, &part);
        changed |= left != b[i].count;
        count += left;
        if (left != 0)
            sum += left * middle(part);
        if (b[i].is_zero) {
            zero = left;
            continue;
        }
        n_neg += b[i].upper <= 0 && h->schema != HIST_SCHEMA_CUSTOM;
        idx[kept] = b[i].idx;
        counts[kept++] = left;
    }
    if (!changed)
        return *h;
    struct hist out = hist_from_buckets(a, h, idx, counts, n_neg, kept);
    out.zero_count = zero;
    out.count = count;
    out.sum = sum;
    return out;
}
