/* classes.h - the rules of retention in force: ages and classes; and which class a record belongs
 * to.
 *
 * A struct retention is immutable and refcounted: a reload swaps the store's, a seal or a round of
 * the keeper goes on with the one that it began with. Matchers are run by the holder of the sealing
 * baton only. A regex that exceeds its step limit does not match: a seal must never fail for it. */
#pragma once

#include <stdatomic.h>

#include "storage/engine/signal.h"
#include "storage/model/limits.h"

/* What is kept for ever is weighed against data with a lifetime as if its own were this, when space
 * is short. */
#define LIFETIME_NOMINAL_NS (INT64_C(10) * 365 * 86400 * NS_PER_S)

struct retention {
    atomic_uint refs;
    struct arena arena;
    int64_t age_ns[SIGNAL_COUNT];    // of the default class and of classes that are not configured
    struct retention_class *classes; // as configured, all signals
    size_t n_classes;
    struct seal_class *of[SIGNAL_COUNT]; // the same by signal, matchers shared with `classes`
    size_t n_of[SIGNAL_COUNT];
};

/* [a-z][a-z0-9_-]{0,31}: never the name of a day. */
bool class_name_ok(str name);

/* Copies ages and classes of the options. */
MUST_USE bool retention_new(const struct store_options *o, struct retention **out, struct err *err);
void retention_unref(struct retention *r); // NULL is fine
/* Disk budgets of the options into the store's. */
void retention_set_room(struct store *s, const struct store_options *o);
/* The store's rules now, one reference. */
struct retention *retention_get(struct store *s);
/* NULL: the default class, or one that is not configured. */
const struct retention_class *retention_find(const struct retention *r, enum signal signal,
                                             str name);
/* 0 = for ever. */
int64_t retention_age(const struct retention *r, enum signal signal, str class_name);

/* ---- what belongs where; results are seal_sink.class_no: 0 default, else 1 + index ---- */

size_t class_of_labels(const struct seal_class *v, size_t n, struct labels l);

/* Logs: what the labels of a stream leave to be decided by metadata of its lines. */
struct class_stream {
    struct {
        size_t class_no;
        const struct matcher *rest[LIMIT_CLASS_MATCHERS]; // on names that the stream lacks
        size_t n_rest;                                    // 0: every line that gets here belongs
    } step[LIMIT_RETENTION_CLASSES];                      // in order; none left: the default
    size_t n;
};
/* The stream's labels decide: names that it has are never looked for in metadata. */
void class_stream_init(struct class_stream *c, const struct seal_class *v, size_t n,
                       struct labels stream);
/* Do all its lines belong to one class? */
bool class_stream_is_plain(const struct class_stream *c, size_t *class_no);
size_t class_of_line(const struct class_stream *c, struct labels meta);
