/* journal.h - systemd's journal export format to log entries, in pieces of any size.
 *
 * Fields are lines NAME=value, or NAME, 8 bytes of length (little-endian) and that many bytes for
 * values that are no text; an empty line ends an entry. Stream labels: job="systemd-journal",
 * hostname, unit, level. Metadata: identifier, pid and the like, and every field that the program
 * itself gave, in lower case. A message that is longer than a line may be is cut and says so;
 * other fields that are too large are left out, however large. */
#pragma once

#include "server/ingest/log_writer.h"

struct journal_reader {
    struct buf line;  // the start of a line, a length, or a value so far
    struct buf entry; // fields of the entry at hand: names and values, each with its length
    struct buf ready; // whole entries, each with its length
    size_t n_ready;
    enum { JOURNAL_LINE, JOURNAL_SIZE, JOURNAL_DATA } state;
    uint64_t due;  // bytes of a value that are to come
    size_t name_n; // of the field whose value comes; its name is at the start of `line`
    size_t n_fields;
    bool is_skipping; // the field is too large: the rest of it is not kept
    uint64_t lost;    // bytes of a message that were not kept
    uint64_t line_no; // for messages
};

void journal_reader_init(struct journal_reader *r);
void journal_reader_deinit(struct journal_reader *r);
/* Memory that it holds. */
size_t journal_reader_bytes(const struct journal_reader *r);
/* Adds whole entries to `ready`. ERR_INVALID: no such format; the reader is of no use then. */
MUST_USE bool journal_reader_feed(struct journal_reader *r, str bytes, struct err *err);
/* The stream ends: the last entry may lack its empty line. */
MUST_USE bool journal_reader_end(struct journal_reader *r, struct err *err);
/* One of `ready`, without its length. False: it has no time. Strings are borrowed. */
bool journal_add(struct log_writer *w, str entry);
