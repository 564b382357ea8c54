/* fuzz_logql.c - any text parses or is refused; what is printed parses to the same text.
 * links: trivet_logql */
#include <stdlib.h>

#include "query/logql/logql.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool round_trip(str text, struct buf *out)
{
    struct query q;
    struct query_limits limits;
    struct err err = ERR_OK;
    const struct logql_expr *e;
    query_limits_default(&limits);
    query_init(&q, clock_real(), NULL, NULL, &limits, NULL);
    bool ok = logql_parse(&q, text, &e, &err);
    if (ok)
        logql_print(out, e);
    else if (err.text[0] == '\0')
        abort();
    query_deinit(&q);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf first, second;
    buf_init(&first, 16 * MIB);
    buf_init(&second, 16 * MIB);
    if (round_trip(str_of((const char *)data, size), &first) && !first.over && first.n < 100000) {
        if (!round_trip(buf_str(&first), &second) || !str_eq(buf_str(&first), buf_str(&second)))
            abort();
    }
    buf_deinit(&first);
    buf_deinit(&second);
    return 0;
}
