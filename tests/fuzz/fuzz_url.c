// fuzz_url.c - a target splits into slices of itself; decoded pairs, encoded again, decode to the
// same pairs.
//
// links: trivet_net
#include "server/net/url.h"
#include "storage/base/enc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    str in = str_of((const char *)data, n), path, query;
    if (url_split(in, &path, &query))
        ASSERT(path.n >= 1 && path.n + query.n <= n + 1 && str_find_char(path, '?') == SIZE_MAX &&
               str_find_char(query, '#') == SIZE_MAX);
    struct arena a;
    arena_init(&a, SIZE_MAX, NULL);
    http_params_vec first = {0}, second = {0};
    struct err err = ERR_OK;
    if (url_pairs(&a, in, &first, &err)) {
        struct buf text;
        buf_init(&text, SIZE_MAX / 2);
        for (size_t i = 0; i < first.n; i++) {
            percent_add(&text, first.v[i].name);
            buf_add_char(&text, '=');
            percent_add(&text, first.v[i].value);
            buf_add_char(&text, '&');
        }
        ASSERT(url_pairs(&a, buf_str(&text), &second, &err) && second.n == first.n);
        for (size_t i = 0; i < first.n; i++)
            ASSERT(str_eq(first.v[i].name, second.v[i].name) &&
                   str_eq(first.v[i].value, second.v[i].value));
        buf_deinit(&text);
    }
    arena_deinit(&a);
    return 0;
}
