/* prom_match.c - see prom_match.h. */
#include "server/api/prom_match.h"

#include "storage/base/utf8.h"

struct runes {
    uint32_t *v;
    size_t n;
};

static struct runes runes_of(struct arena *a, str s)
{
    struct runes r = {arena_array(a, uint32_t, s.n), 0};
    for (size_t i = 0; i < s.n;) {
        size_t n = 1;
        r.v[r.n++] = utf8_decode(str_sub(s, i, s.n), &n);
        i += n;
    }
    return r;
}

/* ---- subsequences ---- */

/* Taking every character at its first place from `start` on. False: not all are there. */
static bool score_from(struct runes want, struct runes name, size_t start, double *out)
{
    double gaps = (double)start, runs = 0;
    size_t i = start, k = 0;
    while (k < want.n) {
        size_t from = i;
        while (i < name.n && name.v[i] != want.v[k])
            i++;
        gaps += (double)(i - from);
        size_t run = 0;
        while (k < want.n && i < name.n && name.v[i] == want.v[k]) {
            run++;
            i++;
            k++;
        }
        if (run == 0)
            return false;
        runs += (double)run * (double)run;
    }
    *out = runs - (gaps + (double)(name.n - i) / 2) / (double)name.n;
    return true;
}

double match_subsequence(struct arena *scratch, str want, str name)
{
    struct arena_mark mark = arena_mark(scratch);
    struct runes w = runes_of(scratch, want), n = runes_of(scratch, name);
    double best = 0, score;
    if (want.n == 0 || str_eq(want, name))
        best = (double)w.n * (double)w.n;
    else
        for (size_t i = 0; i + w.n <= n.n; i++) {
            if (n.v[i] != w.v[0])
                continue;
            if (!score_from(w, n, i, &score))
                break; // nor can it from a later start
            best = MAX(best, score);
        }
    double out = w.n > 0 ? best / ((double)w.n * (double)w.n) : 1;
    arena_release(scratch, mark);
    return out;
}

/* ---- Jaro-Winkler ---- */

#define PREFIX_MAX   4
#define PREFIX_SHARE 0.1

/* Marks characters that both have within `reach` of each other; returns how many. */
static size_t common(struct runes a, struct runes b, size_t reach, bool *in_a, bool *in_b)
{
    size_t n = 0;
    for (size_t i = 0; i < a.n; i++) {
        size_t to = MIN(i + reach + 1, b.n);
        for (size_t k = i > reach ? i - reach : 0; k < to && !in_a[i]; k++) {
            if (in_b[k] || a.v[i] != b.v[k])
                continue;
            in_a[i] = in_b[k] = true;
            n++;
        }
    }
    return n;
}

static size_t out_of_order(struct runes a, struct runes b, const bool *in_a, const bool *in_b)
{
    size_t n = 0, k = 0;
    for (size_t i = 0; i < a.n; i++) {
        if (!in_a[i])
            continue;
        while (!in_b[k])
            k++;
        n += a.v[i] != b.v[k++];
    }
    return n;
}

static double jaro_winkler(struct arena *scratch, struct runes a, struct runes b)
{
    size_t longest = MAX(a.n, b.n), prefix = 0;
    size_t reach = longest / 2 > 1 ? longest / 2 - 1 : 0;
    bool *in_a = arena_zalloc(scratch, a.n), *in_b = arena_zalloc(scratch, b.n);
    double m = (double)common(a, b, reach, in_a, in_b);
    if (m == 0)
        return 0;
    double t = (double)out_of_order(a, b, in_a, in_b) / 2;
    double jaro = (m / (double)a.n + m / (double)b.n + (m - t) / m) / 3;
    while (prefix < PREFIX_MAX && prefix < a.n && prefix < b.n && a.v[prefix] == b.v[prefix])
        prefix++;
    return jaro + (double)prefix * PREFIX_SHARE * (1 - jaro);
}

double match_jaro_winkler(struct arena *scratch, str want, str name)
{
    if (str_eq(want, name))
        return 1;
    if (want.n == 0 || name.n == 0)
        return 0;
    struct arena_mark mark = arena_mark(scratch);
    struct runes a = runes_of(scratch, want), b = runes_of(scratch, name);
    double out = a.n <= b.n ? jaro_winkler(scratch, a, b) : jaro_winkler(scratch, b, a);
    arena_release(scratch, mark);
    return out;
}
