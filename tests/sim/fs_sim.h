/* fs_sim.h - struct fs in memory: a fast store for tests, and a disk that crashes on command.
 *
 * What a crash keeps. Of a file: what was synced, and by the seed any subset of the later writes
 * (whole, torn at 512-byte borders, garbled, or only the file's new length). Of the folders: what
 * fs_sync_dir made durable (the changes in that folder, with the older changes of the same paths
 * and the folder's own parents), and by the seed the first k of the other changes (create, rename,
 * unlink), in order. Syncing a file does not make its name durable. One crash in eight loses all
 * that was not synced, one in eight nothing (as kill -9 would).
 *
 * Faults: the n-th operation fails with EIO or ENOSPC; a capacity gives ENOSPC by itself. A write
 * that fails may leave a part of its bytes; a sync that fails decides by the seed what reached the
 * disk and forgets the rest, as Linux does: a later sync that succeeds does not bring it back.
 *
 * Reads may fail or bring a flipped bit, bytes and names may rot at rest, syncs may take their time
 * (on the manual clock).
 *
 * Everything is determined by the seed and the order of calls. Thread-safe (one mutex). Folders
 * cannot be renamed. The folders "", "." and "/" always exist. */
#pragma once

#include "storage/base/clock.h"
#include "storage/base/fs.h"

struct fs_sim; // embeds struct fs

struct fs_sim *fs_sim_open(uint64_t seed);
void fs_sim_close(struct fs_sim *sim); // frees files that are still open, too; NULL is fine
struct fs *fs_sim_fs(struct fs_sim *sim);
/* Operations so far: writes, syncs, truncates, creates, renames, unlinks, mkdirs, failed ones
 * included. The next one has this number. */
uint64_t fs_sim_ops(const struct fs_sim *sim);
/* From operation number `at` on every call fails with ERR_IO "simulated crash" until fs_sim_crash;
 * the write with number `at` may still arrive in part. UINT64_MAX disarms. */
void fs_sim_crash_at(struct fs_sim *sim, uint64_t at);
/* Loses what was not synced; usable again, faults disarmed; files opened before stay dead (every
 * call on them is ERR_IO) but must still be closed. */
void fs_sim_crash(struct fs_sim *sim);
/* Operations [at, at + count) fail with EIO or ENOSPC. */
void fs_sim_fail_at(struct fs_sim *sim, uint64_t at, int errno_value, uint64_t count);
/* Of the next reads, those with number [in, in + count) from now on fail with EIO, or (flips) bring
 * one wrong bit. count 0 disarms. */
void fs_sim_fault_reads(struct fs_sim *sim, uint64_t in, uint64_t count, bool flips);
/* From now on a sync takes so long on the (manual) clock. 0 = no time. */
void fs_sim_slow_sync(struct fs_sim *sim, struct clock *clock, int64_t ns);
void fs_sim_set_capacity(struct fs_sim *sim, uint64_t bytes); // 0 = unlimited
/* While held, fdatasync of files does not return: a card that is busy with itself. */
void fs_sim_hold_syncs(struct fs_sim *sim, bool held);
size_t fs_sim_held_syncs(struct fs_sim *sim); // how many wait
/* Bit rot: xors one stored byte, in memory and on the disk. Asserts that it exists. */
void fs_sim_flip(struct fs_sim *sim, str path, uint64_t byte, uint8_t mask);
/* What was done to the disk so far. */
struct fs_sim_stats {
    uint64_t crashes;                  // fs_sim_crash
    uint64_t lost_writes, torn_writes; // by a crash or a failed sync: gone, or in part or garbled
    uint64_t lost_names;               // changes of names that a crash undid
    uint64_t eio, enospc;              // failed operations; also by the capacity
    uint64_t read_eio, read_flips;     // failed and wrong reads
    uint64_t flips;                    // fs_sim_flip
    uint64_t slow_syncs;
};
void fs_sim_stats(struct fs_sim *sim, struct fs_sim_stats *out);
