/* writer.h - the single writer: groups waiting batches, logs them with one write (and by mode one
 * sync) per signal, applies them to the heads, wakes the waiters; freezes generations.
 *
 * Threads: writer_write, writer_freeze and writer_check are for any thread and block until done.
 * Without a thread (no_background) the caller's thread does the turn under the writer's mutex. */
#pragma once

#include "storage/engine/store_internal.h"

struct writer;

MUST_USE bool writer_open(struct store *s, const struct recovered *from, bool has_thread,
                          struct writer **out, struct err *err);
/* Refuses further jobs, finishes the waiting ones, syncs the logs, ends the thread. */
void writer_close(struct writer *w); // NULL is fine

/* Is there memory for another write, and does the disk take what is written? Else ERR_BUSY. */
MUST_USE bool writer_keeps_up(struct writer *w, enum signal signal, struct err *err);
MUST_USE bool writer_write(struct writer *w, struct store_tenant *t, struct batch *b,
                           struct buf *payload, struct write_result *res, struct err *err);
/* Freezes the active generations: all that hold anything, or those that are due. */
MUST_USE bool writer_freeze(struct writer *w, bool all, struct err *err);
/* Syncs the logs now. */
MUST_USE bool writer_sync(struct writer *w, struct err *err);
/* Somebody finds no memory: the largest generation is sealed early, whatever it holds above a 64th
 * of the budget. Does not wait. */
void writer_make_room(struct writer *w);
/* After a seal: lets the heads forget idle series. Does not wait. */
void writer_expire(struct writer *w, enum signal signal);
