/* bench_log_files.c - how small log lines become, beside plain zstd.
 *
 * bench_log_files [-LEVEL, default 3] (FILE | corpus:KIND:MB)...
 * FILE: text, a line a row. KIND: nginx, json, logfmt, java, journal, or all; lines only, by
 * stream. Lines go through the block writer of segments in blocks of 4 MB, times a ms apart (they
 * cost nothing). Prints per input: raw MB; what plain zstd at that level makes of the same text;
 * what the store writes (all parts of all blocks); MB/s of writing; MB/s of reading back, which is
 * compared with the input. CPU of one core. Exit status 1: plain zstd was smaller by more than the
 * envelopes of the parts. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "storage/base/compress.h"
#include "storage/base/num.h"
#include "storage/codec/log_block.h"
#include "tests/bench/log_corpus.h"

#define ENVELOPES ((uint64_t)96) // bytes of a block that are no lines
#define FILE_MAX  ((size_t)2 << 30)

struct lines {
    struct buf text;
    VEC(struct log_row) rows; // offsets in line.p until the text stands
};

struct totals {
    uint64_t raw, zstd, stored, blocks;
    double write_s, read_s;
};

struct mem_parts {
    struct log_parts base;
    struct buf part[LOG_PART_COUNT];
};

static double cpu_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

NORETURN static void die(const char *what, const struct err *err)
{
    (void)fprintf(stderr, "%s: %s\n", what, err ? err->text : strerror(errno));
    exit(2);
}

static void add_line(struct lines *l, str line)
{
    vec_push(&l->rows, NULL, (struct log_row){.line = {NULL, line.n}});
    buf_add(&l->text, line);
}

/* Text in one piece, then rows that point into it. */
static void finish(struct lines *l)
{
    const char *p = l->text.p;
    for (size_t i = 0; i < l->rows.n; i++) {
        l->rows.v[i].t_ns = (int64_t)i * 1000000;
        l->rows.v[i].line.p = p;
        p += l->rows.v[i].line.n;
    }
}

static void read_text(struct lines *l, const char *path)
{
    FILE *f = fopen(path, "rb");
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    if (!f)
        die(path, NULL);
    while ((n = getline(&line, &cap, f)) > 0)
        add_line(l, (str){line, (size_t)n - (line[n - 1] == '\n')});
    free(line);
    (void)fclose(f);
}

/* Lines of one stream after the other, as a segment has them. */
static void read_corpus(struct lines *l, str kind, uint64_t bytes)
{
    struct lines by_stream[LOG_CORPUS_STREAMS] = {0};
    struct log_corpus *c = mem_alloc(sizeof *c);
    struct log_corpus_line line;
    log_corpus_init(c, 1);
    for (size_t i = 0; i < LOG_CORPUS_STREAMS; i++)
        buf_init(&by_stream[i].text, FILE_MAX);
    for (uint64_t raw = 0; raw < bytes; raw += line.line.n) {
        log_corpus_next(c, &line);
        add_line(&by_stream[line.stream], line.line);
    }
    for (uint32_t i = 0; i < LOG_CORPUS_STREAMS; i++) {
        struct lines *s = &by_stream[i];
        finish(s);
        for (size_t k = 0; k < s->rows.n; k++) {
            if (str_eq(kind, STR("all")) || str_eq(kind, str_c(log_corpus_kind(i))))
                add_line(l, s->rows.v[k].line);
        }
        vec_free(&s->rows);
        buf_deinit(&s->text);
    }
    mem_free(c);
}

static bool get_part(struct log_parts *p, enum log_part part, struct arena *a, str *blob,
                     struct err *err)
{
    (void)a;
    (void)err;
    *blob = buf_str(&CONTAINER_OF(p, struct mem_parts, base)->part[part]);
    return true;
}

static void read_back(struct mem_parts *p, const struct log_row *rows, size_t n)
{
    struct arena a, scratch;
    struct log_dir dir;
    struct log_picked got;
    struct err err = ERR_OK;
    struct log_pick pick = {.start_ns = INT64_MIN, .last_ns = INT64_MAX, .line = true};
    arena_init(&a, SIZE_MAX, NULL);
    arena_init(&scratch, SIZE_MAX, NULL);
    if (!log_dir_read(buf_str(&p->part[LOG_PART_DIR]), &a, &dir, &err) ||
        !log_block_read(&dir, &p->base, &pick, &a, &scratch, &got, &err))
        die("read", &err);
    bool same = got.n == n;
    for (size_t i = 0; i < n && same; i++)
        same = str_eq(got.line[i], rows[i].line);
    if (!same)
        die("read", &(struct err){.text = "other lines came back"});
    arena_deinit(&a);
    arena_deinit(&scratch);
}

static void one_block(struct log_writer *w, const struct log_row *rows, size_t n, size_t raw,
                      int level, struct totals *t)
{
    struct mem_parts p = {.base = {get_part}};
    struct buf text, plain;
    struct err err = ERR_OK;
    struct log_run run = {.rows = (uint32_t)n};
    for (size_t i = 0; i < LOG_PART_COUNT; i++)
        buf_init(&p.part[i], LOG_PART_RAW_MAX);
    buf_init(&text, LOG_PART_RAW_MAX);
    buf_init(&plain, LOG_PART_RAW_MAX);
    for (size_t i = 0; i < n; i++) {
        buf_add(&text, rows[i].line);
        buf_add_char(&text, '\n');
    }
    if (!compress_to(CODEC_ZSTD, level, buf_str(&text), &plain, &err))
        die("zstd", &err);
    t->zstd += plain.n;
    double start = cpu_s();
    if (!log_block_write(w, rows, &run, 1, log_block_level(level, raw), p.part, &err))
        die("write", &err);
    t->write_s += cpu_s() - start;
    for (size_t i = 0; i < LOG_PART_COUNT; i++)
        t->stored += p.part[i].n;
    start = cpu_s();
    read_back(&p, rows, n);
    t->read_s += cpu_s() - start;
    t->raw += raw;
    t->blocks++;
    buf_deinit(&plain);
    buf_deinit(&text);
    for (size_t i = 0; i < LOG_PART_COUNT; i++)
        buf_deinit(&p.part[i]);
}

static bool measure(const char *name, const struct lines *l, int level)
{
    struct log_writer *w = log_writer_open();
    struct totals t = {0};
    for (size_t from = 0, to; from < l->rows.n; from = to) {
        size_t raw = 0;
        for (to = from; to < l->rows.n && to - from < LOG_BLOCK_ROWS && raw < LOG_BLOCK_RAW; to++)
            raw += l->rows.v[to].line.n;
        if (raw > 0)
            one_block(w, l->rows.v + from, to - from, raw, level, &t);
    }
    log_writer_close(w);
    if (t.raw == 0)
        return true;
    double raw = (double)t.raw;
    bool lost = t.stored > t.zstd + t.zstd / 200 + ENVELOPES * t.blocks;
    (void)printf("%-32s %9.2f MB  zstd %6.2f : 1  stored %6.2f : 1  write %5.0f MB/s  read %5.0f "
                 "MB/s%s\n",
                 name, raw / 1e6, raw / (double)t.zstd, raw / (double)t.stored,
                 raw / t.write_s / 1e6, raw / t.read_s / 1e6, lost ? "  LOST" : "");
    return !lost;
}

int main(int argc, char **argv)
{
    int level = 3;
    bool ok = true;
    for (int i = 1; i < argc; i++) {
        struct lines l = {0};
        int64_t mb = 0;
        str arg = str_c(argv[i]), rest = str_sub(arg, 7, arg.n);
        if (arg.n > 1 && arg.p[0] == '-') {
            level = (int)strtol(argv[i] + 1, NULL, 10);
            continue;
        }
        buf_init(&l.text, FILE_MAX);
        size_t colon = str_find_char(rest, ':');
        if (!str_starts(arg, STR("corpus:")) || colon == SIZE_MAX)
            read_text(&l, argv[i]);
        else if (num_parse_i64(str_sub(rest, colon + 1, rest.n), &mb) && mb > 0)
            read_corpus(&l, str_sub(rest, 0, colon), (uint64_t)mb * 1000000);
        finish(&l);
        ok &= measure(argv[i], &l, level);
        vec_free(&l.rows);
        buf_deinit(&l.text);
    }
    return !ok;
}
