/* parser.h - the state that token.c, check.c, parse.c and parse_metrics.c share: private to them.
 *
 * The first error sticks; later tokens read as TOK_END, so that the grammar needs no checks. */
#pragma once

#include "query/lang/lex.h"
#include "query/traceql/ast.h"
#include "storage/base/hmap.h"

enum token { TOK_END, TOK_PUNCT, TOK_STRING, TOK_NUMBER, TOK_WORD, TOK_FIELD };

struct paren { // what a pair of parentheses holds, found out before parsing
    size_t pos;
    bool metrics_here;   // a metrics function of its own pipeline
    bool metrics_deeper; // one inside further parentheses
    bool is_scalar;      // aggregates without filters, pipes, comparisons: (count())
};

struct parser {
    struct query *q;
    struct lexer lx;
    struct err *err;
    bool failed;
    int depth;
    unsigned folds; // constants with durations computed so far
    // the current token
    enum token tok;
    size_t pos;
    uint32_t line, col;
    const char *punct;          // PUNCT, a string of the table
    str text;                   // STRING decoded, WORD
    struct tq_field *field;     // FIELD: scoped attributes, intrinsics with a colon
    struct traceql_value value; // NUMBER
    // what has been used so far
    VEC(struct tq_field *) fields;
    struct hmap field_map;
    size_t n_memos;
    VEC(struct paren) parens; // by position
};

/* ---- token.c ---- */

void tq_next(struct parser *p);
/* The intrinsic of a plain word ("duration"), a new field; NULL when it is none. */
struct tq_field *tq_word_field(struct parser *p, str word);
bool tq_at(const struct parser *p, const char *punct);
bool tq_at_word(const struct parser *p, const char *word);
bool tq_accept(struct parser *p, const char *punct);
bool tq_expect(struct parser *p, const char *punct);
/* Errors: all return false, the first one stays. */
bool tq_fail_at(struct parser *p, uint32_t line, uint32_t col, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
bool tq_fail(struct parser *p, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
bool tq_unexpected(struct parser *p); // the current token
/* Counts recursion; pair with p->depth--, also after false. */
bool tq_enter(struct parser *p);
/* Looks at all tokens once and fills p->parens; the parser stands at the first token again. */
void tq_scan_parens(struct parser *p);
/* The parentheses that open at the current token. */
const struct paren *tq_paren(const struct parser *p);

/* ---- check.c ---- */

enum tq_type { TYPE_ANY, TYPE_NUMBER, TYPE_STRING, TYPE_BOOL, TYPE_STATUS, TYPE_KIND, TYPE_NIL };
enum tq_type tq_type_of(const struct tq_expr *e);
/* A binary or unary node whose operands are checked: types, regexes, constants folded, constants
 * moved to the right. Returns the node or what it folds to. */
struct tq_expr *tq_check(struct parser *p, struct tq_expr *e);
bool tq_refers_to_span(const struct tq_expr *e);
str tq_expr_text(struct parser *p, const struct tq_expr *e); // for messages and keys, may be cut

/* ---- parse.c ---- */

enum tq_level { LEVEL_LOGIC = 1, LEVEL_COMPARE, LEVEL_ADD, LEVEL_NOT, LEVEL_MUL, LEVEL_POW };
struct precedence {
    const char *text;
    enum tq_op op;
    enum tq_level level;
};
const struct precedence *tq_field_op(const struct parser *p); // of the current token, or NULL
struct tq_expr *tq_parse_expr(struct parser *p, enum tq_level min);
struct tq_spanset *tq_parse_filter(struct parser *p); // { ... }
struct tq_field *tq_parse_field_token(struct parser *p);
void tq_parse_fields(struct parser *p, struct tq_field ***out, size_t *n); // (a, b)
/* Stages up to the end, a closing parenthesis or a metrics function (left for the caller). */
void tq_parse_pipeline(struct parser *p, struct tq_pipeline *out);

/* ---- parse_metrics.c ---- */

bool tq_at_function(const struct parser *p); // a metrics function's name
/* The function behind a pipeline, with what follows (second stages). */
struct tq_metrics *tq_parse_metrics(struct parser *p, const struct tq_pipeline *pipeline);
/* Metrics math: operands in parentheses. */
struct tq_metrics *tq_parse_math(struct parser *p);
