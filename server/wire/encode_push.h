/* encode_push.h - a batch as what senders send: remote write 1.0 and Loki push, as protobuf, not
 * yet compressed. The batch is validated and its series carry labels (no references). */
#pragma once

#include "storage/model/batch.h"

/* Samples by series, with their start times as remote write 2.0 has them (field 3 of Sample; who
 * does not know it skips it), exemplars, metadata. No native histograms. */
void encode_prom_write(const struct batch *b, struct buf *out);
void encode_loki_push(const struct batch *b, struct buf *out);
