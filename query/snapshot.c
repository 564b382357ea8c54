/* snapshot.c - query_snapshot: the one function of the query context that needs the engine, in a
 * file of its own so that unit tests of vector/ and lang/ link without it. */
#include "query/query.h"

static void close_snapshot(void *snap)
{
    snapshot_close(snap);
}

bool query_snapshot(struct query *q, enum signal signal, struct time_range range,
                    struct snapshot **out, struct err *err)
{
    if (!snapshot_open(q->store, q->tenant, signal, range, out, err))
        return false;
    query_defer(q, close_snapshot, *out);
    return true;
}
