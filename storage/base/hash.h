/* hash.h - XXH3 (stable output, fit for disk), XXH64 and CRC32C. */
#pragma once

#include "storage/base/str.h"

struct hash128 {
    uint64_t lo, hi;
};

uint64_t hash64(str s);
uint64_t hash64_seed(str s, uint64_t seed);
uint64_t hash64_classic(str s); // XXH64, seed 0: where another program's hash must be met
struct hash128 hash128(str s);
struct hash128 hash128_seed(str s, struct hash128 seed);
static inline bool hash128_eq(struct hash128 a, struct hash128 b)
{
    return a.lo == b.lo && a.hi == b.hi;
}
static inline uint64_t hash_mix(uint64_t a, uint64_t b)
{
    a ^= b + UINT64_C(0x9E3779B97F4A7C15) + (a << 6) + (a >> 2);
    a *= UINT64_C(0xFF51AFD7ED558CCD);
    return a ^ (a >> 32);
}
/* For tables in memory, built and thrown away: without a call for up to 16 bytes. Not for disk. */
static inline uint64_t hash_short(str s)
{
    uint64_t a = 0, b = 0;
    if (s.n > 16)
        return hash64(s);
    if (s.n >= 8) {
        memcpy(&a, s.p, 8);
        memcpy(&b, s.p + s.n - 8, 8);
    } else if (s.n >= 4) {
        uint32_t low, high;
        memcpy(&low, s.p, 4);
        memcpy(&high, s.p + s.n - 4, 4);
        a = low;
        b = high;
    } else if (s.n > 0) {
        a = (uint8_t)s.p[0];
        b = (uint64_t)(uint8_t)s.p[s.n / 2] << 8 | (uint8_t)s.p[s.n - 1];
    }
    return hash_mix(hash_mix(s.n, a), b);
}
/* CRC-32C (Castagnoli), hardware where the CPU has it, found at run time. Defined in hash.c. */
uint32_t crc32c(str s);
uint32_t crc32c_tables(uint32_t crc, str s); // the way without hardware; for tests
uint32_t crc32c_more(uint32_t crc, str s);   // crc32c(a+b) == crc32c_more(crc32c(a), b)
/* Sorts hashes, ascending. Their high bits should be even; equal ones are fine. */
void hash_sort(uint64_t *v, size_t n);
