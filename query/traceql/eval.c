/* eval.c - see eval.h. Comparisons of a field with a constant are decided once per dictionary entry
 * and remembered for the block: most columns repeat few values. */
#include "query/traceql/eval.h"

#include <math.h>

#include "storage/base/enc.h"
#include "storage/base/hmap.h"

void tq_block_begin(struct tq_block *t, struct query *q, const struct tq_plan *plan,
                    const struct span_block *b, size_t n_memos, struct arena *block_arena,
                    struct arena *trace_arena)
{
    *t = (struct tq_block){.q = q,
                           .plan = plan,
                           .b = b,
                           .n_memos = n_memos,
                           .block_arena = block_arena,
                           .arena = trace_arena};
    t->memos =
        arena_zalloc(block_arena, MAX(n_memos * ATTR_SCOPE_COUNT, (size_t)1) * sizeof *t->memos);
}

void tq_block_trace(struct tq_block *t, size_t trace)
{
    t->first = t->b->trace_start[trace];
    t->last = t->b->trace_start[trace + 1];
    t->tree = NULL;
}

/* ---- the tree ---- */

struct id_key {
    const struct tq_block *t;
    const uint8_t *id;
};

static bool same_span_id(const void *ctx, uint32_t row)
{
    const struct id_key *key = ctx;
    return memcmp(key->t->b->span_id[key->t->first + row], key->id, 8) == 0;
}

static uint64_t id_hash(const uint8_t *id)
{
    return hash64(str_of((const char *)id, 8));
}

static void link_parents(struct tq_block *t, struct tq_tree *tree, uint32_t n)
{
    static const uint8_t none[8];
    struct hmap ids;
    hmap_init(&ids, t->arena);
    for (uint32_t i = 0; i < n; i++) {
        struct id_key key = {t, t->b->span_id[t->first + i]};
        uint64_t hash = id_hash(key.id);
        uint32_t old = hmap_find(&ids, hash, same_span_id, &key);
        if (old == HMAP_NONE)
            hmap_put(&ids, hash, i);
    }
    for (uint32_t i = 0; i < n; i++) {
        struct id_key key = {t, t->b->parent_id[t->first + i]};
        if (memcmp(key.id, none, 8) == 0) {
            tree->parent[i] = -1;
            continue;
        }
        uint32_t parent = hmap_find(&ids, id_hash(key.id), same_span_id, &key);
        tree->parent[i] = parent == HMAP_NONE || parent == i ? -2 : (int32_t)parent;
    }
}

/* Depth-first numbering from the roots, without recursion: child lists by counting sort, an
 * explicit stack. Cycles are never reached from a root, so they keep 0. */
static void number_tree(struct tq_block *t, struct tq_tree *tree, uint32_t n)
{
    uint32_t *start = arena_zalloc(t->arena, (n + 2) * sizeof *start),
             *child = arena_alloc(t->arena, (n + 1) * sizeof *child);
    uint32_t *stack = arena_alloc(t->arena, (n + 1) * sizeof *stack),
             *cursor = arena_alloc(t->arena, (n + 1) * sizeof *cursor);
    for (uint32_t i = 0; i < n; i++)
        if (tree->parent[i] >= 0)
            start[tree->parent[i] + 1]++;
    for (uint32_t i = 0; i < n; i++) {
        tree->children[i] = start[i + 1];
        start[i + 1] += start[i];
        cursor[i] = start[i];
    }
    for (uint32_t i = 0; i < n; i++)
        if (tree->parent[i] >= 0)
            child[cursor[tree->parent[i]]++] = i;
    for (uint32_t i = 0; i < n; i++)
        cursor[i] = start[i];
    int32_t number = 1;
    for (uint32_t root = 0; root < n; root++) {
        if (tree->parent[root] != -1)
            continue;
        if (tree->root < 0)
            tree->root = (int32_t)root;
        uint32_t depth = 0;
        stack[depth++] = root;
        tree->left[root] = number++;
        while (depth > 0) {
            uint32_t at = stack[depth - 1];
            if (cursor[at] < start[at + 1]) {
                uint32_t down = child[cursor[at]++];
                tree->left[down] = number++;
                stack[depth++] = down;
            } else {
                tree->right[at] = number++;
                depth--;
            }
        }
    }
}

const struct tq_tree *tq_tree(struct tq_block *t)
{
    if (t->tree)
        return t->tree;
    uint32_t n = t->last - t->first;
    struct tq_tree *tree = arena_new(t->arena, struct tq_tree);
    tree->parent = arena_alloc(t->arena, (n + 1) * sizeof *tree->parent);
    tree->left = arena_zalloc(t->arena, (n + 1) * sizeof *tree->left);
    tree->right = arena_zalloc(t->arena, (n + 1) * sizeof *tree->right);
    tree->children = arena_zalloc(t->arena, (n + 1) * sizeof *tree->children);
    tree->root = -1;
    link_parents(t, tree, n);
    number_tree(t, tree, n);
    t->tree = tree;
    return tree;
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

static struct traceql_value from_attr(const struct value *v)
{
    static const enum traceql_kind kinds[] = {
        [VALUE_EMPTY] = TQ_NIL, [VALUE_STR] = TQ_STR,      [VALUE_BOOL] = TQ_BOOL,
        [VALUE_INT] = TQ_INT,   [VALUE_DOUBLE] = TQ_FLOAT, [VALUE_BYTES] = TQ_NIL,
        [VALUE_LIST] = TQ_LIST, [VALUE_MAP] = TQ_NIL};
    return (struct traceql_value){kinds[v->kind], *v};
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

static str column_text(const struct span_block *b, int column, uint32_t row)
{
    const struct span_column *c = &b->columns[column];
    uint32_t n;
    const uint32_t *codes = row_codes(c, row, &n);
    return n > 0 && c->dict[codes[0]].kind == VALUE_STR ? c->dict[codes[0]].s : (str){0};
}

static struct traceql_value trace_value(struct tq_block *t, enum tq_intrinsic id)
{
    if (id == IN_TRACE_DURATION) {
        int64_t start = INT64_MAX, end = INT64_MIN;
        for (uint32_t r = t->first; r < t->last; r++) {
            start = MIN(start, t->b->start_ns[r]);
            end = MAX(end, time_add(t->b->start_ns[r], t->b->duration_ns[r]));
        }
        return int_value(TQ_DURATION, end - start);
    }
    int32_t root = tq_tree(t)->root;
    if (root < 0)
        return nil;
    int column = id == IN_ROOT_NAME ? t->plan->name_column : t->plan->service_column;
    str s = column_text(t->b, column, t->first + (uint32_t)root);
    return s.p ? str_value(s) : nil;
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
        if (tree->parent[i] == -1)
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
    case IN_PARENT_ID: {
        static const uint8_t none[8];
        bool is_root = memcmp(t->b->parent_id[row], none, 8) == 0;
        return str_value(is_root ? STR("") : hex_id(t, t->b->parent_id[row], 8));
    }
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
    struct traceql_value out = from_attr(v);
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

struct traceql_value tq_field_value(struct tq_block *t, const struct tq_field *f, uint32_t row)
{
    const uint32_t *codes;
    uint32_t n;
    if (!has_column(f))
        return intrinsic_value(t, f, row);
    const struct span_column *c = field_column(t, f, row, &codes, &n);
    if (c)
        return coded_value(t, f, &c->dict[codes[0]]);
    bool is_text = f->intrinsic == IN_NAME || f->intrinsic == IN_STATUS_MESSAGE ||
                   f->intrinsic == IN_SCOPE_NAME || f->intrinsic == IN_SCOPE_VERSION;
    return is_text ? str_value(STR("")) : nil; // an empty name is stored as absent
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

static bool test_regex(const struct tq_expr *e, str s)
{
    bool hit = false;
    struct err ignored = ERR_OK; // over its step limit: no match
    return regex_match(e->re, s, &hit, &ignored) && hit == (e->op == OP_RE);
}

/* One stored value against the constant. The constant's kind decides: 1 meets ints only, 1.5
 * doubles only (intrinsics mix). */
static bool test_constant(const struct tq_expr *e, const struct traceql_value *v, bool is_intrinsic)
{
    const struct traceql_value *c = &e->right->value;
    if (v->kind == TQ_LIST) {
        bool all = e->op == OP_NE || e->op == OP_NRE;
        for (size_t i = 0; i < v->value.list.n; i++) {
            struct traceql_value item = from_attr(&v->value.list.v[i]);
            if (item.kind != TQ_LIST && test_constant(e, &item, is_intrinsic) != all)
                return !all;
        }
        return all && v->value.list.n > 0;
    }
    if (c->kind == TQ_NIL)
        return (e->op == OP_NE) == (v->kind != TQ_NIL);
    if (e->re)
        return v->kind == TQ_STR && test_regex(e, v->value.s);
    if (!is_intrinsic && c->kind != TQ_DURATION && v->kind != c->kind)
        return false;
    return tq_compare(e->op, v, c);
}

/* Absent: only `= nil` holds. */
static bool test_absent(const struct tq_expr *e)
{
    return e->right->value.kind == TQ_NIL && e->op == OP_EQ;
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
        *known = test_constant(e, &v, e->left->field->intrinsic != IN_NONE) ? 2 : 1;
    }
    return *known == 2;
}

static bool test_leaf(struct tq_block *t, const struct tq_expr *e, uint32_t row)
{
    const struct tq_field *f = e->left->field;
    const uint32_t *codes;
    uint32_t n;
    if (!has_column(f) || t->n_memos == 0) {
        struct traceql_value v = tq_field_value(t, f, row);
        if (f->intrinsic == IN_TRACE_ID && e->right->value.kind == TQ_STR && !e->re) {
            struct traceql_value c =
                str_value(trim_zeros(e->right->value.value.s)); // leading zeros do not matter
            return tq_compare(e->op, &v, &c);
        }
        return test_constant(e, &v, true);
    }
    const struct span_column *c = field_column(t, f, row, &codes, &n);
    if (!c) {
        struct traceql_value v = tq_field_value(t, f, row);
        return v.kind == TQ_NIL ? test_absent(e) : test_constant(e, &v, true);
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

static struct traceql_value arithmetic(enum tq_op op, const struct traceql_value *a,
                                       const struct traceql_value *b)
{
    if (!tq_is_number(a) || !tq_is_number(b))
        return nil;
    bool is_float = a->kind == TQ_FLOAT || b->kind == TQ_FLOAT || op == OP_POW;
    double x = tq_number(a), y = tq_number(b), r;
    if (!is_float) {
        int64_t i = a->value.i, k = b->value.i, out = 0;
        bool over = false;
        if ((op == OP_DIV || op == OP_MOD) && (k == 0 || (k == -1 && i == INT64_MIN)))
            return nil; // no value, so no match
        switch (op) {
        case OP_ADD:
            over = __builtin_add_overflow(i, k, &out);
            break;
        case OP_SUB:
            over = __builtin_sub_overflow(i, k, &out);
            break;
        case OP_MUL:
            over = __builtin_mul_overflow(i, k, &out);
            break;
        case OP_DIV:
            out = i / k;
            break;
        default:
            out = i % k;
        }
        bool is_duration = a->kind == TQ_DURATION || b->kind == TQ_DURATION;
        return over ? nil : int_value(is_duration ? TQ_DURATION : TQ_INT, out);
    }
    switch (op) {
    case OP_ADD:
        r = x + y;
        break;
    case OP_SUB:
        r = x - y;
        break;
    case OP_MUL:
        r = x * y;
        break;
    case OP_DIV:
        r = x / y;
        break;
    case OP_MOD:
        r = fmod(x, y);
        break;
    default:
        r = pow(x, y);
    }
    if (op == OP_POW && a->kind == TQ_INT && b->kind == TQ_INT && fabs(r) < 9e15)
        return int_value(TQ_INT, (int64_t)r);
    return (struct traceql_value){TQ_FLOAT, {.kind = VALUE_DOUBLE, .d = r}};
}

static struct traceql_value bool_value(bool b)
{
    return (struct traceql_value){TQ_BOOL, {.kind = VALUE_BOOL, .b = b}};
}

static bool compare_any(struct tq_block *t, const struct tq_expr *e,
                        uint32_t row) // NOLINT(misc-no-recursion)
{
    struct traceql_value l = tq_expr_value(t, e->left, row), r = tq_expr_value(t, e->right, row);
    if (e->right->kind == EXPR_STATIC && r.kind == TQ_NIL)
        return (e->op == OP_NE) == (l.kind != TQ_NIL) && e->left->kind != EXPR_STATIC;
    if (e->left->kind == EXPR_STATIC && l.kind == TQ_NIL)
        return (e->op == OP_NE) == (r.kind != TQ_NIL);
    if (e->re)
        return l.kind == TQ_STR && test_regex(e, l.value.s);
    if (e->left->kind == EXPR_STATIC && e->right->kind == EXPR_FIELD) {
        bool mixes = e->right->field->intrinsic != IN_NONE || l.kind == TQ_DURATION;
        if (!mixes && l.kind != r.kind)
            return false;
    }
    return tq_compare(e->op, &l, &r);
}

struct traceql_value tq_expr_value(struct tq_block *t, const struct tq_expr *e,
                                   uint32_t row) // NOLINT(misc-no-recursion): tree
{
    struct traceql_value l, r;
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
        return arithmetic(e->op, &l, &r);
    }
    return nil;
}

bool tq_expr_true(struct tq_block *t, const struct tq_expr *e,
                  uint32_t row) // NOLINT(misc-no-recursion)
{
    struct traceql_value v = tq_expr_value(t, e, row);
    return v.kind == TQ_BOOL && v.value.b;
}
