/* tenants.c - a query that asks several tenants at once: which of them its matchers mean. */
#include "query/query.h"

static bool allows(struct matchers m, str tenant, bool *yes, struct err *err)
{
    *yes = true;
    for (size_t i = 0; i < m.n && *yes; i++)
        if (str_is(m.v[i].name, QUERY_TENANT_LABEL) && !matcher_test(&m.v[i], tenant, yes, err))
            return false;
    return true;
}

static struct matchers without_tenant(struct arena *a, struct matchers m)
{
    struct matchers out = {arena_array(a, struct matcher, m.n), 0};
    for (size_t i = 0; i < m.n; i++)
        if (!str_is(m.v[i].name, QUERY_TENANT_LABEL))
            out.v[out.n++] = m.v[i];
    return out;
}

bool query_asks(struct query *q, struct matchers m, struct query_asks *out, struct err *err)
{
    struct arena *a = &q->arena;
    if (q->n_tenants < 2) {
        struct query_ask *one = arena_new(a, struct query_ask);
        *one = (struct query_ask){.tenant = q->tenant};
        *out = (struct query_asks){one, 1, m};
        return true;
    }
    struct query_ask *v = arena_array(a, struct query_ask, q->n_tenants);
    size_t n = 0;
    for (size_t i = 0; i < q->n_tenants; i++) {
        bool yes;
        if (!allows(m, q->tenants[i].name, &yes, err))
            return false;
        if (yes)
            v[n++] = q->tenants[i];
    }
    *out = (struct query_asks){v, n, without_tenant(a, m)};
    return true;
}

struct labels query_tenant_labels(struct arena *a, const struct query_ask *ask, struct labels l)
{
    static const str name = STR_INIT(QUERY_TENANT_LABEL),
                     own = STR_INIT("original_" QUERY_TENANT_LABEL);
    if (ask->name.n == 0)
        return l;
    struct label *v = arena_array(a, struct label, l.n + 1);
    for (size_t i = 0; i < l.n; i++)
        v[i] = (struct label){str_eq(l.v[i].name, name) ? own : l.v[i].name, l.v[i].value};
    v[l.n] = (struct label){name, ask->name};
    labels_sort(a, v, l.n + 1);
    return (struct labels){v, l.n + 1};
}
