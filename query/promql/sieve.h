/* sieve.h - comparisons of a selector, or of a function over its windows, with a number: cells that
 * fail go before their rows become a matrix, so that a condition that few series meet costs neither
 * memory nor labels of the others.
 *
 * A sieve only takes away what the operator would take away: the operator itself runs on what is
 * left and says what is to be said about histograms. */
#pragma once

#include "query/promql/eval.h"

struct sieve {
    enum binop op; // cell OP number
    double number;
};

/* Is the operator a filter whose one side is a number and whose other side, *rows, can be sieved?
 */
bool sieve_of(const struct node *n, struct sieve *out, const struct node **rows);
/* The rows with what may pass. */
MUST_USE bool sieve_eval(struct eval *e, const struct node *rows, const struct sieve *s,
                         struct result *out, struct err *err);
/* The values that pass, or some more: values that are in between are not told apart. false: that
 * would be all. */
bool sieve_range(const struct sieve *s, struct value_range *out);
/* Takes the floats that fail out of n cells; sieve NULL: none. c->any says whether some are left.
 */
void sieve_cells(const struct sieve *s, struct cells *c, size_t n);
