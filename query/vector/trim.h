/* trim.h - the operators </ and >/: a native histogram cut at a value. */
#pragma once

#include "query/vector/matrix.h"

/* Keeps what is below `at` (upper = true: h </ at) or above it. Buckets that are cut in two are
 * interpolated; count is then what is left and sum an estimate from the buckets' middles. */
struct hist hist_trim(struct arena *a, const struct hist *h, double at, bool upper);
