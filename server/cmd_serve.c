/* cmd_serve.c - `trivet serve`: run until SIGTERM or SIGINT; SIGHUP reads the configuration again.
 *
 * The main thread does nothing but wait for signals; the server has its own threads (app.h). */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "server/app.h"
#include "server/cmd.h"

/* Keeps glibc's allocator within bounds: few arenas, as each keeps its own free memory; blocks of a
 * 64th of the ceiling are mapped by themselves, and as much free memory at an arena's end goes back
 * to the system at once. server/README.md has the measurements; server/memory.c trims the rest. */
static void tune_malloc(uint64_t memory)
{
    int part = (int)(MIN(memory, 256 * MIB) / 64);
    mallopt(M_ARENA_MAX, memory < 128 * MIB ? 2 : 4);
    mallopt(M_MMAP_THRESHOLD, part);
    mallopt(M_TRIM_THRESHOLD, part);
}

static void on_failed(void *ctx)
{
    (void)ctx;
    kill(getpid(), SIGTERM); // wakes the main thread, which then asks app_stop for the reason
}

static void reload(struct app *app, int n_args, char *const *args, char *const *env)
{
    struct config config;
    struct err err = ERR_OK;
    if (!config_load(n_args, args, env, &config, &err)) {
        char text[ERR_TEXT_MAX + 64];
        LOG_ERROR("reload_failed", "err=%s", log_q(text, sizeof text, str_c(err.text)));
        return;
    }
    app_reload(app, &config);
    config_deinit(&config);
}

int cmd_serve(int n_args, char *const *args, char *const *env)
{
    struct config config;
    struct err err = ERR_OK;
    if (!config_load(n_args, args, env, &config, &err)) {
        fprintf(stderr, "trivet serve: %s\n", err.text);
        return 2;
    }
    tune_malloc(config.memory);
    log_set_level(config.log_level);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL); // before any thread starts: only sigwait sees them
    struct app *app;
    struct app_options options = {.failed = on_failed};
    if (!app_start(&config, &options, &app, &err)) {
        fprintf(stderr, "trivet serve: %s\n", err.text);
        config_deinit(&config);
        return 1;
    }
    int sig = 0;
    while (sigwait(&set, &sig) == 0 && sig == SIGHUP)
        reload(app, n_args, args, env);
    if (!app_stop(app, &err)) {
        fprintf(stderr, "trivet serve: %s\n", err.text);
        return 1;
    }
    return 0;
}
