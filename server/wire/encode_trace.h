/* encode_trace.h - spans as OTLP protobuf (message TracesData = repeated ResourceSpans
 * resource_spans = 1), as Tempo's trace-by-id answers carry them. Field numbers: the public OTLP
 * definitions. */
#pragma once

#include "storage/base/buf.h"
#include "storage/model/span.h"

/* Spans grouped by resource, then scope. Submessages resource, scope and status are always written,
 * and a resource without service.name gets "unknown_service": Grafana's reader depends on both. */
void encode_trace(struct buf *b, const struct span_set *set);
void encode_value(struct buf *b, const struct value *v);          // the body of an AnyValue
void encode_attrs(struct buf *b, uint32_t field, struct attrs a); // repeated KeyValue
/* Indices of the spans, grouped by resource, then by scope, else in their order; in the arena. */
const uint32_t *trace_order(struct arena *a, const struct span_set *set);
