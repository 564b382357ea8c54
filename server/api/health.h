/* health.h - readiness and liveness; ctx is `struct services *`. */
#pragma once

#include "server/net/http.h"

/* /ready, /-/ready, /-/healthy, /health, grpc.health.v1. Ended by pattern NULL. */
extern const struct route health_routes[];
