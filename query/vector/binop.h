/* binop.h - arithmetic, comparison and set operators between scalars and vectors, with on/ignoring
 * and group_left/right. */
#pragma once

#include "query/vector/aggr.h"

enum binop {
    BIN_ADD,
    BIN_SUB,
    BIN_MUL,
    BIN_DIV,
    BIN_MOD,
    BIN_POW,
    BIN_ATAN2,
    BIN_EQ,
    BIN_NE,
    BIN_GT,
    BIN_LT,
    BIN_GE,
    BIN_LE,
    BIN_AND,
    BIN_OR,
    BIN_UNLESS,
    BIN_TRIM_UPPER, // </
    BIN_TRIM_LOWER, // >/
};
const char *binop_text(enum binop op);
bool binop_is_comparison(enum binop op);
bool binop_is_set(enum binop op);

enum match_card { CARD_ONE_TO_ONE, CARD_MANY_TO_ONE, CARD_ONE_TO_MANY, CARD_MANY_TO_MANY };

struct match {
    enum match_card card;
    bool on; // names are the ones that count, else the ones ignored
    const str *names;
    size_t n_names;
    const str *include; // group_left(...) / group_right(...)
    size_t n_include;
    bool has_fill_left, has_fill_right;
    double fill_left, fill_right;
};

struct binary {
    enum binop op;
    enum dialect dialect; // LOGQL: division and modulo by zero give NaN; TRACEQL: no result
    bool return_bool;
    struct match match;
};

double binop_scalar(const struct binary *b, double x, double y); // comparisons give 1 or 0
/* Any mix of scalars (is_scalar) and vectors on one grid. Errors (ERR_EXEC) with Prometheus' texts
 * ("found duplicate series for the match group {...} on the right hand-side of the operation:
 * [...];many-to-many matching not allowed: ...").  */
MUST_USE bool binop_eval(struct query *q, const struct binary *b, const struct matrix *l,
                         const struct matrix *r, struct matrix *out, struct err *err);
