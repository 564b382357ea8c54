/* path.c - paths of json and logfmt expressions: see path.h.
 *
 * What no token starts with ends the text, so errors speak of $end there; a name must be followed
 * by something that can follow. Texts in quotes have no escapes; one that is not closed goes on to
 * the end. Any thread. */
#include "query/logql/path.h"

#include "storage/base/num.h"
#include "storage/base/utf8.h"
#include "storage/base/vec.h"

enum path_tok { PATH_END, PATH_NAME, PATH_STRING, PATH_INDEX, PATH_DOT, PATH_LSB, PATH_RSB };

struct path_lexer {
    str in;
    size_t pos;
    const char *behind_name; // characters besides blanks that may follow a name
    bool has_brackets;
    enum path_tok kind;
    str text;
    uint64_t index;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static char char_at(const struct path_lexer *x, size_t at)
{
    return at < x->in.n ? x->in.p[at] : ' '; // the end is as good as a blank
}

static bool take_name(struct path_lexer *x, struct err *err)
{
    size_t from = x->pos, len;
    while (is_name(char_at(x, x->pos)) || char_is_digit(char_at(x, x->pos)))
        x->pos++;
    x->kind = PATH_NAME;
    x->text = str_sub(x->in, from, x->pos);
    char next = char_at(x, x->pos);
    if (is_blank(next) || (next != '\0' && strchr(x->behind_name, next) != NULL))
        return true;
    (void)utf8_decode(str_sub(x->in, x->pos, x->in.n), &len);
    return err_set(err, ERR_INVALID,
                   "cannot parse expression [" STR_FMT "]: unexpected char " STR_FMT,
                   STR_ARG(x->in), STR_ARG(str_sub(x->in, x->pos, x->pos + len)));
}

static void take_string(struct path_lexer *x)
{
    size_t from = ++x->pos;
    while (x->pos < x->in.n && x->in.p[x->pos] != '"')
        x->pos++;
    x->kind = PATH_STRING;
    x->text = str_sub(x->in, from, x->pos);
    x->pos += x->pos < x->in.n;
}

/* Digits that a closing bracket follows. */
static void take_index(struct path_lexer *x)
{
    size_t from = x->pos, end;
    while (char_is_digit(char_at(x, x->pos)))
        x->pos++;
    end = x->pos;
    while (end < x->in.n && is_blank(x->in.p[end]))
        end++;
    if (char_at(x, end) == ']' && num_parse_u64(str_sub(x->in, from, x->pos), &x->index))
        x->kind = PATH_INDEX;
}

static bool next_token(struct path_lexer *x, struct err *err)
{
    while (x->pos < x->in.n && is_blank(x->in.p[x->pos]))
        x->pos++;
    x->kind = PATH_END;
    char c = char_at(x, x->pos);
    if (x->pos >= x->in.n)
        return true;
    if (is_name(c))
        return take_name(x, err);
    if (c == '"') {
        take_string(x);
    } else if (x->has_brackets && char_is_digit(c)) {
        take_index(x);
    } else if (x->has_brackets && (c == '.' || c == '[' || c == ']')) {
        x->kind = c == '.' ? PATH_DOT : c == '[' ? PATH_LSB : PATH_RSB;
        x->pos++;
    }
    return true;
}

static bool unexpected(const struct path_lexer *x, const char *expecting, struct err *err)
{
    static const char *const names[] = {"$end", NULL, "STRING", "INDEX", "DOT", "LSB", "RSB"};
    const char *name = names[x->kind];
    if (name == NULL)
        name = x->has_brackets ? "FIELD" : "KEY";
    return err_set(err, ERR_INVALID,
                   "cannot parse expression [" STR_FMT "]: syntax error: unexpected %s%s%s",
                   STR_ARG(x->in), name, expecting[0] != '\0' ? ", expecting " : "", expecting);
}

/* At "[". */
static bool bracket(struct path_lexer *x, struct path_step *step, struct err *err)
{
    if (!next_token(x, err))
        return false;
    if (x->kind != PATH_STRING && x->kind != PATH_INDEX)
        return unexpected(x, "STRING or INDEX", err);
    *step = (struct path_step){x->kind == PATH_INDEX, x->text, x->index};
    return next_token(x, err) && (x->kind == PATH_RSB || unexpected(x, "RSB", err));
}

bool lq_path_json(struct arena *a, str text, const struct path_step **steps, size_t *n,
                  struct err *err)
{
    struct path_lexer x = {.in = text, .behind_name = ".[]\"", .has_brackets = true};
    VEC(struct path_step) v = {0};
    for (bool first = true;; first = false) {
        struct path_step step = {0};
        if (!next_token(&x, err))
            return false;
        bool is_dot = !first && x.kind == PATH_DOT;
        if (is_dot && !next_token(&x, err))
            return false;
        if (x.kind == PATH_LSB && !is_dot) {
            if (!bracket(&x, &step, err))
                return false;
        } else if (x.kind == PATH_NAME && (first || is_dot)) {
            step.key = x.text;
        } else if (x.kind == PATH_END && !first && !is_dot) {
            break;
        } else {
            return unexpected(&x, first ? "LSB or FIELD" : is_dot ? "FIELD" : "", err);
        }
        vec_push(&v, a, step);
    }
    *steps = v.v;
    *n = v.n;
    return true;
}

bool lq_path_logfmt(str text, str *key, struct err *err)
{
    struct path_lexer x = {.in = text, .behind_name = "\""};
    if (!next_token(&x, err))
        return false;
    if (x.kind == PATH_END)
        return unexpected(&x, "STRING or KEY", err);
    str first = x.text;
    if (!next_token(&x, err))
        return false;
    while (x.kind == PATH_STRING) {
        first = (str){0};
        if (!next_token(&x, err))
            return false;
    }
    if (x.kind != PATH_END)
        return unexpected(&x, "", err);
    *key = first;
    return true;
}
