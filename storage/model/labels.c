/* labels.c - label sets: lookup, order, hash, canonical bytes, text, and the builder.
 *
 * Sets are small (about ten pairs), so that straight loops and insertion sort win over anything
 * clever; both turn to logarithmic ways above a size where that would matter. No state, any thread.
 */
#include "storage/model/labels.h"

#include "storage/base/rd.h"
#include "storage/base/utf8.h"
#include "storage/model/limits.h"

#define SCAN_MAX  16   // pairs up to which a straight scan finds a name fastest
#define SORT_MAX  24   // pairs up to which insertion sort is used
#define HASH_ROOM 2048 // bytes of canonical form that are hashed from the stack

static inline int cmp(str a, str b)
{
    size_t n = MIN(a.n, b.n);
    int d = a.p == b.p || n == 0 ? 0 : memcmp(a.p, b.p, n);
    return d != 0 ? d : (a.n > b.n) - (a.n < b.n);
}

static size_t find(struct labels l, str name)
{
    if (l.n <= SCAN_MAX) {
        for (size_t i = 0; i < l.n; i++)
            if (str_eq(l.v[i].name, name))
                return i;
        return SIZE_MAX;
    }
    size_t lo = 0, hi = l.n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int d = cmp(l.v[mid].name, name);
        if (d == 0)
            return mid;
        if (d < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return SIZE_MAX;
}

str labels_get(struct labels l, str name)
{
    size_t i = find(l, name);
    return i == SIZE_MAX ? (str){0} : l.v[i].value;
}

bool labels_has(struct labels l, str name)
{
    return find(l, name) != SIZE_MAX;
}

bool labels_eq(struct labels a, struct labels b)
{
    if (a.n != b.n)
        return false;
    if (a.v == b.v)
        return true;
    for (size_t i = 0; i < a.n; i++)
        if (!str_eq(a.v[i].value, b.v[i].value) || !str_eq(a.v[i].name, b.v[i].name))
            return false;
    return true;
}

int labels_cmp(struct labels a, struct labels b)
{
    size_t n = MIN(a.n, b.n);
    for (size_t i = 0; i < n; i++) {
        int d = cmp(a.v[i].name, b.v[i].name);
        if (d == 0)
            d = cmp(a.v[i].value, b.v[i].value);
        if (d != 0)
            return d;
    }
    return (a.n > b.n) - (a.n < b.n);
}

int labels_cmp_series(struct labels a, struct labels b)
{
    size_t name_a = find(a, METRIC_NAME), name_b = find(b, METRIC_NAME);
    int d = cmp(name_a == SIZE_MAX ? (str){0} : a.v[name_a].value,
                name_b == SIZE_MAX ? (str){0} : b.v[name_b].value);
    if (d != 0)
        return d;
    for (size_t i = 0, j = 0;; i++, j++) {
        i += i == name_a;
        j += j == name_b;
        if (i >= a.n || j >= b.n)
            return (i < a.n) - (j < b.n);
        d = cmp(a.v[i].name, b.v[j].name);
        if (d == 0)
            d = cmp(a.v[i].value, b.v[j].value);
        if (d != 0)
            return d;
    }
}

static inline char *put_varint(char *p, size_t v)
{
    while (v >= 0x80) {
        *p++ = (char)(unsigned char)(v | 0x80);
        v >>= 7;
    }
    *p++ = (char)v;
    return p;
}

static inline char *put_bytes(char *p, str s)
{
    p = put_varint(p, s.n);
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    return p + s.n;
}

static size_t canonical_max(struct labels l) // 10 bytes hold any varint
{
    size_t n = 0;
    for (size_t i = 0; i < l.n; i++)
        n += 20 + l.v[i].name.n + l.v[i].value.n;
    return n;
}

static size_t canonical_put(char *dst, struct labels l)
{
    char *p = dst;
    for (size_t i = 0; i < l.n; i++)
        p = put_bytes(put_bytes(p, l.v[i].name), l.v[i].value);
    return (size_t)(p - dst);
}

uint64_t labels_hash(struct labels l)
{
    return labels_hash128(l).lo;
}

struct hash128 labels_hash128(struct labels l)
{
    char room[HASH_ROOM];
    size_t max = canonical_max(l);
    if (LIKELY(max <= sizeof room))
        return hash128(str_of(room, canonical_put(room, l)));
    char *p = mem_alloc(max);
    struct hash128 h = hash128(str_of(p, canonical_put(p, l)));
    mem_free(p);
    return h;
}

struct labels labels_dup(struct arena *a, struct labels l)
{
    if (l.n == 0)
        return (struct labels){0};
    size_t bytes = 0;
    for (size_t i = 0; i < l.n; i++)
        bytes += l.v[i].name.n + l.v[i].value.n;
    struct label *v = arena_alloc(a, l.n * sizeof *v + bytes);
    char *p = (char *)(v + l.n);
    for (size_t i = 0; i < l.n; i++) {
        const str *from[2] = {&l.v[i].name, &l.v[i].value};
        str *to[2] = {&v[i].name, &v[i].value};
        for (size_t k = 0; k < 2; k++) {
            *to[k] = str_of(p, from[k]->n);
            if (from[k]->n > 0)
                memcpy(p, from[k]->p, from[k]->n);
            p += from[k]->n;
        }
    }
    return (struct labels){v, l.n};
}

void labels_encode(struct buf *b, struct labels l)
{
    buf_varint(b, l.n);
    for (size_t i = 0; i < l.n; i++) {
        buf_bytes(b, l.v[i].name);
        buf_bytes(b, l.v[i].value);
    }
}

bool labels_decode(str bytes, struct arena *a, struct labels *out, struct err *err)
{
    struct rd r = rd_of(bytes);
    size_t n = rd_count(&r, bytes.n / 2); // a pair takes two bytes at least
    if (r.bad)
        return err_set(err, ERR_CORRUPT, "labels: bad count");
    struct label *v = arena_array(a, struct label, n);
    for (size_t i = 0; i < n; i++) {
        v[i].name = rd_bytes(&r);
        v[i].value = rd_bytes(&r);
        if (r.bad)
            return err_set(err, ERR_CORRUPT, "labels: cut off");
        if (i > 0 && cmp(v[i - 1].name, v[i].name) >= 0)
            return err_set(err, ERR_CORRUPT, "labels: names out of order");
    }
    if (rd_left(&r) > 0)
        return err_set(err, ERR_CORRUPT, "labels: %zu bytes left over", rd_left(&r));
    *out = (struct labels){v, n};
    return true;
}

/* ---- text ---- */

/* Roughly Go's unicode.IsPrint: what renders as something. Unassigned code points count as
 * printable here, the only difference that remains. */
static bool is_printable(uint32_t cp)
{
    if (cp < 0x20 || (cp >= 0x7f && cp <= 0xa0) || cp == 0xad)
        return false;
    if (cp < 0x1680)
        return true;
    return !(cp == 0x1680 || cp == 0x180e || (cp >= 0x2000 && cp <= 0x200f) ||
             (cp >= 0x2028 && cp <= 0x202f) || (cp >= 0x205f && cp <= 0x206f) || cp == 0x3000 ||
             (cp >= 0xd800 && cp <= 0xf8ff) || cp == 0xfeff || (cp >= 0xfff0 && cp <= 0xfffb) ||
             (cp & 0xfffe) == 0xfffe || cp >= 0xe0000);
}

void label_quote(struct buf *b, str s)
{
    buf_add_char(b, '"');
    for (size_t i = 0, plain = 0; i <= s.n;) {
        size_t len = 1;
        uint32_t cp = '"'; // at the end: only flushes
        if (i < s.n) {
            cp = (unsigned char)s.p[i];
            if (cp >= 0x80)
                cp = utf8_decode(str_of(s.p + i, s.n - i), &len);
            bool is_bad = cp == 0xfffd && len == 1;
            if (cp != '"' && cp != '\\' && !is_bad && is_printable(cp)) {
                i += len;
                continue;
            }
        }
        buf_add(b, str_sub(s, plain, i));
        if (i == s.n)
            break;
        unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\')
            buf_fmt(b, "\\%c", c);
        else if (c == '\n' || c == '\t' || c == '\r')
            buf_fmt(b, "\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : 'r');
        else if (c == '\a' || c == '\b' || c == '\f' || c == '\v')
            buf_fmt(b, "\\%c", c == '\a' ? 'a' : c == '\b' ? 'b' : c == '\f' ? 'f' : 'v');
        else if (len == 1)
            buf_fmt(b, "\\x%02x", c);
        else
            buf_fmt(b, cp > 0xffff ? "\\U%08x" : "\\u%04x", cp);
        i += len;
        plain = i;
    }
    buf_add_char(b, '"');
}

static void print_pair(struct buf *b, const struct label *l)
{
    if (label_name_valid(l->name))
        buf_add(b, l->name);
    else
        label_quote(b, l->name);
    buf_add_char(b, '=');
    label_quote(b, l->value);
}

void labels_print_braces(struct buf *b, struct labels l)
{
    buf_add_char(b, '{');
    for (size_t i = 0; i < l.n; i++) {
        if (i > 0)
            buf_add(b, STR(", "));
        print_pair(b, &l.v[i]);
    }
    buf_add_char(b, '}');
}

void labels_print(struct buf *b, struct labels l, bool print_name)
{
    str metric = print_name ? labels_get(l, METRIC_NAME) : (str){0};
    bool is_plain = metric.n > 0 && metric_name_valid(metric);
    size_t shown = 0;
    if (is_plain)
        buf_add(b, metric);
    for (size_t i = 0; i < l.n; i++) {
        bool is_name = str_eq(l.v[i].name, METRIC_NAME);
        if (is_name && (is_plain || !print_name))
            continue;
        buf_add(b, shown++ == 0 ? STR("{") : STR(", "));
        if (is_name) { // a metric name outside the old alphabet stands in the braces, bare
            label_quote(b, l.v[i].value);
            continue;
        }
        print_pair(b, &l.v[i]);
    }
    if (shown > 0)
        buf_add_char(b, '}');
    else if (!is_plain)
        buf_add(b, STR("{}"));
}

/* ---- subsets ---- */

struct labels labels_without(struct arena *a, struct labels l, str name)
{
    return labels_with(a, l, name, (str){0});
}

static bool is_among(str name, const str *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(names[i], name))
            return true;
    return false;
}

static struct labels subset(struct arena *a, struct labels l, const str *names, size_t n, bool want)
{
    size_t kept = 0;
    for (size_t i = 0; i < l.n; i++)
        kept += is_among(l.v[i].name, names, n) == want;
    if (kept == l.n)
        return l;
    if (kept == 0)
        return (struct labels){0};
    struct label *v = arena_alloc(a, kept * sizeof *v);
    kept = 0;
    for (size_t i = 0; i < l.n; i++)
        if (is_among(l.v[i].name, names, n) == want)
            v[kept++] = l.v[i];
    return (struct labels){v, kept};
}

struct labels labels_keep(struct arena *a, struct labels l, const str *names, size_t n)
{
    return subset(a, l, names, n, true);
}

struct labels labels_drop(struct arena *a, struct labels l, const str *names, size_t n)
{
    return subset(a, l, names, n, false);
}

struct labels labels_with(struct arena *a, struct labels l, str name, str value)
{
    size_t at = 0;
    while (at < l.n && cmp(l.v[at].name, name) < 0)
        at++;
    bool is_there = at < l.n && str_eq(l.v[at].name, name);
    if (value.n == 0 && !is_there)
        return l;
    if (is_there && str_eq(l.v[at].value, value))
        return l;
    size_t n = l.n - is_there + (value.n > 0);
    if (n == 0)
        return (struct labels){0};
    struct label *v = arena_alloc(a, n * sizeof *v), *p = v;
    if (at > 0)
        memcpy(p, l.v, at * sizeof *v);
    p += at;
    if (value.n > 0)
        *p++ = (struct label){name, value};
    at += is_there;
    if (at < l.n)
        memcpy(p, l.v + at, (l.n - at) * sizeof *v);
    return (struct labels){v, n};
}

/* ---- builder ---- */

void labels_builder_init(struct labels_builder *b, struct arena *arena)
{
    *b = (struct labels_builder){.arena = arena};
}

void labels_builder_clear(struct labels_builder *b)
{
    b->pairs.n = 0;
}

void labels_builder_set(struct labels_builder *b, str name, str value)
{
    for (size_t i = 0; i < b->pairs.n; i++) {
        if (str_eq(b->pairs.v[i].name, name)) {
            b->pairs.v[i].value = value;
            return;
        }
    }
    labels_builder_add(b, name, value);
}

/* Both sorts are stable: of equal names the one added last stays last. */
static void sort_insertion(struct label *v, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        struct label x = v[i];
        size_t j = i;
        for (; j > 0 && cmp(v[j - 1].name, x.name) > 0; j--)
            v[j] = v[j - 1];
        v[j] = x;
    }
}

static void sort_merge(struct label *v, size_t n, struct label *scratch)
{
    for (size_t at = 0; at < n; at += SORT_MAX)
        sort_insertion(v + at, MIN((size_t)SORT_MAX, n - at));
    struct label *from = v, *to = scratch;
    for (size_t run = SORT_MAX; run < n; run *= 2) {
        for (size_t at = 0; at < n; at += 2 * run) {
            size_t i = at, mid = MIN(at + run, n), j = mid, end = MIN(at + 2 * run, n);
            for (size_t k = at; k < end; k++) {
                bool left = j >= end || (i < mid && cmp(from[i].name, from[j].name) <= 0);
                to[k] = left ? from[i++] : from[j++];
            }
        }
        struct label *t = from;
        from = to;
        to = t;
    }
    if (from != v)
        memcpy(v, from, n * sizeof *v);
}

void labels_sort(struct arena *a, struct label *v, size_t n)
{
    if (n <= SORT_MAX)
        sort_insertion(v, n);
    else
        sort_merge(v, n, arena_array(a, struct label, n));
}

struct labels labels_builder_done(struct labels_builder *b)
{
    size_t n = b->pairs.n;
    if (n == 0)
        return (struct labels){0};
    struct label *v = arena_alloc(b->arena, n * sizeof *v);
    memcpy(v, b->pairs.v, n * sizeof *v);
    labels_sort(b->arena, v, n);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        bool is_last = i + 1 == n || !str_eq(v[i].name, v[i + 1].name);
        if (is_last && v[i].value.n > 0)
            v[kept++] = v[i];
    }
    return (struct labels){v, kept};
}

/* ---- names ---- */

static inline bool is_name_char(char c, bool colon, bool digit)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (colon && c == ':') ||
           (digit && c >= '0' && c <= '9');
}

static bool name_valid(str s, bool colon)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_name_char(s.p[i], colon, i > 0))
            return false;
    return s.n > 0;
}

bool label_name_valid(str name)
{
    return name_valid(name, false);
}

bool metric_name_valid(str name)
{
    return name_valid(name, true);
}
