/* queue.c - one mutex, two conditions. Waits use the monotonic clock, so that a jump of the wall
 * clock neither wakes nor holds anybody.
 *
 * The mutex is a leaf: nothing else is locked or called while it is held. */
#include "storage/base/queue.h"

#include <errno.h>
#include <time.h>

void queue_init(struct queue *q, size_t max)
{
    ASSERT(max > 0);
    *q = (struct queue){.max = max};
    pthread_condattr_t attr;
    ASSERT(pthread_condattr_init(&attr) == 0);
    ASSERT(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    ASSERT(pthread_mutex_init(&q->mutex, NULL) == 0);
    ASSERT(pthread_cond_init(&q->filled, &attr) == 0);
    ASSERT(pthread_cond_init(&q->drained, &attr) == 0);
    ASSERT(pthread_condattr_destroy(&attr) == 0);
}

void queue_deinit(struct queue *q)
{
    ASSERT(q->n == 0);
    pthread_cond_destroy(&q->drained);
    pthread_cond_destroy(&q->filled);
    pthread_mutex_destroy(&q->mutex);
}

/* With the mutex held and room made sure of. */
static void queue_append(struct queue *q, struct link *l)
{
    l->next = NULL;
    if (q->tail)
        q->tail->next = l;
    else
        q->head = l;
    q->tail = l;
    q->n++;
    pthread_cond_signal(&q->filled);
}

bool queue_try_push(struct queue *q, struct link *l)
{
    pthread_mutex_lock(&q->mutex);
    bool ok = !q->is_closed && q->n < q->max;
    if (ok)
        queue_append(q, l);
    pthread_mutex_unlock(&q->mutex);
    return ok;
}

bool queue_push(struct queue *q, struct link *l)
{
    pthread_mutex_lock(&q->mutex);
    while (!q->is_closed && q->n >= q->max)
        pthread_cond_wait(&q->drained, &q->mutex);
    bool ok = !q->is_closed;
    if (ok)
        queue_append(q, l);
    pthread_mutex_unlock(&q->mutex);
    return ok;
}

struct link *queue_pop(struct queue *q)
{
    pthread_mutex_lock(&q->mutex);
    while (!q->head && !q->is_closed)
        pthread_cond_wait(&q->filled, &q->mutex);
    struct link *l = q->head;
    if (l) {
        q->head = l->next;
        if (!q->head)
            q->tail = NULL;
        l->next = NULL;
        q->n--;
        pthread_cond_signal(&q->drained);
    }
    pthread_mutex_unlock(&q->mutex);
    return l;
}

static struct timespec queue_deadline(int64_t timeout_ns)
{
    struct timespec ts;
    ASSERT(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
    ts.tv_sec += (time_t)(timeout_ns / NS_PER_S);
    ts.tv_nsec += (long)(timeout_ns % NS_PER_S);
    if (ts.tv_nsec >= NS_PER_S) {
        ts.tv_sec++;
        ts.tv_nsec -= (long)NS_PER_S;
    }
    return ts;
}

struct link *queue_pop_all(struct queue *q, int64_t timeout_ns)
{
    struct timespec deadline = {0};
    if (timeout_ns >= 0)
        deadline = queue_deadline(timeout_ns);
    pthread_mutex_lock(&q->mutex);
    bool is_late = false;
    while (!q->head && !q->is_closed && !is_late) {
        if (timeout_ns < 0)
            pthread_cond_wait(&q->filled, &q->mutex);
        else
            is_late = pthread_cond_timedwait(&q->filled, &q->mutex, &deadline) == ETIMEDOUT;
    }
    struct link *all = q->head;
    if (all) {
        q->head = q->tail = NULL;
        q->n = 0;
        pthread_cond_broadcast(&q->drained);
    }
    pthread_mutex_unlock(&q->mutex);
    return all;
}

void queue_close(struct queue *q)
{
    pthread_mutex_lock(&q->mutex);
    q->is_closed = true;
    pthread_cond_broadcast(&q->filled);
    pthread_cond_broadcast(&q->drained);
    pthread_mutex_unlock(&q->mutex);
}

size_t queue_len(struct queue *q)
{
    pthread_mutex_lock(&q->mutex);
    size_t n = q->n;
    pthread_mutex_unlock(&q->mutex);
    return n;
}
