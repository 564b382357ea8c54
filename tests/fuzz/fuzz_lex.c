/* fuzz_lex.c - scanner pieces tile any text: they move forwards, stay inside, keep the position.
 * links: trivet_lang */
#include <stdlib.h>

#include "query/lang/lex.h"
#include "query/lang/print.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const punct[] = {"=", "==", "=~", "{", "}", "(", ")", NULL};
    struct arena a;
    struct lexer lx;
    struct err err;
    str s, back;
    arena_init(&a, 64 * MIB, NULL);
    lexer_init(&lx, (str){(const char *)data, size}, &a);
    while (lexer_space(&lx, LEX_HASH | LEX_BLOCK, &err) && !lexer_at_end(&lx)) {
        size_t pos = lx.pos;
        char c = lexer_peek(&lx, 0);
        if (c == '"' || c == '\'' || c == '`') {
            struct lexer again;
            struct buf b;
            if (!lexer_string(&lx, true, &s, &err))
                break;
            buf_init(&b, 64 * MIB);
            print_quoted(&b, s);
            lexer_init(&again, buf_str(&b), &a);
            if (!lexer_string(&again, false, &back, &err) || !str_eq(s, back))
                abort();
            buf_deinit(&b);
        } else if (lexer_ident(&lx, NULL, ":").n == 0 && lexer_number(&lx).n == 0 &&
                   lexer_punct(&lx, punct) == NULL) {
            lx.pos++;
        }
        if (lx.pos <= pos || lx.pos > size || lx.line_start > lx.pos)
            abort();
    }
    arena_deinit(&a);
    return 0;
}
