/* span.h - spans with everything that OTLP defines, grouped by resource and scope. Views into an
 * arena. */
#pragma once

#include "storage/model/value.h"

enum span_kind {
    SPAN_UNSPECIFIED,
    SPAN_INTERNAL,
    SPAN_SERVER,
    SPAN_CLIENT,
    SPAN_PRODUCER,
    SPAN_CONSUMER
};
enum span_status { STATUS_UNSET, STATUS_OK, STATUS_ERROR };

struct resource {
    struct attrs attrs;
    uint32_t dropped_attrs;
    str schema_url;
};

struct scope {
    str name, version;
    struct attrs attrs;
    uint32_t dropped_attrs;
    str schema_url;
};

struct span_event {
    int64_t time_ns;
    str name;
    struct attrs attrs;
    uint32_t dropped_attrs;
};

struct span_link {
    uint8_t trace_id[16], span_id[8];
    str trace_state;
    struct attrs attrs;
    uint32_t dropped_attrs, flags;
};

struct span {
    uint8_t trace_id[16], span_id[8], parent_id[8]; // parent all zero = root
    uint32_t resource, scope;                       // indices into the set
    int64_t start_ns, end_ns;
    str name, trace_state, status_message;
    uint8_t kind, status; // enum span_kind, enum span_status
    uint32_t flags, dropped_attrs, dropped_events, dropped_links;
    uint32_t wire_bytes; // of the protobuf message that it came in; 0: another form, or stored
    struct attrs attrs;
    const struct span_event *events;
    const struct span_link *links;
    uint32_t n_events, n_links;
    /* Spans of one batch that share a number have the same keys, and values of the same kinds, in
     * the same order; below LIMIT_SPAN_SHAPES. 0: nothing is known. */
    uint32_t shape;
};

struct span_set {
    const struct resource *resources;
    const struct scope *scopes;
    const struct span *spans;
    size_t n_resources, n_scopes, n_spans;
};
