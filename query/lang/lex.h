/* lex.h - scanner pieces that the three languages share: position, blanks and comments, Go strings,
 * numbers, durations, punctuation. Each language composes its own token function of them (the
 * languages differ too much for one table) and keeps its token kinds. No allocation but for strings
 * with escapes. */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/err.h"

struct lexer {
    str in;
    size_t pos;
    uint32_t line;     // from 1
    size_t line_start; // offset of the line's first byte
    struct arena *arena;
};

enum lex_comments { LEX_HASH = 1, LEX_SLASHES = 2, LEX_BLOCK = 4 }; // "# ...", "// ...", slash-star

void lexer_init(struct lexer *lx, str in, struct arena *arena);
static inline uint32_t lexer_col(const struct lexer *lx, size_t pos) // bytes from 1
{
    return (uint32_t)(pos - lx->line_start) + 1;
}
static inline bool lexer_at_end(const struct lexer *lx)
{
    return lx->pos >= lx->in.n;
}
static inline char lexer_peek(const struct lexer *lx, size_t ahead) // 0 past the end
{
    return lx->pos + ahead < lx->in.n ? lx->in.p[lx->pos + ahead] : 0;
}
/* Skips blanks, newlines and the given comments; false: unclosed block comment. */
MUST_USE bool lexer_space(struct lexer *lx, int comments, struct err *err);
/* [A-Za-z_][A-Za-z0-9_]* plus the bytes of `also` anywhere and `also_first` in front; empty when
 * none. */
str lexer_ident(struct lexer *lx, const char *also_first, const char *also);
/* At a quote: "..." and '...' with Go escapes (single only when allowed), `...` raw. Decoded text;
 * a newline in a quoted string, an unknown escape or a missing end is an error with position. */
MUST_USE bool lexer_string(struct lexer *lx, bool allow_single, str *out, struct err *err);
/* The longest number text at pos: digits . exponent 0x, then letters/digits/_/. that belong to it
 * (unit letters of durations and sizes too); does not judge. Empty when no digit (or .digit) is
 * here. */
str lexer_number(struct lexer *lx);
/* The longest entry of `table` (NULL-ended) that starts here, or NULL; advances. */
const char *lexer_punct(struct lexer *lx, const char *const *table);
