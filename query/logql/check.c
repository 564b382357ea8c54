/* check.c - what the grammar cannot say: matchers that select something, which range aggregation
 * takes an unwrap, a number, a grouping. Errors have Loki's words. */
#include "query/logql/parser.h"

bool lq_check_matchers(struct parser *p, struct matchers m)
{
    for (size_t i = 0; i < m.n; i++)
        if (!matcher_accepts_empty(&m.v[i]))
            return true;
    return lq_refuse_late(p,
                          "queries require at least one regexp or equality matcher that does not "
                          "have an empty-compatible value. For instance, app=~\".*\" does not "
                          "meet this requirement, but app=~\".+\" will");
}

enum { PLAIN = 1, UNWRAPPED = 2, GROUPED = 4 };

static const uint8_t allows[RANGE_OP_COUNT] = {
    [RANGE_COUNT] = PLAIN,
    [RANGE_RATE] = PLAIN | UNWRAPPED,
    [RANGE_BYTES] = PLAIN,
    [RANGE_BYTES_RATE] = PLAIN,
    [RANGE_SUM] = UNWRAPPED,
    [RANGE_AVG] = UNWRAPPED | GROUPED,
    [RANGE_MAX] = UNWRAPPED | GROUPED,
    [RANGE_MIN] = UNWRAPPED | GROUPED,
    [RANGE_STDDEV] = UNWRAPPED | GROUPED,
    [RANGE_STDVAR] = UNWRAPPED | GROUPED,
    [RANGE_QUANTILE] = UNWRAPPED | GROUPED,
    [RANGE_FIRST] = UNWRAPPED | GROUPED,
    [RANGE_LAST] = UNWRAPPED | GROUPED,
    [RANGE_RATE_COUNTER] = UNWRAPPED,
    [RANGE_ABSENT] = PLAIN | UNWRAPPED,
};

void lq_check_range(struct parser *p, const struct logql_expr *e)
{
    enum range_op op = e->range.op;
    const char *name = lq_range_op_name(op);
    lq_check_matchers(p, e->range.log.matchers);
    if (op == RANGE_QUANTILE && !e->range.has_param)
        lq_refuse_late(p, "parameter required for operation %s", name);
    if (op != RANGE_QUANTILE && e->range.has_param)
        lq_refuse_late(p, "parameter %g not supported for operation %s", e->range.param, name);
    if (e->range.by.given && !(allows[op] & GROUPED))
        lq_refuse_late(p, "grouping not allowed for %s aggregation", name);
    if (e->range.unwrap.given && !(allows[op] & UNWRAPPED))
        lq_refuse_late(p, "invalid aggregation %s with unwrap", name);
    if (!e->range.unwrap.given && !(allows[op] & PLAIN))
        lq_refuse_late(p, "invalid aggregation %s without unwrap", name);
}
