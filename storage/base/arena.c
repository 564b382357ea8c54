/* arena.c - chunks double from 4 KiB to 256 KiB, so that a small request costs one malloc and a
 * large one few; what is larger than a chunk gets a chunk of its own.
 *
 * Invariants: chunks form a list from the newest to the first; [p, end) lies in the newest; `used`
 * is the sum of the chunks' sizes and is what the budget was charged with. Thread: the owner's. */
#include "storage/base/arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "storage/base/vec.h"

#define ARENA_ALIGN     ((size_t)16)
#define ARENA_CHUNK_MIN (4 * KIB)
#define ARENA_CHUNK_MAX (256 * KIB)

struct arena_chunk {
    struct arena_chunk *older;
    char *end; // behind the last byte: chunk size = end - (char *)chunk
    _Alignas(16) char data[];
};

NORETURN static void mem_fail(size_t n)
{
    dprintf(STDERR_FILENO, "out of memory: %zu bytes were refused by the system\n", n);
    abort();
}

void *mem_alloc(size_t n)
{
    void *p = malloc(n ? n : 1);
    if (UNLIKELY(!p))
        mem_fail(n);
    return p;
}

void *mem_zalloc(size_t n)
{
    void *p = calloc(1, n ? n : 1);
    if (UNLIKELY(!p))
        mem_fail(n);
    return p;
}

void *mem_realloc(void *p, size_t n)
{
    void *q = realloc(p, n ? n : 1);
    if (UNLIKELY(!q))
        mem_fail(n);
    return q;
}

void mem_free(void *p)
{
    free(p);
}

void arena_init(struct arena *a, size_t max, struct budget *budget)
{
    *a = (struct arena){.max = max, .budget = budget};
}

static size_t arena_chunk_size(const struct arena_chunk *c)
{
    return (size_t)(c->end - (const char *)c);
}

/* Frees every chunk that is newer than `keep` (NULL: all); p and end are the caller's to set. */
static void arena_free_newer(struct arena *a, const struct arena_chunk *keep)
{
    size_t freed = 0;
    while (a->chunk != keep) {
        struct arena_chunk *c = a->chunk;
        a->chunk = c->older;
        freed += arena_chunk_size(c);
        mem_free(c);
    }
    a->used -= freed;
    budget_give(a->budget, freed);
}

void arena_deinit(struct arena *a)
{
    arena_free_newer(a, NULL);
    a->p = a->end = NULL;
    a->over = false;
}

void arena_reset(struct arena *a)
{
    struct arena_chunk *first = a->chunk;
    while (first && first->older)
        first = first->older;
    arena_free_newer(a, first);
    a->p = first ? first->data : NULL;
    a->end = first ? first->end : NULL;
    a->over = false;
    ARENA_POISON(a->p, (size_t)(a->end - a->p));
}

void arena_reset_keep(struct arena *a)
{
    struct arena_chunk *keep = a->chunk;
    for (struct arena_chunk *c = keep; c; c = c->older)
        keep = arena_chunk_size(c) > arena_chunk_size(keep) ? c : keep;
    if (!keep) {
        arena_reset(a);
        return;
    }
    struct arena_chunk **at = &a->chunk;
    while (*at != keep)
        at = &(*at)->older;
    *at = keep->older;
    arena_free_newer(a, NULL);
    keep->older = NULL;
    a->chunk = keep;
    a->p = keep->data;
    a->end = keep->end;
    a->over = false;
    ARENA_POISON(a->p, (size_t)(a->end - a->p));
}

/* Charges the wished chunk size, or the bare need when the wish does not fit; over when neither
 * does. Returns the size to allocate. */
static size_t arena_charge(struct arena *a, size_t need, size_t wish)
{
    size_t left = a->max > a->used ? a->max - a->used : 0;
    wish = MAX(need, MIN(wish, left) & ~(ARENA_ALIGN - 1)); // keeps `end` aligned: arena_vfmt
    if (wish <= left && budget_take(a->budget, wish))
        return wish;
    if (need <= left && budget_take(a->budget, need))
        return need;
    budget_force(a->budget, need);
    a->over = true;
    return need;
}

void *arena_alloc_slow(struct arena *a, size_t n)
{
    if (n == 0)
        n = ARENA_ALIGN;
    ASSERT(n <= SIZE_MAX / 2);
    size_t need = (n + ARENA_ALIGN - 1) & ~(ARENA_ALIGN - 1);
    if (need > (size_t)(a->end - a->p)) {
        size_t total = sizeof(struct arena_chunk) + need;
        size_t wish = a->used < ARENA_CHUNK_MIN ? ARENA_CHUNK_MIN : a->used;
        size_t size = arena_charge(a, total, MIN(wish, ARENA_CHUNK_MAX));
        struct arena_chunk *c = mem_alloc(size);
        c->older = a->chunk;
        c->end = (char *)c + size;
        a->chunk = c;
        a->used += size;
        a->p = c->data;
        a->end = c->end;
        ARENA_POISON(a->p, (size_t)(a->end - a->p));
    }
    void *p = a->p;
    a->p += need;
    ARENA_UNPOISON(p, n);
    return p;
}

void *arena_zalloc(struct arena *a, size_t n)
{
    return memset(arena_alloc(a, n), 0, n);
}

void *arena_alloc_array(struct arena *a, size_t n, size_t size)
{
    size_t bytes;
    ASSERT(!__builtin_mul_overflow(n, size, &bytes));
    return arena_alloc(a, bytes);
}

bool arena_room(const struct arena *a, size_t n)
{
    if (a->over)
        return false;
    if (n <= (size_t)(a->end - a->p))
        return true;
    size_t total;
    if (__builtin_add_overflow(n, sizeof(struct arena_chunk) + ARENA_ALIGN, &total))
        return false;
    return a->used <= a->max && total <= a->max - a->used && budget_room(a->budget, total);
}

str arena_dup(struct arena *a, str s)
{
    ASSERT(s.n < SIZE_MAX);
    char *p = arena_alloc(a, s.n + 1);
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return (str){p, s.n};
}

str arena_vfmt(struct arena *a, const char *fmt, va_list args)
{
    size_t room = (size_t)(a->end - a->p);
    va_list again;
    va_copy(again, args);
    ARENA_UNPOISON(a->p, room);
    int n = vsnprintf(a->p, room, fmt, args); // most often the text fits where it would go anyway
    ARENA_POISON(a->p, room);
    ASSERT(n >= 0);
    char *p = arena_alloc(a, (size_t)n + 1);
    if ((size_t)n >= room)
        (void)vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return (str){p, (size_t)n};
}

str arena_fmt(struct arena *a, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    str s = arena_vfmt(a, fmt, args);
    va_end(args);
    return s;
}

struct arena_mark arena_mark(const struct arena *a)
{
    return (struct arena_mark){a->chunk, a->p};
}

void arena_release(struct arena *a, struct arena_mark m)
{
    if (!m.chunk) { // marked while empty
        arena_reset(a);
        return;
    }
    arena_free_newer(a, m.chunk);
    a->p = m.p;
    a->end = m.chunk->end;
    ARENA_POISON(a->p, (size_t)(a->end - a->p));
}

void *vec_grow(void *v, size_t n, size_t *cap, size_t want, size_t size, struct arena *arena)
{
    size_t more = MAX(want, MAX(*cap * 2, (size_t)8)), bytes;
    ASSERT(*cap <= SIZE_MAX / 4 && !__builtin_mul_overflow(more, size, &bytes));
    if (!arena) {
        v = mem_realloc(v, bytes);
    } else {
        void *old = v;
        v = arena_alloc(arena, bytes);
        if (n > 0)
            memcpy(v, old, n * size);
    }
    *cap = more;
    return v;
}
