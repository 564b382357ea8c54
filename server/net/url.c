/* url.c - request targets, query strings and forms, with the manners of Go's net/url, which
 * the clients' usual servers use: '+' is a blank in queries, ';' is no separator but an error. */
#include "server/net/url.h"

#include "storage/base/enc.h"
#include "storage/model/limits.h"

bool url_split(str target, str *path, str *query)
{
    if (target.n == 0)
        return false;
    if (target.p[0] != '/' && !str_is(target, "*")) {
        size_t scheme = str_find(target, STR("://"));
        if (scheme == SIZE_MAX || scheme == 0 || str_find_char(target, '/') < scheme)
            return false;
        str rest = str_sub(target, scheme + 3, target.n);
        size_t authority = 0;
        while (authority < rest.n && rest.p[authority] != '/' && rest.p[authority] != '?')
            authority++;
        target = str_sub(rest, authority, rest.n);
    }
    size_t fragment = str_find_char(target, '#');
    if (fragment != SIZE_MAX)
        target = str_sub(target, 0, fragment);
    size_t mark = str_find_char(target, '?');
    *path = mark == SIZE_MAX ? target : str_sub(target, 0, mark);
    *query = mark == SIZE_MAX ? STR("") : str_sub(target, mark + 1, target.n);
    if (path->n == 0)
        *path = STR("/");
    return true;
}

bool url_pairs(struct arena *a, str text, http_params_vec *out, struct err *err)
{
    str rest = text, pair;
    while (rest.n > 0 && str_split(&rest, '&', &pair)) {
        if (pair.n == 0)
            continue;
        if (str_find_char(pair, ';') != SIZE_MAX)
            return err_set(err, ERR_INVALID, "invalid semicolon separator in query");
        if (out->n >= LIMIT_PARAMS)
            return err_set(err, ERR_LIMIT, "more than %d parameters", LIMIT_PARAMS);
        size_t eq = str_find_char(pair, '=');
        str name = eq == SIZE_MAX ? pair : str_sub(pair, 0, eq);
        str value = eq == SIZE_MAX ? STR("") : str_sub(pair, eq + 1, pair.n);
        struct http_param param;
        if (!percent_decode(a, name, true, &param.name) ||
            !percent_decode(a, value, true, &param.value))
            return err_set(err, ERR_INVALID, "invalid URL escape in \"" STR_FMT "\"",
                           STR_ARG(str_sub(pair, 0, 64)));
        vec_push(out, a, param);
    }
    return true;
}
