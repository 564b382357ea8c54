/* metrics.c - TraceQL metrics: counts and aggregates of spans per interval and group.
 *
 * Spans are walked once; a group (one set of by-values) has its cells from its first span on. Log2
 * buckets are kept per group and become histogram or quantile series at the end. Exemplars are a
 * sample: the range is cut into as many slots as may be returned, each slot keeps the span whose id
 * hashes highest, which is random but the same on every run.
 *
 * with(extrapolate=true): a span stands for as many as its sampler let go, see trace_state.h. */
#include "query/traceql/metrics.h"

#include <math.h>
#include <stdlib.h>

#include "storage/base/dur.h"
#include "storage/base/enc.h"
#include "storage/base/hash.h"
#include "storage/base/hmap.h"
#include "storage/model/limits.h"
#include "storage/model/trace_state.h"

#define BUCKETS       65 // upper edge 2^i; a value below 2 falls out
#define GROUP_UNKNOWN UINT32_MAX
#define GROUP_CUT     (UINT32_MAX - 1) // beyond the limit of series

struct group {
    struct traceql_value *by; // n_by
    double *v;                // counts, sums, minima, maxima
    double *n;                // avg: how many
    double **bucket;          // histogram, quantile: BUCKETS rows, made when needed
};

struct exemplar_slot {
    uint64_t rank; // 0 = empty
    uint32_t group;
    uint8_t bucket;
    uint8_t trace_id[16];
    int64_t start_ns;
    size_t step;
    double value;
};

struct counting {
    struct tq_run *run;
    const struct tq_metrics_fn *fn;
    VEC(struct group) groups;
    struct hmap map;
    bool is_cut, has_durations;        // has_durations: buckets are of ns
    struct traceql_value *scratch;     // by-values of the row at hand
    const struct tq_field *memo_field; // the only by-field, single-valued: codes stand for groups
    uint32_t *memo;
    int state_column;      // of trace states, -1: every span counts once
    double *state_weights; // by code, 0: unknown; the last: no state
    struct exemplar_slot *slots;
    size_t n_slots;
};

/* ---- cells and series ---- */

bool tq_cells(struct tq_run *run, double fill, double **out, struct err *err)
{
    if (!query_room(run->q, run->grid.n * sizeof(double), err))
        return false;
    double *v = arena_array(&run->q->arena, double, run->grid.n);
    for (size_t i = 0; i < run->grid.n; i++)
        v[i] = fill;
    *out = v;
    return true;
}

struct tq_series *tq_series_add(struct tq_run *run, struct tq_matrix *m, size_t max_labels,
                                double *v)
{
    struct tq_series s = {.v = v};
    s.labels = arena_array(&run->q->arena, struct traceql_attr, max_labels);
    vec_push(&m->series, &run->q->arena, s);
    return vec_last(&m->series);
}

void tq_series_label(struct tq_series *s, str key, struct traceql_value value)
{
    s->labels[s->n_labels++] = (struct traceql_attr){key, value};
}

void tq_matrix_compact(struct tq_run *run, struct tq_matrix *m)
{
    size_t kept = 0;
    for (size_t i = 0; i < m->series.n; i++) {
        size_t k = 0;
        while (k < run->grid.n && IS_CELL_NONE(m->series.v[i].v[k]))
            k++;
        if (k < run->grid.n)
            m->series.v[kept++] = m->series.v[i];
    }
    m->series.n = kept;
}

static struct traceql_value text_value(str s)
{
    return (struct traceql_value){TQ_STR, {.kind = VALUE_STR, .s = s}};
}

static struct traceql_value float_value(double d)
{
    return (struct traceql_value){TQ_FLOAT, {.kind = VALUE_DOUBLE, .d = d}};
}

/* ---- groups ---- */

struct group_key {
    const struct counting *c;
    const struct traceql_value *by;
};

static bool same_group(const void *ctx, uint32_t index)
{
    const struct group_key *key = ctx;
    for (size_t i = 0; i < key->c->fn->n_by; i++)
        if (!tq_value_eq(&key->c->groups.v[index].by[i], &key->by[i]))
            return false;
    return true;
}

static bool is_bucketed(const struct counting *c)
{
    return c->fn->fn == FN_QUANTILE || c->fn->fn == FN_HISTOGRAM;
}

static bool group_new(struct counting *c, const struct traceql_value *by, uint32_t *out,
                      struct err *err)
{
    struct arena *a = &c->run->q->arena;
    struct group g = {.by = arena_array(a, struct traceql_value, c->fn->n_by)};
    bool starts_at_zero = c->fn->fn == FN_RATE || c->fn->fn == FN_COUNT;
    if (c->groups.n >= c->run->max_series) {
        c->is_cut = true;
        *out = GROUP_CUT;
        return true;
    }
    if (is_bucketed(c))
        g.bucket = arena_zalloc(a, BUCKETS * sizeof *g.bucket);
    else if (!tq_cells(c->run, starts_at_zero ? 0 : CELL_NONE, &g.v, err) ||
             (c->fn->fn == FN_AVG && !tq_cells(c->run, 0, &g.n, err)))
        return false;
    for (size_t i = 0; i < c->fn->n_by; i++)
        g.by[i] = tq_value_dup(a, &by[i]);
    *out = (uint32_t)c->groups.n;
    vec_push(&c->groups, a, g);
    return true;
}

static bool group_find(struct counting *c, struct tq_block *t, uint32_t row, uint32_t *out,
                       struct err *err)
{
    uint64_t hash = 1;
    for (size_t i = 0; i < c->fn->n_by; i++) {
        c->scratch[i] = tq_field_value(t, c->fn->by[i], row);
        hash = hash_mix(hash, tq_value_hash(&c->scratch[i]));
    }
    struct group_key key = {c, c->scratch};
    *out = hmap_find(&c->map, hash, same_group, &key);
    if (*out != HMAP_NONE)
        return true;
    if (!group_new(c, c->scratch, out, err))
        return false;
    if (*out != GROUP_CUT)
        hmap_put(&c->map, hash, *out);
    return true;
}

/* The group by the row's dictionary code, when there is one such column. */
static bool group_of(struct counting *c, struct tq_block *t, uint32_t row, uint32_t *out,
                     struct err *err)
{
    *out = 0;
    if (c->fn->n_by == 0)
        return c->groups.n > 0 || group_new(c, NULL, out, err);
    if (!c->memo)
        return group_find(c, t, row, out, err);
    const struct tq_field *f = c->memo_field;
    const struct span_column *col = &t->b->columns[f->columns[f->intrinsic ? 0 : f->scope]];
    uint32_t *known = &c->memo[col->code[row] == SPAN_NO_VALUE ? col->n_dict : col->code[row]];
    if (*known == GROUP_UNKNOWN && !group_find(c, t, row, known, err))
        return false;
    *out = *known;
    return true;
}

/* A by-field whose values are the entries of one column. */
static const struct tq_field *memo_field(const struct tq_metrics_fn *fn)
{
    if (fn->n_by != 1)
        return NULL;
    const struct tq_field *f = fn->by[0];
    bool one_attr =
        f->intrinsic == IN_NONE &&
        (f->scope == ATTR_SPAN || f->scope == ATTR_RESOURCE || f->scope == ATTR_INSTRUMENTATION);
    bool one_text = f->intrinsic == IN_NAME || f->intrinsic == IN_STATUS_MESSAGE ||
                    f->intrinsic == IN_SCOPE_NAME || f->intrinsic == IN_SCOPE_VERSION;
    return one_attr || one_text ? f : NULL;
}

static void begin_block(void *ctx, struct tq_block *t)
{
    struct counting *c = ctx;
    const struct tq_field *f = c->memo_field;
    c->memo = NULL;
    if (c->state_column >= 0)
        c->state_weights = arena_zalloc(
            t->block_arena, ((size_t)t->b->columns[c->state_column].n_dict + 1) * sizeof(double));
    if (!f)
        return;
    size_t n = (size_t)t->b->columns[f->columns[f->intrinsic ? 0 : f->scope]].n_dict + 1;
    c->memo = arena_array(t->block_arena, uint32_t, n);
    memset(c->memo, 0xFF, n * sizeof *c->memo);
}

/* ---- values ---- */

/* Number of the bucket: the least b with v <= 2^b; false below 2 and for what is no integer. */
static bool bucket_of(const struct traceql_value *v, uint8_t *out)
{
    if ((v->kind != TQ_DURATION && v->kind != TQ_INT) || v->value.i < 2)
        return false;
    *out = (uint8_t)(64 - __builtin_clzll((unsigned long long)v->value.i - 1));
    return true;
}

static double weight_of(struct counting *c, const struct tq_block *t, uint32_t row)
{
    if (c->state_column < 0)
        return 1;
    const struct span_column *column = &t->b->columns[c->state_column];
    uint32_t code = column->code[row] == SPAN_NO_VALUE ? column->n_dict : column->code[row];
    double *known = &c->state_weights[code];
    if (*known == 0) {
        const struct value *v = tq_column_value(t->b, c->state_column, row);
        *known = v && v->kind == VALUE_STR ? trace_state_weight(v->s) : 1;
    }
    return *known;
}

/* d: the value of a span that stands for `weight` of them. */
static void add_value(struct group *g, enum tq_function fn, size_t step, double d, double weight)
{
    double *v = &g->v[step];
    bool none = IS_CELL_NONE(*v);
    switch (fn) {
    case FN_MIN:
        *v = none || d < *v ? d : *v;
        break;
    case FN_MAX:
        *v = none || d > *v ? d : *v;
        break;
    case FN_AVG:
        g->n[step] += weight;
        *v = (none ? 0 : *v) + d * weight;
        break;
    case FN_SUM:
        *v = (none ? 0 : *v) + d * weight;
        break;
    default:
        *v += weight;
    }
}

static void offer_exemplar(struct counting *c, struct tq_block *t, uint32_t row, size_t step,
                           uint32_t group, uint8_t bucket, double value)
{
    const struct tq_grid *g = &c->run->grid;
    int64_t from = g->is_instant ? g->start_ns : g->start_ns - g->step_ns;
    double share = (double)(t->b->start_ns[row] - from) / ((double)(g->end_ns - from) + 1);
    struct exemplar_slot *slot =
        &c->slots[MIN((size_t)(share * (double)c->n_slots), c->n_slots - 1)];
    uint64_t rank = hash64(str_of((const char *)t->b->span_id[row], 8)) | 1;
    if (rank <= slot->rank)
        return;
    *slot = (struct exemplar_slot){rank, group, bucket, {0}, t->b->start_ns[row], step, value};
    memcpy(slot->trace_id, t->b->trace_id[row], 16);
}

static bool count_span(void *ctx, struct tq_block *t, uint32_t row, size_t step, struct err *err)
{
    struct counting *c = ctx;
    struct traceql_value v = {TQ_NIL, {.kind = VALUE_EMPTY}};
    uint32_t group;
    uint8_t bucket = 0;
    if (c->fn->arg) {
        v = tq_field_value(t, c->fn->arg, row);
        if (is_bucketed(c) ? !bucket_of(&v, &bucket) : !tq_is_number(&v))
            return true;
        c->has_durations |= v.kind == TQ_DURATION;
    }
    if (!group_of(c, t, row, &group, err))
        return false;
    if (group == GROUP_CUT)
        return true;
    struct group *g = &c->groups.v[group];
    double d = v.kind == TQ_DURATION ? (double)v.value.i / 1e9 : tq_number(&v);
    double weight = weight_of(c, t, row);
    if (!is_bucketed(c)) {
        add_value(g, c->fn->fn, step, d, weight);
    } else {
        if (!g->bucket[bucket] && !tq_cells(c->run, 0, &g->bucket[bucket], err))
            return false;
        g->bucket[bucket][step] += weight;
    }
    if (c->n_slots > 0)
        offer_exemplar(c, t, row, step, group, bucket, d);
    return true;
}

/* ---- results ---- */

static void label_group(const struct counting *c, const struct group *g, struct tq_series *s)
{
    for (size_t i = 0; i < c->fn->n_by; i++)
        if (g->by[i].kind != TQ_NIL)
            tq_series_label(s, c->fn->by[i]->text, g->by[i]);
    if (c->fn->n_by > 0 && s->n_labels == 0)
        tq_series_label(s, c->fn->by[0]->text, text_value(STR("nil")));
}

/* Upper edge of a bucket, in seconds for durations. */
static double edge(const struct counting *c, int bucket)
{
    return ldexp(1, bucket) / (c->has_durations ? 1e9 : 1);
}

/* Spans counted below the quantile decide the bucket; inside, values are taken to be spread evenly
 * on the logarithm. Only buckets that occur at this step count. */
static double quantile_at(const struct counting *c, const struct group *g, size_t step, double q)
{
    double total = 0, sum = 0, below = 0;
    for (int b = 0; b < BUCKETS; b++)
        total += g->bucket[b] ? g->bucket[b][step] : 0;
    if (total == 0)
        return 0;
    double want = MAX(1, ceil(q * total));
    for (int b = 0; b < BUCKETS; b++) {
        double n = g->bucket[b] ? g->bucket[b][step] : 0;
        if (n == 0)
            continue;
        if (below == 0)
            below = edge(c, b) / 2;
        if (sum + n == want)
            return edge(c, b);
        if (sum + n > want)
            return below * pow(edge(c, b) / below, (want - sum) / n);
        sum += n;
        below = edge(c, b);
    }
    return below;
}

static bool finish_quantiles(struct counting *c, const struct group *g, struct tq_matrix *out,
                             struct err *err)
{
    for (size_t i = 0; i < c->fn->n_quantiles; i++) {
        double *v;
        if (!tq_cells(c->run, 0, &v, err))
            return false;
        for (size_t step = 0; step < c->run->grid.n; step++)
            v[step] = quantile_at(c, g, step, c->fn->quantiles[i]);
        struct tq_series *s = tq_series_add(c->run, out, c->fn->n_by + 1, v);
        label_group(c, g, s);
        tq_series_label(s, STR("p"), float_value(c->fn->quantiles[i]));
    }
    return true;
}

static void finish_buckets(struct counting *c, const struct group *g, struct tq_matrix *out)
{
    for (int b = 0; b < BUCKETS; b++) {
        if (!g->bucket[b])
            continue;
        struct tq_series *s = tq_series_add(c->run, out, c->fn->n_by + 1, g->bucket[b]);
        label_group(c, g, s);
        tq_series_label(s, STR("__bucket"), float_value(edge(c, b)));
    }
}

static void finish_plain(struct counting *c, const struct group *g, struct tq_matrix *out)
{
    for (size_t i = 0; i < c->run->grid.n; i++) {
        if (c->fn->fn == FN_RATE)
            g->v[i] /= c->run->grid.seconds;
        else if (c->fn->fn == FN_AVG && g->n[i] > 0)
            g->v[i] /= g->n[i];
    }
    struct tq_series *s = tq_series_add(c->run, out, MAX(c->fn->n_by, (size_t)1), g->v);
    label_group(c, g, s);
    if (c->fn->n_by == 0)
        tq_series_label(s, TQ_NAME_LABEL, text_value(str_c(tq_function_text(c->fn->fn))));
}

/* The exemplars of one series: of its group, and of its bucket (-1: any). */
static void attach_exemplars(struct counting *c, struct tq_series *s, uint32_t group, int bucket)
{
    struct arena *a = &c->run->q->arena;
    const struct group *g = &c->groups.v[group];
    VEC(struct traceql_exemplar) list = {0};
    bool own_value = c->fn->fn > FN_COUNT && c->fn->fn != FN_HISTOGRAM;
    for (size_t i = 0; i < c->n_slots; i++) {
        const struct exemplar_slot *slot = &c->slots[i];
        if (slot->rank == 0 || slot->group != group || (bucket >= 0 && slot->bucket != bucket))
            continue;
        struct traceql_attr *labels = arena_array(a, struct traceql_attr, c->fn->n_by + 1);
        size_t n = 0;
        labels[n++] = (struct traceql_attr){
            STR("trace:id"), text_value(hex_str(a, str_of((const char *)slot->trace_id, 16)))};
        for (size_t k = 0; k < c->fn->n_by; k++)
            if (g->by[k].kind != TQ_NIL)
                labels[n++] = (struct traceql_attr){c->fn->by[k]->text, g->by[k]};
        vec_push(&list, a,
                 (struct traceql_exemplar){labels, n, own_value ? slot->value : s->v[slot->step],
                                           ns_to_ms_floor(slot->start_ns)});
    }
    s->exemplars = list.v;
    s->n_exemplars = list.n;
}

static bool finish(struct counting *c, struct tq_matrix *out, struct err *err)
{
    for (uint32_t i = 0; i < c->groups.n; i++) {
        const struct group *g = &c->groups.v[i];
        size_t first = out->series.n;
        if (c->fn->fn == FN_QUANTILE) {
            if (!finish_quantiles(c, g, out, err))
                return false;
        } else if (c->fn->fn == FN_HISTOGRAM) {
            finish_buckets(c, g, out);
        } else {
            finish_plain(c, g, out);
        }
        int bucket = -1;
        for (size_t k = first; k < out->series.n && c->n_slots > 0; k++) {
            if (c->fn->fn == FN_HISTOGRAM)
                while (!g->bucket[++bucket])
                    continue;
            if (c->fn->fn != FN_QUANTILE || k == first)
                attach_exemplars(c, &out->series.v[k], i, bucket);
        }
        if (!query_tick(c->run->q, err))
            return false;
    }
    out->is_cut = c->is_cut;
    return true;
}

bool tq_run_function(struct tq_run *run, const struct tq_metrics *m, struct tq_matrix *out,
                     struct err *err)
{
    struct counting c = {.run = run, .fn = &m->fn, .memo_field = memo_field(&m->fn)};
    struct tq_walk w = {
        .run = run, .m = m, .begin_block = begin_block, .visit = count_span, .ctx = &c};
    bool is_local =
        tq_pipeline_is_local(&m->pipeline) && (!m->fn.arg || tq_field_is_local(m->fn.arg));
    for (size_t i = 0; i < m->fn.n_by; i++)
        is_local = is_local && tq_field_is_local(m->fn.by[i]);
    w.whole_traces = !is_local;
    tq_plan_make(run->q, m->fields, m->n_fields, &m->pipeline, w.whole_traces, true, &w.plan);
    w.plan.no_durations = is_local;
    for (size_t i = 0; i < m->n_fields; i++)
        w.plan.no_durations &= m->fields[i]->intrinsic != IN_DURATION;
    c.state_column = -1;
    if (run->extrapolate)
        c.state_column =
            tq_plan_column(run->q, &w.plan, (struct span_column_ref){.field = FIELD_TRACE_STATE});
    hmap_init(&c.map, &run->q->arena);
    c.scratch = arena_array(&run->q->arena, struct traceql_value, m->fn.n_by);
    c.n_slots = run->max_exemplars;
    c.slots = arena_zalloc(&run->q->arena, c.n_slots * sizeof *c.slots);
    uint32_t group;
    if (m->fn.n_by == 0 && m->fn.fn <= FN_COUNT && !group_new(&c, NULL, &group, err))
        return false; // there is always a series
    *out = (struct tq_matrix){0};
    return tq_walk_run(&w, err) && finish(&c, out, err);
}

/* ---- expressions ---- */

/* { false } | ... is known to have no series. */
static bool is_noop(const struct tq_metrics *m)
{
    const struct tq_stage *s = &m->pipeline.stages[0];
    if (s->kind != STAGE_SPANSET || s->spanset->kind != SPANSET_FILTER || !s->spanset->filter)
        return false;
    const struct tq_expr *e = s->spanset->filter;
    return e->kind == EXPR_STATIC && e->value.kind == TQ_BOOL && !e->value.value.b;
}

static bool run_metrics(struct tq_run *run, // NOLINT(misc-no-recursion): depth of the tree
                        const struct tq_metrics *m, struct tq_matrix *out, struct err *err)
{
    struct tq_matrix sides[2] = {0};
    bool ok = true;
    *out = (struct tq_matrix){0};
    if (m->kind == METRICS_BINARY) {
        const struct tq_metrics *in[] = {m->left, m->right};
        for (size_t i = 0; ok && i < COUNTOF(in); i++)
            if (in[i]->kind != METRICS_SCALAR)
                ok = run_metrics(run, in[i], &sides[i], err);
        if (!ok)
            return false;
        if (m->left->kind == METRICS_SCALAR) {
            *out = sides[1];
            tq_run_scalar(run, m->op, tq_number(&m->left->value), true, out);
        } else if (m->right->kind == METRICS_SCALAR) {
            *out = sides[0];
            tq_run_scalar(run, m->op, tq_number(&m->right->value), false, out);
        } else {
            ok = tq_run_math(run, m->op, &sides[0], &sides[1], out, err);
        }
    } else if (is_noop(m)) {
        return true;
    } else {
        ok = m->fn.fn == FN_COMPARE ? tq_run_compare(run, m, out, err)
                                    : tq_run_function(run, m, out, err);
    }
    if (!ok || !tq_run_seconds(run, m, out, err))
        return false;
    tq_matrix_compact(run, out);
    return true;
}

static bool make_grid(const struct traceql_metrics *p, struct tq_grid *g, struct err *err)
{
    char least[64];
    if (p->end_ns <= p->start_ns)
        return err_set(err, ERR_INVALID, "end must be greater than start");
    *g = (struct tq_grid){.start_ns = p->start_ns, .end_ns = p->end_ns, .n = 1};
    g->is_instant = p->step_ns <= 0;
    if (g->is_instant) {
        g->seconds = (double)(p->end_ns - p->start_ns) / 1e9;
        return true;
    }
    g->step_ns = p->step_ns;
    g->seconds = (double)p->step_ns / 1e9;
    g->start_ns = traceql_align(p->start_ns, p->step_ns, false);
    g->end_ns = traceql_align(p->end_ns, p->step_ns, true);
    int64_t range = g->end_ns - g->start_ns;
    if (range / g->step_ns > LIMIT_TRACEQL_STEPS) {
        int64_t min_step = (p->end_ns - p->start_ns) / LIMIT_TRACEQL_STEPS + 1;
        str text = dur_print_go(least, min_step);
        char step[64];
        str asked = dur_print_go(step, p->step_ns);
        return err_set(err, ERR_INVALID,
                       "step of " STR_FMT " is too small, minimum step for given range is " STR_FMT,
                       STR_ARG(asked), STR_ARG(text));
    }
    g->n = (size_t)(range / g->step_ns) + 1;
    return true;
}

int64_t traceql_align(int64_t t_ns, int64_t step_ns, bool up)
{
    int64_t rest = t_ns % step_ns;
    if (rest < 0)
        rest += step_ns;
    int64_t down = t_ns - rest;
    return up && rest > 0 ? time_add(down, step_ns) : down;
}

static size_t wanted_exemplars(const struct traceql_expr *e, size_t given)
{
    const struct traceql_value *hint = tq_hint(e, STR("exemplars"));
    if (hint && hint->kind == TQ_BOOL && !hint->value.b)
        return 0;
    if (hint && hint->kind == TQ_INT && hint->value.i >= 0)
        given = (size_t)hint->value.i;
    return MIN(given, (size_t)LIMIT_TRACEQL_EXEMPLARS);
}

/* By keys and values from the left, numbers by size. */
static int compare_series(const void *x, const void *y)
{
    const struct traceql_series *a = x, *b = y;
    for (size_t i = 0; i < a->n_labels && i < b->n_labels; i++) {
        const struct traceql_value *v = &a->labels[i].value, *w = &b->labels[i].value;
        int c = str_cmp(a->labels[i].key, b->labels[i].key);
        if (c == 0 && v->kind != w->kind)
            c = v->kind < w->kind ? -1 : 1;
        if (c == 0 && v->kind != TQ_LIST && !tq_value_eq(v, w))
            c = tq_compare(OP_LT, v, w) ? -1 : 1;
        if (c != 0)
            return c;
    }
    return a->n_labels < b->n_labels ? -1 : a->n_labels > b->n_labels;
}

bool traceql_metrics_run(struct query *q, const struct traceql_expr *e,
                         const struct traceql_metrics *params, struct traceql_matrix *out,
                         struct err *err)
{
    struct tq_run run = {.q = q, .params = params};
    struct tq_matrix m;
    if (!e->metrics)
        return err_set(err, ERR_INVALID, "not a metrics query");
    if (!make_grid(params, &run.grid, err))
        return false;
    run.max_series = MIN(params->max_series > 0 ? params->max_series : SIZE_MAX,
                         q->limits.max_series > 0 ? q->limits.max_series : SIZE_MAX);
    const struct traceql_value *extrapolate = tq_hint(e, STR("extrapolate"));
    run.extrapolate = extrapolate && extrapolate->kind == TQ_BOOL && extrapolate->value.b;
    run.max_exemplars = run.grid.is_instant ? 0 : wanted_exemplars(e, params->max_exemplars);
    if (!run_metrics(&run, e->metrics, &m, err))
        return false;
    size_t n = m.series.n;
    struct traceql_series *series = arena_array(&q->arena, struct traceql_series, n);
    for (size_t i = 0; i < n; i++) {
        const struct tq_series *s = &m.series.v[i];
        series[i] =
            (struct traceql_series){s->labels, s->n_labels, s->v, s->exemplars, s->n_exemplars};
    }
    if (n > 1)
        qsort(series, n, sizeof *series, compare_series);
    *out = (struct traceql_matrix){.start_ns =
                                       run.grid.is_instant ? params->end_ns : run.grid.start_ns,
                                   .step_ns = run.grid.step_ns,
                                   .n_steps = run.grid.n,
                                   .series = series,
                                   .n_series = MIN(n, run.max_series),
                                   .is_cut = m.is_cut || n > run.max_series,
                                   .inspected_traces = run.inspected_traces,
                                   .inspected_spans = run.inspected_spans,
                                   .inspected_bytes = q->scan.bytes};
    return query_tick(q, err);
}
