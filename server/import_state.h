/* import_state.h - how far each imported file is stored, kept in a file: what was interrupted goes
 * on from there. JSON, a line for the whole and one for each file; replaced as a whole. Threads:
 * one at a time. */
#pragma once

#include "storage/base/fs.h"

#define IMPORT_MARK_NUMBERS 4

struct import_mark {
    uint64_t offset;                // bytes of text (decompressed) that are stored
    uint64_t first;                 // hash of its first line: another file of that name begins anew
    int64_t n[IMPORT_MARK_NUMBERS]; // the parser's
    str text;                       // the parser's
};

struct import_state; // opaque

/* path empty: nothing is kept. ERR_INVALID: the file is none, or of another signal or target. */
MUST_USE bool import_state_open(struct fs *fs, str path, str signal, str target,
                                struct import_state **out, struct err *err);
void import_state_close(struct import_state *s); // NULL is fine
/* What is known of a file; NULL: nothing. Until the next set. */
const struct import_mark *import_state_find(const struct import_state *s, str file);
/* Copied. Written at most once a second, or now. */
MUST_USE bool import_state_set(struct import_state *s, str file, const struct import_mark *m,
                               bool now, struct err *err);
