/* life.h - the random life of a store and the model that it is compared with.
 *
 * The model knows each batch: acknowledged and durable (must be there once), acknowledged (interval
 * mode: may be lost by a power cut, but whole or not at all), unknown (refused or cut off: once or
 * not at all). Rows that are older than the retention, and rows that the store has told to be
 * damaged, may be gone. Nothing that is there may be there twice, elsewhere or at another time. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "storage/base/log.h"
#include "storage/base/prng.h"
#include "tests/sim/fs_sim.h"
#include "tests/sim/real_signals.h"
#include "tests/sim/tiny_signal.h"

#define SIM_T0        INT64_C(1795132800000000000)
#define SIM_TENANTS   3
#define SIM_MAX_ROWS  12
#define SIM_BATCHES   4096
#define SIM_RULES     8 // of a set
#define SIM_DELETIONS 24

enum batch_fate { BATCH_NONE, BATCH_UNKNOWN, BATCH_ACKED, BATCH_DURABLE };

struct batch_model { // its rows have ids b * 16 + row, one a second
    enum batch_fate fate;
    enum signal signal;
    int tenant;
    size_t n;
    int64_t t_ns;
    int64_t acked_mono_ns;
    unsigned excused; // rows that may be gone, as bits
    /* Retention classes that its even and odd rows may have been sealed into, as bits. */
    unsigned classes[2];
};

/* MAYBE, MAYBE_CANCELED: it failed, and the next start tells. Until then all is as before. */
enum wish_state { DELETION_NONE, DELETION_ACTIVE, DELETION_MAYBE, DELETION_MAYBE_CANCELED };

struct deletion_model {
    enum wish_state state;
    enum signal signal;
    int tenant, group; // -1: all
    int64_t t0_ns, t1_ns, due_ns;
    bool is_even; // even ids only
    uint32_t id;
    uint16_t rows[SIM_BATCHES]; // that it hides, as bits, unless they are sent again
    uint16_t seen[SIM_BATCHES]; // those of them that were there for sure
};

struct driver {
    const char *name;
    bool (*open)(const struct store_options *o, struct store **out, struct err *err);
    bool (*put)(struct store *s, struct store_tenant *t, enum signal sig, uint64_t first, size_t n,
                int64_t t_ns, struct err *err);
    bool (*read)(struct snapshot *snap, enum signal sig, const struct sim_query *q,
                 struct tiny_recs *out, struct err *err);
    bool (*matches)(enum signal sig, const struct sim_query *q, int64_t t_ns, uint64_t id);
    const struct signal_ops *const *ops; // NULL: the real ones
    bool ignores_twins;                  // the same record again is the same record
    size_t head_bytes;
    bool deletes;
};

struct life {
    const struct driver *d;
    uint64_t seed;
    struct prng r;
    struct fs_sim *sim;
    struct clock clock;
    struct store_options o;
    struct store *s;
    struct batch_model batches[SIM_BATCHES];
    size_t n_batches;
    unsigned char seen[SIM_BATCHES * 16]; // of the last full look
    bool faulty;    // an injected error is pending: failures are to be expected
    bool rots;      // this life has bit flips
    uint64_t flips; // of stored bytes and names so far
    uint64_t told;  // damage that the store has told of, without the open one's
    uint64_t expired;
    int64_t newest_now_ns; // the clock's highest, for retention by age
    int64_t slow_ns;       // what a sync takes
    bool has_rules;        // this life has retention classes
    size_t rule_set;       // those in force
    struct matcher matchers[SIM_RULES];
    struct retention_class classes[SIM_RULES];
    unsigned char copied[SIM_BATCHES * 16]; // what the copy had at the last look
    struct deletion_model deletions[SIM_DELETIONS];
    size_t n_deletions;
    bool rotten_list; // one of the two files of a list of deletions
    char trace[64];
    uint64_t writes, queries, looks, rule_changes, copies, broken_copies;
    uint64_t deletes, cancels;
};

#define CHECK(life, cond, ...)                                                                   \
    do {                                                                                         \
        if (!(cond)) {                                                                           \
            fprintf(stderr, "seed %" PRIu64 " (%s): %s:%d: %s: ", (life)->seed, (life)->d->name, \
                    __FILE__, __LINE__, #cond);                                                  \
            fprintf(stderr, __VA_ARGS__);                                                        \
            fprintf(stderr, "\n");                                                               \
            abort();                                                                             \
        }                                                                                        \
    } while (0)

struct store_tenant *life_tenant(struct life *l, int i);
/* Closes and opens; keeps what the store told of damage. */
void life_close(struct life *l);
void life_open(struct life *l);
/* Injected errors are pending from now on, or no more. */
void life_set_faulty(struct life *l);
void life_clear_faults(struct life *l);
/* The plug is pulled, perhaps again while the store recovers. */
void life_power_cut(struct life *l);

/* ---- model.c ---- */

/* Reads everything and compares; afterwards `seen` says what is there. */
void model_verify(struct life *l, bool after_cut);
/* A few queries with matchers and ranges, compared with `seen`: call right after model_verify. */
void model_queries(struct life *l);
/* A snapshot that is held while the store goes on still shows what it showed. */
void model_hold(struct life *l, void (*go_on)(struct life *l));
/* Rows that the rules of now may have removed are excused: before the rules change. */
void model_excuse(struct life *l);
/* After an age: what every class that it may be in keeps for less time is gone. */
void model_verify_gone(struct life *l);
/* Looks at the open store, which is a copy: a whole one of now, or (else) the one before or that of
 * now. */
void model_verify_copy(struct life *l, bool is_whole);
/* Everything acknowledged is durable from now on, whatever syncs failed before. */
void model_settled(struct life *l);
/* An acknowledgement came: what was acknowledged an interval ago is durable. */
void model_acked(struct life *l, size_t b);

/* ---- rules.c: retention classes of the real signals ---- */

#define RULE_SETS 4                         // 0: no classes
void rules_use(struct life *l, size_t set); // into the options
void rules_deinit(struct life *l);
/* Notes the class that batch b would be sealed into now. */
void rules_note(struct life *l, size_t b);
/* What the rules in force say of a class: ns, 0 = for ever. */
int64_t rules_age(const struct life *l, enum signal signal, unsigned class_no);
bool rules_has_room(const struct life *l, enum signal signal, unsigned class_no);
#define RULE_CLASSES 4 // 0: the default class
/* The rules change while the store runs. */
void step_rules(struct life *l);

/* ---- deletes.c ---- */

/* Rows of batch b that must not be seen, as bits. */
unsigned deletes_hidden(const struct life *l, size_t b);
/* The batch was sent again: it is there (durably), or may be. */
void deletes_resent(struct life *l, size_t b, bool is_durable);
/* Rows of it are no more hidden by it. */
void deletes_show(struct life *l, struct deletion_model *d);
/* The store has been opened: what became of those that failed? */
void deletes_opened(struct life *l);
void step_delete(struct life *l);
void step_cancel(struct life *l);

/* ---- copy.c ---- */

/* A backup of the running store, perhaps broken off; the copy is opened and looked at. */
void step_copy(struct life *l);
