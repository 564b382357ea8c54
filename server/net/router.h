/* router.h - path and method to route. Built before the first request, read-only afterwards; the
 * counters in it are atomic.
 *
 * gRPC methods share the table: a pattern of two segments whose first has a dot
 * ("/package.Service/Method") is a gRPC method and matches gRPC requests only; all other patterns
 * match plain HTTP requests only. */
#pragma once

#include <stdatomic.h>

#include "server/net/http.h"

struct router; // opaque

#define ROUTE_ARGS_MAX 8
#define ROUTE_CODES    20 // statuses counted one by one; see route_codes
#define ROUTE_BUCKETS  8  // of the duration histogram; the last one is +Inf

struct route_stats {
    atomic_uint_fast64_t code[ROUTE_CODES];
    atomic_uint_fast64_t bucket[ROUTE_BUCKETS]; // not cumulative
    atomic_uint_fast64_t duration_ns;           // sum
    atomic_uint_fast64_t bytes_in, bytes_out;   // bodies
};
extern const int route_codes[ROUTE_CODES]; // the last is 0: any other
extern const double route_buckets_s[ROUTE_BUCKETS - 1];

struct route_entry {
    const struct route *route;
    void *ctx;
    struct route_stats stats;
    bool is_grpc;
    uint32_t next_same; // another entry with the same pattern, or UINT32_MAX
};

struct route_match {
    struct route_entry *entry; // NULL: no such route
    bool path_known;           // with entry NULL: the path exists, the method is wrong
    bool is_ingest;            // the path belongs to LANE_INGEST, whatever the method
    bool as_prometheus;        // HTTP_AS_PROMETHEUS, whatever the method
    unsigned allowed;          // methods of that path, enum http_method bits
    str args[ROUTE_ARGS_MAX];  // raw (not decoded) values of the pattern's {names}
    size_t n_args;
};

struct router *router_open(void);
void router_close(struct router *r); // NULL is fine
/* Registers a table ended by pattern NULL; the table must outlive the router. Two routes with one
 * pattern and an overlapping method are a mistake of the program (asserted), as is a pattern with
 * more than ROUTE_ARGS_MAX names. */
void router_add(struct router *r, const struct route *table, void *ctx);
/* HEAD matches what GET matches, but HTTP_AS_PROMETHEUS. args point into path. */
void router_match(struct router *r, enum http_method method, str path, bool is_grpc,
                  struct route_match *out);
/* "GET, POST" of a set of methods, into buf (cleared first). */
void router_methods(unsigned methods, struct buf *out);
/* Counts one answered request. Any thread. */
void route_count(struct route_entry *e, int code, int64_t duration_ns, size_t bytes_in,
                 size_t bytes_out);
/* The i-th entry in order of registration, NULL past the end. */
struct route_entry *router_entry(struct router *r, size_t i);
/* Counts what matched no route; its pattern is "other". */
struct route_entry *router_other(struct router *r);
