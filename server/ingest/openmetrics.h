/* openmetrics.h - OpenMetrics and Prometheus text to batches, in pieces: for files of any size.
 *
 * What a sample is does not depend on where a piece ends: the parser keeps the line number and the
 * family at hand between pieces; a piece's strings borrow from its text. Faults carry line and
 * column (err.line, err.col) from the first piece on. Threads: one at a time. */
#pragma once

#include "server/ingest/decode.h"

enum text_format {
    TEXT_OPENMETRICS, // times in seconds; "# EOF" is the last line; exemplars
    TEXT_PROMETHEUS,  // times in milliseconds; any other comment is one
};

struct openmetrics_options {
    enum text_format format;
    /* The format was guessed: milliseconds that lie before 1973 are then taken for the seconds of a
     * file that was cut before its "# EOF", and refused. */
    bool is_guess;
    bool has_time; // for samples that have none; without it they are a fault
    int64_t time_ms;
    struct labels extra; // set on every series, over what the text says
};

struct openmetrics; // opaque

struct openmetrics *openmetrics_open(const struct openmetrics_options *o); // borrows o
void openmetrics_close(struct openmetrics *p);                             // NULL is fine
/* Whole lines ('\n' behind each but perhaps the last of all) into d->batch: samples, exemplars,
 * metadata; `_created` is a series of its own and the start time of the samples of its metric that
 * came before it in the same piece. Histograms and summaries are their series. ERR_INVALID at the
 * first fault: the batch then holds what came before it. */
MUST_USE bool openmetrics_feed(struct openmetrics *p, struct decode *d, str text, struct err *err);
/* The end of the file: OpenMetrics must have said so. */
MUST_USE bool openmetrics_end(struct openmetrics *p, struct err *err);
/* Where a piece ended, and all that matters from what came before: for going on another time. */
struct openmetrics_place {
    uint32_t line; // lines before it
    bool has_ended;
    enum metric_type type;
    str family; // borrows from the parser, until it is fed
};
struct openmetrics_place openmetrics_place(const struct openmetrics *p);
/* Before the first piece. */
void openmetrics_go_on(struct openmetrics *p, const struct openmetrics_place *at);
/* The format that the last bytes of a file tell. */
enum text_format text_format_of(str tail);
