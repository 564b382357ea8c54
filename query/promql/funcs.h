/* funcs.h - the table of functions: names, signatures, and how each is computed.
 *
 * A function is one row. `call` does the whole work; the three common shapes have a shared `call`
 * and differ in `math` (float -> float), `rollup` (window -> value) or `of_hist` (histogram ->
 * float). */
#pragma once

#include "query/promql/ast.h"

struct eval;
struct result;
struct rollup;
struct window;
struct point;

#define FUNC_ARGS_MAX 5

enum func_flags {
    FUNC_KEEPS_NAME = 1, // the result keeps the metric name
    FUNC_TIME = 2,       // depends on the evaluation time: not the same at every step
    FUNC_COUNTER = 4,    // rate, increase: the name should look like a counter's
    FUNC_ANCHORED = 8,   // takes anchored ranges
    FUNC_SMOOTHED = 16,  // takes smoothed ranges
};

struct func {
    str name;
    enum promql_type returns;
    enum promql_type args[FUNC_ARGS_MAX];
    size_t n_args;
    int variadic; // the last n may be left out; -1: the last one may repeat or be left out
    int flags;
    bool (*call)(struct eval *e, const struct node *n, struct result *out, struct err *err);
    double (*math)(double v);
    bool (*rollup)(struct rollup *r, const struct window *w, struct point *out, struct err *err);
    double (*of_hist)(const struct hist *h);
};

const struct func *func_at(size_t i);   // in table order; NULL behind the last
const struct func *func_find(str name); // NULL when unknown; names are case-sensitive
