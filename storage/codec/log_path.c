/* log_path.c - walking lines through shapes that came before; see log_path.h.
 *
 * The walk has to stop at exactly the variables that log_line_split would find. A text of the tree
 * has no digit, and the run of letters and digits that it may end with is known (tail), so where it
 * matches there is a variable behind it when a digit follows, or a run that is a hex value or a
 * text variable. Runs that are digits alone, and short ones, are numbers for sure; the others are
 * judged by the rules of log_token.h. */
#include "storage/codec/log_path.h"

#include "storage/codec/log_hex.h"
#include "storage/codec/log_token_priv.h"

#define BEFORE_CLOCK 1 // a colon or dash
#define BEFORE_OPEN  2 // no letter or digit: what is behind begins a run
#define BEFORE_POINT 4 // a number and a point: a fraction follows, or an address or version goes on
#define BEFORE_ASK   8 // perhaps so
/* Texts at one place: with more of them they are no texts but values. */
#define GAPS_MAX 24
/* How many more lines may have been missed than recognised, while the tree is small; then the walk
 * is a waste. */
#define MISSES_MORE 192
/* Paths of more than this are not kept. */
#define GAPS_ALL_MAX 65536

void log_paths_deinit(struct log_paths *w)
{
    vec_free(&w->gaps);
    vec_free(&w->options);
    *w = (struct log_paths){0};
}

void log_paths_clear(struct log_paths *w)
{
    w->gaps.n = w->options.n = 0;
    w->first = w->hits = w->misses = 0;
}

/* ---- learning ---- */

/* What a text of n bytes that ends with a point says of a number behind it, as far as what stands
 * before that is known, as log_is_fixed says it of a line. before: the variable before the text, or
 * NULL. */
static uint32_t before_point(const char *p, uint32_t n, const struct log_var *before)
{
    if (n > 1) // no number is before the point
        return 0;
    if (!before || before->kind == LOG_VAR_HEX || before->kind == LOG_VAR_TEXT ||
        before->n_text == 0)
        return BEFORE_ASK;
    return p[-2] == '.' ? 0 : BEFORE_POINT; // p[-1] is a mark
}

static struct log_gap gap_of(const struct log_shapes *set, uint32_t text, uint32_t n,
                             const struct log_var *before)
{
    const char *p = set->text.v + text;
    struct log_gap g = {.text = text, .n = n};
    memcpy(g.head, p, MIN(n, sizeof g.head));
    g.others = n < 16 ? 0xFFFF & ~((1U << n) - 1) : 0;
    while (g.tail < n && log_class(p[n - 1 - g.tail]) != LOG_CLASS_OTHER)
        g.tail++;
    char last = n > 0 ? p[n - 1] : 'a';
    g.before = last == ':' || last == '-' ? BEFORE_CLOCK : 0;
    g.before |= g.tail == 0 && n > 0 ? BEFORE_OPEN : 0;
    g.before |= last == '.' ? before_point(p, n, before) : 0;
    return g;
}

/* The gap with the text before variable i of shape `id`, or behind the last one, in a list; added
 * when there is room for it; NULL: there is none. */
static struct log_gap *learn_gap(struct log_paths *w, const struct log_shapes *set, uint32_t id,
                                 uint32_t *list, uint32_t text, size_t i)
{
    const struct log_shape *shape = &set->v.v[id];
    const struct log_var *v = log_shape_vars(set, id);
    uint32_t n = i < shape->n_vars ? v[i].n_text : shape->text + shape->n_text - 1 - text;
    str want = {set->text.v + text, n};
    size_t count = 0;
    for (; *list; list = &w->gaps.v[*list - 1].next) {
        struct log_gap *g = &w->gaps.v[*list - 1];
        if (str_eq((str){set->text.v + g->text, g->n}, want))
            return g;
        if (++count == GAPS_MAX)
            return NULL;
    }
    vec_push(&w->gaps, NULL,
             gap_of(set, text, n, i > 0 ? &v[i - 1] : NULL)); // there is room: links stay
    *list = (uint32_t)w->gaps.n;
    return vec_last(&w->gaps);
}

static inline uint32_t var_code(uint32_t kind, size_t digits)
{
    return kind | (uint32_t)digits << 16;
}

/* The list of gaps behind a variable that follows g. */
static uint32_t *learn_option(struct log_paths *w, struct log_gap *g, const struct log_var *v)
{
    uint32_t kind = var_code(v->kind, v->digits), *list = &g->options;
    if (g->kind == 0)
        g->kind = kind;
    if (g->kind == kind)
        return &g->gaps;
    for (; *list; list = &w->options.v[*list - 1].next) {
        struct log_option *o = &w->options.v[*list - 1];
        if (o->kind == kind)
            return &o->gaps;
    }
    vec_push(&w->options, NULL, (struct log_option){.kind = kind});
    *list = (uint32_t)w->options.n;
    return &vec_last(&w->options)->gaps;
}

static void learn(struct log_paths *w, const struct log_shapes *set, uint32_t id)
{
    const struct log_shape *shape = &set->v.v[id];
    const struct log_var *v = log_shape_vars(set, id);
    uint32_t text = shape->text, *gaps = &w->first;
    struct log_gap *g;
    if (w->gaps.n + shape->n_vars > GAPS_ALL_MAX)
        return;
    vec_reserve(&w->gaps, NULL, w->gaps.n + shape->n_vars + 1);
    vec_reserve(&w->options, NULL, w->options.n + shape->n_vars);
    for (size_t i = 0; i < shape->n_vars; i++) {
        if (!(g = learn_gap(w, set, id, gaps, text, i)))
            return;
        gaps = learn_option(w, g, &v[i]);
        text += v[i].n_text + 1;
    }
    if ((g = learn_gap(w, set, id, gaps, text, shape->n_vars)))
        g->end = id + 1;
}

/* ---- walking ---- */

/* What the byte behind digits says: a table, as it is asked for each variable. */
#define AFTER_CLOCK  BEFORE_CLOCK
#define AFTER_LETTER 2
#define C            AFTER_CLOCK
#define L            AFTER_LETTER
static const uint8_t after[256] = {
    ['-'] = C, [':'] = C, ['A'] = L, ['B'] = L, ['C'] = L, ['D'] = L, ['E'] = L, ['F'] = L,
    ['G'] = L, ['H'] = L, ['I'] = L, ['J'] = L, ['K'] = L, ['L'] = L, ['M'] = L, ['N'] = L,
    ['O'] = L, ['P'] = L, ['Q'] = L, ['R'] = L, ['S'] = L, ['T'] = L, ['U'] = L, ['V'] = L,
    ['W'] = L, ['X'] = L, ['Y'] = L, ['Z'] = L, ['a'] = L, ['b'] = L, ['c'] = L, ['d'] = L,
    ['e'] = L, ['f'] = L, ['g'] = L, ['h'] = L, ['i'] = L, ['j'] = L, ['k'] = L, ['l'] = L,
    ['m'] = L, ['n'] = L, ['o'] = L, ['p'] = L, ['q'] = L, ['r'] = L, ['s'] = L, ['t'] = L,
    ['u'] = L, ['v'] = L, ['w'] = L, ['x'] = L, ['y'] = L, ['z'] = L,
};
#undef C
#undef L

static inline unsigned equal16(const char *a, const char *b) // bits
{
    log_bytes x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (unsigned)log_bits16((log_bytes)(x == y));
}

/* Is the gap's text at p, which is not behind `end`? Behind that are zeros, which it may match: up
 * to sixteen of them. LOG_SCAN_SLACK bytes may be read behind both. */
static inline bool is_gap_at(const struct log_gap *g, const char *text, const char *p,
                             const char *end)
{
    if ((equal16(g->head, p) | g->others) != 0xFFFF)
        return false;
    if (UNLIKELY(g->n > 16 && g->n > (size_t)(end - p)))
        return false;
    for (size_t i = 16; UNLIKELY(i < g->n); i += 16) {
        unsigned differ = ~equal16(text + g->text + i, p + i) & 0xFFFF;
        if (differ && i + (unsigned)__builtin_ctz(differ) < g->n)
            return false;
    }
    return true;
}

static inline size_t digits_at(const char *p)
{
    for (size_t n = 0;; n += sizeof(log_bytes)) {
        log_bytes c;
        memcpy(&c, p + n, sizeof c);
        uint64_t other = ~log_bits16((log_bytes)(c - '0' <= 9)) & 0xFFFF;
        if (LIKELY(other != 0))
            return n + (size_t)__builtin_ctzll(other);
    }
}

static inline size_t run_at(const char *p) // letters and digits
{
    for (size_t n = 0;; n += sizeof(log_bytes)) {
        log_bytes c;
        memcpy(&c, p + n, sizeof c);
        log_bytes in = (log_bytes)(c - '0' <= 9) | (log_bytes)((c | 0x20) - 'a' <= 'z' - 'a');
        uint64_t other = ~log_bits16(in) & 0xFFFF;
        if (LIKELY(other != 0))
            return n + (size_t)__builtin_ctzll(other);
    }
}

/* Hex digits with a digit among them; LOG_SCAN_SLACK bytes behind. */
static bool is_hex_run(const char *p, size_t n)
{
    uint64_t any_digit = 0;
    for (size_t i = 0; i < n; i += sizeof(log_bytes)) {
        log_bytes c;
        memcpy(&c, p + i, sizeof c);
        uint64_t digit = log_bits16((log_bytes)(c - '0' <= 9));
        uint64_t other = ~(digit | log_bits16((log_bytes)(c - 'a' <= 'f' - 'a'))) & 0xFFFF;
        uint64_t mine = n - i < sizeof c ? (UINT64_C(1) << (n - i)) - 1 : 0xFFFF;
        if (other & mine)
            return false;
        any_digit |= digit & mine;
    }
    return any_digit != 0;
}

struct found { // a variable
    size_t n;
    uint32_t kind; // LOG_VAR_* | digits << 16; 0: a number
    uint32_t gaps; // the first one behind it, + 1
};

/* A run of n >= LOG_HEX_MIN letters and digits, with the variable at p; false: none begins there.
 */
static bool judge_run(struct log_line *l, const char *run, size_t n, const char *p,
                      struct found *out)
{
    if (out->n == n && n <= LOG_INT_DIGITS) // nothing else: at the beginning of a line
        return true;
    if (n <= LOG_HEX_MAX && is_hex_run(run, n)) {
        *out = (struct found){n, var_code(LOG_VAR_HEX, n), 0};
        return p == run;
    }
    if (run[0] == '0' && run[1] == 'x' && n >= 2 + LOG_HEX_MIN && n <= 2 + LOG_HEX_MAX &&
        is_hex_run(run + 2, n - 2))
        return false;
    size_t changes = 0;
    for (size_t i = 1; i < n && n <= LOG_TEXT_VAR_MAX; i++)
        changes += log_is_digit(run[i]) != log_is_digit(run[i - 1]);
    l->loose_hex = l->loose_hex || log_has_hex_part(run, n);
    if (changes >= LOG_TEXT_VAR_CHANGES) {
        *out = (struct found){n, LOG_VAR_TEXT, 0};
        return p == run;
    }
    out->n = MIN(out->n, (size_t)LOG_INT_DIGITS);
    return out->n > 0;
}

/* The variable behind a gap that matches, which ends at p, in the run that began at `run`. */
static bool find_var(struct log_line *l, const struct log_gap *g, const char *run, const char *p,
                     struct found *out)
{
    size_t digits = digits_at(p);
    *out = (struct found){.n = digits};
    if ((g->before & BEFORE_OPEN) && digits - 1 < LOG_INT_DIGITS &&
        !(after[(uint8_t)p[digits]] & AFTER_LETTER))
        return true;
    size_t n = (size_t)(p - run) + digits + run_at(p + digits);
    return n < LOG_HEX_MIN ? digits > 0 : judge_run(l, run, n, p, out);
}

/* The line is the copy: zeros behind it. */
static inline uint32_t number_kind(const struct log_line *l, size_t line_n, const struct log_gap *g,
                                   const char *p, size_t n)
{
    unsigned clock = (g->before | after[(uint8_t)p[n]]) & BEFORE_CLOCK;
    unsigned fixed = ((unsigned)(p[0] == '0') & (n > 1)) | (clock & (n == 2));
    if (UNLIKELY(g->before & (BEFORE_POINT | BEFORE_ASK)))
        fixed |= g->before & BEFORE_POINT ? p[n] != '.' || !log_is_digit(p[n + 1])
                                          : log_is_fixed(l->copy, l->copy + line_n, p, n);
    return fixed ? LOG_VAR_PAD + (uint32_t)n : LOG_VAR_INT;
}

/* Is there a run of n hex digits at p, not a number? */
static inline bool is_hex_at(const char *p, size_t n)
{
    return is_hex_run(p, n) && !log_is_digit(p[n]) && !(after[(uint8_t)p[n]] & AFTER_LETTER) &&
           (n > LOG_INT_DIGITS || digits_at(p) < n);
}

static uint8_t *put_found(struct log_line *l, const char *p, const struct found *f, uint8_t *to)
{
    switch (f->kind & 0xFFFF) {
    case LOG_VAR_HEX:
        vec_push(&l->hexs, NULL, (struct log_place){(uint32_t)(p - l->copy), (uint32_t)f->n});
        log_hex_pack(p, f->n, to);
        return to + (f->n + 1) / 2;
    case LOG_VAR_TEXT:
        *to++ = (uint8_t)f->n;
        memcpy(to, p, f->n);
        return to + f->n;
    default:
        return log_put_varint(to, log_scan_digits(p, f->n));
    }
}

/* The first gap behind such a variable, + 1; 0: it is not known there. */
static inline uint32_t gaps_behind(const struct log_paths *w, const struct log_gap *g,
                                   uint32_t kind)
{
    if (LIKELY(g->kind == kind))
        return g->gaps;
    uint32_t o = g->options;
    while (o && w->options.v[o - 1].kind != kind)
        o = w->options.v[o - 1].next;
    return o ? w->options.v[o - 1].gaps : 0;
}

/* What is behind a gap, if not a short number. false: no variable, or none that is known. */
static __attribute__((noinline)) bool take_other(const struct log_paths *w, struct log_line *l,
                                                 size_t line_n, const struct log_gap *g,
                                                 const char *run, const char *p, struct found *f)
{
    size_t digits = g->kind >> 16;
    if (digits && (g->before & BEFORE_OPEN) && is_hex_at(p, digits)) {
        *f = (struct found){digits, g->kind, g->gaps};
        return true;
    }
    bool loose_hex = l->loose_hex;
    if (g->kind && find_var(l, g, run, p, f)) {
        if (f->kind == 0)
            f->kind = number_kind(l, line_n, g, p, f->n);
        f->gaps = gaps_behind(w, g, f->kind);
        if (f->gaps)
            return true;
    }
    l->loose_hex = loose_hex;
    return false;
}

/* Up to sixteen. */
static inline unsigned digits16(const char *p)
{
    log_bytes c;
    memcpy(&c, p, sizeof c);
    return (unsigned)__builtin_ctz(~(unsigned)log_bits16((log_bytes)(c - '0' <= 9)));
}

#define SHORT_DIGITS 15

/* Nearly all variables: a number between bytes that say nothing of it. */
static inline bool is_plain(const struct log_gap *g, const char *p, unsigned digits)
{
    return g->before == BEFORE_OPEN && digits - 1 < SHORT_DIGITS && *p != '0' &&
           after[(uint8_t)p[digits]] == 0;
}

/* The kind of another number at p; 0: it is none, or long, or in a run that has to be judged. */
static inline uint32_t short_kind(const struct log_line *l, size_t line_n, const struct log_gap *g,
                                  const char *run, const char *p, unsigned digits)
{
    if (digits - 1 >= SHORT_DIGITS)
        return 0;
    bool is_alone = (g->before & BEFORE_OPEN) && !(after[(uint8_t)p[digits]] & AFTER_LETTER);
    if (!is_alone && (size_t)(p - run) + digits + run_at(p + digits) >= LOG_HEX_MIN)
        return 0;
    return number_kind(l, line_n, g, p, digits);
}

/* The number of the shape, + 1; 0: the tree does not lead to it. The line is the copy, its values
 * go to `value`. */
static uint32_t walk(const struct log_paths *w, const struct log_shapes *set, struct log_line *l,
                     size_t n, uint8_t *value)
{
    const uint8_t *values = value;
    const char *at = l->copy, *end = at + n, *run = at; // run: the beginning of the one at hand
    const char *text = set->text.v;
    const struct log_gap *all = w->gaps.v;
    for (size_t next = w->first; next;) {
        const struct log_gap *g = &all[next - 1];
        if (!is_gap_at(g, text, at, end)) {
            next = g->next;
            continue;
        }
        const char *p = at + g->n, *begin = p;
        unsigned digits = digits16(p); // none behind the line
        uint32_t kind = LOG_VAR_INT;
        if (!is_plain(g, p, digits)) {
            if (UNLIKELY(p >= end)) {
                l->n_values = (size_t)(value - values);
                return p == end ? g->end : 0;
            }
            begin = g->tail < g->n ? p - g->tail : run;
            kind = short_kind(l, n, g, begin, p, digits);
        }
        if (UNLIKELY(!kind)) {
            struct found f;
            if (take_other(w, l, n, g, begin, p, &f)) {
                value = put_found(l, p, &f, value);
                run = begin;
                at = p + f.n;
                next = f.gaps;
            } else {
                next = g->next;
            }
            continue;
        }
        next = gaps_behind(w, g, kind);
        if (UNLIKELY(!next)) {
            next = g->next;
            continue;
        }
        value = log_put_varint(value, log_scan_digits(p, digits));
        run = begin;
        at = p + digits;
    }
    return 0;
}

uint32_t log_paths_split_to(struct log_paths *w, struct log_shapes *set, struct log_line *l,
                            str line, uint8_t *values)
{
    bool tries = w->misses <= w->hits + MISSES_MORE;
    if (tries) {
        log_line_copy(l, line);
        l->hexs.n = 0;
        l->loose_hex = false;
        uint32_t found = walk(w, set, l, line.n, values ? values : l->values);
        if (LIKELY(found)) {
            w->hits++;
            return found - 1;
        }
        w->misses++;
    }
    log_line_split(l, line);
    if (values)
        memcpy(values, l->values, l->n_values);
    size_t n = set->v.n;
    uint32_t id = log_shapes_add(set, (str){l->text, l->n_text}, l->vars.v, l->vars.n);
    if (tries && id < n) // shapes that come once are not worth it
        learn(w, set, id);
    return id;
}

uint32_t log_paths_split(struct log_paths *w, struct log_shapes *set, struct log_line *l, str line)
{
    return log_paths_split_to(w, set, l, line, NULL);
}
