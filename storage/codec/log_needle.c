/* log_needle.c - taking a needle apart; the rules follow the tokeniser of log_template.c. */
#include "storage/codec/log_needle.h"

#include "storage/codec/log_block.h"
#include "storage/codec/log_scan.h"
#include "storage/codec/log_template.h"

static bool is_alnum(char c)
{
    return log_class(c) != LOG_CLASS_OTHER;
}

static bool is_digit(char c)
{
    return log_class(c) == LOG_CLASS_DIGIT;
}

static bool is_hex_char(char c)
{
    return log_class(c) == LOG_CLASS_DIGIT || log_class(c) == LOG_CLASS_HEX;
}

/* End of the run of letters and digits that starts at i. */
static size_t run_end(str s, size_t i)
{
    while (i < s.n && is_alnum(s.p[i]))
        i++;
    return i;
}

struct run_kind {
    bool digits, hex, has_digit, has_letter;
};

static struct run_kind run_kind(str run)
{
    struct run_kind k = {.digits = true, .hex = true};
    for (size_t i = 0; i < run.n; i++) {
        bool digit = is_digit(run.p[i]);
        k.digits &= digit;
        k.hex &= is_hex_char(run.p[i]);
        k.has_digit |= digit;
        k.has_letter |= !digit;
    }
    return k;
}

static void needle_id(struct log_needle *n, str run, bool whole)
{
    if (n->n_ids < LOG_NEEDLE_IDS)
        n->ids[n->n_ids++] = (struct log_needle_id){.digits = run, .whole = whole};
}

static bool is_gap(str s)
{
    return s.n > 0 && !is_alnum(s.p[0]) && !is_alnum(s.p[s.n - 1]);
}

struct numbers { // candidate for log_needle.numbers
    struct log_needle_number v[LOG_NEEDLE_NUMBERS];
    size_t n, n_exact;
    size_t start, end; // in the text
};

/* The sequence of numbers that starts at i, as long as it goes. Returns where to look on. */
static size_t numbers_at(str s, size_t i, struct numbers *out)
{
    *out = (struct numbers){.start = i, .end = i};
    while (out->n < LOG_NEEDLE_NUMBERS) {
        size_t end = i;
        while (end < s.n && is_digit(s.p[end]))
            end++;
        str gap = str_sub(s, out->end, i);
        if (end - i > LOG_INT_DIGITS || (out->n > 0 && !is_gap(gap)))
            return out->n ? i : end;
        struct log_needle_number *v = &out->v[out->n++];
        *v = (struct log_needle_number){.gap = gap};
        for (size_t k = i; k < end; k++)
            v->value = v->value * 10 + (uint64_t)(s.p[k] - '0');
        v->exact = i > 0 && !is_alnum(s.p[i - 1]) && end < s.n && !is_alnum(s.p[end]);
        out->n_exact += v->exact;
        out->end = i = end;
        while (i < s.n && !is_digit(s.p[i]))
            i++;
        if (i == s.n)
            break;
    }
    return i;
}

/* The sequence that tells most. */
static void needle_numbers(struct log_needle *n)
{
    str s = n->text;
    struct numbers best = {0}, now;
    for (size_t i = 0; i < s.n;) {
        if (!is_digit(s.p[i])) {
            i++;
            continue;
        }
        i = numbers_at(s, i, &now);
        if ((now.n > 1 || now.n_exact > 0) &&
            (now.n_exact > best.n_exact || (now.n_exact == best.n_exact && now.n > best.n)))
            best = now;
    }
    n->n_numbers = best.n;
    if (best.n == 0)
        return;
    memcpy(n->numbers, best.v, sizeof n->numbers);
    size_t from = best.start, to = best.end;
    while (best.v[0].exact && from > 0 && !is_digit(s.p[from - 1]))
        from--;
    while (best.v[best.n - 1].exact && to < s.n && !is_digit(s.p[to]))
        to++;
    n->lead = str_sub(s, from, best.start);
    n->tail = str_sub(s, best.end, to);
}

static void needle_runs(struct log_needle *n)
{
    str s = n->text;
    for (size_t i = 0; i < s.n; i++) {
        if (!is_alnum(s.p[i]))
            continue;
        size_t end = run_end(s, i);
        str run = str_sub(s, i, end);
        struct run_kind k = run_kind(run);
        bool whole = i > 0 && end < s.n;
        if (k.hex && k.has_digit && k.has_letter && run.n >= LOG_HEX_MIN && run.n <= LOG_HEX_MAX)
            needle_id(n, run, whole);
        i = end;
    }
}

/* The piece [from, to) has no digit. What may belong to a variable at its ends goes: hex letters,
 * or (wide) all letters. */
static str piece_core(str s, size_t from, size_t to, bool wide)
{
    while (from < to && (wide ? is_alnum(s.p[from]) : is_hex_char(s.p[from])))
        from++;
    while (from < to && (wide ? is_alnum(s.p[to - 1]) : is_hex_char(s.p[to - 1])))
        to--;
    return str_sub(s, from, to);
}

/* The longest stretch that must be template text. Wide: a run of letters inside could be a text
 * variable only together with digits, so letters between other characters stay text there, too. */
static str needle_core(str s, bool wide)
{
    str best = {0};
    size_t from = 0;
    for (size_t i = 0; i <= s.n; i++) {
        if (i < s.n && !is_digit(s.p[i]))
            continue;
        str core = piece_core(s, from, i, wide);
        if (core.n > best.n)
            best = core;
        from = i + 1;
    }
    return best;
}

/* Could letters at the ends of a needle without digits be the end or the start of a hex value? */
static bool touches_hex(str s)
{
    size_t head = run_end(s, 0);
    size_t tail = s.n;
    while (tail > 0 && is_alnum(s.p[tail - 1]))
        tail--;
    return (head > 0 && run_kind(str_sub(s, 0, head)).hex) ||
           (tail < s.n && run_kind(str_sub(s, tail, s.n)).hex);
}

void log_needle_init(struct log_needle *n, str text)
{
    *n = (struct log_needle){.text = text};
    needle_runs(n);
    needle_numbers(n);
    struct run_kind k = run_kind(text);
    n->is_word = text.n > 0 && run_end(text, 0) == text.n;
    n->chars = log_char_bits(text);
    n->is_hex =
        k.hex && k.has_digit && k.has_letter && text.n >= LOG_HEX_MIN && text.n <= LOG_HEX_MAX;
    n->only_text = !k.has_digit && !touches_hex(text);
    n->core = needle_core(text, false);
    n->core_wide = needle_core(text, true);
}
