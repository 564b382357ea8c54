/* stage_text.c - the parsers that look at a line as text: regexp, pattern; and decolorize. */
#include "query/logql/pattern.h"
#include "query/logql/pipeline.h"

/* ---- regexp ---- */

struct regexp_state {
    const struct regex *re;
    str *groups; // scratch of one match
    size_t n;
};

static bool run_regexp(const struct lq_stage *s, struct lq_line *l, bool *keep, struct err *err)
{
    const struct regexp_state *r = s->state;
    bool hit;
    (void)keep;
    if (!regex_exec(r->re, l->text, 0, r->groups, r->n, &hit, err))
        return false;
    for (size_t i = 1; hit && i < r->n; i++) {
        str name = lq_sanitize(l, regex_group_name(r->re, i), true); // may be (?P<1>)
        if (name.n > 0)
            (void)lq_line_extract(l, name, r->groups[i].p != NULL ? r->groups[i] : (str){0});
    }
    return true;
}

bool lq_compile_regexp(struct query *q, const struct stage *s, struct lq_pipe *pipe,
                       struct lq_stage *out, struct err *err)
{
    struct regexp_state *r = arena_new(&q->arena, struct regexp_state);
    (void)err;
    r->re = s->re;
    r->n = regex_groups(s->re) + 1;
    r->groups = arena_array(&q->arena, str, r->n);
    pipe->reads_line = true;
    *out = (struct lq_stage){.run = run_regexp, .state = r, .is_parser = true};
    return true;
}

/* ---- pattern ---- */

struct pattern_run {
    const struct pattern *p;
    struct lq_line *l;
};

static void found_part(void *ctx, size_t node, str value)
{
    struct pattern_run *run = ctx;
    (void)lq_line_extract(run->l, run->p->v[node].text, value);
}

static bool run_pattern(const struct lq_stage *s, struct lq_line *l, bool *keep, struct err *err)
{
    struct pattern_run run = {s->state, l};
    (void)keep, (void)err;
    lq_pattern_captures(run.p, l->text, found_part, &run);
    return true;
}

bool lq_compile_pattern(struct query *q, const struct stage *s, struct lq_pipe *pipe,
                        struct lq_stage *out, struct err *err)
{
    struct pattern *p = arena_new(&q->arena, struct pattern);
    pipe->reads_line = true;
    *out = (struct lq_stage){.run = run_pattern, .state = p, .is_parser = true};
    return lq_pattern_parse(&q->arena, s->text, p, err);
}

/* ---- decolorize ---- */

static bool is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

/* Bytes of the terminal escape sequence at i, 0 when there is none. */
static size_t sequence_length(str s, size_t at)
{
    size_t i = at;
    if (s.p[i] == '\x1b')
        i++;
    else if (s.p[i] == '\xc2' && i + 1 < s.n && s.p[i + 1] == '\x9b')
        i += 2;
    else
        return 0;
    while (i < s.n && is_one_of(s.p[i], "[]()#;?"))
        i++;
    size_t bell = i; // a title: letters, digits and semicolons up to BEL
    while (bell < s.n &&
           (char_is_digit(s.p[bell]) || s.p[bell] == ';' ||
            (s.p[bell] >= 'a' && s.p[bell] <= 'z') || (s.p[bell] >= 'A' && s.p[bell] <= 'Z')))
        bell++;
    if (bell < s.n && s.p[bell] == '\a')
        return bell + 1 - at;
    size_t params = i;
    while (params < s.n && (char_is_digit(s.p[params]) || s.p[params] == ';'))
        params++;
    if (params < s.n && is_one_of(s.p[params], "ABCDEFGHIJKLMNOPRZcfghijklmnqrty=><~"))
        return params + 1 - at;
    return params > i ? params - at : 0; // a last digit may end it
}

static bool run_decolorize(const struct lq_stage *s, struct lq_line *l, bool *keep, struct err *err)
{
    (void)s, (void)keep, (void)err;
    str in = l->text;
    if (memchr(in.p != NULL ? in.p : "", '\x1b', in.n) == NULL &&
        str_find(in, STR("\xc2\x9b")) == SIZE_MAX)
        return true;
    char *p = arena_alloc(&l->scratch, in.n);
    size_t n = 0;
    for (size_t i = 0; i < in.n;) {
        size_t skip = sequence_length(in, i);
        if (skip == 0)
            p[n++] = in.p[i++];
        i += skip;
    }
    l->text = str_of(p, n);
    return true;
}

bool lq_compile_decolorize(struct query *q, const struct stage *s, struct lq_pipe *pipe,
                           struct lq_stage *out, struct err *err)
{
    (void)q, (void)s, (void)err;
    pipe->reads_line = pipe->makes_line = true;
    out->run = run_decolorize;
    return true;
}
