/* jaeger_priv.h - what the files of the Jaeger API share: private to them. */
#pragma once

#include "server/api/params.h"
#include "storage/base/json_write.h"
#include "storage/base/vec.h"

#define JAEGER_NO_SERVICE STR("unknown_service") // of spans whose resource names none
#define JAEGER_TAGS_MAX   32                     // conditions of one search
#define JAEGER_ALL_TIME   ((struct time_range){INT64_MIN, INT64_MAX})
#define JAEGER_KIND_COUNT 6
#define JAEGER_KIND_ANY   (-1)

extern const char *const jaeger_kinds[JAEGER_KIND_COUNT]; // by enum span_kind; "" = unspecified

struct jaeger_tag {
    str key, value; // value as text
};

/* ---- jaeger_find.c ---- */

/* One span must meet all of it. */
struct jaeger_find {
    str service, operation;   // empty = any
    int64_t start_ns, end_ns; // of the span's start, both inclusive
    int64_t min_ns, max_ns;   // of its duration, both inclusive
    struct jaeger_tag tags[JAEGER_TAGS_MAX];
    size_t n_tags;
    size_t limit; // traces, > 0
};
struct jaeger_ids {
    const uint8_t (*v)[16];
    size_t n;
};
/* The traces whose matching spans are the newest, newest first; in the query's arena. */
MUST_USE bool jaeger_find(struct query *q, const struct jaeger_find *f, struct jaeger_ids *out,
                          struct err *err);

/* ---- jaeger_graph.c ---- */

struct jaeger_operation {
    str name;
    uint8_t kind;
};
struct jaeger_operations {
    const struct jaeger_operation *v;
    size_t n;
};
/* Names and kinds of a service's spans (kind: enum span_kind or JAEGER_KIND_ANY), sorted. */
MUST_USE bool jaeger_operations(struct query *q, str service, int kind,
                                struct jaeger_operations *out, struct err *err);

struct jaeger_edge { // spans of `child` whose parent is a span of `parent`
    str parent, child;
    uint64_t calls;
};
struct jaeger_edges {
    const struct jaeger_edge *v;
    size_t n;
};
/* Of all traces with a span in the range; service empty = all, else edges that touch it. Sorted. */
MUST_USE bool jaeger_dependencies(struct query *q, struct time_range range, str service,
                                  struct jaeger_edges *out, struct err *err);

/* ---- jaeger_json.c ---- */

/* {"traceID":..,"spans":[..],"processes":{..},"warnings":..}; warning empty = none. */
void jaeger_json_trace(struct json *j, struct arena *a, const struct span_set *set, str warning);
/* {"traceId":..,"rootServiceName":..,...} of v3's summaries. */
void jaeger_json_summary(struct json *j, struct arena *a, const struct span_set *set);
