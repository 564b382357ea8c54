/* start.h - what the start times of samples ("counting began then") say about a counter. Private to
 * this folder.
 *
 * A start time that is not before its own sample counts as unknown. */
#pragma once

#include "query/promql/rollup.h"

static inline bool start_known(int64_t start_ms, int64_t t_ms)
{
    return start_ms != 0 && start_ms < t_ms;
}
/* Did the counter begin anew between samples i - 1 and i (i > 0)? It did when counting began after
 * the sample before, or at it, if that one has a start time, too: so look deltas. */
static inline bool start_resets(const int64_t *start_ms, const int64_t *t_ms, size_t i)
{
    return start_ms != NULL && start_known(start_ms[i], t_ms[i]) &&
           (start_ms[i] > t_ms[i - 1] ||
            (start_ms[i] == t_ms[i - 1] && start_known(start_ms[i - 1], t_ms[i - 1])));
}
/* Was the counter 0 inside (from_ms, t_ms), as the window's first sample says? */
static inline bool start_inside(int64_t from_ms, int64_t start_ms, int64_t t_ms)
{
    return start_known(start_ms, t_ms) && start_ms > from_ms;
}
/* Does a start time lie before the sample before, but is not the one that that sample has? start_ms
 * NULL: no. */
bool start_overlaps(const int64_t *start_ms, const int64_t *t_ms, size_t n);
