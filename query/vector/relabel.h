/* relabel.h - label_replace and label_join over a matrix (labels change, cells are shared). */
#pragma once

#include "query/vector/matrix.h"

/* re: anchored. dst names are checked by the caller's language. Two series that fall together:
 * ERR_EXEC. */
MUST_USE bool relabel_replace(struct query *q, const struct matrix *in, str dst, str replacement,
                              str src, const struct regex *re, struct matrix *out, struct err *err);
MUST_USE bool relabel_join(struct query *q, const struct matrix *in, str dst, str separator,
                           const str *src, size_t n, struct matrix *out, struct err *err);
