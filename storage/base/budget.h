/* budget.h - a byte count with a ceiling, shared by threads; budgets form a tree.
 *
 * The root is --memory; below it heads, ingest, queries, caches each have a share. budget_take
 * succeeds only if the budget and all its parents have room; budget_force always counts (used where
 * a failed allocation must not happen half-way), and budget_over then reports it. Lock-free. */
#pragma once

#include <stdatomic.h>

#include "storage/base/base.h"

struct budget {
    struct budget *parent; // NULL at the root
    const char *name;      // for messages: "query memory"
    size_t max;            // bytes; SIZE_MAX = no ceiling
    atomic_size_t used;
    atomic_size_t peak;
    // see budget_watch
    void (*watch)(void *ctx);
    void *watch_ctx;
    size_t watch_step;
    atomic_size_t unwatched; // taken since the last call
};

void budget_init(struct budget *b, const char *name, size_t max, struct budget *parent);
MUST_USE bool budget_take(struct budget *b, size_t n); // b NULL: always true
void budget_force(struct budget *b, size_t n);
void budget_give(struct budget *b, size_t n);
bool budget_room(const struct budget *b, size_t n); // would budget_take(b, n) succeed now?
bool budget_over(const struct budget *b);           // this one or a parent is above its max
/* Calls watch(ctx) in the thread that takes, before it does, once for about every `step` bytes that
 * are taken: what it charges by budget_force counts at once. From any thread, several at a time; it
 * must not take itself. Set (or, NULL, unset) while no other thread uses the budget. */
void budget_watch(struct budget *b, size_t step, void (*watch)(void *ctx), void *ctx);
/* This one or the parent that has the least room: who to name when taking failed. */
const struct budget *budget_tightest(const struct budget *b);
/* Its name, for messages; `otherwise` where there is no budget or it has none. */
const char *budget_tightest_name(const struct budget *b, const char *otherwise);
size_t budget_used(const struct budget *b);
