/* tempo_proto.h - Tempo's answers as protobuf: the messages of tempopb that its streaming gRPC
 * service sends. Each function appends one field of the answering message. */
#pragma once

#include "query/traceql/traceql.h"
#include "storage/base/buf.h"

/* Field 1 of SearchResponse. Scratch memory in a. */
void tempo_proto_trace(struct buf *b, struct arena *a, const struct traceql_trace *t,
                       bool with_spansets);
/* Field 2 (SearchMetrics) of the answers of searches and metrics. */
void tempo_proto_scan(struct buf *b, uint64_t traces, uint64_t spans, uint64_t bytes, bool is_done);
/* Field 1 of QueryRangeResponse and QueryInstantResponse. */
void tempo_proto_series(struct buf *b, struct arena *a, const struct traceql_matrix *m,
                        const struct traceql_series *s, bool is_instant);
