/* select_metrics.h - what the merge of segments needs of the series iterator beyond store.h. */
#pragma once

#include "storage/engine/head_metrics.h"
#include "storage/engine/segment_metrics.h"

/* Where the series that series_next gave last came from: segments of the snapshot with the ordinal
 * there, in order of writing (later ones win). Valid until the next call. */
struct series_source {
    size_t segment; // index in snap->segs
    uint32_t ordinal;
};
size_t series_iter_sources(const struct series_iter *it, const struct series_source **out);
/* Samples of that series, in the form that metrics_writer_add takes. */
const struct samples *series_iter_samples(const struct series_iter *it);
/* From now on series without samples come, too (they may have exemplars). Before the first call of
 * series_next. */
void series_iter_keep_empty(struct series_iter *it);

/* Order in which data was written, as far as files tell: higher levels first, then by sequence. */
int metrics_written_before(const struct segment *a, const struct segment *b);
