/* import_target.h - where imported batches go: a data directory (opened here, with its lock, and
 * without windows, so that records of any time are taken) or a running server (remote write and
 * Loki push). Threads: one at a time. */
#pragma once

#include "server/config.h"

struct import_target; // opaque

struct import_counts {
    uint64_t accepted, rejected; // records
    char reason[256];            // of the first refusal
};

/* url empty: the directory of the configuration. */
MUST_USE bool import_target_open(const struct config *config, str url, str tenant,
                                 struct import_target **out, struct err *err);
/* Takes everything of the batch, waiting for room when there is none, and adds to *counts. What is
 * refused for good is counted there; an error means that this batch is perhaps in, perhaps not:
 * sending it again does no harm. */
MUST_USE bool import_target_write(struct import_target *t, struct batch *b,
                                  struct import_counts *counts, struct err *err);
/* Moves what is in memory into segments (directory only). */
MUST_USE bool import_target_finish(struct import_target *t, struct err *err);
void import_target_close(struct import_target *t); // NULL is fine
