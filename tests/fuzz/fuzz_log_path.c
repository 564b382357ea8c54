// links: trivet_codec
/* fuzz_log_path.c - lines whose shape came before have the number, the values and the places of one
 * that is taken apart: each line of the input comes three times, so that its path is learnt. */
#include <stdlib.h>

#include "storage/codec/log_path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same_bytes(const void *a, const void *b, size_t n)
{
    return n == 0 || memcmp(a, b, n) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct log_shapes plain, set;
    struct log_line l = {0}, m = {0};
    struct log_paths paths = {0};
    str line;
    log_shapes_init(&plain, NULL);
    log_shapes_init(&set, NULL);
    for (size_t i = 0; i < 3; i++) {
        for (str rest = {(const char *)data, size}; str_split(&rest, '\n', &line);) {
            log_line_split(&l, line);
            uint32_t id = log_shapes_add(&plain, (str){l.text, l.n_text}, l.vars.v, l.vars.n);
            if (log_paths_split(&paths, &set, &m, line) != id || plain.v.n != set.v.n ||
                l.n_values != m.n_values || !same_bytes(l.values, m.values, l.n_values) ||
                l.loose_hex != m.loose_hex || l.hexs.n != m.hexs.n ||
                !same_bytes(l.hexs.v, m.hexs.v, l.hexs.n * sizeof l.hexs.v[0]))
                abort();
        }
    }
    log_shapes_deinit(&plain);
    log_shapes_deinit(&set);
    log_line_deinit(&l);
    log_line_deinit(&m);
    log_paths_deinit(&paths);
    return 0;
}
