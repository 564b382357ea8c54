/* tempo_prune.h - a trace with its many like spans folded: leaves of one name, kind, status and
 * parent's name become one summary span, then their parents where all children were folded, as the
 * span pruning of Tempo does it for readers of large traces. */
#pragma once

#include "server/api/params.h"
#include "storage/model/span.h"

/* Parameters: span_pruning (true or false), span_pruning_min_spans (5: fewer leaves stay),
 * span_pruning_max_parent_depth (1: levels of parents, -1: 64), span_pruning_group_by (patterns of
 * attributes, "db.*,http.method": leaves differ that differ in one of them). Without span_pruning
 * the set stays as it is. Memory is the call's. ERR_INVALID: a parameter that cannot be read. */
MUST_USE bool tempo_prune(struct api_call *c, struct arena *a, struct span_set *set,
                          struct err *err);
