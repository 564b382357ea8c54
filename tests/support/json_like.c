/* json_like.c - see json_like.h. */
#include "tests/support/json_like.h"

#include <jansson.h>
#include <string.h>

#define DEPTH_MAX 200

static bool is_like(const json_t *want, const json_t *got, int depth);

static bool is_like_array(const json_t *want, const json_t *got, int depth)
{
    bool ok = json_is_array(got) && json_array_size(want) == json_array_size(got);
    for (size_t i = 0; ok && i < json_array_size(want); i++)
        ok = is_like(json_array_get(want, i), json_array_get(got, i), depth + 1);
    return ok;
}

static bool is_like_object(json_t *want, const json_t *got, int depth)
{
    bool ok = json_is_object(got), is_open = json_object_get(want, "...") != NULL;
    size_t named = 0;
    const char *key;
    json_t *value;
    json_object_foreach(want, key, value)
    {
        if (strcmp(key, "...") == 0)
            continue;
        const json_t *other = json_object_get(got, key);
        named++;
        ok = ok && other && is_like(value, other, depth + 1);
    }
    return ok && (is_open || named == json_object_size(got));
}

/* NOLINTNEXTLINE(misc-no-recursion): depth is bounded */
static bool is_like(const json_t *want, const json_t *got, int depth)
{
    if (depth > DEPTH_MAX)
        return false;
    if (json_is_string(want)) {
        const char *text = json_string_value(want);
        if (strcmp(text, "<any>") == 0)
            return true;
        if (strcmp(text, "<string>") == 0)
            return json_is_string(got);
        if (strcmp(text, "<number>") == 0)
            return json_is_number(got);
    }
    if (json_is_array(want))
        return is_like_array(want, got, depth);
    if (json_is_object(want))
        return is_like_object((json_t *)(size_t)want, got, depth);
    return json_equal(want, got) == 1;
}

bool json_like(const char *want, size_t want_n, const char *got, size_t got_n)
{
    json_error_t error;
    json_t *x = json_loadb(want, want_n, JSON_REJECT_DUPLICATES, &error);
    json_t *y = json_loadb(got, got_n, JSON_REJECT_DUPLICATES, &error);
    bool ok = x && y && is_like(x, y, 0);
    json_decref(x);
    json_decref(y);
    return ok;
}
