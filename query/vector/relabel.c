/* relabel.c - label_replace and label_join: labels change, cells are shared with the input. */
#include "query/vector/relabel.h"

#include "storage/base/regex.h"

#define LABEL_VALUE_MAX MIB // bytes of one made label value; more fails the query

/* Sets dst on a copy of the series; a metric name that is set on purpose is kept. */
static void put_series(struct query *q, struct matrix *m, const struct mseries *in, str dst,
                       str value)
{
    struct mseries s = *in;
    s.labels = labels_with(&q->arena, in->labels, dst, value);
    if (str_eq(dst, METRIC_NAME))
        s.drop_name = false;
    vec_push(&m->series, &q->arena, s);
}

static bool replace_one(struct query *q, const struct mseries *s, str src, const struct regex *re,
                        str replacement, str *groups, struct buf *text, bool *hit, struct err *err)
{
    str value = labels_get(s->labels, src);
    size_t n = regex_groups(re) + 1;
    if (value.p == NULL)
        value = STR("");
    buf_clear(text);
    if (!query_tick(q, err) || !regex_exec(re, value, 0, groups, n, hit, err))
        return false;
    if (!*hit)
        return true;
    regex_expand(re, replacement, groups, text);
    return !text->over || err_set(err, ERR_LIMIT, "label_replace: label value above 1 MiB");
}

bool relabel_replace(struct query *q, const struct matrix *in, str dst, str replacement, str src,
                     const struct regex *re, struct matrix *out, struct err *err)
{
    struct matrix m;
    struct buf text;
    str *groups = arena_array(&q->arena, str, regex_groups(re) + 1);
    bool ok = true;
    matrix_init(&m, in->grid);
    buf_init(&text, LABEL_VALUE_MAX);
    vec_reserve(&m.series, &q->arena, in->series.n);
    for (size_t k = 0; k < in->series.n && ok; k++) {
        const struct mseries *s = &in->series.v[k];
        bool hit = false;
        ok = replace_one(q, s, src, re, replacement, groups, &text, &hit, err);
        if (ok && hit)
            put_series(q, &m, s, dst, arena_dup(&q->arena, buf_str(&text)));
        else if (ok)
            vec_push(&m.series, &q->arena, *s);
    }
    buf_deinit(&text);
    if (!ok || !matrix_merge(q, &m, err))
        return false;
    *out = m;
    return true;
}

bool relabel_join(struct query *q, const struct matrix *in, str dst, str separator, const str *src,
                  size_t n, struct matrix *out, struct err *err)
{
    struct matrix m;
    struct buf text;
    bool ok = true;
    matrix_init(&m, in->grid);
    buf_init(&text, LABEL_VALUE_MAX);
    vec_reserve(&m.series, &q->arena, in->series.n);
    for (size_t k = 0; k < in->series.n && ok; k++) {
        buf_clear(&text);
        for (size_t i = 0; i < n; i++) {
            if (i > 0)
                buf_add(&text, separator);
            buf_add(&text, labels_get(in->series.v[k].labels, src[i]));
        }
        ok = query_tick(q, err);
        if (ok && text.over)
            ok = err_set(err, ERR_LIMIT, "label_join: label value above 1 MiB");
        if (ok)
            put_series(q, &m, &in->series.v[k], dst, arena_dup(&q->arena, buf_str(&text)));
    }
    buf_deinit(&text);
    if (!ok || !matrix_merge(q, &m, err))
        return false;
    *out = m;
    return true;
}
