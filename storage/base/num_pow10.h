/* num_pow10.h - powers of ten to 128 bits: 10^k times the power of two that makes it at least
 * 2^127 and less than 2^128, rounded up; {upper, lower} half. */
#pragma once

#include "storage/base/base.h"

#define NUM_POW10_FIRST (-292)
#define NUM_POW10_LAST  324
extern const uint64_t num_pow10[NUM_POW10_LAST - NUM_POW10_FIRST + 1][2];
