/* log_block_test.c - what goes in comes out, in both kinds; searches lose no line; foreign bytes
 * are refused. */
#include "storage/codec/log_block.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "storage/base/err.h"
#include "storage/base/prng.h"
#include "storage/base/vec.h"
#include "storage/codec/block.h"
#include "storage/codec/fuse.h"
#include "storage/codec/log_ids.h"

struct data {
    struct arena a;
    VEC(struct log_row) rows;
    VEC(struct log_run) runs;
};

struct blob_parts {
    struct log_parts base;
    struct buf part[LOG_PART_COUNT];
    unsigned reads[LOG_PART_COUNT];
};

static bool get_part(struct log_parts *p, enum log_part part, struct arena *a, str *blob,
                     struct err *err)
{
    (void)a;
    (void)err;
    struct blob_parts *b = CONTAINER_OF(p, struct blob_parts, base);
    b->reads[part]++;
    *blob = buf_str(&b->part[part]);
    return true;
}

static void parts_init(struct blob_parts *p)
{
    *p = (struct blob_parts){.base = {get_part}};
    for (size_t i = 0; i < LOG_PART_COUNT; i++)
        buf_init(&p->part[i], LOG_PART_RAW_MAX);
}

static void parts_deinit(struct blob_parts *p)
{
    for (size_t i = 0; i < LOG_PART_COUNT; i++)
        buf_deinit(&p->part[i]);
}

static void data_init(struct data *d)
{
    *d = (struct data){0};
    arena_init(&d->a, SIZE_MAX, NULL);
}

static void add_run(struct data *d, uint32_t stream)
{
    vec_push(&d->runs, &d->a, (struct log_run){.stream = stream});
}

static void add_meta(struct data *d, int64_t t_ns, str line, struct labels meta)
{
    vec_push(&d->rows, &d->a, (struct log_row){.t_ns = t_ns, .line = line, .meta = meta});
    vec_last(&d->runs)->rows++;
    vec_last(&d->runs)->raw += line.n;
}

static void add(struct data *d, int64_t t_ns, str line)
{
    add_meta(d, t_ns, line, (struct labels){0});
}

/* As older versions wrote it. */
static void put_filter(const struct log_writer *w, struct buf *out)
{
    struct err err = ERR_OK;
    struct buf raw;
    struct log_block_ids ids = log_writer_ids(w);
    buf_clear(out);
    if (ids.n == 0)
        return;
    uint64_t *keys = mem_alloc(ids.n * sizeof keys[0]);
    memcpy(keys, ids.keys, ids.n * sizeof keys[0]);
    buf_init(&raw, LOG_PART_RAW_MAX);
    assert_true(fuse_build(FUSE_8, keys, ids.n, &raw, &err));
    assert_true(blob_pack(1, 0, buf_str(&raw), out, &err));
    buf_deinit(&raw);
    mem_free(keys);
}

static void encode(struct data *d, bool plain, struct blob_parts *p, struct log_dir *dir)
{
    struct err err = ERR_OK;
    struct log_writer *w = log_writer_open();
    bool ok = (plain ? log_block_write_plain : log_block_write)(w, d->rows.v, d->runs.v, d->runs.n,
                                                                3, p->part, &err);
    if (!ok)
        fail_msg("%s", err.text);
    assert_int_equal(p->part[LOG_PART_FILTER].n, 0);
    put_filter(w, &p->part[LOG_PART_FILTER]);
    log_writer_close(w);
    if (!log_dir_read(buf_str(&p->part[LOG_PART_DIR]), &d->a, dir, &err))
        fail_msg("%s", err.text);
    assert_int_equal(dir->rows, d->rows.n);
    assert_int_equal(dir->n_runs, d->runs.n);
    for (size_t i = 0; i < dir->n_runs; i++) {
        assert_int_equal(dir->runs[i].stream, d->runs.v[i].stream);
        assert_int_equal(dir->runs[i].rows, d->runs.v[i].rows);
        assert_int_equal(dir->runs[i].raw, d->runs.v[i].raw);
    }
}

static bool holds_all(str line, const struct log_needle *needles, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (str_find(line, needles[i].text) == SIZE_MAX)
            return false;
    }
    return true;
}

static void check_row(const struct log_row *row, const struct log_picked *got, size_t k)
{
    assert_int_equal(got->t_ns[k], row->t_ns);
    if (got->len)
        assert_int_equal(got->len[k], row->line.n);
    if (got->line)
        assert_true(str_eq(got->line[k], row->line));
    if (got->meta)
        assert_true(labels_eq(got->meta[k], row->meta));
}

/* Every wanted row that holds the needles must come, in order, and with few needles no other.
 * Returns rows given. */
static size_t check_pick(struct data *d, struct blob_parts *p, const struct log_dir *dir,
                         const struct log_pick *pick)
{
    struct err err = ERR_OK;
    struct arena a, scratch;
    arena_init(&a, SIZE_MAX, NULL);
    arena_init(&scratch, SIZE_MAX, NULL);
    struct log_picked got;
    if (!log_block_read(dir, &p->base, pick, &a, &scratch, &got, &err))
        fail_msg("%s", err.text);
    assert_int_equal(got.line != NULL, pick->line);
    assert_int_equal(got.meta != NULL, pick->meta);
    bool may = true;
    assert_true(
        log_block_may_match(dir, buf_str(&p->part[LOG_PART_FILTER]), &pick->wanted, &may, &err));
    size_t row = 0, k = 0, n_must = 0;
    for (size_t i = 0; i < d->runs.n; i++) {
        assert_int_equal(got.run_start[i], k);
        for (size_t j = 0; j < d->runs.v[i].rows; j++, row++) {
            const struct log_row *r = &d->rows.v[row];
            bool wanted = (!pick->run || pick->run[i]) && r->t_ns >= pick->start_ns &&
                          r->t_ns <= pick->last_ns;
            bool must = wanted && holds_all(r->line, pick->wanted.needles, pick->wanted.n_needles);
            n_must += must;
            if (must && !may)
                fail_msg("filter loses: %.*s", (int)r->line.n, r->line.p);
            bool here = k < got.run_start[i + 1] && got.t_ns[k] == r->t_ns && wanted &&
                        (!got.line || str_eq(got.line[k], r->line));
            if (must && !here)
                fail_msg("lost row %zu: %.*s", row, (int)MIN(r->line.n, (size_t)300), r->line.p);
            if (here && (must || got.line || pick->wanted.n_needles == 0))
                check_row(r, &got, k++);
            else if (here)
                k++;
        }
    }
    assert_int_equal(k, got.n);
    if (pick->wanted.n_needles <= LOG_NEEDLES_MAX)
        assert_int_equal(n_must, got.n);
    assert_int_equal(got.run_start[d->runs.n], got.n);
    arena_deinit(&a);
    arena_deinit(&scratch);
    return got.n;
}

static const struct log_pick pick_all = {
    .start_ns = INT64_MIN, .last_ns = INT64_MAX, .line = true, .len = true, .meta = true};

static void check_block(struct data *d, bool plain, struct blob_parts *p, struct log_dir *dir)
{
    encode(d, plain, p, dir);
    assert_int_equal(check_pick(d, p, dir, &pick_all), d->rows.n);
    struct log_pick pick = {.start_ns = INT64_MIN, .last_ns = INT64_MAX};
    assert_int_equal(check_pick(d, p, dir, &pick), d->rows.n);
    pick.len = true;
    assert_int_equal(check_pick(d, p, dir, &pick), d->rows.n);
    pick.len = false;
    pick.meta = true;
    assert_int_equal(check_pick(d, p, dir, &pick), d->rows.n);
}

static void check_both(struct data *d)
{
    struct blob_parts p;
    struct log_dir dir;
    parts_init(&p);
    check_block(d, false, &p, &dir);
    check_block(d, true, &p, &dir);
    parts_deinit(&p);
}

/* ---- small shapes ---- */

static void test_edges(void **state)
{
    (void)state;
    static const str lines[] = {
        STR_INIT(""),
        STR_INIT("\0\1\2\3\4\5\6\377\376 nul and invalid UTF-8 \300\200"),
        STR_INIT("0 00 000 0000000000000000000000000000000000 18446744073709551615"),
        STR_INIT("123456789012345678 1234567890123456789 deadbeef deadbee1 DEADBEE1 0xdeadbee1"),
        STR_INIT("01HF3A4B5C6D7E8F9G a1b2c3d4e5f6g7h8 x9 9x a.b.c 1.2.3.4 00:01:02"),
    };
    struct data d;
    data_init(&d);
    for (uint32_t run = 0; run < 3; run++) {
        add_run(&d, run * 1000);
        for (size_t i = 0; i < COUNTOF(lines); i++)
            add(&d, run == 1 ? INT64_MIN + (int64_t)i : (int64_t)(i / 2) * 1000, lines[i]);
    }
    add_run(&d, UINT32_MAX);
    add(&d, INT64_MAX, lines[1]);
    check_both(&d);
    arena_deinit(&d.a);
}

static void test_big_line(void **state)
{
    (void)state;
    struct data d;
    data_init(&d);
    char *text = arena_alloc(&d.a, MIB);
    struct prng rng;
    prng_init(&rng, 1);
    for (size_t i = 0; i < MIB; i++)
        text[i] = (char)prng_next(&rng);
    add_run(&d, 7);
    for (int i = 0; i < 3; i++)
        add(&d, i, (str){text, MIB});
    char *digits = arena_alloc(&d.a, MIB);
    for (size_t i = 0; i < MIB; i++)
        digits[i] = i & 1 ? '1' : ' ';
    for (int i = 3; i < 7; i++)
        add(&d, i, (str){digits, MIB});
    check_both(&d);
    arena_deinit(&d.a);
}

static void test_limits(void **state)
{
    (void)state;
    struct data d;
    data_init(&d);
    struct err err = ERR_OK;
    struct blob_parts p;
    parts_init(&p);
    add_run(&d, 1);
    char *text = arena_zalloc(&d.a, MIB);
    for (int i = 0; i < 9; i++)
        add(&d, i, (str){text, MIB});
    struct log_writer *w = log_writer_open();
    assert_false(log_block_write(w, d.rows.v, d.runs.v, 1, 3, p.part, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    log_writer_close(w);
    parts_deinit(&p);
    arena_deinit(&d.a);
}

/* ---- a corpus that templates like ---- */

static str hex_text(struct data *d, struct prng *rng, size_t n)
{
    char *p = arena_alloc(&d->a, n + 1);
    for (size_t i = 0; i < n; i++)
        p[i] = "0123456789abcdef"[prng_below(rng, 16)];
    p[n] = 0;
    return (str){p, n};
}

static str make_line(struct data *d, struct prng *rng, int64_t t_ns, str trace, str span)
{
    unsigned a = (unsigned)prng_below(rng, 100000), b = (unsigned)prng_below(rng, 250);
    unsigned ms = (unsigned)(t_ns / 1000000 % 1000);
    static const char *const words[] = {"alpha", "beta", "gamma", "error", "face"};
    const char *word = words[prng_below(rng, COUNTOF(words))];
    switch (prng_below(rng, 6)) {
    case 0:
        return arena_fmt(&d->a, "10.2.%u.%u - GET /%s/%u?x=%u 200 rt=0.%03u", b, a % 256, word, a,
                         b, b);
    case 1:
        return arena_fmt(&d->a, "{\"trace_id\":\"%s\",\"span_id\":\"%s\",\"ms\":%03u,\"u\":%u}",
                         trace.p, span.p, ms, a);
    case 2:
        return arena_fmt(&d->a, "%s failed after %u ms: id=0x%08x %s", word, b, a * 7919, word);
    case 3:
        return arena_fmt(&d->a, "ts=%lld ulid=01HF%08XZ%04X job-%u-%s", (long long)t_ns, a * 77771,
                         b, a, word);
    case 4:
        return arena_fmt(&d->a, "block=%s parent=%s ok", span.p, trace.p);
    default:
        return arena_fmt(&d->a, "session opened for user %s(uid=%u)\n\tat frame.%s(F.java:%u)",
                         word, b, word, b % 7);
    }
}

static struct labels make_meta(struct data *d, struct prng *rng, str trace, str span)
{
    unsigned kind = (unsigned)prng_below(rng, 5);
    if (kind == 0)
        return (struct labels){0};
    struct label *v = arena_array(&d->a, struct label, 4);
    size_t n = 0;
    if (kind > 1)
        v[n++] =
            (struct label){STR("detected_level"), prng_below(rng, 2) ? STR("info") : STR("error")};
    if (kind > 2)
        v[n++] = (struct label){STR("key"), arena_fmt(&d->a, "v%u", (unsigned)prng_next(rng))};
    v[n++] = (struct label){STR("span_id"), span};
    v[n++] = (struct label){STR("trace_id"), trace};
    return (struct labels){v, n};
}

static void fill(struct data *d, struct prng *rng, size_t n_runs, size_t n_rows)
{
    uint32_t stream = 0;
    for (size_t i = 0; i < n_runs; i++) {
        add_run(d, stream += 1 + (uint32_t)prng_below(rng, 5));
        int64_t t = INT64_C(1700000000000000000) + (int64_t)prng_below(rng, 1000000);
        str trace = hex_text(d, rng, 32);
        for (size_t j = 0; j < n_rows; j++) {
            t += (int64_t)prng_below(rng, 3000000);
            if (prng_below(rng, 3) == 0)
                trace = hex_text(d, rng, 32);
            str span = hex_text(d, rng, 16);
            add_meta(d, t, make_line(d, rng, t, trace, span), make_meta(d, rng, trace, span));
        }
    }
}

static void test_templates(void **state)
{
    (void)state;
    struct data d;
    data_init(&d);
    struct prng rng;
    prng_init(&rng, 42);
    fill(&d, &rng, 9, 700);
    struct blob_parts p;
    struct log_dir dir;
    parts_init(&p);
    check_block(&d, true, &p, &dir);
    assert_int_equal(dir.kind, LOG_KIND_PLAIN);
    check_block(&d, false, &p, &dir);
    assert_int_equal(dir.kind, LOG_KIND_TEMPLATES);

    bool run[9] = {false, true, false, false, true};
    struct log_pick pick = pick_all;
    pick.run = run;
    assert_int_equal(check_pick(&d, &p, &dir, &pick), 1400);
    pick.start_ns = d.rows.v[800].t_ns;
    pick.last_ns = d.rows.v[900].t_ns;
    (void)check_pick(&d, &p, &dir, &pick);
    pick.meta = false;
    (void)check_pick(&d, &p, &dir, &pick);
    pick.start_ns = INT64_MAX;
    assert_int_equal(check_pick(&d, &p, &dir, &pick), 0);

    memset(p.reads, 0, sizeof p.reads);
    pick = (struct log_pick){.start_ns = INT64_MIN, .last_ns = INT64_MAX};
    (void)check_pick(&d, &p, &dir, &pick);
    assert_int_equal(p.reads[LOG_PART_DICT] + p.reads[LOG_PART_INTS] + p.reads[LOG_PART_HEXS], 0);
    parts_deinit(&p);
    arena_deinit(&d.a);
}

/* Windows with no, one and some more rows: what is looked up, and what is walked to. */
static void test_few(void **state)
{
    (void)state;
    struct data d;
    data_init(&d);
    struct prng rng;
    prng_init(&rng, 99);
    fill(&d, &rng, 3, 900);
    struct blob_parts p;
    struct log_dir dir;
    parts_init(&p);
    encode(&d, false, &p, &dir);
    assert_int_equal(dir.kind, LOG_KIND_TEMPLATES);
    for (size_t i = 0; i < 400; i++) {
        bool run[3] = {i & 1, i & 2, true};
        size_t row = prng_below(&rng, d.rows.n - 14);
        struct log_needle needle;
        str line = d.rows.v[row].line;
        log_needle_init(&needle, str_sub(line, line.n / 3, line.n / 3 + i % 9));
        struct log_pick pick = pick_all;
        pick.run = run;
        pick.start_ns = d.rows.v[row].t_ns;
        pick.last_ns = pick.start_ns + (int64_t)(i % 14) * 1000000;
        pick.wanted.needles = &needle;
        pick.wanted.n_needles = i % 5 == 0;
        for (int want = 0; want < 4; want++) {
            pick.line = want & 1;
            pick.meta = want & 2;
            (void)check_pick(&d, &p, &dir, &pick);
        }
    }
    parts_deinit(&p);
    arena_deinit(&d.a);
}

static void check_needles(struct data *d, struct blob_parts *p, const struct log_dir *dir,
                          const str *texts, size_t n)
{
    struct log_needle needles[2];
    ASSERT(n <= COUNTOF(needles));
    for (size_t i = 0; i < n; i++)
        log_needle_init(&needles[i], texts[i]);
    for (int want = 0; want < 3; want++) {
        struct log_pick pick = pick_all;
        pick.line = want == 0;
        pick.len = pick.meta = want == 1;
        pick.wanted.needles = needles;
        pick.wanted.n_needles = n;
        (void)check_pick(d, p, dir, &pick);
    }
}

static void test_needles(void **state)
{
    (void)state;
    struct data d;
    data_init(&d);
    struct prng rng;
    prng_init(&rng, 7);
    fill(&d, &rng, 5, 800);
    struct blob_parts p;
    struct log_dir dir;
    parts_init(&p);
    for (int plain = 0; plain < 2; plain++) {
        encode(&d, plain, &p, &dir);
        static const str fixed[] = {
            STR_INIT("error"),   STR_INIT("face"),       STR_INIT("e"),        STR_INIT("\"u\":"),
            STR_INIT("10.2."),   STR_INIT("absent"),     STR_INIT("deadbeef"), STR_INIT("=0x"),
            STR_INIT("uid=17)"), STR_INIT("\"ms\":007"), STR_INIT("\n\tat"),   STR_INIT(""),
            STR_INIT(" rt=0.0"), STR_INIT("HF0"),        STR_INIT("Z00"),      STR_INIT("job"),
            STR_INIT("ok"),      STR_INIT("c p"),        STR_INIT("=ab"),      STR_INIT("\1"),
        };
        for (size_t i = 0; i < COUNTOF(fixed); i++)
            check_needles(&d, &p, &dir, &fixed[i], 1);
        for (int i = 0; i < 300; i++) { // pieces of lines, of every length
            str line = d.rows.v[prng_below(&rng, d.rows.n)].line;
            size_t from = prng_below(&rng, line.n), n = 1 + prng_below(&rng, 40);
            str other = d.rows.v[prng_below(&rng, d.rows.n)].line;
            str pair[2] = {str_sub(line, from, from + n), str_sub(other, 0, 3)};
            check_needles(&d, &p, &dir, pair, 1 + (size_t)(i % 5 == 0));
        }
    }
    parts_deinit(&p);
    arena_deinit(&d.a);
}

/* Numbers of every length, bare and with zeros in front, beside each other and beside text. */
static void test_numbers(void **state)
{
    (void)state;
    struct data d;
    data_init(&d);
    struct prng rng;
    prng_init(&rng, 3);
    add_run(&d, 1);
    for (int i = 0; i < 4000; i++) {
        uint64_t power = 1, v[4];
        for (uint64_t k = prng_below(&rng, 19); k > 0; k--)
            power *= 10;
        for (size_t k = 0; k < COUNTOF(v); k++)
            v[k] = power - 1 + prng_below(&rng, 2) * (1 + prng_below(&rng, power));
        add(&d, i,
            arena_fmt(&d.a, "n=%llu %0*llu/%llu.%0*llu", (unsigned long long)v[0],
                      (int)prng_below(&rng, 19), (unsigned long long)v[1],
                      (unsigned long long)v[2] % 1000, (int)prng_below(&rng, 4),
                      (unsigned long long)v[3] % 100));
    }
    check_both(&d);
    arena_deinit(&d.a);
}

static void test_filter(void **state)
{
    (void)state;
    struct data d;
    data_init(&d);
    struct prng rng;
    prng_init(&rng, 5);
    add_run(&d, 0);
    str known = {0};
    for (int i = 0; i < 1000; i++) {
        known = hex_text(&d, &rng, 32);
        add(&d, i, arena_fmt(&d.a, "request trace_id=%s done in %d ms", known.p, i));
    }
    struct blob_parts p;
    struct log_dir dir;
    parts_init(&p);
    encode(&d, false, &p, &dir);
    assert_int_equal(dir.kind, LOG_KIND_TEMPLATES);
    assert_true(p.part[LOG_PART_FILTER].n > 0);
    struct err err = ERR_OK;
    unsigned passed = 0;
    for (int i = 0; i < 200; i++) {
        struct log_needle n;
        bool may;
        log_needle_init(&n, i == 0 ? known : hex_text(&d, &rng, 32));
        assert_true(
            log_block_filter_helps(&dir, &(struct log_wanted){.needles = &n, .n_needles = 1}));
        assert_true(log_block_may_match(&dir, buf_str(&p.part[LOG_PART_FILTER]),
                                        &(struct log_wanted){.needles = &n, .n_needles = 1}, &may,
                                        &err));
        assert_true(i > 0 || may);
        passed += may;
    }
    assert_true(passed < 8);
    parts_deinit(&p);
    arena_deinit(&d.a);
}

/* ---- metadata ---- */

static void test_meta_shapes(void **state)
{
    (void)state;
    struct data d;
    data_init(&d);
    struct prng rng;
    prng_init(&rng, 3);
    add_run(&d, 0);
    for (int i = 0; i < 300; i++) {
        size_t n = i == 150 ? 256 : prng_below(&rng, 9);
        struct label *v = arena_array(&d.a, struct label, n);
        for (size_t j = 0; j < n; j++) {
            v[j].name = arena_fmt(&d.a, "name_%03zu", i % 2 ? j : j * 2);
            unsigned kind = (unsigned)prng_below(&rng, 6);
            v[j].value = kind == 0   ? STR("same")
                         : kind == 1 ? hex_text(&d, &rng, 32)
                         : kind == 2 ? hex_text(&d, &rng, 9)
                         : kind == 3 ? STR("\0\377 x")
                                     : arena_fmt(&d.a, "%d", i);
        }
        add_meta(&d, i, STR("plain words only"), (struct labels){v, n});
    }
    check_both(&d);
    arena_deinit(&d.a);
}

/* The same rows with and without a base are the same bytes. */
static void test_meta_base(void **state)
{
    (void)state;
    enum { PAIRS = 64 };
    struct data whole, based;
    struct blob_parts p, q;
    struct log_dir dir;
    struct prng rng;
    data_init(&whole);
    data_init(&based);
    prng_init(&rng, 5);
    add_run(&whole, 0);
    add_run(&based, 0);
    struct labels *base = NULL;
    for (int i = 0; i < 500; i++) {
        if (i % 90 == 0) { // another one, of other values and partly other names
            size_t n = i == 90 ? 0 : i == 180 ? PAIRS : 1 + (size_t)prng_below(&rng, 9);
            struct label *v = arena_array(&based.a, struct label, n);
            for (size_t j = 0; j < n; j++)
                v[j] = (struct label){arena_fmt(&based.a, "n%02zu", i % 180 ? j : 2 * j),
                                      arena_fmt(&based.a, "v%d", i)};
            base = arena_new(&based.a, struct labels);
            *base = (struct labels){v, n};
        }
        uint64_t all = base->n == PAIRS ? UINT64_MAX : (UINT64_C(1) << base->n) - 1;
        uint64_t own = prng_below(&rng, 3) ? 5 & all : prng_next(&rng) & all;
        struct log_row row = {.t_ns = i, .line = STR("plain words only"), .base = base, .own = own};
        struct label *full = arena_array(&based.a, struct label, base->n);
        uint8_t *held = arena_alloc(&based.a, base->n * 32);
        row.held = held;
        for (size_t j = 0; j < base->n; j++) {
            full[j] = base->v[j];
            if (!(own >> j & 1))
                continue;
            full[j].value = j % 2 ? hex_text(&based, &rng, 16) : arena_fmt(&based.a, "%d", i % 7);
            *held++ = (uint8_t)j;
            *held++ = 0;
            *held++ = (uint8_t)full[j].value.n;
            memcpy(held, full[j].value.p, full[j].value.n);
            held += full[j].value.n;
        }
        add_meta(&whole, i, row.line, (struct labels){full, base->n});
        add(&based, i, row.line);
        *vec_last(&based.rows) = row;
    }
    for (int plain = 0; plain < 2; plain++) {
        parts_init(&p);
        parts_init(&q);
        encode(&whole, plain, &p, &dir);
        encode(&based, plain, &q, &dir);
        for (size_t i = 0; i < LOG_PART_COUNT; i++)
            assert_true(str_eq(buf_str(&p.part[i]), buf_str(&q.part[i])));
        parts_deinit(&p);
        parts_deinit(&q);
    }
    arena_deinit(&whole.a);
    arena_deinit(&based.a);
}

/* Rows with the pair come, and no other: ids that lines show, ids that they do not, words, texts.
 */
static void check_pair(struct data *d, struct blob_parts *p, const struct log_dir *dir,
                       struct label pair, bool meta)
{
    struct err err = ERR_OK;
    struct arena a, scratch;
    struct log_picked got;
    struct log_pick pick = pick_all;
    pick.meta = meta;
    pick.wanted.meta = &pair;
    pick.wanted.n_meta = 1;
    bool may;
    arena_init(&a, SIZE_MAX, NULL);
    arena_init(&scratch, SIZE_MAX, NULL);
    assert_true(
        log_block_may_match(dir, buf_str(&p->part[LOG_PART_FILTER]), &pick.wanted, &may, &err));
    if (!log_block_read(dir, &p->base, &pick, &a, &scratch, &got, &err))
        fail_msg("%s", err.text);
    size_t k = 0;
    for (size_t i = 0; i < d->rows.n; i++) {
        if (!str_eq(labels_get(d->rows.v[i].meta, pair.name), pair.value))
            continue;
        assert_true(may && k < got.n);
        check_row(&d->rows.v[i], &got, k++);
    }
    assert_int_equal(k, got.n);
    arena_deinit(&a);
    arena_deinit(&scratch);
}

static void test_meta_pairs(void **state)
{
    (void)state;
    struct data d;
    data_init(&d);
    struct prng rng;
    prng_init(&rng, 11);
    add_run(&d, 0);
    for (int i = 0; i < 2000; i++) {
        struct label *v = arena_array(&d.a, struct label, 4);
        size_t n = 0;
        str trace = hex_text(&d, &rng, 32);
        v[n++] = (struct label){STR("level"), i % 7 ? STR("info") : STR("error")};
        if (i % 3)
            v[n++] = (struct label){STR("span"), hex_text(&d, &rng, 16)};
        if (i % 5)
            v[n++] = (struct label){STR("trace"), trace};
        v[n++] = (struct label){STR("user"), arena_fmt(&d.a, "user %d", i)};
        add_meta(&d, i, arena_fmt(&d.a, "request trace=%s took %d ms for somebody", trace.p, i),
                 (struct labels){v, n});
    }
    struct blob_parts p;
    struct log_dir dir;
    parts_init(&p);
    for (int plain = 0; plain < 2; plain++) {
        encode(&d, plain, &p, &dir);
        assert_true(dir.meta_ids);
        for (size_t i = 0; i < 400; i++) {
            struct labels l = d.rows.v[prng_below(&rng, d.rows.n)].meta;
            struct label pair = l.v[prng_below(&rng, l.n)];
            if (i % 4 == 0)
                pair.name = STR("other");
            check_pair(&d, &p, &dir, pair, i % 2);
        }
        bool may;
        struct err err = ERR_OK;
        size_t passed = 0;
        for (int i = 0; i < 1000; i++) {
            struct label pair = {STR("span"), hex_text(&d, &rng, 16)};
            struct log_wanted wanted = {.meta = &pair, .n_meta = 1};
            assert_true(log_block_filter_helps(&dir, &wanted));
            assert_true(
                log_block_may_match(&dir, buf_str(&p.part[LOG_PART_FILTER]), &wanted, &may, &err));
            passed += may;
        }
        assert_true(passed < 30);
    }
    parts_deinit(&p);
    arena_deinit(&d.a);
}

/* ---- foreign bytes ---- */

/* Reads whatever comes; must end, in bounds. */
static void read_any(struct blob_parts *p)
{
    struct err err = ERR_OK;
    struct arena a, scratch;
    struct log_dir dir;
    struct log_picked got;
    struct log_needle needle;
    log_needle_init(&needle, STR("ab12cd34 x"));
    struct log_pick pick = pick_all;
    struct label pair = {STR("name_002"), STR("same")};
    for (int i = 0; i < 3; i++) {
        arena_init(&a, 64 * MIB, NULL);
        arena_init(&scratch, 64 * MIB, NULL);
        pick.wanted = (struct log_wanted){&needle, (size_t)i % 2, &pair, (size_t)i / 2};
        if (log_dir_read(buf_str(&p->part[LOG_PART_DIR]), &a, &dir, &err) &&
            log_block_read(&dir, &p->base, &pick, &a, &scratch, &got, &err)) {
            for (size_t k = 0; k < got.n; k++)
                assert_true(got.line[k].n == got.len[k]);
        }
        arena_deinit(&a);
        arena_deinit(&scratch);
    }
}

static void test_damage(void **state)
{
    (void)state;
    struct data d;
    data_init(&d);
    struct prng rng;
    prng_init(&rng, 99);
    fill(&d, &rng, 3, 300);
    struct err err = ERR_OK;
    struct log_dir dir;
    for (int plain = 0; plain < 2; plain++) {
        struct blob_parts good, bad;
        parts_init(&good);
        parts_init(&bad);
        encode(&d, plain, &good, &dir);
        for (int round = 0; round < 1500; round++) {
            for (size_t i = 0; i < LOG_PART_COUNT; i++) {
                buf_clear(&bad.part[i]);
                if (i != (size_t)round % LOG_PART_COUNT || good.part[i].n == 0) {
                    buf_add(&bad.part[i], buf_str(&good.part[i]));
                    continue;
                }
                uint8_t version;
                str raw;
                struct arena a; // damage below the checksum, where it cannot help
                arena_init(&a, SIZE_MAX, NULL);
                assert_true(blob_unpack(buf_str(&good.part[i]), 2, LOG_PART_RAW_MAX, &a, &version,
                                        &raw, &err));
                char *copy = arena_alloc(&a, raw.n + 1);
                memcpy(copy, raw.p, raw.n);
                size_t reach = prng_below(&rng, 2) && raw.n > 64 ? 64 : raw.n;
                for (uint64_t k = 1 + prng_below(&rng, 3); k > 0; k--)
                    copy[prng_below(&rng, reach)] = (char)prng_next(&rng);
                size_t n = prng_below(&rng, 10) == 0 ? prng_below(&rng, raw.n) : raw.n;
                assert_true(blob_pack(version, 0, (str){copy, n}, &bad.part[i], &err));
                arena_deinit(&a);
            }
            read_any(&bad);
        }
        parts_deinit(&good);
        parts_deinit(&bad);
    }
    arena_deinit(&d.a);
}

static void test_budget(void **state)
{
    (void)state;
    struct data d;
    data_init(&d);
    struct prng rng;
    prng_init(&rng, 8);
    fill(&d, &rng, 2, 2000);
    struct blob_parts p;
    struct log_dir dir;
    parts_init(&p);
    encode(&d, false, &p, &dir);
    struct budget budget;
    budget_init(&budget, "query memory", 100 * KIB, NULL);
    struct arena a, scratch;
    arena_init(&a, SIZE_MAX, &budget);
    arena_init(&scratch, SIZE_MAX, &budget);
    struct err err = ERR_OK;
    struct log_picked got;
    assert_false(log_block_read(&dir, &p.base, &pick_all, &a, &scratch, &got, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    arena_deinit(&a);
    arena_deinit(&scratch);
    assert_int_equal(budget_used(&budget), 0);
    parts_deinit(&p);
    arena_deinit(&d.a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edges),       cmocka_unit_test(test_big_line),
        cmocka_unit_test(test_limits),      cmocka_unit_test(test_templates),
        cmocka_unit_test(test_needles),     cmocka_unit_test(test_few),
        cmocka_unit_test(test_numbers),     cmocka_unit_test(test_filter),
        cmocka_unit_test(test_meta_shapes), cmocka_unit_test(test_meta_base),
        cmocka_unit_test(test_meta_pairs),  cmocka_unit_test(test_damage),
        cmocka_unit_test(test_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
