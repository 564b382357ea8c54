/* token.h - LogQL's tokens: private to query/logql. */
#pragma once

#include "query/lang/lex.h"

/* The order within groups is that of the tables in token.c and parse.c. */
enum tok {
    TOK_END,
    TOK_IDENT,
    TOK_STRING,
    TOK_NUMBER,
    TOK_DURATION,
    TOK_BYTES,
    TOK_RANGE, // [5m]
    TOK_FLAG,  // --strict
    TOK_OTHER, // a character that fits nowhere
    // punctuation
    TOK_COMMA,
    TOK_DOT,
    TOK_LBRACE,
    TOK_RBRACE,
    TOK_LPAREN,
    TOK_RPAREN,
    TOK_EQ,
    TOK_NE,
    TOK_RE,
    TOK_NRE,
    TOK_PIPE_EXACT,
    TOK_PIPE_MATCH,
    TOK_PIPE_PATTERN,
    TOK_NPA,
    TOK_PIPE,
    TOK_ADD,
    TOK_SUB,
    TOK_MUL,
    TOK_DIV,
    TOK_MOD,
    TOK_POW,
    TOK_EQEQ,
    TOK_GT,
    TOK_GE,
    TOK_LT,
    TOK_LE,
    // words that are always taken
    TOK_BY,
    TOK_WITHOUT,
    TOK_BOOL,
    TOK_OFFSET,
    TOK_ON,
    TOK_IGNORING,
    TOK_GROUP_LEFT,
    TOK_GROUP_RIGHT,
    TOK_UNWRAP,
    TOK_JSON,
    TOK_REGEXP,
    TOK_LOGFMT,
    TOK_UNPACK,
    TOK_PATTERN,
    TOK_LINE_FORMAT,
    TOK_LABEL_FORMAT,
    TOK_DECOLORIZE,
    TOK_DROP,
    TOK_KEEP,
    TOK_AND,
    TOK_OR,
    TOK_UNLESS,
    // words that are names unless a parenthesis follows
    TOK_RANGE_OP,  // sub: enum range_op
    TOK_VECTOR_OP, // sub: enum vector_op
    TOK_LABEL_REPLACE,
    TOK_VECTOR,
    TOK_CONV, // bytes, duration, duration_seconds; sub: enum unwrap_conv
    TOK_IP,
};

struct token {
    enum tok kind;
    int sub;
    uint32_t line, col; // col counts characters from 1
    str text;           // of a name, string (decoded), number as written, flag
    int64_t ns;         // DURATION, RANGE
    uint64_t size;      // BYTES
};

/* How errors call it: "IDENTIFIER", "by", "{". */
str lq_tok_name(const struct token *t);
/* Reads the next token. Errors have the position in err and the bare message. */
MUST_USE bool lq_tok_next(struct lexer *lx, struct token *out, struct err *err);
