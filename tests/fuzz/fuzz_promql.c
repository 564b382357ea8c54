// fuzz_promql.c - any text as a PromQL query: no crash, and what prints parses and prints the same.
//
// links: trivet_promql
#include "query/promql/promql.h"

static bool parse_and_print(struct query *q, str text, str *out, str *lines)
{
    const struct promql_expr *e;
    struct err err = ERR_OK;
    struct buf b;
    if (!promql_parse(q, text, &e, &err)) {
        ASSERT(err.code != ERR_NONE && err.text[0]);
        return false;
    }
    buf_init(&b, 64 * MIB);
    promql_print(&b, e);
    *out = arena_dup(&q->arena, buf_str(&b));
    buf_clear(&b);
    promql_print_pretty(&b, e);
    *lines = arena_dup(&q->arena, buf_str(&b));
    buf_deinit(&b);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct query_limits limits;
    struct query q;
    str text = str_of((const char *)data, n), once, twice, lines;
    query_limits_default(&limits);
    query_init(&q, clock_real(), NULL, NULL, &limits, NULL);
    if (parse_and_print(&q, text, &once, &lines)) {
        ASSERT(parse_and_print(&q, lines, &twice, &lines));
        ASSERT(str_eq(once, twice));
        ASSERT(parse_and_print(&q, once, &twice, &lines));
        ASSERT(str_eq(once, twice));
    }
    query_deinit(&q);
    return 0;
}
