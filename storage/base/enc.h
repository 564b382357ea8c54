/* enc.h - hex, base64, percent encoding. */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/buf.h"

extern const char hex_pairs[513];       // two digits of each byte
void hex_add(struct buf *b, str bytes); // lower case
str hex_str(struct arena *a, str bytes);
MUST_USE bool hex_decode(str text, uint8_t *dst, size_t n); // exactly 2n digits, any case
void base64_add(struct buf *b, str bytes);                  // standard alphabet, padded
str base64_str(struct arena *a, str bytes);
/* Standard or URL alphabet, padding optional. */
MUST_USE bool base64_decode(struct arena *a, str text, str *out);
/* %XX and, in queries and forms, '+' as blank; a bad escape fails. Returns s itself if nothing to
 * do. */
MUST_USE bool percent_decode(struct arena *a, str s, bool plus_is_blank, str *out);
void percent_add(struct buf *b, str s); // RFC 3986 unreserved stay
