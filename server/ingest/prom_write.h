/* prom_write.h - what the decoders of remote write 1.0 and 2.0 share. */
#pragma once

#include "server/ingest/otlp.h"

/* A Sample or Histogram message of that series, to the batch; in 2.0 with a start time. A histogram
 * that makes no sense is refused, false is for bytes that are no such message. */
MUST_USE bool prom_sample(struct decode *d, uint32_t series, str bytes, struct err *err);
MUST_USE bool prom_histogram(struct decode *d, uint32_t series, str bytes, struct err *err);
enum metric_type prom_metric_type(int64_t number);
