/* eval.c - evaluation (not built yet). */
#include "query/logql/ast.h"

bool logql_logs(struct query *q, const struct logql_expr *e, int64_t start_ns, int64_t end_ns,
                bool backward, size_t limit, int64_t interval_ns, struct logql_entries *out,
                struct err *err)
{
    (void)q, (void)e, (void)start_ns, (void)end_ns, (void)backward, (void)limit;
    (void)interval_ns, (void)out;
    return err_set(err, ERR_UNSUPPORTED, "log queries are not built yet");
}

bool logql_metric(struct query *q, const struct logql_expr *e, struct grid grid,
                  struct matrix *out, struct err *err)
{
    (void)q, (void)e, (void)grid, (void)out;
    return err_set(err, ERR_UNSUPPORTED, "metric queries over logs are not built yet");
}
