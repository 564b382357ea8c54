/* fs_sim.h - struct fs in memory: a fast store for tests, and a disk that crashes on command.
 *
 * Every write and sync is counted. fs_sim_crash keeps what was synced and, by the seed, any subset
 * of the later writes (whole, torn at 512-byte borders, or garbled); unsynced folder changes
 * (create, rename, unlink) may be lost likewise, in order. Faults: the n-th operation fails with
 * EIO or ENOSPC; a capacity gives ENOSPC by itself. Thread-safe. */
#pragma once

#include "storage/base/fs.h"

struct fs_sim; // embeds struct fs

struct fs_sim *fs_sim_open(uint64_t seed);
void fs_sim_close(struct fs_sim *sim);
struct fs *fs_sim_fs(struct fs_sim *sim);
uint64_t fs_sim_ops(const struct fs_sim *sim); // writes, syncs, renames, unlinks so far
/* From operation number `at` on every call fails with ERR_IO "simulated crash" until fs_sim_crash.
 */
void fs_sim_crash_at(struct fs_sim *sim, uint64_t at);
void fs_sim_crash(
    struct fs_sim *sim); // lose what was not synced; usable again; open files stay dead
void fs_sim_fail_at(struct fs_sim *sim, uint64_t at, int errno_value,
                    uint64_t count);                                         // EIO, ENOSPC
void fs_sim_set_capacity(struct fs_sim *sim, uint64_t bytes);                // 0 = unlimited
void fs_sim_flip(struct fs_sim *sim, str path, uint64_t byte, uint8_t mask); // bit rot
