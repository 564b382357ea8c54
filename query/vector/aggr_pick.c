/* aggr_pick.c - aggregations that choose whole series (topk, bottomk, limitk, limit_ratio) or make
 * labels of values (count_values). */
#include <math.h>

#include "query/vector/group.h"
#include "storage/base/hash.h"
#include "storage/base/hmap.h"
#include "storage/base/num.h"

/* Output series of the input series that have been chosen so far. */
struct picks {
    struct matrix *out;
    const struct matrix *in;
    uint32_t *at; // input -> output index, HMAP_NONE
};

static void picks_init(struct query *q, struct picks *p, const struct matrix *in,
                       struct matrix *out)
{
    *p = (struct picks){out, in, arena_alloc(&q->arena, in->series.n * sizeof *p->at)};
    for (size_t k = 0; k < in->series.n; k++)
        p->at[k] = HMAP_NONE;
}

static bool pick(struct query *q, struct picks *p, uint32_t series, size_t i, struct err *err)
{
    const struct mseries *from = &p->in->series.v[series];
    struct mseries *to;
    if (p->at[series] == HMAP_NONE) {
        p->at[series] = (uint32_t)p->out->series.n;
        if (!matrix_add(q, p->out, from->labels, &to, err))
            return false;
        to->drop_name = from->drop_name;
    }
    to = &p->out->series.v[p->at[series]];
    to->v[i] = from->v[i];
    if (cell_hist(from, i) != NULL)
        mseries_set_hist(q, p->out, to, i, cell_hist(from, i));
    return true;
}

/* The parameter as a count: below 1 is 0. */
static bool count_of(double param, size_t *k, struct err *err)
{
    char text[NUM_TEXT_MAX];
    if (isnan(param))
        return err_set(err, ERR_EXEC, "Parameter value is NaN");
    if (param >= 9223372036854775808.0 || param < -9223372036854775808.0)
        return err_set(err, ERR_EXEC, "Scalar value " STR_FMT " %s int64",
                       STR_ARG(num_print_f64_go(text, param)),
                       param > 0 ? "overflows" : "underflows");
    *k = param < 1 ? 0 : (size_t)param;
    return true;
}

/* ---- topk, bottomk ---- */

struct ranked {
    double v;
    uint32_t series;
};

struct rank { // a heap of at most k, the worst on top
    struct ranked *v;
    size_t n;
    bool largest;   // topk
    bool last_wins; // of equal values
    bool as_met;    // PromQL: equal values have no order, the heap's form decides among them
};

/* Not an order when as_met: a NaN is worse than another one, too. Prometheus compares in this way,
 * and which of equal values it chooses follows from it. */
static bool is_worse(const struct rank *r, struct ranked a, struct ranked b)
{
    if (r->as_met)
        return isnan(a.v) || (r->largest ? a.v < b.v : a.v > b.v);
    if (isnan(a.v) != isnan(b.v))
        return isnan(a.v);
    if (!isnan(a.v) && a.v != b.v)
        return r->largest ? a.v < b.v : a.v > b.v;
    return r->last_wins ? a.series < b.series : a.series > b.series;
}

static void swap(struct ranked *a, struct ranked *b)
{
    struct ranked t = *a;
    *a = *b;
    *b = t;
}

static void rank_push(struct rank *r, struct ranked x)
{
    size_t i = r->n++;
    r->v[i] = x;
    while (i > 0 && is_worse(r, r->v[i], r->v[(i - 1) / 2])) {
        swap(&r->v[i], &r->v[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
}

static void rank_sink(struct rank *r) // after the top has changed
{
    for (size_t i = 0;;) {
        size_t worst = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < r->n; child++)
            if (is_worse(r, r->v[child], r->v[worst]))
                worst = child;
        if (worst == i)
            return;
        swap(&r->v[i], &r->v[worst]);
        i = worst;
    }
}

#define SORT_SHORT 12 // up to here Go's sort, which leaves equal values as they stand, inserts

static void insertion_sort(struct rank *r)
{
    for (size_t i = 1; i < r->n; i++)
        for (size_t k = i; k > 0 && is_worse(r, r->v[k - 1], r->v[k]); k--)
            swap(&r->v[k - 1], &r->v[k]);
}

/* Turns the heap into a list, best first. */
static size_t rank_sort(struct rank *r)
{
    size_t n = r->n;
    if (r->as_met && n <= SORT_SHORT) {
        insertion_sort(r);
        return n;
    }
    while (r->n > 1) {
        swap(&r->v[0], &r->v[r->n - 1]);
        r->n--;
        rank_sink(r);
    }
    return n;
}

static void rank_step(struct query *q, const struct aggr *ag, const struct matrix *in,
                      const uint32_t *member, size_t n, size_t k, size_t i, struct rank *r)
{
    r->n = 0;
    for (size_t m = 0; m < n; m++) {
        const struct mseries *s = &in->series.v[member[m]];
        if (is_stale(s->v[i])) {
            if (cell_hist(s, i) != NULL)
                query_info(q, "PromQL info: ignored histogram in %s aggregation",
                           aggr_name(ag->op));
            continue;
        }
        struct ranked x = {s->v[i], member[m]};
        if (r->n < k) {
            rank_push(r, x);
        } else if (is_worse(r, r->v[0], x) && !(isnan(r->v[0].v) && isnan(x.v))) {
            r->v[0] = x;
            rank_sink(r);
        }
    }
}

bool aggr_rank(struct query *q, const struct aggr *ag, const struct matrix *in,
               const struct groups *g, struct matrix *out, struct err *err)
{
    struct picks picks;
    struct rank r = {.v = arena_array(&q->arena, struct ranked, g->longest),
                     .largest = ag->op == AGGR_TOPK,
                     .as_met = ag->dialect == DIALECT_PROMQL,
                     .last_wins = ag->dialect == DIALECT_TRACEQL && ag->op == AGGR_BOTTOMK};
    picks_init(q, &picks, in, out);
    for (size_t i = 0; i < in->grid.n; i++) {
        size_t k = 0;
        if (!count_of(ag->param[i], &k, err))
            return false;
        for (size_t j = 0; j < g->n && k > 0; j++) {
            if (!query_tick(q, err))
                return false;
            rank_step(q, ag, in, g->member + g->start[j], g->start[j + 1] - g->start[j], k, i, &r);
            size_t n = rank_sort(&r);
            for (size_t m = 0; m < n; m++)
                if (!pick(q, &picks, r.v[m].series, i, err))
                    return false;
        }
    }
    return true;
}

/* ---- limitk, limit_ratio ---- */

#define LONG_SIZE 255 // sizes from there on take three bytes more

static void put_sized(struct buf *b, str s)
{
    buf_u8(b, (uint8_t)MIN(s.n, LONG_SIZE));
    for (unsigned shift = 0; s.n >= LONG_SIZE && shift < 24; shift += 8)
        buf_u8(b, (uint8_t)(s.n >> shift));
    buf_add(b, s);
}

/* The share in 0..1 at which a label set stands: by Prometheus' hash of labels, so that both choose
 * the same series. The metric name counts, also where it is about to go. */
static double share_of(struct labels l)
{
    struct buf b;
    buf_init(&b, SIZE_MAX);
    for (size_t i = 0; i < l.n; i++) {
        put_sized(&b, l.v[i].name);
        put_sized(&b, l.v[i].value);
    }
    uint64_t hash = hash64_classic(buf_str(&b));
    buf_deinit(&b);
    return (double)hash / (double)UINT64_MAX;
}

static bool limit_group(struct query *q, const struct matrix *in, const uint32_t *member, size_t n,
                        size_t k, size_t i, struct picks *picks, struct err *err)
{
    for (size_t m = 0, got = 0; m < n && got < k; m++) {
        if (!cell_present(&in->series.v[member[m]], i))
            continue;
        if (!pick(q, picks, member[m], i, err))
            return false;
        got++;
    }
    return true;
}

static bool ratio_step(struct query *q, const struct matrix *in, const double *share, double ratio,
                       size_t i, struct picks *picks, struct err *err)
{
    for (size_t k = 0; k < in->series.n; k++) {
        bool chosen = ratio >= 0 ? share[k] < ratio : share[k] >= 1 + ratio;
        if (chosen && cell_present(&in->series.v[k], i) && !pick(q, picks, (uint32_t)k, i, err))
            return false;
    }
    return true;
}

bool aggr_limit(struct query *q, const struct aggr *ag, const struct matrix *in,
                const struct groups *g, struct matrix *out, struct err *err)
{
    struct picks picks;
    bool by_ratio = ag->op == AGGR_LIMIT_RATIO;
    double *share = arena_array(&q->arena, double, by_ratio ? in->series.n : 0);
    for (size_t k = 0; k < in->series.n && by_ratio; k++)
        share[k] = share_of(in->series.v[k].labels);
    picks_init(q, &picks, in, out);
    for (size_t i = 0; i < in->grid.n; i++) {
        size_t k = 0;
        if (!query_tick(q, err))
            return false;
        if (by_ratio) {
            if (!ratio_step(q, in, share, MAX(-1, MIN(1, ag->param[i])), i, &picks, err))
                return false;
            continue;
        }
        if (!count_of(ag->param[i], &k, err))
            return false;
        for (size_t j = 0; j < g->n; j++)
            if (!limit_group(q, in, g->member + g->start[j], g->start[j + 1] - g->start[j], k, i,
                             &picks, err))
                return false;
    }
    return true;
}

/* ---- count_values ---- */

struct value_series { // key of one output series
    uint32_t group;
    str text;
};

struct values {
    VEC(struct value_series) keys; // by output index
    struct hmap map;
    bool unlabeled; // without (label): the value's own label goes again, all texts are one
};

struct find_value {
    const struct values *values;
    struct value_series key;
};

static bool value_series_eq(const void *ctx, uint32_t index)
{
    const struct find_value *f = ctx;
    const struct value_series *k = &f->values->keys.v[index];
    return k->group == f->key.group && str_eq(k->text, f->key.text);
}

static bool count_one(struct query *q, const struct aggr *ag, const struct groups *g,
                      struct values *values, struct value_series key, size_t i, struct matrix *out,
                      struct err *err)
{
    uint64_t hash = hash_mix(hash64(key.text), key.group);
    struct find_value find = {values, key};
    uint32_t at = hmap_find(&values->map, hash, value_series_eq, &find);
    if (at == HMAP_NONE) {
        struct labels l = g->labels[key.group];
        struct mseries *s;
        key.text = arena_dup(&q->arena, key.text);
        if (!values->unlabeled)
            l = labels_with(&q->arena, l, ag->label, key.text);
        at = (uint32_t)out->series.n;
        if (!matrix_add(q, out, l, &s, err))
            return false;
        s->drop_name = g->drop_name[key.group] && labels_has(l, METRIC_NAME);
        vec_push(&values->keys, &q->arena, key);
        hmap_put(&values->map, hash, at);
    }
    double *v = &out->series.v[at].v[i];
    *v = is_stale(*v) ? 1 : *v + 1;
    return true;
}

static bool count_series(struct query *q, const struct aggr *ag, const struct matrix *in,
                         const struct groups *g, uint32_t group, uint32_t series,
                         struct values *values, struct buf *text, struct matrix *out,
                         struct err *err)
{
    const struct mseries *s = &in->series.v[series];
    char digits[NUM_TEXT_MAX];
    for (size_t i = 0; i < in->grid.n; i++) {
        struct value_series key = {group, (str){0}};
        if (!cell_present(s, i))
            continue;
        if (!query_tick(q, err))
            return false;
        if (values->unlabeled) {
            key.text = STR("");
        } else if (cell_hist(s, i) != NULL) {
            buf_clear(text);
            hist_print(text, cell_hist(s, i));
            key.text = buf_str(text);
        } else {
            key.text = num_print_f64_plain(digits, s->v[i]);
        }
        if (!count_one(q, ag, g, values, key, i, out, err))
            return false;
    }
    return true;
}

bool aggr_count_values(struct query *q, const struct aggr *ag, const struct matrix *in,
                       struct matrix *out, struct err *err)
{
    struct groups g;
    struct values values = {0};
    struct buf text;
    if (!groups_build(q, ag, in, ag->label, &g, err))
        return false;
    hmap_init(&values.map, &q->arena);
    buf_init(&text, MIB);
    values.unlabeled = ag->without && str_eq(ag->label, METRIC_NAME);
    for (size_t k = 0; k < ag->n_names; k++)
        values.unlabeled |= ag->without && str_eq(ag->names[k], ag->label);
    bool ok = true;
    for (uint32_t j = 0; j < g.n && ok; j++)
        for (uint32_t m = g.start[j]; m < g.start[j + 1] && ok; m++)
            ok = count_series(q, ag, in, &g, j, g.member[m], &values, &text, out, err);
    buf_deinit(&text);
    return ok;
}
