/* cmd_config.c - `trivet config --print` (the effective configuration as commented YAML) and
 * `trivet config --check FILE`. */
#include <stdio.h>

#include "server/cmd.h"
#include "server/config.h"

static int check_file(str path)
{
    struct config config;
    struct err err = ERR_OK;
    struct buf text;
    config_default(&config);
    buf_init(&text, 1 * MIB);
    bool ok = fs_read_all(fs_posix(), path, &text, &err) &&
              config_yaml(&config, path, buf_str(&text), &err);
    if (ok)
        printf("ok: " STR_FMT "\n", STR_ARG(path));
    else
        fprintf(stderr, "%s\n", err.text);
    buf_deinit(&text);
    config_deinit(&config);
    return ok ? 0 : 1;
}

int cmd_config(int n_args, char *const *args, char *const *env)
{
    str verb = n_args > 0 ? str_c(args[0]) : STR("");
    if (str_is(verb, "--check") && n_args == 2)
        return check_file(str_c(args[1]));
    if (!str_is(verb, "--print")) {
        fputs("usage: trivet config --print [flags of serve] | --check FILE\n", stderr);
        return 2;
    }
    struct config config;
    struct err err = ERR_OK;
    if (!config_load(n_args - 1, args + 1, env, &config, &err)) {
        fprintf(stderr, "trivet config: %s\n", err.text);
        return 2;
    }
    struct buf out;
    buf_init(&out, 1 * MIB);
    config_print(&config, true, &out);
    fwrite(out.p, 1, out.n, stdout);
    buf_deinit(&out);
    config_deinit(&config);
    return fflush(stdout) == 0 ? 0 : 1;
}
