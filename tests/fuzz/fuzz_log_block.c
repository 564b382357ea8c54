// links: trivet_codec
/* fuzz_log_block.c - lines cut out of the input come back from a block in both kinds, and no needle
 * loses one; the input as parts behind right checksums fails or gives rows, never worse. */
#include <stdlib.h>

#include "storage/codec/block.h"
#include "storage/codec/log_block.h"
#include "storage/codec/log_payload.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct mem_parts {
    struct log_parts base;
    struct buf part[LOG_PART_COUNT];
};

static bool get_part(struct log_parts *p, enum log_part part, struct arena *a, str *blob,
                     struct err *err)
{
    (void)a;
    (void)err;
    *blob = buf_str(&CONTAINER_OF(p, struct mem_parts, base)->part[part]);
    return true;
}

/* rows NULL: anything may come. Else all of them must, but for those without the needle. */
static void read_block(struct mem_parts *p, const struct log_row *rows, size_t n, str needle)
{
    struct err err = ERR_OK;
    struct arena a, scratch;
    struct log_dir dir;
    struct log_picked got;
    struct log_needle ln;
    struct log_pick pick = {
        .start_ns = INT64_MIN, .last_ns = INT64_MAX, .line = true, .meta = true};
    bool may = true;
    arena_init(&a, 128 * MIB, NULL);
    arena_init(&scratch, 128 * MIB, NULL);
    log_needle_init(&ln, needle);
    pick.wanted.needles = &ln;
    pick.wanted.n_needles = needle.n > 0;
    bool ok =
        log_dir_read(buf_str(&p->part[LOG_PART_DIR]), &a, &dir, &err) &&
        log_block_may_match(&dir, buf_str(&p->part[LOG_PART_FILTER]), &pick.wanted, &may, &err) &&
        log_block_read(&dir, &p->base, &pick, &a, &scratch, &got, &err);
    if (rows && !ok)
        abort();
    for (size_t i = 0, k = 0; rows && i < n; i++) {
        bool must = str_find(rows[i].line, needle) != SIZE_MAX;
        bool here = k < got.n && got.t_ns[k] == rows[i].t_ns && str_eq(got.line[k], rows[i].line) &&
                    labels_eq(got.meta[k], rows[i].meta);
        if (must && (!here || !may))
            abort();
        k += here;
    }
    arena_deinit(&a);
    arena_deinit(&scratch);
}

static void round_trip(struct mem_parts *p, str text, uint8_t repeat)
{
    struct arena a;
    struct err err = ERR_OK;
    VEC(struct log_row) rows = {0};
    struct log_run runs[2] = {{.stream = 1}, {.stream = 9}};
    arena_init(&a, SIZE_MAX, NULL);
    str line, rest = text, needle = str_sub(text, text.n / 2, text.n / 2 + repeat % 40);
    while (str_split(&rest, '\n', &line)) {
        struct label *meta = arena_array(&a, struct label, 1);
        *meta = (struct label){line.n % 3 ? STR("a") : STR("id"), str_sub(line, 0, 32)};
        struct log_row row = {
            .t_ns = (int64_t)rows.n * 1000003, .line = line, .meta = {meta, line.n % 2}};
        vec_push(&rows, &a, row);
    }
    size_t n = rows.n; // again and again: blocks of some size become templates
    for (size_t i = 0; n > 0 && rows.n < n * (1 + (size_t)repeat * 8) && i * text.n / n < 100000;
         i++)
        vec_push(&rows, &a,
                 (struct log_row){.t_ns = (int64_t)rows.n * 1000003, .line = rows.v[i].line});
    runs[0].rows = (uint32_t)(rows.n / 3);
    runs[1].rows = (uint32_t)rows.n - runs[0].rows;
    const struct log_run *from = runs[0].rows ? runs : runs + 1;
    struct log_writer *w = log_writer_open();
    for (int plain = 0; rows.n > 0 && rows.n <= LOG_BLOCK_ROWS && plain < 2; plain++) {
        if (!(plain ? log_block_write_plain : log_block_write)(
                w, rows.v, from, (size_t)(runs + 2 - from), 1, p->part, &err))
            abort();
        read_block(p, rows.v, rows.n, (str){0});
        read_block(p, rows.v, rows.n, needle);
    }
    log_writer_close(w);
    arena_deinit(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mem_parts p = {.base = {get_part}};
    struct err err = ERR_OK;
    str rest = {(const char *)data, size};
    for (size_t i = 0; i < LOG_PART_COUNT; i++)
        buf_init(&p.part[i], 64 * MIB);
    if (size > 1)
        round_trip(&p, str_sub(rest, 1, size), data[0]);
    for (size_t i = 0; i < LOG_PART_COUNT; i++) { // two bytes of length before each part
        size_t n = rest.n < 2 ? 0 : (uint8_t)rest.p[0] | (size_t)(uint8_t)rest.p[1] << 8;
        str raw = str_sub(rest, 2, 2 + n);
        rest = str_sub(rest, 2 + n, rest.n);
        buf_clear(&p.part[i]);
        if (raw.n > 0 && !blob_pack(1, 0, raw, &p.part[i], &err))
            abort();
    }
    read_block(&p, NULL, 0, (str){0});
    read_block(&p, NULL, 0, STR("ab12cd34"));
    struct arena a;
    struct batch b;
    arena_init(&a, 64 * MIB, NULL);
    batch_init(&b, SIGNAL_LOGS, &a);
    (void)!log_payload_read(buf_str(&p.part[LOG_PART_DIR]), &b, &err);
    arena_deinit(&a);
    for (size_t i = 0; i < LOG_PART_COUNT; i++)
        buf_deinit(&p.part[i]);
    return 0;
}
