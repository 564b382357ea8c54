/* write_meter.c - see write_meter.h. The debt is an integral controller: each hour's worth of
 * budget that it holds makes the factor four times as large. It is bounded on both sides, so that a
 * quiet night is no licence for a wild day, and a wild day is forgotten after some hours. */
#include "storage/engine/write_meter.h"

#include <math.h>
#include <string.h>

#define DAY_NS   (86400 * NS_PER_S)
#define HOURS    24.0
#define DEBT_MAX 4.0 // hours of budget; the factor is at its end before

void write_meter_init(struct write_meter *m, uint64_t budget, int64_t mono_ns)
{
    *m = (struct write_meter){.budget = budget,
                              .slot = mono_ns / METER_SLOT_NS,
                              .debt = -(double)budget / HOURS,
                              .debt_mono_ns = mono_ns};
    ASSERT(pthread_mutex_init(&m->mutex, NULL) == 0);
}

void write_meter_deinit(struct write_meter *m)
{
    (void)pthread_mutex_destroy(&m->mutex);
}

/* Mutex held: forgets the slots of more than a day ago, pays the debt off. */
static void move_on(struct write_meter *m, int64_t mono_ns)
{
    int64_t slot = mono_ns / METER_SLOT_NS;
    for (int i = 0; i < METER_SLOTS && m->slot < slot; i++) {
        m->slot++;
        memset(&m->slots[m->slot % METER_SLOTS], 0, sizeof(m->slots[0]));
    }
    m->slot = MAX(m->slot, slot);
    double hour = (double)m->budget / HOURS;
    int64_t passed = MAX(mono_ns - m->debt_mono_ns, 0);
    m->debt -= (double)m->budget * (double)passed / (double)DAY_NS;
    m->debt = MIN(MAX(m->debt, -hour), DEBT_MAX * hour);
    m->debt_mono_ns = MAX(m->debt_mono_ns, mono_ns);
}

void write_meter_add(struct write_meter *m, enum signal signal, enum write_purpose purpose,
                     uint64_t bytes, int64_t mono_ns)
{
    if (bytes == 0)
        return;
    pthread_mutex_lock(&m->mutex);
    move_on(m, mono_ns);
    m->total.v[signal][purpose] += bytes;
    m->slots[m->slot % METER_SLOTS].v[signal][purpose] += bytes;
    m->debt += (double)bytes;
    pthread_mutex_unlock(&m->mutex);
}

void write_meter_read(struct write_meter *m, int64_t mono_ns, struct write_counts *total,
                      struct write_counts *day)
{
    struct write_counts sum = {0};
    pthread_mutex_lock(&m->mutex);
    move_on(m, mono_ns);
    for (size_t i = 0; i < METER_SLOTS; i++)
        for (size_t k = 0; k < SIGNAL_COUNT; k++)
            for (size_t p = 0; p < WRITE_PURPOSE_COUNT; p++)
                sum.v[k][p] += m->slots[i].v[k][p];
    *total = m->total;
    *day = sum;
    pthread_mutex_unlock(&m->mutex);
}

unsigned write_meter_stretch(struct write_meter *m, int64_t mono_ns)
{
    if (m->budget == 0)
        return METER_NORMAL;
    pthread_mutex_lock(&m->mutex);
    move_on(m, mono_ns);
    double hours = m->debt / ((double)m->budget / HOURS);
    pthread_mutex_unlock(&m->mutex);
    double percent = METER_NORMAL * exp2(2 * MAX(hours, 0));
    return (unsigned)MIN(percent, METER_MAX);
}

int64_t write_meter_stretched(struct write_meter *m, int64_t mono_ns, int64_t ns, int64_t max)
{
    unsigned percent = write_meter_stretch(m, mono_ns);
    if (percent == METER_NORMAL)
        return ns;
    return MAX(ns, MIN(time_mul(ns / METER_NORMAL, percent), max));
}
