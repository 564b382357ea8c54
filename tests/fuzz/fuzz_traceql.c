/* fuzz_traceql.c - any text is a query or an error with text; what is a query prints as one that
 * prints the same.
 * links: trivet_traceql */
#include <stdlib.h>

#include "query/traceql/traceql.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool print_of(struct query *q, str text, struct buf *out)
{
    const struct traceql_expr *e;
    struct err err = ERR_OK;
    if (!traceql_parse(q, text, &e, &err)) {
        if (err.code == ERR_NONE || err.text[0] == 0)
            abort();
        return false;
    }
    traceql_print(out, e);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct query q;
    struct query_limits limits;
    struct buf once, twice;
    query_limits_default(&limits);
    query_init(&q, clock_real(), NULL, NULL, &limits, NULL);
    buf_init(&once, 64 * MIB);
    buf_init(&twice, 64 * MIB);
    if (print_of(&q, str_of((const char *)data, size), &once)) {
        if (!print_of(&q, buf_str(&once), &twice) || !str_eq(buf_str(&once), buf_str(&twice)))
            abort();
    }
    buf_deinit(&once);
    buf_deinit(&twice);
    query_deinit(&q);
    return 0;
}
