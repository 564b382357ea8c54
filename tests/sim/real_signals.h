/* real_signals.h - puts and reads the simulation's records (time, id) through the three real
 * signals: samples of a few series (value = id), log lines of a few streams, spans of a few
 * services. A batch keeps to one series, stream or trace, so that all of them span generations. */
#pragma once

#include "tests/sim/tiny_signal.h"

#define REAL_GROUPS 20

static inline struct labels real_labels(struct arena *a, enum signal sig, uint64_t group)
{
    struct label *l = arena_array(a, struct label, 3);
    size_t n = 0;
    if (sig == SIGNAL_METRICS)
        l[n++] = (struct label){METRIC_NAME, STR("m")};
    l[n++] = (struct label){STR("app"), STR("sim")};
    l[n++] = (struct label){STR("group"), arena_fmt(a, "%" PRIu64, group)};
    return (struct labels){l, n};
}

static inline void real_add(struct batch *b, int64_t t_ns, uint64_t id)
{
    static struct label odd = {{"parity", 6}, {"odd", 3}}; // metadata of every other line
    struct arena *a = b->arena;
    uint64_t group = id / 16 % REAL_GROUPS;
    switch (b->signal) {
    case SIGNAL_METRICS:
        if (b->series.n == 0)
            vec_push(&b->series, a,
                     (struct batch_series){.labels = real_labels(a, b->signal, group)});
        vec_push(&b->samples, a, (struct batch_sample){0, t_ns / NS_PER_MS, (double)id});
        break;
    case SIGNAL_LOGS:
        if (b->streams.n == 0)
            vec_push(&b->streams, a, (struct batch_stream){real_labels(a, b->signal, group)});
        vec_push(&b->logs, a,
                 (struct batch_log){
                     .t_ns = t_ns, .line = arena_fmt(a, "%" PRIu64, id), .meta = {&odd, id % 2}});
        break;
    case SIGNAL_TRACES: {
        if (b->resources.n == 0) {
            vec_push(&b->resources, a, (struct resource){0});
            vec_push(&b->scopes, a, (struct scope){.name = STR("sim")});
        }
        struct span span = {.start_ns = t_ns,
                            .end_ns = t_ns + 5,
                            .name = arena_fmt(a, "op%" PRIu64, group % 4),
                            .status = group % 3 == 0 ? STATUS_ERROR : STATUS_UNSET};
        uint64_t trace = id / 16 + 1, own = id + 1; // zero is no id
        memcpy(span.trace_id, &trace, 8);
        memcpy(span.span_id, &own, 8);
        vec_push(&b->spans, a, span);
        break;
    }
    }
    b->raw_bytes += 64;
}

static inline bool real_put(struct store *s, struct store_tenant *t, enum signal sig,
                            uint64_t first, size_t n, int64_t t_ns, struct err *err)
{
    struct arena a;
    struct batch b;
    struct write_result res;
    arena_init(&a, SIZE_MAX, NULL);
    batch_init(&b, sig, &a);
    for (size_t i = 0; i < n; i++)
        real_add(&b, t_ns + (int64_t)i * NS_PER_S, first + i);
    batch_validate(&b);
    bool ok = store_write(s, t, &b, &res, err);
    if (ok && res.accepted != n) {
        fprintf(stderr, "%zu of %zu accepted: %s\n", res.accepted, n, res.reason);
        abort();
    }
    arena_deinit(&a);
    return ok;
}

/* group="7", or group=~"7"; false when the query has no group. */
static inline bool real_matcher(const struct sim_query *q, char text[24], struct matcher *out)
{
    struct err err = ERR_OK;
    if (q->group < 0)
        return false;
    (void)snprintf(text, 24, "%d", q->group);
    bool ok = matcher_init(out, q->how == SIM_REGEX ? MATCH_RE : MATCH_EQ, STR("group"),
                           str_c(text), &err);
    ASSERT(ok);
    return true;
}

static inline bool real_samples(struct snapshot *snap, const struct sim_query *q,
                                struct tiny_recs *out, struct err *err)
{
    struct series_select sel = {.start_ms = MAX(q->start_ns / NS_PER_MS, TIME_MIN_MS),
                                .end_ms = MIN(q->end_ns / NS_PER_MS - 1, TIME_MAX_MS)};
    struct series_iter *it;
    struct series sr;
    struct matcher m;
    char text[24];
    enum step step = STEP_ERROR;
    if (real_matcher(q, text, &m))
        sel.matchers = (struct matchers){&m, 1};
    if (series_iter_open(snap, &sel, NULL, &it, err)) {
        while ((step = series_next(it, &sr, err)) == STEP_ITEM)
            for (size_t i = 0; i < sr.n; i++)
                vec_push(out, NULL, (struct tiny_rec){ms_to_ns(sr.t_ms[i]), (uint64_t)sr.v[i]});
        series_iter_close(it);
    }
    if (sel.matchers.n > 0)
        matcher_deinit(&m);
    return step == STEP_END;
}

static inline bool real_lines(struct snapshot *snap, const struct sim_query *q,
                              struct tiny_recs *out, struct err *err)
{
    struct log_select sel = {.start_ns = q->start_ns,
                             .end_ns = q->end_ns,
                             .backward = q->how == SIM_BACKWARD,
                             .want_line = true};
    struct log_iter *it;
    struct log_block blk;
    struct matcher m;
    char text[24];
    enum step step = STEP_ERROR;
    if (real_matcher(q, text, &m))
        sel.matchers = (struct matchers){&m, 1};
    if (log_iter_open(snap, &sel, NULL, &it, err)) {
        while ((step = log_next(it, &blk, err)) == STEP_ITEM) {
            for (size_t i = 0; i < blk.n; i++) {
                struct tiny_rec r = {.t_ns = blk.t_ns[i]};
                ASSERT(num_parse_u64(blk.line[i], &r.id));
                vec_push(out, NULL, r);
            }
        }
        log_iter_close(it);
    }
    if (sel.matchers.n > 0)
        matcher_deinit(&m);
    return step == STEP_END;
}

static inline struct tiny_rec real_span(const uint8_t span_id[8], int64_t start_ns)
{
    struct tiny_rec r = {.t_ns = start_ns};
    memcpy(&r.id, span_id, 8);
    r.id--;
    return r;
}

/* The whole trace of one batch. */
static inline bool real_trace(struct snapshot *snap, const struct sim_query *q,
                              struct tiny_recs *out, struct err *err)
{
    uint8_t id[16] = {0};
    uint64_t trace = q->trace + 1;
    struct span_set set;
    struct arena a;
    bool partial;
    memcpy(id, &trace, 8);
    arena_init(&a, SIZE_MAX, NULL);
    bool ok = store_trace(snap, id, (struct time_range){q->start_ns, q->end_ns}, 64 * MIB, &a, &set,
                          &partial, err);
    for (size_t i = 0; ok && i < set.n_spans; i++)
        vec_push(out, NULL, real_span(set.spans[i].span_id, set.spans[i].start_ns));
    arena_deinit(&a);
    return ok;
}

static inline bool real_spans(struct snapshot *snap, const struct sim_query *q,
                              struct tiny_recs *out, struct err *err)
{
    // Parts of traces may bring a span twice that was sent twice; whole traces do not.
    bool is_all = q->start_ns == sim_all.start_ns && q->end_ns == sim_all.end_ns;
    struct span_select sel = {
        .start_ns = q->start_ns, .end_ns = q->end_ns - 1, .whole_traces = is_all};
    struct span_iter *it;
    struct span_block blk;
    enum step step;
    if (!span_iter_open(snap, &sel, NULL, &it, err))
        return false;
    while ((step = span_next(it, &blk, err)) == STEP_ITEM)
        for (size_t i = 0; i < blk.n; i++)
            vec_push(out, NULL, real_span(blk.span_id[i], blk.start_ns[i]));
    span_iter_close(it);
    return step == STEP_END;
}

static inline bool real_read(struct snapshot *snap, enum signal sig, const struct sim_query *q,
                             struct tiny_recs *out, struct err *err)
{
    return sig == SIGNAL_METRICS ? real_samples(snap, q, out, err)
           : sig == SIGNAL_LOGS  ? real_lines(snap, q, out, err)
           : q->how == SIM_TRACE ? real_trace(snap, q, out, err)
                                 : real_spans(snap, q, out, err);
}

/* Is the row part of the answer? Spans are not asked by group, a trace not by time. */
static inline bool real_matches(enum signal sig, const struct sim_query *q, int64_t t_ns,
                                uint64_t id)
{
    if (sig == SIGNAL_TRACES && q->how == SIM_TRACE)
        return id / 16 == q->trace;
    return t_ns >= q->start_ns && t_ns < q->end_ns &&
           (sig == SIGNAL_TRACES || q->group < 0 || id / 16 % REAL_GROUPS == (uint64_t)q->group);
}

static inline bool real_read_all(struct store *s, struct store_tenant *t, enum signal sig,
                                 struct tiny_recs *out, struct err *err)
{
    struct snapshot *snap;
    if (!snapshot_open(s, t, sig, (struct time_range){INT64_MIN, INT64_MAX}, &snap, err))
        return false;
    bool ok = real_read(snap, sig, &sim_all, out, err);
    snapshot_close(snap);
    return ok;
}
