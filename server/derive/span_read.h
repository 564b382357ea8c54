/* span_read.h - what derived metrics need to know of a span and its resource. Views into the batch.
 */
#pragma once

#include "storage/model/batch.h"

/* Attributes that name the other side of a request. */
enum peer_attr {
    PEER_SERVICE,
    PEER_DB_NAMESPACE,
    PEER_DB_NAME,
    PEER_DB_SYSTEM,
    PEER_DB_SYSTEM_NAME,
    PEER_SERVER_ADDRESS,
    PEER_NETWORK_ADDRESS,
    PEER_NETWORK_PORT,
};
#define PEER_ATTRS 8

struct peer_attrs {
    const struct value *v[PEER_ATTRS]; // NULL: none
};

/* Adds what the attributes have; what is there already is replaced. */
void peer_attrs_read(struct peer_attrs *p, struct attrs attrs);
/* The name of the database that a client span speaks to; empty: it speaks to none. */
str peer_database(const struct peer_attrs *p, struct arena *a);
/* What the span calls the other side; empty: it does not. */
str peer_name(const struct peer_attrs *p, struct arena *a);

const char *span_kind_label(uint8_t kind);     // "SPAN_KIND_SERVER", ...
const char *span_status_label(uint8_t status); // "STATUS_CODE_ERROR", ...
/* How many spans one stands for: 1 / the sampling ratio that an attribute of it, or else of its
 * resource, tells (key empty: none does), else what its trace state says, if that is asked.
 * Above 0, LIMIT_DERIVE_WEIGHT at most; 1 where nothing sensible is said. */
double span_weight(const struct span *s, struct attrs resource, str key, bool use_state);
/* Bytes of the span as protobuf: as received, or about so many. */
double span_wire_bytes(const struct span *s);
