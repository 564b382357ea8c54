/* scraped.h - a corpus that scrape.py has recorded: series of real exporters. The format is told
 * there. One thread. */
#pragma once

#include "storage/base/arena.h"
#include "storage/model/labels.h"

struct scraped {
    size_t n_targets, n_series, rounds;
    size_t *of_target;     // series of each target, which stand together: n_targets
    struct labels *labels; // n_series, with instance and job
    size_t *column;        // of each series in a row
    const double *rows;    // `width` values each: lateness in ms per target, then the values
    size_t width;
};

/* Reads all of the file into `a`; series that are not there in every round are left out. Prints
 * what is wrong and exits: this is a benchmark's input. */
void scraped_read(struct scraped *s, const char *path, struct arena *a);
double scraped_late_ms(const struct scraped *s, size_t round, size_t target);
double scraped_value(const struct scraped *s, size_t round, size_t series);
