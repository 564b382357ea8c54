/* segments.h - the set of live segment files. The directory is the truth: a segment is live when
 * its final name exists and no complete replacement of it does.
 *
 * Layout: <data>/<tenant>/<letter>/<YYYYMMDD>/<name> for the default retention class,
 * <data>/<tenant>/<letter>/<class>/<YYYYMMDD>/<name> for the others (a day begins with a digit, a
 * class with a letter); half-built files are <data>/tmp/<seq>.db. A seal or a merge may make
 * several files: part i of n in meta (n only on the last), so that the next start can tell a whole
 * set from one that a crash cut short. The files of one seal count through all classes; a merge
 * keeps to one.
 *
 * Threads: any; the functions take the store's mutex themselves unless said otherwise. */
#pragma once

#include "storage/engine/classes.h"
#include "storage/engine/store_internal.h"

/* Where seal and merge put files (struct seal_sink), and what publishes them. One thread. */
struct segment_sink {
    struct seal_sink base;
    struct store *store;
    struct store_tenant *tenant;
    enum signal signal;
    uint32_t gen;            // generation of a seal; of a merge the first file's sequence number
    struct retention *rules; // of a seal: whose classes `base` shows
    uint32_t deletions;      // for segment_info
    bool is_merge;
    str merge_class; // of a merge: of all its inputs
    const uint32_t *replaces;
    size_t n_replaces;
    struct segment_writer *open;   // begun, not ended
    struct segment_writer *held;   // ended; finished when it is known whether it is the last
    struct segment_info held_info; // with part and seq
    struct {
        struct sink_file {
            struct segment_info info;
            char tmp[32];
        } * v;
        size_t n, cap;
    } files;
};
void sink_init(struct segment_sink *sink, struct store_tenant *t, enum signal signal, uint32_t gen);
/* The last file gets its meta and is synced. Zero files are fine. */
MUST_USE bool sink_finish(struct segment_sink *sink, struct err *err);
/* Renames all files into place, in order, and syncs the folders. *out gets the new segments (one
 * reference each, not live yet). On an error what was renamed is removed again, at the latest
 * before the next publication under the same baton. */
MUST_USE bool sink_publish(struct segment_sink *sink, struct segment_list *out, struct err *err);
void sink_deinit(struct segment_sink *sink); // removes what was not published

void ghosts_free(struct store *s);
/* Syncs the folders of the files, up to the data directory: also folders and names that were
 * already there, because a killed process may have made them without a sync. Needed before anything
 * is removed because of them. */
MUST_USE bool segments_make_durable(struct store *s, const struct segment_list *list,
                                    struct err *err);

/* Mutex held: into the sorted list, one reference taken. */
void live_add(struct store_tenant *t, struct segment *seg);
/* Mutex held: out of the list, its reference dropped by the caller. False: was not there. */
bool live_remove(struct store_tenant *t, struct segment *seg);
/* Out of the live set and renamed to *.bad. */
void segment_set_aside(struct store *s, struct store_tenant *t, struct segment *seg,
                       const struct err *why);
/* Mutex held: to be unlinked; takes over the lists' references. */
void removal_add(struct store *s, struct segment_list gone, struct segment_list outputs);
/* Unlinks what no snapshot holds any more; what cannot be removed keeps nothing else from it. The
 * first error is told at the end. Keeping baton held. */
MUST_USE bool removals_run(struct store *s, struct err *err);
/* Mutex held: is there one to unlink that was not tried in vain? */
bool removals_ready(const struct store *s);
void segment_list_free(struct segment_list *list); // drops the references

/* <data>/<tenant>/<letter>, with the class behind it unless that is empty; in the arena. */
str segment_class_folder(struct store *s, const struct store_tenant *t, enum signal signal,
                         str class_name, struct arena *a);
/* Calls `each` for every folder of a day below `top` (<data>/<tenant>/<letter>), those of classes
 * included, with the class's name. What is neither a day nor a class is passed over. A missing top
 * is empty. Strings live in the arena. */
MUST_USE bool segment_days(struct fs *fs, str top, struct arena *a,
                           bool (*each)(void *ctx, str class_name, str folder, struct err *err),
                           void *ctx, struct err *err);
