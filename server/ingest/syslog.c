/* syslog.c - see syslog.h. */
#include "server/ingest/syslog.h"

#include "storage/base/num.h"
#include "storage/model/limits.h"
#include "storage/model/timerange.h"

#define PRI_MAX       191
#define PRI_NONE      13 // user.notice, as RFC 3164 says
#define TAG_MAX       64 // of RFC 3164's 32, with room for what is sent
#define COUNT_DIGITS  6  // of a counted frame's length; more only where '<' follows
#define COUNT_LONGEST 10 // digits
#define SD_LABELS_MAX 64 // parameters of structured data that are kept

/* ---- the message ---- */

/* Up to a blank, which is taken, too. */
static str take_word(str *s)
{
    size_t end = MIN(str_find_char(*s, ' '), s->n);
    str word = str_sub(*s, 0, end);
    *s = str_sub(*s, end + 1, s->n);
    return word;
}

static str nil_is_empty(str word)
{
    return str_is(word, "-") ? (str){0} : word;
}

static bool take_priority(str *s, struct syslog_message *m)
{
    str rest = *s;
    uint64_t pri = PRI_NONE;
    size_t end = str_find_char(str_sub(rest, 0, 5), '>');
    bool has = str_take_char(&rest, '<') && end != SIZE_MAX && end > 1 &&
               num_parse_u64(str_sub(*s, 1, end), &pri) && pri <= PRI_MAX;
    if (has)
        *s = str_sub(*s, end + 1, s->n);
    else
        pri = PRI_NONE;
    m->facility = (int)(pri / 8);
    m->severity = (int)(pri % 8);
    return has;
}

/* [id name="value" ...][...] or -; what is behind it stays. */
static bool take_structured(str *s, str *out)
{
    size_t i = 0;
    bool is_quoted = false;
    *out = (str){0};
    if (str_take_char(s, '-'))
        return s->n == 0 || s->p[0] == ' ';
    while (i < s->n && s->p[i] == '[') {
        for (; i < s->n && (is_quoted || s->p[i] != ']'); i++) {
            if (s->p[i] == '"')
                is_quoted = !is_quoted;
            else if (s->p[i] == '\\' && is_quoted)
                i++;
        }
        if (i >= s->n)
            return false;
        i++;
    }
    *out = str_sub(*s, 0, i);
    *s = str_sub(*s, i, s->n);
    return i > 0 && (s->n == 0 || s->p[0] == ' ');
}

/* Behind "<PRI>1 ". */
static bool parse_5424(str s, const struct log_clock *c, struct syslog_message *m)
{
    struct syslog_message x = *m;
    str time = take_word(&s);
    x.is_5424 = true;
    x.has_time = !str_is(time, "-");
    if (x.has_time && (!log_time_read(&time, c, &x.time) || time.n > 0))
        return false;
    x.host = nil_is_empty(take_word(&s));
    x.app = nil_is_empty(take_word(&s));
    x.proc_id = nil_is_empty(take_word(&s));
    x.msg_id = nil_is_empty(take_word(&s));
    if (s.n == 0 || !take_structured(&s, &x.sd))
        return false;
    (void)str_take_char(&s, ' ');
    str bom = STR("\xef\xbb\xbf");
    x.text = str_starts(s, bom) ? str_sub(s, bom.n, s.n) : s;
    *m = x;
    return true;
}

/* app[123]: or app: at the start; what is behind it is the text. */
static bool take_tag(str *s, struct syslog_message *m)
{
    size_t i = 0;
    while (i < s->n && i < TAG_MAX && s->p[i] != ':' && s->p[i] != '[' && s->p[i] != ' ')
        i++;
    str tag = str_sub(*s, 0, i), rest = str_sub(*s, i, s->n), pid = {0};
    if (str_take_char(&rest, '[')) {
        size_t end = str_find_char(str_sub(rest, 0, TAG_MAX), ']');
        if (end == SIZE_MAX)
            return false;
        pid = str_sub(rest, 0, end);
        rest = str_sub(rest, end + 1, rest.n);
    }
    if (tag.n == 0 || !str_take_char(&rest, ':'))
        return false;
    (void)str_take_char(&rest, ' ');
    m->app = tag;
    m->proc_id = pid;
    *s = rest;
    return true;
}

/* [Oct 11 22:14:15 ][host ][tag: ]text; many devices leave some of it out. */
static void parse_3164(str s, const struct log_clock *c, struct syslog_message *m)
{
    str rest = s;
    m->text = s;
    if (!log_time_read(&rest, c, &m->time)) {
        (void)(take_tag(&s, m) && (m->text = s, true));
        return;
    }
    m->has_time = true;
    (void)str_take_char(&rest, ':'); // Cisco
    (void)str_take_char(&rest, ' ');
    if (take_tag(&rest, m)) { // what a program sends to its own machine: no host
        m->text = rest;
        return;
    }
    str host = take_word(&rest);
    m->host = host;
    if (str_take_char(&rest, ':')) // Cisco, again
        (void)str_take_char(&rest, ' ');
    (void)take_tag(&rest, m);
    m->text = rest;
}

bool syslog_parse(str raw, const struct log_clock *c, struct syslog_message *out)
{
    struct syslog_message m = {0};
    str s = str_trim(raw);
    bool has_priority = take_priority(&s, &m);
    bool claims_5424 = has_priority && str_starts(s, STR("1 "));
    bool is_good = has_priority;
    if (claims_5424)
        is_good = parse_5424(str_sub(s, 2, s.n), c, &m);
    if (claims_5424 && !is_good)
        m.text = s;
    if (!claims_5424)
        parse_3164(s, c, &m);
    *out = m;
    return is_good;
}

/* ---- the entry ---- */

static const str severities[8] = {
    STR_INIT("emergency"), STR_INIT("alert"),  STR_INIT("critical"),      STR_INIT("error"),
    STR_INIT("warning"),   STR_INIT("notice"), STR_INIT("informational"), STR_INIT("debug")};
static const str levels[8] = {STR_INIT("fatal"), STR_INIT("critical"), STR_INIT("critical"),
                              STR_INIT("error"), STR_INIT("warn"),     STR_INIT("info"),
                              STR_INIT("info"),  STR_INIT("debug")};
static const str facilities[24] = {
    STR_INIT("kern"),   STR_INIT("user"),     STR_INIT("mail"),     STR_INIT("daemon"),
    STR_INIT("auth"),   STR_INIT("syslog"),   STR_INIT("lpr"),      STR_INIT("news"),
    STR_INIT("uucp"),   STR_INIT("cron"),     STR_INIT("authpriv"), STR_INIT("ftp"),
    STR_INIT("ntp"),    STR_INIT("security"), STR_INIT("console"),  STR_INIT("solaris-cron"),
    STR_INIT("local0"), STR_INIT("local1"),   STR_INIT("local2"),   STR_INIT("local3"),
    STR_INIT("local4"), STR_INIT("local5"),   STR_INIT("local6"),   STR_INIT("local7")};

/* \" \\ \] of parameter values; any other backslash stays. */
static str unescape(struct arena *a, str raw)
{
    if (str_find_char(raw, '\\') == SIZE_MAX)
        return raw;
    char *out = arena_alloc(a, raw.n);
    size_t n = 0;
    for (size_t i = 0; i < raw.n; i++) {
        char next = i + 1 < raw.n ? raw.p[i + 1] : '\0';
        i += raw.p[i] == '\\' && (next == '"' || next == '\\' || next == ']');
        out[n++] = raw.p[i];
    }
    return str_of(out, n);
}

/* One element, without its brackets: id name="value" ... */
static void add_element(struct arena *a, str s, struct labels_builder *meta)
{
    str id = take_word(&s);
    while (s.n > 0 && meta->pairs.n < SD_LABELS_MAX) {
        size_t eq = str_find(s, STR("=\""));
        if (eq == SIZE_MAX)
            return;
        str name = str_trim(str_sub(s, 0, eq));
        size_t end = eq + 2;
        while (end < s.n && s.p[end] != '"')
            end += s.p[end] == '\\' ? 2 : 1;
        str value = unescape(a, str_sub(s, eq + 2, end));
        labels_builder_add(
            meta, arena_fmt(a, "sd_" STR_FMT "_" STR_FMT, STR_ARG(id), STR_ARG(name)), value);
        s = str_sub(s, end + 1, s.n);
    }
}

static void add_structured(struct arena *a, str sd, struct labels_builder *meta)
{
    for (size_t i = 0, from = 1; i < sd.n; i++) {
        bool is_quoted = false;
        for (from = i + 1; i < sd.n && (is_quoted || sd.p[i] != ']'); i++) {
            if (sd.p[i] == '"')
                is_quoted = !is_quoted;
            else if (sd.p[i] == '\\' && is_quoted)
                i++;
        }
        add_element(a, str_sub(sd, from, MIN(i, sd.n)), meta);
    }
}

/* Nobody can be told that a record is refused for its time: a clock that is far off is not used. */
static int64_t time_of(const struct syslog_message *m, const struct syslog_arrival *a)
{
    int64_t t = m->time.t_ns;
    bool is_usable = m->has_time && (a->past_ns == 0 || t >= time_add(a->now_ns, -a->past_ns)) &&
                     (a->future_ns == 0 || t <= time_add(a->now_ns, a->future_ns));
    if (!is_usable)
        return a->now_ns;
    return time_add(t, (int64_t)(a->seq % (uint64_t)m->time.step_ns));
}

bool syslog_add(struct log_writer *w, str raw, int64_t zone_s, const struct syslog_arrival *a)
{
    struct arena *arena = w->batch->arena;
    struct log_clock clock = {zone_s, a->now_ns};
    struct syslog_message m;
    struct labels_builder stream, meta;
    bool is_good = syslog_parse(raw, &clock, &m);
    labels_builder_init(&stream, arena);
    labels_builder_init(&meta, arena);
    labels_builder_add(&stream, STR("job"), STR("syslog"));
    labels_builder_add(&stream, STR("host"), m.host.n > 0 ? m.host : a->peer);
    labels_builder_add(&stream, STR("app"), m.app);
    labels_builder_add(&meta, STR("facility"), facilities[m.facility]);
    labels_builder_add(&meta, STR("severity"), severities[m.severity]);
    labels_builder_add(&meta, STR("proc_id"), m.proc_id);
    labels_builder_add(&meta, STR("msg_id"), m.msg_id);
    add_structured(arena, m.sd, &meta);
    str line = m.text.n > 0 ? m.text : m.sd;
    log_writer_add(w, log_writer_stream(w, &stream), time_of(&m, a), line, &meta,
                   levels[m.severity]);
    return is_good;
}

/* ---- frames ---- */

void syslog_frames_init(struct syslog_frames *f)
{
    *f = (struct syslog_frames){0};
    buf_init(&f->held, LIMIT_SYSLOG_MESSAGE);
}

void syslog_frames_deinit(struct syslog_frames *f)
{
    buf_deinit(&f->held);
}

static void hold(struct syslog_frames *f, str bytes)
{
    size_t room = LIMIT_SYSLOG_MESSAGE - f->held.n;
    f->is_cut = f->is_cut || bytes.n > room;
    f->lost += bytes.n - MIN(bytes.n, room);
    buf_add(&f->held, str_sub(bytes, 0, MIN(bytes.n, room)));
}

/* The frame is whole; a message that is only a line's end is none. */
static void give(struct syslog_frames *f, syslog_frame_fn *fn, void *ctx)
{
    if (f->lost > 0)
        log_cut(&f->held, LIMIT_SYSLOG_MESSAGE, f->lost);
    str message = str_trim(buf_str(&f->held));
    if (message.n > 0)
        fn(ctx, message, f->is_cut);
    if (f->held.cap > 4 * KIB)
        buf_deinit(&f->held); // idle connections own little
    buf_clear(&f->held);
    f->is_counted = f->is_cut = false;
    f->due = 0;
    f->lost = 0;
}

static bool begin_counted(struct syslog_frames *f)
{
    uint64_t n;
    if (!num_parse_u64(str_trim(buf_str(&f->held)), &n))
        return false;
    f->due = n;
    f->is_counted = false;
    buf_clear(&f->held);
    return true;
}

/* The digits of a length so far, and of a long one the blank, are held; false: it is no length, but
 * the start of a line. */
static bool take_length(struct syslog_frames *f, str *bytes)
{
    while (bytes->n > 0) {
        char c = bytes->p[0];
        bool is_digit = c >= (f->held.n == 0 ? '1' : '0') && c <= '9';
        if (str_ends(buf_str(&f->held), STR(" ")))
            return c == '<' && begin_counted(f);
        if ((!is_digit && c != ' ') || (is_digit && f->held.n == COUNT_LONGEST))
            return false;
        *bytes = str_sub(*bytes, 1, bytes->n);
        if (!is_digit && f->held.n <= COUNT_DIGITS)
            return begin_counted(f);
        buf_add_char(&f->held, c);
    }
    return true;
}

static void feed_line(struct syslog_frames *f, str *bytes, syslog_frame_fn *fn, void *ctx)
{
    size_t end = 0;
    while (end < bytes->n && bytes->p[end] != '\n' && bytes->p[end] != '\0')
        end++;
    hold(f, str_sub(*bytes, 0, end));
    if (end < bytes->n)
        give(f, fn, ctx);
    *bytes = str_sub(*bytes, end + 1, bytes->n);
}

void syslog_frames_feed(struct syslog_frames *f, str bytes, syslog_frame_fn *fn, void *ctx)
{
    while (bytes.n > 0) {
        if (f->due > 0) {
            size_t n = (size_t)MIN(f->due, (uint64_t)bytes.n);
            hold(f, str_sub(bytes, 0, n));
            bytes = str_sub(bytes, n, bytes.n);
            f->due -= n;
            if (f->due == 0)
                give(f, fn, ctx);
            continue;
        }
        char c = bytes.p[0];
        bool is_start = f->held.n == 0 && !f->is_counted;
        if (is_start && (c == '\n' || c == '\r' || c == '\0' || c == ' ')) {
            bytes = str_sub(bytes, 1, bytes.n); // between frames
            continue;
        }
        f->is_counted = f->is_counted || (is_start && c >= '1' && c <= '9');
        if (f->is_counted && take_length(f, &bytes))
            continue;
        f->is_counted = false;
        feed_line(f, &bytes, fn, ctx);
    }
}

void syslog_frames_end(struct syslog_frames *f, syslog_frame_fn *fn, void *ctx)
{
    f->is_cut = f->is_cut || f->due > 0;
    if (f->held.n > 0)
        give(f, fn, ctx);
}
