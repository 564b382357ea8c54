/* match.c - binary operators between vectors, with on/ignoring, group_left/right and fill.
 *
 * One match group after the other: the "one" side becomes an index per step (which of its series is
 * there), then every series of the "many" side is run along the steps against it. One-to-one is the
 * same with the left as the many side and a check that no step is matched twice. Errors are found
 * per step, as if every step were evaluated on its own. */
#include "query/vector/group.h"
#include "query/vector/joint.h"
#include "storage/base/hmap.h"

#define NONE HMAP_NONE

struct made { // a result label set of the group at hand, and the steps at which it came out
    struct labels labels;
    uint64_t *steps;
};

struct matching {
    struct query *q;
    const struct binary *b;
    struct joint *j;
    const struct joint_side *many, *one;
    bool many_is_right;
    bool fill_many, fill_one; // make up a cell where that side has none
    double fill_many_v, fill_one_v;
    bool *both; // per step: duplicates on the one side are an error
    struct matrix *out;
    bool must_merge; // result series of different members may have equal labels
    // of the group at hand
    uint32_t group;
    uint32_t *one_at; // per step: series of the one side, or NONE
    bool *taken;      // per step: matched already
    bool check_made;
    struct hmap made_map;
    VEC(struct made) made;
    // of the pair at hand
    struct row row;
    uint64_t *steps; // bit set: matched, whatever the operator made of it
    size_t words;
};

static bool many_to_many(struct matching *x, uint32_t s1, uint32_t s2, struct err *err)
{
    const char *side = x->many_is_right ? "left" : "right";
    if (x->b->dialect != DIALECT_PROMQL)
        return err_set(err, ERR_EXEC,
                       "found duplicate series on the %s hand-side;many-to-many matching not "
                       "allowed: matching labels must be unique on one side",
                       side);
    struct buf key, a, b;
    buf_init(&key, ERR_TEXT_MAX);
    buf_init(&a, ERR_TEXT_MAX);
    buf_init(&b, ERR_TEXT_MAX);
    labels_print_braces(&key, x->j->labels[x->group]);
    labels_print_braces(&a, x->one->m->series.v[s1].labels);
    labels_print_braces(&b, x->one->m->series.v[s2].labels);
    bool turn = str_cmp(buf_str(&a), buf_str(&b)) > 0;
    err_set(err, ERR_EXEC,
            "found duplicate series for the match group " STR_FMT
            " on the %s hand-side of the operation: [" STR_FMT ", " STR_FMT
            "];many-to-many matching not allowed: matching labels must be unique on one side",
            STR_ARG(buf_str(&key)), side, STR_ARG(buf_str(turn ? &b : &a)),
            STR_ARG(buf_str(turn ? &a : &b)));
    buf_deinit(&key);
    buf_deinit(&a);
    buf_deinit(&b);
    return false;
}

/* Upstream goes step by step: the first step with duplicates on the one side, and in it the first
 * of them in the order of series, are what its error names. False when there are any before
 * `until`. */
static bool no_duplicates(struct matching *x, size_t until, struct err *err)
{
    const struct joint_side *s = x->one;
    size_t n = s->m->series.n;
    uint32_t *group_of = arena_array(&x->q->arena, uint32_t, n);
    uint32_t *seen = arena_array(&x->q->arena, uint32_t, x->j->n);
    for (uint32_t g = 0; g < x->j->n; g++)
        for (uint32_t m = s->start[g]; m < s->start[g + 1]; m++)
            group_of[s->member[m]] = g;
    for (size_t i = 0; i < until; i++) {
        for (size_t g = 0; g < x->j->n && x->both[i]; g++)
            seen[g] = NONE;
        for (uint32_t k = 0; k < n && x->both[i]; k++) {
            if (!cell_present(&s->m->series.v[k], i))
                continue;
            x->group = group_of[k];
            if (seen[x->group] != NONE)
                return many_to_many(x, seen[x->group], k, err);
            seen[x->group] = k;
        }
    }
    return true;
}

/* Which series of the one side is there at each step? */
static bool index_one(struct matching *x, struct err *err)
{
    const struct joint_side *s = x->one;
    size_t steps = x->out->grid.n;
    for (size_t i = 0; i < steps; i++)
        x->one_at[i] = NONE;
    for (uint32_t m = s->start[x->group]; m < s->start[x->group + 1]; m++) {
        const struct mseries *series = &s->m->series.v[s->member[m]];
        for (size_t i = 0; i < steps; i++) {
            if (!cell_present(series, i))
                continue;
            if (x->one_at[i] != NONE && x->both[i])
                return no_duplicates(x, steps, err);
            x->one_at[i] = s->member[m];
        }
    }
    return true;
}

static struct operand operand_of(const struct mseries *s, size_t i)
{
    return (struct operand){s->v[i], cell_hist(s, i)};
}

/* False: the two do not go together (said), which is no match. */
static bool pair_cell(struct matching *x, struct operand many, struct operand one, size_t i)
{
    struct operand l = x->many_is_right ? one : many, r = x->many_is_right ? many : one;
    if (!binop_cell(x->q, x->b, l, r, l, &x->row, i))
        return false;
    x->steps[i / 64] |= UINT64_C(1) << (i % 64);
    return true;
}

/* ---- results ---- */

/* PromQL's arithmetic takes the name away at once, while all else only marks it. */
static bool drops_at_once(const struct binary *b)
{
    return b->dialect == DIALECT_PROMQL && binop_drops_name(b) && !binop_is_comparison(b->op);
}

static struct labels result_labels(struct matching *x, struct labels many, struct labels one)
{
    static const str described[] = {STR_INIT("__name__"), STR_INIT("__type__"),
                                    STR_INIT("__unit__")};
    const struct match *m = &x->b->match;
    struct arena *a = &x->q->arena;
    if (drops_at_once(x->b))
        many = labels_drop(a, many, described, COUNTOF(described));
    if (m->card == CARD_ONE_TO_ONE)
        return m->on ? labels_keep(a, many, m->names, m->n_names)
                     : labels_drop(a, many, m->names, m->n_names);
    for (size_t i = 0; i < m->n_include; i++)
        many = labels_with(a, many, m->include[i], labels_get(one, m->include[i]));
    return many;
}

struct find_made {
    const struct made *v;
    struct labels key;
};

static bool made_eq(const void *ctx, uint32_t index)
{
    const struct find_made *f = ctx;
    return labels_eq(f->v[index].labels, f->key);
}

/* Labels taken from the one side can make equals of different series of the many side. */
static bool check_unique(struct matching *x, struct labels labels, struct err *err)
{
    uint64_t hash = labels_hash(labels);
    struct find_made find = {x->made.v, labels};
    uint32_t at = hmap_find(&x->made_map, hash, made_eq, &find);
    if (at == HMAP_NONE) {
        uint64_t *steps = arena_alloc(&x->q->arena, x->words * sizeof *steps);
        memcpy(steps, x->steps, x->words * sizeof *steps);
        hmap_put(&x->made_map, hash, (uint32_t)x->made.n);
        vec_push(&x->made, &x->q->arena, (struct made){labels, steps});
        return true;
    }
    for (size_t w = 0; w < x->words; w++) {
        if (x->made.v[at].steps[w] & x->steps[w])
            return err_set(err, ERR_EXEC,
                           "multiple matches for labels: grouping labels must ensure unique "
                           "matches");
        x->made.v[at].steps[w] |= x->steps[w];
    }
    x->must_merge = true;
    return true;
}

static bool emit(struct matching *x, struct labels many, bool drop_name, struct labels one,
                 struct err *err)
{
    bool any = false;
    for (size_t w = 0; w < x->words; w++)
        any |= x->steps[w] != 0;
    if (!any)
        return true;
    struct labels l = result_labels(x, many, one);
    struct mseries *s;
    /* Upstream forgets that the name of a compared or trimmed element was to go. */
    bool forgets = x->b->dialect == DIALECT_PROMQL;
    bool drop = !drops_at_once(x->b) && ((drop_name && !forgets) || binop_drops_name(x->b)) &&
                labels_has(l, METRIC_NAME);
    return (!x->check_made || check_unique(x, l, err)) &&
           row_add(x->q, &x->row, x->out, l, drop, &s, err);
}

static void pair_clear(struct matching *x)
{
    row_clear(&x->row, x->out->grid.n);
    memset(x->steps, 0, x->words * sizeof *x->steps);
}

/* ---- pairs ---- */

/* A series of the many side against the one side; only the steps at which that is `only`, unless
 * any_one. */
static bool run_pair(struct matching *x, const struct mseries *s, bool any_one, uint32_t only,
                     struct err *err)
{
    pair_clear(x);
    for (size_t i = 0; i < x->out->grid.n; i++) {
        uint32_t o = x->one_at[i];
        if (!cell_present(s, i))
            continue;
        if ((!any_one && o != only) || (o == NONE && !x->fill_one))
            continue;
        struct operand one = {x->fill_one_v, NULL};
        if (o != NONE)
            one = operand_of(&x->one->m->series.v[o], i);
        if (!pair_cell(x, operand_of(s, i), one, i))
            continue;
        if (x->taken[i] && x->b->match.card == CARD_ONE_TO_ONE)
            return no_duplicates(x, i + 1, err) &&
                   err_set(err, ERR_EXEC,
                           "multiple matches for labels: many-to-one matching must be explicit "
                           "(group_left/group_right)");
        x->taken[i] = true;
    }
    struct labels one = x->j->labels[x->group]; // what a made-up series carries
    if (!any_one && only != NONE)
        one = x->one->m->series.v[only].labels;
    return emit(x, s->labels, s->drop_name, one, err);
}

/* The made-up series of the many side, where the one side stands alone. */
static bool run_made_up(struct matching *x, bool any_one, uint32_t only, struct err *err)
{
    pair_clear(x);
    for (size_t i = 0; i < x->out->grid.n; i++) {
        uint32_t o = x->one_at[i];
        if (o == NONE || x->taken[i] || (!any_one && o != only))
            continue;
        (void)pair_cell(x, (struct operand){x->fill_many_v, NULL},
                        operand_of(&x->one->m->series.v[o], i), i);
    }
    struct labels one = any_one ? (struct labels){0} : x->one->m->series.v[only].labels;
    return emit(x, x->j->labels[x->group], false, one, err);
}

/* Result labels depend on the series of the one side only when some are taken from there: then
 * each of them is run on its own. */
static bool run_many(struct matching *x, const struct mseries *s, struct err *err)
{
    const struct joint_side *one = x->one;
    uint32_t from = one->start[x->group], to = one->start[x->group + 1];
    if (x->b->match.n_include == 0)
        return s != NULL ? run_pair(x, s, true, NONE, err) : run_made_up(x, true, NONE, err);
    for (uint32_t m = from; m < to; m++)
        if (s != NULL ? !run_pair(x, s, false, one->member[m], err)
                      : !run_made_up(x, false, one->member[m], err))
            return false;
    return s == NULL || !x->fill_one || run_pair(x, s, false, NONE, err);
}

static bool names_differ(const struct joint_side *s, uint32_t group)
{
    uint32_t from = s->start[group];
    str first = labels_get(s->m->series.v[s->member[from]].labels, METRIC_NAME);
    for (uint32_t m = from + 1; m < s->start[group + 1]; m++)
        if (!str_eq(labels_get(s->m->series.v[s->member[m]].labels, METRIC_NAME), first))
            return true;
    return false;
}

static bool run_group(struct matching *x, uint32_t group, struct err *err)
{
    const struct joint_side *s = x->many;
    uint32_t n_many = s->start[group + 1] - s->start[group];
    uint32_t n_one = x->one->start[group + 1] - x->one->start[group];
    x->group = group;
    if ((n_many == 0 && !x->fill_many && n_one < 2) || (n_one == 0 && !x->fill_one))
        return true;
    if (!index_one(x, err))
        return false;
    memset(x->taken, 0, x->out->grid.n * sizeof *x->taken);
    x->check_made = n_many > 1 &&
                    (x->b->match.n_include > 0 || (drops_at_once(x->b) && names_differ(s, group)));
    x->must_merge |= x->b->match.card == CARD_ONE_TO_ONE ? n_many > 1 : n_one > 1;
    x->must_merge |= x->fill_many || x->fill_one;
    x->made.n = 0;
    hmap_init(&x->made_map, NULL);
    bool ok = true;
    for (uint32_t m = s->start[group]; m < s->start[group + 1] && ok; m++)
        ok = query_tick(x->q, err) && run_many(x, &s->m->series.v[s->member[m]], err);
    if (ok && x->fill_many)
        ok = run_many(x, NULL, err);
    hmap_deinit(&x->made_map);
    return ok;
}

/* ---- everything ---- */

static void steps_there(const struct matrix *m, bool *there)
{
    for (size_t k = 0; k < m->series.n; k++)
        for (size_t i = 0; i < m->grid.n; i++)
            there[i] |= cell_present(&m->series.v[k], i);
}

static void setup(struct matching *x)
{
    const struct match *match = &x->b->match;
    size_t steps = x->out->grid.n;
    struct arena *a = &x->q->arena;
    x->many_is_right = match->card == CARD_ONE_TO_MANY;
    x->many = x->many_is_right ? &x->j->r : &x->j->l;
    x->one = x->many_is_right ? &x->j->l : &x->j->r;
    /* Prometheus swaps the operands of group_right before it fills: "left" is the many side. */
    x->fill_many = match->has_fill_left;
    x->fill_one = match->has_fill_right;
    x->fill_many_v = match->fill_left;
    x->fill_one_v = match->fill_right;
    x->both = arena_zalloc(a, steps);
    x->one_at = arena_array(a, uint32_t, steps);
    x->taken = arena_zalloc(a, steps);
    x->words = (steps + 63) / 64;
    x->steps = arena_array(a, uint64_t, x->words);
    row_init(x->q, &x->row, steps);
    bool *there = arena_zalloc(a, steps);
    steps_there(x->many->m, x->both);
    steps_there(x->one->m, there);
    for (size_t i = 0; i < steps; i++)
        x->both[i] = (x->both[i] && there[i]) || x->fill_many || x->fill_one;
}

bool binop_match(struct query *q, const struct binary *b, const struct matrix *l,
                 const struct matrix *r, struct matrix *out, struct err *err)
{
    struct joint j;
    struct matrix m;
    matrix_init(&m, l->grid);
    if (!joint_build(q, b, l, r, &j, err))
        return false;
    struct matching x = {.q = q, .b = b, .j = &j, .out = &m};
    setup(&x);
    for (size_t group = 0; group < j.n; group++)
        if (!query_tick(q, err) || !run_group(&x, (uint32_t)group, err))
            return false;
    for (size_t i = 0; i < b->match.n_names; i++) // groups that differ in the name alone
        x.must_merge |= b->match.on && drops_at_once(b) && str_eq(b->match.names[i], METRIC_NAME);
    if (x.must_merge && !matrix_merge(q, &m, err))
        return false;
    *out = m;
    return true;
}
