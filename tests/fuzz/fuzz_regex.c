// fuzz_regex.c - first byte: flags; then the pattern up to a NUL; the rest is the subject. Whatever
// compiles: the facts agree with the matcher, groups lie inside the subject.
//
// links: trivet_base
#include "storage/base/regex.h"

#define GROUPS 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0)
        return 0;
    str rest = str_of((const char *)data + 1, n - 1), pattern, g[GROUPS], subject;
    struct regex *re;
    struct err err = ERR_OK;
    bool hit, by_exec, in_set = false;
    int flags = data[0] & (REGEX_ANCHORED | REGEX_DOTALL);
    (void)str_split(&rest, 0, &pattern);
    subject = rest.p ? rest : STR("");
    if (!regex_open(pattern, flags, &re, &err)) {
        ASSERT(err.code != ERR_NONE && err.text[0]);
        return 0;
    }
    const struct regex_facts *f = regex_facts(re);
    for (size_t i = 0; i < f->set_n; i++)
        in_set = in_set || str_eq(f->set[i], subject);
    if (regex_exec(re, subject, 0, g, GROUPS, &by_exec, &err) &&
        regex_match(re, subject, &hit, &err)) {
        ASSERT(hit == by_exec);
        ASSERT(!f->set || hit == in_set);
        ASSERT(!by_exec || (str_starts(g[0], f->prefix) && str_find(g[0], f->must) != SIZE_MAX));
        for (size_t i = 0; by_exec && i < GROUPS; i++)
            ASSERT(!g[i].p || (g[i].p >= subject.p && g[i].p + g[i].n <= subject.p + subject.n));
    }
    regex_close(re);
    return 0;
}
