/* syncer.c - see syncer.h. */
#include "storage/engine/syncer.h"

#include <pthread.h>
#include <string.h>

struct syncer {
    struct clock *clock;
    void (*done)(void *ctx);
    void *ctx;
    pthread_t thread;
    pthread_mutex_t mutex;  // guards what follows
    pthread_cond_t changed; // for both sides
    struct wal_sync *work[SIGNAL_COUNT];
    bool is_asked, is_done, is_closing;
    int64_t took_ns;
};

static void *syncer_main(void *arg)
{
    struct syncer *y = arg;
    pthread_mutex_lock(&y->mutex);
    for (;;) {
        while (!y->is_asked && !y->is_closing)
            pthread_cond_wait(&y->changed, &y->mutex);
        if (!y->is_asked)
            break;
        pthread_mutex_unlock(&y->mutex); // the work is ours until is_done
        int64_t before = clock_mono_ns(y->clock);
        for (int i = 0; i < SIGNAL_COUNT; i++)
            if (y->work[i])
                wal_sync_run(y->work[i]);
        int64_t took = clock_mono_ns(y->clock) - before;
        pthread_mutex_lock(&y->mutex);
        y->took_ns = MAX(took, 0);
        y->is_asked = false;
        y->is_done = true;
        pthread_cond_broadcast(&y->changed);
        pthread_mutex_unlock(&y->mutex);
        y->done(y->ctx);
        pthread_mutex_lock(&y->mutex);
    }
    pthread_mutex_unlock(&y->mutex);
    return NULL;
}

bool syncer_open(struct clock *clock, void (*done)(void *ctx), void *ctx, struct syncer **out,
                 struct err *err)
{
    struct syncer *y = mem_zalloc(sizeof(*y));
    y->clock = clock;
    y->done = done;
    y->ctx = ctx;
    ASSERT(pthread_mutex_init(&y->mutex, NULL) == 0);
    ASSERT(pthread_cond_init(&y->changed, NULL) == 0);
    if (pthread_create(&y->thread, NULL, syncer_main, y) != 0) {
        (void)pthread_cond_destroy(&y->changed);
        (void)pthread_mutex_destroy(&y->mutex);
        mem_free(y);
        return err_set(err, ERR_IO, "cannot start the syncing thread");
    }
    *out = y;
    return true;
}

void syncer_close(struct syncer *y)
{
    if (!y)
        return;
    pthread_mutex_lock(&y->mutex);
    ASSERT(!y->is_asked && !y->is_done);
    y->is_closing = true;
    pthread_cond_broadcast(&y->changed);
    pthread_mutex_unlock(&y->mutex);
    ASSERT(pthread_join(y->thread, NULL) == 0);
    (void)pthread_cond_destroy(&y->changed);
    (void)pthread_mutex_destroy(&y->mutex);
    mem_free(y);
}

void syncer_start(struct syncer *y, struct wal_sync *const work[SIGNAL_COUNT])
{
    pthread_mutex_lock(&y->mutex);
    ASSERT(!y->is_asked && !y->is_done);
    memcpy(y->work, work, sizeof(y->work));
    y->is_asked = true;
    pthread_cond_broadcast(&y->changed);
    pthread_mutex_unlock(&y->mutex);
}

bool syncer_poll(struct syncer *y, struct wal_sync *work[SIGNAL_COUNT], int64_t *took_ns)
{
    pthread_mutex_lock(&y->mutex);
    bool is_done = y->is_done;
    y->is_done = false;
    if (is_done) {
        memcpy(work, y->work, sizeof(y->work));
        memset(y->work, 0, sizeof(y->work));
        *took_ns = y->took_ns;
    }
    pthread_mutex_unlock(&y->mutex);
    return is_done;
}

void syncer_wait(struct syncer *y)
{
    pthread_mutex_lock(&y->mutex);
    while (y->is_asked)
        pthread_cond_wait(&y->changed, &y->mutex);
    pthread_mutex_unlock(&y->mutex);
}
