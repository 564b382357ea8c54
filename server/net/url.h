/* url.h - request targets, query strings and forms. Pure functions over bytes; any thread. */
#pragma once

#include "server/net/http.h"
#include "storage/base/vec.h"

typedef VEC(struct http_param) http_params_vec;

/* Splits a request target into raw path and raw query (without '?'). Absolute form
 * (http://host/path) loses scheme and authority, a fragment is cut; an empty path becomes "/".
 * False for what is neither a path, an absolute URL nor "*". */
MUST_USE bool url_split(str target, str *path, str *query);
/* Appends the decoded pairs of "a=1&b=%20x+y" to out. A pair without '=' has an empty value, empty
 * pairs are skipped. ERR_INVALID: a bad escape or ';'; ERR_LIMIT: more than LIMIT_PARAMS. */
MUST_USE bool url_pairs(struct arena *a, str text, http_params_vec *out, struct err *err);
