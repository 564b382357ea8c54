/* span_ids.h - spans of a trace by their ids. */
#pragma once

#include "storage/base/hmap.h"
#include "storage/store.h"

struct span_ids {
    const struct span_set *set;
    struct hmap map; // in the arena
};

/* Of several spans with one id the first is found: of the two sides of a call the server's. */
void span_ids_init(struct span_ids *ids, const struct span_set *set, struct arena *a);
/* Index in the set, or HMAP_NONE. */
uint32_t span_ids_find(const struct span_ids *ids, const uint8_t id[8]);
