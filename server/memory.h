/* memory.h - what the budgets cannot see: resident memory that nobody charged.
 *
 * Budgets count what arenas, heads, caches and bodies hold. The program itself, zstd, scratch space
 * of seals and merges, and above all memory that was freed but that the allocator keeps are not in
 * them. While there is work, a thread charges what SQLite says it has allocated to the budget
 * `sqlite`, compares the process's resident memory with the root budget and charges the difference
 * to the budget `other`: so the root is over when the process is too large, whatever the reason,
 * and everything that asks budgets (ingest, queries, early seals, caches) makes room. Near the
 * ceiling, and once after a burst, it makes the allocator give free pages back. An idle server has
 * no timer. */
#pragma once

#include "storage/base/budget.h"
#include "storage/base/err.h"

struct memory_watch;

/* `root` is the whole ceiling and outlives the watch; starts the thread. */
MUST_USE bool memory_watch_open(struct budget *root, struct memory_watch **out, struct err *err);
/* Any thread: there is work. Costs a load when the watch is awake. */
void memory_watch_poke(struct memory_watch *w);
/* Resident memory that no budget counts, in bytes; as of the last look. */
const struct budget *memory_watch_other(const struct memory_watch *w);
const struct budget *memory_watch_sqlite(const struct memory_watch *w); // SQLite's memory
void memory_watch_close(struct memory_watch *w); // NULL is fine; ends the thread
