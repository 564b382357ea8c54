/* token.h - the tokens of PromQL on the shared lexer pieces. Private to the parser.
 *
 * Keywords are identifiers with `kw` set: most of them may also name a metric, and all of them a
 * label, so the parser decides by place. */
#pragma once

#include "query/lang/lex.h"
#include "query/vector/binop.h"

enum tok_kind {
    TOK_END,
    TOK_IDENT, // also keywords; has_colon tells metric identifiers
    TOK_STRING,
    TOK_NUMBER, // numbers and durations
    TOK_OP,     // binary operator in punctuation or as a word
    TOK_LPAREN,
    TOK_RPAREN,
    TOK_LBRACE,
    TOK_RBRACE,
    TOK_LBRACKET,
    TOK_RBRACKET,
    TOK_COMMA,
    TOK_COLON,
    TOK_AT,
    TOK_EQ,  // =
    TOK_RE,  // =~
    TOK_NRE, // !~
};

enum kw {
    KW_NONE,
    KW_AGGR, // aggr says which
    KW_BY,
    KW_WITHOUT,
    KW_ON,
    KW_IGNORING,
    KW_GROUP_LEFT,
    KW_GROUP_RIGHT,
    KW_BOOL,
    KW_OFFSET,
    KW_ANCHORED,
    KW_SMOOTHED,
    KW_FILL,
    KW_FILL_LEFT,
    KW_FILL_RIGHT,
    KW_START,
    KW_END,
    KW_STEP,
    KW_RANGE,
    KW_MIN_OF,
    KW_MAX_OF,
};

struct tok {
    enum tok_kind kind;
    enum kw kw;
    enum aggr_op aggr;
    enum binop op;
    bool has_colon;
    bool is_duration; // NUMBER
    double num;       // NUMBER: seconds for durations
    str text;         // as written
    str value;        // STRING: decoded
    uint32_t pos, end;
};

/* Where names end and what a colon is depends on the brackets around. */
enum tok_place {
    PLACE_EXPR,
    PLACE_BRACES,   // of a selector
    PLACE_BRACKETS, // of a range, behind a number
    PLACE_DURATION, // elsewhere in such brackets
    PLACE_NAMES,    // list of label names: every word is one
};

/* The next token. ERR_INVALID with the bare message and *at the offset it belongs to. */
MUST_USE bool tok_next(struct lexer *lx, enum tok_place place, struct tok *out, uint32_t *at,
                       struct err *err);
/* A name that is a keyword, an operator or a number becomes one. */
void tok_classify(struct tok *t);
/* How error texts name it: `end of input`, `identifier "x"`, `<op:+>`. In the arena. */
str tok_desc(struct arena *a, const struct tok *t);
