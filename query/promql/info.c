/* info.c - info(v, {matchers}): joins series with info series (target_info) on instance and job and
 * adds their other labels.
 *
 * The join is made anew at every step, since info series come and go: a base series may become
 * several output series, one per label set that it has had. */
#include "query/promql/info.h"

#include "query/promql/source.h"
#include "storage/base/hmap.h"
#include "storage/base/num.h"

static const str id_labels[] = {STR_INIT("instance"), STR_INIT("job")};

struct info {
    struct eval *e;
    struct matchers names; // on the info metric's name
    struct matchers data;  // on labels; empty: all labels are added
    bool may_miss;         // every data matcher accepts the empty string
    struct matrix series;  // info series: cells are the samples' times
    struct hmap by_id;     // hash of instance and job -> first info series
    uint32_t *next;        // the next one with the same hash
    struct matrix *out;
};

/* ---- the selector ---- */

// NOLINTNEXTLINE(misc-no-recursion): depth is bounded by the parser
static const struct node *first_selector(const struct node *n)
{
    const struct node *found = NULL;
    switch (n->kind) {
    case NODE_NUMBER:
    case NODE_STRING:
        return NULL;
    case NODE_SELECTOR:
        return n;
    case NODE_MATRIX:
        return n->matrix.selector;
    case NODE_SUBQUERY:
        return n->subquery.mods.at != AT_NONE || n->subquery.mods.offset != NULL
                   ? n
                   : first_selector(n->subquery.expr);
    case NODE_PAREN:
        return first_selector(n->paren);
    case NODE_UNARY:
        return first_selector(n->unary.expr);
    case NODE_BINARY:
        found = first_selector(n->binary.l);
        return found != NULL ? found : first_selector(n->binary.r);
    case NODE_AGGR:
        return first_selector(n->aggr.expr);
    case NODE_CALL:
        for (size_t i = 0; i < n->call.n_args && found == NULL; i++)
            found = first_selector(n->call.args[i]);
        return found;
    }
    return NULL;
}

bool info_selector(const struct node *call, struct node *out)
{
    if (call->kind != NODE_CALL || call->call.func->call != call_info)
        return false;
    const struct node *base = first_selector(call->call.args[0]);
    *out = (struct node){.kind = NODE_SELECTOR, .type = PROMQL_VECTOR, .pos = call->pos};
    if (base != NULL) {
        out->selector.mods =
            base->kind == NODE_SUBQUERY ? base->subquery.mods : base->selector.mods;
        out->selector.mods.extend = EXTEND_NONE;
    }
    return true;
}

/* Splits the braces into matchers on the name and others. */
static bool split_matchers(struct info *x, const struct node *n, struct err *err)
{
    struct query *q = x->e->q;
    VEC(struct matcher) names = {0}, data = {0};
    struct matchers given = {0};
    struct matcher m;
    bool positive = false;
    if (n->call.n_args > 1)
        given = n->call.args[1]->selector.matchers;
    x->may_miss = true;
    for (size_t i = 0; i < given.n; i++) {
        if (!str_eq(given.v[i].name, METRIC_NAME)) {
            vec_push(&data, &q->arena, given.v[i]);
            x->may_miss = x->may_miss && matcher_accepts_empty(&given.v[i]);
        } else {
            vec_push(&names, &q->arena, given.v[i]);
            positive = positive || given.v[i].op == MATCH_EQ || given.v[i].op == MATCH_RE;
        }
    }
    if (!positive) {
        bool any = names.n > 0;
        if (!query_matcher(q, &m, any ? MATCH_RE : MATCH_EQ, METRIC_NAME,
                           any ? STR(".+_info") : STR("target_info"), err))
            return false;
        vec_push(&names, &q->arena, m);
    }
    x->names = (struct matchers){names.v, names.n};
    x->data = (struct matchers){data.v, data.n};
    return true;
}

/* ---- info series by identity ---- */

static bool same_id(struct labels a, struct labels b)
{
    for (size_t i = 0; i < COUNTOF(id_labels); i++)
        if (!str_eq(labels_get(a, id_labels[i]), labels_get(b, id_labels[i])))
            return false;
    return true;
}

static uint64_t id_hash(struct labels l)
{
    return hash_mix(hash64(labels_get(l, id_labels[0])), hash64(labels_get(l, id_labels[1])));
}

static bool id_eq(const void *ctx, uint32_t index)
{
    const struct info *x = ((const void *const *)ctx)[0];
    const struct labels *l = ((const void *const *)ctx)[1];
    return same_id(x->series.series.v[index].labels, *l);
}

static uint32_t id_find(const struct info *x, struct labels l)
{
    const void *ctx[] = {x, &l};
    return hmap_find(&x->by_id, id_hash(l), id_eq, ctx);
}

static bool load_series(struct info *x, const struct node *n, struct err *err)
{
    struct query *q = x->e->q;
    struct node sel;
    struct matrix values;
    if (!info_selector(n, &sel))
        return false;
    size_t count = x->names.n + x->data.n;
    struct matcher *m = arena_array(&q->arena, struct matcher, count);
    memcpy(m, x->names.v, x->names.n * sizeof *m);
    if (x->data.n > 0)
        memcpy(m + x->names.n, x->data.v, x->data.n * sizeof *m);
    sel.selector.matchers = (struct matchers){m, count};
    if (!eval_selector(x->e, &sel, PICK_TIME, &x->series, err) ||
        !eval_selector(x->e, &sel, PICK_VALUE, &values, err))
        return false;
    for (size_t k = 0; k < values.series.n; k++)
        for (size_t i = 0; i < x->e->grid.n && values.series.v[k].h != NULL; i++)
            if (values.series.v[k].h[i] != NULL)
                return err_set(err, ERR_EXEC, "info sample should be float");
    x->next = arena_array(&q->arena, uint32_t, x->series.series.n);
    hmap_init(&x->by_id, &q->arena);
    for (size_t k = 0; k < x->series.series.n; k++) {
        struct labels l = x->series.series.v[k].labels;
        uint32_t first = id_find(x, l);
        x->next[k] = HMAP_NONE;
        if (first == HMAP_NONE) {
            hmap_put(&x->by_id, id_hash(l), (uint32_t)k);
            continue;
        }
        x->next[k] = x->next[first];
        x->next[first] = (uint32_t)k;
    }
    return true;
}

/* ---- one base series ---- */

/* Of the info series with this identity: is there a better one of the same metric at step i? */
static bool is_newest(const struct info *x, uint32_t k, uint32_t first, size_t i, bool *out,
                      struct err *err)
{
    const struct mseries *s = &x->series.series.v[k];
    *out = true;
    for (uint32_t j = first; j != HMAP_NONE; j = x->next[j]) {
        const struct mseries *other = &x->series.series.v[j];
        if (j == k || is_stale(other->v[i]) ||
            !str_eq(labels_get(other->labels, METRIC_NAME), labels_get(s->labels, METRIC_NAME)))
            continue;
        if (other->v[i] == s->v[i]) {
            struct buf b;
            char t[NUM_TEXT_MAX];
            buf_init(&b, ERR_TEXT_MAX);
            labels_print(&b, other->labels, true);
            buf_fmt(&b, " @ " STR_FMT ", new ", STR_ARG(num_print_f64_plain(t, s->v[i] * 1000)));
            labels_print(&b, s->labels, true);
            err_set(err, ERR_EXEC,
                    "found duplicate series for info metric: existing " STR_FMT " @ " STR_FMT,
                    STR_ARG(buf_str(&b)), STR_ARG(num_print_f64_plain(t, s->v[i] * 1000)));
            buf_deinit(&b);
            return false;
        }
        if (other->v[i] > s->v[i])
            *out = false;
    }
    return true;
}

static bool is_wanted(const struct info *x, struct labels base, str name)
{
    if (str_eq(name, METRIC_NAME) || labels_has(base, name))
        return false;
    for (size_t i = 0; i < COUNTOF(id_labels); i++)
        if (str_eq(name, id_labels[i]))
            return false;
    for (size_t i = 0; i < x->data.n; i++)
        if (str_eq(x->data.v[i].name, name))
            return true;
    return x->data.n == 0;
}

static bool add_labels(struct info *x, struct labels base, struct labels from, struct labels *to,
                       struct err *err)
{
    for (size_t i = 0; i < from.n; i++) {
        if (!is_wanted(x, base, from.v[i].name))
            continue;
        str have = labels_get(*to, from.v[i].name);
        if (have.n > 0 && !str_eq(have, from.v[i].value))
            return err_set(err, ERR_EXEC, "conflicting label: " STR_FMT, STR_ARG(from.v[i].name));
        *to = labels_with(&x->e->q->arena, *to, from.v[i].name, from.v[i].value);
    }
    return true;
}

/* Labels of the base series at step i. */
static bool joined(struct info *x, const struct mseries *base, uint32_t first, size_t i,
                   struct labels *out, bool *keep, struct err *err)
{
    struct labels l = base->labels;
    bool any = false;
    for (uint32_t k = first; k != HMAP_NONE; k = x->next[k]) {
        bool newest;
        if (is_stale(x->series.series.v[k].v[i]))
            continue;
        if (!is_newest(x, k, first, i, &newest, err))
            return false;
        if (newest && !add_labels(x, base->labels, x->series.series.v[k].labels, &l, err))
            return false;
        any = true;
    }
    *keep = any || x->may_miss;
    *out = l;
    return true;
}

static bool put_cell(struct info *x, const struct mseries *base, size_t i, size_t from,
                     struct labels l, struct err *err)
{
    struct matrix *m = x->out;
    struct mseries *to;
    size_t k = from; // output series of this base series start there
    while (k < m->series.n && !labels_eq(m->series.v[k].labels, l))
        k++;
    if (k == m->series.n) {
        if (!matrix_add(x->e->q, m, l, &to, err))
            return false;
        to->drop_name = base->drop_name;
    }
    to = &m->series.v[k];
    to->v[i] = base->v[i];
    if (cell_hist(base, i) != NULL)
        mseries_set_hist(x->e->q, m, to, i, base->h[i]);
    return true;
}

static bool join_series(struct info *x, const struct mseries *base, struct err *err)
{
    size_t from = x->out->series.n;
    uint32_t first = id_find(x, base->labels);
    for (size_t i = 0; i < x->e->grid.n; i++) {
        struct labels l;
        bool keep;
        if (!cell_present(base, i))
            continue;
        if (!query_tick(x->e->q, err) || !joined(x, base, first, i, &l, &keep, err) ||
            (keep && !put_cell(x, base, i, from, l, err)))
            return false;
    }
    return true;
}

/* Is the base series itself one of the info series? */
static bool is_info(const struct info *x, struct labels l, bool *out, struct err *err)
{
    *out = true;
    for (size_t i = 0; i < x->names.n && *out; i++)
        if (!matcher_test(&x->names.v[i], labels_get(l, METRIC_NAME), out, err))
            return false;
    return true;
}

bool call_info(struct eval *e, const struct node *n, struct result *out, struct err *err)
{
    struct info x = {.e = e};
    struct result v;
    struct matrix m;
    if (!split_matchers(&x, n, err) || !eval_node(e, n->call.args[0], &v, err) ||
        !load_series(&x, n, err))
        return false;
    matrix_init(&m, e->grid);
    x.out = &m;
    for (size_t k = 0; k < v.m.series.n; k++) {
        bool itself;
        if (!is_info(&x, v.m.series.v[k].labels, &itself, err))
            return false;
        if (itself)
            vec_push(&m.series, &e->q->arena, v.m.series.v[k]);
        else if (!join_series(&x, &v.m.series.v[k], err))
            return false;
    }
    *out = (struct result){.type = PROMQL_VECTOR, .m = m};
    return true;
}
