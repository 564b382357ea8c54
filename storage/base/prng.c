/* prng.c - xoshiro256++ seeded through splitmix64; same seed, same numbers, on every machine. */
#include "storage/base/prng.h"

#include <sys/random.h>
#include <time.h>

static uint64_t rotate_left(uint64_t x, unsigned k)
{
    return (x << k) | (x >> (64 - k));
}

/* Spreads one seed over the state; cannot give the forbidden all-zero state. */
static uint64_t splitmix_next(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

void prng_init(struct prng *r, uint64_t seed)
{
    for (size_t i = 0; i < COUNTOF(r->s); i++)
        r->s[i] = splitmix_next(&seed);
}

uint64_t prng_next(struct prng *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotate_left(s[0] + s[3], 23) + s[0];
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t prng_below(struct prng *r, uint64_t n)
{
    ASSERT(n > 0);
    uint64_t skip = (0 - n) % n; // 2^64 mod n: the values below it would favour small results
    uint64_t x;
    do {
        x = prng_next(r);
    } while (x < skip);
    return x % n;
}

double prng_unit(struct prng *r)
{
    return (double)(prng_next(r) >> 11) * 0x1p-53;
}

uint64_t prng_entropy(void)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed)) {
        struct timespec ts; // not for secrets, so the clock will do where getrandom is filtered
        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        seed = (uint64_t)ts.tv_nsec * UINT64_C(0x9E3779B97F4A7C15) + (uint64_t)ts.tv_sec;
    }
    return seed;
}
