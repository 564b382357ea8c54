/* eval.c - see eval.h. Comparisons of a field with a constant are decided once per dictionary entry
 * and remembered for the block: most columns repeat few values. */
#include "query/traceql/eval.h"

#include <math.h>

#include "storage/base/enc.h"
#include "storage/base/hash.h"

void tq_block_begin(struct tq_block *t, struct query *q, const struct tq_plan *plan,
                    const struct span_block *b, size_t n_memos, struct arena *block_arena,
                    struct arena *trace_arena)
{
    *t = (struct tq_block){
        .q = q, .plan = plan, .b = b, .block_arena = block_arena, .arena = trace_arena};
    t->memos = arena_zalloc(block_arena, n_memos * ATTR_SCOPE_COUNT * sizeof *t->memos);
}

void tq_block_trace(struct tq_block *t, size_t trace)
{
    arena_reset(t->arena);
    t->first = t->b->trace_start[trace];
    t->last = t->b->trace_start[trace + 1];
    t->tree = NULL;
    t->has_span = false;
}

bool tq_block_ok(const struct tq_block *t, struct err *err)
{
    if (t->is_broken) {
        *err = t->problem;
        return false;
    }
    t->q->arena.over |= t->arena->over || t->block_arena->over; // query_tick has the words
    return !t->q->arena.over || query_tick(t->q, err);
}

void tq_trace_span(struct tq_block *t, int64_t *start_ns, int64_t *end_ns)
{
    if (!t->has_span) {
        t->has_span = true;
        t->start_ns = INT64_MAX;
        t->end_ns = INT64_MIN;
        for (uint32_t r = t->first; r < t->last; r++) {
            t->start_ns = MIN(t->start_ns, t->b->start_ns[r]);
            t->end_ns = MAX(t->end_ns, time_add(t->b->start_ns[r], t->b->duration_ns[r]));
        }
    }
    *start_ns = t->start_ns;
    *end_ns = t->end_ns;
}

/* ---- values ---- */

static struct traceql_value int_value(enum traceql_kind kind, int64_t i)
{
    return (struct traceql_value){kind, {.kind = VALUE_INT, .i = i}};
}

static struct traceql_value str_value(str s)
{
    return (struct traceql_value){TQ_STR, {.kind = VALUE_STR, .s = s}};
}

static const struct traceql_value nil = {TQ_NIL, {.kind = VALUE_EMPTY}};

struct traceql_value tq_value_of(const struct value *v)
{
    static const enum traceql_kind kinds[] = {
        [VALUE_EMPTY] = TQ_NIL, [VALUE_STR] = TQ_STR,      [VALUE_BOOL] = TQ_BOOL,
        [VALUE_INT] = TQ_INT,   [VALUE_DOUBLE] = TQ_FLOAT, [VALUE_BYTES] = TQ_NIL,
        [VALUE_LIST] = TQ_LIST, [VALUE_MAP] = TQ_NIL};
    return (struct traceql_value){kinds[v->kind], *v};
}

bool tq_value_eq(const struct traceql_value *a, const struct traceql_value *b)
{
    return a->kind == b->kind && (a->kind == TQ_NIL || value_eq(&a->value, &b->value));
}

uint64_t tq_value_hash(const struct traceql_value *v)
{
    return hash_mix((uint64_t)v->kind, v->kind == TQ_NIL ? 0 : value_hash(&v->value));
}

struct traceql_value tq_value_dup(struct arena *a, const struct traceql_value *v)
{
    return (struct traceql_value){v->kind, value_dup(a, &v->value)};
}

/* Codes of a row: *n of them (0 = absent). */
static const uint32_t *row_codes(const struct span_column *c, uint32_t row, uint32_t *n)
{
    if (c->row_start) {
        *n = c->row_start[row + 1] - c->row_start[row];
        return c->code + c->row_start[row];
    }
    *n = c->code[row] != SPAN_NO_VALUE;
    return c->code + row;
}

static str hex_id(struct tq_block *t, const uint8_t *id, size_t n)
{
    return hex_str(t->arena, str_of((const char *)id, n));
}

static str trim_zeros(str hex)
{
    while (hex.n > 1 && hex.p[0] == '0')
        hex = str_sub(hex, 1, hex.n);
    return hex;
}

static bool is_root_span(const struct tq_block *t, uint32_t row)
{
    static const uint8_t none[8];
    return memcmp(t->b->parent_id[row], none, 8) == 0;
}

bool tq_root_row(const struct tq_block *t, uint32_t *row)
{
    for (*row = t->first; *row < t->last; (*row)++) // rows are in order of start
        if (is_root_span(t, *row))
            return true;
    return false;
}

static struct traceql_value trace_value(struct tq_block *t, enum tq_intrinsic id)
{
    if (id == IN_TRACE_DURATION) {
        int64_t start, end;
        tq_trace_span(t, &start, &end);
        return int_value(TQ_DURATION, end - start);
    }
    uint32_t root;
    const struct value *v = NULL; // without a root the names are empty
    if (tq_root_row(t, &root))
        v = tq_column_value(
            t->b, id == IN_ROOT_NAME ? t->plan->name_column : t->plan->service_column, root);
    return str_value(v && v->kind == VALUE_STR ? v->s : STR(""));
}

static struct traceql_value tree_value(struct tq_block *t, enum tq_intrinsic id, uint32_t row)
{
    const struct tq_tree *tree = tq_tree(t);
    uint32_t i = row - t->first;
    switch (id) {
    case IN_NESTED_LEFT:
        return int_value(TQ_INT, tree->left[i]);
    case IN_NESTED_RIGHT:
        return int_value(TQ_INT, tree->right[i]);
    case IN_NESTED_PARENT:
        if (tree->parent[i] == TREE_ROOT)
            return int_value(TQ_INT, -1);
        return int_value(
            TQ_INT, tree->parent[i] >= 0 && tree->left[i] > 0 ? tree->left[tree->parent[i]] : 0);
    default:
        return int_value(TQ_INT, tree->children[i]);
    }
}

static struct traceql_value intrinsic_value(struct tq_block *t, const struct tq_field *f,
                                            uint32_t row)
{
    switch (f->intrinsic) {
    case IN_DURATION:
        return int_value(TQ_DURATION, t->b->duration_ns[row]);
    case IN_STATUS:
        return int_value(TQ_STATUS, t->b->status[row]);
    case IN_KIND:
        return int_value(TQ_KIND, t->b->kind[row]);
    case IN_TRACE_ID:
        return str_value(trim_zeros(hex_id(t, t->b->trace_id[row], 16)));
    case IN_SPAN_ID:
        return str_value(hex_id(t, t->b->span_id[row], 8));
    case IN_PARENT_ID:
        return str_value(is_root_span(t, row) ? STR("") : hex_id(t, t->b->parent_id[row], 8));
    case IN_ROOT_NAME:
    case IN_ROOT_SERVICE:
    case IN_TRACE_DURATION:
        return trace_value(t, f->intrinsic);
    case IN_NESTED_LEFT:
    case IN_NESTED_RIGHT:
    case IN_NESTED_PARENT:
    case IN_CHILD_COUNT:
        return tree_value(t, f->intrinsic, row);
    default:
        return nil;
    }
}

/* A value of a column, as the field shows it (ids as hex, times as durations). */
static struct traceql_value coded_value(struct tq_block *t, const struct tq_field *f,
                                        const struct value *v)
{
    struct traceql_value out = tq_value_of(v);
    if (f->intrinsic == IN_EVENT_SINCE_START && v->kind == VALUE_INT)
        out.kind = TQ_DURATION;
    if ((f->intrinsic == IN_LINK_TRACE_ID || f->intrinsic == IN_LINK_SPAN_ID) &&
        v->kind == VALUE_BYTES) {
        str hex = hex_str(t->arena, v->s);
        out = str_value(f->intrinsic == IN_LINK_TRACE_ID ? trim_zeros(hex) : hex);
    }
    return out;
}

/* The column that holds the field at a row: for unscoped attributes the first scope that has it. */
static const struct span_column *field_column(struct tq_block *t, const struct tq_field *f,
                                              uint32_t row, const uint32_t **codes, uint32_t *n)
{
    *n = 0;
    for (size_t s = 0; s < ATTR_SCOPE_COUNT; s++) {
        if (f->columns[s] < 0)
            continue;
        const struct span_column *c = &t->b->columns[f->columns[s]];
        *codes = row_codes(c, row, n);
        if (*n > 0)
            return c;
    }
    return NULL;
}

static bool has_column(const struct tq_field *f)
{
    return f->intrinsic == IN_NONE || f->columns[0] >= 0;
}

/* Names are always there: an empty one may be stored as absent. */
static struct traceql_value absent_value(const struct tq_field *f)
{
    bool is_text = f->intrinsic == IN_NAME || f->intrinsic == IN_STATUS_MESSAGE ||
                   f->intrinsic == IN_SCOPE_NAME || f->intrinsic == IN_SCOPE_VERSION;
    return is_text ? str_value(STR("")) : nil;
}

static bool test_constant(struct tq_block *t, const struct tq_expr *e,
                          const struct traceql_value *v);

static struct traceql_value chosen_value(struct tq_block *t, const struct tq_field *f,
                                         const struct span_column *c, const uint32_t *codes,
                                         uint32_t n)
{
    for (size_t i = 0; i < t->plan->comparisons.n; i++) {
        const struct tq_expr *e = t->plan->comparisons.v[i];
        for (uint32_t k = 0; k < n && e->left->field == f; k++) {
            struct traceql_value v = coded_value(t, f, &c->dict[codes[k]]);
            if (test_constant(t, e, &v))
                return v;
        }
    }
    return coded_value(t, f, &c->dict[codes[0]]);
}

struct traceql_value tq_field_value(struct tq_block *t, const struct tq_field *f, uint32_t row)
{
    const uint32_t *codes;
    uint32_t n;
    if (!has_column(f))
        return intrinsic_value(t, f, row);
    const struct span_column *c = field_column(t, f, row, &codes, &n);
    if (!c)
        return absent_value(f);
    return n > 1 ? chosen_value(t, f, c, codes, n) : coded_value(t, f, &c->dict[codes[0]]);
}

bool tq_field_next(struct tq_block *t, const struct tq_field *f, uint32_t row, uint32_t *at,
                   struct traceql_value *out)
{
    const uint32_t *codes;
    uint32_t n;
    const struct span_column *c = has_column(f) ? field_column(t, f, row, &codes, &n) : NULL;
    if (c && *at < n)
        *out = coded_value(t, f, &c->dict[codes[*at]]);
    else if (!c && *at == 0)
        *out = tq_field_value(t, f, row);
    else
        return false;
    (*at)++;
    return true;
}

/* ---- comparisons ---- */

double tq_number(const struct traceql_value *v)
{
    return v->kind == TQ_FLOAT ? v->value.d : (double)v->value.i;
}

static bool order_fits(enum tq_op op, int cmp)
{
    switch (op) {
    case OP_EQ:
        return cmp == 0;
    case OP_NE:
        return cmp != 0;
    case OP_LT:
        return cmp < 0;
    case OP_LE:
        return cmp <= 0;
    case OP_GT:
        return cmp > 0;
    case OP_GE:
        return cmp >= 0;
    default:
        return false;
    }
}

static bool compare_numbers(enum tq_op op, const struct traceql_value *a,
                            const struct traceql_value *b)
{
    if (a->kind != TQ_FLOAT && b->kind != TQ_FLOAT)
        return order_fits(op, a->value.i < b->value.i ? -1 : a->value.i > b->value.i);
    double x = tq_number(a), y = tq_number(b);
    if (isnan(x) || isnan(y))
        return op == OP_NE;
    return order_fits(op, x < y ? -1 : x > y);
}

bool tq_compare(enum tq_op op, const struct traceql_value *a, const struct traceql_value *b)
{
    if (a->kind == TQ_NIL || b->kind == TQ_NIL)
        return false;
    if (tq_is_number(a) && tq_is_number(b))
        return compare_numbers(op, a, b);
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case TQ_STR:
        return order_fits(op, str_cmp(a->value.s, b->value.s));
    case TQ_BOOL:
        return order_fits(op, (int)a->value.b - (int)b->value.b);
    case TQ_STATUS:
    case TQ_KIND:
        return order_fits(op, (int)(a->value.i - b->value.i));
    case TQ_LIST:
        return op == OP_EQ ? value_eq(&a->value, &b->value)
                           : op == OP_NE && !value_eq(&a->value, &b->value);
    default:
        return false;
    }
}

static bool test_regex(struct tq_block *t, const struct tq_expr *e, str s)
{
    bool hit = false;
    if (regex_match(e->re, s, &hit, &t->problem))
        return hit == (e->op == OP_RE);
    t->is_broken = true;
    return false;
}

/* One stored value against the constant. The constant's kind decides: 1 meets ints only, 1.5
 * doubles only (intrinsics mix). */
static bool test_constant(struct tq_block *t, const struct tq_expr *e,
                          const struct traceql_value *v) // NOLINT(misc-no-recursion): one level
{
    const struct traceql_value *c = &e->right->value;
    enum tq_intrinsic id = e->left->field->intrinsic;
    if (v->kind == TQ_LIST) {
        bool all = e->op == OP_NE || e->op == OP_NRE;
        for (size_t i = 0; i < v->value.list.n; i++) {
            struct traceql_value item = tq_value_of(&v->value.list.v[i]);
            if (item.kind != TQ_LIST && test_constant(t, e, &item) != all)
                return !all;
        }
        return all && v->value.list.n > 0;
    }
    if (c->kind == TQ_NIL) // bytes and maps compare with nothing, but they exist
        return (e->op == OP_NE) == (v->value.kind != VALUE_EMPTY);
    if (e->re)
        return v->kind == TQ_STR && test_regex(t, e, v->value.s);
    if (id == IN_NONE && c->kind != TQ_DURATION && v->kind != c->kind)
        return false;
    if ((id == IN_TRACE_ID || id == IN_LINK_TRACE_ID) && c->kind == TQ_STR) {
        struct traceql_value trimmed = str_value(trim_zeros(c->value.s));
        return tq_compare(e->op, v, &trimmed); // leading zeros do not matter
    }
    return tq_compare(e->op, v, c);
}

static bool test_code(struct tq_block *t, const struct tq_expr *e, const struct span_column *c,
                      size_t slot, uint32_t code)
{
    uint8_t **memo = &t->memos[(size_t)e->memo * ATTR_SCOPE_COUNT + slot];
    if (!*memo)
        *memo = arena_zalloc(t->block_arena, c->n_dict + 1);
    uint8_t *known = &(*memo)[code];
    if (*known == 0) {
        struct traceql_value v = coded_value(t, e->left->field, &c->dict[code]);
        *known = test_constant(t, e, &v) ? 2 : 1;
    }
    return *known == 2;
}

/* Is there an event (a link) that has no such attribute? */
static bool an_owner_lacks(const struct tq_block *t, const struct tq_field *f, uint32_t row)
{
    uint32_t owners, values;
    (void)row_codes(&t->b->columns[f->owners], row, &owners);
    (void)row_codes(&t->b->columns[f->columns[f->scope]], row, &values);
    return values < owners;
}

static bool test_leaf(struct tq_block *t, const struct tq_expr *e, uint32_t row)
{
    const struct tq_field *f = e->left->field;
    const uint32_t *codes;
    uint32_t n;
    struct traceql_value v;
    if (e->is_root_test) {
        v = int_value(TQ_INT, is_root_span(t, row) ? -1 : 0);
        return test_constant(t, e, &v);
    }
    if (f->owners >= 0 && e->op == OP_EQ && e->right->value.kind == TQ_NIL)
        return an_owner_lacks(t, f, row);
    const struct span_column *c = has_column(f) ? field_column(t, f, row, &codes, &n) : NULL;
    if (!c) {
        v = tq_field_value(t, f, row);
        return v.kind == TQ_NIL ? e->right->value.kind == TQ_NIL && e->op == OP_EQ
                                : test_constant(t, e, &v);
    }
    size_t slot = 0;
    while (f->columns[slot] < 0 || &t->b->columns[f->columns[slot]] != c)
        slot++;
    for (uint32_t i = 0; i < n; i++)
        if (test_code(t, e, c, slot, codes[i]))
            return true;
    return false;
}

/* ---- expressions ---- */

static struct traceql_value bool_value(bool b)
{
    return (struct traceql_value){TQ_BOOL, {.kind = VALUE_BOOL, .b = b}};
}

/* The next value of an operand: of fields every one, of anything else the only one. */
static bool next_operand(struct tq_block *t, const struct tq_expr *e, // NOLINT(misc-no-recursion)
                         uint32_t row, uint32_t *at, struct traceql_value *out)
{
    if (e->kind == EXPR_FIELD)
        return tq_field_next(t, e->field, row, at, out);
    if ((*at)++ > 0)
        return false;
    *out = tq_expr_value(t, e, row);
    return true;
}

/* a op b with lists: as with constants, any pair, all pairs for negations. */
static bool compare_lists(enum tq_op op, const struct traceql_value *a,
                          const struct traceql_value *b)
{
    bool all = op == OP_NE;
    size_t n = a->kind == TQ_LIST ? a->value.list.n : 1,
           m = b->kind == TQ_LIST ? b->value.list.n : 1;
    for (size_t i = 0; i < n; i++) {
        struct traceql_value x = a->kind == TQ_LIST ? tq_value_of(&a->value.list.v[i]) : *a;
        for (size_t k = 0; k < m; k++) {
            struct traceql_value y = b->kind == TQ_LIST ? tq_value_of(&b->value.list.v[k]) : *b;
            if (tq_compare(op, &x, &y) != all)
                return !all;
        }
    }
    return all && n > 0 && m > 0;
}

/* Any value of the left side against any of the right side. */
static bool compare_any(struct tq_block *t, const struct tq_expr *e, // NOLINT(misc-no-recursion)
                        uint32_t row)
{
    struct traceql_value l, r;
    bool with_nil = e->right->kind == EXPR_STATIC && e->right->value.kind == TQ_NIL;
    for (uint32_t i = 0; next_operand(t, e->left, row, &i, &l);) {
        if (with_nil)
            return e->left->kind != EXPR_STATIC && (e->op == OP_NE) == (l.kind != TQ_NIL);
        if (e->re) {
            if (l.kind == TQ_STR && test_regex(t, e, l.value.s))
                return true;
            continue;
        }
        for (uint32_t k = 0; next_operand(t, e->right, row, &k, &r);) {
            bool lists = (l.kind == TQ_LIST) != (r.kind == TQ_LIST);
            if (lists ? compare_lists(e->op, &l, &r) : tq_compare(e->op, &l, &r))
                return true;
        }
    }
    return false;
}

struct traceql_value tq_expr_value(struct tq_block *t, // NOLINT(misc-no-recursion): tree
                                   const struct tq_expr *e, uint32_t row)
{
    struct traceql_value l, r, v;
    switch (e->kind) {
    case EXPR_STATIC:
        return e->value;
    case EXPR_FIELD:
        return tq_field_value(t, e->field, row);
    case EXPR_UNARY:
        l = tq_expr_value(t, e->left, row);
        if (e->op == OP_NOT)
            return l.kind == TQ_BOOL ? bool_value(!l.value.b) : nil;
        if (l.kind == TQ_FLOAT)
            l.value.d = -l.value.d;
        else if (tq_is_number(&l))
            l.value.i = (int64_t)(0 - (uint64_t)l.value.i);
        else
            l = nil;
        return l;
    case EXPR_BINARY:
        if (e->op == OP_AND)
            return bool_value(tq_expr_true(t, e->left, row) && tq_expr_true(t, e->right, row));
        if (e->op == OP_OR)
            return bool_value(tq_expr_true(t, e->left, row) || tq_expr_true(t, e->right, row));
        if (e->op >= OP_EQ && e->op <= OP_NRE)
            return bool_value(e->memo >= 0 ? test_leaf(t, e, row) : compare_any(t, e, row));
        l = tq_expr_value(t, e->left, row);
        r = tq_expr_value(t, e->right, row);
        return tq_arithmetic(e->op, &l, &r, &v) ? v : nil;
    }
    return nil;
}

bool tq_expr_true(struct tq_block *t, const struct tq_expr *e, // NOLINT(misc-no-recursion): tree
                  uint32_t row)
{
    struct traceql_value v;
    for (uint32_t at = 0; next_operand(t, e, row, &at, &v);)
        if (v.kind == TQ_BOOL && v.value.b)
            return true;
    return false;
}
