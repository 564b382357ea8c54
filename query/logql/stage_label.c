/* stage_label.c - label filters, drop, keep, and text to number.
 *
 * Both legs of an `and` are always evaluated, because the second may set the error that a later
 * filter looks for. Comparisons with numbers drop a line without the label, and let one pass whose
 * value is no number: only text filters on __error__ can sort it out. */
#include "query/lang/print.h"
#include "query/logql/ip.h"
#include "query/logql/pipeline.h"
#include "storage/base/dur.h"
#include "storage/base/num.h"
#include "storage/model/limits.h"

#define FILTER_ERR STR("LabelFilterErr")

/* ---- text to number ---- */

/* A number with an exponent that is no number because of it. */
static bool is_too_large(str value)
{
    double mantissa;
    int64_t exponent;
    size_t at = str_find_char(value, 'e');
    at = at == SIZE_MAX ? str_find_char(value, 'E') : at;
    return at != SIZE_MAX && num_parse_f64(str_sub(value, 0, at), &mantissa) &&
           num_parse_i64(str_sub(value, at + 1, value.n), &exponent);
}

static bool no_number(struct lq_line *l, str value, str *why)
{
    bool plain = true;
    for (size_t i = 0; i < value.n && plain; i++)
        plain = value.p[i] >= ' ' && value.p[i] < 0x7f && value.p[i] != '"' && value.p[i] != '\\';
    if (plain) { // without a buffer of its own: this may be said of many lines
        *why = arena_fmt(&l->scratch, "strconv.ParseFloat: parsing \"" STR_FMT "\": %s",
                         STR_ARG(value),
                         is_too_large(value) ? "value out of range" : "invalid syntax");
        return false;
    }
    struct buf b;
    buf_init(&b, 4 * LIMIT_LINE); // an escape has four bytes
    buf_add(&b, STR("strconv.ParseFloat: parsing "));
    print_quoted(&b, value);
    buf_add(&b, STR(": invalid syntax"));
    *why = arena_dup(&l->scratch, buf_str(&b));
    buf_deinit(&b);
    return false;
}

static bool convert_size(struct lq_line *l, str value, uint64_t *out, str *why)
{
    struct err err = ERR_OK;
    if (size_parse_humanize(value, out, &err))
        return true;
    *why = arena_dup(&l->scratch, str_c(err.text));
    return false;
}

static bool convert_duration(struct lq_line *l, str value, int64_t *out, str *why)
{
    struct err err = ERR_OK;
    if (dur_parse_go(value, out, &err))
        return true;
    *why = arena_dup(&l->scratch, str_c(err.text));
    return false;
}

bool lq_convert(struct lq_line *l, enum unwrap_conv conv, str value, double *out, str *why)
{
    uint64_t size;
    int64_t ns;
    switch (conv) {
    case UNWRAP_BYTES:
        if (!convert_size(l, value, &size, why))
            return false;
        *out = (double)size;
        return true;
    case UNWRAP_DURATION:
    case UNWRAP_DURATION_SECONDS:
        if (!convert_duration(l, value, &ns, why))
            return false;
        *out = (double)ns / 1e9;
        return true;
    default:
        return num_parse_f64(value, out) || no_number(l, value, why);
    }
}

/* ---- label filters ---- */

struct cond { // a label_cond made ready
    const struct label_cond *c;
    struct lq_name name;
    struct lq_ip ip;
    const struct cond *l, *r;
};

static bool compare(enum cmp_op op, bool less, bool equal)
{
    switch (op) {
    case CMP_EQ:
    case CMP_EQEQ:
        return equal;
    case CMP_NE:
        return !equal;
    case CMP_GT:
        return !less && !equal;
    case CMP_GE:
        return !less;
    case CMP_LT:
        return less;
    default:
        return less || equal;
    }
}

static bool compare_f64(enum cmp_op op, double a, double b)
{
    switch (op) {
    case CMP_GT:
        return a > b;
    case CMP_GE:
        return a >= b;
    case CMP_LT:
        return a < b;
    case CMP_LE:
        return a <= b;
    case CMP_NE:
        return a != b;
    default:
        return a == b;
    }
}

/* Comparisons with numbers, durations, sizes, addresses. */
static bool cond_value(const struct cond *c, struct lq_line *l)
{
    str value, why = {0};
    uint64_t size;
    int64_t ns;
    double v;
    bool ok = true, hit = false;
    enum line_cat cat;
    enum cmp_op op = c->c->op;
    if (c->c->kind == COND_IP && l->err.n > 0)
        return true;
    if (!lq_line_get_cat(l, c->name, &value, &cat)) // errors are no labels here
        return false;
    switch (c->c->kind) {
    case COND_IP:
        return lq_ip_test(&c->ip, value) == (op != CMP_NE);
    case COND_NUMBER:
        ok = lq_convert(l, UNWRAP_NUMBER, value, &v, &why);
        hit = ok && compare_f64(op, v, c->c->number);
        break;
    case COND_DURATION_NS:
        ok = convert_duration(l, value, &ns, &why);
        hit = ok && compare(op, ns < c->c->duration_ns, ns == c->c->duration_ns);
        break;
    default:
        ok = convert_size(l, value, &size, &why);
        hit = ok && compare(op, size < c->c->size, size == c->c->size);
        break;
    }
    if (!ok && l->err.n == 0)
        lq_line_fail(l, FILTER_ERR, why);
    return !ok || hit;
}

// NOLINTNEXTLINE(misc-no-recursion): the parser bounds the depth of trees
static bool cond_test(const struct cond *c, struct lq_line *l, bool *keep, struct err *err)
{
    bool right = false;
    str value = {0};
    switch (c->c->kind) {
    case COND_AND:
    case COND_OR:
        if (!cond_test(c->l, l, keep, err))
            return false;
        if (c->c->kind == COND_OR && *keep)
            return true;
        if (!cond_test(c->r, l, &right, err))
            return false;
        *keep = c->c->kind == COND_OR ? right : *keep && right;
        return true;
    case COND_MATCHER:
        if (!lq_line_get(l, c->name, &value))
            value = (str){0};
        return matcher_test(&c->c->matcher, value, keep, err);
    default:
        *keep = cond_value(c, l);
        return true;
    }
}

static bool run_cond(const struct lq_stage *s, struct lq_line *l, bool *keep, struct err *err)
{
    return cond_test(s->state, l, keep, err);
}

// NOLINTNEXTLINE(misc-no-recursion): the parser bounds the depth of trees
static bool compile_cond(struct query *q, const struct label_cond *c, struct lq_pipe *pipe,
                         const struct cond **out, struct err *err)
{
    struct cond *n = arena_new(&q->arena, struct cond);
    n->c = c;
    *out = n;
    if (c->kind == COND_AND || c->kind == COND_OR)
        return compile_cond(q, c->l, pipe, &n->l, err) && compile_cond(q, c->r, pipe, &n->r, err);
    n->name = lq_name(c->name);
    vec_push(&pipe->required, &q->arena, c->name);
    return c->kind != COND_IP || lq_ip_parse(c->text, &n->ip, err);
}

bool lq_compile_cond(struct query *q, const struct label_cond *cond, struct lq_pipe *pipe,
                     struct lq_stage *out, struct err *err)
{
    const struct cond *c;
    if (!compile_cond(q, cond, pipe, &c, err))
        return false;
    pipe->reads_labels = true;
    *out = (struct lq_stage){.run = run_cond, .state = c};
    return true;
}

/* Pairs without which no line comes through, for the storage to skip by. */
static void
add_must_meta(struct query *q, const struct label_cond *c,
              struct lq_pipe *pipe) // NOLINT(misc-no-recursion): depth bounded by parser
{
    if (c->kind == COND_AND) {
        add_must_meta(q, c->l, pipe);
        add_must_meta(q, c->r, pipe);
    } else if (c->kind == COND_MATCHER && c->matcher.op == MATCH_EQ && c->matcher.value.n > 0 &&
               !str_starts(c->name, STR("__")) && !str_ends(c->name, STR("_extracted"))) {
        // errors are made on the way, and a name in the store may be the shorter one
        vec_push(&pipe->must_meta, &q->arena, (struct label){c->name, c->matcher.value});
    }
}

bool lq_compile_label_filter(struct query *q, const struct stage *s, struct lq_pipe *pipe,
                             struct lq_stage *out, struct err *err)
{
    if (pipe->keeps_labels)
        add_must_meta(q, s->cond, pipe);
    return lq_compile_cond(q, s->cond, pipe, out, err);
}

/* ---- drop and keep ---- */

struct item {
    const struct name_item *item;
    struct lq_name name;
};

struct items {
    const struct item *v;
    size_t n;
};

static bool item_hits(const struct item *it, str value, bool *hit, struct err *err)
{
    *hit = true;
    return !it->item->has_matcher || matcher_test(&it->item->matcher, value, hit, err);
}

static bool run_drop(const struct lq_stage *s, struct lq_line *l, bool *keep, struct err *err)
{
    const struct items *items = s->state;
    (void)keep;
    for (size_t i = 0; i < items->n; i++) {
        const struct item *it = &items->v[i];
        str value = {0};
        bool hit;
        if (!lq_line_get(l, it->name, &value))
            continue;
        if (!item_hits(it, value, &hit, err))
            return false;
        if (!hit)
            continue;
        if (str_eq(it->name.s, ERROR_LABEL))
            l->err = (str){0};
        else if (str_eq(it->name.s, ERROR_DETAILS_LABEL))
            l->err_details = (str){0};
        lq_line_del(l, it->name);
    }
    return true;
}

static bool kept(const struct items *items, str name, str value, bool *hit, struct err *err)
{
    *hit = false;
    for (size_t i = 0; i < items->n && !*hit; i++)
        if (str_eq(items->v[i].name.s, name) && !item_hits(&items->v[i], value, hit, err))
            return false;
    return true;
}

static bool run_keep(const struct lq_stage *s, struct lq_line *l, bool *keep, struct err *err)
{
    const struct items *items = s->state;
    (void)keep;
    bool hit;
    str any;
    (void)lq_line_get(l, lq_name(ERROR_LABEL), &any); // metadata is there from here on
    for (size_t i = 0; i < l->base.n; i++) {
        if (!kept(items, l->base.v[i].name, l->base.v[i].value, &hit, err))
            return false;
        if (!hit)
            l->base_gone[i] = l->any_gone = true;
    }
    for (size_t i = 0; i < l->v.n; i++) {
        struct line_label *v = &l->v.v[i];
        if (!v->is_gone && !kept(items, v->name.s, v->value, &hit, err))
            return false;
        v->is_gone = v->is_gone || !hit;
    }
    return true;
}

static void compile_items(struct query *q, const struct stage *s, struct lq_stage *out)
{
    struct items *items = arena_new(&q->arena, struct items);
    struct item *v = arena_array(&q->arena, struct item, s->n_items);
    for (size_t i = 0; i < s->n_items; i++)
        v[i] = (struct item){&s->items[i], lq_name(s->items[i].name)};
    *items = (struct items){v, s->n_items};
    out->state = items;
}

bool lq_compile_drop(struct query *q, const struct stage *s, struct lq_pipe *pipe,
                     struct lq_stage *out, struct err *err)
{
    (void)err;
    compile_items(q, s, out);
    pipe->reads_labels = true;
    out->run = run_drop;
    return true;
}

bool lq_compile_keep(struct query *q, const struct stage *s, struct lq_pipe *pipe,
                     struct lq_stage *out, struct err *err)
{
    (void)err;
    compile_items(q, s, out);
    pipe->reads_labels = true;
    out->run = run_keep;
    return true;
}
