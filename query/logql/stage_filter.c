/* stage_filter.c - line filters: substrings, regexes, patterns, addresses; or-chains.
 *
 * A chain hits when one of its members does; a member that any line hits ("", `.*`) counts only
 * when it is alone, or negated. != !~ !> keep the lines without a hit. A regex that
 * must hold a literal is tried only on lines that do. */
#include "query/logql/ip.h"
#include "query/logql/pattern.h"
#include "query/logql/pipeline.h"

struct member {
    enum { MEMBER_TEXT, MEMBER_RE, MEMBER_PATTERN, MEMBER_IP } kind;
    str text;
    const struct regex *re;
    const struct regex_facts *facts;
    struct pattern pattern;
    struct lq_ip ip;
};

struct filter {
    bool negated;
    const struct member *v;
    size_t n;
};

static bool member_test(const struct member *m, str line, bool *hit, struct err *err)
{
    switch (m->kind) {
    case MEMBER_TEXT:
        *hit = str_find(line, m->text) != SIZE_MAX;
        return true;
    case MEMBER_RE:
        *hit = m->facts->matches_all;
        if (*hit || (m->facts->must.n > 0 && str_find(line, m->facts->must) == SIZE_MAX))
            return true;
        return regex_match(m->re, line, hit, err);
    case MEMBER_PATTERN:
        *hit = lq_pattern_test(&m->pattern, line);
        return true;
    case MEMBER_IP:
        *hit = lq_ip_test(&m->ip, line);
        return true;
    }
    return true;
}

static bool run_filter(const struct lq_stage *s, struct lq_line *l, bool *keep, struct err *err)
{
    const struct filter *f = s->state;
    bool hit = false;
    for (size_t i = 0; i < f->n && !hit; i++)
        if (!member_test(&f->v[i], l->text, &hit, err))
            return false;
    *keep = hit != f->negated;
    return true;
}

static bool compile_member(struct query *q, enum line_op op, const struct line_alt *alt,
                           struct member *out, struct err *err)
{
    struct regex *re;
    *out = (struct member){.kind = MEMBER_TEXT, .text = alt->text};
    if (alt->is_ip) {
        out->kind = MEMBER_IP;
        if (op != LINE_EQ && op != LINE_NE)
            return err_set(err, ERR_INVALID, "ip: invalid operation");
        return lq_ip_parse(alt->text, &out->ip, err);
    }
    switch (op) {
    case LINE_EQ:
    case LINE_NE:
        return true;
    case LINE_RE:
    case LINE_NRE:
        if (!lq_regex(q, alt->text, 0, &re, err))
            return false;
        out->kind = MEMBER_RE;
        out->re = re;
        out->facts = regex_facts(re);
        return true;
    default:
        out->kind = MEMBER_PATTERN;
        return lq_pattern_parse_filter(&q->arena, alt->text, &out->pattern, err);
    }
}

/* What every line that comes through must hold, for the storage to skip by. true: that is all that
 * the filter asks for, and the storage sees to it. */
static bool add_must(struct query *q, struct lq_pipe *pipe, const struct filter *f)
{
    if (f->negated || f->n != 1 || pipe->makes_line)
        return false;
    const struct member *m = &f->v[0];
    if (m->kind == MEMBER_TEXT && m->text.n > 0)
        vec_push(&pipe->must, &q->arena, m->text);
    if (m->kind == MEMBER_RE && m->facts->must.n > 0)
        vec_push(&pipe->must, &q->arena, m->facts->must);
    for (size_t i = 0; m->kind == MEMBER_PATTERN && i < m->pattern.n; i++)
        if (!m->pattern.v[i].is_capture)
            vec_push(&pipe->must, &q->arena, m->pattern.v[i].text);
    return m->kind == MEMBER_TEXT && pipe->must.n <= LOG_SELECT_MUST_MAX;
}

static bool hits_all(const struct member *m)
{
    return (m->kind == MEMBER_TEXT && m->text.n == 0) ||
           (m->kind == MEMBER_RE && m->facts->matches_all);
}

bool lq_compile_line_filter(struct query *q, const struct stage *s, struct lq_pipe *pipe,
                            struct lq_stage *out, struct err *err)
{
    struct filter *f = arena_new(&q->arena, struct filter);
    struct member *v = arena_array(&q->arena, struct member, s->line.n);
    enum line_op op = s->line.op;
    f->negated = op == LINE_NE || op == LINE_NRE || op == LINE_NPATTERN;
    f->v = v;
    f->n = s->line.n;
    for (size_t i = 0; i < f->n; i++)
        if (!compile_member(q, op, &s->line.alts[i], &v[i], err))
            return false;
    size_t kept = 0;
    for (size_t i = 0; i < f->n && !f->negated; i++)
        if (!hits_all(&v[i]))
            v[kept++] = v[i];
    f->n = kept > 0 ? kept : f->n;
    bool is_held = add_must(q, pipe, f);
    pipe->reads_line |= !is_held;
    *out = (struct lq_stage){.run = run_filter, .state = f, .is_held = is_held};
    return true;
}
