/* fs_sim_disk.h - inside the simulated file system: the two worlds, as programs see them (`now`)
 * and as they would come back after a power cut (`disk`), and the changes between. Used by fs_sim.c
 * only; its mutex is held in every call. */
#pragma once

#include "storage/base/err.h"
#include "storage/base/hmap.h"
#include "storage/base/prng.h"
#include "storage/base/vec.h"

#define SIM_PATH_MAX 1024

struct bytes {
    char *p;
    size_t n, cap;
};

enum write_kind { WRITE_DATA, WRITE_SIZE };

struct write {
    enum write_kind kind;
    uint64_t off; // SIZE: the new length
    str data;     // owned
    uint64_t seq; // over all files: the order in which they were made
};

struct node {
    struct node *prev, *next; // all nodes of the sim
    size_t refs;
    struct bytes now, disk;
    VEC(struct write) pending;
    bool is_locked;
};

struct name {
    str path;          // owned
    struct node *node; // NULL: a folder
};

struct names {
    VEC(struct name) all;
    struct hmap by_path;
};

struct change { // first `del` goes, then `set` comes; either may be empty
    str del, set;
    struct node *node;
};

struct sim_disk {
    struct prng prng;
    struct names now, disk;
    VEC(struct change) changes; // of names, since they were last made durable
    struct node *nodes;
    uint64_t seq, used; // writes so far; bytes in `now`
    uint64_t lost_writes, torn_writes, lost_names;
};

/* What becomes of pending writes: none, all, all up to one moment, a random mixture. */
enum fate { FATE_LOSE, FATE_KEEP, FATE_CUT, FATE_MIX };

void disk_deinit(struct sim_disk *d);

/* Nodes: files without names. A new one has no reference yet. */
struct node *node_new(struct sim_disk *d);
struct node *node_ref(struct node *node); // NULL is fine
void node_unref(struct sim_disk *d, struct node *node);
void node_change(struct sim_disk *d, struct node *node, enum write_kind kind, uint64_t off,
                 str data);
/* The write may reach the disk, but programs do not see it. */
void node_add_pending(struct sim_disk *d, struct node *node, enum write_kind kind, uint64_t off,
                      str data);
/* Decides what of the pending writes is on the disk. `cut`: with FATE_CUT the write with this
 * number is torn, older ones are whole, newer ones lost. */
void node_settle(struct sim_disk *d, struct node *node, enum fate fate, uint64_t cut);

/* Single slashes, no "." parts, no slash at the end; "" is the working folder. */
bool path_clean(str path, char dst[SIM_PATH_MAX], str *out, struct err *err);
bool path_is_root(str path);
str path_parent(str path); // "a/b/c" -> "a/b", "/a" -> "/", "a" -> ""
struct name *names_find(const struct names *names, str path);
bool names_has_dir(const struct names *names, str path);
bool names_has_children(const struct names *names, str path);

/* First `del` goes, then `set` comes; either may be empty. A node of NULL is a folder. */
void disk_change(struct sim_disk *d, str del, str set, struct node *node);
/* Makes the changes in `dir` durable, with all that they stand on: the folder's own making, and
 * older changes of the same paths. */
void disk_sync_dir(struct sim_disk *d, str dir);
void disk_crash(struct sim_disk *d);
