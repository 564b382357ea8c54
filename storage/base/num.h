/* num.h - strict numbers from text and shortest round-trip floats to text. No locale anywhere. */
#pragma once

#include "storage/base/buf.h"

#define NUM_TEXT_MAX 350 // longest text of num_print_* (plain notation of a double)

MUST_USE bool num_parse_i64(str s, int64_t *out); // [+-]?digits, whole text, no overflow
MUST_USE bool num_parse_u64(str s, uint64_t *out);
/* Go's strconv.ParseFloat: decimal and 0x floats with exponent, inf/infinity/nan in any case,
 * signs, underscores between digits. */
MUST_USE bool num_parse_f64(str s, double *out);
/* All print into dst[NUM_TEXT_MAX] (no NUL behind) and return the text: the shortest digits that
 * read back equal, "NaN", "+Inf", "-Inf". */
str num_print_i64(char *dst, int64_t v);
str num_print_u64(char *dst, uint64_t v);
/* Prometheus JSON: plain for 1e-6 <= |v| < 1e21, else "1e-07", "1e+21". */
str num_print_f64(char *dst, double v);
/* Never an exponent (Go 'f', -1). */
str num_print_f64_plain(char *dst, double v);
/* Go %v and 'g', -1: an exponent below 1e-4 and from 1e6 on: "1e-05", "1e+06", "1.5e+09". */
str num_print_f64_go(char *dst, double v);
/* As a JSON number, Go's encoding/json spelling ("1e-7", "1e+21"); the caller has excluded NaN and
 * Inf. */
str num_print_f64_json(char *dst, double v);
