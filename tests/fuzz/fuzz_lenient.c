/* fuzz_lenient.c - JSON that is nearly right: fields are slices of the input, and come to an end.
 * links: trivet_logql */
#include <stdlib.h>

#include "query/logql/lenient.h"
#include "storage/model/limits.h"

static void walk(struct arena *a, str object, unsigned depth)
{
    struct lenient o;
    str key, value;
    enum lenient_type type;
    size_t before = 0;
    lenient_init(&o, object);
    while (lenient_next(&o, a, &key, &value, &type) == LENIENT_FIELD) {
        if (o.pos <= before || o.pos > object.n)
            abort();
        if (value.n > 0 && (value.p < object.p || value.p + value.n > object.p + object.n))
            abort();
        if (lenient_text(a, value).n > value.n)
            abort();
        str text;
        (void)!lenient_unescape_logfmt(a, value, &text);
        before = o.pos;
        if (type == LENIENT_OBJECT && depth < LIMIT_JSON_DEPTH)
            walk(a, value, depth + 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    arena_init(&a, 256 * MIB, NULL);
    walk(&a, str_of((const char *)data, size), 0);
    arena_deinit(&a);
    return 0;
}
