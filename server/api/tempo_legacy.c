/* tempo_legacy.c - searches without TraceQL, as old clients send them, translated into TraceQL.
 *
 * tags is logfmt: key=value pairs, values perhaps quoted. A pair holds for a trace when any of its
 * spans or their resources has the attribute with a text that contains the value, or the very
 * number or boolean. */
#include "query/lang/print.h"
#include "server/api/tempo_priv.h"
#include "storage/base/dur.h"
#include "storage/base/num.h"
#include "storage/base/utf8.h"

struct pair {
    str key, value;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool bad_tags(str tags, struct err *err)
{
    return err_set(err, ERR_INVALID,
                   "invalid tags: \"" STR_FMT "\" is not a list of key=value pairs", STR_ARG(tags));
}

/* The quoted value at the front of *rest. */
static bool take_quoted(struct arena *a, str *rest, str *out)
{
    struct buf b;
    size_t i = 1;
    buf_init(&b, rest->n);
    for (; i < rest->n && rest->p[i] != '"'; i++) {
        if (rest->p[i] == '\\' && i + 1 < rest->n)
            i++;
        buf_add_char(&b, rest->p[i]);
    }
    *out = arena_dup(a, buf_str(&b));
    buf_deinit(&b);
    if (i >= rest->n)
        return false;
    *rest = str_sub(*rest, i + 1, rest->n);
    return true;
}

static bool next_pair(struct arena *a, str *rest, struct pair *out)
{
    size_t n = 0;
    *rest = str_trim(*rest);
    while (n < rest->n && rest->p[n] != '=' && !is_blank(rest->p[n]) && rest->p[n] != '"')
        n++;
    out->key = str_sub(*rest, 0, n);
    if (n == 0 || (n < rest->n && rest->p[n] == '"'))
        return false;
    if (n == rest->n || rest->p[n] != '=') { // a key alone has an empty value, which all contain
        out->value = (str){0};
        *rest = str_sub(*rest, n, rest->n);
        return true;
    }
    *rest = str_sub(*rest, n + 1, rest->n);
    if (rest->n > 0 && rest->p[0] == '"')
        return take_quoted(a, rest, &out->value);
    for (n = 0; n < rest->n && !is_blank(rest->p[n]); n++)
        continue;
    out->value = str_sub(*rest, 0, n);
    *rest = str_sub(*rest, n, rest->n);
    return true;
}

/* Digits with one point between them: what TraceQL reads as the same number. */
static bool is_decimal(str s)
{
    size_t points = 0;
    size_t from = s.n > 0 && s.p[0] == '-';
    for (size_t i = from; i < s.n; i++) {
        points += s.p[i] == '.';
        if (s.p[i] != '.' && (s.p[i] < '0' || s.p[i] > '9'))
            return false;
    }
    return points == 1 && s.n > from + 2 && s.p[from] != '.' && s.p[s.n - 1] != '.';
}

/* =~ ".*value.*", the value literally. */
static void add_contains(struct buf *b, str value)
{
    struct buf re;
    buf_init(&re, value.n * 2 + 16);
    buf_add(&re, STR(".*"));
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] != 0 && strchr("\\.+*?()|[]{}^$", value.p[i]))
            buf_add_char(&re, '\\');
        buf_add_char(&re, value.p[i]);
    }
    buf_add(&re, STR(".*"));
    buf_add(b, STR(" =~ "));
    print_quoted(b, buf_str(&re));
    buf_deinit(&re);
}

static void add_attribute(struct buf *b, const char *scope, str key)
{
    buf_fmt(b, "%s.\"", scope);
    for (size_t i = 0; i < key.n; i++) {
        if (key.p[i] == '"' || key.p[i] == '\\')
            buf_add_char(b, '\\');
        buf_add_char(b, key.p[i]);
    }
    buf_add_char(b, '"');
}

static void add_plain(struct buf *b, const struct pair *p)
{
    static const char *const scopes[] = {"span", "resource"};
    int64_t number;
    bool is_literal = num_parse_i64(p->value, &number) || is_decimal(p->value) ||
                      str_is(p->value, "true") || str_is(p->value, "false");
    for (size_t i = 0; i < COUNTOF(scopes); i++) {
        if (i > 0)
            buf_add(b, STR(" || "));
        add_attribute(b, scopes[i], p->key);
        add_contains(b, p->value);
        if (!is_literal)
            continue;
        buf_add(b, STR(" || "));
        add_attribute(b, scopes[i], p->key);
        buf_add(b, STR(" = "));
        buf_add(b, p->value);
    }
}

static bool add_pair(struct buf *b, const struct pair *p, struct err *err)
{
    static const struct {
        const char *key, *intrinsic;
    } names[] = {
        {"name", "name"}, {"root.name", "rootName"}, {"root.service.name", "rootServiceName"}};
    for (size_t i = 0; i < COUNTOF(names); i++) {
        if (!str_eq(p->key, str_c(names[i].key)))
            continue;
        buf_add(b, str_c(names[i].intrinsic));
        add_contains(b, p->value);
        return true;
    }
    bool is_error = str_is(p->key, "error") && str_is(p->value, "true");
    if (str_is(p->key, "status.code") || is_error) {
        str status = is_error ? STR("error") : p->value;
        if (!str_is(status, "error") && !str_is(status, "ok") && !str_is(status, "unset"))
            return err_set(err, ERR_INVALID,
                           "invalid tags: status.code is error, ok or unset, not \"" STR_FMT "\"",
                           STR_ARG(status));
        buf_fmt(b, "status = " STR_FMT, STR_ARG(status));
        return true;
    }
    add_plain(b, p);
    return true;
}

static bool duration_param(const struct api_call *c, const char *name, int64_t *out,
                           struct err *err)
{
    str text;
    struct err inner = ERR_OK;
    *out = 0;
    if (!api_param(c, str_c(name), &text))
        return true;
    if (!dur_parse_go(text, out, &inner) || *out <= 0)
        return err_set(err, ERR_INVALID, "invalid %s: \"" STR_FMT "\" is not a duration", name,
                       STR_ARG(text));
    return true;
}

static bool add_durations(const struct api_call *c, struct buf *b, struct err *err)
{
    int64_t min, max;
    if (!duration_param(c, "minDuration", &min, err) ||
        !duration_param(c, "maxDuration", &max, err))
        return false;
    if (min > 0 && max > 0 && max < min)
        return err_set(err, ERR_INVALID, "invalid maxDuration: must be greater than minDuration");
    if (min > 0)
        buf_fmt(b, "%s{ traceDuration >= %lldns }", b->n > 0 ? " && " : "", (long long)min);
    if (max > 0)
        buf_fmt(b, "%s{ traceDuration <= %lldns }", b->n > 0 ? " && " : "", (long long)max);
    return true;
}

static bool add_condition(struct buf *b, const struct pair *p, struct err *err)
{
    if (!utf8_valid(p->key) || !utf8_valid(p->value))
        return err_set(err, ERR_INVALID, "invalid tags: not UTF-8");
    buf_add(b, b->n > 0 ? STR(" && { ") : STR("{ "));
    bool ok = add_pair(b, p, err);
    buf_add(b, STR(" }"));
    return ok;
}

static bool is_reserved(str name)
{
    static const char *const names[] = {"q",     "tags", "minDuration", "maxDuration", "limit",
                                        "start", "end",  "since",       "spss"};
    for (size_t i = 0; i < COUNTOF(names); i++)
        if (str_eq(name, str_c(names[i])))
            return true;
    return false;
}

/* /api/search?service.name=x&limit=5 */
static bool add_params(const struct api_call *c, struct buf *b, struct err *err)
{
    str times;
    if (api_param(c, STR("start"), &times) || api_param(c, STR("end"), &times))
        return true;
    for (size_t i = 0; i < c->n_params; i++) {
        struct pair p = {c->params[i].name, c->params[i].value};
        if (p.key.n > 0 && p.value.n > 0 && !is_reserved(p.key) && !add_condition(b, &p, err))
            return false;
    }
    return true;
}

bool tempo_legacy_query(struct api_call *c, str tags, str *out, struct err *err)
{
    struct buf b;
    buf_init(&b, MIB);
    bool ok = tags.n > 0 || add_params(c, &b, err);
    for (str rest = str_trim(tags); ok && rest.n > 0; rest = str_trim(rest)) {
        struct pair p;
        if (!next_pair(&c->q.arena, &rest, &p)) {
            ok = bad_tags(tags, err);
            break;
        }
        ok = add_condition(&b, &p, err);
    }
    ok = ok && add_durations(c, &b, err);
    if (ok && b.over)
        ok = err_set(err, ERR_LIMIT, "invalid tags: longer than the server takes");
    if (ok)
        *out = b.n > 0 ? arena_dup(&c->q.arena, buf_str(&b)) : STR("{}");
    buf_deinit(&b);
    return ok;
}
