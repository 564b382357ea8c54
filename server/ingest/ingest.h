/* ingest.h - the routes of everything that takes telemetry in; handlers get `struct services *` as
 * ctx. */
#pragma once

#include "server/net/http.h"

/* OTLP/HTTP and gRPC, Prometheus remote write, Loki push. Ended by pattern NULL. All in
 * LANE_INGEST. */
extern const struct route ingest_routes[];
/* systemd-journal-upload's POST /upload, which has no end. */
extern const struct route journal_routes[];
