/* log_lines.h - log files to batches, in pieces: for files of any size. Plain text, a line an
 * entry; and JSON objects, a line each, among them what logcli (--output=jsonl: labels, line,
 * timestamp) and Docker (json-file: log, stream, time) write.
 *
 * The time of an entry is what its line says (log_time.h), else that of the line before it. Lines
 * that share a time which is coarser than 1 ns are set 1 ns apart: they keep their order, and equal
 * ones stay two; the same file gives the same times again, so importing it twice changes nothing.
 * Threads: one at a time. */
#pragma once

#include "server/ingest/decode.h"
#include "server/ingest/log_time.h"

enum lines_format { LINES_AUTO, LINES_PLAIN, LINES_JSON };

struct log_lines_options {
    enum lines_format format; // LINES_JSON: what is none is a fault
    str time_key, line_key;   // of JSON; empty: the usual names; the whole object is the line
    struct log_clock clock;
    int64_t time_ns;      // until a line has one
    bool must_have_time;  // the first line that has none is a fault then
    struct labels labels; // of every stream, over what the text says
};

/* Where a piece ended, and all that matters from what came before. */
struct log_lines_place {
    uint32_t line; // lines before it
    bool has_time;
    int64_t t_ns, step_ns, n_same; // of the last time: how many lines had it
};

struct log_lines {
    const struct log_lines_options *o;
    struct log_lines_place at; // save it between pieces, set it to go on
};

/* Whole lines from the front of *text, which is advanced, into d->batch: at most LOG_LINES_MAX, so
 * that the batch's memory is bounded however short they are. Empty ones are left out. ERR_INVALID
 * with line and column at the first fault: the batch then holds what came before it. */
#define LOG_LINES_MAX 20000
MUST_USE bool log_lines_feed(struct log_lines *l, struct decode *d, str *text, struct err *err);
