/* parser.h - the parser's state, shared by its two files: parse.c (expressions) and parse_sel.c
 * (selectors, modifiers, durations).
 *
 * The first error sticks: from then on every token reads as the end, so that the grammar needs no
 * checks; what it builds after an error is thrown away. */
#pragma once

#include "query/promql/ast.h"
#include "query/promql/token.h"

struct parser {
    struct query *q;
    struct err *err;
    str text;
    struct lexer lx;
    enum tok_place place; // of the next token to be read
    struct tok tok;       // the current one
    uint32_t prev_end;    // of the token before
    uint32_t parens;      // open ones, for the text of errors
    uint32_t depth;       // of the parser's own recursion
    uint32_t aggrs;       // aggregations around, for the text of errors
    bool failed;
};

/* Reads the next token into p->tok. */
void parser_next(struct parser *p);
/* The token behind the current one; p does not move. An error there reads as the end. */
struct tok parser_peek(const struct parser *p);
/* Keeps the first error only. Return false. */
bool parser_fail(struct parser *p, uint32_t pos, const char *fmt, ...) PRINTF_LIKE(3, 4);
bool parser_unexpected(struct parser *p, const char *context, const char *expected);
/* Steps over a token of this kind, or complains. */
bool parser_expect(struct parser *p, enum tok_kind kind, const char *context, const char *expected);
/* Counts recursion; false (and failed) beyond LIMIT_AST_DEPTH. Pair with p->depth--. */
bool parser_enter(struct parser *p);
/* A new node that starts at pos; deepen() sets its depth from its children. */
struct node *parser_node(struct parser *p, enum node_kind kind, uint32_t pos);
void parser_deepen(struct parser *p, struct node *n, const struct node *child);

/* At a name, or at an opening brace (name empty). */
struct node *parse_selector(struct parser *p);
/* [ ], offset, @, anchored, smoothed behind an expression; n itself when there is none. */
struct node *parse_postfix(struct parser *p, struct node *n);
/* (a, "b c", d): the current token is the opening parenthesis. */
void parse_names(struct parser *p, const str **out, size_t *n);
