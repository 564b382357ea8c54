/* queue.h - bounded blocking queue of intrusive links; many producers, many consumers. */
#pragma once

#include <pthread.h>

#include "storage/base/base.h"

struct link {
    struct link *next;
};

struct queue {
    pthread_mutex_t mutex; // guards everything below
    pthread_cond_t filled, drained;
    struct link *head, *tail;
    size_t n, max;
    bool is_closed;
};

void queue_init(struct queue *q, size_t max);
void queue_deinit(struct queue *q);                            // must be empty
MUST_USE bool queue_try_push(struct queue *q, struct link *l); // false: full or closed
MUST_USE bool queue_push(struct queue *q, struct link *l);     // waits for room; false: closed
struct link *queue_pop(struct queue *q);                       // waits; NULL: closed and empty
/* Takes everything that is there (a list by next, oldest first), waiting until there is at least
 * one or timeout_ns has passed (NULL) or the queue is closed and empty (NULL). timeout < 0: no
 * limit. */
struct link *queue_pop_all(struct queue *q, int64_t timeout_ns);
void queue_close(struct queue *q); // wakes all
size_t queue_len(struct queue *q);
