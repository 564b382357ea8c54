/* cmd_check.c - `trivet check --data-dir DIR`: every checksum and invariant, offline. Exit 0: all
 * is well, 1: faults (one line each) or the folder cannot be read. */
#include <stdio.h>

#include "server/cmd.h"
#include "server/config.h"

static void say(void *ctx, const char *line)
{
    (void)ctx;
    puts(line);
}

int cmd_check(int n_args, char *const *args, char *const *env)
{
    struct config config;
    struct err err = ERR_OK;
    if (!config_load(n_args, args, env, &config, &err)) {
        fprintf(stderr, "trivet check: %s\n", err.text);
        return 2;
    }
    uint64_t faults = 0;
    bool ok = store_check(fs_posix(), config.data_dir, say, NULL, &faults, &err);
    if (err.code != ERR_NONE)
        fprintf(stderr, "trivet check: %s\n", err.text);
    if (ok)
        printf("ok: " STR_FMT "\n", STR_ARG(config.data_dir));
    else
        printf("%llu faults in " STR_FMT "\n", (unsigned long long)faults,
               STR_ARG(config.data_dir));
    config_deinit(&config);
    return ok ? 0 : 1;
}
