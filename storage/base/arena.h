/* arena.h - chunked bump allocator: one per request, job or batch; everything dies with it.
 *
 * arena_alloc never returns NULL. Passing `max`, or the shared budget's ceiling, sets `over` (and
 * still gives memory); loops look at `over` (query_tick makes it ERR_LIMIT). Ask arena_room before
 * taking more than 1 MiB at once. Zero value + arena_init; deinit twice is fine. Not thread-safe.
 */
#pragma once

#include <stdarg.h>

#include "storage/base/budget.h"
#include "storage/base/str.h"

/* With the address sanitizer, what an arena has not given out cannot be touched. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_SANITIZED 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define ARENA_SANITIZED 1
#endif
#ifdef ARENA_SANITIZED
#include <sanitizer/asan_interface.h>
#define ARENA_POISON(p, n)   ASAN_POISON_MEMORY_REGION((p), (n))
#define ARENA_UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
#else
#define ARENA_POISON(p, n)   ((void)0)
#define ARENA_UNPOISON(p, n) ((void)0)
#endif

struct arena_chunk;

struct arena {
    struct arena_chunk *chunk; // newest; a list back to the first
    char *p, *end;             // free room in the newest chunk
    size_t used;               // bytes taken from malloc, chunk headers included
    size_t max;                // soft ceiling of `used`
    struct budget *budget;     // may be NULL
    bool over;
};

struct arena_mark {
    struct arena_chunk *chunk;
    char *p;
};

void arena_init(struct arena *a, size_t max, struct budget *budget);
void arena_deinit(struct arena *a);
void arena_reset(struct arena *a); // frees all but the first chunk, clears over
/* Frees all but the largest chunk: for what is filled about as much again and again, where giving
 * memory back and asking for it anew costs more than the work. */
void arena_reset_keep(struct arena *a);
/* The slow way of arena_alloc: a new chunk. */
void *arena_alloc_slow(struct arena *a, size_t n) __attribute__((returns_nonnull, noinline));

/* 16-aligned, not zeroed; n = 0 gives a valid pointer. */
__attribute__((returns_nonnull)) static inline void *arena_alloc(struct arena *a, size_t n)
{
    size_t need = (n + 15) & ~(size_t)15;
    if (UNLIKELY(need - 1 >= (size_t)(a->end - a->p))) // n = 0 and a wrapped sum go this way, too
        return arena_alloc_slow(a, n);
    void *p = a->p;
    a->p += need;
    ARENA_UNPOISON(p, n);
    return p;
}
void *arena_zalloc(struct arena *a, size_t n) __attribute__((returns_nonnull));
bool arena_room(const struct arena *a, size_t n); // would n more bytes stay inside max and budget?
str arena_dup(struct arena *a, str s);            // copy, with a NUL behind it
str arena_fmt(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3); // NUL behind it
str arena_vfmt(struct arena *a, const char *fmt, va_list args);
struct arena_mark arena_mark(const struct arena *a);
void arena_release(struct arena *a, struct arena_mark m); // frees everything after the mark

#define arena_new(a, T)      ((T *)arena_zalloc((a), sizeof(T)))
#define arena_array(a, T, n) ((T *)arena_alloc_array((a), (n), sizeof(T)))
/* Array, not zeroed. Asserts that n * size fits size_t: check counts from foreign bytes against a
 * limit first. */
void *arena_alloc_array(struct arena *a, size_t n, size_t size) __attribute__((returns_nonnull));
