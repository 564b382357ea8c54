/* regex_syntax.c - recursive descent over RE2 syntax (as Go's regexp reads it).
 *
 * One pass does three things: refuses what RE2 refuses, with the same words; writes an equal
 * pattern for PCRE2 in which every literal is escaped and named groups are plain groups; builds a
 * small tree, from which regex_facts.c derives what it can. Recursion is bounded by
 * LIMIT_REGEX_DEPTH. Any thread. */
#include "storage/base/regex_syntax.h"

#include "storage/base/utf8.h"
#include "storage/base/vec.h"
#include "storage/model/limits.h"

#define CLASS_SMALL 16 // code points of a class that the fact finder writes out

enum { FLAG_FOLD = 1, FLAG_MULTI = 2, FLAG_DOTALL = 4, FLAG_SWAP = 8 };

struct parser {
    str in;
    size_t pos;
    int flags;
    unsigned depth;
    struct arena *tmp; // nodes
    struct buf out;
    char *literals; // room for all literal bytes, in.n
    size_t literals_n;
    VEC(str) names;
    struct err *err;
};

static bool fail(struct parser *p, const char *what, str at)
{
    return err_set(p->err, ERR_INVALID, "error parsing regexp: %s: `" STR_FMT "`", what,
                   STR_ARG(at));
}

static str source(const struct parser *p, size_t from)
{
    return str_sub(p->in, from, p->pos);
}

static bool peek(const struct parser *p, char c)
{
    return p->pos < p->in.n && p->in.p[p->pos] == c;
}

static bool peek_text(const struct parser *p, str text)
{
    return str_starts(str_sub(p->in, p->pos, p->in.n), text);
}

static bool is_word(char c)
{
    return char_is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static struct node *node_new(struct parser *p, enum node_kind kind)
{
    struct node *node = arena_new(p->tmp, struct node);
    node->kind = kind;
    node->repeat = 1;
    return node;
}

static void node_add(struct node *parent, struct node *child)
{
    if (parent->last)
        parent->last->next = child;
    else
        parent->child = child;
    parent->last = child;
    parent->repeat = MAX(parent->repeat, child->repeat);
}

/* ---- output ---- */

static void emit(struct parser *p, str s)
{
    buf_add(&p->out, s);
}

/* A literal code point, fit for inside and outside of a class. */
static void emit_point(struct parser *p, uint32_t cp)
{
    if (cp < 0x20 || cp == 0x7F) {
        buf_fmt(&p->out, "\\x{%x}", (unsigned)cp);
    } else if (cp < 0x80 && !is_word((char)cp)) {
        char esc[2] = {'\\', (char)cp};
        emit(p, str_of(esc, 2));
    } else {
        utf8_encode(&p->out, cp);
    }
}

/* PCRE2 accepts no repeat behind some assertions, so a repeated one gets a group. */
static struct node *emit_assertion(struct parser *p, enum node_kind kind, str text)
{
    bool is_repeated = peek(p, '*') || peek(p, '+') || peek(p, '?') || peek(p, '{');
    if (is_repeated)
        emit(p, STR("(?:"));
    emit(p, text);
    if (is_repeated)
        emit(p, STR(")"));
    return node_new(p, kind);
}

/* ---- escapes ---- */

/* The next code point of the pattern; its UTF-8 has been checked. */
static uint32_t next_point(struct parser *p)
{
    size_t n;
    uint32_t cp = utf8_decode(str_sub(p->in, p->pos, p->in.n), &n);
    p->pos += n;
    return cp;
}

/* Behind \x: two digits or {digits}. */
static bool parse_hex(struct parser *p, uint32_t *cp)
{
    bool braces = peek(p, '{');
    uint32_t v = 0;
    size_t digits = 0;
    p->pos += braces;
    while (p->pos < p->in.n && (braces || digits < 2) && char_hex_value(p->in.p[p->pos]) >= 0) {
        v = v * 16 + (uint32_t)char_hex_value(p->in.p[p->pos++]);
        digits++;
        if (v > 0x10FFFF)
            return false;
    }
    if (braces ? digits == 0 || !peek(p, '}') : digits < 2)
        return false;
    p->pos += braces;
    *cp = v;
    return v < 0xD800 || v > 0xDFFF; // PCRE2 knows no surrogates; text holds none either
}

/* An escape that means one code point; pos is at the backslash. */
static bool parse_escape(struct parser *p, uint32_t *cp)
{
    static const char letters[] = "a\af\fn\nr\rt\tv\v";
    size_t from = p->pos++;
    if (p->pos == p->in.n)
        return fail(p, "trailing backslash at end of expression", STR(""));
    uint32_t c = next_point(p);
    for (size_t i = 0; i + 1 < sizeof letters; i += 2) {
        if ((uint32_t)letters[i] == c) {
            *cp = (uint32_t)letters[i + 1];
            return true;
        }
    }
    bool more_octal = p->pos < p->in.n && p->in.p[p->pos] >= '0' && p->in.p[p->pos] <= '7';
    if (c == '0' || (c >= '1' && c <= '7' && more_octal)) {
        *cp = c - '0';
        for (int i = 0;
             i < 2 && p->pos < p->in.n && p->in.p[p->pos] >= '0' && p->in.p[p->pos] <= '7'; i++)
            *cp = *cp * 8 + (uint32_t)(p->in.p[p->pos++] - '0');
        return true;
    }
    if (c == 'x' && parse_hex(p, cp))
        return true;
    if (c < 0x80 && (!is_word((char)c) || c == '_')) {
        *cp = c;
        return true;
    }
    return fail(p, "invalid escape sequence", source(p, from));
}

/* \d and its kind at pos: writes it (for inside a class when in_class) and moves on. \s is without
 * the vertical tab in RE2, so it is spelled out. */
static bool parse_perl_class(struct parser *p, bool in_class)
{
    if (p->in.n - p->pos < 2 || p->in.p[p->pos] != '\\')
        return false;
    char c = p->in.p[p->pos + 1];
    switch (c) {
    case 'd':
    case 'D':
    case 'w':
    case 'W':
        emit(p, str_sub(p->in, p->pos, p->pos + 2));
        break;
    case 's':
        emit(p, in_class ? STR("\\t\\n\\f\\r\\x{20}") : STR("[\\t\\n\\f\\r\\x{20}]"));
        break;
    case 'S':
        emit(p, in_class ? STR("\\x{0}-\\x{8}\\x{b}\\x{e}-\\x{1f}\\x{21}-\\x{10ffff}")
                         : STR("[^\\t\\n\\f\\r\\x{20}]"));
        break;
    default:
        return false;
    }
    p->pos += 2;
    return true;
}

static bool is_unicode_class(const struct parser *p)
{
    return peek_text(p, STR("\\p")) || peek_text(p, STR("\\P"));
}

/* \pL, \p{Greek}, \P{^Lu}: general categories and scripts. */
static bool parse_unicode_class(struct parser *p)
{
    size_t from = p->pos;
    bool negative = p->in.p[p->pos + 1] == 'P';
    p->pos += 2;
    if (p->pos == p->in.n)
        return fail(p, "invalid character class range", source(p, from));
    str name = str_sub(p->in, p->pos, p->pos + 1);
    if (next_point(p) == '{') {
        size_t length = str_find_char(str_sub(p->in, p->pos, p->in.n), '}');
        if (length == SIZE_MAX)
            return fail(p, "invalid character class range", str_sub(p->in, from, p->in.n));
        name = str_sub(p->in, p->pos, p->pos + length);
        p->pos += length + 1;
        if (str_starts(name, STR("^"))) {
            negative = !negative;
            name = str_sub(name, 1, name.n);
        }
    }
    bool ok = name.n > 0;
    for (size_t i = 0; i < name.n; i++)
        ok = ok && is_word(name.p[i]);
    if (!ok)
        return fail(p, "invalid character class range", source(p, from));
    /* A bare script name would mean script extensions to PCRE2. */
    const char *kind = name.n > 2 && !str_is(name, "Any") ? "sc:" : "";
    buf_fmt(&p->out, "\\%c{%s" STR_FMT "}", negative ? 'P' : 'p', kind, STR_ARG(name));
    return true;
}

/* ---- classes ---- */

static bool is_posix_name(str name)
{
    static const str names[] = {
        STR_INIT("alnum"), STR_INIT("alpha"),  STR_INIT("ascii"), STR_INIT("blank"),
        STR_INIT("cntrl"), STR_INIT("digit"),  STR_INIT("graph"), STR_INIT("lower"),
        STR_INIT("print"), STR_INIT("punct"),  STR_INIT("space"), STR_INIT("upper"),
        STR_INIT("word"),  STR_INIT("xdigit"),
    };
    for (size_t i = 0; i < COUNTOF(names); i++)
        if (str_eq(names[i], name))
            return true;
    return false;
}

/* [:alpha:] inside a class; *hit tells whether there was one. */
static bool parse_posix_class(struct parser *p, bool *hit)
{
    *hit = false;
    if (!peek_text(p, STR("[:")))
        return true;
    size_t end = str_find(str_sub(p->in, p->pos + 2, p->in.n), STR(":]"));
    if (end == SIZE_MAX)
        return true;
    str text = str_sub(p->in, p->pos, p->pos + end + 4);
    str name = str_sub(text, str_starts(text, STR("[:^")) ? 3 : 2, text.n - 2);
    if (!is_posix_name(name))
        return fail(p, "invalid character class range", text);
    emit(p, text);
    p->pos += text.n;
    *hit = true;
    return true;
}

static bool parse_class_point(struct parser *p, size_t class_from, uint32_t *cp)
{
    if (p->pos == p->in.n)
        return fail(p, "missing closing ]", str_sub(p->in, class_from, p->in.n));
    if (peek(p, '\\'))
        return parse_escape(p, cp);
    *cp = next_point(p);
    return true;
}

/* One point or range. Collects members in points while they are few; *known turns false after. */
static bool parse_class_range(struct parser *p, size_t class_from, uint32_t *points, size_t *n,
                              bool *known)
{
    size_t from = p->pos;
    uint32_t low, high;
    if (!parse_class_point(p, class_from, &low))
        return false;
    high = low;
    bool is_range = p->in.n - p->pos >= 2 && peek(p, '-') && p->in.p[p->pos + 1] != ']';
    if (is_range) {
        p->pos++;
        if (!parse_class_point(p, class_from, &high))
            return false;
        if (high < low)
            return fail(p, "invalid character class range", source(p, from));
    }
    emit_point(p, low);
    if (is_range) {
        emit(p, STR("-"));
        emit_point(p, high);
    }
    *known = *known && high - low < CLASS_SMALL - *n && high != 0xFFFD;
    for (uint32_t cp = low; *known && cp <= high; cp++)
        points[(*n)++] = cp;
    return true;
}

static bool parse_class(struct parser *p, struct node **out)
{
    size_t from = p->pos++;
    uint32_t points[CLASS_SMALL];
    size_t n = 0;
    bool known = !peek(p, '^');
    emit(p, known ? STR("[") : STR("[^"));
    p->pos += !known;
    for (bool is_first = true; is_first || !peek(p, ']'); is_first = false) {
        bool hit;
        if (p->pos == p->in.n)
            return fail(p, "missing closing ]", str_sub(p->in, from, p->in.n));
        if (!parse_posix_class(p, &hit))
            return false;
        if (!hit && is_unicode_class(p)) {
            if (!parse_unicode_class(p))
                return false;
            hit = true;
        }
        if (hit || parse_perl_class(p, true)) {
            known = false;
            continue;
        }
        if (!parse_class_range(p, from, points, &n, &known))
            return false;
    }
    p->pos++;
    emit(p, STR("]"));
    *out = node_new(p, NODE_CLASS);
    (*out)->fold = p->flags & FLAG_FOLD;
    if (known) {
        (*out)->points = arena_array(p->tmp, uint32_t, n);
        memcpy((*out)->points, points, n * sizeof points[0]);
        (*out)->points_n = n;
    }
    return true;
}

/* ---- groups ---- */

static bool add_group(struct parser *p, str name)
{
    vec_push(&p->names, p->tmp, name);
    emit(p, STR("("));
    return true;
}

/* "(?P<name>" or "(?<name>" at pos; the name starts at name_from. Go lets a name come twice. */
static bool parse_group_name(struct parser *p, size_t name_from)
{
    size_t length = str_find_char(str_sub(p->in, name_from, p->in.n), '>');
    if (length == SIZE_MAX)
        return fail(p, "invalid named capture", str_sub(p->in, p->pos, p->in.n));
    str name = str_sub(p->in, name_from, name_from + length);
    bool ok = name.n > 0;
    for (size_t i = 0; i < name.n; i++)
        ok = ok && is_word(name.p[i]);
    if (!ok)
        return fail(p, "invalid named capture", str_sub(p->in, p->pos, name_from + length + 1));
    p->pos = name_from + length + 1;
    return add_group(p, name);
}

/* "(?flags)" and "(?flags:" at pos. *is_group tells which. */
static bool parse_group_flags(struct parser *p, bool *is_group)
{
    size_t from = p->pos;
    int set = 0, unset = 0;
    bool negative = false, seen = false;
    p->pos += 2;
    while (p->pos < p->in.n) {
        uint32_t c = next_point(p);
        int flag = c == 'i'   ? FLAG_FOLD
                   : c == 'm' ? FLAG_MULTI
                   : c == 's' ? FLAG_DOTALL
                   : c == 'U' ? FLAG_SWAP
                              : 0;
        if (flag) {
            *(negative ? &unset : &set) |= flag;
            seen = true;
        } else if (c == '-' && !negative) {
            negative = true;
            seen = false;
        } else if ((c == ':' || c == ')') && (seen || !negative)) {
            *is_group = c == ':';
            p->flags = (p->flags | set) & ~unset;
            if (*is_group || seen)
                emit(p, source(p, from));
            return true;
        } else {
            return fail(p, "invalid or unsupported Perl syntax", source(p, from));
        }
    }
    return fail(p, "missing closing )", p->in);
}

static bool parse_alt(struct parser *p, struct node **out);

/* At '('. *out stays NULL for "(?flags)", which is no item. */
static bool parse_group(struct parser *p, struct node **out)
{
    int flags = p->flags;
    bool is_group = true;
    *out = NULL;
    if (peek_text(p, STR("(?P<"))) {
        if (!parse_group_name(p, p->pos + 4))
            return false;
    } else if (peek_text(p, STR("(?<"))) {
        if (!parse_group_name(p, p->pos + 3))
            return false;
    } else if (peek_text(p, STR("(?"))) {
        if (!parse_group_flags(p, &is_group))
            return false;
        if (!is_group)
            return true;
    } else {
        p->pos++;
        add_group(p, (str){0});
    }
    if (++p->depth > LIMIT_REGEX_DEPTH)
        return fail(p, "expression nests too deeply", p->in);
    if (!parse_alt(p, out))
        return false;
    p->depth--;
    if (!peek(p, ')'))
        return fail(p, "missing closing )", p->in);
    p->pos++;
    emit(p, STR(")"));
    p->flags = flags;
    return true;
}

/* ---- items ---- */

static struct node *literal_node(struct parser *p, uint32_t cp)
{
    if (cp == 0xFFFD) { // also stands for bad bytes of the subject, so it is no literal of it
        emit_point(p, cp);
        return node_new(p, NODE_CLASS);
    }
    struct node *node = node_new(p, NODE_LITERAL);
    char *dst = p->literals + p->literals_n;
    node->fold = p->flags & FLAG_FOLD;
    node->text = str_of(dst, utf8_put(dst, cp));
    p->literals_n += node->text.n;
    emit_point(p, cp);
    return node;
}

/* Adds a literal that no repeat follows: neighbours in the literal bytes grow one node. */
static void add_literal(struct node *cat, struct node *node)
{
    struct node *last = cat->last;
    if (last && last->kind == NODE_LITERAL && last->fold == node->fold &&
        last->text.p + last->text.n == node->text.p)
        last->text.n += node->text.n;
    else
        node_add(cat, node);
}

/* \A \z \b \B, classes and escaped points. */
static bool parse_backslash(struct parser *p, struct node **out)
{
    char c = p->pos + 1 < p->in.n ? p->in.p[p->pos + 1] : 0;
    uint32_t cp;
    switch (c) {
    case 'A':
    case 'z':
        p->pos += 2;
        *out =
            emit_assertion(p, c == 'A' ? NODE_BEGIN : NODE_END, c == 'A' ? STR("\\A") : STR("\\z"));
        return true;
    case 'b':
    case 'B':
        p->pos += 2;
        *out = emit_assertion(p, NODE_ASSERT, c == 'b' ? STR("\\b") : STR("\\B"));
        return true;
    case 'p':
    case 'P':
        *out = node_new(p, NODE_CLASS);
        return parse_unicode_class(p);
    default:
        break;
    }
    if (parse_perl_class(p, false)) {
        *out = node_new(p, NODE_CLASS);
        return true;
    }
    if (!parse_escape(p, &cp))
        return false;
    *out = literal_node(p, cp);
    return true;
}

static bool parse_atom(struct parser *p, struct node **out)
{
    bool multi = p->flags & FLAG_MULTI;
    switch (p->in.p[p->pos]) {
    case '(':
        return parse_group(p, out);
    case '[':
        return parse_class(p, out);
    case '\\':
        return parse_backslash(p, out);
    case '.':
        p->pos++;
        emit(p, STR("."));
        *out = node_new(p, NODE_ANY);
        (*out)->dotall = p->flags & FLAG_DOTALL;
        return true;
    case '^':
        p->pos++;
        *out = emit_assertion(p, multi ? NODE_ASSERT : NODE_BEGIN, STR("^"));
        return true;
    case '$':
        p->pos++;
        *out = emit_assertion(p, multi ? NODE_ASSERT : NODE_END, STR("$"));
        return true;
    default:
        *out = literal_node(p, next_point(p));
        return true;
    }
}

/* Digits without a leading zero's company, as RE2 reads counts; false: not a count. */
static bool parse_count(struct parser *p, uint32_t *out)
{
    size_t from = p->pos;
    uint32_t v = 0;
    while (p->pos < p->in.n && char_is_digit(p->in.p[p->pos])) {
        v = MIN(v * 10 + (uint32_t)(p->in.p[p->pos] - '0'), 1000000);
        p->pos++;
    }
    if (p->pos == from || (p->in.p[from] == '0' && p->pos - from > 1))
        return false;
    *out = v;
    return true;
}

/* A repeat operator at pos. False without moving when there is none ('{' may be a literal). */
static bool parse_repeat_op(struct parser *p, uint32_t *min, uint32_t *max)
{
    size_t from = p->pos;
    if (p->pos == p->in.n)
        return false;
    switch (p->in.p[p->pos++]) {
    case '*':
        *min = 0;
        *max = REPEAT_FOREVER;
        return true;
    case '+':
        *min = 1;
        *max = REPEAT_FOREVER;
        return true;
    case '?':
        *min = 0;
        *max = 1;
        return true;
    case '{':
        if (!parse_count(p, min))
            break;
        *max = *min;
        if (peek(p, ',')) {
            p->pos++;
            *max = REPEAT_FOREVER;
            if (!peek(p, '}') && !parse_count(p, max))
                break;
        }
        if (!peek(p, '}'))
            break;
        p->pos++;
        return true;
    default:
        break;
    }
    p->pos = from;
    return false;
}

/* Wraps *item in the repeat that follows it, if one does. */
static bool parse_repeat(struct parser *p, struct node **item)
{
    size_t from = p->pos;
    uint32_t min, max;
    if (!parse_repeat_op(p, &min, &max))
        return true;
    uint32_t count = max == REPEAT_FOREVER ? min : max;
    if (max < min || count > LIMIT_REGEX_REPEAT)
        return fail(p, "invalid repeat count", source(p, from));
    struct node *node = node_new(p, NODE_REPEAT);
    node->min = min;
    node->max = max;
    node_add(node, *item);
    node->repeat *= MAX(count, 1);
    p->pos += peek(p, '?');
    emit(p, source(p, from));
    if (node->repeat > LIMIT_REGEX_REPEAT)
        return fail(p, "invalid repeat count", source(p, from));
    if (parse_repeat_op(p, &min, &max)) {
        p->pos += peek(p, '?');
        return fail(p, "invalid nested repetition operator", source(p, from));
    }
    *item = node;
    return true;
}

/* \Q...\E: all literal; a repeat after \E belongs to the last character. */
static bool parse_quoted(struct parser *p, struct node *cat)
{
    p->pos += 2;
    str rest = str_sub(p->in, p->pos, p->in.n);
    size_t n = str_find(rest, STR("\\E"));
    size_t end = p->pos + (n == SIZE_MAX ? rest.n : n);
    while (p->pos < end) {
        struct node *node = literal_node(p, next_point(p));
        if (p->pos == end) {
            p->pos += n == SIZE_MAX ? 0 : 2;
            end = p->pos;
            if (!parse_repeat(p, &node))
                return false;
            if (node->kind == NODE_REPEAT) {
                node_add(cat, node);
                return true;
            }
            add_literal(cat, node);
            return true;
        }
        add_literal(cat, node);
    }
    p->pos += n == SIZE_MAX ? 0 : 2;
    return true;
}

static bool parse_cat(struct parser *p, struct node **out)
{
    struct node *cat = node_new(p, NODE_CAT);
    while (p->pos < p->in.n && !peek(p, '|') && !peek(p, ')')) {
        size_t from = p->pos;
        uint32_t min, max;
        if (parse_repeat_op(p, &min, &max)) {
            p->pos += peek(p, '?');
            return fail(p, "missing argument to repetition operator", source(p, from));
        }
        if (peek_text(p, STR("\\Q"))) {
            if (!parse_quoted(p, cat))
                return false;
            continue;
        }
        struct node *item;
        if (!parse_atom(p, &item))
            return false;
        if (!item) // "(?flags)"
            continue;
        if (!parse_repeat(p, &item))
            return false;
        if (item->kind == NODE_LITERAL)
            add_literal(cat, item);
        else
            node_add(cat, item);
    }
    if (!cat->child)
        cat->kind = NODE_EMPTY;
    *out = cat->child && !cat->child->next ? cat->child : cat;
    return true;
}

// NOLINTNEXTLINE(misc-no-recursion): parse_group counts depth against LIMIT_REGEX_DEPTH
static bool parse_alt(struct parser *p, struct node **out)
{
    struct node *first, *alt = NULL;
    if (!parse_cat(p, &first))
        return false;
    while (peek(p, '|')) {
        struct node *branch;
        p->pos++;
        emit(p, STR("|"));
        if (!alt) {
            alt = node_new(p, NODE_ALT);
            node_add(alt, first);
        }
        if (!parse_cat(p, &branch))
            return false;
        node_add(alt, branch);
    }
    *out = alt ? alt : first;
    return true;
}

/* ---- public ---- */

static bool parse(struct parser *p, int flags, struct arena *keep, struct regex_syntax *out)
{
    struct node *root;
    if (p->in.n > LIMIT_REGEX_PATTERN)
        return err_set(p->err, ERR_LIMIT, "regular expression above %zu bytes",
                       LIMIT_REGEX_PATTERN);
    if (!utf8_valid(p->in))
        return fail(p, "invalid UTF-8", utf8_repair(p->tmp, p->in));
    p->flags = flags & (REGEX_ANCHORED | REGEX_DOTALL) ? FLAG_DOTALL : 0;
    p->literals = arena_alloc(p->tmp, p->in.n + 4);
    vec_push(&p->names, p->tmp, (str){0}); // group 0
    if (!parse_alt(p, &root))
        return false;
    if (p->pos < p->in.n)
        return fail(p, "unexpected )", p->in);
    if (p->out.over)
        return fail(p, "expression too large", p->in);
    *out = (struct regex_syntax){.groups = p->names.n - 1};
    out->names = arena_array(keep, str, p->names.n);
    for (size_t i = 0; i < p->names.n; i++)
        out->names[i] = arena_dup(keep, p->names.v[i]);
    out->pcre = arena_dup(keep, buf_str(&p->out));
    regex_find_facts(p->tmp, root, flags & REGEX_ANCHORED, keep, out);
    return true;
}

bool regex_parse(struct arena *keep, str pattern, int flags, struct regex_syntax *out,
                 struct err *err)
{
    struct arena tmp;
    struct parser p = {.in = pattern, .err = err};
    arena_init(&tmp, SIZE_MAX, NULL);
    p.tmp = &tmp;
    buf_init(&p.out, 16 * LIMIT_REGEX_PATTERN);
    bool ok = parse(&p, flags, keep, out);
    buf_deinit(&p.out);
    arena_deinit(&tmp);
    return ok;
}
