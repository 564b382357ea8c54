/* fuzz_log_stages.c - the first byte picks the stages of a pipeline, the rest is a line: what comes
 * out has each label once, and is the same when the line comes again.
 * links: trivet_logql */
#include <stdlib.h>

#include "query/logql/pipeline.h"

static const char *const stages[] = {"json",
                                     "json a=\"b[0].c\", d=\"e\"",
                                     "logfmt",
                                     "logfmt --strict --keep-empty",
                                     "unpack",
                                     "pattern \"<a> <_>[<b>] <c>\"",
                                     "regexp \"(?P<a>\\\\w+)[^=]*=(?P<b>.*)\"",
                                     "decolorize",
                                     "json | logfmt | unpack",
                                     "logfmt | a > 10KB or b >= 1m5s or c = ip(\"10.0.0.0/8\")",
                                     "json | line_format \"{{.a}} {{.b | trunc 3}}\" | logfmt",
                                     "label_format n=`{{.a | __line__}}`",
                                     "json | drop a, b=~\"x.*\" | keep c, __error__",
                                     "|> \"<_>=<_> <_>\" | logfmt a=\"b\""};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool run(struct query *q, const struct lq_pipe *pipe, struct lq_line *l, str text,
                struct labels *out, struct err *err)
{
    bool keep;
    lq_line_begin(l, 1, text, NULL);
    if (!lq_pipe_run(pipe, l, &keep, err))
        return false;
    *out = keep ? labels_dup(&q->arena, lq_line_all(l, &q->arena)) : (struct labels){0};
    for (size_t i = 1; i < out->n; i++)
        if (str_cmp(out->v[i - 1].name, out->v[i].name) >= 0)
            abort();
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct line_hints hints;
    struct query_limits limits;
    struct query q;
    struct err err = ERR_OK;
    const struct logql_expr *e;
    struct lq_pipe pipe = {0};
    struct lq_line l = {0};
    struct label base = {STR("a"), STR("of the stream")};
    struct labels once, again;
    if (size == 0)
        return 0;
    query_limits_default(&limits);
    query_init(&q, clock_real(), NULL, NULL, &limits, NULL);
    const char *stage = stages[data[0] % COUNTOF(stages)];
    str ql = arena_fmt(&q.arena, "{a=\"b\"} %s%s", stage[0] == '|' ? "" : "| ", stage);
    if (!logql_parse(&q, ql, &e, &err) || !lq_pipe_compile(&q, &e->log, &pipe, &err))
        abort();
    str text = str_of((const char *)data + 1, size - 1);
    lq_line_init(&l, &q, &hints);
    lq_line_stream(&l, (struct labels){&base, data[0] >= 128});
    if (run(&q, &pipe, &l, text, &once, &err) && run(&q, &pipe, &l, text, &again, &err) &&
        !labels_eq(once, again))
        abort();
    lq_line_deinit(&l);
    query_deinit(&q);
    return 0;
}
