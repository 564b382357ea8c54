/* budget.c - taking goes from the leaf up and is undone downwards when a parent refuses.
 *
 * Between a refusal above and the undo, another thread can see a little too much in use and be
 * refused, too: harmless, it would have been tight anyway. Counters are relaxed: they guard an
 * amount, not other memory. */
#include "storage/base/budget.h"

void budget_init(struct budget *b, const char *name, size_t max, struct budget *parent)
{
    b->parent = parent;
    b->name = name;
    b->max = max;
    b->watch = NULL;
    atomic_init(&b->used, 0);
    atomic_init(&b->peak, 0);
    atomic_init(&b->unwatched, 0);
}

void budget_watch(struct budget *b, size_t step, void (*watch)(void *ctx), void *ctx)
{
    b->watch = watch;
    b->watch_ctx = ctx;
    b->watch_step = step;
}

static void budget_note_peak(struct budget *b, size_t used)
{
    size_t peak = atomic_load_explicit(&b->peak, memory_order_relaxed);
    while (used > peak && !atomic_compare_exchange_weak_explicit(
                              &b->peak, &peak, used, memory_order_relaxed, memory_order_relaxed))
        continue;
}

static void budget_call_watch(struct budget *b, size_t n)
{
    size_t all = atomic_fetch_add_explicit(&b->unwatched, n, memory_order_relaxed) + n;
    if (all < b->watch_step)
        return;
    atomic_store_explicit(&b->unwatched, 0, memory_order_relaxed);
    b->watch(b->watch_ctx);
}

/* This level only. */
static bool budget_take_one(struct budget *b, size_t n)
{
    if (b->watch)
        budget_call_watch(b, n);
    size_t used = atomic_load_explicit(&b->used, memory_order_relaxed);
    do {
        if (used > b->max || n > b->max - used)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&b->used, &used, used + n, memory_order_relaxed,
                                                    memory_order_relaxed));
    budget_note_peak(b, used + n);
    return true;
}

bool budget_take(struct budget *b, size_t n)
{
    for (struct budget *at = b; at; at = at->parent) {
        if (budget_take_one(at, n))
            continue;
        for (struct budget *undo = b; undo != at; undo = undo->parent)
            atomic_fetch_sub_explicit(&undo->used, n, memory_order_relaxed);
        return false;
    }
    return true;
}

void budget_force(struct budget *b, size_t n)
{
    for (; b; b = b->parent)
        budget_note_peak(b, atomic_fetch_add_explicit(&b->used, n, memory_order_relaxed) + n);
}

void budget_give(struct budget *b, size_t n)
{
    for (; b; b = b->parent) {
        size_t before = atomic_fetch_sub_explicit(&b->used, n, memory_order_relaxed);
        ASSERT(before >= n);
    }
}

bool budget_room(const struct budget *b, size_t n)
{
    for (; b; b = b->parent) {
        size_t used = budget_used(b);
        if (used > b->max || n > b->max - used)
            return false;
    }
    return true;
}

bool budget_over(const struct budget *b)
{
    for (; b; b = b->parent) {
        if (budget_used(b) > b->max)
            return true;
    }
    return false;
}

const struct budget *budget_tightest(const struct budget *b)
{
    const struct budget *tightest = b;
    size_t least = SIZE_MAX;
    for (; b; b = b->parent) {
        size_t used = budget_used(b), room = used < b->max ? b->max - used : 0;
        if (room < least) {
            least = room;
            tightest = b;
        }
    }
    return tightest;
}

const char *budget_tightest_name(const struct budget *b, const char *otherwise)
{
    b = budget_tightest(b);
    return b && b->name ? b->name : otherwise;
}

size_t budget_used(const struct budget *b)
{
    return atomic_load_explicit(&b->used, memory_order_relaxed);
}
