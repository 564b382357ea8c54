/* disk.h - is there room on the disk and in the disk budgets? What begins, ends and limits the
 * state "disk full".
 *
 * Two rules keep sealing possible, whoever filled the disk: a write is refused while the room that
 * the largest generation may need as segments would be touched (its log stays until they are
 * published, so one generation's worth is enough for all of them, one after the other), and nothing
 * acknowledged is ever removed unsealed. So a disk that we filled ourselves empties by sealing and
 * by retention; one that somebody else filled keeps everything, refuses writes, and waits.
 *
 * Threads: any. */
#pragma once

#include "storage/engine/store_internal.h"

/* Refuses what would go beyond the disk, disk.total or the signal's budget: ERR_UNAVAILABLE, and
 * the keeper looks for what can go. `bytes`: about what the log will take. */
MUST_USE bool disk_admit(struct store *s, enum signal signal, uint64_t bytes, struct err *err);
/* A write met a full disk: one line in the log until it is over. Takes the store's mutex. */
void disk_note_full(struct store *s, const struct err *why);
/* Ends the state when there is room again. Takes the store's mutex. */
void disk_look(struct store *s);
/* A message about a failure that the full disk explains is not worth repeating. */
bool disk_explains(struct store *s, const struct err *err);

/* Log bytes of a generation at which it is frozen, so that budgets and the disk's size hold. */
uint64_t disk_log_max(struct store *s, enum signal signal);
/* Bytes that sealing may need besides what is there: the largest generation of any signal. */
uint64_t disk_seal_room(struct store *s);
/* Live segments; those that wait to be unlinked; logs; what a merge is writing. signal -1 = all. */
uint64_t disk_used(struct store *s, int signal);
/* Room for a merge's output of that many bytes, on the disk and in the budgets? */
bool disk_has_merge_room(struct store *s, enum signal signal, uint64_t bytes);
/* What retention leaves of a budget to segments, so that logs, a seal and a write fit beside them.
 */
uint64_t disk_segment_share(struct store *s, int signal, uint64_t max);
/* Free bytes that retention sees to: `keep_free`, and on a full disk what seals need to go on. */
bool disk_free_wanted(struct store *s, uint64_t *missing, struct err *err);
