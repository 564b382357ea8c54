/* main.c - the verbs and the help. */
#include <stdio.h>

#include "server/cmd.h"
#include "server/config.h"

extern char **environ;

static const struct {
    const char *name;
    int (*run)(int n_args, char *const *args, char *const *env);
} verbs[] = {
    {"serve", cmd_serve},   {"check", cmd_check},     {"backup", cmd_backup},
    {"config", cmd_config}, {"version", cmd_version}, {"import", cmd_import},
};

static int usage(FILE *to, int code)
{
    struct buf flags;
    buf_init(&flags, 256 * KIB);
    config_help(&flags);
    fputs("trivet keeps metrics, logs and traces, and answers as Prometheus, Loki and Tempo.\n\n"
          "  trivet serve   [flags]                run the server\n"
          "  trivet check   --data-dir DIR         verify every checksum, offline\n"
          "  trivet backup  --to DIR               copy a data directory, running or not\n"
          "  trivet import  openmetrics|logs FILE...  what was written before (trivet import "
          "--help)\n"
          "  trivet config  --print | --check FILE the effective configuration, or a check\n"
          "  trivet version\n\n"
          "Flags (each is also a key of the YAML file and a variable TRIVET_...):\n",
          to);
    fwrite(flags.p, 1, flags.n, to);
    buf_deinit(&flags);
    return code;
}

int main(int argc, char **argv)
{
    str verb = argc > 1 ? str_c(argv[1]) : STR("");
    if (str_is(verb, "--help") || str_is(verb, "-h") || str_is(verb, "help"))
        return usage(stdout, 0);
    if (str_is(verb, "--version"))
        verb = STR("version");
    for (int i = 2; i < argc && !str_is(verb, "import"); i++) // which has a help of its own
        if (str_is(str_c(argv[i]), "--help"))
            return usage(stdout, 0);
    for (size_t i = 0; i < COUNTOF(verbs); i++)
        if (str_eq(verb, str_c(verbs[i].name)))
            return verbs[i].run(argc - 2, argv + 2, environ);
    return usage(stderr, 2);
}
