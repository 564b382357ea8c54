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
#define BEFORE_POINT 2
#define BEFORE_OPEN  4 // no letter or digit: what is behind begins a run
/* Texts at one place: with more of them they are no texts but values. */
#define GAPS_MAX 24
/* How many more lines may have been missed than recognised, while the tree is small; then the walk
 * is a waste. */
#define MISSES_MORE 192
/* Paths of more than this are not kept. */
#define OPTIONS_MAX 65536

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

static struct log_gap gap_of(const struct log_shapes *set, uint32_t text, uint32_t n)
{
    const char *p = set->text.v + text;
    struct log_gap g = {.text = text, .n = n};
    while (g.tail < n && log_class(p[n - 1 - g.tail]) != LOG_CLASS_OTHER)
        g.tail++;
    g.first = (uint16_t)(n < 16 ? (1U << n) - 1 : 0xFFFF);
    char last = n > 0 ? p[n - 1] : 'a';
    g.before = last == ':' || last == '-' ? BEFORE_CLOCK : last == '.' ? BEFORE_POINT : 0;
    g.before |= g.tail == 0 && n > 0 ? BEFORE_OPEN : 0;
    return g;
}

/* The gap with this text in a list, added when there is room for it; NULL: there is none. */
static struct log_gap *learn_gap(struct log_paths *w, const struct log_shapes *set, uint32_t *list,
                                 uint32_t text, uint32_t n)
{
    str want = {set->text.v + text, n};
    size_t count = 0;
    for (; *list; list = &w->gaps.v[*list - 1].next) {
        struct log_gap *g = &w->gaps.v[*list - 1];
        if (str_eq((str){set->text.v + g->text, g->n}, want))
            return g;
        if (++count == GAPS_MAX)
            return NULL;
    }
    vec_push(&w->gaps, NULL, gap_of(set, text, n)); // there is room: links stay where they are
    *list = (uint32_t)w->gaps.n;
    return vec_last(&w->gaps);
}

static inline uint32_t var_code(uint32_t kind, size_t digits)
{
    return kind | (uint32_t)digits << 16;
}

static struct log_option *learn_option(struct log_paths *w, uint32_t *list, const struct log_var *v)
{
    for (; *list; list = &w->options.v[*list - 1].next) {
        struct log_option *o = &w->options.v[*list - 1];
        if (o->kind == var_code(v->kind, v->digits))
            return o;
    }
    vec_push(&w->options, NULL, (struct log_option){.kind = var_code(v->kind, v->digits)});
    *list = (uint32_t)w->options.n;
    return vec_last(&w->options);
}

static void learn(struct log_paths *w, const struct log_shapes *set, uint32_t id)
{
    const struct log_shape *shape = &set->v.v[id];
    const struct log_var *v = log_shape_vars(set, id);
    uint32_t text = shape->text, *gaps = &w->first;
    if (w->options.n + shape->n_vars > OPTIONS_MAX)
        return;
    vec_reserve(&w->gaps, NULL, w->gaps.n + shape->n_vars + 1);
    vec_reserve(&w->options, NULL, w->options.n + shape->n_vars);
    for (size_t i = 0; i < shape->n_vars; i++) {
        struct log_gap *g = learn_gap(w, set, gaps, text, v[i].n_text);
        if (!g)
            return;
        gaps = &learn_option(w, &g->option, &v[i])->gaps;
        text += v[i].n_text + 1;
    }
    struct log_gap *g = learn_gap(w, set, gaps, text, shape->text + shape->n_text - 1 - text);
    if (g)
        g->end = id + 1;
}

/* ---- walking ---- */

static inline uint64_t differ16(const char *a, const char *b)
{
    log_bytes x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return log_bits16((log_bytes)(x != y));
}

/* Is the gap's text at p? LOG_SCAN_SLACK bytes are behind both. */
static inline bool is_gap_at(const struct log_gap *g, const char *text, const char *p)
{
    if (differ16(text, p) & g->first)
        return false;
    for (size_t i = 16; i < g->n; i += 16) {
        uint64_t differ = differ16(text + i, p + i);
        if (differ && i + (size_t)__builtin_ctzll(differ) < g->n)
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

struct walk {
    struct log_line *l;
    const char *end; // of the line
    const char *at;  // behind the last variable
    const char *run; // beginning of the run that goes on there, if one does
    uint8_t *value;
};

struct found { // a variable
    size_t n;
    uint32_t kind; // as of an option; 0: a number
};

/* A run of n >= LOG_HEX_MIN letters and digits, with the variable at p; false: none begins there.
 */
static bool judge_run(struct walk *k, const char *run, size_t n, const char *p, struct found *out)
{
    if (n <= LOG_HEX_MAX && is_hex_run(run, n)) {
        *out = (struct found){n, var_code(LOG_VAR_HEX, n)};
        return p == run;
    }
    if (run[0] == '0' && run[1] == 'x' && n >= 2 + LOG_HEX_MIN && n <= 2 + LOG_HEX_MAX &&
        is_hex_run(run + 2, n - 2))
        return false;
    size_t changes = 0;
    for (size_t i = 1; i < n && n <= LOG_TEXT_VAR_MAX; i++)
        changes += log_is_digit(run[i]) != log_is_digit(run[i - 1]);
    k->l->loose_hex = k->l->loose_hex || log_has_hex_part(run, n);
    if (changes >= LOG_TEXT_VAR_CHANGES) {
        *out = (struct found){n, LOG_VAR_TEXT};
        return p == run;
    }
    out->n = MIN(out->n, (size_t)LOG_INT_DIGITS);
    return out->n > 0;
}

static inline bool is_letter(char c)
{
    return (uint8_t)((c | 0x20) - 'a') <= 'z' - 'a';
}

/* The variable behind a gap that matches, which ends at p. */
static inline bool find_var(struct walk *k, const struct log_gap *g, const char *p,
                            struct found *out)
{
    size_t digits = digits_at(p);
    *out = (struct found){.n = digits};
    if (LIKELY((g->before & BEFORE_OPEN) && digits - 1 < LOG_INT_DIGITS && !is_letter(p[digits])))
        return true;
    k->run = g->tail < g->n ? p - g->tail : k->run;
    size_t n = (size_t)(p - k->run) + digits + run_at(p + digits);
    return n < LOG_HEX_MIN ? digits > 0 : judge_run(k, k->run, n, p, out);
}

static inline uint32_t number_kind(const struct walk *k, const struct log_gap *g, const char *p,
                                   size_t n)
{
    char after = p[n]; // 0 behind the line
    bool fixed = p[0] == '0' && n > 1;
    if (n == 2)
        fixed |= (g->before & BEFORE_CLOCK) || after == ':' || after == '-';
    if (UNLIKELY(g->before & BEFORE_POINT))
        fixed |= log_is_fixed(k->l->copy, k->end, p, n);
    return fixed ? LOG_VAR_PAD + (uint32_t)n : LOG_VAR_INT;
}

static inline void put_found(struct walk *k, const char *p, const struct found *f)
{
    uint16_t kind = (uint16_t)f->kind;
    if (LIKELY(kind != LOG_VAR_HEX && kind != LOG_VAR_TEXT)) {
        k->value = log_put_varint(k->value, log_scan_digits(p, f->n));
    } else if (kind == LOG_VAR_HEX) {
        vec_push(&k->l->hexs, NULL, (struct log_place){(uint32_t)(p - k->l->copy), (uint32_t)f->n});
        log_hex_pack(p, f->n, k->value);
        k->value += (f->n + 1) / 2;
    } else {
        *k->value++ = (uint8_t)f->n;
        memcpy(k->value, p, f->n);
        k->value += f->n;
    }
}

/* Goes behind the gap's variable; false: it has none here that is known. *gaps: what comes next. */
static inline bool step(struct walk *k, const struct log_paths *w, const struct log_gap *g,
                        uint32_t *gaps)
{
    const char *p = k->at + g->n, *run = k->run;
    struct found f;
    uint32_t o = g->option;
    if (!o || !find_var(k, g, p, &f)) {
        k->run = run;
        return false;
    }
    if (LIKELY(f.kind == 0))
        f.kind = number_kind(k, g, p, f.n);
    while (o && w->options.v[o - 1].kind != f.kind)
        o = w->options.v[o - 1].next;
    if (!o) {
        k->run = run;
        return false;
    }
    put_found(k, p, &f);
    k->at = p + f.n;
    *gaps = w->options.v[o - 1].gaps;
    return true;
}

/* The number of the shape, + 1; 0: the tree does not lead to it. */
static uint32_t walk(const struct log_paths *w, const struct log_shapes *set, struct log_line *l,
                     size_t n)
{
    struct walk k = {l, l->copy + n, l->copy, l->copy, l->values};
    uint32_t next = w->first;
    while (next) {
        const struct log_gap *g = &w->gaps.v[next - 1];
        if (!is_gap_at(g, set->text.v + g->text, k.at)) {
            next = g->next;
        } else if (UNLIKELY(g->n >= (size_t)(k.end - k.at))) {
            if (g->n > (size_t)(k.end - k.at)) // it has zeros where the line has ended
                return 0;
            l->n_values = (size_t)(k.value - l->values);
            return g->end;
        } else if (!step(&k, w, g, &next)) {
            next = g->next;
        }
    }
    return 0;
}

uint32_t log_paths_split(struct log_paths *w, struct log_shapes *set, struct log_line *l, str line)
{
    bool tries = w->misses <= w->hits + MISSES_MORE;
    if (tries) {
        log_line_copy(l, line);
        l->hexs.n = 0;
        l->loose_hex = false;
        uint32_t found = walk(w, set, l, line.n);
        if (LIKELY(found)) {
            w->hits++;
            return found - 1;
        }
        w->misses++;
    }
    log_line_split(l, line);
    size_t n = set->v.n;
    uint32_t id = log_shapes_add(set, (str){l->text, l->n_text}, l->vars.v, l->vars.n);
    if (tries && id < n) // shapes that come once are not worth it
        learn(w, set, id);
    return id;
}
