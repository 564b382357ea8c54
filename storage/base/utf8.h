/* utf8.h - check, repair, decode, encode. Surrogates and overlong forms are invalid. */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/buf.h"

bool utf8_valid(str s); // fast path for ASCII
/* s itself when valid, else an arena copy with each bad sequence (its longest valid start, at least
 * one byte) replaced by U+FFFD. */
str utf8_repair(struct arena *a, str s);
/* First code point of s; *len bytes. Invalid: returns 0xFFFD with *len = 1. s must not be empty. */
uint32_t utf8_decode(str s, size_t *len);
/* Writes cp into dst[4] and returns its length; what is no code point becomes U+FFFD. */
size_t utf8_put(char *dst, uint32_t cp);
void utf8_encode(struct buf *b, uint32_t cp); // the same, appended
size_t utf8_count(str s);                     // code points, invalid bytes count 1 each
