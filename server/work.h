/* work.h - lanes: bounded queues of jobs with their own worker threads, and the way back to the
 * loop.
 *
 * A job is submitted on the loop thread, runs on a worker, and is finished (`done`) on the loop
 * thread: exactly once, also after a cancel and during shutdown. Hand-off transfers ownership:
 * between submit and done the loop touches only `canceled`. Everything that workers tell the loop
 * goes through one inbox in the order in which it was posted, so a note that a job posts is
 * delivered before that job's `done`. */
#pragma once

#include <stdatomic.h>

#include "storage/base/clock.h"
#include "storage/base/err.h"
#include "storage/base/queue.h"

struct uv_loop_s;
struct work; // opaque

#define WORK_LANES 3 // enum lane of net/http.h; lane 0 is the loop itself and has no queue

/* A message to the loop thread. The owner embeds it and keeps it alive until `call`. */
struct note {
    struct note *next;
    void (*call)(struct note *note); // loop thread
};

struct job {
    struct link link;              // the lane's, between submit and run
    void (*run)(struct job *job);  // worker thread; touches only what the job owns
    void (*done)(struct job *job); // loop thread; exactly once
    atomic_bool canceled;          // set by the loop; whoever runs long looks at it
    struct note note;              // carries `done`
    int64_t queued_ns;             // monotonic
    int64_t waited_ns;             // before run
};

struct work_options {
    unsigned threads[WORK_LANES];
    size_t queue[WORK_LANES]; // jobs that may wait
    struct clock *clock;
};

struct work_lane_stats {
    uint64_t jobs, refused; // since start
    uint64_t waiting, running;
    uint64_t wait_ns, run_ns; // sums
};

/* Starts the threads. The loop must outlive it. */
MUST_USE bool work_open(struct uv_loop_s *loop, const struct work_options *o, struct work **out,
                        struct err *err);
/* Loop thread. ERR_BUSY: the lane is full; ERR_UNAVAILABLE: stopping. */
MUST_USE bool work_submit(struct work *w, unsigned lane, struct job *job, struct err *err);
/* Any thread. */
void work_post(struct work *w, struct note *note);
/* Loop thread: refuses new jobs, runs what waits, joins the threads, delivers all notes. Whoever
 * wants this to be quick cancels the jobs first. */
void work_drain(struct work *w);
/* After work_drain. The memory goes when the loop has closed the handle. NULL is fine. */
void work_close(struct work *w);
void work_stats(struct work *w, unsigned lane, struct work_lane_stats *out); // any thread
