/* journal.c - see journal.h. Source: "Journal Export Formats" of systemd. */
#include "server/ingest/journal.h"

#include "storage/base/num.h"
#include "storage/base/rd.h"
#include "storage/model/limits.h"
#include "storage/model/timerange.h"

#define NAME_MAX_N  64  // as systemd has it
#define FIELDS_MAX  512 // of an entry; the others are left out
#define FIELD_MAX   (LIMIT_LINE + NAME_MAX_N + 1)
#define ENTRY_MAX   (2 * LIMIT_LINE)
#define READY_MAX   (64 * MIB) // what one piece makes of it is far below
#define META_VALUE  (8 * KIB)  // longer values of metadata are left out
#define META_BYTES  (LIMIT_META_BYTES / 2)
#define META_FIELDS 100

/* ---- the format ---- */

void journal_reader_init(struct journal_reader *r)
{
    *r = (struct journal_reader){0};
    buf_init(&r->line, FIELD_MAX);
    buf_init(&r->entry, ENTRY_MAX);
    buf_init(&r->ready, READY_MAX);
}

void journal_reader_deinit(struct journal_reader *r)
{
    buf_deinit(&r->line);
    buf_deinit(&r->entry);
    buf_deinit(&r->ready);
}

size_t journal_reader_bytes(const struct journal_reader *r)
{
    return r->line.cap + r->entry.cap + r->ready.cap;
}

static bool is_name(str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool is_digit = c >= '0' && c <= '9';
        if (!(c >= 'A' && c <= 'Z') && c != '_' && !(is_digit && i > 0))
            return false;
    }
    return s.n > 0 && s.n <= NAME_MAX_N;
}

static bool fault(const struct journal_reader *r, struct err *err)
{
    return err_set(err, ERR_INVALID, "no journal export format: line %llu has no field's name",
                   (unsigned long long)r->line_no);
}

/* The field in `line` is whole, unless it was too large: its name, and from value_at on its value.
 */
static void end_field(struct journal_reader *r, size_t name_n, size_t value_at)
{
    if (r->lost > 0 || (!r->is_skipping && r->line.n - value_at > LIMIT_LINE))
        log_cut(&r->line, value_at + LIMIT_LINE, r->lost);
    str all = buf_str(&r->line), name = str_sub(all, 0, name_n),
        value = str_sub(all, value_at, all.n);
    bool fits = !r->is_skipping && r->n_fields < FIELDS_MAX &&
                r->entry.n + name.n + value.n + 16 <= ENTRY_MAX;
    if (fits) {
        buf_bytes(&r->entry, name);
        buf_bytes(&r->entry, value);
        r->n_fields++;
    }
    buf_clear(&r->line);
    r->is_skipping = false;
    r->lost = 0;
    r->state = JOURNAL_LINE;
}

static bool end_entry(struct journal_reader *r, struct err *err)
{
    if (r->entry.n > 0) {
        buf_bytes(&r->ready, buf_str(&r->entry));
        r->n_ready++;
    }
    buf_clear(&r->entry);
    r->n_fields = 0;
    return !r->ready.over || err_set(err, ERR_LIMIT, "too many journal entries at once");
}

static bool end_line(struct journal_reader *r, struct err *err)
{
    str line = buf_str(&r->line);
    size_t eq = str_find_char(str_sub(line, 0, NAME_MAX_N + 1), '=');
    r->line_no++;
    if (line.n == 0)
        return end_entry(r, err);
    if (!is_name(str_sub(line, 0, eq)))
        return fault(r, err);
    if (eq != SIZE_MAX) {
        end_field(r, eq, eq + 1);
        return true;
    }
    r->name_n = line.n;
    r->state = JOURNAL_SIZE;
    return true;
}

/* Is it the message, whose start is worth something? */
static bool is_message(const struct journal_reader *r)
{
    if (r->state != JOURNAL_LINE)
        return str_is(str_sub(buf_str(&r->line), 0, r->name_n), "MESSAGE");
    return str_starts(buf_str(&r->line), STR("MESSAGE="));
}

/* Keeps bytes of the field at hand, or notes that it is too large. */
static void keep(struct journal_reader *r, str bytes)
{
    size_t room = FIELD_MAX - r->line.n;
    if (!r->is_skipping)
        buf_add(&r->line, str_sub(bytes, 0, MIN(bytes.n, room)));
    if (bytes.n > room && is_message(r))
        r->lost += bytes.n - room;
    else if (bytes.n > room)
        r->is_skipping = true;
}

static bool feed_line(struct journal_reader *r, str *bytes, struct err *err)
{
    size_t end = MIN(str_find_char(*bytes, '\n'), bytes->n);
    bool is_end = end < bytes->n;
    keep(r, str_sub(*bytes, 0, end));
    *bytes = str_sub(*bytes, end + is_end, bytes->n);
    bool may_be_name =
        r->line.n <= NAME_MAX_N ||
        str_find_char(str_sub(buf_str(&r->line), 0, NAME_MAX_N + 1), '=') != SIZE_MAX;
    if (!may_be_name) { // found out before a whole line of something else is gathered
        r->line_no++;
        return fault(r, err);
    }
    return !is_end || end_line(r, err);
}

static void feed_size(struct journal_reader *r, str *bytes)
{
    size_t n = MIN(bytes->n, r->name_n + 8 - r->line.n);
    buf_add(&r->line, str_sub(*bytes, 0, n));
    *bytes = str_sub(*bytes, n, bytes->n);
    if (r->line.n < r->name_n + 8)
        return;
    struct rd rd = rd_of(str_sub(buf_str(&r->line), r->name_n, r->line.n));
    r->due = rd_le64(&rd);
    r->line.n = r->name_n;
    r->state = JOURNAL_DATA;
    r->is_skipping = r->due > LIMIT_LINE && !is_message(r);
}

/* The value, then the line feed behind it. */
static bool feed_data(struct journal_reader *r, str *bytes, struct err *err)
{
    size_t n = (size_t)MIN((uint64_t)bytes->n, r->due);
    keep(r, str_sub(*bytes, 0, n));
    *bytes = str_sub(*bytes, n, bytes->n);
    r->due -= n;
    if (r->due > 0 || bytes->n == 0)
        return true;
    if (bytes->p[0] != '\n')
        return err_set(err, ERR_INVALID,
                       "no journal export format: a value is longer than it says");
    *bytes = str_sub(*bytes, 1, bytes->n);
    end_field(r, r->name_n, r->name_n);
    return true;
}

bool journal_reader_feed(struct journal_reader *r, str bytes, struct err *err)
{
    while (bytes.n > 0) {
        bool ok = true;
        switch (r->state) {
        case JOURNAL_LINE:
            ok = feed_line(r, &bytes, err);
            break;
        case JOURNAL_SIZE:
            feed_size(r, &bytes);
            break;
        case JOURNAL_DATA:
            ok = feed_data(r, &bytes, err);
            break;
        }
        if (!ok)
            return false;
    }
    return true;
}

bool journal_reader_end(struct journal_reader *r, struct err *err)
{
    if (r->state == JOURNAL_LINE && r->line.n > 0 && !end_line(r, err))
        return false;
    if (r->state != JOURNAL_LINE)
        return err_set(err, ERR_INVALID, "the journal ends within a field");
    return end_entry(r, err);
}

/* ---- the entry ---- */

/* By priority, 0 to 7. */
static const str levels[8] = {STR_INIT("fatal"), STR_INIT("critical"), STR_INIT("critical"),
                              STR_INIT("error"), STR_INIT("warn"),     STR_INIT("info"),
                              STR_INIT("info"),  STR_INIT("debug")};

struct fields {
    str message, priority, hostname, unit, user_unit, identifier, time, source_time;
};

/* Fields with a name of ours; empty: left out. What a program gave itself keeps its own. */
static str meta_name(struct arena *a, str name)
{
    static const struct {
        str theirs, ours;
    } rows[] = {
        {STR_INIT("_PID"), STR_INIT("pid")},
        {STR_INIT("_UID"), STR_INIT("uid")},
        {STR_INIT("_COMM"), STR_INIT("comm")},
        {STR_INIT("_EXE"), STR_INIT("exe")},
        {STR_INIT("_TRANSPORT"), STR_INIT("transport")},
        {STR_INIT("_BOOT_ID"), STR_INIT("boot_id")},
        {STR_INIT("_MACHINE_ID"), STR_INIT("machine_id")},
        {STR_INIT("_SYSTEMD_USER_UNIT"), STR_INIT("user_unit")},
        {STR_INIT("_SYSTEMD_INVOCATION_ID"), STR_INIT("invocation_id")},
        {STR_INIT("_KERNEL_DEVICE"), STR_INIT("kernel_device")},
        {STR_INIT("SYSLOG_IDENTIFIER"), STR_INIT("identifier")},
        {STR_INIT("SYSLOG_PID"), STR_INIT("")},
        {STR_INIT("SYSLOG_RAW"), STR_INIT("")},
        {STR_INIT("SYSLOG_TIMESTAMP"), STR_INIT("")},
        {STR_INIT("MESSAGE"), STR_INIT("")},
    };
    for (size_t i = 0; i < COUNTOF(rows); i++)
        if (str_eq(rows[i].theirs, name))
            return rows[i].ours;
    if (name.p[0] == '_')
        return (str){0};
    char *lower = arena_alloc(a, name.n);
    for (size_t i = 0; i < name.n; i++)
        lower[i] = name.p[i] >= 'A' && name.p[i] <= 'Z' ? (char)(name.p[i] + 32) : name.p[i];
    return str_of(lower, name.n);
}

static void read_fields(struct arena *a, str entry, struct fields *f, struct labels_builder *meta)
{
    struct {
        str name;
        str *value;
    } known[] = {
        {STR("MESSAGE"), &f->message},
        {STR("PRIORITY"), &f->priority},
        {STR("_HOSTNAME"), &f->hostname},
        {STR("_SYSTEMD_UNIT"), &f->unit},
        {STR("_SYSTEMD_USER_UNIT"), &f->user_unit},
        {STR("SYSLOG_IDENTIFIER"), &f->identifier},
        {STR("__REALTIME_TIMESTAMP"), &f->time},
        {STR("_SOURCE_REALTIME_TIMESTAMP"), &f->source_time},
    };
    struct rd rd = rd_of(entry);
    size_t bytes = 0;
    while (rd_left(&rd) > 0) {
        str name = rd_bytes(&rd), value = rd_bytes(&rd);
        ASSERT(!rd.bad); // we wrote it
        for (size_t i = 0; i < COUNTOF(known); i++)
            if (str_eq(known[i].name, name))
                *known[i].value = value;
        str ours = meta_name(a, name);
        bool fits = value.n <= META_VALUE && bytes + ours.n + value.n <= META_BYTES &&
                    meta->pairs.n < META_FIELDS;
        if (ours.n == 0 || !fits)
            continue;
        bytes += ours.n + value.n;
        labels_builder_add(meta, ours, value);
    }
}

bool journal_add(struct log_writer *w, str entry)
{
    struct arena *a = w->batch->arena;
    struct fields f = {0};
    struct labels_builder stream, meta;
    uint64_t priority = 6;
    int64_t us;
    labels_builder_init(&stream, a);
    labels_builder_init(&meta, a);
    read_fields(a, entry, &f, &meta);
    if (!num_parse_i64(f.time, &us) && !num_parse_i64(f.source_time, &us))
        return false;
    str level = num_parse_u64(f.priority, &priority) && priority < 8 ? levels[priority] : (str){0};
    str unit = f.unit.n > 0 ? f.unit : f.user_unit;
    str service = str_ends(unit, STR(".service")) ? str_sub(unit, 0, unit.n - 8) : unit;
    labels_builder_add(&stream, STR("job"), STR("systemd-journal"));
    labels_builder_add(&stream, STR("hostname"), f.hostname);
    labels_builder_add(&stream, STR("unit"), unit);
    labels_builder_add(&stream, STR("level"), level);
    labels_builder_add(&stream, STR("service_name"), service.n > 0 ? service : f.identifier);
    str line = f.message;
    while (line.n > 0 && line.p[line.n - 1] == '\n')
        line.n--;
    log_writer_add(w, log_writer_stream(w, &stream), time_mul(us, 1000), line, &meta, level);
    return true;
}
