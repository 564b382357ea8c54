/* syncer.h - the thread that waits for the disk in interval mode, so that the writer need not: a
 * sync of half a second holds up nobody.
 *
 * One round at a time: the writer starts it with what its logs have to sync, goes on writing, and
 * takes the results when the round is over. Threads: all calls are the writer's. */
#pragma once

#include "storage/base/clock.h"
#include "storage/engine/wal.h"

struct syncer; // opaque

/* `done` is called by the syncing thread after each round; it must not block. */
MUST_USE bool syncer_open(struct clock *clock, void (*done)(void *ctx), void *ctx,
                          struct syncer **out, struct err *err);
void syncer_close(struct syncer *y); // no round may be running; NULL is fine
/* Begins a round; NULL entries are nothing to do. None may be running. */
void syncer_start(struct syncer *y, struct wal_sync *const work[SIGNAL_COUNT]);
/* False while the round runs. Else its work, done, and how long it took; asks once a round. */
bool syncer_poll(struct syncer *y, struct wal_sync *work[SIGNAL_COUNT], int64_t *took_ns);
void syncer_wait(struct syncer *y); // until a poll would succeed
