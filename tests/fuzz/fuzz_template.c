/* fuzz_template.c - any template is refused, or runs within its bounds or fails with a reason.
 * links: trivet_lang */
#include <stdlib.h>

#include "query/lang/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool get(void *ctx, str name, str *value)
{
    *value = *(str *)ctx;
    return name.n > 1;
}

static struct labels all(void *ctx, struct arena *a)
{
    struct label *v = arena_new(a, struct label);
    *v = (struct label){STR("x"), *(str *)ctx};
    return (struct labels){v, 1};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str text = {(const char *)data, size};
    struct template_env env = {.ctx = &text, .get = get, .all = all, .line = text, .t_ns = 1};
    struct arena a, scratch;
    struct buf out;
    struct template *t;
    struct err err = ERR_OK;
    arena_init(&a, 64 * MIB, NULL);
    arena_init(&scratch, 64 * MIB, NULL);
    buf_init(&out, 64 * KIB);
    if (template_parse(&a, text, "line", &t, &err)) {
        if (!template_run(t, &env, &scratch, &out, &err) && err.text[0] == '\0')
            abort();
        template_close(t);
    }
    buf_deinit(&out);
    arena_deinit(&scratch);
    arena_deinit(&a);
    return 0;
}
