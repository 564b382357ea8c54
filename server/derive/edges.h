/* edges.h - requests between two services whose other half has not been seen yet.
 *
 * A half waits, under the trace and the id of the client's span, until the other side's comes or
 * its time is up; what comes of it is the caller's business. Halves may arrive in any order.
 * Bounded in number and by the budget: the oldest make room. Not thread-safe. */
#pragma once

#include "storage/base/hmap.h"
#include "storage/base/str.h"
#include "storage/base/vec.h"

enum edge_side { EDGE_CLIENT, EDGE_SERVER };

struct edge_key {
    uint8_t trace_id[16];
    uint8_t span_id[8]; // of the client's span
    uint64_t tenant;
};

struct edge_half {
    enum edge_side side;
    bool is_failed, is_messaging;
    bool is_left_out; // by a filter: what it meets is no request
    double seconds;
    double weight;            // how many requests it stands for
    int64_t start_ns, end_ns; // of the span
    str service;
    str peer; // what the span's attributes call the other side, or empty
    str dims; // values of the dimensions as agg_key_value puts them
};

/* A half that waits, or has waited. */
struct edge {
    struct edge_key key;
    struct edge_half half; // strings in `text`
    char *text;
    int64_t expires_ns;
    uint32_t before, after; // in order of expiry; EDGE_NONE at the ends
};

struct edges {
    VEC(struct edge) slots;
    VEC(uint32_t) spare;
    struct hmap map;
    struct budget *budget; // may be NULL
    uint32_t first, last;
    size_t n, max;
    uint64_t n_dropped; // for want of room
    int64_t wait_ns;
};

void edges_init(struct edges *e, size_t max, int64_t wait_ns, struct budget *budget);
void edges_deinit(struct edges *e);

/* True: *out is the half that had been waiting for this one; edge_close it. False: this one waits,
 * in place of one of its own side, and of the oldest when there is no room. */
bool edges_meet(struct edges *e, const struct edge_key *key, const struct edge_half *half,
                int64_t mono_ns, struct edge *out);
/* The next half whose time is up, if there is one; edge_close it. */
bool edges_expired(struct edges *e, int64_t mono_ns, struct edge *out);
void edge_close(struct edges *e, struct edge *edge);
