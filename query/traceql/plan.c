/* plan.c - see plan.h. A condition is only a hint for skipping, so the planner gives up (no
 * conditions) wherever it is not sure: wrong hints would lose traces, missing ones only cost time.
 */
#include "query/traceql/plan.h"

int tq_plan_column(struct query *q, struct tq_plan *p, struct span_column_ref ref)
{
    for (size_t i = 0; i < p->columns.n; i++) {
        const struct span_column_ref *c = &p->columns.v[i];
        if (c->field == ref.field &&
            (ref.field != FIELD_ATTR || (c->scope == ref.scope && str_eq(c->key, ref.key))))
            return (int)i;
    }
    vec_push(&p->columns, &q->arena, ref);
    return (int)p->columns.n - 1;
}

/* The column of an intrinsic that has one; false for those that are fixed columns or computed. */
static bool intrinsic_column(enum tq_intrinsic id, enum span_field *out)
{
    static const struct {
        enum tq_intrinsic id;
        enum span_field field;
    } rows[] = {
        {IN_NAME, FIELD_NAME},
        {IN_STATUS_MESSAGE, FIELD_STATUS_MESSAGE},
        {IN_EVENT_NAME, FIELD_EVENT_NAME},
        {IN_EVENT_SINCE_START, FIELD_EVENT_SINCE_START},
        {IN_LINK_TRACE_ID, FIELD_LINK_TRACE_ID},
        {IN_LINK_SPAN_ID, FIELD_LINK_SPAN_ID},
        {IN_SCOPE_NAME, FIELD_SCOPE_NAME},
        {IN_SCOPE_VERSION, FIELD_SCOPE_VERSION},
    };
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        if (rows[i].id == id) {
            *out = rows[i].field;
            return true;
        }
    }
    return false;
}

static void plan_field(struct query *q, struct tq_plan *p, struct tq_field *f)
{
    enum span_field field;
    if (f->intrinsic != IN_NONE) {
        if (intrinsic_column(f->intrinsic, &field))
            f->columns[0] = tq_plan_column(q, p, (struct span_column_ref){.field = field});
        return;
    }
    for (int s = 0; s < ATTR_SCOPE_COUNT; s++)
        if (f->scope == s || f->scope == TQ_SCOPE_ANY)
            f->columns[s] = tq_plan_column(
                q, p, (struct span_column_ref){FIELD_ATTR, (enum attr_scope)s, f->key});
    if (f->needs_owners)
        f->owners = tq_plan_column(q, p,
                                   (struct span_column_ref){.field = f->scope == ATTR_EVENT
                                                                         ? FIELD_EVENT_NAME
                                                                         : FIELD_LINK_SPAN_ID});
}

const struct value *tq_column_value(const struct span_block *b, int column, uint32_t row)
{
    const struct span_column *c = &b->columns[column];
    return c->code[row] == SPAN_NO_VALUE ? NULL : &c->dict[c->code[row]];
}

/* ---- conditions ---- */

static bool cond_op(enum tq_op op, bool is_nil, enum span_cond_op *out)
{
    static const enum span_cond_op ops[] = {
        [OP_EQ] = COND_EQ, [OP_NE] = COND_NE, [OP_LT] = COND_LT, [OP_LE] = COND_LE,
        [OP_GT] = COND_GT, [OP_GE] = COND_GE, [OP_RE] = COND_RE, [OP_NRE] = COND_NRE};
    if (op < OP_EQ || op > OP_NRE || (is_nil && op != OP_NE))
        return false;
    *out = is_nil ? COND_EXISTS : ops[op];
    return true;
}

/* field op static as one condition (several for an unscoped attribute: any of them). Returns how
 * many, 0 = none possible. */
static size_t leaf_conds(const struct tq_expr *e, struct span_cond out[ATTR_SCOPE_COUNT])
{
    struct span_cond c = {0};
    if (e->kind != EXPR_BINARY || e->left->kind != EXPR_FIELD || e->right->kind != EXPR_STATIC)
        return 0;
    const struct tq_field *f = e->left->field;
    const struct traceql_value *v = &e->right->value;
    if (!cond_op(e->op, v->kind == TQ_NIL, &c.op))
        return 0;
    c.value = v->value;
    c.re = e->re;
    switch (f->intrinsic) {
    case IN_DURATION:
        if (v->kind != TQ_INT && v->kind != TQ_DURATION)
            return 0;
        c.field = COND_DURATION;
        break;
    case IN_STATUS:
        c.field = COND_STATUS;
        break;
    case IN_KIND:
        c.field = COND_KIND;
        break;
    case IN_NESTED_PARENT: // nestedSetParent < 0, the usual way to ask for roots
        if (!e->is_root_test || (e->op != OP_LT && e->op != OP_LE && e->op != OP_EQ) ||
            (e->op == OP_LE || e->op == OP_EQ ? v->value.i != -1 : v->value.i != 0))
            return 0;
        c.field = COND_IS_ROOT;
        c.op = COND_EXISTS;
        break;
    case IN_NAME:
    case IN_STATUS_MESSAGE:
        c.field = COND_COLUMN;
        c.column.field = f->intrinsic == IN_NAME ? FIELD_NAME : FIELD_STATUS_MESSAGE;
        if (v->kind != TQ_STR || e->op == OP_NE || e->op == OP_NRE)
            return 0; // an empty name is a value, too
        break;
    case IN_NONE:
        c.field = COND_COLUMN;
        c.column.field = FIELD_ATTR;
        c.column.key = f->key;
        if (v->kind == TQ_DURATION || v->kind == TQ_STATUS || v->kind == TQ_KIND)
            return 0;
        if (v->kind == TQ_FLOAT && e->op == OP_NE)
            return 0; // NaN differs from every number, storage thinks otherwise
        if (f->scope != TQ_SCOPE_ANY) {
            c.column.scope = (enum attr_scope)f->scope;
            break;
        }
        for (size_t s = 0; s < ATTR_SCOPE_COUNT; s++) {
            out[s] = c;
            out[s].column.scope = (enum attr_scope)s;
        }
        return ATTR_SCOPE_COUNT;
    default:
        return 0;
    }
    out[0] = c;
    return 1;
}

/* trace:id = "2f3e": no other trace needs to be read. */
static const uint8_t *only_trace(struct query *q, const struct tq_expr *e)
{
    if (e->kind != EXPR_BINARY || e->op != OP_EQ || e->left->kind != EXPR_FIELD ||
        e->left->field->intrinsic != IN_TRACE_ID || e->right->kind != EXPR_STATIC ||
        e->right->value.kind != TQ_STR)
        return NULL;
    str hex = e->right->value.value.s;
    uint8_t *id = arena_zalloc(&q->arena, 16);
    if (hex.n == 0 || hex.n > 32)
        return NULL;
    for (size_t i = 0; i < hex.n; i++) {
        char c = hex.p[hex.n - 1 - i];
        bool is_digit = c >= '0' && c <= '9';
        if (!is_digit && !(c >= 'a' && c <= 'f'))
            return NULL;
        unsigned v = is_digit ? (unsigned)(c - '0') : (unsigned)(c - 'a') + 10;
        id[15 - i / 2] |= (uint8_t)(v << (i % 2 * 4));
    }
    return id;
}

/* Necessary conditions of a conjunction; what is no simple leaf is left out. */
static void conjuncts(struct query *q, struct tq_plan *p, // NOLINT(misc-no-recursion): the tree
                      const struct tq_expr *e)
{
    struct span_cond leaf[ATTR_SCOPE_COUNT];
    const uint8_t *id = only_trace(q, e);
    if (id)
        p->trace_id = id;
    if (e->kind == EXPR_BINARY && e->op == OP_AND) {
        conjuncts(q, p, e->left);
        conjuncts(q, p, e->right);
    } else if (leaf_conds(e, leaf) == 1) {
        vec_push(&p->conds, &q->arena, leaf[0]);
    }
}

/* Leaves of a disjunction; false when one of them is no simple leaf. */
static bool disjuncts(struct query *q, struct tq_plan *p, // NOLINT(misc-no-recursion): the tree
                      const struct tq_expr *e)
{
    struct span_cond leaf[ATTR_SCOPE_COUNT];
    if (e->kind == EXPR_BINARY && e->op == OP_OR)
        return disjuncts(q, p, e->left) && disjuncts(q, p, e->right);
    size_t n = leaf_conds(e, leaf);
    for (size_t i = 0; i < n; i++)
        vec_push(&p->conds, &q->arena, leaf[i]);
    return n > 0;
}

/* One part of a conjunction that is a disjunction of leaves (unscoped attributes are). */
static bool any_part(struct query *q, struct tq_plan *p, // NOLINT(misc-no-recursion): the tree
                     const struct tq_expr *e)
{
    if (e->kind == EXPR_BINARY && e->op == OP_AND)
        return any_part(q, p, e->left) || any_part(q, p, e->right);
    p->conds.n = 0;
    return disjuncts(q, p, e);
}

static void filter_conds(struct query *q, struct tq_plan *p, const struct tq_expr *filter)
{
    conjuncts(q, p, filter);
    p->all_conds = p->conds.n > 0;
    if (!p->all_conds && !any_part(q, p, filter))
        p->conds.n = 0;
}

/* About how few spans meet a filter: what it asks of storage tells. 0: nothing is asked. */
static int rarity(const struct tq_expr *e) // NOLINT(misc-no-recursion): depth of the tree
{
    struct span_cond leaf[ATTR_SCOPE_COUNT];
    if (!e)
        return 0;
    if (e->kind == EXPR_BINARY && e->op == OP_AND)
        return MAX(rarity(e->left), rarity(e->right));
    if (e->kind == EXPR_BINARY && e->op == OP_OR)
        return MIN(rarity(e->left), rarity(e->right));
    if (e->kind == EXPR_BINARY && e->op == OP_EQ && e->left->kind == EXPR_FIELD &&
        e->left->field->intrinsic == IN_TRACE_ID)
        return 4;
    if (leaf_conds(e, leaf) == 0 || leaf[0].op == COND_NE || leaf[0].op == COND_NRE)
        return 0;
    if (leaf[0].field == COND_KIND || leaf[0].field == COND_IS_ROOT || leaf[0].op == COND_EXISTS)
        return 1;
    return leaf[0].field == COND_COLUMN && leaf[0].op == COND_EQ ? 3 : 2;
}

/* A filter that must have a span in every trace of the result: its conditions may skip. `counted`:
 * one that the resulting spans themselves meet, when only those in a time range are asked for. */
static const struct tq_expr *needed_filter(const struct tq_pipeline *p, bool counted);

static const struct tq_expr *
needed_by_spanset(const struct tq_spanset *s, // NOLINT(misc-no-recursion): depth of the tree
                  bool counted)
{
    const struct tq_expr *left = NULL, *right;
    switch (s->kind) {
    case SPANSET_FILTER:
        return s->filter;
    case SPANSET_BINARY:
        if (s->op == OP_OR)
            return NULL;
        right = needed_by_spanset(s->right, counted);
        if (s->is_negated || (counted && s->op != OP_AND))
            return right; // without any span of the left side it may be a result, too
        left = needed_by_spanset(s->left, counted);
        return !right || rarity(left) > rarity(right) ? left : right;
    case SPANSET_PIPELINE:
        return needed_filter(s->pipeline, counted);
    }
    return NULL;
}

/* Of the first stage that is a filter: only filters and groupings stand before it. */
static const struct tq_expr *
needed_filter(const struct tq_pipeline *p, // NOLINT(misc-no-recursion): depth of the tree
              bool counted)
{
    for (size_t i = 0; i < p->n; i++) {
        const struct tq_expr *e = NULL;
        if (p->stages[i].kind == STAGE_SPANSET)
            e = needed_by_spanset(p->stages[i].spanset, counted);
        if (e)
            return e;
    }
    return NULL;
}

/* ---- locality ---- */

bool tq_field_is_local(const struct tq_field *f)
{
    switch (f->intrinsic) {
    case IN_ROOT_NAME:
    case IN_ROOT_SERVICE:
    case IN_TRACE_DURATION:
    case IN_CHILD_COUNT:
    case IN_NESTED_LEFT:
    case IN_NESTED_RIGHT:
    case IN_NESTED_PARENT:
        return false;
    default:
        return true;
    }
}

static bool expr_is_local(const struct tq_expr *e) // NOLINT(misc-no-recursion): depth of the tree
{
    switch (e->kind) {
    case EXPR_STATIC:
        return true;
    case EXPR_FIELD:
        return tq_field_is_local(e->field);
    case EXPR_UNARY:
        return expr_is_local(e->left);
    case EXPR_BINARY:
        return e->is_root_test || (expr_is_local(e->left) && expr_is_local(e->right));
    }
    return false;
}

bool tq_spanset_is_local(const struct tq_spanset *s) // NOLINT(misc-no-recursion)
{
    switch (s->kind) {
    case SPANSET_FILTER:
        return !s->filter || expr_is_local(s->filter);
    case SPANSET_BINARY:
        return s->op == OP_OR && tq_spanset_is_local(s->left) && tq_spanset_is_local(s->right);
    case SPANSET_PIPELINE:
        return tq_pipeline_is_local(s->pipeline);
    }
    return false;
}

bool tq_pipeline_is_local(const struct tq_pipeline *p) // NOLINT(misc-no-recursion): see above
{
    for (size_t i = 0; i < p->n; i++) {
        const struct tq_stage *s = &p->stages[i];
        if (s->kind == STAGE_SELECT)
            continue;
        if (s->kind != STAGE_SPANSET || !tq_spanset_is_local(s->spanset))
            return false;
    }
    return true;
}

/* ---- comparisons ---- */

/* May a span have several values of it? */
static bool is_multi(const struct tq_field *f)
{
    return f->intrinsic == IN_EVENT_NAME || f->intrinsic == IN_EVENT_SINCE_START ||
           f->intrinsic == IN_LINK_TRACE_ID || f->intrinsic == IN_LINK_SPAN_ID ||
           (f->intrinsic == IN_NONE &&
            (f->scope == ATTR_EVENT || f->scope == ATTR_LINK || f->scope == TQ_SCOPE_ANY));
}

static void collect_expr(struct query *q, struct tq_plan *p,
                         const struct tq_expr *e) // NOLINT(misc-no-recursion)
{
    if (e->kind == EXPR_UNARY || e->kind == EXPR_BINARY)
        collect_expr(q, p, e->left);
    if (e->kind == EXPR_BINARY)
        collect_expr(q, p, e->right);
    if (e->kind == EXPR_BINARY && e->memo >= 0 && is_multi(e->left->field))
        vec_push(&p->comparisons, &q->arena, e);
}

static void collect_pipeline(struct query *q, struct tq_plan *p, const struct tq_pipeline *from);

static void collect_spanset(struct query *q,
                            struct tq_plan *p, // NOLINT(misc-no-recursion): depth of the tree
                            const struct tq_spanset *set)
{
    if (set->kind == SPANSET_FILTER && set->filter)
        collect_expr(q, p, set->filter);
    if (set->kind == SPANSET_PIPELINE)
        collect_pipeline(q, p, set->pipeline);
    if (set->kind == SPANSET_BINARY) {
        collect_spanset(q, p, set->left);
        collect_spanset(q, p, set->right);
    }
}

static void collect_pipeline(struct query *q,
                             struct tq_plan *p, // NOLINT(misc-no-recursion): depth of the tree
                             const struct tq_pipeline *from)
{
    for (size_t i = 0; i < from->n; i++)
        if (from->stages[i].kind == STAGE_SPANSET)
            collect_spanset(q, p, from->stages[i].spanset);
}

/* ---- all ---- */

void tq_plan_make(struct query *q, struct tq_field *const *fields, size_t n_fields,
                  const struct tq_pipeline *pipeline, bool with_trace, bool counted,
                  struct tq_plan *out)
{
    *out = (struct tq_plan){.name_column = -1, .service_column = -1};
    if (with_trace) {
        out->name_column = tq_plan_column(q, out, (struct span_column_ref){.field = FIELD_NAME});
        out->service_column = tq_plan_column(
            q, out, (struct span_column_ref){FIELD_ATTR, ATTR_RESOURCE, STR("service.name")});
    }
    for (size_t i = 0; i < n_fields; i++)
        plan_field(q, out, fields[i]);
    if (pipeline)
        collect_pipeline(q, out, pipeline);
    const struct tq_expr *filter = pipeline ? needed_filter(pipeline, counted) : NULL;
    if (filter)
        filter_conds(q, out, filter);
}

bool tq_plan_open(struct query *q, const struct tq_plan *p, struct time_range range,
                  bool whole_traces, struct span_iter **out, struct err *err)
{
    int64_t reach = whole_traces ? TRACE_REACH_NS : 0;
    struct time_range wide = {time_add(range.start_ns, -reach), time_add(range.end_ns, reach)};
    struct snapshot *snap;
    struct span_select sel = {.start_ns = range.start_ns,
                              .end_ns = range.end_ns,
                              .columns = p->columns.v,
                              .n_columns = p->columns.n,
                              .conds = p->conds.v,
                              .n_conds = p->conds.n,
                              .all_conds = p->all_conds,
                              .whole_traces = whole_traces,
                              .no_durations = p->no_durations,
                              .trace_id = p->trace_id,
                              .ticker = &q->ticker,
                              .stats = &q->scan,
                              .crew = q->crew};
    return query_snapshot(q, SIGNAL_TRACES, wide, &snap, err) &&
           span_iter_open(snap, &sel, &q->budget, out, err);
}
