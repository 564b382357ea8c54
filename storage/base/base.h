/* base.h - the few macros that every file may use.
 *
 * ASSERT states what the program guarantees and is always on: a broken guarantee ends the process
 * (the write-ahead log makes that safe). Bytes from disk, network or configuration are refused with
 * an error, never asserted. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COUNTOF(a)                      (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define MIN(a, b)                       ((a) < (b) ? (a) : (b))
#define MAX(a, b)                       ((a) > (b) ? (a) : (b))

#define MUST_USE               __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define NORETURN               __attribute__((noreturn))
#define LIKELY(x)              __builtin_expect(!!(x), 1)
#define UNLIKELY(x)            __builtin_expect(!!(x), 0)

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S  INT64_C(1000000000)
#define MS_PER_S  INT64_C(1000)

#define ASSERT(cond)                                \
    do {                                            \
        if (UNLIKELY(!(cond)))                      \
            assert_fail(#cond, __FILE__, __LINE__); \
    } while (0)

/* Prints the condition and its place to stderr and aborts. Defined in err.c. */
NORETURN void assert_fail(const char *cond, const char *file, int line);

/* malloc family that ends the process when memory is gone (a budget refuses long before).
 * Zero sizes give a valid pointer. Defined in arena.c; release with mem_free. */
void *mem_alloc(size_t n) __attribute__((malloc, alloc_size(1), returns_nonnull));
void *mem_zalloc(size_t n) __attribute__((malloc, alloc_size(1), returns_nonnull));
void *mem_realloc(void *p, size_t n) __attribute__((alloc_size(2), returns_nonnull));
void mem_free(void *p); // NULL is fine
