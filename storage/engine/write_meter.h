/* write_meter.h - bytes written to the disk by signal and purpose, since the start and in the last
 * day; and by a write budget, how far intervals are stretched.
 *
 * The budget is a goal, not a wall: it never refuses or drops anything. What is written beyond it
 * becomes a debt, the debt stretches the times between syncs, seals and merges, and that makes
 * fewer bytes: fewer pages written twice, larger and better packed segments, fewer merges. The
 * stretch settles where the day's bytes meet the budget, or at METER_MAX.
 *
 * Threads: any. Time is the monotonic clock's. */
#pragma once

#include <pthread.h>

#include "storage/store.h"

#define METER_SLOTS   48 // of half an hour: a day
#define METER_SLOT_NS (1800 * NS_PER_S)
#define METER_NORMAL  100  // percent: nothing is stretched
#define METER_MAX     6400 // 64 times

struct write_counts {
    uint64_t v[SIGNAL_COUNT][WRITE_PURPOSE_COUNT];
};

struct write_meter {
    pthread_mutex_t mutex; // a leaf
    uint64_t budget;       // bytes a day, 0 = none
    struct write_counts total, slots[METER_SLOTS];
    int64_t slot;         // number of the newest
    double debt;          // bytes beyond the budget; below 0: saved up, an hour's worth at most
    int64_t debt_mono_ns; // as of
};

void write_meter_init(struct write_meter *m, uint64_t budget, int64_t mono_ns);
void write_meter_deinit(struct write_meter *m);
void write_meter_add(struct write_meter *m, enum signal signal, enum write_purpose purpose,
                     uint64_t bytes, int64_t mono_ns);
/* The day: the running half hour and the 47 before. */
void write_meter_read(struct write_meter *m, int64_t mono_ns, struct write_counts *total,
                      struct write_counts *day);
/* Percent, METER_NORMAL to METER_MAX. */
unsigned write_meter_stretch(struct write_meter *m, int64_t mono_ns);
/* `ns` stretched, at most to `max` (which does not shorten it). */
int64_t write_meter_stretched(struct write_meter *m, int64_t mono_ns, int64_t ns, int64_t max);
