/* log_corpus.h - log lines like those of a mid-size shop, from a seed: 64 streams; 22 % of the
 * bytes nginx access lines, 56 % JSON application logs (whose trace and span ids are structured
 * metadata, too), 17 % logfmt of Go servers, 2 % Java with multi-line stack traces, 3 % journal.
 * Times in ns with random low digits, names and ids with Zipf and lognormal frequencies. */
#pragma once

#include "storage/base/prng.h"
#include "storage/base/str.h"

#define LOG_CORPUS_STREAMS 64

struct log_corpus_line {
    uint32_t stream;
    int64_t t_ns;
    str line;
    char trace_id[33], span_id[17]; // empty strings: none
};

struct log_corpus {
    struct prng rng;
    int64_t now_ns;
    uint64_t lines;
    int order;
    double share[LOG_CORPUS_STREAMS]; // cumulative
    uint32_t pid[LOG_CORPUS_STREAMS];
    char last_trace[LOG_CORPUS_STREAMS][33];
    char text[16384];
};

void log_corpus_init(struct log_corpus *c, uint64_t seed);
/* The line's bytes live until the next call. */
void log_corpus_next(struct log_corpus *c, struct log_corpus_line *out);
/* Name of the kind of a stream: "nginx", "json", "logfmt", "java", "journal". */
const char *log_corpus_kind(uint32_t stream);
