/* api.h - the route tables of the read APIs; handlers get `struct services *` as ctx. Ended by
 * pattern NULL. */
#pragma once

#include "server/net/http.h"

extern const struct route prom_routes[];
/* 400, `invalid parameter "NAME": REASON`, in Prometheus' envelope. */
void prom_refuse_param(struct http_reply *rep, const char *name, const struct err *why);
extern const struct route prom_status_routes[];
extern const struct route prom_tsdb_routes[];
extern const struct route prom_federate_routes[];
extern const struct route prom_search_routes[];
extern const struct route prom_read_routes[];
extern const struct route prom_admin_routes[];
extern const struct route loki_routes[];
extern const struct route tempo_routes[];
extern const struct route tempo_status_routes[];
extern const struct route tempo_grpc_routes[];
extern const struct route jaeger_routes[]; // below /jaeger
