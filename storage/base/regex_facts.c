/* regex_facts.c - what a pattern's tree says without matching: the finite set of its language, the
 * literal prefix of every match, the longest literal inside every match, "matches everything".
 * What it does not know it leaves out. Recursion follows the tree, whose depth the parser bounds.
 * Any thread. */
#include "storage/base/regex_syntax.h"

#include <stdlib.h>

#include "storage/base/utf8.h"

#define RUN_MAX       1024         // bytes of a literal fact; longer ones are cut
#define EXPAND_BYTES  (256 * 1024) // bytes copied while a finite set is written out
#define EXPAND_REPEAT 16           // x{n,m} with m up to this is written out

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* ---- finite sets ---- */

struct expander {
    struct arena *a;
    size_t bytes; // copied so far
};

struct set {
    str *v;
    size_t n, cap;
};

static bool has_case(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((uint8_t)s.p[i] >= 0x80 || is_letter(s.p[i]))
            return true;
    return false;
}

static struct set set_new(struct expander *x, size_t cap)
{
    x->bytes += cap * sizeof(str);
    return (struct set){arena_array(x->a, str, cap), 0, cap};
}

static bool set_one(struct expander *x, str s, struct set *out)
{
    *out = set_new(x, 1);
    out->v[out->n++] = s;
    return true;
}

static bool set_union(struct expander *x, struct set *a, const struct set *b)
{
    if (a->n + b->n > REGEX_SET_MAX || x->bytes > EXPAND_BYTES)
        return false;
    if (a->n + b->n > a->cap) {
        struct set grown = set_new(x, MAX(2 * a->cap, a->n + b->n));
        if (a->n > 0)
            memcpy(grown.v, a->v, a->n * sizeof(str));
        grown.n = a->n;
        *a = grown;
    }
    memcpy(a->v + a->n, b->v, b->n * sizeof(str));
    a->n += b->n;
    return true;
}

static bool set_product(struct expander *x, struct set *a, const struct set *b)
{
    if (a->n * b->n > REGEX_SET_MAX || x->bytes > EXPAND_BYTES)
        return false;
    if (b->n == 1 && b->v[0].n == 0)
        return true;
    struct set out = set_new(x, a->n * b->n);
    for (size_t i = 0; i < a->n * b->n; i++) {
        str left = a->v[i / b->n], right = b->v[i % b->n];
        if ((x->bytes += left.n + right.n) > EXPAND_BYTES)
            return false;
        char *dst = arena_alloc(x->a, left.n + right.n);
        memcpy(dst, left.p, left.n);
        memcpy(dst + left.n, right.p, right.n);
        out.v[out.n++] = str_of(dst, left.n + right.n);
    }
    *a = out;
    return true;
}

static bool expand(struct expander *x, const struct node *node, bool at_begin, bool at_end,
                   struct set *out);

static bool expand_class(struct expander *x, const struct node *node, struct set *out)
{
    if (!node->points)
        return false;
    *out = set_new(x, node->points_n);
    for (size_t i = 0; i < node->points_n; i++) {
        char *dst = arena_alloc(x->a, 4);
        str s = str_of(dst, utf8_put(dst, node->points[i]));
        if (node->fold && has_case(s))
            return false;
        out->v[out->n++] = s;
    }
    return true;
}

// NOLINTNEXTLINE(misc-no-recursion): the tree is as deep as the parser allowed
static bool expand_repeat(struct expander *x, const struct node *node, struct set *out)
{
    struct set one, power, sum = {0};
    if (node->max > EXPAND_REPEAT || !expand(x, node->child, false, false, &one))
        return false;
    set_one(x, STR(""), &power);
    for (uint32_t k = 0;; k++) {
        if (k >= node->min && !set_union(x, &sum, &power))
            return false;
        if (k == node->max)
            break;
        if (!set_product(x, &power, &one))
            return false;
    }
    *out = sum;
    return true;
}

/* All strings of the node's language, or false. Anchors count as empty at the edges. */
// NOLINTNEXTLINE(misc-no-recursion): the tree is as deep as the parser allowed
static bool expand(struct expander *x, const struct node *node, bool at_begin, bool at_end,
                   struct set *out)
{
    struct set part;
    switch (node->kind) {
    case NODE_EMPTY:
        return set_one(x, STR(""), out);
    case NODE_LITERAL:
        return !(node->fold && has_case(node->text)) && set_one(x, node->text, out);
    case NODE_CLASS:
        return expand_class(x, node, out);
    case NODE_BEGIN:
        return at_begin && set_one(x, STR(""), out);
    case NODE_END:
        return at_end && set_one(x, STR(""), out);
    case NODE_REPEAT:
        return expand_repeat(x, node, out);
    case NODE_CAT:
        set_one(x, STR(""), out);
        for (const struct node *c = node->child; c; c = c->next)
            if (!expand(x, c, at_begin && c == node->child, at_end && !c->next, &part) ||
                !set_product(x, out, &part))
                return false;
        return true;
    case NODE_ALT:
        *out = (struct set){0};
        for (const struct node *c = node->child; c; c = c->next)
            if (!expand(x, c, at_begin, at_end, &part) || !set_union(x, out, &part))
                return false;
        return true;
    case NODE_ANY:
    case NODE_ASSERT:
        break;
    }
    return false;
}

/* Does every match start (end) with the anchor? */
// NOLINTNEXTLINE(misc-no-recursion): the tree is as deep as the parser allowed
static bool is_anchored(const struct node *node, enum node_kind anchor)
{
    switch (node->kind) {
    case NODE_CAT:
        return is_anchored(anchor == NODE_BEGIN ? node->child : node->last, anchor);
    case NODE_ALT:
        for (const struct node *c = node->child; c; c = c->next)
            if (!is_anchored(c, anchor))
                return false;
        return true;
    default:
        return node->kind == anchor;
    }
}

/* ---- literals that every match holds ---- */

struct literals {
    bool is_exact; // the language is {prefix}; anchors inside are ignored
    str prefix, suffix, must;
};

static str longer(str a, str b)
{
    return b.n > a.n ? b : a;
}

/* A literal that grows from piece to piece, cut at RUN_MAX. */
struct run {
    char *p;
    size_t n, cap;
};

static bool run_add(struct arena *a, struct run *r, str s)
{
    size_t n = MIN(s.n, RUN_MAX - r->n);
    if (r->n + n > r->cap) {
        size_t cap = MAX(2 * r->cap, r->n + n);
        char *p = arena_alloc(a, cap);
        if (r->n > 0)
            memcpy(p, r->p, r->n);
        r->p = p;
        r->cap = cap;
    }
    if (n > 0)
        memcpy(r->p + r->n, s.p, n);
    r->n += n;
    return n == s.n;
}

static struct literals literals_of(struct arena *a, const struct node *node);

// NOLINTNEXTLINE(misc-no-recursion): the tree is as deep as the parser allowed
static struct literals literals_cat(struct arena *a, const struct node *node)
{
    struct literals out = {0};
    struct run run = {0};
    bool at_start = true;
    for (const struct node *c = node->child; c; c = c->next) {
        struct literals part = literals_of(a, c);
        bool whole = run_add(a, &run, part.prefix);
        if (part.is_exact && whole)
            continue;
        str text = str_of(run.p, run.n);
        if (at_start)
            out.prefix = arena_dup(a, text);
        at_start = false;
        if (MAX(text.n, part.must.n) > out.must.n)
            out.must = arena_dup(a, longer(text, part.must));
        run.n = 0;
        if (!part.is_exact)
            run_add(a, &run, part.suffix);
    }
    str text = str_of(run.p, run.n);
    if (at_start)
        return (struct literals){true, text, text, text};
    out.suffix = text;
    out.must = longer(out.must, text);
    return out;
}

static size_t common_prefix(str a, str b)
{
    size_t i = 0;
    while (i < a.n && i < b.n && a.p[i] == b.p[i])
        i++;
    return i;
}

static size_t common_suffix(str a, str b)
{
    size_t i = 0;
    while (i < a.n && i < b.n && a.p[a.n - 1 - i] == b.p[b.n - 1 - i])
        i++;
    return i;
}

// NOLINTNEXTLINE(misc-no-recursion): the tree is as deep as the parser allowed
static struct literals literals_alt(struct arena *a, const struct node *node)
{
    struct literals out = literals_of(a, node->child);
    for (const struct node *c = node->child->next; c; c = c->next) {
        struct literals part = literals_of(a, c);
        if (out.is_exact && part.is_exact && str_eq(out.prefix, part.prefix))
            continue;
        out.is_exact = false;
        out.prefix.n = common_prefix(out.prefix, part.prefix);
        size_t n = common_suffix(out.suffix, part.suffix);
        out.suffix = str_sub(out.suffix, out.suffix.n - n, out.suffix.n);
        if (!str_eq(out.must, part.must))
            out.must = (str){0};
    }
    out.must = longer(out.must, longer(out.prefix, out.suffix));
    return out;
}

// NOLINTNEXTLINE(misc-no-recursion): the tree is as deep as the parser allowed
static struct literals literals_of(struct arena *a, const struct node *node)
{
    struct literals out = {0};
    str text;
    switch (node->kind) {
    case NODE_EMPTY:
    case NODE_BEGIN:
    case NODE_END:
    case NODE_ASSERT:
        out.is_exact = true;
        break;
    case NODE_LITERAL:
        if (node->fold && has_case(node->text))
            break;
        text = node->text;
        out = (struct literals){true, text, text, text};
        break;
    case NODE_REPEAT:
        if (node->min == 0)
            break;
        out = literals_of(a, node->child);
        if (out.is_exact && node->min == 1 && node->max == 1)
            break;
        out.is_exact = out.is_exact && out.prefix.n == 0;
        break;
    case NODE_CAT:
        return literals_cat(a, node);
    case NODE_ALT:
        return literals_alt(a, node);
    case NODE_ANY:
    case NODE_CLASS:
        break;
    }
    return out;
}

/* The empty string is in the language, whatever surrounds it. */
// NOLINTNEXTLINE(misc-no-recursion): the tree is as deep as the parser allowed
static bool is_nullable(const struct node *node)
{
    switch (node->kind) {
    case NODE_EMPTY:
        return true;
    case NODE_REPEAT:
        return node->min == 0 || is_nullable(node->child);
    case NODE_CAT:
        for (const struct node *c = node->child; c; c = c->next)
            if (!is_nullable(c))
                return false;
        return true;
    case NODE_ALT:
        for (const struct node *c = node->child; c; c = c->next)
            if (is_nullable(c))
                return true;
        return false;
    default:
        return false;
    }
}

/* The language is all strings: .* with DOTALL beside things that may be empty. */
// NOLINTNEXTLINE(misc-no-recursion): the tree is as deep as the parser allowed
static bool is_everything(const struct node *node)
{
    bool any = false;
    switch (node->kind) {
    case NODE_REPEAT:
        if (is_everything(node->child))
            return node->max > 0;
        return node->min == 0 && node->max == REPEAT_FOREVER && node->child->kind == NODE_ANY &&
               node->child->dotall;
    case NODE_CAT:
        for (const struct node *c = node->child; c; c = c->next) {
            if (is_everything(c))
                any = true;
            else if (!is_nullable(c))
                return false;
        }
        return any;
    case NODE_ALT:
        for (const struct node *c = node->child; c; c = c->next)
            if (is_everything(c))
                return true;
        return false;
    default:
        return false;
    }
}

static bool has_assertion(const struct node *node)
{
    if (node->kind == NODE_BEGIN || node->kind == NODE_END || node->kind == NODE_ASSERT)
        return true;
    for (const struct node *c = node->child; c; c = c->next)
        if (has_assertion(c)) // NOLINT(misc-no-recursion)
            return true;
    return false;
}

/* ---- public ---- */

static int compare_str(const void *a, const void *b)
{
    return str_cmp(*(const str *)a, *(const str *)b);
}

static void keep_set(struct arena *keep, struct set set, struct regex_facts *facts)
{
    size_t n = 0;
    str *v = arena_array(keep, str, set.n);
    qsort(set.v, set.n, sizeof set.v[0], compare_str);
    for (size_t i = 0; i < set.n; i++)
        if (n == 0 || !str_eq(v[n - 1], set.v[i]))
            v[n++] = arena_dup(keep, set.v[i]);
    facts->set = v;
    facts->set_n = n;
}

void regex_find_facts(struct arena *tmp, const struct node *root, bool anchored, struct arena *keep,
                      struct regex_syntax *out)
{
    struct expander x = {.a = tmp};
    struct set set;
    bool whole = anchored || (is_anchored(root, NODE_BEGIN) && is_anchored(root, NODE_END));
    if (whole && expand(&x, root, true, true, &set))
        keep_set(keep, set, &out->facts);
    struct literals lit = literals_of(tmp, root);
    out->facts.prefix = arena_dup(keep, lit.prefix);
    out->facts.must = arena_dup(keep, lit.must);
    out->facts.matches_all = anchored ? is_everything(root) : is_nullable(root);
    out->is_exact = !anchored && lit.is_exact && !has_assertion(root);
    out->exact = out->facts.prefix;
}
