/* num.h - strict numbers from text and shortest round-trip floats to text. No locale anywhere. */
#pragma once

#include "storage/base/buf.h"

#define NUM_TEXT_MAX 350 // longest text of num_print_* (plain notation of a double)

MUST_USE bool num_parse_i64(str s, int64_t *out); // [+-]?digits, whole text, no overflow
MUST_USE bool num_parse_u64(str s, uint64_t *out);
/* Go's strconv.ParseFloat: decimal and 0x floats with exponent, inf/infinity/nan in any case,
 * signs, underscores only in the 0x/decimal forms that Go allows with base prefix: not accepted
 * here. */
MUST_USE bool num_parse_f64(str s, double *out);
/* All print into dst[NUM_TEXT_MAX], return the text; the shortest digits that read back equal. */
str num_print_i64(char *dst, int64_t v);
str num_print_f64(char *dst,
                  double v); // Prometheus JSON: plain for 1e-6 <= |v| < 1e21, else e-07 / e+21
str num_print_f64_plain(char *dst, double v); // never an exponent (Go 'f', -1)
str num_print_f64_go(
    char *dst, double v); // Go %v / 'g' -1 with exponent threshold 21: e-05, e+06 for <1e-4, >=1e21
str num_print_f64_json(char *dst, double v); // as JSON number; caller has excluded NaN and Inf
