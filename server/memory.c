/* memory.c - the thread that looks at resident memory; memory.h says why.
 *
 * Awake, it looks the more often the nearer the ceiling is (look_pause), for uncharged memory grows
 * unseen meanwhile; a look and the two switches of threads around it take twenty microseconds,
 * which at one a millisecond was 4 % of what ingest takes. Trimming walks the allocator's free
 * lists and unmaps whole pages that will fault in again: above three quarters of the ceiling it is
 * done often, more rarely when it does not gain anything; below a half only now and then, where
 * much is resident that nobody is charged for (a sealed generation leaves holes all over the heap:
 * 26 MB of 54 with 100,000 series). It takes a millisecond. */
#include "server/memory.h"

#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include "storage/base/clock.h"
#include "storage/base/num.h"
#include "storage/store.h"

#define LOOK_MIN_NS   (1 * NS_PER_MS)
#define LOOK_MAX_NS   (10 * NS_PER_MS)
#define LOOK_SHARE    8 // looks while memory that is taken as fast as it can be written fills the rest
#define QUIET_NS      (5 * NS_PER_S)    // without a poke until it trims once more and sleeps
#define TRIM_EVERY_NS (50 * NS_PER_MS)  // between two trims
#define TRIM_PAUSE_NS (500 * NS_PER_MS) // ... after one that gained less than a 32nd of the ceiling
#define LOOK_PART     128               // of the ceiling: taken, and the taker looks itself
#define CALM_EVERY_NS (2 * NS_PER_S) // the same below half of the ceiling, with a 16th of it free

/* A sanitizer's shadow and quarantine are not ours: then nothing is charged. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SANITIZER true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define HAS_SANITIZER true
#endif
#endif
#ifndef HAS_SANITIZER
#define HAS_SANITIZER false
#endif

struct memory_watch {
    struct budget *root, sqlite, other;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int statm;
    size_t page;
    atomic_flag is_looking; // by one thread at a time
    // the watch's own thread:
    int64_t trim_ns, calm_ns; // mono time of the next trim near the ceiling, and far from it
    int64_t look_ns;          // until the next look
    atomic_size_t uncharged;  // resident; as of the last look of any thread
    atomic_bool is_poked;
    bool is_awake, is_closing; // guarded by mutex
};

static size_t resident(const struct memory_watch *w)
{
    char text[128];
    ssize_t n = pread(w->statm, text, sizeof text, 0);
    str rest = str_of(text, n > 0 ? (size_t)n : 0), part;
    uint64_t pages = 0;
    if (!str_split(&rest, ' ', &part) || !str_split(&rest, ' ', &part) ||
        !num_parse_u64(part, &pages))
        return 0;
    return (size_t)pages * w->page;
}

static void charge(struct budget *b, size_t now)
{
    size_t before = budget_used(b);
    if (now > before)
        budget_force(b, now - before);
    else
        budget_give(b, before - now);
}

/* Charges what the other budgets do not explain, and an eighth of the ceiling for what grows until
 * the next look; gives back what they explain by now. */
static void charge_rest(struct memory_watch *w, size_t rss)
{
    size_t other = budget_used(&w->other), all = budget_used(w->root);
    size_t charged = all > other ? all - other : 0;
    size_t ahead = HAS_SANITIZER ? 0 : w->root->max / 8;
    w->uncharged = rss > charged ? rss - charged : 0;
    charge(&w->other, ahead + w->uncharged);
}

/* Of the watch's own thread, which waits for a taker that looks: some microseconds. */
static size_t look(struct memory_watch *w)
{
    while (atomic_flag_test_and_set(&w->is_looking))
        sched_yield();
    charge(&w->sqlite, (size_t)store_sqlite_bytes());
    size_t rss = HAS_SANITIZER ? 0 : resident(w);
    charge_rest(w, rss);
    atomic_flag_clear(&w->is_looking);
    return rss;
}

/* Of a thread that takes memory: on busy cores the watch's own may come late. What SQLite has taken
 * since its last look is among the rest here. */
static void look_at_once(void *ctx)
{
    struct memory_watch *w = ctx;
    if (atomic_flag_test_and_set(&w->is_looking))
        return;
    charge_rest(w, HAS_SANITIZER ? 0 : resident(w));
    atomic_flag_clear(&w->is_looking);
}

/* Fresh memory is written at about a byte a nanosecond. */
static int64_t look_pause(size_t rss, size_t max)
{
    size_t left = max - MIN(rss, max);
    return MIN(MAX((int64_t)(left / LOOK_SHARE), LOOK_MIN_NS), LOOK_MAX_NS);
}

static void look_and_trim(struct memory_watch *w)
{
    size_t before = look(w), max = w->root->max;
    w->look_ns = look_pause(before, max);
    int64_t now = clock_mono_ns(clock_real()); // the system's: what is watched is the real process
    bool is_near = before > max / 4 * 3 && now >= w->trim_ns,
         is_loose = before <= max / 2 && w->uncharged > max / 16 && now >= w->calm_ns;
    if (!is_near && !is_loose)
        return;
    malloc_trim(0);
    size_t after = look(w);
    bool is_worth = before > after && before - after >= max / 32;
    if (is_near) // one from far away says nothing of what there will be
        w->trim_ns = now + (is_worth ? TRIM_EVERY_NS : TRIM_PAUSE_NS);
    w->calm_ns = now + CALM_EVERY_NS;
}

/* Mutex held; false: closing. */
static bool wait_look(struct memory_watch *w)
{
    int64_t until = clock_mono_ns(clock_real()) + w->look_ns; // the condition's own clock
    struct timespec ts = {.tv_sec = until / NS_PER_S, .tv_nsec = until % NS_PER_S};
    (void)pthread_cond_timedwait(&w->changed, &w->mutex, &ts);
    return !w->is_closing;
}

/* Mutex held; looks until there was nothing to do for a while. */
static void watch_burst(struct memory_watch *w)
{
    for (int64_t quiet_ns = 0; quiet_ns < QUIET_NS && wait_look(w); quiet_ns += w->look_ns) {
        if (atomic_exchange(&w->is_poked, false))
            quiet_ns = 0;
        pthread_mutex_unlock(&w->mutex);
        look_and_trim(w);
        pthread_mutex_lock(&w->mutex);
    }
}

static void *watch_main(void *arg)
{
    struct memory_watch *w = arg;
    pthread_mutex_lock(&w->mutex);
    while (!w->is_closing) {
        while (!w->is_closing && !atomic_load(&w->is_poked)) {
            w->is_awake = false;
            pthread_cond_wait(&w->changed, &w->mutex);
        }
        w->is_awake = true;
        watch_burst(w);
        if (w->is_closing)
            break;
        pthread_mutex_unlock(&w->mutex);
        malloc_trim(0);
        look(w);
        pthread_mutex_lock(&w->mutex);
    }
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

void memory_watch_poke(struct memory_watch *w)
{
    if (atomic_load_explicit(&w->is_poked, memory_order_relaxed) ||
        atomic_exchange(&w->is_poked, true))
        return;
    pthread_mutex_lock(&w->mutex);
    if (!w->is_awake)
        pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->mutex);
}

const struct budget *memory_watch_other(const struct memory_watch *w)
{
    return &w->other;
}

const struct budget *memory_watch_sqlite(const struct memory_watch *w)
{
    return &w->sqlite;
}

bool memory_watch_open(struct budget *root, struct memory_watch **out, struct err *err)
{
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, "/proc/self/statm");
    struct memory_watch *w = mem_zalloc(sizeof *w);
    w->root = root;
    w->look_ns = LOOK_MAX_NS;
    w->statm = fd;
    w->page = (size_t)sysconf(_SC_PAGESIZE);
    budget_init(&w->sqlite, "SQLite memory", SIZE_MAX, root);
    budget_init(&w->other, "other memory", SIZE_MAX, root);
    pthread_condattr_t attr;
    ASSERT(pthread_condattr_init(&attr) == 0);
    ASSERT(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    ASSERT(pthread_mutex_init(&w->mutex, NULL) == 0);
    ASSERT(pthread_cond_init(&w->changed, &attr) == 0);
    (void)pthread_condattr_destroy(&attr);
    atomic_flag_clear(&w->is_looking);
    w->is_awake = true; // until the thread has looked at is_poked
    look(w);
    if (pthread_create(&w->thread, NULL, watch_main, w) != 0) {
        close(fd);
        mem_free(w);
        return err_set(err, ERR_IO, "cannot start the memory thread");
    }
    budget_watch(root, root->max / LOOK_PART, look_at_once, w);
    *out = w;
    return true;
}

void memory_watch_close(struct memory_watch *w)
{
    if (!w)
        return;
    budget_watch(w->root, 0, NULL, NULL);
    pthread_mutex_lock(&w->mutex);
    w->is_closing = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->mutex);
    ASSERT(pthread_join(w->thread, NULL) == 0);
    charge(&w->other, 0);
    charge(&w->sqlite, 0);
    (void)pthread_cond_destroy(&w->changed);
    (void)pthread_mutex_destroy(&w->mutex);
    close(w->statm);
    mem_free(w);
}
