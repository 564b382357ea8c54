/* import_state.c - see import_state.h. */
#include "server/import_state.h"

#include "storage/base/clock.h"
#include "storage/base/enc.h"
#include "storage/base/json_read.h"
#include "storage/base/json_write.h"
#include "storage/base/num.h"
#include "storage/base/utf8.h"
#include "storage/base/vec.h"

#define STATE_MAX     (16 * MIB) // of the file
#define SAVE_EVERY_NS NS_PER_S

struct entry {
    str file;
    struct import_mark mark;
    struct buf text; // of the mark
};

struct import_state {
    struct fs *fs;
    struct arena arena; // names of files
    str path, signal, target;
    VEC(struct entry) entries;
    int64_t saved_mono_ns;
};

/* ---- reading ---- */

static bool set_number(struct import_mark *m, str key, str text)
{
    if (str_is(key, "offset"))
        return num_parse_u64(text, &m->offset);
    if (str_is(key, "first"))
        return num_parse_u64(text, &m->first);
    bool is_number =
        key.n == 2 && key.p[0] == 'n' && key.p[1] >= '0' && key.p[1] < '0' + IMPORT_MARK_NUMBERS;
    return !is_number || num_parse_i64(text, &m->n[key.p[1] - '0']);
}

/* JSON has no way to say bytes that are no text, as names of files may be: such stand in hex. */
static bool take_hex(struct arena *a, str text, str *out)
{
    uint8_t *bytes = arena_alloc(a, text.n / 2 + 1);
    *out = str_of((const char *)bytes, text.n / 2);
    return text.n % 2 == 0 && hex_decode(text, bytes, text.n / 2);
}

static void put_bytes(struct json *j, struct arena *a, const char *key, const char *hex_key, str s)
{
    bool is_text = utf8_valid(s);
    json_key(j, str_c(is_text ? key : hex_key));
    json_str(j, is_text ? s : hex_str(a, s));
}

/* One line; text is what the key "text" says. */
static bool read_line(struct import_state *s, str line, struct entry *e, str *text, str *signal,
                      str *target)
{
    struct json_reader r;
    enum json_event ev;
    json_reader_init(&r, line);
    if (json_next(&r) != JSON_OBJECT)
        return false;
    while ((ev = json_next(&r)) == JSON_KEY) {
        str key = r.text;
        if (json_next(&r) != JSON_STRING)
            return false;
        str value = json_text(&r, &s->arena);
        if (str_is(key, "file"))
            e->file = arena_dup(&s->arena, value);
        else if (str_is(key, "text"))
            *text = value;
        else if (str_is(key, "file_hex") && !take_hex(&s->arena, value, &e->file))
            return false;
        else if (str_is(key, "to_hex") && !take_hex(&s->arena, value, target))
            return false;
        else if (str_is(key, "text_hex") && !take_hex(&s->arena, value, text))
            return false;
        else if (str_is(key, "import"))
            *signal = value;
        else if (str_is(key, "to"))
            *target = value;
        else if (!set_number(&e->mark, key, value))
            return false;
    }
    return ev == JSON_OBJECT_END && json_next(&r) == JSON_END;
}

static void add(struct import_state *s, struct entry e, str text)
{
    buf_init(&e.text, STATE_MAX);
    buf_add(&e.text, text);
    e.mark.text = buf_str(&e.text);
    vec_push(&s->entries, &s->arena, e);
}

static bool read_all(struct import_state *s, str all, struct err *err)
{
    str line, signal = {0}, target = {0};
    while (all.n > 0 && str_split(&all, '\n', &line)) {
        struct entry e = {0};
        str text = {0};
        if (!read_line(s, line, &e, &text, &signal, &target))
            return err_set(err, ERR_INVALID, STR_FMT ": is no state of an import",
                           STR_ARG(s->path));
        if (e.file.n > 0)
            add(s, e, text);
    }
    if (!str_eq(signal, s->signal) || !str_eq(target, s->target))
        return err_set(err, ERR_INVALID,
                       STR_FMT ": is the state of \"import " STR_FMT "\" into " STR_FMT,
                       STR_ARG(s->path), STR_ARG(signal), STR_ARG(target));
    return true;
}

bool import_state_open(struct fs *fs, str path, str signal, str target, struct import_state **out,
                       struct err *err)
{
    struct import_state *s = mem_zalloc(sizeof *s);
    struct buf b;
    bool ok = true;
    arena_init(&s->arena, SIZE_MAX, NULL);
    s->fs = fs;
    s->path = path;
    s->signal = signal;
    s->target = target;
    buf_init(&b, STATE_MAX);
    if (path.n > 0 && fs_exists(fs, path))
        ok = fs_read_all(fs, path, &b, err) && read_all(s, buf_str(&b), err);
    buf_deinit(&b);
    if (!ok) {
        import_state_close(s);
        return false;
    }
    *out = s;
    return true;
}

void import_state_close(struct import_state *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->entries.n; i++)
        buf_deinit(&s->entries.v[i].text);
    arena_deinit(&s->arena);
    mem_free(s);
}

/* ---- writing ---- */

static void put_number(struct json *j, const char *key, int64_t v)
{
    json_key(j, str_c(key));
    json_i64_str(j, v);
}

static void encode(const struct import_state *s, struct buf *b)
{
    static const char *const keys[IMPORT_MARK_NUMBERS] = {"n0", "n1", "n2", "n3"};
    struct sink_buf sink;
    struct json j;
    struct arena scratch;
    arena_init(&scratch, SIZE_MAX, NULL);
    sink_buf_init(&sink, b);
    json_begin(&j, &sink.sink);
    json_object(&j);
    json_kv_str(&j, "import", s->signal);
    put_bytes(&j, &scratch, "to", "to_hex", s->target);
    json_object_end(&j);
    (void)json_end(&j);
    for (size_t i = 0; i < s->entries.n; i++) {
        const struct entry *e = &s->entries.v[i];
        buf_add_char(b, '\n');
        json_begin(&j, &sink.sink);
        json_object(&j);
        put_bytes(&j, &scratch, "file", "file_hex", e->file);
        json_key(&j, STR("offset"));
        json_u64_str(&j, e->mark.offset);
        json_key(&j, STR("first"));
        json_u64_str(&j, e->mark.first);
        for (size_t k = 0; k < IMPORT_MARK_NUMBERS; k++)
            put_number(&j, keys[k], e->mark.n[k]);
        put_bytes(&j, &scratch, "text", "text_hex", e->mark.text);
        json_object_end(&j);
        (void)json_end(&j);
    }
    buf_add_char(b, '\n');
    arena_deinit(&scratch);
}

/* On the disk under another name first: a state is whole or the one before. */
static bool save(struct import_state *s, struct err *err)
{
    struct fs *fs = s->fs;
    struct buf b, name;
    struct file *f = NULL;
    buf_init(&b, STATE_MAX);
    buf_init(&name, 64 * KIB);
    encode(s, &b);
    buf_fmt(&name, STR_FMT ".new", STR_ARG(s->path));
    bool ok = !b.over && !name.over &&
              fs_open(fs, buf_str(&name), FS_WRITE | FS_CREATE | FS_TRUNCATE, &f, err);
    if (b.over || name.over)
        (void)err_set(err, ERR_LIMIT, STR_FMT ": too large", STR_ARG(s->path));
    ok = ok && fs_pwrite(fs, f, buf_str(&b), 0, err) && fs_sync(fs, f, err);
    fs_close(fs, f);
    ok = ok && fs_rename(fs, buf_str(&name), s->path, err);
    buf_deinit(&b);
    buf_deinit(&name);
    return ok;
}

/* ---- import_state.h ---- */

const struct import_mark *import_state_find(const struct import_state *s, str file)
{
    for (size_t i = 0; i < s->entries.n; i++)
        if (str_eq(s->entries.v[i].file, file))
            return &s->entries.v[i].mark;
    return NULL;
}

bool import_state_set(struct import_state *s, str file, const struct import_mark *m, bool now,
                      struct err *err)
{
    int64_t mono_ns = clock_mono_ns(clock_real());
    size_t i = 0;
    if (s->path.n == 0)
        return true;
    while (i < s->entries.n && !str_eq(s->entries.v[i].file, file))
        i++;
    if (i == s->entries.n)
        add(s, (struct entry){.file = arena_dup(&s->arena, file)}, (str){0});
    struct entry *e = &s->entries.v[i];
    e->mark = *m;
    if (m->text.p != e->text.p) { // it may be what import_state_find gave
        buf_clear(&e->text);
        buf_add(&e->text, m->text);
    }
    e->mark.text = buf_str(&e->text);
    if (!now && mono_ns - s->saved_mono_ns < SAVE_EVERY_NS)
        return true;
    s->saved_mono_ns = mono_ns;
    return save(s, err);
}
