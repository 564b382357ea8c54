/* span_write.h - writing one span block column by column (format in span_block.h).
 *
 * The maker of a block (span_build, span_merge) calls the functions below in ascending order of
 * column ids, each with all rows; a finished column goes to `emit`, or stays in `col` behind the
 * ones before, and what is all zero or all empty is left out. span_write_dir then gives the
 * directory. One thread. */
#pragma once

#include "storage/base/vec.h"
#include "storage/codec/span_block.h"

struct span_writer {
    struct arena *arena; // scratch
    struct buf col;      // the column being made, from `begin` on
    size_t begin;
    VEC(struct span_block_col) cols;
    /* Takes a finished column; `raw` is gone afterwards. NULL: columns gather in `col`. */
    bool (*emit)(void *ctx, uint32_t id, str raw, struct err *err);
    void *ctx;
};

/* max: bytes of a column, or of all that gather. */
void span_writer_init(struct span_writer *w, struct arena *a,
                      bool (*emit)(void *ctx, uint32_t id, str raw, struct err *err), void *ctx,
                      size_t max);
void span_writer_deinit(struct span_writer *w);

MUST_USE bool span_write_ints(struct span_writer *w, uint32_t id, const int64_t *v, size_t n,
                              struct err *err);
MUST_USE bool span_write_doubles(struct span_writer *w, uint32_t id, const double *v, size_t n,
                                 struct err *err);
MUST_USE bool span_write_dict(struct span_writer *w, uint32_t id, const uint32_t *codes, size_t n,
                              const str *dict, uint32_t n_dict, struct err *err);
MUST_USE bool span_write_codes(struct span_writer *w, uint32_t id, const uint32_t *codes, size_t n,
                               uint32_t n_codes, struct err *err);
MUST_USE bool span_write_fixed(struct span_writer *w, uint32_t id, const void *bytes, size_t n,
                               struct err *err);
/* Columns TRACE_ID to KIND. head->rows and n_traces are set; the times are filled in. */
MUST_USE bool span_write_core(struct span_writer *w, const struct span_core *core,
                              struct span_block_head *head, struct err *err);
MUST_USE bool span_write_resources(struct span_writer *w, const struct resource *const *v, size_t n,
                                   struct err *err);
MUST_USE bool span_write_scopes(struct span_writer *w, const struct scope *const *v, size_t n,
                                struct err *err);
/* The lists of all three tables. */
MUST_USE bool span_write_shapes(struct span_writer *w,
                                const struct span_shapes shapes[SPAN_TABLE_COUNT], struct err *err);
/* Appends the directory. */
void span_write_dir(const struct span_writer *w, const struct span_block_head *head,
                    const struct span_key *keys, uint32_t n_keys, struct buf *out);

/* A resource or scope as it is written; equal bytes = equal things. */
void span_encode_resource(struct buf *b, const struct resource *r);
void span_encode_scope(struct buf *b, const struct scope *s);
