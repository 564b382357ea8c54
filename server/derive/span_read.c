/* span_read.c - see span_read.h. Attributes are looked at once, by length first: spans have a dozen
 * or more and nearly all of them are none of ours. */
#include "server/derive/span_read.h"

#include "storage/model/limits.h"
#include "storage/model/trace_state.h"

/* No two keys share a length and a first letter. */
static const struct {
    enum peer_attr attr;
    str key;
} peer_keys[] = {
    {PEER_DB_NAME, STR_INIT("db.name")},
    {PEER_DB_SYSTEM, STR_INIT("db.system")},
    {PEER_SERVICE, STR_INIT("peer.service")},
    {PEER_DB_NAMESPACE, STR_INIT("db.namespace")},
    {PEER_SERVER_ADDRESS, STR_INIT("server.address")},
    {PEER_DB_SYSTEM_NAME, STR_INIT("db.system.name")},
    {PEER_NETWORK_PORT, STR_INIT("network.peer.port")},
    {PEER_NETWORK_ADDRESS, STR_INIT("network.peer.address")},
};

#define BIT(n)       (UINT32_C(1) << (n))
#define PEER_LENGTHS (BIT(7) | BIT(9) | BIT(12) | BIT(14) | BIT(17) | BIT(20))

void peer_attrs_read(struct peer_attrs *p, struct attrs attrs)
{
    for (size_t i = 0; i < attrs.n; i++) {
        str key = attrs.v[i].key;
        if (key.n > 20 || !(PEER_LENGTHS & BIT(key.n)))
            continue;
        for (size_t k = 0; k < COUNTOF(peer_keys); k++)
            if (key.n == peer_keys[k].key.n && key.p[0] == peer_keys[k].key.p[0] &&
                str_eq(key, peer_keys[k].key)) {
                p->v[peer_keys[k].attr] = &attrs.v[i].value;
                break;
            }
    }
}

/* The first of them that says something. */
static str first_of(const struct peer_attrs *p, const enum peer_attr *order, size_t n,
                    struct arena *a)
{
    for (size_t i = 0; i < n; i++) {
        const struct value *v = p->v[order[i]];
        str text = v ? value_text(a, v) : STR("");
        if (text.n > 0)
            return text;
    }
    return STR("");
}

str peer_database(const struct peer_attrs *p, struct arena *a)
{
    static const enum peer_attr marks[] = {PEER_DB_NAMESPACE, PEER_DB_NAME, PEER_DB_SYSTEM,
                                           PEER_DB_SYSTEM_NAME};
    static const enum peer_attr names[] = {PEER_SERVICE, PEER_SERVER_ADDRESS};
    static const enum peer_attr address[] = {PEER_NETWORK_ADDRESS}, port[] = {PEER_NETWORK_PORT};
    str database = first_of(p, marks, COUNTOF(marks), a);
    if (database.n == 0)
        return database;
    str name = first_of(p, names, COUNTOF(names), a);
    if (name.n > 0)
        return name;
    str host = first_of(p, address, COUNTOF(address), a);
    if (host.n == 0)
        return database;
    str number = first_of(p, port, COUNTOF(port), a);
    return number.n > 0 ? arena_fmt(a, STR_FMT ":" STR_FMT, STR_ARG(host), STR_ARG(number)) : host;
}

str peer_name(const struct peer_attrs *p, struct arena *a)
{
    static const enum peer_attr names[] = {PEER_SERVICE, PEER_DB_NAME, PEER_DB_SYSTEM,
                                           PEER_DB_SYSTEM_NAME};
    return first_of(p, names, COUNTOF(names), a);
}

const char *span_kind_label(uint8_t kind)
{
    static const char *const labels[] = {"SPAN_KIND_UNSPECIFIED", "SPAN_KIND_INTERNAL",
                                         "SPAN_KIND_SERVER",      "SPAN_KIND_CLIENT",
                                         "SPAN_KIND_PRODUCER",    "SPAN_KIND_CONSUMER"};
    return labels[kind < COUNTOF(labels) ? kind : 0];
}

const char *span_status_label(uint8_t status)
{
    static const char *const labels[] = {"STATUS_CODE_UNSET", "STATUS_CODE_OK",
                                         "STATUS_CODE_ERROR"};
    return labels[status < COUNTOF(labels) ? status : 0];
}

/* 0: it tells no ratio. */
static double ratio_of(struct attrs attrs, str key)
{
    const struct value *v = attrs_get(attrs, key);
    double ratio = !v                        ? 0
                   : v->kind == VALUE_DOUBLE ? v->d
                   : v->kind == VALUE_INT    ? (double)v->i
                                             : 0;
    return ratio > 1 / LIMIT_DERIVE_WEIGHT && ratio <= LIMIT_DERIVE_WEIGHT ? ratio : 0;
}

double span_weight(const struct span *s, struct attrs resource, str key, bool use_state)
{
    double ratio = key.n > 0 ? ratio_of(s->attrs, key) : 0;
    if (ratio == 0 && key.n > 0)
        ratio = ratio_of(resource, key);
    if (ratio > 0)
        return 1 / ratio;
    double weight = use_state ? trace_state_weight(s->trace_state) : 1;
    return MIN(weight, LIMIT_DERIVE_WEIGHT);
}

/* Ids, times, kind and the bytes around them; and those around an attribute. */
#define SPAN_FIXED_BYTES 60
#define ATTR_FIXED_BYTES 8

double span_wire_bytes(const struct span *s)
{
    if (s->wire_bytes > 0)
        return s->wire_bytes;
    size_t n = SPAN_FIXED_BYTES + s->name.n + s->status_message.n;
    for (size_t i = 0; i < s->attrs.n; i++) {
        const struct attr *attr = &s->attrs.v[i];
        n += ATTR_FIXED_BYTES + attr->key.n;
        n += attr->value.kind == VALUE_STR ? attr->value.s.n : sizeof(int64_t);
    }
    return (double)n;
}
