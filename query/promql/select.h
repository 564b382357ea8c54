/* select.h - the series of a selector, one after the other, with the help of idle threads where it
 * pays. Private to this folder. */
#pragma once

#include "query/promql/source.h"

/* Calls use->fn with every series that has samples, in order of the labels. keep_stale: stale
 * markers stay among them. */
MUST_USE bool select_series(struct eval *e, const struct series_select *select, bool keep_stale,
                            const struct series_use *use, struct err *err);
