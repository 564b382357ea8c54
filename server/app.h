/* app.h - a whole server in one object: wiring, order of start and stop. The process has one, a
 * test may have several.
 *
 * Threads: the caller's thread starts and stops; the loop, the lanes and the store's opener run on
 * threads of the app's own. Functions here may be called from any thread but the loop, one at a
 * time. */
#pragma once

#include "server/config.h"

struct app; // opaque

struct app_options {
    struct clock *clock; // NULL: the real one
    struct fs *fs;       // NULL: the real one
    /* The store could not be opened, or the loop died: the server will not become ready. Called
     * from a thread of the app's; the owner should call app_stop from its own. May be NULL. */
    void (*failed)(void *ctx);
    void *ctx;
};

/* Takes over *config (deinit with app_stop), binds the ports, starts the threads and opens the
 * store behind its back: requests are answered from now on, with 503 until the store is open. On
 * failure *config is still the caller's. */
MUST_USE bool app_start(struct config *config, const struct app_options *o, struct app **out,
                        struct err *err);
/* Waits until the store is open (true) or could not be opened. */
MUST_USE bool app_wait_ready(struct app *app, struct err *err);
/* The real port of the i-th configured listener; 0 past the end. */
uint16_t app_port(const struct app *app, size_t i);
/* Moves what is in memory into segments now, in the calling thread; waits for nothing else. After
 * app_wait_ready. */
MUST_USE bool app_seal(struct app *app, struct err *err);
/* Writes the metrics made of spans now. With a clock of its own (app_options) a server does that
 * only here and when it stops; otherwise it does it by itself, and this must not be called. */
void app_derive(struct app *app);
/* Changes what can change while running (waiting for the store to be open when that is needed),
 * logs what cannot. Takes over what `config` holds. */
void app_reload(struct app *app, struct config *config);
/* Stops accepting, lets requests finish for at most 10 s, cancels the rest, closes the store,
 * frees. False: the store had never opened (err says why). NULL is fine. */
bool app_stop(struct app *app, struct err *err);
/* The store's part of a configuration, also for those who open one without a server; no budget. */
void app_store_options(const struct config *c, struct store_options *out);
