/* prom_names.c - see prom_names.h. */
#include "server/api/prom_names.h"

#include "storage/base/utf8.h"
#include "storage/model/labels.h"

static const char *const words[] = {
    [NAMES_UTF8] = "allow-utf-8",
    [NAMES_UNDERSCORES] = "underscores",
    [NAMES_DOTS] = "dots",
    [NAMES_VALUES] = "values",
};

bool name_escaping_find(str word, enum name_escaping *out)
{
    for (size_t i = 0; i < COUNTOF(words); i++) {
        if (str_eq(word, str_c(words[i]))) {
            *out = (enum name_escaping)i;
            return true;
        }
    }
    return false;
}

const char *name_escaping_word(enum name_escaping how)
{
    return words[how];
}

static bool fits(uint32_t c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':' ||
           (!first && c >= '0' && c <= '9');
}

static void escape_one(struct buf *b, uint32_t c, bool first, enum name_escaping how)
{
    if (how == NAMES_DOTS && c == '.')
        buf_add(b, STR("_dot_"));
    else if (how != NAMES_UNDERSCORES && c == '_')
        buf_add(b, STR("__"));
    else if (fits(c, first))
        buf_add_char(b, (char)c);
    else if (how == NAMES_VALUES)
        buf_fmt(b, "_%x_", c);
    else
        buf_add(b, how == NAMES_DOTS ? STR("__") : STR("_"));
}

void name_escape(struct buf *b, str name, enum name_escaping how)
{
    bool plain = metric_name_valid(name);
    if (how == NAMES_UTF8 || (plain && how != NAMES_DOTS)) {
        buf_add(b, name);
        return;
    }
    if (how == NAMES_VALUES)
        buf_add(b, STR("U__"));
    for (size_t i = 0; i < name.n;) {
        size_t n = 1;
        uint32_t c = utf8_decode(str_sub(name, i, name.n), &n);
        escape_one(b, c, i == 0, how);
        i += n;
    }
}
