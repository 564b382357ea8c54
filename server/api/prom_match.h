/* prom_match.h - how well a name fits what somebody types, as Prometheus' search API scores it.
 * Scores are from 0 (no match) to 1 (the very name). Over code points. */
#pragma once

#include "storage/base/arena.h"

/* The characters of `want` in their order, anywhere in `name`: long runs count most, what lies
 * between, before and (half) behind them is taken off. */
double match_subsequence(struct arena *scratch, str want, str name);
/* Jaro-Winkler similarity. */
double match_jaro_winkler(struct arena *scratch, str want, str name);
