/* metrics.h - /metrics in the Prometheus text format, from each module's own statistics: there is
 * no registry and no global. Any thread. */
#pragma once

#include "server/net/listener.h"
#include "server/services.h"
#include "server/syslog_server.h"

struct metrics_sources {
    const struct services *services;
    struct router *router;
    struct net *net;
    struct work *work;
    const struct syslog_server *syslog; // NULL: off
};

/* with_store: ask the store, too (blocks: not on the loop, not before it is open). */
void metrics_write(const struct metrics_sources *src, bool with_store, struct sink *out);
