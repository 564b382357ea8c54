/* print.h - how the languages print literals: Go quoting, label lists. */
#pragma once

#include "storage/base/buf.h"

void print_quoted(struct buf *b,
                  str s); // Go's strconv.Quote: "a\nb\u00e9..." (printable UTF-8 stays)
void print_ident(struct buf *b, str name); // bare when it is [A-Za-z_][A-Za-z0-9_]*, else quoted
