// fuzz_config.c - a configuration that is accepted prints as YAML that is accepted and prints the
// same again.
//
// links: trivet_config
#include "server/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct config first, second;
    struct err err = ERR_OK;
    config_default(&first);
    if (config_yaml(&first, STR("fuzz"), str_of((const char *)data, n), &err)) {
        struct buf a, b;
        buf_init(&a, 16 * MIB);
        buf_init(&b, 16 * MIB);
        config_default(&second);
        config_print(&first, true, &a);
        bool ok = config_yaml(&second, STR("again"), buf_str(&a), &err);
        if (!ok)
            fprintf(stderr, "%s\n", err.text);
        ASSERT(ok);
        config_print(&second, true, &b);
        ASSERT(a.over || str_eq(buf_str(&a), buf_str(&b)));
        buf_deinit(&a);
        buf_deinit(&b);
        config_deinit(&second);
    } else {
        ASSERT(err.code != ERR_NONE && err.text[0] != 0);
    }
    config_deinit(&first);
    return 0;
}
