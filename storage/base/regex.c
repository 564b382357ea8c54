/* regex.c - PCRE2 behind regex_syntax.c.
 *
 * A regex is immutable after regex_open. What a match needs to write (match data, JIT stack, match
 * context with the limits) belongs to the thread: made at its first match, freed at its end. The
 * facts answer many matches without PCRE2: .*, literals, finite sets, a literal that must occur. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "storage/base/regex.h"

#include <pcre2.h>
#include <pthread.h>

#include "storage/base/num.h"
#include "storage/base/regex_syntax.h"
#include "storage/base/utf8.h"
#include "storage/model/limits.h"

#define PAIRS_MIN     16         // ovector pairs of a thread's match data, at least
#define JIT_STACK_MIN (32 * KIB) // per thread; beyond the maximum the interpreter takes over
#define JIT_STACK_MAX (512 * KIB)

struct regex {
    struct arena arena; // owns names, facts
    pcre2_code *code;
    bool has_jit;
    bool is_anchored, is_dotall;
    struct regex_syntax syntax;
};

/* ---- what a thread keeps ---- */

struct scratch {
    pcre2_match_data *data;
    uint32_t pairs;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
    uint32_t steps; // match limit set in the context
};

static pthread_key_t scratch_key; // only for its destructor; the pointer is scratch_of_thread
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;
static _Thread_local struct scratch *scratch_of_thread;

static void scratch_close(void *arg)
{
    struct scratch *s = arg;
    scratch_of_thread = NULL;
    pcre2_match_data_free(s->data);
    pcre2_match_context_free(s->context);
    pcre2_jit_stack_free(s->stack);
    mem_free(s);
}

static void scratch_make_key(void)
{
    int rc = pthread_key_create(&scratch_key, scratch_close);
    ASSERT(rc == 0);
}

static struct scratch *scratch_open(void)
{
    pthread_once(&scratch_once, scratch_make_key);
    struct scratch *s = mem_zalloc(sizeof *s);
    s->context = pcre2_match_context_create(NULL);
    s->stack = pcre2_jit_stack_create(JIT_STACK_MIN, JIT_STACK_MAX, NULL); // NULL: no JIT here
    ASSERT(s->context);
    pcre2_set_heap_limit(s->context, LIMIT_REGEX_HEAP_KIB);
    if (s->stack)
        pcre2_jit_stack_assign(s->context, NULL, s->stack);
    int rc = pthread_setspecific(scratch_key, s);
    ASSERT(rc == 0);
    scratch_of_thread = s;
    return s;
}

/* The thread's scratch, fit for so many groups and a subject of n bytes. */
static struct scratch *scratch_get(size_t groups, size_t n)
{
    struct scratch *s = scratch_of_thread;
    if (UNLIKELY(!s))
        s = scratch_open();
    if (UNLIKELY(s->pairs < groups + 1)) {
        pcre2_match_data_free(s->data);
        s->pairs = (uint32_t)MAX(groups + 1, PAIRS_MIN);
        s->data = pcre2_match_data_create(s->pairs, NULL);
        ASSERT(s->data);
    }
    size_t steps = LIMIT_REGEX_STEPS + MIN(n, 16 * MIB) * LIMIT_REGEX_STEPS_PER_BYTE;
    if (s->steps != steps) {
        s->steps = (uint32_t)steps;
        pcre2_set_match_limit(s->context, s->steps);
    }
    return s;
}

/* ---- compiling ---- */

static bool compile_failed(int code, str pattern, struct err *err)
{
    PCRE2_UCHAR8 text[128];
    switch (code) {
    case PCRE2_ERROR_UNKNOWN_UNICODE_PROPERTY:
    case PCRE2_ERROR_MALFORMED_UNICODE_PROPERTY:
        return err_set(err, ERR_INVALID,
                       "error parsing regexp: invalid character class range: `" STR_FMT "`",
                       STR_ARG(pattern));
    case PCRE2_ERROR_PATTERN_TOO_LARGE:
    case PCRE2_ERROR_PATTERN_TOO_COMPLICATED:
    case PCRE2_ERROR_LOOKBEHIND_TOO_COMPLICATED:
        return err_set(err, ERR_INVALID,
                       "error parsing regexp: expression too large: `" STR_FMT "`",
                       STR_ARG(pattern));
    default:
        if (pcre2_get_error_message(code, text, sizeof text) < 0)
            text[0] = 0;
        return err_set(err, ERR_INVALID, "error parsing regexp: %s: `" STR_FMT "`", (char *)text,
                       STR_ARG(pattern));
    }
}

/* `source` is the pattern as written, for messages. */
static bool compile_code(struct regex *re, str pattern, str source, struct err *err)
{
    int code;
    PCRE2_SIZE offset;
    uint32_t options =
        PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C | PCRE2_ALT_CIRCUMFLEX;
    if (re->is_dotall)
        options |= PCRE2_DOTALL;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    ASSERT(context);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    re->code = pcre2_compile((PCRE2_SPTR8)pattern.p, pattern.n, options, &code, &offset, context);
    pcre2_compile_context_free(context);
    if (!re->code)
        return compile_failed(code, source, err);
    re->has_jit = pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE) == 0;
    return true;
}

/* The whole subject must match: \A(?:pattern)\z. */
static str anchor_pattern(struct arena *a, str pattern)
{
    const str before = STR("\\A(?:"), after = STR(")\\z");
    char *dst = arena_alloc(a, before.n + pattern.n + after.n);
    memcpy(dst, before.p, before.n);
    memcpy(dst + before.n, pattern.p, pattern.n);
    memcpy(dst + before.n + pattern.n, after.p, after.n);
    return str_of(dst, before.n + pattern.n + after.n);
}

bool regex_open(str pattern, int flags, struct regex **out, struct err *err)
{
    struct regex *re = mem_zalloc(sizeof *re);
    bool hit;
    arena_init(&re->arena, SIZE_MAX, NULL);
    re->is_anchored = flags & REGEX_ANCHORED;
    re->is_dotall = flags & (REGEX_ANCHORED | REGEX_DOTALL);
    if (!regex_parse(&re->arena, pattern, flags, &re->syntax, err))
        goto fail;
    str text = re->syntax.pcre;
    if (re->is_anchored)
        text = anchor_pattern(&re->arena, text);
    if (!compile_code(re, text, pattern, err) || !regex_match(re, STR(""), &hit, err))
        goto fail;
    re->syntax.facts.matches_empty = hit;
    *out = re;
    return true;
fail:
    regex_close(re);
    return false;
}

void regex_close(struct regex *re)
{
    if (!re)
        return;
    pcre2_code_free(re->code);
    arena_deinit(&re->arena);
    mem_free(re);
}

/* ---- matching ---- */

static bool match_failed(int code, struct err *err)
{
    PCRE2_UCHAR8 text[128];
    switch (code) {
    case PCRE2_ERROR_MATCHLIMIT:
    case PCRE2_ERROR_DEPTHLIMIT:
    case PCRE2_ERROR_HEAPLIMIT:
        return err_set(err, ERR_LIMIT, "regular expression needs more than %d steps on one text",
                       LIMIT_REGEX_STEPS);
    default:
        if (pcre2_get_error_message(code, text, sizeof text) < 0)
            text[0] = 0;
        return err_set(err, ERR_EXEC, "regular expression: %s", (char *)text);
    }
}

/* Runs PCRE2 over valid UTF-8. The result is in scratch->data when *hit. */
static bool run(const struct regex *re, str subject, size_t from, bool *hit, struct err *err)
{
    struct scratch *s = scratch_get(re->syntax.groups, subject.n);
    PCRE2_SPTR8 p = (PCRE2_SPTR8)(subject.p ? subject.p : "");
    const uint32_t slow = PCRE2_NO_JIT | PCRE2_NO_UTF_CHECK;
    int rc = PCRE2_ERROR_JIT_STACKLIMIT;
    if (LIKELY(re->has_jit))
        rc = pcre2_jit_match(re->code, p, subject.n, from, 0, s->data, s->context);
    if (UNLIKELY(rc == PCRE2_ERROR_JIT_STACKLIMIT))
        rc = pcre2_match(re->code, p, subject.n, from, slow, s->data, s->context);
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH)
        return match_failed(rc, err);
    *hit = rc >= 0;
    return true;
}

/* Copies groups out of the thread's match data. Offsets are into `subject`. */
static void take_groups(const struct regex *re, str subject, str *groups, size_t n_groups)
{
    const PCRE2_SIZE *pairs = pcre2_get_ovector_pointer(scratch_of_thread->data);
    const char *p = subject.p ? subject.p : "";
    for (size_t i = 0; i < n_groups; i++) {
        bool is_set = i <= re->syntax.groups && pairs[2 * i] != PCRE2_UNSET;
        groups[i] = is_set ? str_of(p + pairs[2 * i], pairs[2 * i + 1] - pairs[2 * i]) : (str){0};
    }
}

/* How far `to` bytes of the subject reach in the copy where U+FFFD stands for each bad byte; with
 * back set, the other way round. */
static size_t map_offset(str subject, size_t to, bool back)
{
    size_t i = 0, copied = 0;
    while (i < subject.n && (back ? copied : i) < to) {
        size_t n;
        uint32_t cp = utf8_decode(str_sub(subject, i, subject.n), &n);
        copied += cp == 0xFFFD && n == 1 ? 3 : n;
        i += n;
    }
    return back ? i : copied;
}

/* Invalid UTF-8 is seen as RE2 sees it: each bad byte is one U+FFFD. (PCRE2's own mode for invalid
 * text gives different answers with and without JIT in 10.42.) */
static bool run_repaired(const struct regex *re, str subject, size_t from, str *groups,
                         size_t n_groups, bool *hit, struct err *err)
{
    char *copy = mem_alloc(3 * subject.n);
    size_t at = 0, used;
    for (size_t i = 0; i < subject.n; i += used)
        at += utf8_put(copy + at, utf8_decode(str_sub(subject, i, subject.n), &used));
    bool ok = run(re, str_of(copy, at), map_offset(subject, from, false), hit, err);
    if (ok && *hit) {
        take_groups(re, str_of(copy, at), groups, n_groups);
        for (size_t i = 0; i < n_groups; i++) {
            if (!groups[i].p)
                continue;
            size_t start = (size_t)(groups[i].p - copy);
            size_t end = map_offset(subject, start + groups[i].n, true);
            start = map_offset(subject, start, true);
            groups[i] = str_of(subject.p + start, end - start);
        }
    }
    mem_free(copy);
    return ok;
}

/* The set is sorted; few members are compared one by one, as most differ in length. */
static bool set_has(const struct regex_facts *facts, str subject)
{
    size_t low = 0, high = facts->set_n;
    while (high - low > 8) {
        size_t middle = low + (high - low) / 2;
        if (str_cmp(facts->set[middle], subject) <= 0)
            low = middle;
        else
            high = middle;
    }
    for (size_t i = low; i < high; i++)
        if (str_eq(facts->set[i], subject))
            return true;
    return false;
}

/* What the facts know without PCRE2; false when they know nothing. */
static bool match_by_facts(const struct regex *re, str subject, bool *hit)
{
    const struct regex_facts *facts = &re->syntax.facts;
    if (facts->matches_all) {
        *hit = true;
    } else if (facts->set) {
        *hit = set_has(facts, subject);
    } else if (re->syntax.is_exact) {
        *hit = str_find(subject, re->syntax.exact) != SIZE_MAX;
    } else if (re->is_anchored && !str_starts(subject, facts->prefix)) {
        *hit = false;
    } else if (facts->must.n > facts->prefix.n && str_find(subject, facts->must) == SIZE_MAX) {
        *hit = false;
    } else {
        return false;
    }
    return true;
}

bool regex_match(const struct regex *re, str subject, bool *hit, struct err *err)
{
    if (match_by_facts(re, subject, hit))
        return true;
    if (UNLIKELY(!utf8_valid(subject)))
        return run_repaired(re, subject, 0, NULL, 0, hit, err);
    return run(re, subject, 0, hit, err);
}

bool regex_exec(const struct regex *re, str subject, size_t from, str *groups, size_t n_groups,
                bool *hit, struct err *err)
{
    bool found = false;
    if (UNLIKELY(!utf8_valid(subject))) {
        if (from <= subject.n && !run_repaired(re, subject, from, groups, n_groups, &found, err))
            return false;
        *hit = found;
        return true;
    }
    while (from < subject.n && (subject.p[from] & 0xC0) == 0x80)
        from++; // never into the middle of a character
    if (from <= subject.n && !run(re, subject, from, &found, err))
        return false;
    if (found)
        take_groups(re, subject, groups, n_groups);
    *hit = found;
    return true;
}

size_t regex_groups(const struct regex *re)
{
    return re->syntax.groups;
}

str regex_group_name(const struct regex *re, size_t i)
{
    return i <= re->syntax.groups ? re->syntax.names[i] : (str){0};
}

const struct regex_facts *regex_facts(const struct regex *re)
{
    return &re->syntax.facts;
}

/* ---- expanding ---- */

static bool is_name_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* The group that `name` means: a number without leading zeros, or a group's name. */
static str group_find(const struct regex *re, str name, const str *groups)
{
    bool is_number = true;
    for (size_t i = 0; i < name.n; i++)
        is_number = is_number && name.p[i] >= '0' && name.p[i] <= '9';
    if (is_number && (name.n == 1 || name.p[0] != '0')) {
        uint64_t index;
        bool known = num_parse_u64(name, &index) && index <= re->syntax.groups;
        return known ? groups[index] : (str){0};
    }
    for (size_t i = 1; i <= re->syntax.groups; i++)
        if (str_eq(re->syntax.names[i], name) && groups[i].p)
            return groups[i];
    return (str){0};
}

/* The reference at the start of s, behind '$': its name and how many bytes it takes; 0: none. */
static size_t reference(str s, str *name)
{
    size_t from = s.n > 0 && s.p[0] == '{' ? 1 : 0, i = from;
    while (i < s.n && is_name_char(s.p[i]))
        i++;
    *name = str_sub(s, from, i);
    if (i == from || (from == 1 && (i == s.n || s.p[i] != '}')))
        return 0;
    return i + from;
}

void regex_expand(const struct regex *re, str tmpl, const str *groups, struct buf *out)
{
    while (tmpl.n > 0) {
        size_t dollar = str_find_char(tmpl, '$');
        if (dollar == SIZE_MAX) {
            buf_add(out, tmpl);
            return;
        }
        buf_add(out, str_sub(tmpl, 0, dollar));
        tmpl = str_sub(tmpl, dollar + 1, tmpl.n);
        str name;
        size_t n = reference(tmpl, &name);
        if (n > 0)
            buf_add(out, group_find(re, name, groups));
        else
            buf_add_char(out, '$');
        if (n == 0 && tmpl.n > 0 && tmpl.p[0] == '$')
            n = 1;
        tmpl = str_sub(tmpl, n, tmpl.n);
    }
}
