/* deletions.h - what a tenant deleted and files may still hold.
 *
 * A deletion concerns segments only. Before it is published everything in memory is sealed, and
 * every segment says (meta `deletions`) up to which number deletions are behind it: what it was
 * sealed from came after them, or a merge has left them out. So deletion D hides rows of segments
 * with a lower number than D, and nothing else: not what is written later, not what is in the log.
 *
 * Numbers are never used twice: one is reserved durably, then shares get it (what is sealed from
 * now on is behind the deletion), then older ones are sealed, then the deletion is written. A crash
 * in between leaves a number that nobody has.
 *
 * File <data>/<tenant>/d/<8 hex digits>.del and its twin, the same bytes in .del2: without the list
 * deleted data would show again, so one of them may rot. The highest number counts; each is written
 * beside, synced, renamed; the folder is synced; then those before go. Little-endian:
 *   0  "TVDEL1\0\0"
 *   8  u32 next id
 *  12  u32 number of deletions, by id, each
 *      u32 id, u8 signal, u8 done, u8 matchers, u8 filters, i64 t0, t1, created, due,
 *      u32 length + note, per matcher u8 op, u32 length + name, u32 length + value,
 *      per filter u8 op, u32 length + text
 *   -4 u32 crc32c of all before
 *
 * A set is immutable and refcounted: snapshots and merges keep the one that they began with. Any
 * thread. */
#pragma once

#include <stdatomic.h>

#include "storage/engine/signal.h"
#include "storage/model/limits.h"

#define DELETIONS_FILE_MAX (16 * MIB)

struct line_test {
    enum text_op op;
    str text;
    struct regex *re; // TEXT_RE, TEXT_NRE
};
struct deletion_rule {
    struct deletion d; // matchers compiled
    struct line_test tests[LIMIT_DELETION_PARTS];
};
struct deletion_set {
    atomic_uint refs;
    struct arena arena;
    uint32_t next_id;
    struct deletion_rule **v; // by id
    size_t n;
};

struct deletion_set *deletion_set_new(void);
void deletion_set_ref(struct deletion_set *set);
void deletion_set_unref(struct deletion_set *set); // NULL is fine
/* Copies a deletion, compiles what it says. ERR_INVALID, ERR_LIMIT. */
MUST_USE bool deletion_set_add(struct deletion_set *set, const struct deletion *d, struct err *err);
/* The file's bytes, and back. ERR_CORRUPT. */
void deletion_set_write(const struct deletion_set *set, struct buf *out);
MUST_USE bool deletion_set_read(str bytes, struct deletion_set **out, struct err *err);
/* The number in the name of a list or of its twin; false: neither. */
bool deletions_name_parse(str name, uint32_t *out);

/* ---- what is hidden ---- */

/* Which of them a reader of a segment has to mind: not done, number above the segment's and up to
 * `upto`, times that overlap. In the arena; mostly none. set may be NULL. */
struct hiding {
    const struct deletion_rule **v;
    size_t n;
};
struct hiding hiding_of(const struct deletion_set *set, uint32_t upto,
                        const struct segment_info *info, struct arena *a);
/* Those of them that match the labels, in the arena. */
MUST_USE bool hiding_match(const struct hiding *h, struct labels l, struct arena *a,
                           struct hiding *out, struct err *err);
/* Is everything between t0 and t1 (inclusive) of the matched series gone? */
bool hiding_is_whole(const struct hiding *matched, int64_t t0_ns, int64_t t1_ns);
/* One row. line is looked at only where there are filters. */
MUST_USE bool hiding_test(const struct hiding *matched, int64_t t_ns, str line, bool *hidden,
                          struct err *err);
bool hiding_wants_lines(const struct hiding *matched);

/* ---- of a tenant (deletions.c; store.c calls) ---- */

struct store;
struct store_tenant;
/* Recovery: reads the tenant's file, if there is one. */
MUST_USE bool deletions_load(struct store_tenant *t, struct err *err);
/* The set now, one reference; NULL: none. Takes the store's mutex. */
struct deletion_set *deletions_get(struct store_tenant *t);

/* What a merge of this tenant's files of the signal may do now. The set is one reference. */
struct deletion_state {
    struct deletion_set *set; // may be NULL
    enum signal signal;
    int64_t now_ns;
    uint32_t reserved; // of a deletion on its way; 0 = none
    uint32_t due;      // bytes of these and lower ones may go
    bool has_due;      // some of them are not done
};
/* Take it after the files were listed: a number that is reserved later is above theirs. */
void deletion_state_get(struct store_tenant *t, enum signal signal, struct deletion_state *out);
void deletion_state_free(struct deletion_state *d);
/* Is there one that may not have an effect on files yet? */
bool deletions_wait(const struct deletion_state *d);
/* Files with different marks must not be merged: a deletion that is not due hides rows of one and
 * not of the other. */
uint32_t deletion_mark(const struct deletion_state *d, const struct segment_info *info);
/* Has the segment rows (or at least series) that are due to go? Loads it. */
MUST_USE bool deletion_concerns(const struct deletion_state *d, const struct signal_ops *ops,
                                struct segment *seg, bool *yes, struct err *err);
/* Marks as done what no file holds any more. Keeping baton held. */
MUST_USE bool deletions_settle(struct store *s, struct err *err);
