/* template_time.c - times by Go's reference layout (Mon Jan 2 15:04:05 MST 2006), in any zone.
 *
 * One table of layout pieces serves both directions. Any thread. */
#include <stdio.h>
#include <time.h>

#include "query/lang/template_int.h"

enum piece {
    PIECE_NONE,
    PIECE_MONTH_LONG,
    PIECE_MONTH_SHORT,
    PIECE_MONTH,
    PIECE_MONTH0,
    PIECE_DAY_LONG,
    PIECE_DAY_SHORT,
    PIECE_DAY,
    PIECE_DAY_,
    PIECE_DAY0,
    PIECE_YEARDAY0,
    PIECE_HOUR24,
    PIECE_HOUR12,
    PIECE_HOUR12_0,
    PIECE_MINUTE,
    PIECE_MINUTE0,
    PIECE_SECOND,
    PIECE_SECOND0,
    PIECE_YEAR,
    PIECE_YEAR2,
    PIECE_PM,
    PIECE_PM_LOWER,
    PIECE_ZONE_NAME,
    PIECE_Z_COLON, // Z07:00
    PIECE_Z,       // Z0700
    PIECE_Z_HOUR,  // Z07
    PIECE_OFFSET_COLON,
    PIECE_OFFSET,
    PIECE_OFFSET_HOUR, // -07
    PIECE_YEARDAY_,    // __2
    PIECE_FRACTION0,   // .000
    PIECE_FRACTION9,   // .999
};

static const struct {
    const char *text;
    enum piece piece;
} pieces[] = {
    // longer before shorter
    {"January", PIECE_MONTH_LONG},
    {"Jan", PIECE_MONTH_SHORT},
    {"Monday", PIECE_DAY_LONG},
    {"Mon", PIECE_DAY_SHORT},
    {"MST", PIECE_ZONE_NAME},
    {"2006", PIECE_YEAR},
    {"Z07:00", PIECE_Z_COLON},
    {"Z0700", PIECE_Z},
    {"Z07", PIECE_Z_HOUR},
    {"-07:00", PIECE_OFFSET_COLON},
    {"-0700", PIECE_OFFSET},
    {"-07", PIECE_OFFSET_HOUR},
    {"__2", PIECE_YEARDAY_},
    {"002", PIECE_YEARDAY0},
    {"01", PIECE_MONTH0},
    {"02", PIECE_DAY0},
    {"03", PIECE_HOUR12_0},
    {"04", PIECE_MINUTE0},
    {"05", PIECE_SECOND0},
    {"06", PIECE_YEAR2},
    {"15", PIECE_HOUR24},
    {"PM", PIECE_PM},
    {"pm", PIECE_PM_LOWER},
    {"_2", PIECE_DAY_},
    {"1", PIECE_MONTH},
    {"2", PIECE_DAY},
    {"3", PIECE_HOUR12},
    {"4", PIECE_MINUTE},
    {"5", PIECE_SECOND},
};

static const char *const months[] = {"January",   "February", "March",    "April",
                                     "May",       "June",     "July",     "August",
                                     "September", "October",  "November", "December"};
static const char *const days[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                   "Thursday", "Friday", "Saturday"};

/* The piece at the start of the layout and its length; NONE with length 1 for other characters. */
static enum piece next_piece(str layout, size_t *n)
{
    char c = layout.p[0];
    if ((c == '.' || c == ',') && layout.n > 1 && (layout.p[1] == '0' || layout.p[1] == '9')) {
        size_t i = 1;
        while (i < layout.n && layout.p[i] == layout.p[1])
            i++;
        if (i == layout.n || !char_is_digit(layout.p[i])) {
            *n = i;
            return layout.p[1] == '0' ? PIECE_FRACTION0 : PIECE_FRACTION9;
        }
    }
    for (size_t i = 0; i < COUNTOF(pieces); i++) {
        if (str_starts(layout, str_c(pieces[i].text))) {
            *n = str_c(pieces[i].text).n;
            return pieces[i].piece;
        }
    }
    *n = 1;
    return PIECE_NONE;
}

static void put_number(struct buf *b, int v, int width, char pad)
{
    char text[16];
    snprintf(text, sizeof text, pad == '0' ? "%0*d" : "%*d", width, v);
    buf_add(b, str_c(text));
}

static void put_fraction(struct buf *b, str piece, int64_t ns, bool trim)
{
    char text[16];
    size_t n = MIN(piece.n - 1, (size_t)9);
    snprintf(text, sizeof text, "%09lld", (long long)ns);
    while (trim && n > 0 && text[n - 1] == '0')
        n--;
    if (n > 0) {
        buf_add_char(b, piece.p[0]);
        buf_add(b, str_of(text, n));
    }
}

struct shown { // a time in its zone
    struct tm tm;
    int32_t ns, offset_s;
    str zone;
};

/* +hh:mm, +hhmm or +hh. */
static void put_offset(struct buf *b, int32_t s, bool colon, bool minutes)
{
    int32_t m = (s < 0 ? -s : s) / 60;
    buf_fmt(b, "%c%02d", s < 0 ? '-' : '+', m / 60);
    if (minutes)
        buf_fmt(b, "%s%02d", colon ? ":" : "", m % 60);
}

static void put_zone(struct buf *b, const struct shown *t)
{
    if (t->zone.n > 0)
        buf_add(b, t->zone);
    else if (t->offset_s == 0)
        buf_add(b, STR("UTC"));
    else
        put_offset(b, t->offset_s, false, true);
}

static void put_piece(struct buf *b, enum piece piece, str text, const struct shown *t)
{
    const struct tm *tm = &t->tm;
    int hour12 = tm->tm_hour % 12 == 0 ? 12 : tm->tm_hour % 12;
    switch (piece) {
    case PIECE_NONE:
        buf_add(b, text);
        break;
    case PIECE_MONTH_LONG:
    case PIECE_MONTH_SHORT:
        buf_add(b, str_sub(str_c(months[tm->tm_mon]), 0, piece == PIECE_MONTH_SHORT ? 3 : 9));
        break;
    case PIECE_DAY_LONG:
    case PIECE_DAY_SHORT:
        buf_add(b, str_sub(str_c(days[tm->tm_wday]), 0, piece == PIECE_DAY_SHORT ? 3 : 9));
        break;
    case PIECE_MONTH:
    case PIECE_MONTH0:
        put_number(b, tm->tm_mon + 1, piece == PIECE_MONTH0 ? 2 : 1, '0');
        break;
    case PIECE_DAY:
    case PIECE_DAY0:
        put_number(b, tm->tm_mday, piece == PIECE_DAY0 ? 2 : 1, '0');
        break;
    case PIECE_DAY_:
        put_number(b, tm->tm_mday, 2, ' ');
        break;
    case PIECE_YEARDAY0:
        put_number(b, tm->tm_yday + 1, 3, '0');
        break;
    case PIECE_HOUR24:
        put_number(b, tm->tm_hour, 2, '0');
        break;
    case PIECE_HOUR12:
    case PIECE_HOUR12_0:
        put_number(b, hour12, piece == PIECE_HOUR12_0 ? 2 : 1, '0');
        break;
    case PIECE_MINUTE:
    case PIECE_MINUTE0:
        put_number(b, tm->tm_min, piece == PIECE_MINUTE0 ? 2 : 1, '0');
        break;
    case PIECE_SECOND:
    case PIECE_SECOND0:
        put_number(b, tm->tm_sec, piece == PIECE_SECOND0 ? 2 : 1, '0');
        break;
    case PIECE_YEAR:
        put_number(b, tm->tm_year + 1900, 4, '0');
        break;
    case PIECE_YEAR2:
        put_number(b, (tm->tm_year + 1900) % 100, 2, '0');
        break;
    case PIECE_PM:
        buf_add(b, tm->tm_hour >= 12 ? STR("PM") : STR("AM"));
        break;
    case PIECE_PM_LOWER:
        buf_add(b, tm->tm_hour >= 12 ? STR("pm") : STR("am"));
        break;
    case PIECE_ZONE_NAME:
        put_zone(b, t);
        break;
    case PIECE_Z_COLON:
    case PIECE_Z:
    case PIECE_Z_HOUR:
        if (t->offset_s == 0)
            buf_add_char(b, 'Z');
        else
            put_offset(b, t->offset_s, piece == PIECE_Z_COLON, piece != PIECE_Z_HOUR);
        break;
    case PIECE_OFFSET_COLON:
    case PIECE_OFFSET:
    case PIECE_OFFSET_HOUR:
        put_offset(b, t->offset_s, piece == PIECE_OFFSET_COLON, piece != PIECE_OFFSET_HOUR);
        break;
    case PIECE_YEARDAY_:
        put_number(b, tm->tm_yday + 1, 3, ' ');
        break;
    case PIECE_FRACTION0:
    case PIECE_FRACTION9:
        put_fraction(b, text, t->ns, piece == PIECE_FRACTION9);
        break;
    }
}

struct ttime ttime_of_ns(int64_t t_ns)
{
    struct ttime t = {.s = t_ns / NS_PER_S, .ns = (int32_t)(t_ns % NS_PER_S)};
    if (t.ns < 0) {
        t.ns += (int32_t)NS_PER_S;
        t.s--;
    }
    return t;
}

str ttime_format(struct arena *a, str layout, const struct ttime *t)
{
    struct buf b;
    struct shown shown = {.ns = t->ns, .offset_s = t->offset_s, .zone = t->zone};
    int64_t s;
    if (__builtin_add_overflow(t->s, t->offset_s, &s) || gmtime_r(&(time_t){s}, &shown.tm) == NULL)
        return (str){0};
    buf_init(&b, layout.n * 16 + 64);
    while (layout.n > 0) {
        size_t n;
        enum piece piece = next_piece(layout, &n);
        put_piece(&b, piece, str_sub(layout, 0, n), &shown);
        layout = str_sub(layout, n, layout.n);
    }
    str out = arena_dup(a, buf_str(&b));
    buf_deinit(&b);
    return out;
}

/* ---- reading ---- */

static bool take_number(str *text, size_t min, size_t max, int *out)
{
    size_t n = 0;
    int v = 0;
    while (n < text->n && n < max && char_is_digit(text->p[n]))
        v = v * 10 + (text->p[n++] - '0');
    if (n < min)
        return false;
    *out = v;
    *text = str_sub(*text, n, text->n);
    return true;
}

static bool take_name(str *text, const char *const *names, size_t n_names, size_t cut, int *out)
{
    for (size_t i = 0; i < n_names; i++) {
        str name = str_sub(str_c(names[i]), 0, cut);
        if (str_eq_nocase(str_sub(*text, 0, name.n), name)) {
            *out = (int)i;
            *text = str_sub(*text, name.n, text->n);
            return true;
        }
    }
    return false;
}

static bool take_offset(str *text, bool colon, bool z, bool with_minutes, int *out_s)
{
    int hours, minutes = 0;
    if (z && text->n > 0 && text->p[0] == 'Z') {
        *text = str_sub(*text, 1, text->n);
        return true;
    }
    if (text->n == 0 || (text->p[0] != '+' && text->p[0] != '-'))
        return false;
    int sign = text->p[0] == '-' ? -1 : 1;
    *text = str_sub(*text, 1, text->n);
    if (!take_number(text, 2, 2, &hours))
        return false;
    if (colon && with_minutes) {
        if (text->n == 0 || text->p[0] != ':')
            return false;
        *text = str_sub(*text, 1, text->n);
    }
    if (with_minutes && !take_number(text, 2, 2, &minutes))
        return false;
    if (hours > 24 || minutes > 60)
        return false;
    *out_s = sign * (hours * 3600 + minutes * 60);
    return true;
}

static bool take_fraction(str *text, int64_t *ns)
{
    size_t i = 1;
    int64_t scale = NS_PER_S;
    if (text->n < 2 || (text->p[0] != '.' && text->p[0] != ',') || !char_is_digit(text->p[1]))
        return false;
    for (*ns = 0; i < text->n && char_is_digit(text->p[i]); i++) {
        if (scale > 1) {
            scale /= 10;
            *ns += (text->p[i] - '0') * scale;
        }
    }
    *text = str_sub(*text, i, text->n);
    return true;
}

struct reading {
    struct tm tm;
    int64_t ns;
    int offset_s, pm; // pm: -1 not told
    int yday;         // 0 not told
    bool has_offset, is_utc;
    str zone; // abbreviation
};

/* An abbreviation: UTC, three to five capitals. */
static bool take_zone(str *text, struct reading *r)
{
    size_t n = 0;
    while (n < text->n && text->p[n] >= 'A' && text->p[n] <= 'Z')
        n++;
    r->zone = str_sub(*text, 0, n);
    r->is_utc = str_is(r->zone, "UTC");
    *text = str_sub(*text, n, text->n);
    return n >= 3 && n <= 5 && (n != 5 || r->zone.p[4] == 'T');
}

static bool take_clock(enum piece piece, str *text, struct reading *r)
{
    switch (piece) {
    case PIECE_HOUR24:
        return take_number(text, 2, 2, &r->tm.tm_hour);
    case PIECE_HOUR12:
    case PIECE_HOUR12_0:
        return take_number(text, 1, 2, &r->tm.tm_hour);
    case PIECE_MINUTE:
    case PIECE_MINUTE0:
        return take_number(text, piece == PIECE_MINUTE0 ? 2 : 1, 2, &r->tm.tm_min);
    case PIECE_SECOND:
    case PIECE_SECOND0:
        if (!take_number(text, piece == PIECE_SECOND0 ? 2 : 1, 2, &r->tm.tm_sec))
            return false;
        (void)take_fraction(text, &r->ns); // may follow even when the layout has none
        return true;
    case PIECE_PM:
    case PIECE_PM_LOWER: {
        static const char *const halves[] = {"AM", "PM"};
        return take_name(text, halves, 2, 2, &r->pm);
    }
    case PIECE_FRACTION0:
    case PIECE_FRACTION9:
        return r->ns > 0 || take_fraction(text, &r->ns) || piece == PIECE_FRACTION9;
    case PIECE_ZONE_NAME:
        return take_zone(text, r);
    case PIECE_Z_COLON:
    case PIECE_Z:
    case PIECE_Z_HOUR:
        r->is_utc = text->n > 0 && text->p[0] == 'Z';
        r->has_offset = !r->is_utc;
        return take_offset(text, piece == PIECE_Z_COLON, true, piece != PIECE_Z_HOUR, &r->offset_s);
    case PIECE_OFFSET_COLON:
    case PIECE_OFFSET:
    case PIECE_OFFSET_HOUR:
        r->has_offset = true;
        return take_offset(text, piece == PIECE_OFFSET_COLON, false, piece != PIECE_OFFSET_HOUR,
                           &r->offset_s);
    default:
        return false;
    }
}

static bool take_piece(enum piece piece, str literal, str *text, struct reading *r)
{
    int v;
    switch (piece) {
    case PIECE_NONE:
        if (!str_starts(*text, literal))
            return false;
        *text = str_sub(*text, literal.n, text->n);
        return true;
    case PIECE_YEAR:
        if (!take_number(text, 4, 4, &v))
            return false;
        r->tm.tm_year = v - 1900;
        return true;
    case PIECE_YEAR2:
        if (!take_number(text, 2, 2, &v))
            return false;
        r->tm.tm_year = v >= 69 ? v : v + 100;
        return true;
    case PIECE_MONTH_LONG:
        return take_name(text, months, 12, 9, &r->tm.tm_mon);
    case PIECE_MONTH_SHORT:
        return take_name(text, months, 12, 3, &r->tm.tm_mon);
    case PIECE_MONTH:
    case PIECE_MONTH0:
        if (!take_number(text, piece == PIECE_MONTH0 ? 2 : 1, 2, &v) || v < 1 || v > 12)
            return false;
        r->tm.tm_mon = v - 1;
        return true;
    case PIECE_DAY_LONG:
        return take_name(text, days, 7, 9, &v);
    case PIECE_DAY_SHORT:
        return take_name(text, days, 7, 3, &v);
    case PIECE_DAY_:
        *text = str_sub(*text, text->n > 0 && text->p[0] == ' ' ? 1 : 0, text->n);
        return take_number(text, 1, 2, &r->tm.tm_mday);
    case PIECE_DAY:
    case PIECE_DAY0:
        return take_number(text, piece == PIECE_DAY0 ? 2 : 1, 2, &r->tm.tm_mday);
    case PIECE_YEARDAY_:
        while (text->n > 0 && text->p[0] == ' ')
            *text = str_sub(*text, 1, text->n);
        return take_number(text, 1, 3, &r->yday) && r->yday > 0;
    case PIECE_YEARDAY0:
        return take_number(text, 3, 3, &r->yday) && r->yday > 0;
    default:
        return take_clock(piece, text, r);
    }
}

static bool is_leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Are all the numbers within a calendar's bounds? */
static bool in_bounds(const struct reading *r)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int leap = is_leap(r->tm.tm_year + 1900);
    int days_of_month = lengths[r->tm.tm_mon] + (r->tm.tm_mon == 1 ? leap : 0);
    return r->tm.tm_hour <= 23 && r->tm.tm_min <= 59 && r->tm.tm_sec <= 59 && r->tm.tm_mday >= 1 &&
           r->tm.tm_mday <= days_of_month && r->yday <= 365 + leap;
}

/* Puts the local time into its zone: an offset, an abbreviation, or the caller's. */
static void place(struct arena *a, const struct reading *r, const struct tzone *zone,
                  struct ttime *t)
{
    int32_t offset_s;
    str name;
    if (r->is_utc)
        return;
    if (r->has_offset) {
        t->s -= r->offset_s;
        tzone_at(zone, t->s, &offset_s, &name);
        t->offset_s = r->offset_s;
        t->zone = r->zone.n > 0 ? arena_dup(a, r->zone) : offset_s == r->offset_s ? name : (str){0};
        return;
    }
    tzone_at_local(zone, t->s, &offset_s, &name);
    if (r->zone.n > 0 && !str_eq(r->zone, name)) { // unknown here: a name without an offset
        t->zone = arena_dup(a, r->zone);
        return;
    }
    t->s -= offset_s;
    tzone_at(zone, t->s, &t->offset_s, &t->zone);
}

bool ttime_parse(struct arena *a, str layout, str text, const struct tzone *zone, struct ttime *out)
{
    struct reading r = {.pm = -1};
    r.tm.tm_mday = 1;
    r.tm.tm_year = -1900;
    while (layout.n > 0) {
        size_t n;
        enum piece piece = next_piece(layout, &n);
        if (!take_piece(piece, str_sub(layout, 0, n), &text, &r))
            return false;
        layout = str_sub(layout, n, layout.n);
    }
    if (text.n > 0 || !in_bounds(&r))
        return false;
    if (r.yday > 0) {
        r.tm.tm_mon = 0;
        r.tm.tm_mday = r.yday;
    }
    if (r.pm == 1 && r.tm.tm_hour < 12)
        r.tm.tm_hour += 12;
    if (r.pm == 0 && r.tm.tm_hour == 12)
        r.tm.tm_hour = 0;
    struct ttime t = {.s = (int64_t)timegm(&r.tm), .ns = (int32_t)r.ns};
    place(a, &r, zone, &t);
    *out = t;
    return true;
}
