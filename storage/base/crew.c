/* crew.c - see crew.h. One mutex guards the list of waiting tasks and the states of all tasks;
 * tasks take tenths of a millisecond and more, so it is hardly ever contended. It is a leaf:
 * nothing else is locked or called while it is held. Idle threads sleep without a timeout. */
#include "storage/base/crew.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "storage/base/num.h"
#include "storage/base/str.h"

#define CREW_STACK (1 * MIB) // as much as the workers of the lanes have
#define CREW_WIDTH 64        // threads that share one crew_each

struct crew {
    pthread_mutex_t mutex;          // guards everything below
    pthread_cond_t filled, ended;   // a task waits; a task has been run
    struct crew_task *first, *last; // waiting, oldest first
    bool is_closing;
    unsigned n_threads; // constant after crew_open
    bool is_eager;      // constant once shared
    pthread_t threads[CREW_WIDTH];
};

/* ---- the list; mutex held ---- */

static void list_put(struct crew *c, struct crew_task *task)
{
    task->next = NULL;
    task->prev = c->last;
    *(c->last ? &c->last->next : &c->first) = task;
    c->last = task;
    task->state = CREW_WAITS;
}

static void list_del(struct crew *c, struct crew_task *task)
{
    *(task->prev ? &task->prev->next : &c->first) = task->next;
    *(task->next ? &task->next->prev : &c->last) = task->prev;
    task->prev = task->next = NULL;
    task->state = CREW_RUNS;
}

/* ---- threads ---- */

static void *crew_main(void *arg)
{
    struct crew *c = arg;
    pthread_mutex_lock(&c->mutex);
    for (;;) {
        while (!c->first && !c->is_closing)
            pthread_cond_wait(&c->filled, &c->mutex);
        struct crew_task *task = c->first;
        if (!task)
            break;
        list_del(c, task);
        pthread_mutex_unlock(&c->mutex);
        task->run(task);
        pthread_mutex_lock(&c->mutex);
        task->state = CREW_DONE;
        pthread_cond_broadcast(&c->ended);
    }
    pthread_mutex_unlock(&c->mutex);
    return NULL;
}

static bool threads_start(struct crew *c, unsigned want, struct err *err)
{
    pthread_attr_t attr;
    sigset_t all, old;
    int rc = 0;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, CREW_STACK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); // signals belong to the main thread
    while (c->n_threads < want && rc == 0) {
        rc = pthread_create(&c->threads[c->n_threads], &attr, crew_main, c);
        c->n_threads += rc == 0;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return rc == 0 || err_set(err, ERR_IO, "cannot start a helper thread: %s", strerror(rc));
}

bool crew_open(unsigned threads, struct crew **out, struct err *err)
{
    struct crew *c = mem_zalloc(sizeof *c);
    pthread_mutex_init(&c->mutex, NULL);
    pthread_cond_init(&c->filled, NULL);
    pthread_cond_init(&c->ended, NULL);
    if (!threads_start(c, MIN(threads, (unsigned)CREW_WIDTH), err)) {
        crew_close(c);
        return false;
    }
    *out = c;
    return true;
}

void crew_close(struct crew *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->mutex);
    c->is_closing = true;
    pthread_cond_broadcast(&c->filled);
    pthread_mutex_unlock(&c->mutex);
    for (unsigned i = 0; i < c->n_threads; i++)
        pthread_join(c->threads[i], NULL);
    ASSERT(!c->first);
    pthread_cond_destroy(&c->ended);
    pthread_cond_destroy(&c->filled);
    pthread_mutex_destroy(&c->mutex);
    mem_free(c);
}

unsigned crew_size(const struct crew *c)
{
    return c ? c->n_threads : 0;
}

void crew_set_eager(struct crew *c)
{
    c->is_eager = true;
}

/* The number before the slash in "0.20 0.18 0.12 1/80 11206": threads that run or want to. */
static bool count_running(uint64_t *out)
{
    char text[128];
    int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text) : -1;
    if (fd >= 0)
        (void)close(fd);
    if (n <= 0)
        return false;
    str s = {text, (size_t)n}, field = {0};
    for (int i = 0; i < 4; i++)
        if (!str_split(&s, ' ', &field))
            return false;
    return num_parse_u64(str_sub(field, 0, str_find_char(field, '/')), out);
}

bool crew_has_idle_core(const struct crew *c)
{
    uint64_t running;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (crew_size(c) == 0 || c->is_eager)
        return crew_size(c) > 0;
    return cores <= 0 || !count_running(&running) || running < (uint64_t)cores;
}

/* ---- tasks ---- */

void crew_post(struct crew *c, struct crew_task *task)
{
    if (crew_size(c) == 0) {
        task->state = CREW_WAITS;
        return;
    }
    pthread_mutex_lock(&c->mutex);
    list_put(c, task);
    pthread_cond_signal(&c->filled);
    pthread_mutex_unlock(&c->mutex);
}

bool crew_take(struct crew *c, struct crew_task *task)
{
    if (crew_size(c) == 0) {
        bool waits = task->state == CREW_WAITS;
        task->state = waits ? CREW_IDLE : task->state;
        return waits;
    }
    pthread_mutex_lock(&c->mutex);
    bool waits = task->state == CREW_WAITS;
    if (waits) {
        list_del(c, task);
        task->state = CREW_IDLE;
    }
    pthread_mutex_unlock(&c->mutex);
    return waits;
}

bool crew_is_done(struct crew *c, struct crew_task *task)
{
    if (crew_size(c) == 0)
        return task->state == CREW_DONE;
    pthread_mutex_lock(&c->mutex);
    bool done = task->state == CREW_DONE;
    pthread_mutex_unlock(&c->mutex);
    return done;
}

bool crew_try(struct crew *c, struct crew_task *task)
{
    if (!crew_take(c, task))
        return false;
    task->run(task);
    task->state = CREW_DONE; // nobody else knows it
    return true;
}

void crew_finish(struct crew *c, struct crew_task *task)
{
    if (crew_try(c, task) || crew_size(c) == 0)
        return;
    pthread_mutex_lock(&c->mutex);
    while (task->state == CREW_RUNS)
        pthread_cond_wait(&c->ended, &c->mutex);
    pthread_mutex_unlock(&c->mutex);
}

/* ---- loops ---- */

struct each {
    void (*run)(void *ctx, size_t i);
    void *ctx;
    size_t n;
    atomic_size_t next;
};

struct each_task {
    struct crew_task task;
    struct each *each;
};

static void each_run(struct each *e)
{
    for (size_t i; (i = atomic_fetch_add_explicit(&e->next, 1, memory_order_relaxed)) < e->n;)
        e->run(e->ctx, i);
}

static void each_task_run(struct crew_task *task)
{
    each_run(CONTAINER_OF(task, struct each_task, task)->each);
}

void crew_each(struct crew *c, unsigned width, size_t n, void (*run)(void *ctx, size_t i),
               void *ctx)
{
    struct each e = {.run = run, .ctx = ctx, .n = n};
    struct each_task tasks[CREW_WIDTH];
    size_t help = MIN(n > 0 ? n - 1 : 0, (size_t)crew_size(c));
    if (width > 0)
        help = MIN(help, (size_t)width - 1);
    atomic_init(&e.next, 0);
    for (size_t i = 0; i < help; i++) {
        tasks[i] = (struct each_task){.task = {.run = each_task_run}, .each = &e};
        crew_post(c, &tasks[i].task);
    }
    each_run(&e);
    for (size_t i = 0; i < help; i++)
        if (!crew_take(c, &tasks[i].task)) // else there was nothing left to do
            crew_finish(c, &tasks[i].task);
}
