/* wal.h - the write-ahead log of one signal: an accepted batch survives a crash until a segment
 * holds it.
 *
 * Files <dir>/<letter>-<generation, 8 digits>-<part, 4 digits>.wal, little-endian:
 *
 *   header, 40 bytes
 *     0  "TVWAL1\0" (1 is the version) and the signal's letter
 *     8  u32 generation
 *    12  u32 part
 *    16  u32 first_seq: segments sealed from this generation have sequence numbers from here on
 *    20  u32 prev_id: the crc in the header of the file written before this one; 0 = none
 *    24  u32 prev_len: bytes of that file that count
 *    28  u32 created, Unix seconds
 *    32  u32 0
 *    36  u32 crc32c of bytes 0..35
 *   records, each padded with zeros to 8 bytes
 *     0  u32 len of the body
 *     4  u32 crc32c of the body, begun with the header's crc: a record of another file never fits
 *     8  body: u8 type (1 = batch), u8 bytes of tenant, u16 0, tenant, payload of the signal
 *
 * A file ends at a zero length, a wrong crc, its size, or at the prev_len that its successor names.
 * So bytes that were written and not acknowledged (the write or its sync failed) are never replayed
 * once something later is acknowledged: that went to a new file, whose header cuts the old one. A
 * file whose creation failed half-way is removed before another may begin. A bad record below
 * prev_len is damage: reported, counted, and replay goes on with the next file.
 *
 * After a failed sync the kernel counts pages as clean that never reached the disk: they can be
 * read until the power goes, and no later sync writes them. Whether a sync failed in the life of
 * another process nobody knows. So a file that must be durable and may be of that kind is written
 * anew, as .<letter>-<generation>-<part>.new, synced and renamed over the old one; what a crash
 * leaves of that is removed at the next open.
 *
 * Threads: the store's writer only; recovery runs before that thread starts. wal_drop and wal_bytes
 * are for any thread. */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/fs.h"
#include "storage/model/batch.h"

#define WAL_FILE_MIN    40 // bytes of the header: a shorter file is nothing yet
#define WAL_TENANT_MAX  64
#define WAL_RECORD_MAX  (192 * MIB)            // bytes of a body; a batch is at most 64 MiB decoded
#define WAL_PAYLOAD_MAX (WAL_RECORD_MAX - 256) // the rest is tenant and head
#define WAL_PART_BYTES  (64 * MIB)             // a part is full above this

struct wal; // opaque

struct wal_options {
    struct fs *fs;
    str dir; // exists; copied
    char letter;
    uint64_t part_bytes; // 0 = WAL_PART_BYTES
    /* Interval mode: nothing is synced but by wal_sync and wal_sync_begin, not even a new file's
     * header and name, and a generation has one part only, so that what a power cut takes of one
     * file cannot be missed by the records of another. */
    bool is_lazy;
};
struct wal_gen {
    uint32_t gen;
    uint32_t first_seq;
    int64_t created_ns;
    uint64_t bytes;
};
struct wal_replay_stats {
    uint64_t records, bytes; // whole records of the generation
    uint64_t damaged;        // files that ended too early, records that nobody could read
    uint64_t cut;    // bytes behind the last whole record of a file that no successor vouches for
    uint64_t unsure; // newest files that could not be written anew: no room, or an error
};

/* Lists the folder and reads the headers. A last file without a whole header (a crash while it was
 * made) is removed; other unreadable ones are renamed to *.bad and counted in *damaged. A file of a
 * newer version: ERR_UNSUPPORTED, naming it. */
MUST_USE bool wal_open(const struct wal_options *o, struct wal **out, uint64_t *damaged,
                       struct err *err);
void wal_close(struct wal *w); // does not sync; NULL is fine
/* Generations on disk, oldest first, in the arena. */
void wal_gens(struct wal *w, struct arena *a, struct wal_gen **out, size_t *n);

/* One record. ERR_CORRUPT counts as damage and replay goes on; other errors end it. Strings live
 * during the call. */
typedef bool wal_replay_fn(void *ctx, str tenant, str payload, struct err *err);
/* All records of one generation in order; call oldest first. Makes what was read of the newest file
 * durable by writing it anew: a killed process leaves it in the page cache only, and records that
 * follow may rest on it. When that fails (`unsure`) none may: begin another generation, and seal
 * this one. Older files are synced, as their successors followed a good sync; lazy: they did not,
 * and these are written anew, too (when that fails wal_sync_gen does it). */
MUST_USE bool wal_replay(struct wal *w, uint32_t gen, wal_replay_fn *fn, void *ctx,
                         struct wal_replay_stats *stats, struct err *err);

/* The generation that following records belong to; >= all on disk. Always begins a new part. Syncs
 * what is open (lazy: leaves it to the next sync); an error means that acknowledged records may not
 * be durable (the switch has happened all the same). */
MUST_USE bool wal_start(struct wal *w, uint32_t gen, struct err *err);
/* Gathers one record. seq and now go into the header if this begins a file. */
void wal_put(struct wal *w, str tenant, str payload, uint32_t seq, int64_t now_ns);
size_t wal_pending(const struct wal *w); // bytes gathered
/* Writes what is gathered, one call. On an error nothing of it counts and the part is closed:
 * begin another generation (wal_start) before the next record, because the signal's encoders took
 * the lost records for written. */
MUST_USE bool wal_write(struct wal *w, struct err *err);
/* Makes everything written durable; a no-op when it is. An error closes the part. */
MUST_USE bool wal_sync(struct wal *w, struct err *err);
/* The same in three steps, so that the middle one may run in another thread while the writer goes
 * on: begin takes what is to be synced (NULL: nothing is), run does it, end takes the result back,
 * which like wal_sync's may close the part. One at a time; wal_sync only between end and begin. */
struct wal_sync;
struct wal_sync *wal_sync_begin(struct wal *w);
void wal_sync_run(struct wal_sync *y);
MUST_USE bool wal_sync_end(struct wal *w, struct wal_sync *y, struct err *err);
uint64_t wal_unsynced(const struct wal *w); // bytes written, not known to be durable
/* After a failed wal_sync of records that were not acknowledged: forgets the last wal_write. */
void wal_take_back(struct wal *w);
bool wal_is_dirty(const struct wal *w); // written and not synced

/* Makes the generation's files durable as far as they are written, before segments of it are
 * published: else a power cut could leave a part of the segments and no log that tells. Those that
 * a failed sync or a restart left in doubt are written anew. Any thread, for one generation one. */
MUST_USE bool wal_sync_gen(struct wal *w, uint32_t gen, struct err *err);
/* Removes the generation's files and makes that durable. */
MUST_USE bool wal_drop(struct wal *w, uint32_t gen, struct err *err);
uint64_t wal_bytes(struct wal *w);                   // on disk
uint64_t wal_gen_bytes(struct wal *w, uint32_t gen); // of one generation
uint64_t wal_largest(struct wal *w);                 // of the largest generation
uint64_t wal_written(struct wal *w);                 // since open
/* The same as the disk sees it: whole pages, again with each sync that they are part of. */
uint64_t wal_written_pages(struct wal *w);

/* Is it the name of a log file, of any signal? */
bool wal_name_ok(str name);
/* Of a log file that is being written anew: it does not count yet. */
bool wal_name_is_new(str name);

/* For tools: reads one file's bytes (header included) as replay would. letter 0 = any. False: no
 * valid header. */
struct wal_file_stats {
    char letter;
    uint32_t gen, part, id, prev_id, prev_len;
    uint64_t records;
    uint64_t good; // bytes up to the first record that does not check
};
bool wal_scan(struct fs *fs, struct file *f, struct wal_file_stats *out, struct err *err);
