/* json_like.h - compares JSON texts by value, with places that may differ. By jansson: another
 * reader than the product's. It shares names with the product's writer, so it stays behind this. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Both must be valid. Order of keys does not count. In `want` "<any>", "<string>" and "<number>"
 * stand for such values, and the key "..." allows further keys in its object. */
bool json_like(const char *want, size_t want_n, const char *got, size_t got_n);
