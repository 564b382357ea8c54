/* retention.c - what is too old or too much goes: whole files.
 *
 * Five reasons: age, bytes per class, bytes per signal, bytes in all, and the reserve that stays
 * free on the disk. Age is that of the file's class, or of its signal when the class is not
 * configured (any more). Where files of different lifetimes compete for room, the one goes first
 * that has lived through the largest part of its own lifetime: a day-old file of a class kept for
 * two days before a week-old one of a class kept for a year; of equal parts the older one. What is
 * kept for ever counts as if it were LIFETIME_NOMINAL_NS. Log files count as bytes, but before
 * segments are sacrificed for them the generation is frozen, because sealed it is a tenth of its
 * size. What is not sealed is never removed: disk.h keeps the room for it. */
#include "storage/base/log.h"
#include "storage/engine/disk.h"
#include "storage/engine/segments.h"
#include "storage/engine/writer.h"

#define LOG_SHARE 4 // logs above a quarter of a budget are frozen first

static void take_out(struct store *s, struct store_tenant *t, struct segment *seg, const char *why)
{
    struct segment_list gone = {0};
    pthread_mutex_lock(&s->mutex);
    bool was_live = live_remove(t, seg);
    if (was_live) {
        vec_push(&gone, NULL, seg);
        removal_add(s, gone, (struct segment_list){0});
        (void)atomic_fetch_add(&s->n.expired[segment_info(seg)->signal], 1);
    }
    pthread_mutex_unlock(&s->mutex);
    if (was_live) // a reader of the log that is stuck must not stop everybody
        LOG_INFO("segment_expired", "tenant=%s file=%s bytes=%llu why=%s", t->name,
                 segment_name(seg), (unsigned long long)segment_file_bytes(seg), why);
}

struct round { // one look at everything, by one set of rules
    struct store *s;
    struct retention *rules;
    int64_t now_ns;
};

struct victim {
    struct store_tenant *tenant;
    struct segment *seg; // one reference
};

/* What may go: settled files of one signal or (-1) of all, of one class or (NULL) of all. */
struct scope_of {
    int signal;
    const str *class_name;
};

/* The part of its lifetime that a file has behind it. */
static double part_lived(const struct round *r, const struct segment *seg)
{
    const struct segment_info *info = segment_info(seg);
    int64_t lifetime = retention_age(r->rules, info->signal, info->class_name);
    int64_t end = segment_file_name(seg)->end_ns;
    double age_ns = (double)r->now_ns - (double)end;
    return age_ns / (double)(lifetime > 0 ? lifetime : LIFETIME_NOMINAL_NS);
}

static bool is_too_old(const struct round *r, const struct segment *seg)
{
    const struct segment_info *info = segment_info(seg);
    int64_t lifetime = retention_age(r->rules, info->signal, info->class_name);
    return lifetime > 0 && segment_file_name(seg)->end_ns <= time_add(r->now_ns, -lifetime);
}

static bool is_in(const struct scope_of *of, const struct segment *seg)
{
    return segment_is_settled(seg) &&
           (!of->class_name || str_eq(segment_info(seg)->class_name, *of->class_name));
}

/* The file that goes first; false: none. */
static bool pick(const struct round *r, const struct scope_of *of, struct victim *out)
{
    struct store *s = r->s;
    struct victim v = {0};
    double most = 0;
    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < s->tenants.n; i++) {
        struct store_tenant *t = s->tenants.v[i];
        for (int k = 0; k < SIGNAL_COUNT; k++) {
            for (size_t j = 0; (of->signal < 0 || k == of->signal) && j < t->live[k].n; j++) {
                struct segment *seg = t->live[k].v[j];
                if (!is_in(of, seg))
                    continue;
                double part = part_lived(r, seg);
                if (v.seg &&
                    (part < most || (part == most && segment_file_name(seg)->end_ns >=
                                                         segment_file_name(v.seg)->end_ns)))
                    continue;
                v = (struct victim){t, seg};
                most = part;
            }
        }
    }
    if (v.seg)
        segment_ref(v.seg);
    pthread_mutex_unlock(&s->mutex);
    *out = v;
    return v.seg != NULL;
}

/* Takes files out until `need` bytes are freed; false: not enough are left. */
static bool free_up(const struct round *r, const struct scope_of *of, uint64_t need,
                    const char *why)
{
    uint64_t freed = 0;
    struct victim v;
    while (freed < need && pick(r, of, &v)) {
        freed += segment_file_bytes(v.seg);
        take_out(r->s, v.tenant, v.seg, why);
        segment_unref(v.seg);
    }
    return freed >= need;
}

/* In one pass: after a long pause, or with new rules, there may be thousands. */
static void by_age(const struct round *r)
{
    struct store *s = r->s;
    VEC(struct victim) old = {0};
    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < s->tenants.n; i++) {
        struct store_tenant *t = s->tenants.v[i];
        for (int k = 0; k < SIGNAL_COUNT; k++) {
            for (size_t j = 0; j < t->live[k].n; j++) {
                struct segment *seg = t->live[k].v[j];
                if (!segment_is_settled(seg) || !is_too_old(r, seg))
                    continue;
                segment_ref(seg);
                vec_push(&old, NULL, (struct victim){t, seg});
            }
        }
    }
    pthread_mutex_unlock(&s->mutex);
    for (size_t i = 0; i < old.n; i++) {
        take_out(s, old.v[i].tenant, old.v[i].seg, "age");
        segment_unref(old.v[i].seg);
    }
    vec_free(&old);
}

static uint64_t class_bytes(struct store *s, const struct retention_class *c)
{
    uint64_t n = 0;
    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < s->tenants.n; i++) {
        const struct segment_list *live = &s->tenants.v[i]->live[c->signal];
        for (size_t j = 0; j < live->n; j++)
            if (str_eq(segment_info(live->v[j])->class_name, c->name))
                n += segment_file_bytes(live->v[j]);
    }
    pthread_mutex_unlock(&s->mutex);
    return n;
}

/* Of its segments only: in the log a class is not told yet. */
static void by_class_bytes(const struct round *r)
{
    for (size_t i = 0; i < r->rules->n_classes; i++) {
        const struct retention_class *c = &r->rules->classes[i];
        struct scope_of of = {.signal = (int)c->signal, .class_name = &c->name};
        uint64_t used = c->max_bytes > 0 ? class_bytes(r->s, c) : 0;
        if (used > c->max_bytes)
            (void)!free_up(r, &of, used - c->max_bytes, "bytes_of_class");
    }
}

/* signal -1 = all. */
static bool by_bytes(const struct round *r, int signal, uint64_t max, const char *why,
                     struct err *err)
{
    struct store *s = r->s;
    struct scope_of of = {.signal = signal};
    if (max == 0)
        return true;
    uint64_t live = 0, logs = 0;
    for (int k = 0; k < SIGNAL_COUNT; k++) {
        live += signal < 0 || k == signal ? atomic_load(&s->live_bytes[k]) : 0;
        logs += s->wal[k] && (signal < 0 || k == signal) ? wal_bytes(s->wal[k]) : 0;
    }
    if (logs > max / LOG_SHARE && !writer_freeze(s->writer, true, err))
        return false;
    uint64_t share = disk_segment_share(s, signal, max);
    if (live > share)
        (void)!free_up(r, &of, live - share, why);
    return true;
}

/* Segments go only when that is enough: to empty the store for a file that somebody else makes
 * larger and larger would be in vain. */
static bool by_free_space(const struct round *r, struct err *err)
{
    static const struct scope_of all = {.signal = -1};
    struct store *s = r->s;
    uint64_t missing, live = 0;
    if (!disk_free_wanted(s, &missing, err))
        return false;
    for (int k = 0; k < SIGNAL_COUNT; k++)
        live += atomic_load(&s->live_bytes[k]);
    if (missing > 0 && missing <= live)
        (void)!free_up(r, &all, missing, "free_space");
    return !atomic_load(&s->is_disk_full) || writer_freeze(s->writer, true, err);
}

bool retention_run(struct store *s, struct err *err)
{
    struct round r = {.s = s, .rules = retention_get(s)};
    int64_t ignored;
    time_guard_now(&s->time, &r.now_ns, &ignored);
    by_age(&r);
    by_class_bytes(&r);
    bool ok = true;
    for (int k = 0; k < SIGNAL_COUNT && ok; k++)
        ok = by_bytes(&r, k, s->room.of_signal[k], "bytes_of_signal", err);
    ok = ok && by_bytes(&r, -1, s->room.total, "bytes_total", err) && by_free_space(&r, err);
    retention_unref(r.rules);
    return ok;
}
