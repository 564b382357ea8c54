/* cmd_backup.c - `trivet backup --to DIR [--data-dir DIR]`: a consistent copy, also while a server
 * runs on the directory. Exit 0: done, 1: failed (the copy is what it was before), 2: wrong usage.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/cmd.h"
#include "server/config.h"

#define ARGS_MAX 64

static void say(void *ctx, const char *line)
{
    (void)ctx;
    puts(line);
    (void)fflush(stdout);
}

/* Absolute and without links, also when its last parts do not exist yet. */
static bool resolve(str path, char out[PATH_MAX], struct err *err)
{
    char given[PATH_MAX], head[PATH_MAX];
    if (!str_to_c(path, given, sizeof(given)))
        return err_set(err, ERR_INVALID, "path too long");
    size_t n = path.n;
    while (n > 1 && given[n - 1] == '/')
        n--;
    for (size_t cut = n;; cut--) {
        bool is_border = cut == n || cut == 0 || given[cut] == '/';
        if (!is_border)
            continue;
        str above = cut == 0 ? (given[0] == '/' ? STR("/") : STR(".")) : str_of(given, cut);
        if (!str_to_c(above, head, sizeof(head)))
            return err_set(err, ERR_INVALID, "path too long");
        if (realpath(head, out)) {
            str rest = str_sub(str_of(given, n), cut, n);
            size_t have = strlen(out);
            if (have == 1 && rest.n > 0 && rest.p[0] == '/')
                have = 0; // the root
            const char *slash = rest.n > 0 && rest.p[0] != '/' ? "/" : "";
            int len = snprintf(out + have, PATH_MAX - have, "%s" STR_FMT, slash, STR_ARG(rest));
            return (len >= 0 && (size_t)len < PATH_MAX - have) ||
                   err_set(err, ERR_INVALID, "path too long");
        }
        if (cut == 0)
            return err_set(err, ERR_IO, "cannot resolve " STR_FMT, STR_ARG(path));
    }
}

/* Takes --to out; the rest is the configuration's. */
static bool take_to(int n_args, char *const *args, char *rest[ARGS_MAX], int *n_rest, str *to)
{
    *to = (str){0};
    *n_rest = 0;
    if (n_args > ARGS_MAX)
        return false;
    for (int i = 0; i < n_args; i++) {
        str arg = str_c(args[i]);
        if (str_is(arg, "--to") && i + 1 < n_args)
            *to = str_c(args[++i]);
        else if (str_starts(arg, STR("--to=")))
            *to = str_sub(arg, 5, arg.n);
        else
            rest[(*n_rest)++] = args[i];
    }
    return to->n > 0;
}

static bool run(const struct config *config, str to, struct store_backup_stats *st, struct err *err)
{
    char from_path[PATH_MAX], to_path[PATH_MAX];
    if (!resolve(config->data_dir, from_path, err) || !resolve(to, to_path, err))
        return false;
    struct store_backup_options o = {.fs = fs_posix(),
                                     .from = str_c(from_path),
                                     .to = str_c(to_path),
                                     .name = str_c(from_path),
                                     .say = say};
    return store_backup(&o, st, err);
}

int cmd_backup(int n_args, char *const *args, char *const *env)
{
    struct config config;
    struct store_backup_stats st;
    struct err err = ERR_OK;
    char *rest[ARGS_MAX];
    int n_rest;
    str to;
    if (!take_to(n_args, args, rest, &n_rest, &to)) {
        fputs("trivet backup: needs --to DIR\n", stderr);
        return 2;
    }
    if (!config_load(n_rest, rest, env, &config, &err)) {
        fprintf(stderr, "trivet backup: %s\n", err.text);
        return 2;
    }
    bool ok = run(&config, to, &st, &err);
    if (ok)
        printf("ok: %llu files in " STR_FMT ", %llu copied (%llu bytes), %llu removed, %u rounds\n",
               (unsigned long long)st.files, STR_ARG(to), (unsigned long long)st.copied_files,
               (unsigned long long)st.copied_bytes, (unsigned long long)st.removed_files,
               st.rounds);
    else
        fprintf(stderr, "trivet backup: %s\n", err.text);
    config_deinit(&config);
    return ok ? 0 : 1;
}
