/* matcher.c - label matchers.
 *
 * A regex is run only when its facts (finite set, prefix, needed substring) cannot decide; in a
 * list the comparisons without regex go first. Immutable after init, any thread. */
#include "storage/model/matcher.h"

bool matcher_init(struct matcher *m, enum matcher_op op, str name, str value, struct err *err)
{
    struct matcher x = {.op = op, .name = name, .value = value};
    if ((op == MATCH_RE || op == MATCH_NRE) &&
        !regex_open(value, REGEX_ANCHORED | REGEX_DOTALL, &x.re, err))
        return false;
    *m = x;
    return true;
}

void matcher_deinit(struct matcher *m)
{
    regex_close(m->re);
    m->re = NULL;
}

void matchers_deinit(struct matchers *m)
{
    for (size_t i = 0; i < m->n; i++)
        matcher_deinit(&m->v[i]);
    m->n = 0;
}

static bool in_set(const struct regex_facts *f, str value)
{
    for (size_t i = 0; i < f->set_n; i++)
        if (str_eq(f->set[i], value))
            return true;
    return false;
}

static bool regex_hits(const struct regex *re, str value, bool *hit, struct err *err)
{
    const struct regex_facts *f = regex_facts(re);
    if (f->matches_all) {
        *hit = true;
    } else if (value.n == 0) {
        *hit = f->matches_empty;
    } else if (f->set != NULL) {
        *hit = in_set(f, value);
    } else if (!str_starts(value, f->prefix) ||
               (f->must.n > 0 && str_find(value, f->must) == SIZE_MAX)) {
        *hit = false;
    } else {
        return regex_match(re, value, hit, err);
    }
    return true;
}

bool matcher_test(const struct matcher *m, str value, bool *hit, struct err *err)
{
    switch (m->op) {
    case MATCH_EQ:
        *hit = str_eq(value, m->value);
        return true;
    case MATCH_NE:
        *hit = !str_eq(value, m->value);
        return true;
    case MATCH_RE:
        return regex_hits(m->re, value, hit, err);
    case MATCH_NRE:
        if (!regex_hits(m->re, value, hit, err))
            return false;
        *hit = !*hit;
        return true;
    }
    return err_set(err, ERR_INVALID, "matcher: unknown operator %d", (int)m->op);
}

bool matcher_accepts_empty(const struct matcher *m)
{
    switch (m->op) {
    case MATCH_EQ:
        return m->value.n == 0;
    case MATCH_NE:
        return m->value.n > 0;
    case MATCH_RE:
        return regex_facts(m->re)->matches_empty;
    case MATCH_NRE:
        return !regex_facts(m->re)->matches_empty;
    }
    return false;
}

size_t matcher_literals(const struct matcher *m, const str **out)
{
    const struct regex_facts *f = m->re != NULL ? regex_facts(m->re) : NULL;
    *out = f != NULL ? f->set : &m->value;
    if (f == NULL)
        return m->value.n > 0 ? 1 : 0;
    return f->set != NULL && !f->matches_empty ? f->set_n : 0;
}

str matcher_prefix(const struct matcher *m)
{
    if (m->re == NULL)
        return m->value;
    const struct regex_facts *f = regex_facts(m->re);
    return f->matches_empty ? STR("") : f->prefix;
}

bool matchers_test(struct matchers m, struct labels l, bool *hit, struct err *err)
{
    for (size_t i = 0; i < m.n; i++) {
        const struct matcher *x = &m.v[i];
        if (x->re == NULL && str_eq(labels_get(l, x->name), x->value) != (x->op == MATCH_EQ)) {
            *hit = false;
            return true;
        }
    }
    for (size_t i = 0; i < m.n; i++) {
        const struct matcher *x = &m.v[i];
        if (x->re == NULL)
            continue;
        bool one;
        if (!matcher_test(x, labels_get(l, x->name), &one, err))
            return false;
        if (!one) {
            *hit = false;
            return true;
        }
    }
    *hit = true;
    return true;
}

void matcher_print(struct buf *b, const struct matcher *m)
{
    static const char *const ops[] = {"=", "!=", "=~", "!~"};
    if (label_name_valid(m->name))
        buf_add(b, m->name);
    else
        label_quote(b, m->name);
    buf_add(b, str_c(ops[m->op]));
    label_quote(b, m->value);
}

bool matcher_names_span(str name)
{
    static const char *const fixed[] = {"status", "kind", "name", "service"};
    for (size_t i = 0; i < COUNTOF(fixed); i++)
        if (str_eq(name, str_c(fixed[i])))
            return true;
    return (str_starts(name, STR("span.")) && name.n > 5) ||
           (str_starts(name, STR("resource.")) && name.n > 9);
}
