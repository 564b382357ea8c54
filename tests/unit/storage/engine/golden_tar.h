/* golden_tar.h - a data directory as one .tar.zst and back, for golden_test.c.
 *
 * SQLite files are mostly empty pages when they are small: as an archive a directory of thirty
 * costs twenty kilobytes, and `tar xf` still shows it to anybody. Plain ustar, files only, sorted,
 * times and owners zero, so that the same directory is the same archive. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "storage/base/compress.h"
#include "storage/base/fs.h"

#define TAR_BLOCK     512
#define TAR_NAME_MAX  100
#define TAR_SIZE_AT   124
#define TAR_SUM_AT    148
#define TAR_TYPE_AT   156
#define TAR_MAGIC_AT  257
#define TAR_DEPTH_MAX 6
#define TAR_FILE_MAX  (16 * MIB)
#define TAR_MAX       (64 * MIB)
#define TAR_LEVEL     19

static inline void must(bool ok, const struct err *err)
{
    if (!ok) {
        fprintf(stderr, "golden_test: %s\n", err->text);
        abort();
    }
}

static inline void write_file(struct fs *fs, str path, str text)
{
    struct file *f;
    struct err err = ERR_OK;
    must(fs_open(fs, path, FS_WRITE | FS_CREATE | FS_TRUNCATE, &f, &err) &&
             fs_pwrite(fs, f, text, 0, &err),
         &err);
    fs_close(fs, f);
}

static inline unsigned tar_sum(const char head[TAR_BLOCK])
{
    unsigned sum = 0;
    for (int i = 0; i < TAR_BLOCK; i++)
        sum += i >= TAR_SUM_AT && i < TAR_SUM_AT + 8 ? ' ' : (unsigned char)head[i];
    return sum;
}

static inline void tar_file(struct buf *out, str path, str bytes)
{
    char head[TAR_BLOCK] = {0};
    static const char zeros[TAR_BLOCK];
    ASSERT(path.n < TAR_NAME_MAX);
    memcpy(head, path.p, path.n);
    (void)snprintf(head + TAR_NAME_MAX, 8, "%07o", 0644);
    (void)snprintf(head + 108, 8, "%07o", 0);
    (void)snprintf(head + 116, 8, "%07o", 0);
    (void)snprintf(head + TAR_SIZE_AT, 12, "%011zo", bytes.n);
    (void)snprintf(head + 136, 12, "%011o", 0);
    head[TAR_TYPE_AT] = '0';
    memcpy(head + TAR_MAGIC_AT,
           "ustar\0"
           "00",
           8);
    (void)snprintf(head + TAR_SUM_AT, 8, "%06o", tar_sum(head));
    head[TAR_SUM_AT + 7] = ' ';
    buf_add(out, (str){head, TAR_BLOCK});
    buf_add(out, bytes);
    buf_add(out, (str){zeros, (TAR_BLOCK - bytes.n % TAR_BLOCK) % TAR_BLOCK});
}

// NOLINTNEXTLINE(misc-no-recursion): at most TAR_DEPTH_MAX deep
static inline void tar_tree(struct fs *fs, str dir, struct buf *out, int depth)
{
    struct arena a;
    struct fs_entry *e;
    size_t n;
    struct err err = ERR_OK;
    arena_init(&a, SIZE_MAX, NULL);
    ASSERT(depth < TAR_DEPTH_MAX);
    must(fs_list(fs, dir, &a, &e, &n, &err), &err);
    for (size_t i = 0; i < n; i++) {
        str path = arena_fmt(&a, STR_FMT "/" STR_FMT, STR_ARG(dir), STR_ARG(e[i].name));
        struct buf b;
        if (e[i].is_dir) {
            if (!str_is(e[i].name, "tmp"))
                tar_tree(fs, path, out, depth + 1);
            continue;
        }
        if (str_is(e[i].name, "LOCK"))
            continue;
        buf_init(&b, TAR_FILE_MAX);
        must(fs_read_all(fs, path, &b, &err), &err);
        tar_file(out, path, buf_str(&b));
        buf_deinit(&b);
    }
    arena_deinit(&a);
}

/* Writes the folder `dir` of `from`, without locks and half-built files; bytes of the archive. */
static inline size_t tar_pack(struct fs *from, str dir, struct fs *to, str path)
{
    static const char end[2 * TAR_BLOCK];
    struct buf raw, packed;
    struct err err = ERR_OK;
    buf_init(&raw, TAR_MAX);
    buf_init(&packed, TAR_MAX);
    tar_tree(from, dir, &raw, 0);
    buf_add(&raw, (str){end, sizeof(end)});
    ASSERT(!raw.over);
    must(compress_to(CODEC_ZSTD, TAR_LEVEL, buf_str(&raw), &packed, &err), &err);
    write_file(to, path, buf_str(&packed));
    size_t n = packed.n;
    buf_deinit(&raw);
    buf_deinit(&packed);
    return n;
}

static inline void tar_extract(str raw, struct fs *to)
{
    struct err err = ERR_OK;
    while (raw.n >= TAR_BLOCK && raw.p[0] != '\0') {
        char head[TAR_BLOCK];
        memcpy(head, raw.p, TAR_BLOCK);
        head[TAR_NAME_MAX - 1] = '\0';
        str path = str_c(head);
        size_t size = (size_t)strtoull(head + TAR_SIZE_AT, NULL, 8);
        size_t step = TAR_BLOCK + (size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
        if (strtoull(head + TAR_SUM_AT, NULL, 8) != tar_sum(head) || head[TAR_TYPE_AT] != '0' ||
            step > raw.n)
            must(err_set(&err, ERR_CORRUPT, "not a tar of files"), &err);
        must(fs_mkdir(to, str_sub(path, 0, str_rfind_char(path, '/')), &err), &err);
        write_file(to, path, str_sub(raw, TAR_BLOCK, TAR_BLOCK + size));
        raw = str_sub(raw, step, raw.n);
    }
}

/* Reads an archive into `to`; its bytes. */
static inline size_t tar_unpack(struct fs *from, str path, struct fs *to)
{
    struct buf raw, packed;
    struct err err = ERR_OK;
    buf_init(&raw, TAR_MAX);
    buf_init(&packed, TAR_MAX);
    must(fs_read_all(from, path, &packed, &err) &&
             decompress(CODEC_ZSTD, buf_str(&packed), TAR_MAX, &raw, &err),
         &err);
    tar_extract(buf_str(&raw), to);
    size_t n = packed.n;
    buf_deinit(&raw);
    buf_deinit(&packed);
    return n;
}
