/* signals.c - binds the engine to its three signals: the table behind store_open and store_check.
 * A file of its own, so that tests of the generic engine link without any signal. */
#include "storage/engine/store_internal.h"

static const struct signal_ops *const signals[SIGNAL_COUNT] = {
    [SIGNAL_METRICS] = &metrics_ops,
    [SIGNAL_LOGS] = &logs_ops,
    [SIGNAL_TRACES] = &traces_ops,
};

bool store_open(const struct store_options *o, struct store **out, struct err *err)
{
    return store_open_with(o, signals, out, err);
}

bool store_check(struct fs *fs, str dir, void (*say)(void *ctx, const char *line), void *ctx,
                 uint64_t *faults, struct err *err)
{
    return store_check_with(fs, dir, signals, say, ctx, faults, err);
}

uint64_t store_series_find(struct store *s, struct store_tenant *t, struct hash128 raw)
{
    return s->ops[SIGNAL_METRICS] ? head_metrics_find(t->head[SIGNAL_METRICS], raw) : 0;
}
