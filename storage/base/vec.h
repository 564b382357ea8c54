/* vec.h - VEC(T): pointer, count, capacity. Grown in an arena (old copies stay until it dies) or,
 * with arena NULL, on the heap (release with vec_free). Items are plain values. */
#pragma once

#include "storage/base/arena.h"

#define VEC(T)         \
    struct {           \
        T *v;          \
        size_t n, cap; \
    }

/* Room for `want` items in all. */
#define vec_reserve(vec, arena, want)                                                             \
    ((void)((vec)->cap >= (want) || ((vec)->v = vec_grow((vec)->v, (vec)->n, &(vec)->cap, (want), \
                                                         sizeof((vec)->v[0]), (arena)),           \
                                     1)))
#define vec_push(vec, arena, ...)                  \
    do {                                           \
        vec_reserve((vec), (arena), (vec)->n + 1); \
        (vec)->v[(vec)->n++] = (__VA_ARGS__);      \
    } while (0)
#define vec_last(vec) (&(vec)->v[(vec)->n - 1])
#define vec_free(vec) (mem_free((vec)->v), (vec)->v = NULL, (vec)->n = (vec)->cap = 0)

/* Defined in arena.c: new memory of at least `want` items (doubling), old content copied. */
void *vec_grow(void *v, size_t n, size_t *cap, size_t want, size_t size, struct arena *arena)
    __attribute__((returns_nonnull));
