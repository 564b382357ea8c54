/* crew.h - threads that lend a hand to whoever has independent pieces of work: blocks to decode,
 * series to evaluate.
 *
 * The owner posts tasks and later finishes each: what no thread has begun by then, it runs itself.
 * So a task never waits for a busy crew, a crew of none (or NULL) is the serial program, and tasks
 * that themselves finish tasks cannot wait in a circle. Everything that a task wrote is visible to
 * the owner once it is finished. Tasks are bounded pieces: nothing interrupts them. */
#pragma once

#include "storage/base/err.h"

struct crew; // opaque

enum crew_state { CREW_IDLE, CREW_WAITS, CREW_RUNS, CREW_DONE };

struct crew_task {
    void (*run)(struct crew_task *task);
    // the crew's:
    struct crew_task *prev, *next;
    enum crew_state state;
};

MUST_USE bool crew_open(unsigned threads, struct crew **out, struct err *err);
/* No tasks are left: their owners have finished them. NULL is fine. */
void crew_close(struct crew *c);
/* Threads besides the caller's; 0 for NULL. */
unsigned crew_size(const struct crew *c);
/* Is there a core that has nothing to do? Then helpers shorten the work; else they only share the
 * time there is, and dividing work costs some. Looks at what runs on the whole machine right now,
 * in some 10 us; true where that cannot be known. false for a crew of none. */
bool crew_has_idle_core(const struct crew *c);
/* From now on crew_has_idle_core is not asked but true: for tests. Before other threads know it. */
void crew_set_eager(struct crew *c);
/* Hands a task over, oldest first. task->run is set; the task stays where it is until it is
 * finished. Any thread; without threads, the task waits for its owner. */
void crew_post(struct crew *c, struct crew_task *task);
/* Takes a posted task back that nobody has begun: true, it is the caller's to run or to forget. */
MUST_USE bool crew_take(struct crew *c, struct crew_task *task);
/* Runs a posted task that nobody has begun, here and now; false: somebody has. */
bool crew_try(struct crew *c, struct crew_task *task);
/* True when a posted task has been run: it may be looked at, and posted again. */
bool crew_is_done(struct crew *c, struct crew_task *task);
/* Runs the task unless somebody has begun it, then waits for its end. The caller that posted it. */
void crew_finish(struct crew *c, struct crew_task *task);
/* Calls run(ctx, i) for each i in [0, n), in any order and from several threads, the caller's
 * among them; returns when all have come back. `width`: threads at most, the caller's included
 * (0 = all). Each i is begun in ascending order. */
void crew_each(struct crew *c, unsigned width, size_t n, void (*run)(void *ctx, size_t i),
               void *ctx);
