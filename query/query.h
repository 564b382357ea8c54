/* query.h - the context of one query: memory, clock, deadline, cancel, limits, statistics,
 * warnings.
 *
 * One thread owns it. Everything that a query allocates is in q->arena (a child budget of the query
 * lane's). query_tick is called in every loop whose length depends on data: it turns a passed
 * deadline, a gone client or a full arena into an error. Deferred clean-ups (regexes, iterators,
 * snapshots) run in query_deinit, newest first. */
#pragma once

#include "storage/model/matcher.h"
#include "storage/store.h"

struct query_limits {
    size_t max_memory;    // bytes of the arena
    uint64_t max_samples; // that one query may load (PromQL: 50,000,000)
    size_t max_series;    // in a result
    int64_t timeout_ns;
    int64_t lookback_ms;    // PromQL, 5 min
    size_t max_entries;     // LogQL log lines in a reply, 5,000
    size_t max_steps;       // points per series, 11,000
    uint64_t section_bytes; // of log lines that pay another thread; 0 = never (LogQL)
};

struct query_note { // warning or info
    str text;       // complete, as the API shows it: "PromQL warning: ... (1:5)"
    size_t key_n;   // bytes of it that tell it from others: without details and place
    bool is_info;
};

struct crew;
struct query_defer;

/* Samples that each step looked at; what they are, see promql/counts.h. */
struct query_counts {
    size_t n; // steps
    uint64_t *queryable, *read;
};

/* One of the tenants of a query. name: shown as QUERY_TENANT_LABEL; empty when it is asked alone.
 */
struct query_ask {
    struct store_tenant *tenant;
    str name;
};

struct query {
    struct ticker ticker; // hand &q->ticker to storage selects
    struct arena arena;
    struct budget budget; // its own ceiling, child of the lane's budget
    struct clock *clock;
    int64_t now_ns;           // wall time at start
    int64_t deadline_mono_ns; // 0 = none
    bool (*is_canceled)(void *ctx);
    void *cancel_ctx;
    struct query_limits limits;
    struct scan_stats scan;
    uint64_t peak_samples;
    int64_t prepare_ns, sort_ns; // PromQL: choosing series, ordering the result
    bool wants_counts;           // PromQL: of samples, step by step
    struct query_counts *counts; // of the last query that wanted them
    VEC(struct query_note) notes;
    str where; // put behind each new note: "(line:col)" of the part being evaluated; may be empty
    struct query_defer *defers;
    struct store *store;
    struct store_tenant *tenant;     // query_snapshot's
    const struct query_ask *tenants; // two or more: they are asked together; borrowed
    size_t n_tenants;
    struct crew *crew; // idle threads that may help (base/crew.h); NULL: the owner does it all
    unsigned tick_count;
};

void query_limits_default(struct query_limits *l);
/* clock, store, tenant borrowed. parent may be NULL. */
void query_init(struct query *q, struct clock *clock, struct store *store,
                struct store_tenant *tenant, const struct query_limits *limits,
                struct budget *parent);
void query_deinit(struct query *q);
/* Cheap: looks at the clock every 64th call. ERR_TIMEOUT, ERR_CANCELED, ERR_LIMIT (names limit and
 * setting). */
MUST_USE bool query_tick(struct query *q, struct err *err);
/* Checks without the 64-call skip, e.g. before big allocations of n bytes. */
MUST_USE bool query_room(struct query *q, size_t n, struct err *err);
/* Counts samples loaded against max_samples: ERR_LIMIT with Prometheus' text. */
MUST_USE bool query_count_samples(struct query *q, uint64_t n, struct err *err);
/* Duplicates are dropped. vector/ writes "PromQL warning: " or "PromQL info: " in front itself. */
void query_warn(struct query *q, const char *fmt, ...) PRINTF_LIKE(2, 3);
void query_info(struct query *q, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* An info about something with details that change: the newest replaces those before. */
void query_info_about(struct query *q, str about, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* " for metric name "x"", as notes end, or nothing without a name; in the query's arena. */
str query_of_metric(struct query *q, str name);
void query_defer(struct query *q, void (*fn)(void *), void *arg);

/* A part of a query that another thread works on. `part` is a query of its own for that thread,
 * with the limits, the deadline and the cancel flag of the whole (is_canceled is asked from there,
 * too); its memory counts with the whole's. What it has gathered is taken from it piece by piece,
 * and joined by the thread of the whole, in the order that a single thread would have had. */
struct query_gain {
    struct arena arena;
    const struct query_note *notes;
    size_t n_notes;
    struct scan_stats scan;
    uint64_t samples;
};
void query_part_init(struct query *part, struct query *whole);
void query_part_deinit(struct query *part);
/* Moves it all to *out; the part begins anew, its deferred clean-ups have run. Thread of the part.
 */
void query_part_take(struct query *part, struct query_gain *out);
/* Adds notes and counts to the whole. is_kept: the memory lives as long as the whole query, else it
 * goes now. ERR_LIMIT of query_count_samples. */
MUST_USE bool query_gain_join(struct query *whole, struct query_gain *g, bool is_kept,
                              struct err *err);
void query_gain_drop(struct query_gain *g);
/* snapshot_open + defer of its close. */
MUST_USE bool query_snapshot(struct query *q, enum signal signal, struct time_range range,
                             struct snapshot **out, struct err *err);
/* ---- several tenants ---- */

#define QUERY_TENANT_LABEL "__tenant_id__"
struct query_asks {
    const struct query_ask *v;
    size_t n;
    struct matchers matchers; // without those of QUERY_TENANT_LABEL
};
/* Whom to ask for what `m` selects: the query's one tenant, or those of several that matchers of
 * QUERY_TENANT_LABEL allow. Set q->tenant before each one's query_snapshot. In q->arena. */
MUST_USE bool query_asks(struct query *q, struct matchers m, struct query_asks *out,
                         struct err *err);
/* A stream of that tenant as the query sees it: with QUERY_TENANT_LABEL when several are asked. */
struct labels query_tenant_labels(struct arena *a, const struct query_ask *ask, struct labels l);

/* matcher_init whose regex is closed by query_deinit; *m may be copied, never matcher_deinit it. */
MUST_USE bool query_matcher(struct query *q, struct matcher *m, enum matcher_op op, str name,
                            str value, struct err *err);
