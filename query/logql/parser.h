/* parser.h - the parser's state, shared by parse.c (metric expressions) and parse_log.c (selectors,
 * stages, label filters), and what check.c offers them.
 *
 * The first error sticks: from then on every token reads as the end, so the grammar needs no checks
 * between its steps; what it builds after an error is thrown away. */
#pragma once

#include "query/logql/ast.h"
#include "query/logql/token.h"

struct parser {
    struct query *q;
    struct err *err;
    struct lexer lx;
    struct token tok;  // the current one
    struct token next; // one token ahead, when has_next
    bool has_next;
    bool failed;
    struct err late; // of a check that speaks only when the grammar has nothing to say
    uint32_t depth;  // of the parser's own recursion
};

void lq_next(struct parser *p);
const struct token *lq_peek(struct parser *p); // the token behind the current one
/* "parse error at line L, col C: syntax error: unexpected X[, expecting Y]". Returns false. */
bool lq_unexpected(struct parser *p, const char *expecting);
/* "parse error : ...": of checks, without a position. Keeps the first error. Returns false. */
bool lq_refuse(struct parser *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The same for what is looked at when all is read: any other error comes before it. Reading goes
 * on. Returns false. */
bool lq_refuse_late(struct parser *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Steps over a token of this kind, or complains. */
bool lq_expect(struct parser *p, enum tok kind, const char *expecting);
/* Counts recursion; false beyond LIMIT_AST_DEPTH. Pair with p->depth--. */
bool lq_enter(struct parser *p);
bool lq_too_deep(struct parser *p);

/* At "{". */
struct matchers lq_parse_selector(struct parser *p);
/* As many stages as follow. Behind "| unwrap" *unwrap is filled and only label filters follow;
 * unwrap NULL: not allowed here. */
void lq_parse_stages(struct parser *p, struct log_query *log, struct unwrap *unwrap);
/* (a, b): at "(". */
void lq_parse_names(struct parser *p, const str **out, size_t *n);
/* The matcher rule of all queries: one that excludes the empty string. */
bool lq_check_matchers(struct parser *p, struct matchers m);
void lq_check_range(struct parser *p, const struct logql_expr *e);
/* Literal as Go reads it: decimal and hexadecimal floats, underscores between digits. */
bool lq_parse_number(struct parser *p, str text, double *out);
