/* deletion.c - a log query as the storage deletes by it: matchers, and line filters that can be
 * tested line by line. */
#include "query/logql/pipeline.h"
#include "storage/model/limits.h"

struct filters {
    VEC(struct deletion_filter) v;
};

/* A text as a regex that matches just that. */
static void add_quoted(struct buf *b, str text)
{
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c != 0 && strchr("\\.+*?()|[]{}^$", c))
            buf_add_char(b, '\\');
        buf_add_char(b, c);
    }
}

/* One of several texts or regexes. */
static str one_of(struct arena *a, const struct stage *s)
{
    struct buf b;
    buf_init(&b, LIMIT_REGEX_PATTERN);
    for (size_t i = 0; i < s->line.n; i++) {
        buf_add(&b, i > 0 ? STR("|(?:") : STR("(?:"));
        if (s->line.op == LINE_EQ)
            add_quoted(&b, s->line.alts[i].text);
        else
            buf_add(&b, s->line.alts[i].text);
        buf_add_char(&b, ')');
    }
    str out = arena_dup(a, buf_str(&b));
    buf_deinit(&b);
    return out;
}

static bool add_filter(struct arena *a, const struct stage *s, struct filters *out, struct err *err)
{
    static const enum text_op ops[] = {
        [LINE_EQ] = TEXT_HAS, [LINE_NE] = TEXT_LACKS, [LINE_RE] = TEXT_RE, [LINE_NRE] = TEXT_NRE};
    if (s->kind != STAGE_LINE_FILTER)
        return err_set(err, ERR_UNSUPPORTED,
                       "deleting by more than a stream selector and line filters is not supported");
    if (s->line.op != LINE_EQ && s->line.op != LINE_NE && s->line.op != LINE_RE &&
        s->line.op != LINE_NRE)
        return err_set(err, ERR_UNSUPPORTED, "deleting by pattern filters is not supported");
    for (size_t i = 0; i < s->line.n; i++)
        if (s->line.alts[i].is_ip)
            return err_set(err, ERR_UNSUPPORTED, "deleting by ip filters is not supported");
    bool is_negative = s->line.op == LINE_NE || s->line.op == LINE_NRE;
    if (s->line.n > 1 && !is_negative) {
        vec_push(&out->v, a, (struct deletion_filter){TEXT_RE, one_of(a, s)});
        return true;
    }
    for (size_t i = 0; i < s->line.n; i++)
        vec_push(&out->v, a, (struct deletion_filter){ops[s->line.op], s->line.alts[i].text});
    return true;
}

bool logql_deletion(struct query *q, const struct logql_expr *e, struct deletion *out,
                    struct err *err)
{
    struct filters filters = {0};
    if (e->kind != EXPR_LOG)
        return err_set(err, ERR_INVALID, "only log queries can be deleted by");
    for (size_t i = 0; i < e->log.n; i++)
        if (!add_filter(&q->arena, &e->log.stages[i], &filters, err))
            return false;
    out->signal = SIGNAL_LOGS;
    out->matchers = e->log.matchers;
    out->filters = filters.v.v;
    out->n_filters = filters.v.n;
    return true;
}
