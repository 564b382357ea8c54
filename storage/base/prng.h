/* prng.h - seeded generator (xoshiro256++) for jitter, sampling and simulation; never for secrets.
 */
#pragma once

#include "storage/base/base.h"

struct prng {
    uint64_t s[4];
};

void prng_init(struct prng *r, uint64_t seed);
uint64_t prng_next(struct prng *r);
uint64_t prng_below(struct prng *r, uint64_t n); // 0 <= x < n, n > 0
double prng_unit(struct prng *r);                // 0 <= x < 1
uint64_t prng_entropy(void);                     // a seed from the system
