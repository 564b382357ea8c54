/* work.c - lanes and the inbox of the loop.
 *
 * One bounded queue (base/queue) per lane. The inbox is a list under a mutex with one uv_async:
 * libuv folds many sends into one callback, so the callback takes the whole list at once. Worker
 * threads have small stacks (query evaluation counts its depth) and block all signals, which the
 * main thread handles. */
#include "server/work.h"

#include <pthread.h>
#include <signal.h>
#include <uv.h>

#define WORK_STACK (1 * MIB) // parsers and evaluators bound their recursion far below this

struct lane_state {
    struct work *work;
    struct queue queue;
    pthread_t *threads;
    unsigned n_threads;
    atomic_uint_fast64_t jobs, refused, running, wait_ns, run_ns;
};

struct work {
    uv_async_t async;
    struct clock *clock;
    struct lane_state lanes[WORK_LANES];
    pthread_mutex_t mutex;     // guards head, tail
    struct note *head, **tail; // the inbox, oldest first
    bool is_draining;          // loop thread
};

static void job_deliver(struct note *note)
{
    struct job *job = CONTAINER_OF(note, struct job, note);
    job->done(job);
}

static void work_deliver(struct work *w)
{
    pthread_mutex_lock(&w->mutex);
    struct note *list = w->head;
    w->head = NULL;
    w->tail = &w->head;
    pthread_mutex_unlock(&w->mutex);
    while (list) {
        struct note *note = list;
        list = note->next; // before call: it may free the note or post it again
        note->call(note);
    }
}

static void on_async(uv_async_t *handle)
{
    work_deliver(CONTAINER_OF(handle, struct work, async));
}

void work_post(struct work *w, struct note *note)
{
    note->next = NULL;
    pthread_mutex_lock(&w->mutex);
    bool was_empty = w->head == NULL;
    *w->tail = note;
    w->tail = &note->next;
    pthread_mutex_unlock(&w->mutex);
    if (was_empty)
        uv_async_send(&w->async);
}

static void *worker(void *arg)
{
    struct lane_state *lane = arg;
    struct work *w = lane->work;
    for (struct link *link; (link = queue_pop(&lane->queue));) {
        struct job *job = CONTAINER_OF(link, struct job, link);
        int64_t start_ns = clock_mono_ns(w->clock);
        job->waited_ns = start_ns - job->queued_ns;
        atomic_fetch_add_explicit(&lane->wait_ns, (uint64_t)job->waited_ns, memory_order_relaxed);
        atomic_fetch_add_explicit(&lane->running, 1, memory_order_relaxed);
        job->run(job);
        atomic_fetch_sub_explicit(&lane->running, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&lane->run_ns, (uint64_t)(clock_mono_ns(w->clock) - start_ns),
                                  memory_order_relaxed);
        work_post(w, &job->note);
    }
    return NULL;
}

static bool lane_start(struct lane_state *lane, struct err *err)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, WORK_STACK);
    unsigned want = lane->n_threads;
    lane->threads = mem_zalloc(want * sizeof(pthread_t));
    lane->n_threads = 0;
    int rc = 0;
    while (lane->n_threads < want && rc == 0) {
        rc = pthread_create(&lane->threads[lane->n_threads], &attr, worker, lane);
        lane->n_threads += rc == 0;
    }
    pthread_attr_destroy(&attr);
    return rc == 0 || err_set(err, ERR_IO, "cannot start a worker thread: %s", strerror(rc));
}

bool work_open(struct uv_loop_s *loop, const struct work_options *o, struct work **out,
               struct err *err)
{
    struct work *w = mem_zalloc(sizeof *w);
    int rc = uv_async_init(loop, &w->async, on_async);
    if (rc < 0) {
        mem_free(w);
        return err_set(err, ERR_IO, "uv_async_init: %s", uv_strerror(rc));
    }
    w->clock = o->clock;
    pthread_mutex_init(&w->mutex, NULL);
    w->tail = &w->head;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); // inherited by the workers
    bool ok = true;
    for (unsigned i = 0; i < WORK_LANES; i++) {
        struct lane_state *lane = &w->lanes[i];
        lane->work = w;
        lane->n_threads = o->threads[i];
        queue_init(&lane->queue, o->queue[i]);
        ok = ok && lane_start(lane, err);
        if (!ok)
            lane->n_threads = lane->threads ? lane->n_threads : 0;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!ok) {
        work_drain(w);
        work_close(w);
        return false;
    }
    *out = w;
    return true;
}

bool work_submit(struct work *w, unsigned lane_id, struct job *job, struct err *err)
{
    ASSERT(lane_id < WORK_LANES);
    struct lane_state *lane = &w->lanes[lane_id];
    if (w->is_draining)
        return err_set(err, ERR_UNAVAILABLE, "server is stopping");
    job->note.call = job_deliver;
    job->queued_ns = clock_mono_ns(w->clock);
    if (lane->n_threads == 0 || !queue_try_push(&lane->queue, &job->link)) {
        atomic_fetch_add_explicit(&lane->refused, 1, memory_order_relaxed);
        return err_set(err, ERR_BUSY, "too many requests waiting, try again later");
    }
    atomic_fetch_add_explicit(&lane->jobs, 1, memory_order_relaxed);
    return true;
}

void work_drain(struct work *w)
{
    w->is_draining = true;
    for (unsigned i = 0; i < WORK_LANES; i++)
        queue_close(&w->lanes[i].queue);
    for (unsigned i = 0; i < WORK_LANES; i++) {
        for (unsigned t = 0; t < w->lanes[i].n_threads; t++)
            pthread_join(w->lanes[i].threads[t], NULL);
        w->lanes[i].n_threads = 0;
    }
    work_deliver(w);
}

static void on_closed(uv_handle_t *handle)
{
    struct work *w = CONTAINER_OF((uv_async_t *)(void *)handle, struct work, async);
    for (unsigned i = 0; i < WORK_LANES; i++) {
        queue_deinit(&w->lanes[i].queue);
        mem_free(w->lanes[i].threads);
    }
    pthread_mutex_destroy(&w->mutex);
    mem_free(w);
}

void work_close(struct work *w)
{
    if (w)
        uv_close((uv_handle_t *)&w->async, on_closed);
}

void work_stats(struct work *w, unsigned lane_id, struct work_lane_stats *out)
{
    struct lane_state *lane = &w->lanes[lane_id];
    *out = (struct work_lane_stats){
        .jobs = atomic_load(&lane->jobs),
        .refused = atomic_load(&lane->refused),
        .waiting = queue_len(&lane->queue),
        .running = atomic_load(&lane->running),
        .wait_ns = atomic_load(&lane->wait_ns),
        .run_ns = atomic_load(&lane->run_ns),
    };
}
